//! Answers as they should be: bytes kept, usage counted, cost told.

use serde_json::{Value, json};
use tollgate_domain::{NanoUsd, RequestOutcome, SettlementBasis};
use tollgate_testkit::mock_provider::{Script, Usage};

use crate::harness::{INPUT_PRICE, OUTPUT_PRICE, Pod, Setup, hello, streamed};

const USAGE: Usage = Usage { prompt_tokens: 12, completion_tokens: 7, cached_tokens: 0, reasoning_tokens: 0 };

fn cost_of(usage: Usage) -> NanoUsd {
    NanoUsd(usage.prompt_tokens as i64 * INPUT_PRICE + usage.completion_tokens as i64 * OUTPUT_PRICE)
}

#[tokio::test]
async fn a_chat_is_answered_counted_and_charged() {
    let pod = Pod::start(Setup::default()).await;
    pod.mock.set_default(Script::new().text("fine, thanks").usage(USAGE));
    let answer = pod.chat(&hello("one")).await.expect_status(200).unwrap();
    let cost = cost_of(USAGE);
    let body = answer.json().unwrap();
    assert_eq!(body["choices"][0]["message"]["content"], "fine, thanks");
    assert_eq!(body["usage"]["prompt_tokens"], 12);
    assert_eq!(body["usage"]["cost"].to_string(), cost.to_string());
    for (name, expected) in [
        ("x-tollgate-provider", "mock"),
        ("x-tollgate-model", "m"),
        ("x-tollgate-attempts", "1"),
        ("x-tollgate-cache", "off"),
        ("x-tollgate-cost-usd", &cost.to_string()),
        ("content-type", "application/json"),
    ] {
        assert_eq!(answer.header(name), Some(expected), "{name}");
    }
    assert!(answer.header("x-tollgate-overhead-us").is_some());
    let event = pod.next_event().await;
    assert_eq!(Some(event.request.to_string().as_str()), answer.header("x-tollgate-request-id"));
    assert_eq!(
        (event.cost, event.basis, event.outcome),
        (cost, SettlementBasis::Provider, RequestOutcome::Ok)
    );
    assert_eq!(event.labels["department"], "support");
    pod.wait_until_nothing_is_held().await;
    assert_eq!(pod.spent_and_held().await.0, cost);
}

#[tokio::test]
async fn the_provider_gets_the_clients_bytes_with_only_what_must_change() {
    let pod = Pod::start(Setup::default()).await;
    let body = r#"{ "model" : "one","messages":[{"role":"user","content":"caf\u00e9 ☕"}],
        "max_tokens":33, "tools":[{"type":"function","function":{"name":"f","parameters":{"n":12345678901234567890}}}], "x_unknown":[1e2]}"#;
    pod.http.post_bytes(&pod.url("/v1/chat/completions"), body).await.unwrap().expect_status(200).unwrap();
    let seen = pod.mock.last_request().unwrap();
    assert_eq!(std::str::from_utf8(seen.body()).unwrap(), body.replace("\"one\"", "\"m\""));
    assert_eq!(seen.bearer(), Some("upstream-secret-1"));
    assert_eq!(seen.path(), "/v1/chat/completions");
}

#[tokio::test]
async fn credentials_and_our_own_headers_stay_here() {
    let pod = Pod::start(Setup::default()).await;
    let body = serde_json::to_vec(&hello("one")).unwrap();
    let mut request = pod.http.request(http::Method::POST, &pod.url("/v1/chat/completions"), body).unwrap();
    for (name, value) in [
        ("x-api-key", "client-secret"),
        ("cookie", "session=1"),
        ("x-tollgate-labels", "feature=chat,department=other"),
        ("x-tollgate-user", "ann"),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    pod.http.send(request).await.unwrap().expect_status(200).unwrap();
    let seen = pod.mock.last_request().unwrap();
    for (name, value) in seen.headers() {
        assert!(!name.starts_with("x-tollgate") && name != "cookie" && name != "x-api-key", "{name}");
        assert!(!value.contains("sk-test") && !value.contains("client-secret"), "{name}: {value}");
    }
    let event = pod.next_event().await;
    assert_eq!(event.end_user.as_deref(), Some("ann"));
    assert_eq!(event.labels["feature"], "chat");
    assert_eq!(event.labels["department"], "support", "a client cannot book to another department");
}

#[tokio::test]
async fn a_stream_is_relayed_and_its_usage_chunk_hidden_unless_asked_for() {
    let pod = Pod::start(Setup::default()).await;
    pod.mock.set_default(Script::new().text("one two three").usage(USAGE));
    let plain = pod.stream(&streamed("one")).await.collect_data().await.unwrap();
    assert_eq!(plain.last().map(String::as_str), Some("[DONE]"));
    assert!(plain.iter().all(|data| !data.contains("\"usage\":{")), "{plain:?}");
    let sent: Value = pod.mock.last_request().unwrap().json().unwrap();
    assert_eq!(sent["stream_options"]["include_usage"], true);
    let mut asking = streamed("one");
    asking["stream_options"] = json!({ "include_usage": true });
    let told = pod.stream(&asking).await.collect_data().await.unwrap();
    let usage: Value = serde_json::from_str(&told[told.len() - 2]).unwrap();
    assert_eq!(usage["usage"]["completion_tokens"], 7);
    assert_eq!(usage["usage"]["cost"].to_string(), cost_of(USAGE).to_string());
    let text = |events: &[String]| -> String {
        let parse = |data: &String| serde_json::from_str::<Value>(data).ok();
        let events = events.iter().filter_map(parse);
        events
            .filter_map(|event| event["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
            .collect()
    };
    assert_eq!(text(&plain), "one two three");
    assert_eq!(text(&told), "one two three");
    for _ in 0..2 {
        let event = pod.next_event().await;
        assert_eq!((event.cost, event.basis), (cost_of(USAGE), SettlementBasis::Provider));
    }
    pod.wait_until_nothing_is_held().await;
}

#[tokio::test]
async fn embeddings_completions_and_default_models_work() {
    let pod = Pod::start(Setup::default()).await;
    let embeddings = json!({ "model": "mock/m", "input": ["a", "b"] });
    let answer = pod.http.post_json(&pod.url("/v1/embeddings"), &embeddings).await.unwrap();
    let answer = answer.expect_status(200).unwrap();
    assert_eq!(answer.json().unwrap()["data"].as_array().unwrap().len(), 2);
    let completion = json!({ "model": "mock/m", "prompt": "once upon", "max_tokens": 5 });
    let answer = pod.http.post_json(&pod.url("/v1/completions"), &completion).await.unwrap();
    answer.expect_status(200).unwrap();
    let mut nameless = hello("");
    nameless.as_object_mut().unwrap().remove("model");
    assert_eq!(
        pod.chat(&nameless).await.expect_status(200).unwrap().header("x-tollgate-provider"),
        Some("mock")
    );
}

#[tokio::test]
async fn models_key_and_quote_tell_what_the_key_may_and_has() {
    let pod = Pod::start(Setup { models: vec!["o*".into(), "mock/m".into()], ..Setup::default() }).await;
    let list =
        pod.http.get(&pod.url("/v1/models")).await.unwrap().expect_status(200).unwrap().json().unwrap();
    let ids: Vec<&str> =
        list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["mock/m", "one"]);
    let one = pod.http.get(&pod.url("/v1/models/mock%2Fm")).await.unwrap().expect_status(200).unwrap();
    assert_eq!(one.json().unwrap()["id"], "mock/m");
    let key = pod.http.get(&pod.url("/v1/key")).await.unwrap().expect_status(200).unwrap().json().unwrap();
    assert_eq!(key["budgets"][0]["limit_usd"], "1000");
    assert_eq!(key["budgets"][0]["scope"], "key");
    assert_eq!(key["project"], "bot");
    let quote = pod.http.post_json(&pod.url("/v1/quote"), &hello("one")).await.unwrap();
    let quote = quote.expect_status(200).unwrap().json().unwrap();
    let hold: NanoUsd = quote["hold_usd"].as_str().unwrap().parse().unwrap();
    assert!(hold.0 >= 100 * OUTPUT_PRICE, "{hold}");
    assert_eq!(pod.mock.counts().n_received, 0, "a quote sends nothing");
}
