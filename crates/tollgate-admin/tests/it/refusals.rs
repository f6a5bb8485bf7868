use http::Method;
use serde_json::{Value, json};

use crate::harness::{TestAdmin, paths, provider_body};

#[tokio::test]
async fn problems_name_their_fields() {
    let admin = TestAdmin::start().await;
    admin.populate().await;
    let invalid = |method, path, body| admin.refused(422, method, path, body);
    let error = invalid(
        "POST",
        "/tenants",
        json!({"name": "a b", "time_zone": "Mars/Olympus", "limits": {"requests_per_minute": 0}}),
    )
    .await;
    assert_eq!(paths(&error), ["name", "time_zone", "limits.requests_per_minute"]);
    assert_eq!(error["code"], "invalid");
    let error = invalid("POST", "/tenants", json!({"name": "b", "nmae": "c"})).await;
    assert!(error["message"].as_str().unwrap().contains("nmae"), "{error}");
    let error = invalid("POST", "/tenants", json!({"billing": "prepaid"})).await;
    assert!(error["message"].as_str().unwrap().contains("name"), "{error}");
    let error =
        invalid("POST", "/tenants", json!({"name": "b", "limits": {"requests_per_minute": "many"}})).await;
    assert_eq!(paths(&error), ["limits.requests_per_minute"]);
    let error =
        invalid("POST", "/budgets", json!({"tenant": "acme", "window": "month", "limit": "-1"})).await;
    assert_eq!(paths(&error), ["limit"]);
    let error =
        invalid("POST", "/models", json!({"name": "m", "targets": [{"provider": "nowhere", "model": "x"}]}))
            .await;
    assert_eq!(paths(&error), ["targets[0].provider"]);
    let error = invalid("POST", "/projects/bot/keys", json!({"name": "k", "secret": "short"})).await;
    assert_eq!(paths(&error), ["secret"]);
    let error = invalid(
        "POST",
        "/prices",
        json!({"provider": "openai", "model": "m", "meter": "input", "price": "cheap"}),
    )
    .await;
    assert_eq!(paths(&error), ["price"]);
    let error = invalid("GET", "/tenants?limit=0", Value::Null).await;
    assert_eq!(paths(&error), ["limit"]);
}

#[tokio::test]
async fn conflicts_are_409_and_missing_objects_404() {
    let admin = TestAdmin::start().await;
    admin.populate().await;
    let error = admin.refused(409, "POST", "/tenants", json!({"name": "acme"})).await;
    assert_eq!((error["code"].as_str(), paths(&error)), (Some("conflict"), vec!["name"]));
    admin.refused(409, "POST", "/providers", provider_body()).await;
    admin.refused(409, "POST", "/projects/bot/keys", json!({"name": "prod"})).await;
    admin.post("/tenants", json!({"name": "other"})).await;
    admin.refused(409, "PATCH", "/tenants/other", json!({"name": "acme"})).await;
    let id = "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b";
    for path in ["tenants", "projects", "keys", "budgets", "providers", "models", "prices", "requests"] {
        for name in [id, "nobody"] {
            let error = admin.refused(404, "GET", &format!("/{path}/{name}"), Value::Null).await;
            assert_eq!(error["code"], "not_found", "{path}");
        }
    }
    admin.refused(404, "POST", "/tenants/nobody/projects", json!({"name": "p"})).await;
    admin.refused(404, "GET", "/tenants/nobody/balance", Value::Null).await;
}

#[tokio::test]
async fn malformed_requests_say_what_is_wrong() {
    let admin = TestAdmin::start().await;
    let tenants = admin.url("/tenants");
    let send = async |method: Method, url: &str, content_type: Option<&str>, body: Vec<u8>| {
        let mut request = admin.admin.request(method, url, body).unwrap();
        request.headers_mut().remove("content-type");
        if let Some(content_type) = content_type {
            request.headers_mut().insert("content-type", content_type.parse().unwrap());
        }
        let answer = admin.admin.send(request).await.unwrap();
        let error = answer.json().unwrap()["error"].clone();
        (answer.status.as_u16(), error["code"].as_str().unwrap().to_owned(), answer)
    };
    let json_type = Some("application/json");
    let (status, code, _) = send(Method::POST, &tenants, json_type, b"{\"name\":".to_vec()).await;
    assert_eq!((status, code.as_str()), (400, "malformed"));
    let (status, code, _) = send(Method::POST, &tenants, json_type, Vec::new()).await;
    assert_eq!((status, code.as_str()), (400, "malformed"));
    let (status, code, _) = send(Method::POST, &tenants, None, b"{\"name\":\"a\"}".to_vec()).await;
    assert_eq!((status, code.as_str()), (415, "unsupported_media_type"));
    let (status, _, _) = send(Method::POST, &tenants, Some("text/plain"), b"{\"name\":\"a\"}".to_vec()).await;
    assert_eq!(status, 415);
    let too_large = vec![b' '; tollgate_admin::MAX_BODY_BYTES + 1];
    let (status, code, _) = send(Method::POST, &tenants, json_type, too_large.clone()).await;
    assert_eq!((status, code.as_str()), (413, "request_too_large"));
    let (status, _, _) = send(Method::POST, &admin.url("/config/apply"), json_type, too_large).await;
    assert_eq!(status, 400, "a configuration may be larger than other bodies: blanks are no JSON");
    let (status, code, answer) = send(Method::PUT, &tenants, json_type, b"{}".to_vec()).await;
    assert_eq!((status, code.as_str()), (405, "method_not_allowed"));
    let allow = answer.header("allow").unwrap();
    assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
    let (status, code, _) = send(Method::GET, &admin.url("/tenant"), None, Vec::new()).await;
    assert_eq!((status, code.as_str()), (404, "not_found"));
}

#[tokio::test]
async fn unknown_query_parameters_are_refused_with_the_nearest_name() {
    let admin = TestAdmin::start().await;
    let error = admin.refused(400, "GET", "/tenants?limits=3", Value::Null).await;
    assert_eq!(paths(&error), ["limits"]);
    assert!(error["message"].as_str().unwrap().contains("did you mean `limit`?"), "{error}");
    let error = admin.refused(400, "GET", "/usage?groupby=tenant", Value::Null).await;
    assert!(error["message"].as_str().unwrap().contains("did you mean `group_by`?"), "{error}");
    admin.refused(400, "GET", "/usage?format=xml", Value::Null).await;
    let error = admin.refused(400, "GET", "/tenants?limit=many", Value::Null).await;
    assert_eq!(paths(&error), ["limit"]);
    admin.refused(400, "POST", "/tenants?dry_run=true", json!({"name": "a"})).await;
    assert_eq!(admin.get("/tenants").await["data"], json!([]), "nothing was made");
}

#[tokio::test]
async fn every_answer_has_its_id_and_plain_security_headers() {
    let admin = TestAdmin::start().await;
    let mut request_ids = Vec::new();
    for path in ["/tenants", "/openapi.json", "/nowhere"] {
        let answer = admin.call("GET", path, &Value::Null).await;
        request_ids.push(answer.header("x-tollgate-request-id").unwrap().to_owned());
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert!(answer.header("content-security-policy").unwrap().contains("default-src 'none'"));
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    request_ids.dedup();
    assert_eq!(request_ids.len(), 3);
    let preflight = admin.call("OPTIONS", "/tenants", &Value::Null).await;
    assert_eq!(preflight.status, 405);
}

/// A name that several objects have is refused where it would be a guess.
#[tokio::test]
async fn ambiguous_names_ask_for_the_id() {
    let admin = TestAdmin::start().await;
    admin.populate().await;
    admin.post("/tenants", json!({"name": "other"})).await;
    admin.post("/tenants/other/projects", json!({"name": "bot"})).await;
    admin.post("/projects/other%2Fbot/keys", json!({"name": "prod"})).await;
    for (method, path) in [
        ("GET", "/projects/bot"),
        ("DELETE", "/projects/bot"),
        ("GET", "/keys/prod"),
        ("GET", "/budgets?project=bot"),
        ("GET", "/requests?key=prod"),
        ("GET", "/usage?project=bot"),
    ] {
        let error = admin.refused(409, method, path, Value::Null).await;
        assert!(error["message"].as_str().unwrap().contains("use the id"), "{method} {path}: {error}");
    }
    assert_eq!(admin.get("/keys/other%2Fbot%2Fprod").await["tenant"], "other");
    for path in
        ["/budgets?tenant=nobody", "/usage?tenant=nobody", "/requests?key=nobody", "/prices?tenant=nobody"]
    {
        admin.refused(404, "GET", path, Value::Null).await;
    }
    admin.refused(400, "GET", "/tenants/%ff", Value::Null).await;
}

/// PostgreSQL keeps no NUL, so none is let in, whichever database there is.
#[tokio::test]
async fn nul_is_refused_wherever_it_stands() {
    let admin = TestAdmin::start().await;
    admin.populate().await;
    for path in ["/tenants/%00", "/keys/a%2Fb%00", "/requests/%00", "/tenants/acme%00/balance"] {
        let error = admin.refused(404, "GET", path, Value::Null).await;
        assert_eq!(error["code"], "not_found", "{path}");
    }
    admin.refused(404, "DELETE", "/providers/openai%00", Value::Null).await;
    for (path, name) in [
        ("/usage?tenant=%00", "tenant"),
        ("/usage?group_by=label:%00", "group_by"),
        ("/requests?provider=a%00", "provider"),
        ("/requests?limit=3&model=%00", "model"),
        ("/catalog/models?vendor=%00", "vendor"),
        ("/tenants?after=%00", "after"),
    ] {
        let error = admin.refused(400, "GET", path, Value::Null).await;
        assert_eq!(paths(&error), [name], "{path}");
    }
    let credit = json!({"amount": "1", "kind": "topup", "reference": "a\u{0}"});
    let target = json!({"provider": "openai", "model": "m\u{0}"});
    for (method, path, body, field) in [
        ("POST", "/budgets", json!({"key": "a\u{0}", "window": "month", "limit": "1"}), "key"),
        ("POST", "/tenants/acme/credits", credit, "reference"),
        ("PATCH", "/models/chat-default", json!({"targets": [target]}), "targets[0].model"),
        ("PATCH", "/projects/bot", json!({"labels": {"team": "\u{0}"}}), "labels.team"),
        ("POST", "/config/apply", json!({"version": 1, "tenants": [{"name": "\u{0}"}]}), "tenants[0].name"),
    ] {
        let error = admin.refused(422, method, path, body).await;
        assert_eq!(paths(&error), [field], "{path}: {error}");
    }
}

#[tokio::test]
async fn an_array_is_no_object() {
    let admin = TestAdmin::start().await;
    admin.populate().await;
    let limits = json!({"name": "x", "limits": [1, 2, 3]});
    for (method, path, body, field) in [
        ("POST", "/tenants", json!(["x", "postpaid", "UTC", false, {}, {}]), ""),
        ("POST", "/tenants", limits, "limits"),
        ("PATCH", "/tenants/acme", json!([]), ""),
        ("POST", "/keys/prod/rotate", json!([60]), ""),
        ("POST", "/models", json!({"name": "m", "targets": [["openai", "gpt-5-mini"]]}), "targets[0]"),
        ("POST", "/config/apply", json!([1]), ""),
    ] {
        let error = admin.refused(422, method, path, body).await;
        assert_eq!(paths(&error), [field], "{path}: {error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("must be an object") && !message.contains("struct"), "{path}: {error}");
    }
    assert_eq!(admin.get("/tenants").await["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn operations_without_a_body_take_none() {
    let admin = TestAdmin::start().await;
    admin.populate().await;
    for body in [json!({"blocked": false}), json!([]), json!("x"), json!({"reason": "\u{0}"})] {
        let error = admin.refused(422, "POST", "/keys/prod/block", body.clone()).await;
        assert!(error["message"].as_str().unwrap().contains("takes no body"), "{error}");
        admin.refused(422, "POST", "/providers/openai/test", body.clone()).await;
        admin.refused(422, "DELETE", "/models/chat-default", body).await;
    }
    let request = admin.admin.request(Method::POST, &admin.url("/keys/prod/block"), "{not json").unwrap();
    assert_eq!(admin.admin.send(request).await.unwrap().status, 422);
    assert_eq!(admin.get("/keys/prod").await["state"], "active");
    admin.call("POST", "/keys/prod/block", &Value::Null).await.expect_status(200).unwrap();
    admin.call("POST", "/keys/prod/unblock", &json!({})).await.expect_status(200).unwrap();
    admin.call("DELETE", "/models/chat-default", &json!({})).await.expect_status(200).unwrap();
}

#[tokio::test]
async fn money_is_not_lost_by_accident() {
    let admin = TestAdmin::start().await;
    admin.populate().await;
    let credit = |amount: &str, kind: &str| json!({"amount": amount, "kind": kind});
    admin.post("/tenants/acme/credits", credit("5", "topup")).await;
    let error = admin.refused(422, "POST", "/tenants/acme/credits", credit("-5.01", "refund")).await;
    assert_eq!(paths(&error), ["amount"]);
    assert!(error["message"].as_str().unwrap().contains("at most 5 USD"), "{error}");
    let error = admin.refused(409, "DELETE", "/tenants/acme", Value::Null).await;
    assert_eq!((error["code"].as_str(), paths(&error)), (Some("conflict"), vec!["credit"]));
    assert!(error["message"].as_str().unwrap().contains("5 USD"), "{error}");
    admin.refused(409, "DELETE", "/tenants/acme?force=false", Value::Null).await;
    admin.refused(400, "DELETE", "/tenants/acme?force=yes", Value::Null).await;
    assert_eq!(admin.get("/keys/prod").await["state"], "active", "nothing was deleted");
    admin.post("/tenants/acme/credits", credit("-5", "adjustment")).await;
    admin.call("DELETE", "/tenants/acme", &Value::Null).await.expect_status(200).unwrap();
    admin.post("/tenants", json!({"name": "acme", "billing": "prepaid"})).await;
    admin.post("/tenants/acme/credits", credit("5", "grant")).await;
    admin.call("DELETE", "/tenants/acme?force=true", &Value::Null).await.expect_status(200).unwrap();
}
