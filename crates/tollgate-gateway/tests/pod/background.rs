//! Responses in the background: what can be read of them is paid for, whoever looks and whichever way.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tollgate_domain::{AttemptOutcome, NanoUsd, SettlementBasis, UsageEvent};
use tollgate_testkit::http::Answer;
use tollgate_testkit::mock_provider::{BreakKind, ReceivedRequest, Script};

use crate::harness::{INPUT_PRICE, OUTPUT_PRICE, Pod, Setup};
use crate::responses::{catalog, serving};

/// What the provider tells of each: 21 prompt tokens, 9 of the answer.
const COST: NanoUsd = NanoUsd(21 * INPUT_PRICE + 9 * OUTPUT_PRICE);

fn native() -> Setup {
    let catalog = Some(catalog(&serving(true), &["chat", "responses"]));
    Setup { catalog, ..Setup::default() }
}

fn ask(more: Value) -> Value {
    let mut body = json!({"model": "one", "input": "hello there", "max_output_tokens": 100});
    let more: serde_json::Map<String, Value> = serde_json::from_value(more).unwrap();
    body.as_object_mut().unwrap().extend(more);
    body
}

async fn make(pod: &Pod, more: Value) -> Answer {
    pod.http.post_json(&pod.url("/v1/responses"), &ask(more)).await.unwrap()
}

fn id_of(answer: &Answer) -> String {
    answer.json().unwrap()["id"].as_str().unwrap().to_owned()
}

fn response(id: &str, status: &str) -> Value {
    let usage =
        if status == "completed" { json!({"input_tokens": 21, "output_tokens": 9}) } else { Value::Null };
    json!({"id": id, "object": "response", "status": status, "output": [], "usage": usage, "background": true})
}

/// A provider whose responses have this status when they are looked at; the second is made at once.
fn answer(request: &ReceivedRequest, status: &str) -> Option<Script> {
    let body = request.json().unwrap_or_default();
    Some(match request.method() {
        "POST" if body["previous_response_id"].is_string() => {
            let mut second = response("resp_2", "completed");
            second["previous_response_id"] = body["previous_response_id"].clone();
            Script::new().json(&second)
        }
        "POST" => Script::new().json(&response("resp_1", "queued")),
        _ if request.path().contains("resp_2") => {
            let mut second = response("resp_2", "completed");
            second["previous_response_id"] = json!("resp_1");
            Script::new().json(&second)
        }
        _ => Script::new().json(&response("resp_1", status)),
    })
}

/// A stream that has begun.
fn said() -> String {
    let begun = json!({"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}});
    let said = json!({"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "a long answer"});
    let frame = |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap());
    [begun, said].iter().map(frame).collect()
}

/// Events until one that costs something.
async fn next_charge(pod: &Pod) -> UsageEvent {
    loop {
        let event = pod.next_event().await;
        if event.cost > NanoUsd::ZERO {
            return event;
        }
    }
}

#[tokio::test]
async fn what_nobody_asks_for_is_settled_all_the_same() {
    let mut setup = native();
    setup.config.look_at_batches_every = Duration::from_millis(50);
    let pod = Pod::start(setup).await;
    pod.mock.set_responder(|request| answer(request, "in_progress"));
    assert_eq!(make(&pod, json!({"background": true, "user": "anna"})).await.status.as_u16(), 200);
    let held = pod.spent_and_held().await.1;
    let n_received = pod.mock.counts().n_received;
    pod.mock.wait_for_requests(n_received + 2).await.unwrap();
    assert_eq!(pod.spent_and_held().await, (NanoUsd::ZERO, held), "it is looked at, and runs");
    pod.mock.set_responder(|request| answer(request, "completed"));
    let event = next_charge(&pod).await;
    assert_eq!((event.cost, event.held, event.basis), (COST, held, SettlementBasis::Provider));
    assert_eq!(event.end_user.as_deref(), Some("anna"), "its budget is known to the journal");
    assert_eq!(pod.spent_and_held().await, (COST, NanoUsd::ZERO));
}

/// The text of a stream is read, its last event is not waited for, and nobody asks again.
#[tokio::test]
async fn a_stream_that_is_left_just_before_its_end_costs_what_it_cost() {
    let mut setup = native();
    setup.config.look_at_batches_every = Duration::from_millis(50);
    let pod = Pod::start(setup).await;
    let text = said();
    let script = Script::new()
        .body("text/event-stream", [text.clone(), text.clone()].concat())
        .break_after_bytes(text.len(), BreakKind::Stall);
    pod.mock.set_responder(move |request| {
        let is_post = request.method() == "POST";
        if is_post { Some(script.clone()) } else { answer(request, "completed") }
    });
    let body = ask(json!({"stream": true, "background": true}));
    let mut stream = pod.http.post_stream(&pod.url("/v1/responses"), &body).await.unwrap();
    for _ in 0..2 {
        stream.next_data().await.unwrap().unwrap();
    }
    drop(stream);
    assert_eq!(next_charge(&pod).await.cost, COST);
    assert_eq!(pod.spent_and_held().await, (COST, NanoUsd::ZERO));
}

/// What continues a response shows it: in its own answer, in its list of items, by the name of what it continues.
#[tokio::test]
async fn what_is_continued_is_settled_first() {
    let pod = Pod::start(native()).await;
    pod.mock.set_responder(|request| answer(request, "in_progress"));
    let id = id_of(&make(&pod, json!({"background": true})).await);
    let early = make(&pod, json!({"previous_response_id": id})).await;
    let error = early.json().unwrap()["error"].clone();
    assert_eq!((early.status.as_u16(), &error["param"]), (400, &json!("previous_response_id")), "{error}");
    assert!(error["message"].as_str().unwrap().contains("still being made"), "{error}");
    assert_eq!(pod.spent_and_held().await.0, NanoUsd::ZERO);

    pod.mock.set_responder(|request| {
        if request.method() == "GET" {
            Some(Script::error(500, "not now"))
        } else {
            answer(request, "completed")
        }
    });
    assert_eq!(make(&pod, json!({"previous_response_id": id})).await.status.as_u16(), 502);

    pod.mock.set_responder(|request| answer(request, "completed"));
    let next = make(&pod, json!({"previous_response_id": id})).await;
    assert_eq!(next.status.as_u16(), 200, "{}", next.text());
    let charges = [next_charge(&pod).await, next_charge(&pod).await];
    assert_eq!(charges.map(|event| event.cost), [COST; 2]);
    assert_eq!(pod.spent_and_held().await, (NanoUsd(2 * COST.0), NanoUsd::ZERO));
    // the name by which what continues it tells it has no claim any more, and needs none
    let shown = pod.http.get(&pod.url(&format!("/v1/responses/{}", id_of(&next)))).await.unwrap();
    let previous = shown.json().unwrap()["previous_response_id"].as_str().unwrap().to_owned();
    let previous = pod.http.get(&pod.url(&format!("/v1/responses/{previous}"))).await.unwrap();
    assert_eq!(previous.status.as_u16(), 200, "{}", previous.text());
    assert_eq!(pod.spent_and_held().await, (NanoUsd(2 * COST.0), NanoUsd::ZERO));
}

#[tokio::test]
async fn a_status_that_nobody_knows_is_no_end() {
    let pod = Pod::start(native()).await;
    pod.mock.set_responder(|request| answer(request, "pausing"));
    let id = id_of(&make(&pod, json!({"background": true})).await);
    let held = pod.spent_and_held().await.1;
    let shown = pod.http.get(&pod.url(&format!("/v1/responses/{id}"))).await.unwrap();
    assert_eq!((shown.status.as_u16(), shown.header("x-tollgate-cost-usd")), (200, Some("0")));
    assert_eq!(pod.spent_and_held().await, (NanoUsd::ZERO, held));
}

/// What cannot be given our names is not shown with the provider's.
#[tokio::test]
async fn what_cannot_be_read_is_an_error_in_the_clients_words() {
    let pod = Pod::start(native()).await;
    pod.mock.set_responder(|request| answer(request, "in_progress"));
    let id = id_of(&make(&pod, json!({"background": true})).await);
    let url = pod.url(&format!("/v1/responses/{id}"));
    pod.mock.set_responder(|_| Some(Script::new().json(&json!(["resp_1"]))));
    let odd = pod.http.get(&url).await.unwrap();
    assert_eq!(odd.status.as_u16(), 502, "{}", odd.text());
    assert!(!odd.text().contains("resp_1"), "{}", odd.text());

    // a stream that breaks off says so as streams of Responses do, and its last event needs no blank line
    let created = json!({"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}});
    let text = format!("event: response.created\ndata: {created}\n\n");
    let broken = Script::new()
        .body("text/event-stream", [text.clone(), text.clone()].concat())
        .break_after_bytes(text.len(), BreakKind::Reset);
    pod.mock.set_responder(move |_| Some(broken.clone()));
    let told = pod.http.get(&format!("{url}?stream=true")).await.unwrap();
    assert!(told.text().contains("event: error\n") && !told.text().contains("\"resp_1\""), "{}", told.text());
    let completed = json!({"type": "response.completed", "response": response("resp_1", "completed")});
    let last = Script::new()
        .body("text/event-stream", format!("{text}event: response.completed\ndata: {completed}"));
    pod.mock.set_responder(move |_| Some(last.clone()));
    let told = pod.http.get(&format!("{url}?stream=true")).await.unwrap();
    assert!(
        told.text().contains("response.completed") && !told.text().contains("\"resp_1\""),
        "{}",
        told.text()
    );
    assert_eq!(next_charge(&pod).await.cost, COST);
}

/// A provider that fails and says what that has used bills it, whoever answers in the end.
#[tokio::test]
async fn a_failure_that_tells_its_usage_costs_it() {
    let usage = json!({"input_tokens": 21, "output_tokens": 9});
    let error = json!({"code": "server_error", "message": "no luck"});
    let failed = json!({"id": "resp_1", "status": "failed", "error": error, "output": [], "usage": usage});
    let event = json!({"type": "response.failed", "response": failed});
    let scripts = [
        (false, Script::new().json(&failed)),
        (false, Script::new().json(&json!({"error": error, "usage": usage})).status(503)),
        (true, Script::new().body("text/event-stream", format!("event: response.failed\ndata: {event}\n\n"))),
    ];
    for (is_stream, script) in scripts {
        let pod = Pod::start(native()).await;
        pod.mock.push(script);
        let answer = make(&pod, json!({"model": "both", "stream": is_stream})).await;
        assert_eq!(answer.header("x-tollgate-provider"), Some("second"), "{}", answer.text());
        let event = pod.next_event().await;
        assert_eq!(event.attempts[0].outcome, AttemptOutcome::ServerError);
        let bill = event.attempts[0].bill.as_ref().unwrap();
        assert_eq!((bill.cost, bill.basis), (COST, SettlementBasis::Provider));
        assert!(event.cost > COST && event.cost <= event.held, "{event:?}");
        pod.wait_until_nothing_is_held().await;
    }
}

/// What a refusal for the rate tells is the use of others, or of the time before.
#[tokio::test]
async fn a_refusal_that_tells_usage_costs_nothing() {
    for status in [429, 401] {
        let pod = Pod::start(native()).await;
        let usage = json!({"error": {"message": "no"}, "usage": {"input_tokens": 21, "output_tokens": 9}});
        pod.mock.push(Script::new().json(&usage).status(status));
        make(&pod, json!({"model": "both"})).await.expect_status(200).unwrap();
        let event = pod.next_event().await;
        assert_eq!((event.attempts.len(), event.bills().count()), (2, 0), "{status}");
    }
}

/// One key stands for one run, also where that goes on without its client.
#[tokio::test]
async fn a_key_of_idempotency_begins_nothing_twice_in_the_background() {
    let pod = Pod::start(native()).await;
    let text = said();
    let script = Script::new()
        .body("text/event-stream", [text.clone(), text.clone()].concat())
        .break_after_bytes(text.len(), BreakKind::Stall);
    pod.mock.set_default(script);
    let body = ask(json!({"stream": true, "background": true}));
    let request = || {
        let mut request =
            pod.http.request(Method::POST, &pod.url("/v1/responses"), body.to_string()).unwrap();
        request.headers_mut().insert("content-type", "application/json".parse().unwrap());
        request.headers_mut().insert("idempotency-key", "once".parse().unwrap());
        request
    };
    let mut stream = pod.http.send_stream(request()).await.unwrap();
    stream.next_data().await.unwrap().unwrap();
    drop(stream);
    pod.mock.wait_for_disconnects(1).await.unwrap();
    let again = pod.http.send(request()).await.unwrap();
    assert_eq!((again.status.as_u16(), pod.mock.counts().n_received), (409, 1), "{}", again.text());
}

/// Nobody's end is missed because somebody else's provider is silent.
#[tokio::test]
async fn a_look_that_hangs_holds_up_no_other() {
    let mut setup = native();
    setup.config.look_at_batches_every = Duration::from_millis(50);
    let pod = Pod::start(setup).await;
    pod.mock.set_responder(|request| answer(request, "in_progress"));
    make(&pod, json!({"background": true})).await.expect_status(200).unwrap();
    pod.mock.set_responder(|request| {
        Some(match (request.method(), request.path().contains("resp_1")) {
            ("POST", _) => Script::new().json(&response("resp_3", "queued")),
            (_, true) => Script::hang(),
            _ => Script::new().json(&response("resp_3", "completed")),
        })
    });
    make(&pod, json!({"background": true})).await.expect_status(200).unwrap();
    assert_eq!(next_charge(&pod).await.cost, COST);
}
