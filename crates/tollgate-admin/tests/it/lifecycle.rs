use serde_json::{Value, json};

use crate::harness::{TestAdmin, ids, provider_body};

#[tokio::test]
async fn tenants_live_and_end() {
    let admin = TestAdmin::start().await;
    let made = admin.post("/tenants", json!({"name": "acme", "time_zone": "Europe/Berlin"})).await;
    assert_eq!((&made["billing"], &made["time_zone"]), (&json!("postpaid"), &json!("Europe/Berlin")));
    let by_id = format!("/tenants/{}", made["id"].as_str().unwrap());
    assert_eq!(admin.get("/tenants/acme").await, made);
    assert_eq!(admin.get(&by_id).await, made);
    let limits = json!({"requests_per_minute": 60});
    let changed = admin.patch(&by_id, json!({"blocked": true, "limits": limits})).await;
    assert_eq!((&changed["blocked"], &changed["limits"]), (&json!(true), &limits));
    assert_eq!(changed["time_zone"], "Europe/Berlin", "what is absent stays");
    let reset = admin.patch(&by_id, json!({"limits": null, "time_zone": null, "name": "acme-2"})).await;
    assert_eq!((&reset["limits"], &reset["time_zone"]), (&json!({}), &json!("UTC")));
    assert_eq!(admin.delete("/tenants/acme-2").await["id"], made["id"]);
    admin.refused(404, "GET", &by_id, Value::Null).await;
    assert_eq!(ids(&admin.get("/tenants").await), Vec::<String>::new());
}

#[tokio::test]
async fn projects_and_keys_live_and_end() {
    let admin = TestAdmin::start().await;
    let made = admin.populate().await;
    let labels = json!({"department": "support"});
    let project = admin.patch("/projects/acme%2Fbot", json!({"labels": labels})).await;
    assert_eq!((&project["labels"], &project["id"]), (&labels, &made.project["id"]));
    let key =
        admin.patch("/keys/prod", json!({"models": ["chat-*"], "expires_at": "2027-01-01T00:00:00Z"})).await;
    assert_eq!((&key["models"], &key["state"]), (&json!(["chat-*"]), &json!("active")));
    assert_eq!(
        admin.call("POST", "/keys/prod/block", &Value::Null).await.json().unwrap()["state"],
        "blocked"
    );
    assert_eq!(
        admin.call("POST", "/keys/prod/unblock", &Value::Null).await.json().unwrap()["state"],
        "active"
    );
    let rotated = admin.call("POST", "/keys/prod/rotate", &json!({"grace_seconds": 60})).await;
    let rotated = rotated.expect_status(200).unwrap().json().unwrap();
    assert_ne!(rotated["secret"], made.key["secret"]);
    assert!(rotated["previous_accepted_until"].is_string(), "{rotated}");
    let again = admin.call("POST", "/keys/prod/rotate", &Value::Null).await;
    assert_eq!(again.status, 200, "a rotation without grace needs no body");
    assert_eq!(admin.delete("/keys/prod").await["state"], "revoked");
    assert_eq!(ids(&admin.get("/projects/bot/keys").await), Vec::<String>::new());
    assert_eq!(admin.delete("/projects/bot").await["name"], "bot");
    admin.refused(404, "GET", "/projects/bot", Value::Null).await;
}

#[tokio::test]
async fn budgets_and_credit_show_what_is_left() {
    let admin = TestAdmin::start().await;
    admin.populate().await;
    let budget = admin.post("/budgets", json!({"key": "prod", "window": "day", "limit": "10.00"})).await;
    assert_eq!(budget["scope"], "key");
    for (field, amount) in [("limit", "10"), ("spent", "0"), ("held", "0"), ("remaining", "10")] {
        let shown: f64 = budget[field].as_str().unwrap().parse().unwrap();
        assert!((shown - amount.parse::<f64>().unwrap()).abs() < 1e-9, "{field}: {budget}");
    }
    assert_eq!(budget["resets_at"], "2026-11-23T00:00:00.000Z");
    let path = format!("/budgets/{}", budget["id"].as_str().unwrap());
    assert_eq!(admin.patch(&path, json!({"limit": "20.5"})).await["limit"], "20.5");
    let error = admin.refused(422, "PATCH", &path, json!({"window": "month"})).await;
    assert_eq!(error["fields"][0]["path"], "window", "{error}");
    assert_eq!(ids(&admin.get("/budgets?key=prod").await).len(), 1);
    assert_eq!(ids(&admin.get("/budgets?tenant=acme").await).len(), 1);
    assert_eq!(admin.delete(&path).await["id"], budget["id"]);
    admin.refused(404, "GET", &path, Value::Null).await;
    let grant = json!({"amount": "5.00", "kind": "grant", "reference": "welcome"});
    let credit = admin.post("/tenants/acme/credits", grant.clone()).await;
    assert_eq!(
        admin.post("/tenants/acme/credits", grant).await["id"],
        credit["id"],
        "one grant per reference"
    );
    let balance = admin.get("/tenants/acme/balance").await;
    assert_eq!((&balance["credit"], &balance["available"]), (&json!("5"), &json!("5")), "{balance}");
    let ledger = admin.get("/tenants/acme/ledger").await;
    assert_eq!(ledger["data"].as_array().unwrap().len(), 1, "{ledger}");
}

#[tokio::test]
async fn providers_models_and_prices_live_and_end() {
    let admin = TestAdmin::start().await;
    let made = admin.populate().await;
    let provider = admin.patch("/providers/openai", json!({"region": "us", "trains_on_data": false})).await;
    assert_eq!((&provider["region"], &provider["id"]), (&json!("us"), &made.provider["id"]));
    assert_eq!(admin.patch("/providers/openai", json!({"region": null})).await["region"], Value::Null);
    let test = admin.call("POST", "/providers/openai/test", &Value::Null).await.expect_status(200).unwrap();
    let test = test.json().unwrap();
    assert_eq!((&test["ok"], &test["status"]), (&json!(true), &json!(200)));
    let model = admin.patch("/models/chat-default", json!({"retry": {"max_attempts": 1}})).await;
    assert_eq!((&model["retry"]["max_attempts"], &model["id"]), (&json!(1), &made.model["id"]));
    let defaults = admin.patch("/defaults", json!({"defaults": {"chat": "chat-default"}})).await;
    assert_eq!(defaults["defaults"]["chat"], "chat-default");
    assert_eq!(admin.get("/defaults").await, defaults);
    let row = json!({
        "provider": "openai", "model": "gpt-5-mini", "meter": "input", "price": "0.25",
        "effective_from": "2027-01-01T00:00:00Z",
    });
    let price = admin.post("/prices", row).await;
    assert_eq!(price["price"], "0.25");
    let path = format!("/prices/{}", price["id"].as_str().unwrap());
    assert_eq!(admin.get(&path).await, price);
    assert_eq!(ids(&admin.get("/prices?provider=openai&model=gpt-5-mini").await).len(), 1);
    assert_eq!(ids(&admin.get("/prices?provider=elsewhere").await).len(), 0);
    assert_eq!(admin.delete(&path).await["id"], price["id"]);
    admin.refused(409, "DELETE", "/providers/openai", Value::Null).await;
    admin.patch("/defaults", json!({"defaults": {}})).await;
    admin.delete("/models/chat-default").await;
    admin.delete("/providers/openai").await;
    admin.post("/providers", provider_body()).await;
}

#[tokio::test]
async fn configuration_is_applied_and_exported() {
    let admin = TestAdmin::start().await;
    let document = json!({
        "version": 1,
        "providers": [{"name": "demo", "dialect": "demo"}],
        "models": [{"name": "chat-default", "targets": [{"provider": "demo", "model": "demo-chat"}]}],
        "tenants": [{"name": "acme", "projects": [{"name": "bot", "keys": [{"name": "prod"}]}]}],
    });
    let apply = async |query: &str| {
        let answer = admin.call("POST", &format!("/config/apply{query}"), &document).await;
        answer.expect_status(200).unwrap().json().unwrap()
    };
    let planned = apply("?dry_run=true").await;
    assert!(!planned["changes"].as_array().unwrap().is_empty(), "{planned}");
    assert_eq!(ids(&admin.get("/tenants").await).len(), 0, "a dry run changes nothing");
    apply("").await;
    assert_eq!(admin.get("/keys/prod").await["state"], "active");
    let again = apply("").await;
    let has_changes = |report: &Value| {
        report["changes"].as_array().unwrap().iter().any(|change| change["action"] != "unchanged")
    };
    assert!(!has_changes(&again), "{again}");
    let exported = admin.get("/config/export").await;
    assert_eq!(exported["tenants"][0]["name"], "acme");
    let mut broken = document.clone();
    broken["models"][0]["targets"][0]["provider"] = json!("nowhere");
    let error = admin.refused(422, "POST", "/config/apply", broken).await;
    assert_eq!(error["fields"][0]["path"], "models[0].targets[0].provider", "{error}");
    let nodes = admin.get("/nodes").await;
    assert_eq!(nodes["data"], json!([]));
}

/// Every write left a row with its actor and what was before and after.
#[tokio::test]
async fn the_audit_log_has_every_write() {
    let admin = TestAdmin::start().await;
    admin.populate().await;
    admin.patch("/tenants/acme", json!({"blocked": true})).await;
    let audit = admin.get("/audit").await;
    let rows = audit["data"].as_array().unwrap();
    assert_eq!(rows.len(), 6, "{audit}");
    assert!(rows.iter().all(|row| row["actor"] == "bootstrap-admin"), "{audit}");
    let newest = &rows[0];
    assert_eq!(
        (&newest["before"]["blocked"], &newest["after"]["blocked"]),
        (&json!(false), &json!(true)),
        "{newest}"
    );
}
