use serde_json::{Value, json};
use tollgate_domain::{Meter, Usage};

use super::*;
use crate::json::ReadError;
use crate::neutral::{
    Assembler, ChatRequest, Choice, Effort, Feature, Fidelity, FinishReason, Mode, Part, PartKind, PartStart,
    StreamEvent, ToolCall, replay,
};
use crate::openai::chat;
use crate::sse::Decoder;

const TARGET: AnthropicTarget<'_> = AnthropicTarget { model: Some("m"), output_cap: 5_000, has_effort: true };

fn read(body: &Value) -> ChatRequest {
    read_request(body.to_string().as_bytes()).unwrap()
}

fn write_with(request: &ChatRequest, target: &AnthropicTarget<'_>) -> (Value, Fidelity) {
    let mut fidelity = Fidelity::new(Mode::Refuse);
    let bytes = write_request(request, target, &mut fidelity).unwrap();
    (serde_json::from_slice(&bytes).unwrap(), fidelity)
}

fn full_request() -> Value {
    json!({
        "model": "m", "max_tokens": 5000,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
                   {"type": "text", "text": "Be kind."}],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
                {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "BBBB"}, "title": "a"},
                {"type": "document", "source": {"type": "file", "file_id": "file_1"}, "cache_control": {"type": "ephemeral"}}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "sig"},
                {"type": "redacted_thinking", "data": "xyz"},
                {"type": "text", "text": "Let me look."},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {"n": 12345678901234567890_u64}},
                {"type": "tool_use", "id": "t2", "name": "g", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": "42"},
                {"type": "tool_result", "tool_use_id": "t2", "is_error": true, "content": [
                    {"type": "text", "text": "no"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}]},
                {"type": "text", "text": "Go on."}]}],
        "tools": [
            {"name": "f", "description": "d", "input_schema": {"type": "object"}, "strict": true, "cache_control": {"type": "ephemeral"}},
            {"type": "web_search_20250305", "name": "web_search"}],
        "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": true},
        "temperature": 0.5, "top_p": 0.9, "top_k": 40, "stop_sequences": ["x"],
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        "metadata": {"user_id": "u"}, "service_tier": "auto", "stream": true,
        "container": "c"
    })
}

#[test]
fn a_request_of_everything_comes_back_as_it_was() {
    let body = full_request();
    let (written, fidelity) = write_with(&read(&body), &TARGET);
    assert_eq!(written, body);
    assert_eq!((fidelity.dropped(), fidelity.approximated()), (&[][..], &[][..]));
}

#[test]
fn an_openai_conversation_becomes_turns() {
    let request = chat::read_request(
        json!({
            "model": "x", "max_tokens": 9, "stop": "END", "parallel_tool_calls": false, "reasoning_effort": "low",
            "messages": [
                {"role": "system", "content": "S"},
                {"role": "user", "content": [{"type": "text", "text": "hi"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
                {"role": "assistant", "content": "", "tool_calls": [
                    {"id": "call:1", "type": "function", "function": {"name": "f", "arguments": "{\"n\":12345678901234567890123}"}},
                    {"id": "c2", "type": "function", "function": {"name": "g", "arguments": ""}}]},
                {"role": "tool", "tool_call_id": "call:1", "content": "1"},
                {"role": "tool", "tool_call_id": "c2", "content": "2"},
                {"role": "user", "content": "and?"}],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
            "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}
        })
        .to_string()
        .as_bytes(),
    )
    .unwrap();
    let mut fidelity = Fidelity::new(Mode::Refuse);
    let bytes = write_request(&request, &TARGET, &mut fidelity).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.contains("{\"n\":12345678901234567890123}"), "{text}");
    let written: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&written["system"], &written["max_tokens"]), (&json!("S"), &json!(5000)));
    let turns = written["messages"].as_array().unwrap();
    assert_eq!(turns.len(), 3, "tools' answers and the next words are one turn");
    assert_eq!(
        turns[0]["content"][1]["source"],
        json!({"type": "base64", "media_type": "image/png", "data": "AAAA"})
    );
    assert_eq!(turns[1]["content"][0]["id"], "call_1");
    assert_eq!(turns[1]["content"][1]["input"], json!({}));
    assert_eq!(
        turns[2]["content"][0],
        json!({"type": "tool_result", "tool_use_id": "call_1", "content": "1"})
    );
    assert_eq!(turns[2]["content"][2], json!({"type": "text", "text": "and?"}));
    assert_eq!(written["tool_choice"], json!({"type": "auto", "disable_parallel_tool_use": true}));
    assert_eq!(written["stop_sequences"], json!(["END"]));
    assert_eq!(written["output_config"]["effort"], "low");
}

#[test]
fn efforts_and_budgets_fit_into_the_cap() {
    let thinking = |effort: &str, cap: u64| {
        let body = json!({"messages": [], "reasoning_effort": effort}).to_string();
        let request = chat::read_request(body.as_bytes()).unwrap();
        let target = AnthropicTarget { output_cap: cap, has_effort: false, ..TARGET };
        let (written, fidelity) = write_with(&request, &target);
        (written["thinking"].clone(), fidelity.approximated().len())
    };
    assert_eq!(
        thinking("high", 8_000),
        (json!({"type": "enabled", "budget_tokens": Effort::High.budget_tokens()}), 1)
    );
    assert_eq!(thinking("minimal", 8_000).0["budget_tokens"], 1_024);
    assert_eq!(thinking("xhigh", 2_000).0["budget_tokens"], 1_999);
    assert_eq!(thinking("high", 1_024).0, Value::Null);
    assert_eq!(thinking("none", 8_000), (json!({"type": "disabled"}), 0));
}

#[test]
fn the_standard_tier_has_openai_s_name_between_the_dialects() {
    for (theirs, neutral) in [("standard_only", "default"), ("auto", "auto")] {
        let body = json!({"model": "m", "max_tokens": 1, "messages": [], "service_tier": theirs});
        let request = read_request(body.to_string().as_bytes()).unwrap();
        assert_eq!(request.service_tier.as_deref(), Some(neutral));
        let written = write_request(&request, &TARGET, &mut Fidelity::new(Mode::Refuse)).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&written).unwrap()["service_tier"], theirs);
    }
}

#[test]
fn what_the_target_lacks_is_refused_by_name() {
    let cases = [
        (json!({"n": 2}), Feature::N),
        (json!({"seed": 1}), Feature::Seed),
        (json!({"logprobs": true}), Feature::Logprobs),
        (json!({"frequency_penalty": 0.5}), Feature::Penalties),
        (json!({"logit_bias": {"1": 2}}), Feature::LogitBias),
        (json!({"response_format": {"type": "json_object"}}), Feature::JsonObject),
        (json!({"modalities": ["text", "audio"]}), Feature::AudioOutput),
        (json!({"store": true}), Feature::Store),
        (json!({"service_tier": "flex"}), Feature::ServiceTier),
        (json!({"tools": [{"type": "custom", "custom": {"name": "g"}}]}), Feature::CustomTools),
        (json!({"brand_new": 1}), Feature::UnknownMembers),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]}]}),
            Feature::AudioInput,
        ),
    ];
    for (members, feature) in cases {
        let mut body = json!({"model": "m", "messages": []});
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let request = chat::read_request(body.to_string().as_bytes()).unwrap();
        let refused = write_request(&request, &TARGET, &mut Fidelity::new(Mode::Refuse)).unwrap_err();
        assert_eq!(refused.feature, feature, "{body}");
        let mut fidelity = Fidelity::new(Mode::Drop);
        write_request(&request, &TARGET, &mut fidelity).unwrap();
        assert_eq!(fidelity.dropped(), [feature], "{body}");
    }
    let nothing = json!({"messages": [], "n": 1, "logprobs": false, "frequency_penalty": 0.0, "logit_bias": {}, "store": false});
    let request = chat::read_request(nothing.to_string().as_bytes()).unwrap();
    assert_eq!(write_with(&request, &TARGET).1.dropped(), []);
}

#[test]
fn wrong_types_are_named_with_their_path() {
    let cases: &[(&str, &str)] = &[
        (r#"{"max_tokens":1}"#, "messages"),
        (r#"{"messages":[{"role":"cat","content":""}]}"#, "messages[0].role"),
        (
            r#"{"messages":[{"role":"user","content":[{"type":"image","source":{"type":"tape"}}]}]}"#,
            "messages[0].content[0].source.type",
        ),
        (
            r#"{"messages":[{"role":"user","content":[{"type":"tool_result"}]}]}"#,
            "messages[0].content[0].tool_use_id",
        ),
        (r#"{"messages":[],"thinking":{"type":"enabled"}}"#, "thinking.budget_tokens"),
        (r#"{"messages":[],"tool_choice":{"type":"some"}}"#, "tool_choice.type"),
    ];
    for (body, path) in cases {
        match read_request(body.as_bytes()).unwrap_err() {
            ReadError::Field(error) => {
                assert!(error.path == *path || path.starts_with(&error.path), "{body}: {error}");
            }
            ReadError::Json(error) => panic!("{body}: {error}"),
        }
    }
}

fn full_answer() -> Value {
    json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m-1",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "sig"},
            {"type": "text", "text": "hé"},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}],
        "stop_reason": "tool_use", "stop_sequence": null,
        "usage": {"input_tokens": 6, "cache_creation_input_tokens": 3, "cache_read_input_tokens": 4, "output_tokens": 7}
    })
}

#[test]
fn an_answer_comes_back_as_it_was_and_reaches_openai_clients() {
    let body = full_answer();
    let answer = read_answer(body.to_string().as_bytes()).unwrap();
    let usage = answer.usage.unwrap();
    assert_eq!((usage.input_tokens(), usage.get(Meter::CachedInput), usage.output_tokens()), (13, 4, 7));
    let written: Value = serde_json::from_slice(&write_answer(&answer)).unwrap();
    assert_eq!(written, body);
    let openai: Value = serde_json::from_slice(&chat::write_answer(&answer, 9, None)).unwrap();
    let message = &openai["choices"][0]["message"];
    assert_eq!((&message["content"], &message["reasoning_content"]), (&json!("hé"), &json!("hm")));
    assert_eq!(message["thinking_blocks"][0]["signature"], "sig");
    assert_eq!(message["tool_calls"][0]["function"]["arguments"], "{\"a\": 1}".replace(' ', ""));
    assert_eq!(
        (&openai["choices"][0]["finish_reason"], &openai["created"]),
        (&json!("tool_calls"), &json!(9))
    );
    assert_eq!(openai["usage"]["prompt_tokens"], 13);
    assert_eq!(openai["usage"]["prompt_tokens_details"]["cached_tokens"], 4);
}

fn events_of(stream: &[u8]) -> Vec<StreamEvent> {
    let mut decoder = Decoder::new();
    let mut frames = Vec::new();
    decoder.push(bytes::Bytes::copy_from_slice(stream), &mut frames).unwrap();
    let mut reader = AnthropicStreamReader::default();
    let mut events = Vec::new();
    frames
        .iter()
        .filter_map(crate::sse::Frame::data)
        .for_each(|data| reader.data(&data, &mut events).unwrap());
    events
}

#[test]
fn a_replayed_answer_streams_into_itself() {
    let answer = read_answer(full_answer().to_string().as_bytes()).unwrap();
    let mut writer = AnthropicStreamWriter::default();
    let stream: Vec<u8> = replay(&answer).iter().filter_map(|event| writer.event(event)).flatten().collect();
    let mut assembler = Assembler::default();
    events_of(&stream).iter().for_each(|event| assembler.event(event));
    assert_eq!(assembler.finish(), answer);
}

#[test]
fn a_vendor_stream_becomes_openai_chunks() {
    let event = |name: &str, data: Value| format!("event: {name}\ndata: {data}\n\n");
    let stream = [
        event("message_start", json!({"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": {"input_tokens": 25, "cache_read_input_tokens": 5, "output_tokens": 1}}})),
        event("content_block_start", json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})),
        event("ping", json!({"type": "ping"})),
        event("content_block_delta", json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}})),
        event("content_block_stop", json!({"type": "content_block_stop", "index": 0})),
        event("content_block_start", json!({"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {}}})),
        event("content_block_delta", json!({"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "{\"a\":"}})),
        event("content_block_delta", json!({"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "1}"}})),
        event("content_block_stop", json!({"type": "content_block_stop", "index": 1})),
        event("message_delta", json!({"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null}, "usage": {"output_tokens": 15}})),
        event("message_stop", json!({"type": "message_stop"})),
    ]
    .concat();
    let mut writer = chat::ChatStreamWriter::new(1, true);
    let events = events_of(stream.as_bytes());
    let out: Vec<u8> = events.iter().filter_map(|event| writer.event(event, None)).flatten().collect();
    let text = String::from_utf8(out).unwrap();
    let chunks: Vec<Value> = text
        .split("\n\n")
        .filter_map(|frame| frame.strip_prefix("data: "))
        .filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({"role": "assistant", "content": "Hello"}));
    assert_eq!(chunks[1]["choices"][0]["delta"]["tool_calls"][0]["function"]["name"], "f");
    assert_eq!(
        chunks[3]["choices"][0]["delta"]["tool_calls"][0],
        json!({"index": 0, "function": {"arguments": "1}"}})
    );
    assert_eq!(chunks[4]["choices"][0]["finish_reason"], "tool_calls");
    let usage = &chunks[5]["usage"];
    assert_eq!((&usage["prompt_tokens"], &usage["completion_tokens"]), (&json!(30), &json!(15)));
    assert!(text.ends_with("data: [DONE]\n\n"));
}

#[test]
fn parts_that_overlap_take_turns() {
    let call = |id: &str| PartStart::ToolCall { id: id.to_owned(), name: id.to_owned(), is_custom: false };
    let delta =
        |part, text: &str| StreamEvent::Delta { choice: 0, part, text: text.to_owned(), logprobs: None };
    let events = [
        StreamEvent::Start { id: "i".to_owned(), model: "m".to_owned(), created: None },
        StreamEvent::PartStart { choice: 0, part: 0, start: call("a") },
        StreamEvent::PartStart { choice: 0, part: 1, start: call("b") },
        delta(1, "{\"x\""),
        delta(0, "{}"),
        delta(1, ":2}"),
        StreamEvent::PartEnd { choice: 0, part: 0 },
        StreamEvent::PartEnd { choice: 0, part: 1 },
        StreamEvent::Finish { choice: 0, reason: FinishReason::ToolCalls, stop_sequence: None },
        StreamEvent::Usage(Usage::ZERO.with(Meter::Input, 1).with(Meter::Output, 2)),
        StreamEvent::End,
    ];
    let mut writer = AnthropicStreamWriter::default();
    let stream: Vec<u8> = events.iter().filter_map(|event| writer.event(event)).flatten().collect();
    let mut assembler = Assembler::default();
    events_of(&stream).iter().for_each(|event| assembler.event(event));
    let Choice { parts, finish, .. } = assembler.finish().choices.remove(0);
    let call = |part: &Part| match &part.kind {
        PartKind::ToolCall(ToolCall { id, arguments, .. }) => (id.clone(), arguments.clone()),
        other => panic!("{other:?}"),
    };
    let calls: Vec<(String, String)> = parts.iter().map(call).collect();
    assert_eq!(calls, [("a".to_owned(), "{}".to_owned()), ("b".to_owned(), "{\"x\":2}".to_owned())]);
    assert_eq!(finish, FinishReason::ToolCalls);
}
