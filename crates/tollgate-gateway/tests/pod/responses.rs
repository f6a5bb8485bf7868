//! Providers that speak Responses themselves: what passes, what it costs, whose what is kept is.

use serde_json::{Value, json};
use tollgate_catalog::Catalog;
use tollgate_domain::{Meter, NanoUsd, SettlementBasis, Surface, UsageEvent};
use tollgate_policy::ResponsesMode;
use tollgate_testkit::http::{Answer, HttpClient};
use tollgate_testkit::mock_provider::{BreakKind, Script};
use tollgate_testkit::vendors::KeptResponses;

use crate::harness::{INPUT_PRICE, OTHER_KEY, OUTPUT_PRICE, Pod, Setup};

/// What the vendor tells of each answer: 21 prompt tokens, 9 of the answer.
pub(crate) const COST: NanoUsd = NanoUsd(21 * INPUT_PRICE + 9 * OUTPUT_PRICE);
/// Prompt and answer tokens that the model takes at most.
pub(crate) const CONTEXT: u64 = 5_000;

/// A catalogue whose vendor `mock` serves Responses like this, with one model of these surfaces.
pub(crate) fn catalog(responses: &Value, surfaces: &[&str]) -> Catalog {
    let model = json!({"name": "m", "surfaces": surfaces, "context_tokens": CONTEXT, "max_output_tokens": 900,
        "prices": {"input": "1", "output": "2"}, "source": "s", "as_of": "2026-11-22"});
    let vendor = json!([{"name": "mock", "dialect": "openai", "base_url": "", "responses": responses,
        "models": [model]}]);
    Catalog::from_json(&vendor.to_string()).unwrap()
}

pub(crate) fn serving(stored: bool) -> Value {
    json!({"stored": stored, "sources": ["https://example.com"]})
}

async fn pod_with(setup: Setup) -> (Pod, KeptResponses) {
    let pod = Pod::start(setup).await;
    let kept = KeptResponses::new();
    let shared = kept.clone();
    pod.mock.set_responder(move |request| shared.answer(request));
    (pod, kept)
}

async fn native() -> (Pod, KeptResponses) {
    let catalog = Some(catalog(&serving(true), &["chat", "responses"]));
    pod_with(Setup { catalog, ..Setup::default() }).await
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

async fn get(http: &HttpClient, pod: &Pod, path: &str) -> Answer {
    http.get(&pod.url(&format!("/v1/responses/{path}"))).await.unwrap()
}

fn id_of(answer: &Answer) -> String {
    answer.json().unwrap()["id"].as_str().unwrap().to_owned()
}

/// The provider's own usage was charged, at the price of 21 and 9 tokens.
fn check_charge(event: &UsageEvent) {
    assert_eq!((event.cost, event.basis, event.surface), (COST, SettlementBasis::Provider, Surface::Chat));
    assert_eq!((event.usage.input_tokens(), event.usage.output_tokens()), (21, 9));
}

#[tokio::test]
async fn requests_pass_and_are_paid_for() {
    let (pod, _) = native().await;
    let more = json!({"metadata": {"a": "b"}, "truncation": "auto", "include": ["reasoning.encrypted_content"], "new": 1.50,
        "tools": [{"type": "custom", "name": "patch", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}}]});
    let answer = make(&pod, more.clone()).await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
    let sent = pod.mock.last_request().unwrap();
    assert_eq!((sent.path(), sent.bearer()), ("/v1/responses", Some("upstream-secret-1")));
    let mut expected = ask(more);
    expected["model"] = json!("m");
    assert_eq!(sent.json().unwrap(), expected);
    assert!(String::from_utf8_lossy(sent.body()).contains("\"new\":1.5"));
    let body = answer.json().unwrap();
    assert!(body["id"].as_str().unwrap().starts_with("resp_tg"), "{body}");
    assert_eq!(body["usage"]["cost"].to_string().parse::<f64>().unwrap(), 0.000_039);
    assert_eq!(answer.header("x-tollgate-cost-usd"), Some(COST.to_string().as_str()));
    check_charge(&pod.next_event().await);

    let mut stream =
        pod.http.post_stream(&pod.url("/v1/responses"), &ask(json!({"stream": true}))).await.unwrap();
    let events: Vec<Value> =
        stream.collect_data().await.unwrap().iter().map(|data| serde_json::from_str(data).unwrap()).collect();
    let named: Vec<&Value> =
        events.iter().map(|event| &event["response"]).filter(|one| one.is_object()).collect();
    assert_eq!(named.len(), 2);
    assert!(
        named
            .iter()
            .all(|one| one["id"] == named[0]["id"] && one["id"].as_str().unwrap().starts_with("resp_tg"))
    );
    let last = events.last().unwrap();
    assert_eq!(last["type"], "response.completed");
    assert_eq!(last["response"]["usage"]["cost"].as_f64(), Some(0.000_039));
    check_charge(&pod.next_event().await);
    assert_eq!(pod.spent_and_held().await, (NanoUsd(2 * COST.0), NanoUsd::ZERO));
    pod.wait_until_nothing_is_held().await;
}

#[tokio::test]
async fn the_money_lowers_the_cap_that_is_sent() {
    let catalog = Some(catalog(&serving(true), &["chat", "responses"]));
    let budget = Some(NanoUsd(400 * OUTPUT_PRICE));
    let (pod, _) = pod_with(Setup { catalog, budget, ..Setup::default() }).await;
    let answer = make(&pod, json!({"max_output_tokens": 800})).await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
    let sent = pod.mock.last_request().unwrap().json().unwrap();
    let cap = sent["max_output_tokens"].as_u64().unwrap();
    assert!((1..400).contains(&cap), "{sent}");
    assert_eq!(answer.header("x-tollgate-max-tokens"), Some(cap.to_string().as_str()));
    assert_eq!(pod.next_event().await.cost, COST);
}

#[tokio::test]
async fn kept_responses_belong_to_their_project() {
    let (pod, kept) = native().await;
    let id = id_of(&make(&pod, json!({})).await);
    pod.next_event().await;
    let shown = get(&pod.http, &pod, &id).await;
    assert_eq!((shown.status.as_u16(), id_of(&shown)), (200, id.clone()), "{}", shown.text());
    let event = pod.next_event().await;
    assert_eq!((event.surface, event.cost), (Surface::Responses, NanoUsd::ZERO));
    let items = get(&pod.http, &pod, &format!("{id}/input_items?limit=5&include%5B%5D=x&evil=1")).await;
    assert_eq!(items.json().unwrap()["data"][0]["id"], "msg_0", "{}", items.text());
    let path = pod.mock.last_request().unwrap().path().to_owned();
    assert_eq!(path, "/v1/responses/resp_0001/input_items?limit=5&include%5B%5D=x");

    // it is continued where it is kept, by its name there; what it brings is bounded by the context
    let (_, held_before) = pod.spent_and_held().await;
    assert_eq!(held_before, NanoUsd::ZERO);
    let continued = make(&pod, json!({"previous_response_id": id, "model": "both"})).await;
    let body = continued.json().unwrap();
    assert_eq!(body["previous_response_id"], json!(id), "{body}");
    assert_eq!(pod.mock.last_request().unwrap().json().unwrap()["previous_response_id"], "resp_0001");
    for _ in 0..2 {
        pod.next_event().await;
    }
    let quote = ask(json!({"previous_response_id": id}));
    let quoted =
        pod.http.post_json(&pod.url("/v1/quote?surface=responses"), &quote).await.unwrap().json().unwrap();
    assert_eq!(quoted["candidates"][0]["input_tokens_bound"], json!(CONTEXT), "{quoted}");

    let text = get(&pod.http, &pod, &format!("{id}?stream=true&starting_after=0")).await.text();
    assert!(
        !text.contains("response.created") && text.contains("response.completed") && text.contains(&id),
        "{text}"
    );
    assert!(!text.contains("resp_0001"), "{text}");

    let stranger = HttpClient::new().with_bearer(OTHER_KEY);
    for path in [
        id.clone(),
        format!("{id}/input_items"),
        format!("{id}?stream=true"),
        "resp_0001".to_owned(),
        format!("{id}x"),
    ] {
        assert_eq!(get(&stranger, &pod, &path).await.status.as_u16(), 404, "{path}");
    }
    assert_eq!(stranger.delete(&pod.url(&format!("/v1/responses/{id}"))).await.unwrap().status.as_u16(), 404);
    let stolen = ask(json!({"previous_response_id": id, "model": "mock/m"}));
    let stolen = stranger.post_json(&pod.url("/v1/responses"), &stolen).await.unwrap();
    assert_eq!(
        (stolen.status.as_u16(), &stolen.json().unwrap()["error"]["param"]),
        (404, &json!("previous_response_id"))
    );
    assert_eq!(get(&pod.http, &pod, "resp_0001").await.status.as_u16(), 404);

    let cancelled =
        pod.http.post_json(&pod.url(&format!("/v1/responses/{id}/cancel")), &json!({})).await.unwrap();
    assert_eq!(cancelled.status.as_u16(), 400, "{}", cancelled.text());
    let gone = pod.http.delete(&pod.url(&format!("/v1/responses/{id}"))).await.unwrap().json().unwrap();
    assert_eq!((&gone["id"], &gone["deleted"]), (&json!(id), &json!(true)));
    assert_eq!(kept.ids(), ["resp_0002"]);
    assert_eq!(get(&pod.http, &pod, &id).await.status.as_u16(), 404);
    pod.wait_until_nothing_is_held().await;
}

/// Events until one that costs something.
pub(crate) async fn next_charge(pod: &Pod) -> UsageEvent {
    loop {
        let event = pod.next_event().await;
        if event.cost > NanoUsd::ZERO {
            return event;
        }
    }
}

#[tokio::test]
async fn what_goes_on_in_the_background_is_held_for_until_its_end_is_seen() {
    let (pod, _) = native().await;
    let made = make(&pod, json!({"background": true})).await;
    assert_eq!(made.json().unwrap()["status"], "queued", "{}", made.text());
    assert_eq!(made.header("x-tollgate-cost-usd"), None);
    let id = id_of(&made);
    let (settled, held) = pod.spent_and_held().await;
    assert!(settled == NanoUsd::ZERO && held > NanoUsd(100 * OUTPUT_PRICE), "{held}");
    assert_eq!(pod.gateway.open_holds(), 0);
    let running = get(&pod.http, &pod, &id).await;
    assert_eq!((&running.json().unwrap()["status"], id_of(&running)), (&json!("in_progress"), id.clone()));
    assert_eq!(pod.spent_and_held().await, (NanoUsd::ZERO, held));
    for _ in 0..2 {
        let ended = get(&pod.http, &pod, &id).await;
        assert_eq!(ended.json().unwrap()["status"], "completed", "{}", ended.text());
        assert_eq!(ended.header("x-tollgate-cost-usd"), Some(COST.to_string().as_str()));
    }
    let event = next_charge(&pod).await;
    check_charge(&event);
    assert_eq!((event.held, event.model.as_str()), (held, "m"));
    assert_eq!(pod.spent_and_held().await, (COST, NanoUsd::ZERO));
    // its name says where it is in every list of names
    let next = make(&pod, json!({"previous_response_id": id})).await;
    assert_eq!(next.json().unwrap()["previous_response_id"], json!(id));
    check_charge(&next_charge(&pod).await);

    // what is cancelled tells no usage and is not free; before its end nothing is deleted
    let id = id_of(&make(&pod, json!({"background": true})).await);
    let url = pod.url(&format!("/v1/responses/{id}"));
    let early = pod.http.delete(&url).await.unwrap();
    assert_eq!(early.status.as_u16(), 400, "{}", early.text());
    let cancelled = pod.http.post_json(&format!("{url}/cancel"), &json!({})).await.unwrap();
    assert_eq!(cancelled.json().unwrap()["status"], "cancelled", "{}", cancelled.text());
    let event = next_charge(&pod).await;
    assert_eq!((event.basis, event.usage.get(Meter::Output)), (SettlementBasis::Counted, 0));
    assert!(event.usage.get(Meter::Input) > 0 && event.cost < COST);
    assert_eq!(pod.spent_and_held().await.1, NanoUsd::ZERO);
    assert_eq!(pod.http.delete(&url).await.unwrap().status.as_u16(), 200);
}

#[tokio::test]
async fn what_is_seen_first_in_a_stream_is_settled_there() {
    let (pod, _) = native().await;
    let id = id_of(&make(&pod, json!({"background": true})).await);
    let url = pod.url(&format!("/v1/responses/{id}?stream=true"));
    let again = pod.http.get(&url).await.unwrap();
    assert!(
        again.text().contains("response.completed") && !again.text().contains("resp_0001"),
        "{}",
        again.text()
    );
    check_charge(&next_charge(&pod).await);
    assert_eq!(pod.spent_and_held().await, (COST, NanoUsd::ZERO));
}

#[tokio::test]
async fn what_cannot_be_kept_or_paid_is_refused_before_it_is_sent() {
    let (pod, _) = native().await;
    let id = id_of(&make(&pod, json!({})).await);
    let n_sent = pod.mock.counts().n_received;
    let cases = [
        (json!({"tools": [{"type": "web_search"}]}), 400, "tools", "billed without a bound"),
        (json!({"tools": [{"type": "mcp", "server_label": "x"}]}), 400, "tools", "billed without a bound"),
        (json!({"prompt": {"id": "pmpt_1"}}), 400, "prompt", "leave it out"),
        (json!({"context_management": [{"type": "compaction"}]}), 400, "context_management", "leave it out"),
        (json!({"conversation": "conv_1"}), 400, "conversation", "`previous_response_id`"),
        (
            json!({"previous_response_id": "resp_0001"}),
            404,
            "previous_response_id",
            "send the whole conversation",
        ),
        (
            json!({"previous_response_id": id, "model": "second/m"}),
            400,
            "previous_response_id",
            "provider `mock`",
        ),
        (json!({"background": true, "store": false}), 400, "background", "needs `store`"),
        (json!({"background": true, "model": "second/m"}), 400, "background", "`second` answers nothing"),
        (json!({"Max_Output_Tokens": 9}), 400, "max_output_tokens", "lower case"),
        (json!({"previous_response_id": 5}), 400, "previous_response_id", "must be a string"),
    ];
    for (more, status, param, message) in cases {
        let answer = make(&pod, more.clone()).await;
        let error = answer.json().unwrap()["error"].clone();
        assert_eq!((answer.status.as_u16(), &error["param"]), (status, &json!(param)), "{more}: {error}");
        assert!(error["message"].as_str().unwrap().contains(message), "{more}: {error}");
    }
    assert_eq!(pod.mock.counts().n_received, n_sent);
    assert_eq!(pod.second.counts().n_received, 0);
    pod.next_event().await;
    pod.wait_until_nothing_is_held().await;

    // a context that nobody knows bounds nothing
    let (pod, _) = pod_with(Setup { responses: Some(ResponsesMode::Native), ..Setup::default() }).await;
    let id = id_of(&make(&pod, json!({})).await);
    let answer = make(&pod, json!({"previous_response_id": id})).await;
    assert_eq!(answer.status.as_u16(), 400);
    assert!(answer.text().contains("whose context nobody knows"), "{}", answer.text());
}

#[tokio::test]
async fn providers_that_keep_nothing_are_not_asked_to() {
    let catalog = Some(catalog(&serving(false), &["chat"]));
    let (pod, _) = pod_with(Setup { catalog, ..Setup::default() }).await;
    let answer = make(&pod, json!({"store": true})).await;
    let sent = pod.mock.last_request().unwrap();
    assert_eq!((sent.path(), &sent.json().unwrap()["store"]), ("/v1/responses", &json!(false)));
    assert_eq!(answer.json().unwrap()["id"], "resp_0001");
    check_charge(&pod.next_event().await);
    let catalog = Some(self::catalog(&serving(true), &["chat"]));
    let setup = Setup { catalog, responses: Some(ResponsesMode::Translated), ..Setup::default() };
    let pod = Pod::start(setup).await;
    let answer = make(&pod, json!({})).await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
    assert_eq!(pod.mock.last_request().unwrap().path(), "/v1/chat/completions");
}

#[tokio::test]
async fn every_client_reaches_a_model_that_only_responses_serve() {
    let catalog = Some(catalog(&serving(true), &["responses"]));
    let (pod, _) = pod_with(Setup { catalog, ..Setup::default() }).await;
    let chat = json!({"model": "one", "messages": [{"role": "user", "content": "scenario:chat"}], "max_tokens": 100});
    let answer = pod.chat(&chat).await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
    let sent = pod.mock.last_request().unwrap();
    assert_eq!((sent.path(), &sent.json().unwrap()["store"]), ("/v1/responses", &json!(false)));
    assert_eq!(sent.json().unwrap()["max_output_tokens"], 100);
    let body = answer.json().unwrap();
    assert_eq!((&body["object"], &body["usage"]["prompt_tokens"]), (&json!("chat.completion"), &json!(21)));
    check_charge(&pod.next_event().await);
    let mut streamed = chat.clone();
    streamed["stream"] = json!(true);
    let mut stream = pod.stream(&streamed).await;
    assert_eq!(stream.collect_data().await.unwrap().pop().as_deref(), Some("[DONE]"));
    check_charge(&pod.next_event().await);
    let message = json!({"model": "one", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 100});
    let answer = pod.http.post_json(&pod.url("/v1/messages"), &message).await.unwrap();
    assert_eq!(answer.json().unwrap()["type"], "message", "{}", answer.text());
    check_charge(&pod.next_event().await);
    let refused =
        pod.http.post_json(&pod.url("/v1/embeddings"), &json!({"model": "one", "input": "x"})).await.unwrap();
    assert_eq!(refused.status.as_u16(), 400, "{}", refused.text());
}

/// Answers that begin, and then fail or break.
fn sse(events: &[Value]) -> String {
    events
        .iter()
        .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()))
        .collect()
}

fn begun() -> Vec<Value> {
    vec![
        json!({"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}}),
        json!({"type": "response.in_progress", "response": {"id": "resp_1", "status": "in_progress"}}),
    ]
}

fn spoken() -> Vec<Value> {
    let delta = json!({"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "12345678"});
    [begun(), vec![delta]].concat()
}

#[tokio::test]
async fn what_fails_before_its_content_goes_elsewhere() {
    let (pod, _) = native().await;
    let error = json!({"code": "server_error", "message": "no luck"});
    let failed =
        json!({"type": "response.failed", "response": {"id": "resp_1", "status": "failed", "error": error}});
    let whole = json!({"id": "resp_1", "status": "failed", "error": error, "output": [], "usage": null});
    let scripts = [
        (false, Script::error(500, "boom")),
        (false, Script::new().json(&whole)),
        (true, Script::new().body("text/event-stream", sse(&[begun(), vec![failed]].concat()))),
        (true, Script::new().body("text/event-stream", sse(&begun()))),
    ];
    for (is_stream, script) in scripts {
        pod.mock.set_responder(|_| None);
        pod.mock.push(script);
        let answer = make(&pod, json!({"model": "both", "stream": is_stream})).await;
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
        assert_eq!(answer.header("x-tollgate-provider"), Some("second"), "{}", answer.text());
        assert_eq!(answer.header("x-tollgate-attempts"), Some("2"));
        assert!(!answer.text().contains("resp_1\""), "{}", answer.text());
        pod.next_event().await;
        pod.wait_until_nothing_is_held().await;
    }
}

#[tokio::test]
async fn streams_that_break_or_tell_no_usage_are_counted() {
    let (pod, _) = native().await;
    pod.mock.set_responder(|_| None);
    let silent = json!({"type": "response.completed", "response": {"id": "resp_1", "status": "completed"}});
    let cut = sse(&spoken());
    let cases = [
        (Script::new().body("text/event-stream", cut.clone()), "error"),
        (
            Script::new()
                .body("text/event-stream", cut.clone())
                .break_after_bytes(cut.len(), BreakKind::Reset),
            "error",
        ),
        (
            Script::new().body("text/event-stream", sse(&[spoken(), vec![silent]].concat())),
            "response.completed",
        ),
    ];
    for (script, last_type) in cases {
        pod.mock.push(script);
        let ask = ask(json!({"stream": true}));
        let mut stream = pod.http.post_stream(&pod.url("/v1/responses"), &ask).await.unwrap();
        let last: Value = serde_json::from_str(&stream.collect_data().await.unwrap().pop().unwrap()).unwrap();
        assert_eq!(last["type"], last_type, "{last}");
        let event = pod.next_event().await;
        assert_eq!((event.basis, event.usage.get(Meter::Output)), (SettlementBasis::Counted, 2));
        assert!(event.usage.get(Meter::Input) > 0);
        pod.wait_until_nothing_is_held().await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_pays_for_what_came() {
    let (pod, _) = native().await;
    pod.mock.set_responder(|_| None);
    let text = sse(&spoken());
    let more = [text.clone(), text.clone()].concat();
    let script =
        Script::new().body("text/event-stream", more).break_after_bytes(text.len(), BreakKind::Stall);
    pod.mock.push(script);
    let ask = ask(json!({"stream": true}));
    let mut stream = pod.http.post_stream(&pod.url("/v1/responses"), &ask).await.unwrap();
    for _ in 0..3 {
        stream.next_data().await.unwrap().unwrap();
    }
    drop(stream);
    let event = pod.next_event().await;
    assert_eq!((event.status, event.basis), (499, SettlementBasis::Counted));
    assert!(event.cost > NanoUsd::ZERO);
    pod.mock.wait_for_disconnects(1).await.unwrap();
    pod.wait_until_nothing_is_held().await;
}

#[tokio::test]
async fn a_stream_in_the_background_goes_on_without_its_client() {
    let (pod, _) = native().await;
    let text = sse(&spoken());
    let whole = json!({"id": "resp_1", "status": "completed", "output": [], "usage": {"input_tokens": 21, "output_tokens": 9}});
    let script = {
        let more = [text.clone(), text.clone()].concat();
        Script::new().body("text/event-stream", more).break_after_bytes(text.len(), BreakKind::Stall)
    };
    pod.mock.set_responder(move |request| {
        Some(if request.method() == "POST" { script.clone() } else { Script::new().json(&whole) })
    });
    let ask = ask(json!({"stream": true, "background": true}));
    let mut stream = pod.http.post_stream(&pod.url("/v1/responses"), &ask).await.unwrap();
    let first: Value = serde_json::from_str(&stream.next_data().await.unwrap().unwrap()).unwrap();
    let id = first["response"]["id"].as_str().unwrap().to_owned();
    drop(stream);
    pod.mock.wait_for_disconnects(1).await.unwrap();
    let (settled, held) = pod.spent_and_held().await;
    assert!(settled == NanoUsd::ZERO && held > NanoUsd(100 * OUTPUT_PRICE), "{held}");
    for _ in 0..2 {
        let ended = get(&pod.http, &pod, &id).await;
        assert_eq!(ended.header("x-tollgate-cost-usd"), Some(COST.to_string().as_str()), "{}", ended.text());
    }
    check_charge(&next_charge(&pod).await);
    assert_eq!(pod.spent_and_held().await, (COST, NanoUsd::ZERO));
}

#[tokio::test]
async fn a_stream_in_the_background_that_is_read_to_its_end_is_settled_there() {
    let (pod, _) = native().await;
    let ask = ask(json!({"stream": true, "background": true}));
    let mut stream = pod.http.post_stream(&pod.url("/v1/responses"), &ask).await.unwrap();
    let last: Value = serde_json::from_str(&stream.collect_data().await.unwrap().pop().unwrap()).unwrap();
    check_charge(&pod.next_event().await);
    let id = last["response"]["id"].as_str().unwrap();
    for _ in 0..2 {
        assert_eq!(get(&pod.http, &pod, id).await.status.as_u16(), 200);
        assert_eq!(pod.next_event().await.cost, NanoUsd::ZERO);
    }
    assert_eq!(pod.spent_and_held().await, (COST, NanoUsd::ZERO));
}
