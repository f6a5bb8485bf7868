use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::json::ReadError;
use crate::neutral::{
    Assembler, ChatRequest, Effort, Feature, Fidelity, FinishReason, Media, Mode, PartKind, Role,
    StreamEvent, ToolChoice, replay,
};
use crate::sse::Decoder;

const TARGET: ChatTarget<'_> = ChatTarget {
    model: "m",
    output_cap: None,
    has_completion_cap: true,
    has_top_k: false,
    has_developer_role: true,
};

fn read(body: &Value) -> ChatRequest {
    read_request(body.to_string().as_bytes()).unwrap()
}

fn write(request: &ChatRequest) -> Value {
    let bytes = write_request(request, &TARGET, &mut Fidelity::new(Mode::Refuse)).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn full_request() -> Value {
    json!({
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]},
            {"role": "user", "name": "ann", "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "input_audio", "input_audio": {"data": "BBBB", "format": "wav"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,CCCC"}},
                {"type": "file", "file": {"file_id": "file-1"}}
            ]},
            {"role": "assistant", "content": null, "reasoning_content": "hm",
             "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "sig"},
                                 {"type": "redacted_thinking", "data": "xyz"}],
             "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"n\":12345678901234567890123}"},
                 "extra_content": {"google": {"thought_signature": "gs"}}},
                {"id": "c2", "type": "custom", "custom": {"name": "g", "input": "free text"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "42"},
            {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "4"}, {"type": "text", "text": "2"}]},
            {"role": "assistant", "content": "It is 42.", "name": "bot"}
        ],
        "tools": [
            {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": true}},
            {"type": "custom", "custom": {"name": "g"}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": false,
        "max_completion_tokens": 100,
        "temperature": 0.10, "top_p": 1, "frequency_penalty": -0.5, "presence_penalty": 0.5, "seed": 7,
        "stop": ["x", "y"], "n": 2, "logprobs": true, "top_logprobs": 3, "logit_bias": {"50256": -100},
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}, "strict": true}},
        "reasoning_effort": "high", "verbosity": "low", "user": "u", "service_tier": "flex",
        "metadata": {"k": "v"}, "store": false, "modalities": ["text"],
        "stream": true, "stream_options": {"include_usage": true},
        "safety_identifier": "s", "prompt_cache_key": "p"
    })
}

#[test]
fn a_request_of_everything_comes_back_as_it_was() {
    let body = full_request();
    assert_eq!(write(&read(&body)), body);
}

#[test]
fn numbers_keep_their_digits() {
    let body =
        br#"{"model":"m","messages":[],"temperature":0.70000000000000001,"seed":12345678901234567890123}"#;
    let request = read_request(body).unwrap();
    let written = write_request(&request, &TARGET, &mut Fidelity::new(Mode::Refuse)).unwrap();
    let written = String::from_utf8(written).unwrap();
    assert!(written.contains("\"temperature\":0.70000000000000001"), "{written}");
    assert!(written.contains("\"seed\":12345678901234567890123"), "{written}");
}

#[test]
fn what_is_read_is_what_was_said() {
    let request = read(&full_request());
    assert_eq!(request.messages.len(), 7);
    assert_eq!(request.messages[1].role, Role::Developer);
    let kinds: Vec<&PartKind> = request.messages[2].parts.iter().map(|part| &part.kind).collect();
    assert!(
        matches!(kinds[2], PartKind::Image { source: Media::Inline { media_type, .. }, .. } if media_type == "image/png")
    );
    assert!(matches!(kinds[5], PartKind::File { source: Media::FileId(id), .. } if id == "file-1"));
    let calls: Vec<&PartKind> = request.messages[3].parts.iter().map(|part| &part.kind).collect();
    assert!(matches!(calls[0], PartKind::Thinking { signature: Some(signature), .. } if signature == "sig"));
    assert!(matches!(calls[2], PartKind::ToolCall(call) if call.signature.as_deref() == Some("gs")));
    assert_eq!(request.tool_choice, Some(ToolChoice::Named("f".to_owned())));
    assert_eq!(request.reasoning.unwrap().effort, Some(Effort::High));
}

#[test]
fn older_and_foreign_spellings_are_read() {
    let request = read(&json!({
        "model": "m", "max_tokens": 5, "stop": "x",
        "functions": [{"name": "f", "parameters": {}}], "function_call": {"name": "f"},
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "1"}],
        "thinking": {"type": "enabled", "budget_tokens": 2000}
    }));
    let written = write(&request);
    assert_eq!(written["tools"][0]["function"]["name"], "f");
    assert_eq!(written["tool_choice"]["function"]["name"], "f");
    assert_eq!(written["messages"][1]["tool_calls"][0]["id"], "f");
    assert_eq!(written["messages"][2], json!({"role": "tool", "tool_call_id": "f", "content": "1"}));
    assert_eq!((&written["max_completion_tokens"], &written["stop"]), (&json!(5), &json!(["x"])));
    assert_eq!(written["reasoning_effort"], "medium");
}

#[test]
fn wrong_types_are_named_with_their_path() {
    let cases: &[(&str, &str, &str)] = &[
        (r#"{"messages":{}}"#, "messages", "must be an array"),
        (r#"{"model":"m"}"#, "messages", "is required"),
        (
            r#"{"messages":[{"role":"user","content":5}]}"#,
            "messages[0].content",
            "must be a string or an array of parts",
        ),
        (
            r#"{"messages":[{"role":"cat","content":""}]}"#,
            "messages[0].role",
            "must be system, developer, user, assistant or tool",
        ),
        (r#"{"messages":[{"role":"user"}]}"#, "messages[0].content", "is required"),
        (
            r#"{"messages":[],"tools":[{"type":"function","function":{}}]}"#,
            "tools[0].function.name",
            "is required",
        ),
        (r#"{"messages":[],"temperature":"hot"}"#, "temperature", "must be a number"),
        (r#"{"messages":[],"max_tokens":-1}"#, "max_tokens", "must be a whole number from 0 upwards"),
        (r#"{"messages":[],"n":1.5}"#, "n", "must be a whole number from 0 upwards"),
    ];
    for (body, path, message) in cases {
        match read_request(body.as_bytes()).unwrap_err() {
            ReadError::Field(error) => {
                assert_eq!((&*error.path, &*error.message), (*path, *message), "{body}");
            }
            ReadError::Json(error) => panic!("{body}: {error}"),
        }
    }
    assert!(matches!(read_request(b"{\"messages\":[}").unwrap_err(), ReadError::Json(_)));
}

#[test]
fn what_the_target_lacks_is_refused_or_dropped() {
    let request = read(&json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "top_k": 5}));
    let refused = write_request(&request, &TARGET, &mut Fidelity::new(Mode::Refuse)).unwrap_err();
    assert_eq!(refused.feature, Feature::TopK);
    assert!(refused.to_string().starts_with("top_k is not supported"), "{refused}");
    let mut fidelity = Fidelity::new(Mode::Drop);
    write_request(&request, &TARGET, &mut fidelity).unwrap();
    assert_eq!(fidelity.dropped(), [Feature::TopK]);
    let knows = ChatTarget { has_top_k: true, ..TARGET };
    let written = write_request(&request, &knows, &mut Fidelity::new(Mode::Refuse)).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&written).unwrap()["top_k"], 5);
}

fn full_answer() -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 5, "model": "m-1",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "hé", "refusal": null, "reasoning_content": "hm",
              "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]},
             "logprobs": null, "finish_reason": "tool_calls"},
            {"index": 1, "message": {"role": "assistant", "content": null, "refusal": "no"}, "logprobs": null, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 7, "total_tokens": 17,
                  "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
                  "completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": 0}},
        "service_tier": "default"
    })
}

#[test]
fn an_answer_comes_back_as_it_was() {
    let body = full_answer();
    let answer = read_answer(body.to_string().as_bytes()).unwrap();
    assert_eq!(answer.choices[0].finish, FinishReason::ToolCalls);
    let written: Value = serde_json::from_slice(&write_answer(&answer, 0, None)).unwrap();
    assert_eq!(written, body);
}

fn events_of(stream: &[u8], cuts: &[usize]) -> Vec<StreamEvent> {
    let mut decoder = Decoder::new();
    let mut frames = Vec::new();
    let mut start = 0;
    for cut in cuts.iter().copied().chain([stream.len()]) {
        decoder.push(bytes::Bytes::copy_from_slice(&stream[start..cut]), &mut frames).unwrap();
        start = cut;
    }
    let mut reader = ChatStreamReader::default();
    let mut events = Vec::new();
    for frame in frames {
        if let Some(data) = frame.data() {
            reader.data(&data, &mut events).unwrap();
        }
    }
    events
}

#[test]
fn a_replayed_answer_streams_into_itself() {
    let answer = read_answer(full_answer().to_string().as_bytes()).unwrap();
    let mut writer = ChatStreamWriter::new(0, true);
    let stream: Vec<u8> =
        replay(&answer).iter().filter_map(|event| writer.event(event, None)).flatten().collect();
    let mut assembler = Assembler::default();
    events_of(&stream, &[]).iter().for_each(|event| assembler.event(event));
    let mut expected = answer;
    expected.service_tier = None;
    assert_eq!(assembler.finish(), expected);
}

#[test]
fn parallel_calls_keep_their_arguments_apart() {
    let chunk = |delta: &str| {
        format!("data: {{\"id\":\"x\",\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{delta}}}]}}\n\n")
    };
    let stream = [
        chunk(r#"{"role":"assistant","content":"so "}"#),
        chunk(r#"{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]}"#),
        chunk(r#"{"tool_calls":[{"index":1,"id":"b","type":"function","function":{"name":"g","arguments":"{"}}]}"#),
        chunk(r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\":1}"}}]}"#),
        chunk(r#"{"tool_calls":[{"index":1,"function":{"arguments":"}"}}]}"#),
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n".to_owned(),
        "data: [DONE]\n\n".to_owned(),
    ]
    .concat();
    let mut assembler = Assembler::default();
    let events = events_of(stream.as_bytes(), &[]);
    assert_eq!(events.last(), Some(&StreamEvent::End));
    events.iter().for_each(|event| assembler.event(event));
    let answer = assembler.finish();
    let calls: Vec<(String, String)> = answer.choices[0]
        .parts
        .iter()
        .filter_map(|part| match &part.kind {
            PartKind::ToolCall(call) => Some((call.id.clone(), call.arguments.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(calls, [("a".to_owned(), r#"{"x":1}"#.to_owned()), ("b".to_owned(), "{}".to_owned())]);
    assert_eq!(answer.choices[0].finish, FinishReason::ToolCalls);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_split_of_a_stream_gives_the_same_steps(cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8)) {
        let answer = read_answer(full_answer().to_string().as_bytes()).unwrap();
        let mut writer = ChatStreamWriter::new(0, true);
        let stream: Vec<u8> =
            replay(&answer).iter().filter_map(|event| writer.event(event, None)).flatten().collect();
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        at.sort_unstable();
        prop_assert_eq!(events_of(&stream, &at), events_of(&stream, &[]));
    }
}
