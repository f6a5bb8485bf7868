//! What is passed through: who may, what it costs, and what does not leak.

use http::Method;
use serde_json::json;
use tollgate_domain::{Meter, NanoUsd, RequestOutcome, Surface};
use tollgate_testkit::http::Answer;
use tollgate_testkit::mock_provider::{BreakKind, Script};

use crate::harness::{KEY, Pod, Setup};

const PRICE: NanoUsd = NanoUsd(10_000_000);

fn setup() -> Setup {
    Setup {
        models: vec!["*".to_owned(), "mock/passthrough".to_owned()],
        passthrough: vec![(Some(Meter::Request), PRICE.0 * 1_000_000)],
        ..Setup::default()
    }
}

async fn call(pod: &Pod, method: Method, path: &str, body: &str) -> Answer {
    let mut request = pod.http.request(method, &pod.url(path), body.to_owned()).unwrap();
    for (name, value) in
        [("cookie", "a=b"), ("x-api-key", KEY), ("x-tollgate-labels", "a=b"), ("api-key", KEY)]
    {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    pod.http.send(request).await.unwrap()
}

#[tokio::test]
async fn a_call_passes_with_the_providers_credential_and_is_charged() {
    let pod = Pod::start(setup()).await;
    pod.mock.push(
        Script::new().json(&json!({"id": "job-1", "usage": {"prompt_tokens": 7, "completion_tokens": 2}})),
    );
    let path = format!("/passthrough/mock/fine_tuning/jobs?limit=2&key={KEY}");
    let answer = call(&pod, Method::POST, &path, r#"{"model":"x","n":1}"#).await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
    assert_eq!(answer.json().unwrap()["id"], "job-1");
    assert_eq!(answer.header("x-tollgate-cost-usd"), Some(PRICE.to_string().as_str()));
    let asked = pod.mock.last_request().unwrap();
    assert_eq!((asked.method(), asked.path()), ("POST", "/v1/fine_tuning/jobs?limit=2"));
    assert_eq!(asked.bearer(), Some("upstream-secret-1"));
    assert_eq!(&asked.body()[..], br#"{"model":"x","n":1}"#);
    assert!(!String::from_utf8_lossy(asked.head_bytes()).contains(KEY));
    for header in ["cookie", "x-api-key", "api-key", "x-tollgate-labels"] {
        assert_eq!(asked.header(header), None, "{header}");
    }
    let event = pod.next_event().await;
    assert_eq!((event.surface, event.cost, event.held), (Surface::Passthrough, PRICE, PRICE));
    assert_eq!((event.requested_model.as_str(), event.usage.get(Meter::Input)), ("mock/passthrough", 7));

    // what is read by GET, and what is no JSON
    let answer = call(&pod, Method::GET, "/passthrough/mock/models", "").await;
    assert_eq!((answer.status.as_u16(), pod.mock.last_request().unwrap().method()), (200, "GET"));
    assert_eq!(pod.next_event().await.cost, PRICE);
    pod.mock.push(Script::new().body("application/octet-stream", vec![0xfe; 70_000]));
    let answer = call(&pod, Method::POST, "/passthrough/mock/uploads/x/parts", "").await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 70_000));
    assert_eq!(pod.next_event().await.cost, PRICE);
    pod.mock.push(
        Script::new().sse_payloads([r#"{"a":1}"#, r#"{"usage":{"prompt_tokens":3,"completion_tokens":4}}"#]),
    );
    let answer = call(&pod, Method::POST, "/passthrough/mock/events", "{}").await;
    assert!(answer.text().starts_with("data: {\"a\":1}\n\n"), "{}", answer.text());
    let event = pod.next_event().await;
    assert_eq!((event.cost, event.outcome), (PRICE, RequestOutcome::Ok));
    pod.wait_until_nothing_is_held().await;
}

#[tokio::test]
async fn failures_cost_nothing_and_are_not_repeated() {
    let pod = Pod::start(setup()).await;
    pod.mock.push(Script::error(404, "no such job"));
    let answer = call(&pod, Method::POST, "/passthrough/mock/jobs/1/cancel", "{}").await;
    assert_eq!((answer.status.as_u16(), answer.text().contains("no such job")), (404, true));
    assert_eq!(pod.next_event().await.cost, NanoUsd::ZERO);
    pod.mock.push_times(2, Script::error(500, "down"));
    let answer = call(&pod, Method::POST, "/passthrough/mock/jobs", "{}").await;
    assert_eq!(answer.status.as_u16(), 502);
    let event = pod.next_event().await;
    assert_eq!((event.attempts.len(), pod.mock.n_queued_scripts()), (1, 1));
    // a redirect is not followed, nor told
    let redirected = Pod::start(setup()).await;
    redirected
        .mock
        .push(Script::new().status(302).header("location", "http://169.254.169.254/").json(&json!({})));
    let answer = call(&redirected, Method::POST, "/passthrough/mock/jobs", "{}").await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (502, None));
    let cut = Script::new()
        .body("application/octet-stream", vec![1; 9_000])
        .break_after_bytes(5_000, BreakKind::Reset);
    let fresh = Pod::start(setup()).await;
    fresh.mock.push(cut);
    let request = fresh.http.request(Method::POST, &fresh.url("/passthrough/mock/a"), "{}").unwrap();
    assert!(fresh.http.send(request).await.is_err());
    assert_eq!(fresh.next_event().await.cost, PRICE);
    fresh.wait_until_nothing_is_held().await;
}

#[tokio::test]
async fn only_keys_that_are_told_so_may() {
    for models in
        [vec![], vec!["*".to_owned()], vec!["mock/*".to_owned()], vec!["second/passthrough".to_owned()]]
    {
        let pod = Pod::start(Setup { models: models.clone(), ..setup() }).await;
        let answer = call(&pod, Method::GET, "/passthrough/mock/models", "").await;
        let error = answer.json().unwrap()["error"].clone();
        assert_eq!(
            (answer.status.as_u16(), &error["code"]),
            (403, &json!("model_not_allowed")),
            "{models:?}: {error}"
        );
        assert_eq!(pod.mock.counts().n_received, 0);
    }
    let pod = Pod::start(Setup { models: vec!["*/passthrough".to_owned()], ..setup() }).await;
    assert_eq!(call(&pod, Method::GET, "/passthrough/mock/models", "").await.status.as_u16(), 200);
    assert_eq!(call(&pod, Method::GET, "/passthrough/nobody/models", "").await.status.as_u16(), 404);
}

#[tokio::test]
async fn what_has_no_price_per_request_is_refused() {
    for prices in [
        vec![],
        vec![(Some(Meter::Input), 1_000_000)],
        vec![(Some(Meter::Input), 1_000_000), (Some(Meter::Request), 5_000_000)],
    ] {
        let pod = Pod::start(Setup { passthrough: prices, ..setup() }).await;
        let answer = call(&pod, Method::GET, "/passthrough/mock/models", "").await;
        assert_eq!(answer.json().unwrap()["error"]["code"], "model_not_priced", "{}", answer.text());
        assert_eq!(pod.mock.counts().n_received, 0);
    }
    // what has owners here is not shown to everybody
    let pod = Pod::start(setup()).await;
    for path in ["files", "files/file-1/content", "v1/batches"] {
        let answer = call(&pod, Method::GET, &format!("/passthrough/mock/{path}"), "").await;
        assert_eq!(answer.status.as_u16(), 400, "{path}: {}", answer.text());
    }
    // unless the operator says that it is free
    let pod = Pod::start(Setup { passthrough: vec![(None, 0)], ..setup() }).await;
    assert_eq!(call(&pod, Method::GET, "/passthrough/mock/models", "").await.status.as_u16(), 200);
    assert_eq!(pod.next_event().await.cost, NanoUsd::ZERO);
    // and what cannot be paid is not sent
    let pod = Pod::start(Setup { budget: Some(NanoUsd(PRICE.0 - 1)), ..setup() }).await;
    assert_eq!(call(&pod, Method::GET, "/passthrough/mock/models", "").await.status.as_u16(), 402);
    assert_eq!(pod.mock.counts().n_received, 0);
}

#[tokio::test]
async fn paths_stay_below_the_base_url() {
    let pod = Pod::start(setup()).await;
    for path in ["a//b", "%2e%2e/x", "a%2F..%2Fb", "a%5cb", "..;/x", "http:%2f%2fevil", "//evil.example/x"] {
        let answer = call(&pod, Method::GET, &format!("/passthrough/mock/{path}"), "").await;
        assert_eq!(answer.status.as_u16(), 400, "{path}: {}", answer.text());
    }
    assert_eq!(pod.mock.counts().n_received, 0);
}
