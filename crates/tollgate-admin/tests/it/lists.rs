use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{TestAdmin, ids};

/// Follows `next` from page to page; answers the ids in order.
async fn follow(admin: &TestAdmin, path: &str, limit: usize) -> Vec<String> {
    let mut found = Vec::new();
    let mut after = String::new();
    loop {
        let page = admin.get(&format!("{path}?limit={limit}{after}")).await;
        let page_ids = ids(&page);
        assert!(page_ids.len() <= limit && (page["next"].is_null() || page_ids.len() == limit), "{page}");
        found.extend(page_ids);
        match &page["next"] {
            Value::Null => return found,
            next => after = format!("&after={}", next.as_str().unwrap()),
        }
    }
}

#[tokio::test]
async fn pages_are_complete_and_without_repeats() {
    let admin = TestAdmin::start().await;
    admin.populate().await;
    for number in 0..23 {
        admin.post("/tenants", json!({"name": format!("t{number}")})).await;
        admin.post("/tenants/acme/projects", json!({"name": format!("p{number}")})).await;
        admin.post("/projects/acme%2Fbot/keys", json!({"name": format!("k{number}")})).await;
        let credit = json!({"amount": "1.00", "kind": "topup", "reference": format!("r{number}")});
        admin.post("/tenants/acme/credits", credit).await;
        admin
            .post("/budgets", json!({"tenant": format!("t{number}"), "window": "month", "limit": "1.00"}))
            .await;
    }
    for (path, count) in [
        ("/tenants", 24),
        ("/tenants/acme/projects", 24),
        ("/projects/bot/keys", 24),
        ("/tenants/acme/credits", 23),
        ("/tenants/acme/ledger", 23),
        ("/budgets", 23),
    ] {
        let whole = ids(&admin.get(path).await);
        assert_eq!(whole.len(), count, "{path}");
        for limit in [1, 5, 23, 24, 1000] {
            assert_eq!(follow(&admin, path, limit).await, whole, "{path} by {limit}");
        }
        assert_eq!(whole.iter().collect::<BTreeSet<_>>().len(), count, "{path} repeats");
    }
    for path in ["/audit", "/catalog/models"] {
        let whole = admin.get(&format!("{path}?limit=1000")).await;
        let mut pages = Vec::new();
        let mut after = String::new();
        loop {
            let page = admin.get(&format!("{path}?limit=7{after}")).await;
            pages.extend(page["data"].as_array().unwrap().clone());
            let Some(next) = page["next"].as_str() else { break };
            after = format!("&after={next}");
        }
        assert_eq!(&pages, whole["data"].as_array().unwrap(), "{path}");
    }
}

#[tokio::test]
async fn a_cursor_that_is_none_is_refused() {
    let admin = TestAdmin::start().await;
    for path in ["/tenants", "/providers", "/budgets", "/audit", "/requests"] {
        let error = admin.refused(422, "GET", &format!("{path}?after=nonsense"), Value::Null).await;
        assert_eq!(error["fields"][0]["path"], "after", "{path}");
    }
    admin.refused(422, "GET", "/tenants?limit=1001", Value::Null).await;
    assert_eq!(admin.get("/tenants?limit=1000").await, json!({"data": [], "next": null}));
}

#[tokio::test]
async fn the_catalogue_shows_what_longer_prompts_cost() {
    let admin = TestAdmin::start().await;
    let models = admin.get("/catalog/models?vendor=gemini").await;
    let named = |name: &str| {
        let models = models["data"].as_array().unwrap().iter();
        models.filter(|model| model["model"] == name).map(|model| model["bands"].clone()).next().unwrap()
    };
    let bands = named("gemini-2.5-pro");
    assert_eq!(bands[0]["context_from"], 200_001, "{bands}");
    assert_eq!(bands[0]["prices"]["input"], "2.5", "{bands}");
    assert_eq!(named("gemini-2.5-flash-lite"), json!([]));
}

/// The models of a list, as `vendor/model`.
fn model_names(list: &Value) -> Vec<String> {
    let name =
        |model: &Value| format!("{}/{}", model["vendor"].as_str().unwrap(), model["model"].as_str().unwrap());
    list["data"].as_array().unwrap().iter().map(name).collect()
}

#[tokio::test]
async fn the_catalogue_is_searched_by_vendor_capability_and_text() {
    let admin = TestAdmin::start().await;
    let whole = admin.get("/catalog/models?limit=1000").await;
    let n_models = model_names(&whole).len();
    assert!(n_models >= 300, "{n_models}");
    let of_vendor = admin.get("/catalog/models?vendor=anthropic&limit=1000").await;
    assert!(!model_names(&of_vendor).is_empty());
    assert!(model_names(&of_vendor).iter().all(|name| name.starts_with("anthropic/")));

    let seeing = admin.get("/catalog/models?vendor=openai&capability=vision&limit=1000").await;
    let sees = |model: &Value| model["capabilities"].as_array().unwrap().contains(&json!("vision"));
    let all_of_openai = whole["data"].as_array().unwrap().iter().filter(|model| model["vendor"] == "openai");
    let expected: Vec<&Value> = all_of_openai.filter(|model| sees(model)).collect();
    assert!(!expected.is_empty());
    assert_eq!(seeing["data"].as_array().unwrap().iter().collect::<Vec<_>>(), expected);

    // By alias, and whatever the case; `%2F` is the slash of `vendor/model`.
    assert_eq!(model_names(&admin.get("/catalog/models?q=GPT-5.4-2026").await), ["openai/gpt-5.4"]);
    let named = admin.get("/catalog/models?q=Openai%2Fgpt-5.4-mini&vendor=openai").await;
    assert_eq!(model_names(&named), ["openai/gpt-5.4-mini"]);
    assert_eq!(admin.get("/catalog/models?q=nonsense").await, json!({"data": [], "next": null}));
}

#[tokio::test]
async fn a_capability_that_is_none_is_refused() {
    let admin = TestAdmin::start().await;
    let error = admin.refused(422, "GET", "/catalog/models?capability=flying", Value::Null).await;
    assert_eq!(error["fields"][0]["path"], "capability");
    assert!(error["message"].as_str().unwrap().contains("reasoning"), "{error}");
}

#[tokio::test]
async fn the_catalogue_tells_tiers_and_retirement() {
    let admin = TestAdmin::start().await;
    let page = admin.get("/catalog/models?vendor=openai&q=gpt-5-mini").await;
    let model = &page["data"][0];
    let expected = json!({
        "model": "gpt-5-mini", "tokenizer": "o200k", "deprecated_on": "2026-12-11", "as_of": "2026-11-22",
        "output": ["text"], "context_tokens": 400_000,
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&model[field], value, "{field}");
    }
    let tier = |name: &str| {
        let tiers = model["tiers"].as_array().unwrap().iter();
        tiers.filter(|tier| tier["tier"] == name).map(|tier| tier["prices"]["input"].clone()).next()
    };
    assert_eq!(model["prices"]["input"], "0.25");
    assert_eq!(tier("flex"), Some(json!("0.125")));
}
