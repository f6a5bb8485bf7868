//! The configuration document: its fields, its problems, applying, pruning, exporting.

use serde_json::{Value, json};

use super::harness::{World, paths};
use crate::{Actor, ApplyOptions, ApplyReport, ChangeAction, ConfigDocument, Role, SecretText, validate};

fn document(value: Value) -> ConfigDocument {
    serde_json::from_value(value).unwrap()
}

/// The example of the documentation, every field of it.
fn example() -> Value {
    json!({
        "version": 1,
        "providers": [{
            "name": "openai", "dialect": "openai", "base_url": "https://api.openai.com/v1",
            "credentials": [{ "name": "main", "secret": "sk-1", "weight": 1 }],
            "region": "us", "retention": "30d", "trains_on_data": false, "max_concurrent_requests": 500,
            "responses": "native"
        }, { "name": "local-vllm", "dialect": "openai", "base_url": "http://127.0.0.1:9/v1" },
           { "name": "scraper", "dialect": "demo" }],
        "models": [{
            "name": "chat-default", "strategy": "priority",
            "targets": [
                { "provider": "openai", "model": "gpt-5-mini", "priority": 0, "weight": 1 },
                { "provider": "scraper", "model": "demo-chat", "priority": 1 }
            ],
            "fallbacks": ["chat-cheap"],
            "retry": { "max_attempts": 3, "backoff": "200ms", "on": ["timeout", "connect", "rate_limited", "server_error"] },
            "timeouts": { "connect": "2s", "first_byte": "20s", "idle": "30s", "total": "300s" },
            "cache": { "mode": "off" },
            "guardrails": []
        }, { "name": "chat-cheap", "targets": [{ "provider": "scraper", "model": "demo-chat" }] }],
        "defaults": { "chat": "chat-default", "embeddings": "openai/text-embedding-3-small" },
        "prices": [
            { "provider": "openai", "model": "gpt-5-mini", "input": "0.25", "cached_input": "0.025", "output": "2.00" },
            { "provider": "local-vllm", "model": "*", "free": true },
            { "provider": "scraper", "model": "page-v1", "request": "0.01" },
            { "provider": "openai", "model": "later", "input": "1", "effective_from": "2027-01-01T00:00:00Z" }
        ],
        "tenants": [{
            "name": "acme", "billing": "prepaid", "credit": "5.00",
            "budgets": [{ "limit": "500.00", "window": "month" }],
            "data_policy": {
                "regions": ["us", "eu"], "providers": ["*"], "require_zero_retention": false,
                "log_payloads": "none", "retention_days": 30
            },
            "projects": [{
                "name": "support-bot", "labels": { "department": "support" },
                "budgets": [{ "limit": "100.00", "window": "month", "alert_at": [0.5, 0.8, 1.0] }],
                "keys": [{
                    "name": "prod", "secret": "", "models": ["chat-*", "openai/gpt-5-mini"],
                    "budgets": [{ "limit": "10.00", "window": "day" }],
                    "limits": { "requests_per_minute": 600, "tokens_per_minute": 200_000, "concurrent_requests": 50 },
                    "expires_at": "2027-01-01T00:00:00Z"
                }, { "name": "own", "secret": "sk-0123456789abcdef" }]
            }]
        }]
    })
}

async fn apply(world: &World, value: Value, options: ApplyOptions) -> ApplyReport {
    world.app().apply_config(&world.admin, document(value), options).await.unwrap()
}

const PLAIN: ApplyOptions = ApplyOptions { dry_run: false, prune: false };
const PRUNE: ApplyOptions = ApplyOptions { dry_run: false, prune: true };
const DRY: ApplyOptions = ApplyOptions { dry_run: true, prune: true };

fn changed(report: &ApplyReport) -> Vec<String> {
    let real = report.changes.iter().filter(|change| change.action != ChangeAction::Unchanged);
    real.map(|change| format!("{:?} {} {} {}", change.action, change.kind, change.name, change.detail))
        .collect()
}

#[test]
fn the_example_holds_and_what_comes_later_is_refused_by_path() {
    assert_eq!(validate(&document(example())), []);
    let mut later = example();
    later["version"] = json!(2);
    later["models"][0]["strategy"] = json!("least_cost");
    later["models"][0]["targets"][0]["weight"] = json!(2);
    later["models"][0]["cache"] = json!({ "mode": "semantic", "ttl": "1h" });
    later["models"][0]["guardrails"] = json!([{ "name": "pii" }]);
    later["defaults"] = json!({ "messages": "chat-default" });
    later["tenants"][0]["data_policy"]["log_payloads"] = json!("all");
    let mut found: Vec<String> = validate(&document(later))
        .into_iter()
        .map(|problem| {
            assert!(problem.path == "version" || problem.message.contains("not supported yet"), "{problem}");
            problem.path
        })
        .collect();
    found.sort();
    assert_eq!(
        found,
        [
            "defaults.messages",
            "models[0].cache.mode",
            "models[0].guardrails",
            "models[0].strategy",
            "models[0].targets[0].weight",
            "tenants[0].data_policy.log_payloads",
            "version",
        ]
    );
}

#[test]
fn mistakes_are_found_all_at_once() {
    let mut wrong = example();
    wrong["providers"][1]["name"] = json!("openai");
    wrong["providers"][0]["retention"] = json!("a while");
    wrong["providers"][0]["credentials"][0]["secret"] = json!("");
    wrong["models"][1]["name"] = json!("scraper");
    wrong["models"][0]["targets"][1]["provider"] = json!("nobody");
    wrong["models"][0]["retry"]["on"] = json!(["boredom"]);
    wrong["models"][0]["timeouts"]["idle"] = json!("0s");
    wrong["prices"][0]["input"] = json!("-1");
    wrong["prices"][1]["output"] = json!("1");
    wrong["prices"][2] = json!({ "provider": "scraper", "model": "page-v1" });
    wrong["tenants"][0]["credit"] = json!("lots");
    wrong["tenants"][0]["projects"][0]["keys"][0]["limits"]["requests_per_minute"] = json!(0);
    wrong["tenants"][0]["projects"][0]["keys"][0]["secret"] = json!("sk-0123456789abcdef");
    let found: Vec<String> = validate(&document(wrong)).into_iter().map(|problem| problem.path).collect();
    for path in [
        "providers[1].name",
        "providers[0].retention",
        "providers[0].credentials[0].secret",
        "models[1].name",
        "models[0].targets[1].provider",
        "models[0].fallbacks[0]",
        "models[0].retry.on[0]",
        "models[0].timeouts.idle",
        "prices[0].input",
        "prices[1].free",
        "prices[1].provider",
        "prices[2]",
        "tenants[0].credit",
        "tenants[0].projects[0].keys[0].limits.requests_per_minute",
        "tenants[0].projects[0].keys[1].secret",
    ] {
        assert!(found.iter().any(|found| found == path), "{path} not in {found:?}");
    }
    assert!(serde_json::from_value::<ConfigDocument>(json!({ "version": 1, "tenant": [] })).is_err());
}

#[test]
fn urls_with_secrets_and_prices_that_stand_twice_are_refused() {
    for (url, what) in super::app::SECRET_URLS {
        let mut wrong = example();
        wrong["providers"][0]["base_url"] = json!(url);
        let found = validate(&document(wrong));
        let [problem] = &found[..] else { panic!("{found:?}") };
        assert_eq!(problem.path, "providers[0].base_url");
        assert!(problem.message.contains(what) && !problem.message.contains("canary"), "{problem}");
    }
    let mut twice = example();
    let prices = twice["prices"].as_array_mut().unwrap();
    prices.push(
        json!({ "provider": "openai", "model": "gpt-5-mini", "service_tier": "standard", "input": "1" }),
    );
    prices.push(json!({ "provider": "openai", "model": "gpt-5-mini", "service_tier": "flex", "input": "1" }));
    prices.push(json!({ "provider": "local-vllm", "model": "*", "free": true }));
    prices.push(json!({ "provider": "scraper", "model": "page-v1", "tenant": "nobody", "page": "1" }));
    let found: Vec<String> = validate(&document(twice)).into_iter().map(|problem| problem.path).collect();
    assert_eq!(found, ["prices[7].tenant", "prices[4].input", "prices[6].free"]);
}

#[tokio::test]
async fn applying_twice_changes_nothing_and_shows_secrets_once() {
    let world = World::new().await;
    let dry = apply(&world, example(), DRY).await;
    assert!(dry.dry_run && dry.generated_secrets.is_empty());
    assert!(world.app().tenant(&world.admin, "acme").await.is_err());
    let first = apply(&world, example(), PLAIN).await;
    assert_eq!(changed(&first), changed(&dry));
    assert_eq!(first.generated_secrets.len(), 1);
    assert_eq!(first.generated_secrets[0].key, "acme/support-bot/prod");
    let revision = world.store.policy_revision().await.unwrap();
    let second = apply(&world, example(), PRUNE).await;
    assert_eq!(changed(&second), Vec::<String>::new());
    assert!(second.generated_secrets.is_empty() && !second.has_changes());
    assert_eq!((second.n_changed(), second.changes.is_empty()), (0, false));
    assert_eq!(world.store.policy_revision().await.unwrap(), revision);
    let balance = world.app().balance(&world.admin, "acme").await.unwrap();
    assert_eq!(balance.available.0.to_string(), "5");
}

#[tokio::test]
async fn differences_are_applied_field_by_field_and_pruned_only_when_asked() {
    let world = World::new().await;
    apply(&world, example(), PLAIN).await;
    let mut next = example();
    next["providers"][0]["credentials"][0]["secret"] = json!("sk-2");
    next["providers"].as_array_mut().unwrap().remove(1);
    next["models"][0]["fallbacks"] = json!([]);
    next["models"].as_array_mut().unwrap().pop();
    next["prices"] = json!([{ "provider": "openai", "model": "gpt-5-mini", "input": "0.30", "cached_input": "0.025", "output": "2" }]);
    next["tenants"][0]["limits"] = json!({ "requests_per_minute": 5 });
    next["tenants"][0]["projects"][0]["keys"][0]["budgets"] = json!([{ "limit": "20", "window": "day" }]);
    next["tenants"][0]["projects"][0]["keys"][1]["secret"] = json!("sk-fedcba9876543210");
    world.clock.advance_ms(1_000);
    let updates = [
        "Create price openai/gpt-5-mini input ",
        "Update provider openai credentials",
        "Update model chat-default fallbacks",
        "Update tenant acme limits",
        "Update budget acme/support-bot/prod per day limit",
        "Update key acme/support-bot/own secret",
    ];
    assert_eq!(changed(&apply(&world, next.clone(), PLAIN).await), updates);
    let pruned =
        ["Delete price openai/later input ", "Delete model chat-cheap ", "Delete provider local-vllm "];
    assert_eq!(changed(&apply(&world, next.clone(), PRUNE).await), pruned);
    next["tenants"] = json!([]);
    assert_eq!(changed(&apply(&world, next.clone(), PRUNE).await), ["Delete tenant acme "]);
    assert_eq!(changed(&apply(&world, next, PRUNE).await), Vec::<String>::new());
}

#[tokio::test]
async fn an_export_has_no_secrets_and_changes_nothing_where_it_came_from() {
    let world = World::new().await;
    apply(&world, example(), PLAIN).await;
    let exported = world.app().export_config(&world.admin).await.unwrap();
    let text = serde_json::to_string(&exported).unwrap();
    assert!(!text.contains("sk-") && text.contains("${OPENAI_MAIN_SECRET}"), "{text}");
    assert!(!text.contains("{}") && !text.contains("[]") && !text.contains("null"), "{text}");
    let tenant = serde_json::to_value(&exported.tenants[0]).unwrap();
    assert_eq!(tenant["data_policy"], json!({ "regions": ["us", "eu"], "providers": ["*"] }));
    let reread: ConfigDocument = serde_json::from_str(&text).unwrap();
    let reread = reread.tenants.into_iter().map(|tenant| (tenant.limits, tenant.data_policy.regions));
    let limits = exported.tenants.iter().map(|tenant| (tenant.limits, tenant.data_policy.regions.clone()));
    assert!(reread.eq(limits), "what is left out means what it meant");
    let mut resolved = exported.clone();
    let openai = resolved.providers.iter_mut().find(|provider| provider.name == "openai").unwrap();
    openai.credentials[0].secret = Some(SecretText::new("sk-1"));
    assert_eq!(validate(&resolved), []);
    let app = world.app();
    let same = app.apply_config(&world.admin, resolved.clone(), PRUNE).await.unwrap();
    assert_eq!(changed(&same), Vec::<String>::new());
    // And an empty installation becomes the same one.
    let other = World::new().await;
    other.app().apply_config(&other.admin, resolved, PLAIN).await.unwrap();
    assert_eq!(other.app().export_config(&other.admin).await.unwrap(), exported);
}

/// Every version that pods can get has all the prices of a document or none of them.
#[tokio::test]
async fn new_prices_come_together_or_not_at_all() {
    let world = World::new().await;
    apply(&world, example(), PLAIN).await;
    let mut next = example();
    next["prices"] = json!([
        { "provider": "openai", "model": "new", "input": "1", "output": "2" },
        { "provider": "openai", "model": "new", "context_from": 1_000, "input": "3", "output": "4" },
        { "provider": "openai", "model": "later", "input": "9", "effective_from": "2027-01-01T00:00:00Z" }
    ]);
    next["models"][0]["targets"][0]["model"] = json!("new");
    let before = world.store.policy_revision().await.unwrap();
    let refused = world.app().apply_config(&world.admin, document(next.clone()), PLAIN).await.unwrap_err();
    assert_eq!(refused.status(), 409, "another price of `later` begins at that moment: {refused}");
    assert_eq!(world.store.policy_revision().await.unwrap(), before, "nothing was written");
    next["prices"].as_array_mut().unwrap().pop();
    apply(&world, next, PLAIN).await;
    let changes = world.store.policy_changes_since(before, 100).await.unwrap().unwrap();
    let kinds: Vec<_> = changes.into_iter().map(|(_, reference)| reference.kind).collect();
    let mut expected = vec![tollgate_policy::ObjectKind::Price; 4];
    expected.push(tollgate_policy::ObjectKind::Model);
    assert_eq!(kinds, expected, "prices before the model that leads to them");
}

#[tokio::test]
async fn applying_needs_the_permission_and_a_document_that_holds() {
    let world = World::new().await;
    let nobody = Actor::new("bob", Role::TenantAdmin(tollgate_domain::Id::from_u128(1)));
    let refused = world.app().apply_config(&nobody, ConfigDocument::default(), PLAIN).await.unwrap_err();
    assert_eq!(refused.status(), 403);
    let partial = json!({ "version": 1, "models": [{ "name": "m", "targets": [{ "provider": "openai", "model": "x" }] }] });
    let refused = world.app().apply_config(&world.admin, document(partial.clone()), PLAIN).await.unwrap_err();
    assert_eq!(paths(&refused), ["models[0].targets[0].provider"]);
    // A document may lean on what is there already, unless that would be pruned.
    world.provider("openai").await;
    let refused = world.app().apply_config(&world.admin, document(partial.clone()), PRUNE).await.unwrap_err();
    assert_eq!(paths(&refused), ["models[0].targets[0].provider"]);
    assert_eq!(changed(&apply(&world, partial, PLAIN).await), ["Create model m "]);
}

#[tokio::test]
async fn what_may_be_dropped_is_applied_and_exported() {
    let world = World::new().await;
    let dropping = |drops: bool| {
        let mut value = example();
        value["models"][0]["drop_unsupported"] = json!(drops);
        value
    };
    let exported = async || {
        let exported = world.app().export_config(&world.admin).await.unwrap();
        exported.models.iter().find(|model| model.name == "chat-default").unwrap().drop_unsupported
    };
    apply(&world, example(), PLAIN).await;
    assert!(!exported().await, "nothing is dropped unless somebody says so");
    let report = apply(&world, dropping(true), PLAIN).await;
    assert_eq!(changed(&report), ["Update model chat-default drop_unsupported"]);
    assert!(exported().await);
    assert!(!apply(&world, dropping(true), PLAIN).await.has_changes());
    apply(&world, example(), PLAIN).await;
    assert!(!exported().await, "what a file does not say of a model is the default");
}

#[tokio::test]
async fn slices_of_holds_are_applied_and_exported_for_a_model_and_for_all() {
    let world = World::new().await;
    let sliced = |default: Value, model: Value| {
        let mut value = example();
        value["hold"] = json!({ "slice_tokens": default });
        value["models"][0]["hold"] = json!({ "slice_tokens": model });
        value
    };
    let export = async || {
        let exported = world.app().export_config(&world.admin).await.unwrap();
        let model = exported.models.iter().find(|model| model.name == "chat-default").unwrap();
        (exported.hold.slice_tokens, model.hold.and_then(|hold| hold.slice_tokens))
    };
    apply(&world, example(), PLAIN).await;
    assert_eq!(export().await, (None, None));
    let report = apply(&world, sliced(json!(4_096), json!(0)), PLAIN).await;
    assert_eq!(
        changed(&report),
        ["Update model chat-default hold", "Create hold slice_tokens 4096 tokens at a time"]
    );
    assert_eq!(export().await, (Some(4_096), Some(0)));
    assert!(!apply(&world, sliced(json!(4_096), json!(0)), PLAIN).await.has_changes());
    apply(&world, sliced(Value::Null, Value::Null), PLAIN).await;
    assert_eq!(export().await, (Some(4_096), None), "what a file does not say of the whole stays");
    apply(&world, example(), PRUNE).await;
    assert_eq!(export().await, (None, None));
    let wrong = sliced(json!(255), json!(1_000_001));
    let mut found: Vec<_> = validate(&document(wrong)).into_iter().map(|problem| problem.path).collect();
    found.sort();
    assert_eq!(found, ["hold.slice_tokens", "models[0].hold.slice_tokens"]);
}
