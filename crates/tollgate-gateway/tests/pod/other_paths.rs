//! Azure's paths, single models in each dialect's shape, and Google's streams as arrays.

use http::Method;
use serde_json::{Value, json};
use tollgate_testkit::http::HttpClient;

use crate::harness::{KEY, Pod, Setup};

#[tokio::test]
async fn azures_paths_name_the_model() {
    let pod = Pod::start(Setup::default()).await;
    let azure = |path: &str, body: &Value| {
        let mut request = HttpClient::new().request(Method::POST, &pod.url(path), body.to_string()).unwrap();
        request.headers_mut().insert("api-key", KEY.parse().unwrap());
        request
    };
    let messages = json!([{"role": "user", "content": "hello"}]);
    for (path, body, sent) in [
        (
            "/openai/deployments/one/chat/completions?api-version=2024-10-21",
            json!({"messages": messages}),
            "/v1/chat/completions",
        ),
        (
            "/openai/deployments/mock%2Fm/chat/completions",
            json!({"model": "nobody", "messages": messages}),
            "/v1/chat/completions",
        ),
        ("/openai/deployments/one/embeddings?api-version=x", json!({"input": "a"}), "/v1/embeddings"),
        (
            "/openai/v1/chat/completions",
            json!({"model": "one", "messages": messages}),
            "/v1/chat/completions",
        ),
    ] {
        let answer = pod.http.send(azure(path, &body)).await.unwrap();
        assert_eq!(answer.status.as_u16(), 200, "{path}: {}", answer.text());
        let asked = pod.mock.last_request().unwrap();
        assert_eq!((asked.path(), &asked.json().unwrap()["model"]), (sent, &json!("m")), "{path}");
        assert!(pod.next_event().await.cost > tollgate_domain::NanoUsd::ZERO, "{path}");
    }
    let unknown = azure("/openai/deployments/none/chat/completions", &json!({"messages": messages}));
    let answer = pod.http.send(unknown).await.unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.json().unwrap()["error"]["code"].clone()),
        (404, json!("model_not_found"))
    );
    let nobody = HttpClient::new().post_json(&pod.url("/openai/v1/embeddings"), &json!({})).await.unwrap();
    assert_eq!(nobody.status.as_u16(), 401);
}

#[tokio::test]
async fn a_model_has_the_shape_of_the_clients_dialect() {
    let pod = Pod::start(Setup::default()).await;
    let get = async |path: &str, header: Option<&str>| {
        let mut request = pod.http.request(Method::GET, &pod.url(path), "").unwrap();
        if let Some(header) = header {
            request.headers_mut().insert("anthropic-version", header.parse().unwrap());
        }
        pod.http.send(request).await.unwrap()
    };
    let openai = get("/v1/models/one", None).await.json().unwrap();
    assert_eq!((&openai["object"], &openai["id"]), (&json!("model"), &json!("one")));
    let anthropic = get("/v1/models/one", Some("2023-06-01")).await.json().unwrap();
    assert_eq!((&anthropic["type"], &anthropic["display_name"]), (&json!("model"), &json!("one")));
    let google = get("/v1beta/models/mock%2Fm", None).await.json().unwrap();
    assert_eq!(google["name"], "models/mock/m");
    assert_eq!(get("/v1beta/models/none", None).await.json().unwrap()["error"]["status"], "NOT_FOUND");
}

#[tokio::test]
async fn googles_streams_are_arrays_unless_events_are_asked_for() {
    let pod = Pod::start(Setup::default()).await;
    let ask = json!({"contents": [{"role": "user", "parts": [{"text": "hello there"}]}]});
    let path = "/v1beta/models/one:streamGenerateContent";
    let answer = pod.http.post_json(&pod.url(path), &ask).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, Some("application/json")));
    let elements = answer.json().unwrap();
    let elements = elements.as_array().unwrap();
    assert!(elements.len() > 1, "{elements:?}");
    assert!(elements.last().unwrap()["usageMetadata"]["totalTokenCount"].is_number(), "{elements:?}");
    let mut stream = pod.http.post_stream(&pod.url(&format!("{path}?alt=sse")), &ask).await.unwrap();
    let events = stream.collect_data().await.unwrap();
    let events: Vec<Value> = events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    assert_eq!(events.len(), elements.len());
    for _ in 0..2 {
        pod.next_event().await;
    }
    pod.wait_until_nothing_is_held().await;
}
