//! Responses beside making one: what a prompt counts, a conversation made shorter, files named by their ids, and what goes
//! on in the background though nobody asks.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tollgate_domain::{NanoUsd, SettlementBasis, Surface};
use tollgate_policy::RateLimits;
use tollgate_testkit::http::{Answer, HttpClient};
use tollgate_testkit::mock_provider::Script;
use tollgate_testkit::vendors::KeptResponses;

use crate::harness::{INPUT_PRICE, OTHER_KEY, OUTPUT_PRICE, Pod, Setup};
use crate::objects;
use crate::responses::{CONTEXT, COST, catalog, next_charge, serving};

/// What the catalogue says that the model answers with at most.
const MAX_OUTPUT: u64 = 900;

/// A pod whose provider keeps responses and files.
async fn keeping(setup: Setup) -> Pod {
    let catalog = Some(catalog(&serving(true), &["chat", "responses"]));
    let pod = Pod::start(Setup { catalog, ..setup }).await;
    let (responses, things) = (KeptResponses::new(), Arc::new(Mutex::new(objects::Kept::default())));
    pod.mock.set_responder(move |request| {
        if request.path().starts_with("/v1/chat/") {
            return None;
        }
        let of_response = responses.answer(request);
        of_response.or_else(|| Some(objects::answer(&mut things.lock().unwrap(), request)))
    });
    pod
}

async fn post(http: &HttpClient, pod: &Pod, path: &str, body: &Value) -> Answer {
    http.post_json(&pod.url(path), body).await.unwrap()
}

async fn made(pod: &Pod, more: Value) -> String {
    let mut body = json!({"model": "one", "input": "hello there", "max_output_tokens": 100});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let answer = post(&pod.http, pod, "/v1/responses", &body).await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
    answer.json().unwrap()["id"].as_str().unwrap().to_owned()
}

fn error_of(answer: &Answer) -> (u16, String, String) {
    let error = answer.json().unwrap()["error"].clone();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (answer.status.as_u16(), text(&error["param"]), text(&error["message"]))
}

#[tokio::test]
async fn prompts_are_counted_by_who_serves_them() {
    let pod = keeping(Setup::default()).await;
    let id = made(&pod, json!({})).await;
    pod.next_event().await;
    let path = "/v1/responses/input_tokens";
    let body =
        json!({"model": "one", "input": "hello there", "previous_response_id": id, "personality": "x"});
    let counted = post(&pod.http, &pod, path, &body).await;
    assert_eq!(counted.json().unwrap(), json!({"object": "response.input_tokens", "input_tokens": 21}));
    assert_eq!(counted.header("x-tollgate-cost-usd"), Some("0"));
    let sent = pod.mock.last_request().unwrap();
    let expected = json!({"model": "m", "input": "hello there", "previous_response_id": "resp_0001", "personality": "x"});
    assert_eq!((sent.path(), sent.json().unwrap()), (path, expected));
    let event = pod.next_event().await;
    assert_eq!((event.surface, event.cost, event.model.as_str()), (Surface::Responses, NanoUsd::ZERO, "m"));
    assert_eq!(event.held, NanoUsd::ZERO);

    // the second provider speaks no Responses, and an unknown model nobody's
    let n_sent = pod.mock.counts().n_received;
    for model in ["second/m", "unheard-of"] {
        let own = post(&pod.http, &pod, path, &json!({"model": model, "input": "hello there"})).await;
        let own = own.json().unwrap();
        assert_eq!(own["object"], "response.input_tokens");
        assert!((2..=40).contains(&own["input_tokens"].as_u64().unwrap()), "{own}");
    }
    let elsewhere =
        post(&pod.http, &pod, path, &json!({"model": "second/m", "previous_response_id": id})).await;
    assert_eq!((elsewhere.status.as_u16(), pod.second.counts().n_received), (400, 0));
    let stranger = HttpClient::new().with_bearer(OTHER_KEY);
    let stolen = post(&stranger, &pod, path, &json!({"model": "mock/m", "previous_response_id": id})).await;
    assert_eq!(stolen.status.as_u16(), 404, "{}", stolen.text());
    let conversation =
        post(&pod.http, &pod, path, &json!({"model": "one", "input": "x", "conversation": "c"})).await;
    assert_eq!(error_of(&conversation).1, "conversation");
    assert_eq!(pod.mock.counts().n_received, n_sent);
    // a provider without that path: counted here
    pod.mock.set_responder(|_| Some(Script::error(404, "no such path")));
    let own = post(&pod.http, &pod, path, &json!({"model": "one", "input": "hello there"})).await;
    assert_eq!(own.status.as_u16(), 200, "{}", own.text());
    assert_eq!(pod.mock.counts().n_received, n_sent + 1);
    pod.wait_until_nothing_is_held().await;
}

#[tokio::test]
async fn counting_passes_the_rate_limits() {
    let limits = RateLimits { requests_per_minute: Some(1), ..RateLimits::default() };
    for model in ["one", "second/m"] {
        let pod = keeping(Setup { limits, ..Setup::default() }).await;
        let body = json!({"model": model, "input": "hello there"});
        let statuses = [
            post(&pod.http, &pod, "/v1/responses/input_tokens", &body).await,
            post(&pod.http, &pod, "/v1/responses/input_tokens", &body).await,
        ]
        .map(|answer| answer.status.as_u16());
        assert_eq!(statuses, [200, 429], "{model}");
    }
}

#[tokio::test]
async fn a_compacted_conversation_is_held_for_as_a_whole() {
    let pod = keeping(Setup::default()).await;
    let id = made(&pod, json!({})).await;
    pod.next_event().await;
    let path = "/v1/responses/compact";
    let body = json!({"model": "one", "input": "hello there", "previous_response_id": id, "instructions": "be short"});
    let answer = post(&pod.http, &pod, path, &body).await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
    let sent = pod.mock.last_request().unwrap();
    let expected = json!({"model": "m", "input": "hello there", "previous_response_id": "resp_0001", "instructions": "be short"});
    assert_eq!((sent.path(), sent.json().unwrap()), (path, expected), "no cap of ours");
    let compacted = answer.json().unwrap();
    assert!(compacted["id"].as_str().unwrap().starts_with("resp_tg"), "{compacted}");
    assert_eq!(
        (&compacted["object"], &compacted["output"][1]["id"]),
        (&json!("response.compaction"), &json!("cmp_1"))
    );
    assert_eq!(answer.header("x-tollgate-cost-usd"), Some(COST.to_string().as_str()));
    let event = pod.next_event().await;
    let bound = CONTEXT.cast_signed() * INPUT_PRICE + MAX_OUTPUT.cast_signed() * OUTPUT_PRICE;
    assert_eq!((event.cost, event.basis, event.held), (COST, SettlementBasis::Provider, NanoUsd(bound)));
    assert_eq!(pod.spent_and_held().await, (NanoUsd(2 * COST.0), NanoUsd::ZERO));

    // old text that comes back is no answer to be counted
    let long = "word ".repeat(400);
    let answer = post(&pod.http, &pod, path, &json!({"model": "one", "input": long})).await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
    assert_eq!(pod.next_event().await.cost, COST);

    let n_sent = pod.mock.counts().n_received;
    for (more, param, message) in [
        (json!({"model": "second/m"}), "model", "compacts no conversations"),
        (json!({"stream": true}), "stream", "comes whole"),
        (json!({"conversation": "c"}), "conversation", "`previous_response_id`"),
    ] {
        let mut body = json!({"model": "one", "input": "x"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, told, text) = error_of(&post(&pod.http, &pod, path, &body).await);
        assert_eq!((status, told.as_str()), (400, param), "{text}");
        assert!(text.contains(message), "{text}");
    }
    assert_eq!(pod.mock.counts().n_received, n_sent);
    pod.wait_until_nothing_is_held().await;

    // it cannot be cut, so less money than its whole bound is not enough
    let budget = Some(NanoUsd(MAX_OUTPUT.cast_signed() * OUTPUT_PRICE));
    let poor = keeping(Setup { budget, ..Setup::default() }).await;
    let answer = post(&poor.http, &poor, path, &json!({"model": "one", "input": "hello"})).await;
    assert_eq!(answer.status.as_u16(), 402, "{}", answer.text());
    assert_eq!(poor.mock.counts().n_received, 0);
}

#[tokio::test]
async fn files_are_named_by_their_owners_alone() {
    let pod = keeping(Setup::default()).await;
    let id = objects::upload(&pod, "a.pdf", "{}").await.json().unwrap()["id"].as_str().unwrap().to_owned();
    pod.next_event().await;
    let input = json!([{"role": "user", "content": [{"type": "input_text", "text": "read it"},
        {"type": "input_file", "file_id": id}, {"type": "input_image", "file_id": id}]}]);
    let of_responses = |model: &str| json!({"model": model, "input": input, "max_output_tokens": 100});
    let of_chat = |model: &str| {
        let content = json!([{"type": "text", "text": "read it"}, {"type": "file", "file": {"file_id": id}}]);
        json!({"model": model, "messages": [{"role": "user", "content": content}], "max_tokens": 100})
    };
    let bound = NanoUsd(CONTEXT.cast_signed() * INPUT_PRICE + 100 * OUTPUT_PRICE);
    for (path, body) in [("/v1/responses", of_responses("both")), ("/v1/chat/completions", of_chat("both"))] {
        let answer = post(&pod.http, &pod, path, &body).await;
        assert_eq!(answer.status.as_u16(), 200, "{path}: {}", answer.text());
        let sent = String::from_utf8_lossy(pod.mock.last_request().unwrap().body()).into_owned();
        assert!(sent.contains(r#""file-1""#) && !sent.contains(&id), "{sent}");
        let event = pod.next_event().await;
        assert_eq!((event.held, event.provider.as_str()), (bound, "mock"), "{path}");
        assert!(event.cost > NanoUsd::ZERO && event.cost < bound);
    }
    let edit =
        json!({"model": "both", "prompt": "greener", "images": [{"file_id": id}], "mask": {"file_id": id}});
    assert_eq!(post(&pod.http, &pod, "/v1/images/edits", &edit).await.status.as_u16(), 404, "of the mock");
    let sent = pod.mock.last_request().unwrap().json().unwrap();
    assert_eq!(
        (&sent["images"], &sent["mask"]),
        (&json!([{"file_id": "file-1"}]), &json!({"file_id": "file-1"}))
    );
    assert_eq!(pod.next_event().await.cost, NanoUsd::ZERO);
    let counted = post(&pod.http, &pod, "/v1/responses/input_tokens", &of_responses("one")).await;
    assert_eq!(counted.json().unwrap()["input_tokens"], 21);
    pod.next_event().await;
    let n_sent = pod.mock.counts().n_received;
    let stranger = HttpClient::new().with_bearer(OTHER_KEY);
    for (path, body, param) in [
        ("/v1/responses", of_responses("mock/m"), "input[0].content[1].file_id"),
        ("/v1/chat/completions", of_chat("mock/m"), "messages[0].content[1].file.file_id"),
        (
            "/v1/images/edits",
            json!({"model": "mock/m", "prompt": "x", "images": [{"file_id": id}]}),
            "images[0].file_id",
        ),
    ] {
        let (status, told, _) = error_of(&post(&stranger, &pod, path, &body).await);
        assert_eq!((status, told.as_str()), (404, param), "{path}");
        let by_its_own = serde_json::from_str(&body.to_string().replace(&id, "file-1")).unwrap();
        let (status, _, text) = error_of(&post(&pod.http, &pod, path, &by_its_own).await);
        assert!(status == 404 && text.contains("there is no file `file-1`"), "{path}: {text}");
    }
    for (path, body) in
        [("/v1/responses", of_responses("second/m")), ("/v1/chat/completions", of_chat("second/m"))]
    {
        let (status, _, text) = error_of(&post(&pod.http, &pod, path, &body).await);
        assert!(status == 400 && text.contains("files are kept by the provider `mock`"), "{path}: {text}");
    }
    assert_eq!((pod.mock.counts().n_received, pod.second.counts().n_received), (n_sent, 0));
    pod.wait_until_nothing_is_held().await;
}

#[tokio::test]
async fn what_goes_on_in_the_background_is_settled_though_nobody_asks() {
    for is_stream in [false, true] {
        let mut setup = Setup::default();
        setup.config.look_at_batches_every = Duration::from_millis(50);
        let pod = keeping(setup).await;
        if is_stream {
            let body = json!({"model": "one", "input": "hi", "max_output_tokens": 100, "background": true, "stream": true});
            let stream = pod.http.post_stream(&pod.url("/v1/responses"), &body).await.unwrap();
            // the client leaves before it is over
            let mut stream = stream;
            stream.next_data().await.unwrap().unwrap();
            drop(stream);
        } else {
            made(&pod, json!({"background": true})).await;
            let (settled, held) = pod.spent_and_held().await;
            assert!(settled == NanoUsd::ZERO && held > NanoUsd(100 * OUTPUT_PRICE), "{held}");
        }
        let event = next_charge(&pod).await;
        assert_eq!((event.cost, event.basis), (COST, SettlementBasis::Provider), "stream: {is_stream}");
        assert_eq!(pod.spent_and_held().await, (COST, NanoUsd::ZERO));
        // looked at no more, and never settled twice
        assert_eq!(pod.gateway.open_holds(), 0);
    }
}
