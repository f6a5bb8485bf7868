//! Clients and providers of different dialects.

use serde_json::{Value, json};
use tollgate_domain::{Meter, NanoUsd, SettlementBasis};
use tollgate_policy::Dialect;
use tollgate_testkit::http::{Answer, HttpClient};
use tollgate_testkit::mock_provider::{ReceivedRequest, Script};
use tollgate_wire::neutral::{Assembler, ChatAnswer, ChatDialect, PartKind};
use tollgate_wire::translate::{StreamReader, read_answer};

use crate::clouds;
use crate::harness::{INPUT_PRICE, KEY, OUTPUT_PRICE, Pod, Setup};

const PROVIDERS: [Dialect; 6] = [
    Dialect::Openai,
    Dialect::Anthropic,
    Dialect::Gemini,
    Dialect::Cohere,
    Dialect::Bedrock,
    Dialect::Vertex,
];
const CLIENTS: [ChatDialect; 4] =
    [ChatDialect::OpenAiChat, ChatDialect::OpenAiResponses, ChatDialect::Anthropic, ChatDialect::Gemini];
/// What every provider says: a greeting and a call, for 6 prompt tokens and 7 of answer.
pub(crate) const COST: NanoUsd = NanoUsd(6 * INPUT_PRICE + 7 * OUTPUT_PRICE);

/// The vendors' words for the same answer.
pub(crate) fn vendor(request: &ReceivedRequest) -> Option<Script> {
    let body = request.json().unwrap();
    let (path, is_stream) = (request.path(), body["stream"] == true);
    if let Some(script) = clouds::bedrock(path) {
        return Some(script);
    }
    let (path, is_stream) = clouds::as_at_home(path, is_stream);
    let text = if path.contains("/v1beta/") && path.contains("streamGenerateContent?alt=sse") {
        sse(&[
            json!({"candidates": [{"content": {"parts": [{"text": "Hel"}]}}], "modelVersion": "m-1", "responseId": "r1"}),
            json!({"candidates": [{"content": {"parts": [{"text": "lo"}, {"functionCall": {"name": "f", "args": {"a": 1}}}]}, "finishReason": "STOP"}],
                "usageMetadata": {"promptTokenCount": 6, "candidatesTokenCount": 7, "totalTokenCount": 13}}),
        ])
    } else if path.contains("/v1beta/") {
        json!({"candidates": [{"content": {"parts": [{"text": "Hello"}, {"functionCall": {"name": "f", "args": {"a": 1}}}]}, "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": 6, "candidatesTokenCount": 7, "totalTokenCount": 13}, "modelVersion": "m-1", "responseId": "r1"})
            .to_string()
    } else if path == "/v1/messages" && is_stream {
        sse(&[
            json!({"type": "message_start", "message": {"id": "r1", "model": "m-1", "usage": {"input_tokens": 6, "output_tokens": 1}}}),
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}}),
            json!({"type": "content_block_stop", "index": 0}),
            json!({"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "t1", "name": "f", "input": {}}}),
            json!({"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "{\"a\":1}"}}),
            json!({"type": "content_block_stop", "index": 1}),
            json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 7}}),
            json!({"type": "message_stop"}),
        ])
    } else if path == "/v1/messages" {
        json!({"id": "r1", "type": "message", "role": "assistant", "model": "m-1", "content": [{"type": "text", "text": "Hello"},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}], "stop_reason": "tool_use",
            "usage": {"input_tokens": 6, "output_tokens": 7}})
            .to_string()
    } else if path == "/v2/chat" && is_stream {
        sse(&[
            json!({"type": "message-start", "id": "r1", "delta": {"message": {"role": "assistant"}}}),
            json!({"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}}),
            json!({"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "Hello"}}}}),
            json!({"type": "content-end", "index": 0}),
            json!({"type": "tool-call-start", "index": 0, "delta": {"message": {"tool_calls": {"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}}}}),
            json!({"type": "tool-call-end", "index": 0}),
            json!({"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": {"billed_units": {"input_tokens": 6, "output_tokens": 7}}}}),
        ])
    } else if path == "/v2/chat" {
        json!({"id": "r1", "finish_reason": "TOOL_CALL", "message": {"role": "assistant", "content": [{"type": "text", "text": "Hello"}],
            "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]},
            "usage": {"billed_units": {"input_tokens": 6, "output_tokens": 7}}})
            .to_string()
    } else {
        openai(is_stream)
    };
    let content_type = if text.starts_with("data:") { "text/event-stream" } else { "application/json" };
    Some(Script::new().body(content_type, text))
}

fn openai(is_stream: bool) -> String {
    let call = json!([{"index": 0, "id": "t1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]);
    let usage = json!({"prompt_tokens": 6, "completion_tokens": 7, "total_tokens": 13});
    if !is_stream {
        return json!({"id": "r1", "object": "chat.completion", "created": 1, "model": "m-1", "choices": [{"index": 0,
            "message": {"role": "assistant", "content": "Hello", "tool_calls": call}, "finish_reason": "tool_calls"}], "usage": usage})
        .to_string();
    }
    let chunk = |delta: Value, finish: Value| {
        json!({"id": "r1", "object": "chat.completion.chunk", "created": 1, "model": "m-1",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    };
    let mut text = sse(&[
        chunk(json!({"role": "assistant", "content": "Hello"}), Value::Null),
        chunk(json!({"tool_calls": call}), Value::Null),
        chunk(json!({}), json!("tool_calls")),
        json!({"id": "r1", "object": "chat.completion.chunk", "created": 1, "model": "m-1", "choices": [], "usage": usage}),
    ]);
    text.push_str("data: [DONE]\n\n");
    text
}

fn sse(events: &[Value]) -> String {
    events.iter().map(|event| format!("data: {event}\n\n")).collect()
}

/// The same question in every client's dialect: path and body.
pub(crate) fn question(client: ChatDialect, is_stream: bool) -> (String, Value) {
    let schema = json!({"type": "object"});
    match client {
        ChatDialect::OpenAiResponses => (
            "/v1/responses".to_owned(),
            json!({"model": "one", "input": "hello there", "max_output_tokens": 100, "stream": is_stream,
                "tools": [{"type": "function", "name": "f", "parameters": schema}]}),
        ),
        ChatDialect::Anthropic => (
            "/v1/messages".to_owned(),
            json!({"model": "one", "messages": [{"role": "user", "content": "hello there"}], "max_tokens": 100,
                "stream": is_stream, "tools": [{"name": "f", "input_schema": schema}]}),
        ),
        ChatDialect::Gemini => {
            let call = if is_stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
            (
                format!("/v1beta/models/one:{call}"),
                json!({"contents": [{"role": "user", "parts": [{"text": "hello there"}]}],
                    "generationConfig": {"maxOutputTokens": 100},
                    "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": schema}]}]}),
            )
        }
        _ => (
            "/v1/chat/completions".to_owned(),
            json!({"model": "one", "messages": [{"role": "user", "content": "hello there"}], "max_tokens": 100,
                "stream": is_stream, "stream_options": {"include_usage": true},
                "tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}]}),
        ),
    }
}

pub(crate) fn check_said(answer: &ChatAnswer, name: &str) {
    let parts: Vec<&PartKind> = answer.choices[0].parts.iter().map(|part| &part.kind).collect();
    assert!(matches!(parts[0], PartKind::Text { text, .. } if text == "Hello"), "{name}: {parts:?}");
    assert!(
        matches!(parts[1], PartKind::ToolCall(call) if call.name == "f" && call.arguments == "{\"a\":1}"),
        "{name}: {parts:?}"
    );
    let usage = answer.usage.unwrap();
    assert_eq!((usage.get(Meter::Input), usage.output_tokens()), (6, 7), "{name}");
}

#[tokio::test]
async fn every_client_gets_an_answer_of_every_provider() {
    for provider in PROVIDERS {
        let pod = Pod::start(Setup { dialect: provider, ..Setup::default() }).await;
        pod.mock.set_responder(vendor);
        for client in CLIENTS {
            let name = format!("{client:?} to {provider:?}");
            let (path, mut body) = question(client, false);
            body.as_object_mut().unwrap().remove("stream_options");
            let answer = pod.http.post_json(&pod.url(&path), &body).await.unwrap();
            assert_eq!(answer.status.as_u16(), 200, "{name}: {}", answer.text());
            assert_eq!(answer.header("x-tollgate-cost-usd"), Some(COST.to_string().as_str()), "{name}");
            check_said(&read_answer(client, &answer.body, "", "").unwrap(), &name);
            let event = pod.next_event().await;
            assert_eq!((event.cost, event.model.as_ref()), (COST, "m"), "{name}");
        }
        pod.wait_until_nothing_is_held().await;
    }
}

#[tokio::test]
async fn every_client_streams_from_every_provider() {
    for provider in PROVIDERS {
        let pod = Pod::start(Setup { dialect: provider, ..Setup::default() }).await;
        pod.mock.set_responder(vendor);
        for client in CLIENTS {
            let name = format!("{client:?} to {provider:?}");
            let (path, body) = question(client, true);
            let mut stream = pod.http.post_stream(&pod.url(&path), &body).await.unwrap();
            let mut reader = StreamReader::new(client);
            let mut steps = Vec::new();
            while let Some(bytes) = stream.next_bytes().await.unwrap() {
                reader.push(bytes, &mut steps).unwrap();
            }
            reader.end(&mut steps);
            let mut assembler = Assembler::default();
            steps.iter().for_each(|step| assembler.event(step));
            check_said(&assembler.finish(), &name);
            assert_eq!(pod.next_event().await.cost, COST, "{name}");
        }
        pod.wait_until_nothing_is_held().await;
    }
}

#[tokio::test]
async fn a_provider_is_asked_as_its_dialect_wants_it() {
    let cases = [
        (Dialect::Anthropic, "/v1/messages", "x-api-key", "max_tokens"),
        (Dialect::Gemini, "/v1beta/models/m:generateContent", "x-goog-api-key", "generationConfig"),
        (Dialect::AzureOpenai, "/openai/v1/chat/completions", "api-key", "messages"),
        (Dialect::Cohere, "/v2/chat", "authorization", "max_tokens"),
        (Dialect::Bedrock, "/model/m/converse", "authorization", "inferenceConfig"),
        (
            Dialect::Vertex,
            "/v1/projects/p/locations/l/publishers/google/models/m:generateContent",
            "authorization",
            "generationConfig",
        ),
    ];
    for (dialect, path, header, member) in cases {
        let pod = Pod::start(Setup { dialect, ..Setup::default() }).await;
        pod.mock.set_responder(vendor);
        let (_, body) = question(ChatDialect::OpenAiChat, false);
        let answer = pod.chat(&body).await;
        assert_eq!(answer.status.as_u16(), 200, "{dialect:?}: {}", answer.text());
        let asked = pod.mock.last_request().unwrap();
        assert_eq!(asked.path(), path, "{dialect:?}");
        let key = asked.header(header).unwrap();
        assert_eq!(key.trim_start_matches("Bearer "), "upstream-secret-1", "{dialect:?}");
        let has_version = asked.header("anthropic-version").is_some();
        assert_eq!(has_version, dialect == Dialect::Anthropic, "{dialect:?}");
        assert!(asked.json().unwrap().get(member).is_some(), "{dialect:?}");
    }
}

#[tokio::test]
async fn the_same_dialect_passes_with_members_nobody_knows() {
    let pod = Pod::start(Setup { dialect: Dialect::Anthropic, ..Setup::default() }).await;
    pod.mock.set_responder(vendor);
    let (path, mut body) = question(ChatDialect::Anthropic, false);
    body["brand_new"] = json!({"a": [1.50]});
    body["messages"][0]["content"] = json!([{"type": "text", "text": "hi", "newer": true}]);
    let answer = pod.http.post_json(&pod.url(&path), &body).await.unwrap();
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
    let mut expected = body.clone();
    expected["model"] = json!("m");
    assert_eq!(pod.mock.last_request().unwrap().json().unwrap(), expected);
}

#[tokio::test]
async fn what_a_provider_lacks_is_refused_by_name_before_anything_is_sent() {
    let pod = Pod::start(Setup { dialect: Dialect::Anthropic, ..Setup::default() }).await;
    let (_, mut body) = question(ChatDialect::OpenAiChat, false);
    body["seed"] = json!(5);
    let answer = pod.chat(&body).await;
    assert_eq!(answer.status.as_u16(), 400);
    let message = answer.json().unwrap()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("a seed (`seed`) is not supported by Anthropic Messages"), "{message}");
    assert_eq!(pod.mock.counts().n_received, 0);
    // another candidate that can takes it
    body["model"] = json!("both");
    assert_eq!(pod.chat(&body).await.status.as_u16(), 200);
    assert_eq!((pod.mock.counts().n_received, pod.second.counts().n_received), (0, 1));
}

async fn ask(http: &HttpClient, pod: &Pod, client: ChatDialect, change: impl Fn(&mut Value)) -> Answer {
    let (path, mut body) = question(client, false);
    change(&mut body);
    http.post_json(&pod.url(&path), &body).await.unwrap()
}

#[tokio::test]
async fn errors_have_the_shape_of_the_clients_dialect() {
    let pod = Pod::start(Setup { budget: Some(NanoUsd(1)), ..Setup::default() }).await;
    let nobody = HttpClient::new();
    for client in CLIENTS {
        let unknown = ask(&nobody, &pod, client, |_| {}).await;
        assert_eq!(unknown.status.as_u16(), 401, "{client:?}");
        let spent = ask(&pod.http, &pod, client, |_| {}).await;
        assert_eq!(spent.status.as_u16(), 402, "{client:?}");
        let (unknown, spent) = (unknown.json().unwrap(), spent.json().unwrap());
        match client {
            ChatDialect::Anthropic => {
                assert_eq!(
                    (&unknown["type"], &unknown["error"]["type"]),
                    (&json!("error"), &json!("authentication_error"))
                );
                assert_eq!(spent["error"]["type"], "billing_error");
                assert_eq!(spent["error"]["code"], "budget_exceeded");
                assert!(
                    spent["error"]["metadata"]["limit_usd"].is_string() && spent["request_id"].is_string()
                );
            }
            ChatDialect::Gemini => {
                assert_eq!(
                    (&unknown["error"]["code"], &unknown["error"]["status"]),
                    (&json!(401), &json!("UNAUTHENTICATED"))
                );
                assert_eq!(spent["error"]["details"][0]["reason"], "budget_exceeded");
            }
            _ => {
                assert_eq!(unknown["error"]["code"], "invalid_api_key");
                assert_eq!(spent["error"]["code"], "budget_exceeded");
            }
        }
    }
    let wrong = ask(&pod.http, &pod, ChatDialect::Anthropic, |body| body["messages"] = json!({})).await;
    assert_eq!(wrong.status.as_u16(), 400);
    assert!(
        wrong.json().unwrap()["error"]["message"].as_str().unwrap().contains("`messages` must be an array")
    );
}

#[tokio::test]
async fn tokens_are_counted_and_models_listed_in_the_clients_shape() {
    let pod = Pod::start(Setup::default()).await;
    let (_, body) = question(ChatDialect::Anthropic, false);
    let counted = pod.http.post_json(&pod.url("/v1/messages/count_tokens"), &body).await.unwrap();
    assert!(counted.json().unwrap()["input_tokens"].as_u64().unwrap() >= 2, "{}", counted.text());
    let count = async |body: Value| {
        let counted = pod.http.post_json(&pod.url("/v1/messages/count_tokens"), &body).await.unwrap();
        counted.json().unwrap()["input_tokens"].as_u64().unwrap()
    };
    let ask = |text: &str| json!({"model": "one", "messages": [{"role": "user", "content": text}]});
    let (short, long) = (count(ask("hello there")).await, count(ask(&"hello there ".repeat(100))).await);
    assert!((5..40).contains(&short), "words are counted, not the JSON around them: {short}");
    assert!((200..350).contains(&long), "{long}");
    let mut settings = ask("hello there");
    settings["metadata"] = json!({"user_id": "x".repeat(200)});
    assert!(count(settings).await < short + 20, "settings are no words");
    let (_, body) = question(ChatDialect::Gemini, false);
    let counted = pod.http.post_json(&pod.url("/v1beta/models/one:countTokens"), &body).await.unwrap();
    assert!(counted.json().unwrap()["totalTokens"].as_u64().unwrap() >= 2, "{}", counted.text());
    let google = pod.http.get(&pod.url("/v1beta/models")).await.unwrap().json().unwrap();
    assert!(
        google["models"].as_array().unwrap().iter().any(|model| model["name"] == "models/one"),
        "{google}"
    );
    let nobody = HttpClient::new();
    let by_query = nobody.get(&pod.url(&format!("/v1beta/models?key={KEY}"))).await.unwrap();
    assert_eq!(by_query.status.as_u16(), 200);
}

#[tokio::test]
async fn a_stream_that_breaks_ends_with_the_dialects_error_event() {
    for client in [ChatDialect::Anthropic, ChatDialect::Gemini, ChatDialect::OpenAiResponses] {
        let pod = Pod::start(Setup { dialect: Dialect::Anthropic, ..Setup::default() }).await;
        let text = sse(&[
            json!({"type": "message_start", "message": {"id": "r1", "model": "m-1", "usage": {"input_tokens": 6, "output_tokens": 1}}}),
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}}),
        ]);
        pod.mock.set_default(Script::new().body("text/event-stream", text));
        let (path, body) = question(client, true);
        let mut stream = pod.http.post_stream(&pod.url(&path), &body).await.unwrap();
        let last = stream.collect_data().await.unwrap().pop().unwrap();
        let last: Value = serde_json::from_str(&last).unwrap();
        match client {
            ChatDialect::Gemini => assert_eq!(last["error"]["status"], "UNAVAILABLE", "{last}"),
            _ => assert_eq!(last["type"], "error", "{client:?}: {last}"),
        }
        let event = pod.next_event().await;
        assert!(event.cost > NanoUsd::ZERO, "{client:?}: what was relayed is charged");
        assert_eq!(event.basis, SettlementBasis::Counted, "{client:?}");
        pod.wait_until_nothing_is_held().await;
    }
}
