use http_body_util::BodyExt as _;
use serde_json::json;
use tollgate_domain::Meter;
use tollgate_wire::openai::request::input_token_bound;
use tollgate_wire::openai::response::{AnswerShape, read_answer};
use tollgate_wire::openai::stream::{RelayEvent, StreamEnd, StreamOptions, StreamRelay};
use tollgate_wire::openai::usage::UsageReading;

use super::*;

async fn call(surface: Surface, body: &Value) -> (StatusCode, Bytes) {
    let response = answer(surface, body.to_string().as_bytes());
    let status = response.status();
    (status, response.into_body().collect().await.unwrap().to_bytes())
}

async fn json_of(surface: Surface, body: &Value) -> Value {
    let (status, bytes) = call(surface, body).await;
    assert_eq!(status, StatusCode::OK);
    serde_json::from_slice(&bytes).unwrap()
}

fn chat(extra: &Value) -> Value {
    let mut body = json!({"model": "demo-chat", "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hello there, gate!"}]},
    ]});
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn chat_answers_counts_and_caps() {
    let body = chat(&json!({}));
    let (_, bytes) = call(Surface::Chat, &body).await;
    let read = read_answer(Surface::Chat, &bytes);
    assert_eq!(read.shape, AnswerShape::Json);
    let whole: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(whole["choices"][0]["finish_reason"], "stop");
    let UsageReading::Counted(usage, _) = read.usage else { panic!("{read:?}") };
    // 9 + 18 bytes of prompt; the answer's own bytes.
    assert_eq!((usage.get(Meter::Input), usage.get(Meter::Output)), (7, read.text_bytes.div_ceil(4)));
    let request = body.to_string();
    let bound = input_token_bound(&skim(Surface::Chat, request.as_bytes()).unwrap(), request.len());
    assert!(usage.input_tokens() <= bound);
    let text = json_of(Surface::Chat, &body).await;
    assert!(
        text["choices"][0]["message"]["content"].as_str().unwrap().ends_with("You said: Hello there, gate!")
    );

    let capped =
        json_of(Surface::Chat, &chat(&json!({"max_completion_tokens": 3, "max_tokens": 50, "n": 2}))).await;
    assert_eq!(capped["choices"][1]["finish_reason"], "length");
    assert_eq!(capped["choices"][1]["message"]["content"], "This is Toll");
    assert_eq!(capped["usage"]["completion_tokens"], 6);
}

#[tokio::test]
async fn chat_streams_the_same() {
    let whole = json_of(Surface::Chat, &chat(&json!({}))).await;
    for include_usage in [true, false] {
        let body = chat(&json!({"stream": true, "stream_options": {"include_usage": include_usage}}));
        let (_, bytes) = call(Surface::Chat, &body).await;
        let options = StreamOptions { client_wants_usage: false, n_choices: 1 };
        let mut relay = StreamRelay::new(Surface::Chat, options);
        let mut events = Vec::new();
        relay.push(bytes, &mut events).unwrap();
        assert_eq!(relay.finish(true, &mut events), StreamEnd::Complete);
        let text = whole["choices"][0]["message"]["content"].as_str().unwrap();
        assert_eq!(relay.text_bytes(), text.len() as u64);
        let total = relay.usage().map(|usage| usage.total_tokens());
        assert_eq!(total, include_usage.then(|| whole["usage"]["total_tokens"].as_u64().unwrap()));
        assert!(!events.iter().any(|event| matches!(event, RelayEvent::ProviderError(_))));
    }
}

#[tokio::test]
async fn completions_and_embeddings() {
    let answer =
        json_of(Surface::Completions, &json!({"prompt": ["one two", "three"], "max_tokens": 2})).await;
    assert_eq!(answer["choices"].as_array().unwrap().len(), 2);
    assert_eq!(answer["usage"], json!({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}));

    let answer = json_of(Surface::Embeddings, &json!({"input": ["a", "b", "a"], "dimensions": 16})).await;
    let vector = |index: usize| -> Vec<f64> {
        serde_json::from_value(answer["data"][index]["embedding"].clone()).unwrap()
    };
    assert_eq!((vector(0), vector(0).len()), (vector(2), 16));
    assert_ne!(vector(0), vector(1));
    let length: f64 = vector(0).iter().map(|number| number * number).sum();
    assert!((length - 1.0).abs() < 1e-5);
    assert_eq!(answer["usage"]["total_tokens"], 3);
    // The SDK's default encoding holds the same numbers.
    use base64::Engine as _;
    let answer =
        json_of(Surface::Embeddings, &json!({"input": "a", "dimensions": 16, "encoding_format": "base64"}))
            .await;
    let encoded = answer["data"][0]["embedding"].as_str().unwrap();
    let bytes = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap();
    let first = f32::from_le_bytes(bytes[..4].try_into().unwrap());
    assert!((f64::from(first) - vector(0)[0]).abs() < 1e-6);
    assert_eq!(json_of(Surface::Embeddings, &json!({"input": [1, 2, 3]})).await["usage"]["total_tokens"], 3);
}

#[tokio::test]
async fn bad_requests_are_refused_in_openais_shape() {
    for (surface, body, param) in [
        (Surface::Chat, json!({"messages": []}), "messages"),
        (Surface::Chat, chat(&json!({"n": 0})), "n"),
        (Surface::Embeddings, json!({"input": "a", "dimensions": 0}), "dimensions"),
    ] {
        let (status, bytes) = call(surface, &body).await;
        let error: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((status, error["error"]["param"].as_str()), (StatusCode::BAD_REQUEST, Some(param)));
    }
}
