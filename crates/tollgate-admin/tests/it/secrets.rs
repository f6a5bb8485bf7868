use serde_json::{Value, json};

use crate::harness::{TOKEN, TestAdmin};

/// Reads everything that can be read and looks for what must not be there.
#[tokio::test]
async fn secrets_are_shown_once_and_credentials_never() {
    let admin = TestAdmin::start().await;
    let made = admin.populate().await;
    let generated = made.key["secret"].as_str().unwrap().to_owned();
    assert!(generated.starts_with("tgk_"));
    let brought = "canary-brought-secret-0123";
    let key = admin.post("/projects/bot/keys", json!({"name": "own", "secret": brought})).await;
    assert_eq!(key["secret"], brought);
    let rotated = admin.call("POST", "/keys/prod/rotate", &json!({"grace_seconds": 1})).await;
    let rotated = rotated.json().unwrap()["secret"].as_str().unwrap().to_owned();
    admin
        .patch(
            "/providers/openai",
            json!({"credentials": [{"name": "main", "secret": "sk-canary-second-0123456789"}]}),
        )
        .await;
    let test = admin.call("POST", "/providers/openai/test", &Value::Null).await.text();
    assert!(!made.provider.to_string().contains("canary") && !test.contains("canary-credential"), "{test}");
    let everything = [
        "/tenants",
        "/projects/bot/keys",
        "/keys/prod",
        "/keys/own",
        "/providers",
        "/providers/openai",
        "/models",
        "/audit?limit=1000",
        "/config/export",
        "/requests",
        "/usage",
        "/openapi.json",
        "/nodes",
    ];
    for path in everything {
        let text = admin.call("GET", path, &Value::Null).await.expect_status(200).unwrap().text();
        for secret in [generated.as_str(), rotated.as_str(), brought, "sk-canary", TOKEN] {
            assert!(!text.contains(secret), "{path} shows {secret}");
        }
    }
}

/// Errors repeat what was sent only as far as it is no secret.
#[tokio::test]
async fn errors_do_not_repeat_secrets() {
    let admin = TestAdmin::start().await;
    admin.populate().await;
    let bodies = [
        ("/projects/bot/keys", json!({"name": "k", "secret": "canary short"})),
        ("/projects/bot/keys", json!({"name": "k", "secret": ["canary-in-a-list-0123"]})),
        (
            "/providers",
            json!({"name": "p", "dialect": "openai", "credentials": [{"name": "c", "secret": "canary\nline"}]}),
        ),
        (
            "/providers",
            json!({"name": "p", "dialect": "openai", "base_url": "https://u:canary@h/v1", "credentials": []}),
        ),
    ];
    for (path, body) in bodies {
        let error = admin.refused(422, "POST", path, body).await;
        assert!(!error.to_string().contains("canary"), "{error}");
    }
}
