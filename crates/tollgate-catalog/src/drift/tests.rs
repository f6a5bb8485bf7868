//! Tests of [`super`]: both shapes of maps, what counts as a difference, and what may become a row.

use super::*;
use crate::{CatalogModel, parse_price};

const CATALOG: &str = r#"[{"name":"openai","dialect":"openai","base_url":"https://api.openai.com/v1","models":[
    {"name":"gpt-a","aliases":["gpt-a-1"],"surfaces":["chat"],"context_tokens":1000,"max_output_tokens":100,
     "prices":{"input":"2.50","cached_input":"0.25","output":"10"},
     "bands":[{"context_from":200001,"prices":{"input":"5"}}],
     "tiers":[{"tier":"flex","prices":{"input":"1.25","output":"5"}}],
     "source":"https://openai.com","as_of":"2026-11-22"},
    {"name":"whisper","surfaces":["transcriptions"],"context_tokens":0,"prices":{"second":"0.0001"},
     "source":"https://openai.com","as_of":"2026-11-22"},
    {"name":"own","surfaces":["chat"],"context_tokens":9,"max_output_tokens":9,"prices":{"input":"1","output":"1"},
     "source":"https://openai.com","as_of":"2026-11-22"}]}]"#;

fn drift_of(map: &str) -> Drift {
    Drift::of_catalog(&Catalog::from_json(CATALOG).unwrap(), &PriceMap::from_json(map).unwrap())
}

fn litellm(fields: &str) -> String {
    format!(
        r#"{{"sample_spec":{{"input_cost_per_token":0.0,"litellm_provider":"one of"}},
            "gpt-a":{{"litellm_provider":"openai","mode":"chat",{fields}}},
            "azure/gpt-a":{{"litellm_provider":"azure","mode":"chat","input_cost_per_token":9e-06}},
            "whisper":{{"litellm_provider":"openai","mode":"audio_transcription","input_cost_per_second":0.0001}}}}"#
    )
}

fn shown(drift: &Drift) -> Vec<String> {
    let text = |row: &DriftRow, price: PricePerMillion| crate::price_text(row.meter, price);
    let line = |row: &DriftRow| {
        let ours = row.ours.map_or_else(|| "none".to_owned(), |price| text(row, price));
        let (tier, meter, percent) = (row.tier.name(), row.meter.name(), row.relative_percent());
        let theirs = text(row, row.theirs);
        format!("{} {tier} {} {meter} {ours} {theirs} {percent:?}", row.model, row.context_from)
    };
    drift.rows.iter().map(line).collect()
}

#[test]
fn a_map_that_says_the_same_is_no_drift() {
    let map = litellm(
        r#""input_cost_per_token":2.5e-06,"output_cost_per_token":0.00001,"cache_read_input_token_cost":2.5e-7,
           "output_cost_per_reasoning_token":1e-05,"input_cost_per_token_above_200k_tokens":5e-06,
           "output_cost_per_token_above_200k_tokens":1e-05,"input_cost_per_token_flex":1.25e-06,
           "cache_creation_input_token_cost_above_12hr":1,"output_cost_per_image_token":null"#,
    );
    let drift = drift_of(&map);
    assert_eq!(shown(&drift), Vec::<String>::new());
    assert_eq!((drift.n_models_compared, drift.n_prices_same), (2, 8));
    assert_eq!(drift.only_ours, ["openai/own"]);
}

#[test]
fn differences_name_class_tier_and_threshold() {
    let map = litellm(
        r#""input_cost_per_token":3e-06,"output_cost_per_token":5e-06,"input_cost_per_token_above_200k_tokens":6e-06,
           "input_cost_per_token_priority":7e-06,"output_cost_per_token_flex":5.5e-06,"input_cost_per_audio_token":4e-05"#,
    );
    assert_eq!(
        shown(&drift_of(&map)),
        [
            "gpt-a standard 0 input 2.5 3 Some(\"+20.00\")",
            "gpt-a standard 0 input_audio 2.5 40 Some(\"+1500.00\")",
            "gpt-a standard 0 output 10 5 Some(\"-50.00\")",
            "gpt-a standard 200001 input 5 6 Some(\"+20.00\")",
            "gpt-a flex 0 output 5 5.5 Some(\"+10.00\")",
            "gpt-a priority 0 input none 7 None",
        ]
    );
}

#[test]
fn tiers_of_prompt_lengths_are_read() {
    let map = litellm(
        r#""tiered_pricing":[{"range":[0,200000.0],"input_cost_per_token":2.5e-06,"output_cost_per_token":1e-05},
           {"range":[200000.0,1000000.0],"input_cost_per_token":4e-06,"output_cost_per_token":1e-05}]"#,
    );
    assert_eq!(shown(&drift_of(&map)), ["gpt-a standard 200001 input 5 4 Some(\"-20.00\")"]);
}

#[test]
fn what_a_map_says_in_its_own_way_is_understood() {
    // Nothing on top for writing a cache; an hour's price by the second.
    let map = litellm(r#""input_cost_per_token":2.5e-06,"cache_creation_input_token_cost":0.0"#);
    let map = map.replace("0.0001}", "0.00010000003333}");
    assert_eq!(shown(&drift_of(&map)), ["whisper standard 0 second 0.0001 0.000100001 Some(\"+0.00\")"]);
}

#[test]
fn our_own_export_is_a_map_as_well() {
    let export = r#"{"data":[{"vendor":"openai","model":"gpt-a-1","context_tokens":7,
        "prices":{"input":"2.5","output":"11"},"bands":[],"tiers":[{"tier":"flex","prices":{"input":"1.25"}}]}],"next":null}"#;
    assert_eq!(shown(&drift_of(export)), ["gpt-a standard 0 output 10 11 Some(\"+10.00\")"]);
}

#[test]
fn files_that_are_no_map_are_refused() {
    for (text, expected) in [
        ("", "the price map is not readable"),
        ("[]", "the price map is not readable"),
        ("{}", "has no model with a price"),
        (r#"{"data":[]}"#, "has no model with a price"),
        (r#"{"data":[{"vendor":"v","model":"m","prices":{"input":"free"}}]}"#, "is not an amount in USD"),
        (
            r#"{"m":{"litellm_provider":"openai","input_cost_per_token":-1e-6}}"#,
            "the price map's input_cost_per_token of m is no price: `-1e-6`",
        ),
    ] {
        let message = PriceMap::from_json(text).unwrap_err().to_string();
        assert!(message.contains(expected), "{text}: {message}");
    }
}

#[test]
fn the_catalogue_does_not_drift_from_its_own_export() {
    let catalog = Catalog::embedded().unwrap();
    let lists = |model: &CatalogModel<'_>| {
        let bands = |bands: &[crate::PriceBand]| -> serde_json::Value {
            let band = |band: &crate::PriceBand| serde_json::json!({"context_from": band.context_from, "prices": band.prices.texts()});
            bands.iter().map(band).collect()
        };
        let tier = |tier: &crate::CatalogTier| serde_json::json!({"tier": tier.tier, "prices": tier.prices.texts(), "bands": bands(&tier.bands)});
        let tiers: Vec<_> = model.tiers.iter().map(tier).collect();
        (model.prices.texts(), bands(&model.bands), tiers)
    };
    let mut data = Vec::new();
    for vendor in catalog.vendors().iter().filter(|vendor| vendor.dialect != "demo") {
        for model in vendor.models() {
            let (prices, bands, tiers) = lists(&model);
            let (vendor, model) = (&vendor.name, model.name);
            data.push(serde_json::json!({"vendor": vendor, "model": model, "prices": prices, "bands": bands, "tiers": tiers}));
        }
    }
    let n_models = data.len() as u64;
    let map = PriceMap::from_json(&serde_json::json!({ "data": data }).to_string()).unwrap();
    let drift = Drift::of_catalog(&catalog, &map);
    assert_eq!((drift.rows, drift.only_ours, drift.n_models_compared), (vec![], vec![], n_models));
}

// === what may become rows ===

fn row_of(meter: Meter, price: &str, from: i64) -> PriceRow {
    PriceRow {
        id: None,
        tenant: None,
        provider: "openai".to_owned(),
        model: "gpt-a".to_owned(),
        effective_from: UnixMillis(from),
        meter: Some(meter),
        service_tier: ServiceTier::Standard,
        context_from: 0,
        price: parse_price(meter, price).unwrap(),
        source: "operator".to_owned(),
    }
}

#[test]
fn rows_in_force_are_what_is_compared() {
    let rows = [
        row_of(Meter::Input, "1", 0),
        row_of(Meter::Input, "2", 0),
        row_of(Meter::Input, "3", 50),
        row_of(Meter::Input, "4", 200),
        row_of(Meter::Output, "9", 10),
    ];
    let input_at = |now| {
        let pricing = Pricing::of_rows(&rows, UnixMillis(now)).unwrap();
        pricing.effective(ServiceTier::Standard, 5, Meter::Input).unwrap().to_string()
    };
    assert_eq!((input_at(0), input_at(100), input_at(200)), ("2".into(), "3".into(), "4".into()));
    let free = PriceRow { meter: None, ..row_of(Meter::Input, "0", 0) };
    assert_eq!(Pricing::of_rows(&[free], UnixMillis(1)), None);
}

#[test]
fn absurd_rows_are_refused_and_the_others_stay() {
    let ours = [
        row_of(Meter::Input, "2.5", 0),
        row_of(Meter::CachedInput, "0.25", 0),
        row_of(Meter::Output, "10", 0),
    ];
    let ours = Pricing::of_rows(&ours, UnixMillis(0)).unwrap();
    let part = |prices: &[(Meter, &str)]| {
        let theirs = prices.iter().map(|(meter, price)| PricePoint {
            tier: ServiceTier::Standard,
            context_from: 0,
            meter: *meter,
            price: parse_price(*meter, price).unwrap(),
        });
        let mut drift = Drift::default();
        drift.add("openai", "gpt-a", &ours, &Pricing::of_points(theirs));
        let (kept, refused) = part_by_sanity(&ours, drift.rows);
        let kept: Vec<&str> = kept.iter().map(|row| row.meter.name()).collect();
        let refused: Vec<String> =
            refused.into_iter().map(|(row, reason)| format!("{}: {reason}", row.meter.name())).collect();
        (kept.join(" "), refused.join("; "))
    };
    let none = String::new;
    assert_eq!(part(&[(Meter::Input, "3"), (Meter::Output, "12")]), ("input output".into(), none()));
    assert_eq!(
        part(&[(Meter::Input, "2500000"), (Meter::Output, "12")]),
        ("output".into(), "input: input at 2500000 USD per million looks like a price per token".into())
    );
    assert_eq!(
        part(&[(Meter::Input, "26")]),
        (none(), "input: the price would change by more than 10 times".into())
    );
    assert_eq!(part(&[(Meter::Output, "0")]), (none(), "output: a paid model would be free".into()));
    assert_eq!(
        part(&[(Meter::CachedInput, "2"), (Meter::Output, "1")]),
        (
            none(),
            "cached_input: output is cheaper than cached input (2 > 1); output: output is cheaper than cached input (2 > 1)"
                .into()
        )
    );
}
