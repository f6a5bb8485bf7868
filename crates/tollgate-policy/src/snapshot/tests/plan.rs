//! Where a request may go, in which order, and why it may not.

use super::*;

fn plan(snapshot: &Snapshot, requested: &str) -> Result<Vec<String>, PlanDenied> {
    snapshot.plan(&context(snapshot), requested).map(|plan| candidates(&plan))
}

fn not_allowed(requested: &str) -> Result<Vec<String>, PlanDenied> {
    Err(PlanDenied::NotAllowed { requested: requested.to_owned() })
}

#[test]
fn names_resolve_to_ordered_candidates() {
    let snapshot = snapshot_with([]);
    let cases: [(&str, &str, &[&str]); 8] = [
        // Own targets by priority, then the fallback's, each place once.
        ("chat-default", "chat-default", &["openai/gpt-5-mini", "backup/claude/haiku:4", "local/llama"]),
        ("chat-cheap", "chat-cheap", &["local/llama", "openai/gpt-5-mini"]),
        ("openai/gpt-5-mini", "openai/gpt-5-mini", &["openai/gpt-5-mini"]),
        ("backup/claude/haiku:4", "backup/claude/haiku:4", &["backup/claude/haiku:4"]),
        // Not priced and not listed, yet the provider may know it: the price check comes later.
        ("backup/org/model:free", "backup/org/model:free", &["backup/org/model:free"]),
        // Bare catalogue names and aliases lead to the provider that serves them.
        ("gpt-5-mini", "openai/gpt-5-mini", &["openai/gpt-5-mini"]),
        ("gpt-5-mini-2025", "openai/gpt-5-mini-2025", &["openai/gpt-5-mini-2025"]),
        ("claude/haiku:4", "backup/claude/haiku:4", &["backup/claude/haiku:4"]),
    ];
    for (requested, name, expected) in cases {
        let plan = snapshot.plan(&context(&snapshot), requested).unwrap();
        assert_eq!(
            (plan.name.as_ref(), candidates(&plan)),
            (name, expected.iter().map(|c| (*c).to_owned()).collect())
        );
    }
}

#[test]
fn targets_of_equal_priority_keep_their_order() {
    let targets =
        vec![target(LOCAL, "b", 1), target(LOCAL, "a", 1), target(LOCAL, "c", 0), target(LOCAL, "a", 9)];
    let snapshot = snapshot_with([PolicyObject::Model(model(CHEAP, "chat-cheap", targets, &[]))]);
    assert_eq!(plan(&snapshot, "chat-cheap").unwrap(), ["local/c", "local/b", "local/a"]);
}

#[test]
fn a_virtual_model_keeps_its_own_retries_and_its_name_beats_a_direct_one() {
    let targets = vec![target(LOCAL, "llama", 0)];
    let retry = RetryPolicy { max_attempts: 9, ..RetryPolicy::default() };
    let shadow = ModelPolicy { retry, ..model(CHEAP, "openai/gpt-5-mini", targets.clone(), &[]) };
    let main = model(CHAT, "chat-default", targets, &[]);
    let snapshot = snapshot_with([PolicyObject::Model(shadow), PolicyObject::Model(main)]);
    let plan = snapshot.plan(&context(&snapshot), "openai/gpt-5-mini").unwrap();
    assert_eq!((candidates(&plan), plan.retry.max_attempts), (vec!["local/llama".to_owned()], 9));
    let context = context(&snapshot);
    let shown: Vec<_> =
        snapshot.visible_models(&context).filter(|info| info.id.as_ref() == "openai/gpt-5-mini").collect();
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0].owned_by.as_ref(), "tollgate");
}

#[test]
fn unknown_models_come_with_the_nearest_names() {
    let snapshot = snapshot_with([]);
    let nearest = |requested| match plan(&snapshot, requested) {
        Err(PlanDenied::NotFound { requested: told, nearest }) => {
            assert_eq!(told, requested);
            nearest
        }
        other => panic!("{requested}: {other:?}"),
    };
    assert_eq!(nearest("chat-defualt")[0], "chat-default");
    assert_eq!(nearest("gpt-5-mimi")[0], "openai/gpt-5-mini");
    assert_eq!(nearest("opnai/GPT-5-mini")[0], "openai/gpt-5-mini");
    assert!(nearest("zzzzzzzzzzzzzzzzzzzz").is_empty());
    assert!(nearest("").len() <= 3);
    let long = "модель".repeat(1_000);
    assert!(nearest(&long).is_empty());
    for no_model in ["openai/", "nobody/gpt-5-mini-x", "/"] {
        nearest(no_model);
    }
    let told = plan(&snapshot, "chat-defualt").unwrap_err().to_string();
    assert!(told.contains("did you mean `chat-default`"), "{told}");
    let told = plan(&snapshot, "zzzzzzzzzzzzzzzzzzzz").unwrap_err().to_string();
    assert!(told.contains("GET /v1/models"), "{told}");
}

#[test]
fn patterns_decide_what_a_key_may_ask_for() {
    let snapshot = |patterns: &[&str]| {
        let models = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        snapshot_with([PolicyObject::Key(KeyPolicy { models, ..key() })])
    };
    let chat_only = snapshot(&["chat-*"]);
    // A virtual model's targets need no permission of their own.
    assert_eq!(plan(&chat_only, "chat-cheap").unwrap().len(), 2);
    assert_eq!(plan(&chat_only, "openai/gpt-5-mini"), not_allowed("openai/gpt-5-mini"));
    assert_eq!(plan(&chat_only, "gpt-5-mini"), not_allowed("gpt-5-mini"));
    assert_eq!(plan(&chat_only, "local/anything"), not_allowed("local/anything"));
    let of_provider = snapshot(&["openai/*"]);
    assert_eq!(plan(&of_provider, "gpt-5-mini").unwrap(), ["openai/gpt-5-mini"]);
    assert_eq!(plan(&of_provider, "chat-default"), not_allowed("chat-default"));
    let none = snapshot(&["nothing"]);
    assert_eq!(none.visible_models(&context(&none)).count(), 0);
    // What a key may not use is not offered to it either.
    let Err(PlanDenied::NotFound { nearest, .. }) = plan(&chat_only, "gpt-5-mimi") else {
        panic!("found or refused otherwise")
    };
    assert!(nearest.iter().all(|name| name.starts_with("chat-")), "{nearest:?}");
}

#[test]
fn each_rule_of_the_data_policy_excludes() {
    let region = |region: &str| Some(region.to_owned());
    let primary = ProviderPolicy {
        region: region("us"),
        retention: Some(Retention(30)),
        ..provider(PRIMARY, "openai")
    };
    let backup =
        ProviderPolicy { region: region("eu"), retention: Some(Retention(0)), ..provider(BACKUP, "backup") };
    let snapshot = |data_policy| {
        let tenant = TenantPolicy { data_policy, ..tenant() };
        let providers = [primary.clone(), backup.clone()].map(PolicyObject::Provider);
        snapshot_with(providers.into_iter().chain([PolicyObject::Tenant(tenant)]))
    };
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let cases = [
        (DataPolicy { regions: list(&["eu"]), ..DataPolicy::OPEN }, vec!["backup/claude/haiku:4"], "regions"),
        (
            DataPolicy { providers: list(&["back*"]), ..DataPolicy::OPEN },
            vec!["backup/claude/haiku:4"],
            "providers",
        ),
        (
            DataPolicy { require_zero_retention: true, ..DataPolicy::OPEN },
            vec!["backup/claude/haiku:4"],
            "require_zero_retention",
        ),
    ];
    for (data_policy, allowed, rule) in cases {
        let snapshot = snapshot(data_policy);
        assert_eq!(plan(&snapshot, "chat-default").unwrap(), allowed, "{rule}");
        let requested = "openai/gpt-5-mini".to_owned();
        assert_eq!(plan(&snapshot, &requested), Err(PlanDenied::DataPolicy { requested, rule }));
        // No region and no known retention never satisfy a rule about them.
        assert!(matches!(plan(&snapshot, "local/llama"), Err(PlanDenied::DataPolicy { .. })), "{rule}");
        let context = context(&snapshot);
        let shown: Vec<_> = snapshot.visible_models(&context).map(|info| info.id.to_string()).collect();
        assert_eq!(shown, ["backup/claude/haiku:4", "chat-default"], "{rule}");
    }
    let open = snapshot(DataPolicy { providers: list(&["*"]), ..DataPolicy::OPEN });
    assert_eq!(plan(&open, "chat-default").unwrap().len(), 3);
}

#[test]
fn candidates_carry_prices_and_facts() {
    let snapshot = snapshot_with([]);
    let first = |requested| {
        let plan = snapshot.plan(&context(&snapshot), requested).unwrap();
        Arc::clone(&plan.candidates[0])
    };
    let input_cost = |requested| {
        let sheet = first(requested).prices.clone().unwrap().at(NOW).cloned().unwrap();
        let usage = tollgate_domain::Usage::ZERO.with(Meter::Input, 1_000_000);
        sheet.cost(&usage, ServiceTier::Standard).total
    };
    // The operator's row wins over the catalogue's; the catalogue's other meters and facts stay.
    assert_eq!(input_cost("openai/gpt-5-mini"), NanoUsd(500_000_000));
    let facts = first("openai/gpt-5-mini");
    assert_eq!((facts.max_output_tokens, facts.context_tokens), (Some(128_000), Some(400_000)));
    // Zero in the catalogue means that it does not say.
    let facts = first("openai/text-embedding");
    assert_eq!((facts.max_output_tokens, facts.context_tokens), (None, None));
    // The wildcard prices what has no row of its own, only at its provider.
    assert!(first("local/whatever").prices.clone().unwrap().at(NOW).unwrap().is_free());
    assert!(first("backup/unheard-of").prices.is_none());
    assert_eq!(first("backup/unheard-of").max_output_tokens, None);
}

#[test]
fn the_model_list_is_sorted_and_whole() {
    let snapshot = snapshot_with([]);
    let context = context(&snapshot);
    let shown: Vec<_> =
        snapshot.visible_models(&context).map(|info| (info.id.as_ref(), info.owned_by.as_ref())).collect();
    let expected = [
        ("backup/claude/haiku:4", "backup"),
        ("chat-cheap", "tollgate"),
        ("chat-default", "tollgate"),
        ("openai/gpt-5-mini", "openai"),
        ("openai/gpt-5-mini-2025", "openai"),
        ("openai/text-embedding", "openai"),
    ];
    assert_eq!(shown, expected);
}

/// A provider whose row prices any model lists none by itself: what virtual models name of it is known.
#[test]
fn a_key_for_a_provider_sees_the_targets_that_only_a_wildcard_prices() {
    let seen = |pattern: &str| -> Vec<String> {
        let models = vec![pattern.to_owned()];
        let snapshot = snapshot_with([PolicyObject::Key(KeyPolicy { models, ..key() })]);
        let context = context(&snapshot);
        snapshot.visible_models(&context).map(|info| info.id.to_string()).collect()
    };
    assert_eq!(seen("local/*"), ["local/llama"]);
    assert_eq!(seen("chat-*"), ["chat-cheap", "chat-default"]);
}

#[test]
fn slices_of_holds_are_the_model_s_own_or_the_installation_s() {
    let targets = || vec![target(LOCAL, "llama", 0)];
    let all = Settings { hold_slice_tokens: Some(4_096), ..settings() };
    let own = ModelPolicy { hold_slice_tokens: Some(512), ..model(CHEAP, "chat-cheap", targets(), &[]) };
    let whole = ModelPolicy { hold_slice_tokens: Some(0), ..model(CHAT, "chat-default", targets(), &[]) };
    let objects = [PolicyObject::Settings(all), PolicyObject::Model(own.clone()), PolicyObject::Model(whole)];
    let snapshot = snapshot_with(objects);
    let slice = |requested| snapshot.plan(&context(&snapshot), requested).unwrap().hold_slice_tokens;
    assert_eq!((slice("chat-cheap"), slice("chat-default")), (Some(512), None));
    assert_eq!((slice("openai/gpt-5-mini"), slice("local/unlisted")), (Some(4_096), Some(4_096)));
    let snapshot = snapshot_with([PolicyObject::Model(own)]);
    let slice = |requested| snapshot.plan(&context(&snapshot), requested).unwrap().hold_slice_tokens;
    assert_eq!((slice("chat-cheap"), slice("chat-default"), slice("gpt-5-mini")), (Some(512), None, None));
}

#[test]
fn what_a_vendor_s_unknown_model_thinks_may_not_be_seen() {
    let snapshot = snapshot_with([]);
    let is_seen = |requested| {
        let plan = snapshot.plan(&context(&snapshot), requested).unwrap();
        plan.candidates[0].is_output_visible
    };
    assert!(is_seen("openai/gpt-5-mini"), "the catalogue knows that it does not think");
    assert!(!is_seen("openai/gpt-9-thinking"), "nothing is known of it");
    assert!(is_seen("local/llama"), "no vendor's: what it makes it streams");
}
