//! Moderations, rerank, images and sound, over real sockets.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use tollgate_domain::{Meter, NanoUsd, RequestOutcome, SettlementBasis, Surface, Usage};
use tollgate_policy::Dialect;
use tollgate_testkit::http::Answer;
use tollgate_testkit::mock_provider::{BreakKind, Script};

use crate::harness::{Pod, Setup};

/// Nano-USD for one of each.
const PRICES: [(Meter, i64); 8] = [
    (Meter::Input, 1_000),
    (Meter::Output, 2_000),
    (Meter::OutputImage, 30_000),
    (Meter::OutputAudio, 12_000),
    (Meter::Image, 40_000_000),
    (Meter::Search, 2_000_000),
    (Meter::Second, 100_000),
    (Meter::Character, 15_000),
];

fn setup() -> Setup {
    let prices = PRICES.map(|(meter, price)| (Some(meter), price * 1_000_000)).to_vec();
    Setup { prices, ..Setup::default() }
}

fn cost(usage: &Usage) -> NanoUsd {
    NanoUsd(PRICES.iter().map(|(meter, price)| price * i64::try_from(usage.get(*meter)).unwrap()).sum())
}

async fn post(pod: &Pod, path: &str, content_type: &str, body: impl Into<Bytes>) -> Answer {
    let mut request = pod.http.request(Method::POST, &pod.url(path), body).unwrap();
    request.headers_mut().insert("content-type", content_type.parse().unwrap());
    pod.http.send(request).await.unwrap()
}

const FORM: &str = "multipart/form-data; boundary=\"=X=\"";

fn form(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, content) in fields {
        let file = if matches!(*name, "file" | "image" | "mask") { "; filename=\"a.bin\"" } else { "" };
        out.extend(format!("--=X=\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").bytes());
        out.extend_from_slice(content);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"--=X=--\r\n");
    out
}

/// Ten seconds of silence.
fn wav() -> Vec<u8> {
    let mut bytes = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    bytes.extend(24_000_u32.to_le_bytes());
    bytes.extend(48_000_u32.to_le_bytes());
    bytes.extend(b"\x02\0\x10\0data\0\0\0\0");
    bytes.resize(480_000, 0);
    bytes
}

struct Case {
    surface: Surface,
    path: &'static str,
    ask: Value,
    answer: Value,
    usage: Usage,
    basis: SettlementBasis,
}

fn cases() -> Vec<Case> {
    let told = SettlementBasis::Provider;
    vec![
        Case {
            surface: Surface::Moderations,
            path: "/v1/moderations",
            ask: json!({"model": "one", "input": ["a", "b"], "later": 1}),
            answer: json!({"id": "m", "results": [], "usage": {"prompt_tokens": 5, "total_tokens": 5}}),
            usage: Usage::ZERO.with(Meter::Input, 5),
            basis: told,
        },
        Case {
            surface: Surface::Rerank,
            path: "/v1/rerank",
            ask: json!({"model": "one", "query": "q", "documents": ["a", {"text": "b"}], "top_n": 1}),
            answer: json!({"results": [], "meta": {"billed_units": {"search_units": 1}}}),
            usage: Usage::ZERO.with(Meter::Search, 1),
            basis: told,
        },
        Case {
            surface: Surface::Images,
            path: "/v1/images/generations",
            ask: json!({"model": "one", "prompt": "a cat", "n": 2, "size": "1024x1024"}),
            answer: json!({"created": 1, "data": [{"b64_json": "aa"}, {"b64_json": "bb"}],
                "usage": {"input_tokens": 4, "output_tokens": 900, "total_tokens": 904}}),
            usage: Usage::ZERO.with(Meter::Input, 4).with(Meter::OutputImage, 900).with(Meter::Image, 2),
            basis: told,
        },
        Case {
            surface: Surface::Images,
            path: "/v1/images/generations",
            ask: json!({"model": "one", "prompt": "a cat and", "n": 2}),
            answer: json!({"created": 1, "data": [{"url": "https://x/1"}]}),
            usage: Usage::ZERO.with(Meter::Input, 3).with(Meter::Image, 1),
            basis: SettlementBasis::Counted,
        },
    ]
}

#[tokio::test]
async fn each_surface_is_paid_for_sent_and_counted() {
    let pod = Pod::start(setup()).await;
    for case in cases() {
        let name = case.surface.name();
        pod.mock.push(Script::new().json(&case.answer));
        let answer = pod.http.post_json(&pod.url(case.path), &case.ask).await.unwrap();
        assert_eq!(answer.status.as_u16(), 200, "{name}: {}", answer.text());
        let mut expected = case.answer.clone();
        if let Some(usage) = expected.get_mut("usage") {
            usage["cost"] = answer.json().unwrap()["usage"]["cost"].clone();
            assert!(usage["cost"].is_number(), "{name}");
        }
        assert_eq!(answer.json().unwrap(), expected, "{name}");
        let price = cost(&case.usage);
        assert_eq!(answer.header("x-tollgate-cost-usd"), Some(price.to_string().as_str()), "{name}");
        let asked = pod.mock.last_request().unwrap();
        let mut expected = case.ask.clone();
        expected["model"] = json!("m");
        assert_eq!((asked.path(), asked.json().unwrap()), (case.path, expected), "{name}");
        assert_eq!(asked.header("content-type"), Some("application/json"), "{name}");
        let event = pod.next_event().await;
        assert_eq!((event.surface, event.cost, event.basis), (case.surface, price, case.basis), "{name}");
        assert_eq!(event.usage, case.usage.with(Meter::Request, 1), "{name}");
        assert!(event.held >= price, "{name}: held {} for {price}", event.held);
    }
    pod.wait_until_nothing_is_held().await;
}

#[tokio::test]
async fn forms_pass_byte_for_byte_but_for_the_model() {
    let pod = Pod::start(setup()).await;
    let sound = wav();
    let ask = |model: &[u8]| {
        form(&[("model", model), ("file", &sound), ("response_format", b"json"), ("x", b"\xff\r\n--=X")])
    };
    for (path, text, seconds, basis) in [
        (
            "/v1/audio/transcriptions",
            json!({"text": "hi", "usage": {"type": "duration", "seconds": 9}}),
            9,
            SettlementBasis::Provider,
        ),
        ("/v1/audio/translations", json!({"text": "hi"}), 10, SettlementBasis::Counted),
    ] {
        pod.mock.push(Script::new().json(&text));
        let answer = post(&pod, path, FORM, ask(b"one")).await;
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
        let asked = pod.mock.last_request().unwrap();
        assert_eq!((asked.path(), asked.header("content-type")), (path, Some(FORM)));
        assert!(asked.body() == &ask(b"m"), "{path}");
        let event = pod.next_event().await;
        assert_eq!((event.usage.get(Meter::Second), event.basis), (seconds, basis), "{path}");
        assert!(event.cost > NanoUsd::ZERO && event.held >= event.cost);
    }
    // subtitles are no JSON
    pod.mock.push(Script::new().body("text/plain", "1\n00:00:00,000 --> 00:00:09,000\nhi\n"));
    let answer = post(&pod, "/v1/audio/transcriptions", FORM, ask(b"one")).await;
    assert_eq!((answer.status.as_u16(), answer.text().starts_with("1\n")), (200, true));
    assert_eq!(pod.next_event().await.usage.get(Meter::Second), 10);
    // images are edited in forms, too
    pod.mock.push(Script::new().json(&json!({"data": [{}]})));
    let edit = form(&[("image", b"\x89PNG"), ("mask", b"\x89PNG"), ("prompt", b"a hat"), ("model", b"one")]);
    let answer = post(&pod, "/v1/images/edits", FORM, edit).await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
    assert_eq!(pod.next_event().await.usage.get(Meter::Image), 1);
    pod.wait_until_nothing_is_held().await;
}

#[tokio::test]
async fn speech_is_relayed_as_it_comes_and_cut_where_it_breaks() {
    let pod = Pod::start(setup()).await;
    let ask = json!({"model": "one", "input": "hello", "voice": "alloy"});
    let sound = vec![0xff; 100_000];
    pod.mock.push(Script::new().body("audio/mpeg", sound.clone()));
    let answer = pod.http.post_json(&pod.url("/v1/audio/speech"), &ask).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, Some("audio/mpeg")));
    assert!(answer.body == sound);
    let event = pod.next_event().await;
    let expected = Usage::ZERO.with(Meter::Input, 2).with(Meter::OutputAudio, 10).with(Meter::Character, 5);
    assert_eq!((event.usage, event.cost), (expected.with(Meter::Request, 1), cost(&expected)));
    assert_eq!((event.surface, event.outcome), (Surface::Speech, RequestOutcome::Ok));

    // half of it is not taken for the whole
    pod.mock.push(Script::new().body("audio/mpeg", sound).break_after_bytes(50_000, BreakKind::Reset));
    assert!(pod.http.post_json(&pod.url("/v1/audio/speech"), &ask).await.is_err());
    let event = pod.next_event().await;
    assert!(matches!(event.outcome, RequestOutcome::Error(_)), "{:?}", event.outcome);
    assert_eq!(event.cost, cost(&expected));
    pod.wait_until_nothing_is_held().await;
}

#[tokio::test]
async fn streamed_images_pass_with_their_cost() {
    let pod = Pod::start(setup()).await;
    let ask = json!({"model": "one", "prompt": "a cat", "stream": true, "partial_images": 1});
    let big = "a".repeat(2 << 20);
    pod.mock.push(
        Script::new().sse_payloads([
            json!({"type": "image_generation.partial_image", "b64_json": big}).to_string(),
            json!({"type": "image_generation.completed", "b64_json": "bb",
            "usage": {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}})
            .to_string(),
        ]),
    );
    let mut stream = pod.http.post_stream(&pod.url("/v1/images/generations"), &ask).await.unwrap();
    let events = stream.collect_data().await.unwrap();
    assert_eq!((events.len(), events[0].len() > 2 << 20), (2, true));
    let last: Value = serde_json::from_str(&events[1]).unwrap();
    assert_eq!((&last["b64_json"], last["usage"]["cost"].is_number()), (&json!("bb"), true));
    let event = pod.next_event().await;
    let expected = Usage::ZERO.with(Meter::Input, 5).with(Meter::OutputImage, 7).with(Meter::Image, 1);
    assert_eq!((event.usage, event.basis), (expected.with(Meter::Request, 1), SettlementBasis::Provider));
    assert_eq!((event.cost, event.streamed), (cost(&expected), true));

    // one that ends without its last event is told
    pod.mock
        .push(Script::new().sse_payloads([json!({"type": "image_generation.partial_image"}).to_string()]));
    let mut stream = pod.http.post_stream(&pod.url("/v1/images/generations"), &ask).await.unwrap();
    let last = stream.collect_data().await.unwrap().pop().unwrap();
    assert!(last.contains("upstream_error"), "{last}");
    pod.next_event().await;
    pod.wait_until_nothing_is_held().await;
}

#[tokio::test]
async fn what_cannot_be_paid_is_not_sent() {
    // 2 images and their tokens cost more
    let pod = Pod::start(Setup { budget: Some(NanoUsd(80_000_000)), ..setup() }).await;
    let ask = json!({"model": "one", "prompt": "a cat", "n": 2});
    let answer = pod.http.post_json(&pod.url("/v1/images/generations"), &ask).await.unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.json().unwrap()["error"]["code"].clone()),
        (402, json!("budget_exceeded"))
    );
    let long = json!({"model": "one", "input": "a".repeat(6_000), "voice": "v"});
    let answer = pod.http.post_json(&pod.url("/v1/audio/speech"), &long).await.unwrap();
    assert_eq!(answer.status.as_u16(), 402);
    assert_eq!(pod.mock.counts().n_received, 0);
    let quote = pod.http.post_json(&pod.url("/v1/quote"), &long).await.unwrap().json().unwrap();
    assert!(quote["worst_case_cost_usd"].as_str().unwrap() > "0.09", "{quote}");
    let quote = pod.http.post_json(&pod.url("/v1/quote?surface=images"), &ask).await.unwrap().json().unwrap();
    assert!(quote["worst_case_cost_usd"].as_str().unwrap() > "0.08", "{quote}");
}

#[tokio::test]
async fn what_is_not_priced_or_not_served_is_refused_by_name() {
    // tokens alone have a price
    let pod = Pod::start(Setup { prices: vec![(Some(Meter::Search), 1)], ..Setup::default() }).await;
    let ask = json!({"model": "one", "input": "hello", "voice": "v"});
    let answer = pod.http.post_json(&pod.url("/v1/audio/speech"), &ask).await.unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.json().unwrap()["error"]["code"].clone()),
        (422, json!("model_not_priced"))
    );
    let pod = Pod::start(Setup { dialect: Dialect::Anthropic, ..setup() }).await;
    let answer = pod.http.post_json(&pod.url("/v1/audio/speech"), &ask).await.unwrap();
    let message = answer.json().unwrap()["error"]["message"].to_string();
    assert_eq!(answer.status.as_u16(), 400);
    assert!(message.contains("does not serve speech"), "{message}");
    assert_eq!(pod.mock.counts().n_received, 0);
    // Cohere ranks
    let pod = Pod::start(Setup { dialect: Dialect::Cohere, ..setup() }).await;
    pod.mock
        .push(Script::new().json(&json!({"results": [], "meta": {"billed_units": {"search_units": 1.0}}})));
    let ask = json!({"model": "one", "query": "q", "documents": ["a"]});
    let answer = pod.http.post_json(&pod.url("/v2/rerank"), &ask).await.unwrap();
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
    assert_eq!(pod.mock.last_request().unwrap().path(), "/v2/rerank");
    assert_eq!(pod.next_event().await.usage.get(Meter::Search), 1);
}

#[tokio::test]
async fn bad_requests_say_what_is_wrong() {
    let pod = Pod::start(setup()).await;
    let json_type = "application/json";
    let cases: [(&str, &str, Vec<u8>, &str); 8] = [
        ("/v1/images/generations", json_type, br#"{"model":"one"}"#.to_vec(), "prompt"),
        ("/v1/images/generations", json_type, br#"{"model":"one","prompt":"a","n":99}"#.to_vec(), "n"),
        ("/v1/rerank", json_type, br#"{"model":"one","query":"q","documents":"a"}"#.to_vec(), "documents"),
        ("/v1/moderations", json_type, br#"{"input":"a"}"#.to_vec(), "model"),
        ("/v1/audio/transcriptions", json_type, b"{}".to_vec(), ""),
        ("/v1/audio/transcriptions", FORM, form(&[("model", b"one")]), "file"),
        (
            "/v1/audio/transcriptions",
            FORM,
            form(&[("file", b"a"), ("model", b"one"), ("model", b"two")]),
            "model",
        ),
        ("/v1/audio/transcriptions", "multipart/form-data; boundary=other", form(&[("file", b"a")]), ""),
    ];
    for (path, content_type, body, param) in cases {
        let answer = post(&pod, path, content_type, body).await;
        let error = answer.json().unwrap()["error"].clone();
        assert_eq!(
            (answer.status.as_u16(), &error["code"]),
            (400, &json!("invalid_request")),
            "{path}: {error}"
        );
        assert_eq!(error["param"].as_str().unwrap_or_default(), param, "{path}: {error}");
    }
    assert_eq!(pod.http.get(&pod.url("/v1/audio/speech")).await.unwrap().status.as_u16(), 405);
    // the provider's own refusal costs nothing
    pod.mock.push(Script::error(400, "no such voice"));
    let ask = json!({"model": "one", "input": "hello", "voice": "v"});
    let answer = pod.http.post_json(&pod.url("/v1/audio/speech"), &ask).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.text().contains("no such voice")), (400, true));
    assert_eq!(pod.next_event().await.cost, NanoUsd::ZERO);
    pod.wait_until_nothing_is_held().await;
}

#[tokio::test]
async fn another_candidate_takes_over() {
    let pod = Pod::start(setup()).await;
    let ask = form(&[("file", &wav()), ("model", b"both")]);
    pod.mock.push(Script::error(500, "down"));
    pod.second.push(Script::new().json(&json!({"text": "hi"})));
    let answer = post(&pod, "/v1/audio/transcriptions", FORM, ask).await;
    assert_eq!((answer.status.as_u16(), answer.header("x-tollgate-provider")), (200, Some("second")));
    assert_eq!(pod.next_event().await.attempts.len(), 2);
}
