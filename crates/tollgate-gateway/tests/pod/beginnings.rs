//! How streams begin: what is held back, what is told in the head, and native ones that the money ends.

use std::time::Duration;

use serde_json::{Value, json};
use tollgate_catalog::{Catalog, ServiceTier};
use tollgate_domain::{ErrorKind, NanoUsd, RequestOutcome, SettlementBasis};
use tollgate_policy::Dialect;
use tollgate_testkit::mock_provider::{BreakKind, Gate, Script};

use crate::harness::{OUTPUT_PRICE, Pod, Setup, hello, streamed};
use crate::responses::{catalog, serving};

fn impatient() -> Setup {
    let mut setup = Setup::default();
    setup.config.show_beginning_after = Duration::from_millis(50);
    setup
}

fn role() -> String {
    let delta = json!({"role": "assistant", "content": ""});
    let chunk = json!({"id": "r1", "object": "chat.completion.chunk", "created": 1, "model": "m-1",
        "choices": [{"index": 0, "delta": delta, "finish_reason": null}]});
    format!("data: {chunk}\n\n")
}

#[tokio::test]
async fn a_beginning_without_content_is_shown_after_a_while() {
    let pod = Pod::start(impatient()).await;
    let gate = Gate::new();
    let failure = "data: {\"error\":{\"message\":\"no luck\"}}\n\n".to_owned();
    pod.mock.push(Script::new().sse_frames([role(), failure]).hold_after_chunks(1, &gate));
    // it comes though its content does not
    let mut stream = pod.stream(&streamed("both")).await;
    let first: Value = serde_json::from_str(&stream.next_data().await.unwrap().unwrap()).unwrap();
    assert_eq!(first["choices"][0]["delta"]["role"], "assistant");
    gate.open();
    let rest = stream.collect_data().await.unwrap();
    assert!(rest.iter().any(|data| data.contains("no luck")), "too late for another provider: {rest:?}");
    assert_eq!((stream.header("x-tollgate-attempts"), pod.second.counts().n_received), (Some("1"), 0));
    pod.next_event().await;
    pod.wait_until_nothing_is_held().await;
}

/// A long prompt is read before anything comes but the head: that is no reason to ask, and to pay, somebody else as well.
#[tokio::test]
async fn a_head_without_a_body_is_waited_for() {
    let pod = Pod::start(impatient()).await;
    pod.mock.push(Script::new().text("one two").delay_before_first_chunk(Duration::from_millis(400)));
    let mut stream = pod.stream(&streamed("both")).await;
    assert_eq!(
        (stream.header("x-tollgate-provider"), stream.header("x-tollgate-attempts")),
        (Some("mock"), Some("1"))
    );
    assert_eq!(stream.collect_data().await.unwrap().last().map(String::as_str), Some("[DONE]"));
    let event = pod.next_event().await;
    assert_eq!((event.attempts.len(), event.outcome), (1, RequestOutcome::Ok));
}

#[tokio::test]
async fn the_class_that_google_served_is_charged() {
    let model = json!({"name": "m", "surfaces": ["chat"], "context_tokens": 5_000, "max_output_tokens": 900,
        "prices": {"input": "1", "output": "2"}, "tiers": [{"tier": "flex", "prices": {"input": "0.5", "output": "1"}}],
        "source": "s", "as_of": "2026-11-22"});
    let vendor = json!([{"name": "mock", "dialect": "gemini", "base_url": "", "models": [model]}]);
    let body = json!({"candidates": [{"content": {"parts": [{"text": "hi"}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 4, "totalTokenCount": 14}});
    let standard = NanoUsd(10 * 1_000 + 4 * 2_000);
    let cases = [
        (Some("flex"), NanoUsd(standard.0 / 2)),
        (Some("standard"), standard),
        (Some("priority"), standard),
        (Some("no such class"), standard),
        (None, standard),
    ];
    assert_eq!(ServiceTier::from_name("flex"), Some(ServiceTier::Flex));
    for (told, cost) in cases {
        for is_stream in [false, true] {
            let catalog = Some(Catalog::from_json(&vendor.to_string()).unwrap());
            let setup = Setup { dialect: Dialect::Gemini, catalog, prices: Vec::new(), ..Setup::default() };
            let pod = Pod::start(setup).await;
            let script = match is_stream {
                true => Script::new().sse_payloads([body.to_string()]),
                false => Script::new().json(&body),
            };
            pod.mock
                .push(told.iter().fold(script, |script, tier| script.header("x-gemini-service-tier", tier)));
            let asked = if is_stream { streamed("mock/m") } else { hello("mock/m") };
            pod.chat(&asked).await.expect_status(200).unwrap();
            assert_eq!(pod.next_event().await.cost, cost, "{told:?} {is_stream}");
        }
    }
}

fn frame(event: &Value) -> String {
    format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap())
}

/// A native stream of Responses that says so many words.
fn words(n: usize) -> Vec<String> {
    let created = json!({"type": "response.created", "response": {"id": "resp_1", "status": "in_progress", "model": "m"}});
    let word = json!({"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "words "});
    std::iter::once(frame(&created)).chain(std::iter::repeat_n(frame(&word), n)).collect()
}

fn native() -> Setup {
    let catalog = Some(catalog(&serving(true), &["chat", "responses"]));
    Setup { catalog, ..Setup::default() }
}

fn ask(more: &Value) -> Value {
    let mut body = json!({"model": "one", "input": "hello there", "max_output_tokens": 800, "stream": true});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn a_native_stream_of_responses_ends_where_the_money_does() {
    let limit = NanoUsd(500 * OUTPUT_PRICE);
    let pod = Pod::start(Setup { hold_slice_tokens: Some(256), budget: Some(limit), ..native() }).await;
    let gate = Gate::new();
    pod.mock.push(Script::new().sse_frames(words(700)).hold_after_chunks(600, &gate));
    let mut stream = pod.http.post_stream(&pod.url("/v1/responses"), &ask(&json!({}))).await.unwrap();
    let data = stream.collect_data().await.unwrap();
    pod.mock.wait_for_disconnects(1).await.unwrap();
    let last: Value = serde_json::from_str(data.last().unwrap()).unwrap();
    assert_eq!(
        (&last["type"], &last["tollgate"]["code"]),
        (&json!("response.incomplete"), &json!("budget_exceeded"))
    );
    let response = &last["response"];
    assert_eq!(response["incomplete_details"]["reason"], "max_output_tokens");
    assert!(response["id"].as_str().unwrap().starts_with("resp_tg"), "{response}");
    let event = pod.next_event().await;
    assert_eq!(event.outcome, RequestOutcome::Error(ErrorKind::BudgetExceeded));
    assert_eq!(response["usage"]["cost"].to_string(), event.cost.to_string());
    assert!(event.cost <= event.held && event.held <= limit, "{} of {}", event.cost, event.held);
    pod.wait_until_nothing_is_held().await;
    assert_eq!(pod.spent_and_held().await, (event.cost, NanoUsd::ZERO));
}

/// What a kept response brings is billed though nobody sees it: also to whoever leaves before the provider says so.
#[tokio::test]
async fn what_is_continued_counts_where_the_provider_tells_no_usage() {
    let pod = Pod::start(native()).await;
    let usage = json!({"input_tokens": 3_000, "output_tokens": 500});
    let whole =
        json!({"id": "resp_0", "object": "response", "status": "completed", "output": [], "usage": usage});
    pod.mock.push(Script::new().json(&whole));
    let first = pod.http.post_json(&pod.url("/v1/responses"), &ask(&json!({"stream": false}))).await.unwrap();
    let id = first.json().unwrap()["id"].as_str().unwrap().to_owned();
    pod.next_event().await;
    let text = words(3).concat();
    let script = Script::new()
        .body("text/event-stream", [text.clone(), text.clone()].concat())
        .break_after_bytes(text.len(), BreakKind::Stall);
    pod.mock.push(script);
    let body = ask(&json!({"previous_response_id": id}));
    let mut stream = pod.http.post_stream(&pod.url("/v1/responses"), &body).await.unwrap();
    for _ in 0..4 {
        stream.next_data().await.unwrap().unwrap();
    }
    drop(stream);
    let event = pod.next_event().await;
    assert_eq!((event.status, event.basis), (499, SettlementBasis::Counted));
    assert!((3_501..3_600).contains(&event.usage.input_tokens()), "{:?}", event.usage);
    pod.wait_until_nothing_is_held().await;
}
