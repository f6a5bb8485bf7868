use http::Method;
use serde_json::{Value, json};
use tollgate_testkit::http::Answer;

use crate::harness::TestAdmin;

async fn write(admin: &TestAdmin, method: Method, path: &str, key: &str, body: &Value) -> Answer {
    let mut request = admin.admin.request(method, &admin.url(path), body.to_string()).unwrap();
    request.headers_mut().insert("idempotency-key", key.parse().unwrap());
    admin.admin.send(request).await.unwrap()
}

#[tokio::test]
async fn a_repeated_write_is_done_once_and_answers_the_same() {
    let admin = TestAdmin::start().await;
    admin.populate().await;
    let body = json!({"name": "once"});
    let first =
        write(&admin, Method::POST, "/projects/bot/keys", "k-1", &body).await.expect_status(201).unwrap();
    let second =
        write(&admin, Method::POST, "/projects/bot/keys", "k-1", &body).await.expect_status(201).unwrap();
    assert_eq!(first.body, second.body, "the secret too: the caller may have lost the first answer");
    assert_eq!(
        (first.header("idempotent-replayed"), second.header("idempotent-replayed")),
        (None, Some("true"))
    );
    assert_eq!(second.header("content-type"), Some("application/json"));
    let keys = admin.get("/projects/bot/keys").await;
    assert_eq!(keys["data"].as_array().unwrap().len(), 2, "`prod` and `once`");
    let other = write(&admin, Method::POST, "/projects/bot/keys", "k-2", &json!({"name": "twice"})).await;
    assert_eq!(other.status, 201);
}

#[tokio::test]
async fn a_key_used_for_something_else_is_refused() {
    let admin = TestAdmin::start().await;
    write(&admin, Method::POST, "/tenants", "k-1", &json!({"name": "a"})).await.expect_status(201).unwrap();
    let other_body = write(&admin, Method::POST, "/tenants", "k-1", &json!({"name": "b"})).await;
    let other_path = write(&admin, Method::PATCH, "/tenants/a", "k-1", &json!({"name": "a"})).await;
    for answer in [other_body, other_path] {
        let error = answer.expect_status(422).unwrap().json().unwrap()["error"].clone();
        assert_eq!(error["code"], "idempotency_key_reused");
        assert_eq!(error["fields"][0]["path"], "idempotency-key");
    }
    assert_eq!(admin.get("/tenants").await["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_refused_write_may_be_repeated_under_its_key() {
    let admin = TestAdmin::start().await;
    let body = json!({"name": "late"});
    write(&admin, Method::POST, "/tenants/acme/projects", "k-1", &body).await.expect_status(404).unwrap();
    admin.post("/tenants", json!({"name": "acme"})).await;
    write(&admin, Method::POST, "/tenants/acme/projects", "k-1", &body).await.expect_status(201).unwrap();
}

#[tokio::test]
async fn twenty_at_once_make_one_object() {
    let admin = TestAdmin::start().await;
    let body = json!({"name": "acme"});
    let writes = (0..20).map(|_| write(&admin, Method::POST, "/tenants", "k-1", &body));
    let mut bodies = Vec::new();
    for answer in futures::future::join_all(writes).await {
        match answer.status.as_u16() {
            201 => bodies.push(answer.body),
            409 => assert_eq!(answer.json().unwrap()["error"]["code"], "idempotency_in_progress"),
            other => unreachable!("{other}: {}", answer.text()),
        }
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1);
    assert_eq!(admin.get("/tenants").await["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn keys_must_be_short_and_visible() {
    let admin = TestAdmin::start().await;
    for key in ["", "a b", &"x".repeat(256)] {
        let answer = write(&admin, Method::POST, "/tenants", key, &json!({"name": "a"})).await;
        let error = answer.expect_status(400).unwrap().json().unwrap()["error"].clone();
        assert_eq!(error["fields"][0]["path"], "idempotency-key");
    }
}
