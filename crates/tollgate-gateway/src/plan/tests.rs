use proptest::prelude::*;
use tollgate_catalog::{PriceRow, Tokenizer};
use tollgate_domain::{Meter, PricePerMillion, ProviderId, Usage};
use tollgate_policy::{Dialect, ProviderPolicy};
use tollgate_wire::openai::request::{IMAGE_TOKENS_BOUND, input_token_bound, skim};
use tollgate_wire::tokens::{Encoding, TokenCounter};

use super::*;

fn priced(input: i64, output: i64, input_bound: u64, output_cap: u64) -> PricedCandidate {
    let row = |meter, price| PriceRow {
        id: None,
        tenant: None,
        provider: "p".to_owned(),
        model: "m".to_owned(),
        effective_from: UnixMillis(0),
        meter: Some(meter),
        service_tier: ServiceTier::Standard,
        context_from: 0,
        price: PricePerMillion(price),
        source: "operator".to_owned(),
    };
    let provider = ProviderPolicy {
        id: ProviderId::from_u128(1),
        name: "p".to_owned(),
        dialect: Dialect::Demo,
        base_url: String::new(),
        credentials: Vec::new(),
        region: None,
        retention: None,
        trains_on_data: None,
        max_concurrent_requests: None,
        responses: None,
    };
    PricedCandidate {
        candidate: Arc::new(Candidate {
            provider: Arc::new(provider),
            model: "m".into(),
            prices: None,
            is_priced_by_name: true,
            max_output_tokens: None,
            context_tokens: None,
            tokenizer: None,
            is_output_visible: true,
            quirks: Arc::default(),
            responses: Default::default(),
        }),
        sheet: PriceSheet::from_rows(&[row(Meter::Input, input), row(Meter::Output, output)]),
        input_bound,
        output_cap,
        slice_tokens: None,
        dropped: None,
    }
}

fn shape(n_choices: u64, prediction_tokens: u64) -> PricedPlanShape {
    PricedPlanShape { tier: ServiceTier::Standard, reach: Reach::TEXT, n_choices, prediction_tokens }
}

#[test]
fn free_output_is_never_capped_by_money() {
    let candidate = priced(1_000_000, 0, 10, 4_096);
    assert!(!candidate.charges_output(&shape(1, 0)));
    assert_eq!(candidate.affordable_cap(NanoUsd::ZERO, &shape(1, 0)), 4_096);
}

#[test]
fn money_is_shared_between_the_answers() {
    let candidate = priced(0, 1_000_000, 10, 4_096); // one nano-USD per answer token
    assert_eq!(candidate.affordable_cap(NanoUsd(1_000), &shape(4, 0)), 250);
    assert_eq!(candidate.affordable_cap(NanoUsd(1_000), &shape(4, 200)), 200);
    assert_eq!(candidate.affordable_cap(NanoUsd(100), &shape(1, 200)), 0);
}

/// A candidate of that name whose tokenizer the catalogue knows, or not.
fn known(model: &str, tokenizer: Option<Tokenizer>, context_tokens: Option<u64>) -> PricedCandidate {
    let mut priced = priced(1_000_000, 1_000_000, u64::MAX, 4_096);
    let candidate = Arc::get_mut(&mut priced.candidate).unwrap();
    candidate.model = model.into();
    candidate.tokenizer = tokenizer;
    candidate.context_tokens = context_tokens;
    priced
}

fn cheap(priced: &PricedCandidate, body: &str) -> Result<u64, Refusal> {
    let skim = skim(Surface::Chat, body.as_bytes()).unwrap();
    prompt::cheap_bound(&priced.candidate, &skim, body.len(), &priced.sheet)
}

#[test]
fn a_prompt_is_bounded_by_its_body_or_by_the_context() {
    let image = r#"{"messages":[{"content":[{"type":"image_url","image_url":{"url":"https://x"}}]}]}"#;
    let file = r#"{"messages":[{"content":[{"type":"file","file":{"file_id":"f"}}]}]}"#;
    let by_bytes = |body: &str| input_token_bound(&skim(Surface::Chat, body.as_bytes()).unwrap(), body.len());
    let gpt = |context| known("gpt-4o", Some(Tokenizer::O200k), context);
    assert_eq!(cheap(&known("m", None, None), image).unwrap(), by_bytes(image));
    // the table of its own model, where the catalogue vouches for it
    assert_eq!(cheap(&gpt(None), image).unwrap(), by_bytes(image) - IMAGE_TOKENS_BOUND + 1_445);
    assert_eq!(cheap(&known("gpt-4o", None, None), image).unwrap(), by_bytes(image));
    assert_eq!(cheap(&gpt(Some(50)), image).unwrap(), 50);
    assert_eq!(cheap(&gpt(Some(128_000)), file).unwrap(), 128_000);
    assert!(cheap(&gpt(None), file).is_err());
    let mut free = known("m", None, None);
    let row = PriceRow { meter: None, ..free_row() };
    free.sheet = PriceSheet::from_rows([&row]);
    assert_eq!(cheap(&free, file).unwrap(), by_bytes(file));
}

fn free_row() -> PriceRow {
    PriceRow {
        id: None,
        tenant: None,
        provider: "p".to_owned(),
        model: "m".to_owned(),
        effective_from: UnixMillis(0),
        meter: None,
        service_tier: ServiceTier::Standard,
        context_from: 0,
        price: PricePerMillion::ZERO,
        source: "operator".to_owned(),
    }
}

/// What the provider counts for a chat, by its published formula: three tokens for each message and three for
/// the answer's opening.
fn counted_by_openai(texts: &[&str], encoding: Encoding) -> u64 {
    texts.iter().map(|text| 3 + 1 + encoding.count(text)).sum::<u64>() + 3
}

#[test]
fn exact_counts_are_below_bytes_and_never_below_the_provider_s() {
    let long = "The quick brown fox jumps over the lazy dog, \"again\" and again.\n".repeat(50);
    let texts: [&str; 5] =
        ["hi", &long, "für Größe 42 €", "\u{1f600}\u{1f469}\u{200d}\u{1f680}", "<|endoftext|>"];
    let messages: Vec<serde_json::Value> =
        texts.iter().map(|text| serde_json::json!({"role": "user", "content": text})).collect();
    let body = serde_json::json!({"model": "m", "messages": messages}).to_string();
    let skim = skim(Surface::Chat, body.as_bytes()).unwrap();
    for (tokenizer, encoding) in [(Tokenizer::O200k, Encoding::O200k), (Tokenizer::Cl100k, Encoding::Cl100k)]
    {
        let mut candidates = [known("a", Some(tokenizer), None), known("b", None, None)];
        for candidate in &mut candidates {
            candidate.input_bound = cheap(candidate, &body).unwrap();
        }
        let by_bytes = candidates[0].input_bound;
        prompt::count_exactly(&mut candidates, &skim, body.as_bytes());
        assert!(candidates[0].input_bound < by_bytes / 2, "{}", candidates[0].input_bound);
        assert!(candidates[0].input_bound >= counted_by_openai(&texts, encoding));
        assert_eq!(candidates[1].input_bound, by_bytes, "a model of an unknown family keeps its bytes");
    }
}

#[test]
fn an_exact_count_lowers_what_must_be_held() {
    let text = "The quick brown fox jumps over the lazy dog. ".repeat(100);
    let body = serde_json::json!({"messages": [{"role": "user", "content": text}]}).to_string();
    let skim = skim(Surface::Chat, body.as_bytes()).unwrap();
    let mut candidate = known("a", Some(Tokenizer::O200k), None);
    candidate.input_bound = cheap(&candidate, &body).unwrap();
    let (amount, minimum) = dearest_of(std::slice::from_ref(&candidate), &shape(1, 0), 256);
    let route = RoutePlan {
        name: "a".into(),
        candidates: vec![Arc::clone(&candidate.candidate)],
        retry: tollgate_policy::RetryPolicy::default(),
        timeouts: tollgate_policy::Timeouts::default(),
        hold_slice_tokens: None,
        drop_unsupported: false,
    };
    let mut plan = PricedPlan {
        output_floor: 256,
        plan: Arc::new(route),
        candidates: [candidate].into(),
        tier: ServiceTier::Standard,
        reach: Reach::TEXT,
        n_choices: 1,
        prediction_tokens: 0,
        is_paid: true,
        amount,
        worst_case: amount,
        minimum,
        rate_tokens: 0,
        input_estimate: 0,
        kept_tokens: 0,
        lost_usage: Usage::ZERO,
    };
    assert!(plan.count_exactly(&skim, body.as_bytes()));
    // a nano-USD per token: 1,000 tokens of text, the marks around them, and 256 or 4,096 of the answer
    assert!((1_256..1_500).contains(&plan.minimum.0), "{:?}", plan.minimum);
    assert_eq!(plan.amount.0 - plan.minimum.0, 4_096 - 256);
    assert!(!plan.count_exactly(&skim, body.as_bytes()), "nothing more to gain");
}

#[test]
fn what_nothing_bounds_is_refused_where_it_costs() {
    let refusal = |members: &str, model: &str, rows: &[PriceRow]| {
        let body = format!(r#"{{"messages":[{{"role":"user","content":"x"}}]{members}}}"#);
        let skim = skim(Surface::Chat, body.as_bytes()).unwrap();
        refuse_what_nothing_bounds(&skim, &PriceSheet::from_rows(rows), model, || "p/m".to_owned())
            .err()
            .map(|refusal| (refusal.kind, refusal.param))
    };
    let second = PriceRow { meter: Some(Meter::Second), price: PricePerMillion(1), ..free_row() };
    let outside = r#","extra_body":{"google":{}}"#;
    let kinds = |kind, param: &str| Some((kind, Some(param.to_owned())));
    use ErrorKind::{InvalidRequest, ModelNotPriced};
    assert_eq!(refusal("", "m", &[]), None);
    let searches = r#","web_search_options":{}"#;
    assert_eq!(refusal(searches, "m", &[]), kinds(InvalidRequest, "web_search_options"));
    assert_eq!(refusal("", "sonar-deep-research", &[]), kinds(ModelNotPriced, "model"));
    assert_eq!(refusal(r#","tools":[{"type":"web_search"}]"#, "m", &[]), kinds(InvalidRequest, "tools"));
    assert_eq!(refusal(r#","enable_search":true"#, "m", &[]), kinds(InvalidRequest, "enable_search"));
    assert_eq!(refusal(outside, "m", &[]), None);
    assert_eq!(refusal(outside, "m", &[second]), kinds(InvalidRequest, "messages"));
}

#[test]
fn seconds_of_sound_are_in_the_bound() {
    let data = "SUQz".to_owned() + &"A".repeat(64_000);
    let body = format!(
        r#"{{"messages":[{{"content":[{{"type":"input_audio","input_audio":{{"data":"{data}"}}}}]}}]}}"#
    );
    let shape = shape_of(&skim(Surface::Chat, body.as_bytes()).unwrap()).unwrap();
    assert_eq!(shape.reach.units, UnitBounds { seconds: 390, ..UnitBounds::NONE });
    let second = PriceRow { meter: Some(Meter::Second), price: PricePerMillion(2_000_000), ..free_row() };
    let sheet = PriceSheet::from_rows([&second]);
    assert_eq!(sheet.upper_bound(100, 100, shape.tier, shape.reach), NanoUsd(780));
    let usage = Usage::ZERO.with(Meter::Second, 390);
    assert_eq!(sheet.total(&usage, shape.tier), NanoUsd(780));
}

proptest! {
    /// Whatever was granted, an answer within the cap written upstream never costs more.
    #[test]
    fn what_the_cap_allows_is_paid_for(
        input in 0_i64..20_000_000_000, output in 1_i64..200_000_000_000, input_bound in 0_u64..200_000,
        output_cap in 1_u64..128_000, n in 1_u64..8, prediction in prop_oneof![Just(0_u64), 1_u64..10_000],
        granted_share in 0_u64..=110, used_share in 0_u64..=100,
    ) {
        let candidate = priced(input, output, input_bound, output_cap);
        let shape = shape(n, prediction);
        let whole = candidate.bound(output_cap, &shape);
        let floor = candidate.bound(0, &shape);
        let granted = NanoUsd(floor.0 + i64::try_from(i128::from(whole.0 - floor.0) * i128::from(granted_share) / 100).unwrap());
        let cap = candidate.affordable_cap(granted, &shape);
        prop_assert!(cap <= output_cap);
        // then the bound need not be worked out backwards: `provider::output_cap`
        if granted >= whole {
            prop_assert_eq!(cap, output_cap);
        }
        let usage = Usage::ZERO.with(Meter::Input, input_bound).with(Meter::Output, (cap * n + prediction) * used_share / 100);
        prop_assert!(candidate.sheet.cost(&usage, ServiceTier::Standard).total <= granted);
    }
}
