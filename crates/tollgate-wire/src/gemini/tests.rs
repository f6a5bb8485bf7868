use serde_json::{Value, json};
use tollgate_domain::{Meter, Usage};

use super::*;
use crate::anthropic;
use crate::json::{Node, ReadError};
use crate::neutral::{
    Assembler, ChatRequest, Feature, Fidelity, FinishReason, Mode, PartKind, Role, StreamEvent, ToolChoice,
    replay,
};
use crate::openai::chat;
use crate::sse::Decoder;

const TARGET: GeminiTarget = GeminiTarget { output_cap: None, has_thinking_level: false };

fn read(body: &Value) -> ChatRequest {
    read_request("m", false, body.to_string().as_bytes()).unwrap()
}

fn write(request: &ChatRequest, target: &GeminiTarget) -> Value {
    let bytes = write_request(request, target, &mut Fidelity::new(Mode::Refuse)).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn full_request() -> Value {
    json!({
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {"role": "user", "parts": [
                {"text": "What is this?"},
                {"inlineData": {"mimeType": "image/png", "data": "AA+/"}},
                {"inlineData": {"mimeType": "audio/wav", "data": "BBBB"}},
                {"fileData": {"mimeType": "video/mp4", "fileUri": "https://example.com/a.mp4"}},
                {"inlineData": {"mimeType": "application/pdf", "data": "CCCC"}}]},
            {"role": "model", "parts": [
                {"text": "hm", "thought": true, "thoughtSignature": "s0"},
                {"functionCall": {"id": "c1", "name": "f", "args": {"n": 1}}, "thoughtSignature": "s1"},
                {"functionCall": {"id": "c2", "name": "g", "args": {}}}]},
            {"role": "user", "parts": [
                {"functionResponse": {"id": "c1", "name": "f", "response": {"output": "42"}}},
                {"functionResponse": {"id": "c2", "name": "g", "response": {"a": [1]}}}]}],
        "tools": [{"functionDeclarations": [{"name": "f", "description": "d", "parametersJsonSchema": {"type": "object"}}]},
                  {"googleSearch": {}}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
        "generationConfig": {
            "maxOutputTokens": 100, "temperature": 0.5, "topP": 0.9, "topK": 40, "frequencyPenalty": 0.1,
            "presencePenalty": 0.2, "seed": 5, "candidateCount": 1, "stopSequences": ["x"],
            "responseMimeType": "application/json", "responseJsonSchema": {"type": "object"},
            "thinkingConfig": {"includeThoughts": true, "thinkingBudget": 500}},
        "safetySettings": [{"category": "c", "threshold": "t"}]
    })
}

#[test]
fn a_request_of_everything_comes_back_as_it_was() {
    let body = full_request();
    let request = read(&body);
    assert_eq!(request.messages[3].role, Role::User);
    assert_eq!(request.tool_choice, Some(ToolChoice::Named("f".to_owned())));
    assert_eq!(write(&request, &TARGET), body);
}

#[test]
fn both_spellings_of_names_are_read() {
    let snake = json!({
        "system_instruction": {"parts": {"text": "S"}},
        "contents": {"parts": [{"inline_data": {"mime_type": "image/png", "data": "A-_"}}]},
        "tools": [{"function_declarations": [{"name": "f", "parameters": {"type": "OBJECT", "properties": {
            "a": {"type": "STRING", "nullable": true}, "b": {"type": "ARRAY", "items": {"type": "INTEGER"}, "minItems": "1"}},
            "propertyOrdering": ["a"], "required": ["a"]}}]}],
        "tool_config": {"function_calling_config": {"mode": "any"}},
        "generation_config": {"max_output_tokens": 5, "stop_sequences": ["x"], "response_mime_type": "application/json",
            "response_schema": {"type": "OBJECT"}, "thinking_config": {"thinking_level": "LOW"}}
    });
    let written = write(&read(&snake), &GeminiTarget { has_thinking_level: true, ..TARGET });
    assert_eq!(written["systemInstruction"]["parts"][0]["text"], "S");
    assert_eq!(written["contents"][0]["parts"][0]["inlineData"]["data"], "A+/");
    let schema = &written["tools"][0]["functionDeclarations"][0]["parametersJsonSchema"];
    assert_eq!(
        *schema,
        json!({"type": "object", "properties": {"a": {"type": ["string", "null"]},
            "b": {"type": "array", "items": {"type": "integer"}, "minItems": 1}}, "required": ["a"]})
    );
    assert_eq!(written["toolConfig"]["functionCallingConfig"]["mode"], "ANY");
    let config = &written["generationConfig"];
    assert_eq!(
        (&config["maxOutputTokens"], &config["responseJsonSchema"]),
        (&json!(5), &json!({"type": "object"}))
    );
    assert_eq!(config["thinkingConfig"], json!({"thinkingLevel": "low"}));
}

#[test]
fn an_openai_conversation_becomes_contents() {
    let body = json!({
        "messages": [
            {"role": "system", "content": "S"},
            {"role": "user", "content": [{"type": "text", "text": "hi"},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png?x=1"}}]},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"n\":12345678901234567890123}"},
                 "extra_content": {"google": {"thought_signature": "sig"}}},
                {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "it is 1"},
            {"role": "tool", "tool_call_id": "c2", "content": "{\"x\":2}"}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "tool_choice": "required", "max_tokens": 7, "n": 2, "response_format": {"type": "json_object"}
    });
    let request = chat::read_request(body.to_string().as_bytes()).unwrap();
    let bytes = write_request(&request, &TARGET, &mut Fidelity::new(Mode::Refuse)).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.contains("12345678901234567890123"), "{text}");
    let written: Value = serde_json::from_str(&text).unwrap();
    let turns = written["contents"].as_array().unwrap();
    assert_eq!(turns.len(), 3);
    assert_eq!(
        turns[0]["parts"][1]["fileData"],
        json!({"mimeType": "image/png", "fileUri": "https://example.com/a.png?x=1"})
    );
    assert_eq!(turns[1]["parts"][0]["thoughtSignature"], "sig");
    let results = &turns[2]["parts"];
    assert_eq!(
        results[0]["functionResponse"],
        json!({"id": "c1", "name": "f", "response": {"output": "it is 1"}})
    );
    assert_eq!(results[1]["functionResponse"]["response"], json!({"x": 2}));
    assert_eq!(
        written["generationConfig"],
        json!({"maxOutputTokens": 7, "candidateCount": 2, "responseMimeType": "application/json"})
    );
    assert_eq!(written["toolConfig"]["functionCallingConfig"]["mode"], "ANY");
}

#[test]
fn unsigned_calls_get_the_documented_stand_in_where_one_is_needed() {
    let body = json!({"messages": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "b", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}]});
    let request = chat::read_request(body.to_string().as_bytes()).unwrap();
    for (has_level, expected) in [(true, json!("skip_thought_signature_validator")), (false, Value::Null)] {
        let written = write(&request, &GeminiTarget { has_thinking_level: has_level, ..TARGET });
        let parts = &written["contents"][1]["parts"];
        assert_eq!((&parts[0]["thoughtSignature"], &parts[1]["thoughtSignature"]), (&expected, &Value::Null));
    }
}

#[test]
fn what_the_target_lacks_is_refused_by_name() {
    let tool = json!([{"type": "function", "function": {"name": "f"}}]);
    let cases = [
        (json!({"logprobs": true}), Feature::Logprobs),
        (json!({"logit_bias": {"1": 2}}), Feature::LogitBias),
        (json!({"tools": tool, "parallel_tool_calls": false}), Feature::ParallelToolCalls),
        (json!({"store": true}), Feature::Store),
        (json!({"service_tier": "priority"}), Feature::ServiceTier),
        (json!({"brand_new": 1}), Feature::UnknownMembers),
        (json!({"tools": [{"type": "custom", "custom": {"name": "g"}}]}), Feature::CustomTools),
    ];
    for (members, feature) in cases {
        let mut body = json!({"model": "m", "messages": []});
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let request = chat::read_request(body.to_string().as_bytes()).unwrap();
        let refused = write_request(&request, &TARGET, &mut Fidelity::new(Mode::Refuse)).unwrap_err();
        assert_eq!(refused.feature, feature, "{body}");
        assert!(refused.to_string().contains("Gemini"), "{refused}");
        let mut fidelity = Fidelity::new(Mode::Drop);
        write_request(&request, &TARGET, &mut fidelity).unwrap();
        assert_eq!(fidelity.dropped(), [feature], "{body}");
    }
}

#[test]
fn wrong_types_are_named_with_their_path() {
    let cases: &[(&str, &str)] = &[
        (r#"{}"#, "contents"),
        (r#"{"contents":[{"role":"cat","parts":[]}]}"#, "contents[0]"),
        (r#"{"contents":[{"parts":[{"text":5}]}]}"#, "contents[0].parts[0].text"),
        (r#"{"contents":[{"parts":[{"functionCall":{}}]}]}"#, "contents[0].parts[0].functionCall.name"),
        (r#"{"contents":[],"generationConfig":{"maxOutputTokens":"x"}}"#, "generationConfig.maxOutputTokens"),
        (
            r#"{"contents":[{"parts":[{"inlineData":{"data":""}}]}]}"#,
            "contents[0].parts[0].inlineData.mimeType",
        ),
    ];
    for (body, path) in cases {
        match read_request("m", false, body.as_bytes()).unwrap_err() {
            ReadError::Field(error) => assert_eq!(error.path, *path, "{body}"),
            ReadError::Json(error) => panic!("{body}: {error}"),
        }
    }
}

#[test]
fn counts_become_disjoint_classes() {
    let usage = |object: Value| {
        let text = object.to_string();
        read_usage(&Node::parse(text.as_bytes()).unwrap())
    };
    let full = usage(json!({
        "promptTokenCount": 100, "cachedContentTokenCount": 30, "candidatesTokenCount": 50, "thoughtsTokenCount": 20,
        "toolUsePromptTokenCount": 5, "totalTokenCount": 175,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 90}, {"modality": "AUDIO", "tokenCount": 10}],
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 40}]
    }))
    .unwrap();
    let expected = Usage::ZERO
        .with(Meter::Input, 65)
        .with(Meter::CachedInput, 30)
        .with(Meter::InputAudio, 10)
        .with(Meter::Output, 10)
        .with(Meter::OutputImage, 40)
        .with(Meter::Reasoning, 20);
    assert_eq!(full, expected);
    assert_eq!(full.total_tokens(), 175);
    // what only the total knows was thought
    let unseen =
        usage(json!({"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 25})).unwrap();
    assert_eq!(unseen.get(Meter::Reasoning), 10);
    for nonsense in [
        json!({}),
        json!({"promptTokenCount": 5, "cachedContentTokenCount": 6}),
        json!({"promptTokenCount": -5}),
        json!({"promptTokenCount": 5_000_000_000_u64}),
    ] {
        assert_eq!(usage(nonsense.clone()), None, "{nonsense}");
    }
}

fn full_answer() -> Value {
    json!({
        "candidates": [{"content": {"role": "model", "parts": [
                {"text": "hm", "thought": true, "thoughtSignature": "s0"},
                {"text": "hé"},
                {"functionCall": {"id": "c1", "name": "f", "args": {"a": 1}}, "thoughtSignature": "s1"}]},
            "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 10, "cachedContentTokenCount": 4, "candidatesTokenCount": 7,
            "thoughtsTokenCount": 3, "totalTokenCount": 20},
        "modelVersion": "m-1", "responseId": "r1"
    })
}

#[test]
fn an_answer_comes_back_as_it_was_and_reaches_other_clients() {
    let body = full_answer();
    let answer = read_answer(body.to_string().as_bytes()).unwrap();
    assert_eq!(answer.choices[0].finish, FinishReason::ToolCalls);
    let written: Value = serde_json::from_slice(&write_answer(&answer)).unwrap();
    assert_eq!(written, body);
    let openai: Value = serde_json::from_slice(&chat::write_answer(&answer, 9, None)).unwrap();
    let message = &openai["choices"][0]["message"];
    assert_eq!(message["tool_calls"][0]["extra_content"]["google"]["thought_signature"], "s1");
    assert_eq!(openai["usage"]["completion_tokens_details"]["reasoning_tokens"], 3);
    let claude: Value = serde_json::from_slice(&anthropic::write_answer(&answer)).unwrap();
    assert_eq!(claude["content"][2]["input"], json!({"a": 1}));
    assert_eq!((&claude["stop_reason"], &claude["usage"]["output_tokens"]), (&json!("tool_use"), &json!(10)));
}

#[test]
fn a_prompt_that_is_held_back_is_a_filtered_answer() {
    let body = json!({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 4, "totalTokenCount": 4}});
    let answer = read_answer(body.to_string().as_bytes()).unwrap();
    assert_eq!(answer.choices[0].finish, FinishReason::ContentFilter);
    assert_eq!(answer.usage, Some(Usage::ZERO.with(Meter::Input, 4)));
}

fn events_of(stream: &[u8]) -> Vec<StreamEvent> {
    let mut decoder = Decoder::new();
    let mut frames = Vec::new();
    decoder.push(bytes::Bytes::copy_from_slice(stream), &mut frames).unwrap();
    let mut reader = GeminiStreamReader::default();
    let mut events = Vec::new();
    frames
        .iter()
        .filter_map(crate::sse::Frame::data)
        .for_each(|data| reader.data(&data, &mut events).unwrap());
    assert!(reader.end(&mut events));
    events
}

#[test]
fn a_replayed_answer_streams_into_itself() {
    let answer = read_answer(full_answer().to_string().as_bytes()).unwrap();
    let mut writer = GeminiStreamWriter::default();
    let stream: Vec<u8> = replay(&answer).iter().filter_map(|event| writer.event(event)).flatten().collect();
    let mut assembler = Assembler::default();
    events_of(&stream).iter().for_each(|event| assembler.event(event));
    assert_eq!(assembler.finish(), answer);
}

#[test]
fn a_vendor_stream_becomes_openai_chunks() {
    let event = |data: Value| format!("data: {data}\r\n\r\n");
    let text = |text: &str| {
        json!({"candidates": [{"content": {"parts": [{"text": text}], "role": "model"}}], "modelVersion": "m", "responseId": "r",
        "usageMetadata": {"promptTokenCount": 5, "totalTokenCount": 5}})
    };
    let last = json!({"candidates": [{"content": {"parts": [{"functionCall": {"name": "f", "args": {"a": 1}}}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 6, "totalTokenCount": 11}});
    let stream = [event(text("Hel")), event(text("lo")), event(last)].concat();
    let mut writer = chat::ChatStreamWriter::new(1, true);
    let out: Vec<u8> =
        events_of(stream.as_bytes()).iter().filter_map(|event| writer.event(event, None)).flatten().collect();
    let out = String::from_utf8(out).unwrap();
    let mut reader = chat::ChatStreamReader::default();
    let mut events = Vec::new();
    for data in out.split("\n\n").filter_map(|frame| frame.strip_prefix("data: ")) {
        reader.data(data.as_bytes(), &mut events).unwrap();
    }
    let mut assembler = Assembler::default();
    events.iter().for_each(|event| assembler.event(event));
    let answer = assembler.finish();
    let parts: Vec<&PartKind> = answer.choices[0].parts.iter().map(|part| &part.kind).collect();
    assert!(matches!(parts[0], PartKind::Text { text, .. } if text == "Hello"));
    assert!(
        matches!(parts[1], PartKind::ToolCall(call) if call.arguments == "{\"a\":1}" && call.id == "call_1")
    );
    assert_eq!(
        (answer.choices[0].finish, answer.usage.unwrap().total_tokens()),
        (FinishReason::ToolCalls, 11)
    );
}
