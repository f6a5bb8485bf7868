use proptest::prelude::*;
use serde_json::{Value, json};
use tollgate_domain::{Meter, Usage};

use super::event_stream::{Decoder, EventStreamError, encode};
use super::*;
use crate::neutral::{Assembler, Feature, Fidelity, FinishReason, Mode, PartKind, StreamEvent};
use crate::{anthropic, openai::chat};

const TARGET: BedrockTarget = BedrockTarget { output_cap: Some(2_000), is_anthropic: true };

#[test]
fn an_anthropic_conversation_becomes_converse() {
    let body = json!({
        "model": "m", "max_tokens": 2000,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "AAAA"}},
                {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "BBBB"}, "title": "a.pdf"}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "sig"},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {"n": 1}}]},
            {"role": "user", "content": [
                {"type": "text", "text": "Here."},
                {"type": "tool_result", "tool_use_id": "t1", "is_error": true, "content": "no"}]}],
        "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}],
        "tool_choice": {"type": "any"}, "temperature": 0.5, "top_p": 0.9, "top_k": 5, "stop_sequences": ["x"],
        "thinking": {"type": "enabled", "budget_tokens": 4000}
    });
    let request = anthropic::read_request(body.to_string().as_bytes()).unwrap();
    let written = write_request(&request, &TARGET, &mut Fidelity::new(Mode::Refuse)).unwrap();
    let written: Value = serde_json::from_slice(&written).unwrap();
    assert_eq!(
        written,
        json!({
            "system": [{"text": "Be brief."}, {"cachePoint": {"type": "default"}}],
            "messages": [
                {"role": "user", "content": [
                    {"text": "What is this?"},
                    {"image": {"format": "jpeg", "source": {"bytes": "AAAA"}}},
                    {"document": {"format": "pdf", "name": "a-pdf", "source": {"bytes": "BBBB"}}}]},
                {"role": "assistant", "content": [
                    {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}},
                    {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"n": 1}}}]},
                {"role": "user", "content": [
                    {"toolResult": {"toolUseId": "t1", "content": [{"text": "no"}], "status": "error"}},
                    {"text": "Here."}]}],
            "inferenceConfig": {"maxTokens": 2000, "temperature": 0.5, "topP": 0.9, "stopSequences": ["x"]},
            "toolConfig": {"tools": [
                {"toolSpec": {"name": "f", "description": "d", "inputSchema": {"json": {"type": "object"}}}},
                {"cachePoint": {"type": "default"}}], "toolChoice": {"any": {}}},
            "additionalModelRequestFields": {"top_k": 5, "thinking": {"type": "enabled", "budget_tokens": 1999}}
        })
    );
}

#[test]
fn schemas_are_followed_where_they_are_asked_for() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
    let body = json!({
        "model": "m", "messages": [],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": schema, "strict": true}}],
        "response_format": {"type": "json_schema",
            "json_schema": {"name": "s", "description": "d", "strict": true, "schema": schema}}
    });
    let request = chat::read_request(body.to_string().as_bytes()).unwrap();
    let mut fidelity = Fidelity::new(Mode::Refuse);
    let written = write_request(&request, &TARGET, &mut fidelity).unwrap();
    let written: Value = serde_json::from_slice(&written).unwrap();
    let format = &written["outputConfig"]["textFormat"];
    assert_eq!(format["type"], "json_schema");
    let named = &format["structure"]["jsonSchema"];
    assert_eq!((&named["name"], &named["description"]), (&json!("s"), &json!("d")));
    assert_eq!(serde_json::from_str::<Value>(named["schema"].as_str().unwrap()).unwrap(), schema);
    let tool = &written["toolConfig"]["tools"][0]["toolSpec"];
    assert_eq!((&tool["strict"], &tool["inputSchema"]["json"]), (&json!(true), &schema));
}

#[test]
fn what_the_target_lacks_is_refused_by_name() {
    let other = BedrockTarget { is_anthropic: false, ..TARGET };
    let cases = [
        (json!({"n": 2}), Feature::N),
        (json!({"seed": 1}), Feature::Seed),
        (json!({"top_k": 1}), Feature::TopK),
        (json!({"reasoning_effort": "low"}), Feature::ReasoningEffort),
        (json!({"response_format": {"type": "json_object"}}), Feature::JsonObject),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]}]}),
            Feature::ImageUrl,
        ),
        (json!({"brand_new": 1}), Feature::UnknownMembers),
    ];
    for (members, feature) in cases {
        let mut body = json!({"model": "m", "messages": []});
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let request = chat::read_request(body.to_string().as_bytes()).unwrap();
        let refused = write_request(&request, &other, &mut Fidelity::new(Mode::Refuse)).unwrap_err();
        assert_eq!(refused.feature, feature, "{body}");
        let mut fidelity = Fidelity::new(Mode::Drop);
        let written = write_request(&request, &other, &mut fidelity).unwrap();
        assert_eq!(fidelity.dropped(), [feature], "{body}");
        serde_json::from_slice::<Value>(&written).unwrap();
    }
}

#[test]
fn an_answer_is_read() {
    let body = json!({
        "output": {"message": {"role": "assistant", "content": [
            {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}},
            {"text": "hi"}, {"toolUse": {"toolUseId": "t", "name": "f", "input": {"a": 1}}}]}},
        "stopReason": "tool_use", "metrics": {"latencyMs": 5},
        "usage": {"inputTokens": 10, "outputTokens": 5, "totalTokens": 35, "cacheReadInputTokens": 12, "cacheWriteInputTokens": 8}
    });
    let answer = read_answer(body.to_string().as_bytes()).unwrap();
    assert_eq!((answer.choices[0].parts.len(), answer.choices[0].finish), (3, FinishReason::ToolCalls));
    let usage = answer.usage.unwrap();
    assert_eq!((usage.total_tokens(), usage.get(Meter::CacheWrite5m)), (35, 8));
}

fn stream() -> Vec<u8> {
    let messages = [
        ("messageStart", json!({"role": "assistant"})),
        ("contentBlockDelta", json!({"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "hm"}}})),
        (
            "contentBlockDelta",
            json!({"contentBlockIndex": 0, "delta": {"reasoningContent": {"signature": "s"}}}),
        ),
        ("contentBlockStop", json!({"contentBlockIndex": 0})),
        ("contentBlockDelta", json!({"contentBlockIndex": 1, "delta": {"text": "Hel"}})),
        ("contentBlockDelta", json!({"contentBlockIndex": 1, "delta": {"text": "lo"}})),
        ("contentBlockStop", json!({"contentBlockIndex": 1})),
        (
            "contentBlockStart",
            json!({"contentBlockIndex": 2, "start": {"toolUse": {"toolUseId": "t", "name": "f"}}}),
        ),
        ("contentBlockDelta", json!({"contentBlockIndex": 2, "delta": {"toolUse": {"input": "{\"a\":"}}})),
        ("contentBlockDelta", json!({"contentBlockIndex": 2, "delta": {"toolUse": {"input": "1}"}}})),
        ("contentBlockStop", json!({"contentBlockIndex": 2})),
        ("messageStop", json!({"stopReason": "tool_use"})),
        ("metadata", json!({"usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}})),
    ];
    messages.iter().flat_map(|(name, payload)| encode(name, false, payload.to_string().as_bytes())).collect()
}

fn events_of(chunks: &[&[u8]]) -> Vec<StreamEvent> {
    let (mut decoder, mut reader) = (Decoder::default(), BedrockStreamReader::default());
    let mut events = Vec::new();
    for chunk in chunks {
        let mut messages = Vec::new();
        decoder.push(chunk, &mut messages).unwrap();
        messages.iter().for_each(|message| reader.message(message, &mut events).unwrap());
    }
    assert!(decoder.is_between_messages() && reader.end(&mut events));
    events
}

#[test]
fn a_stream_is_read() {
    let mut assembler = Assembler::default();
    events_of(&[&stream()]).iter().for_each(|event| assembler.event(event));
    let answer = assembler.finish();
    let kinds: Vec<&PartKind> = answer.choices[0].parts.iter().map(|part| &part.kind).collect();
    assert!(
        matches!(kinds[0], PartKind::Thinking { text, signature: Some(signature) } if text == "hm" && signature == "s")
    );
    assert!(matches!(kinds[1], PartKind::Text { text, .. } if text == "Hello"));
    assert!(matches!(kinds[2], PartKind::ToolCall(call) if call.arguments == "{\"a\":1}"));
    assert_eq!(answer.usage, Some(Usage::ZERO.with(Meter::Input, 3).with(Meter::Output, 4)));
}

#[test]
fn an_exception_is_an_error() {
    let mut messages = Vec::new();
    let bytes = encode("throttlingException", true, br#"{"message":"slow down"}"#);
    Decoder::default().push(&bytes, &mut messages).unwrap();
    let mut events = Vec::new();
    BedrockStreamReader::default().message(&messages[0], &mut events).unwrap();
    let expected =
        StreamEvent::Error { message: "slow down".to_owned(), kind: Some("throttlingException".to_owned()) };
    assert_eq!(events, [expected]);
}

#[test]
fn damage_is_seen() {
    let good = encode("messageStop", false, b"{}");
    let refusal = |bytes: &[u8]| Decoder::default().push(bytes, &mut Vec::new());
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert_eq!(refusal(&bad), Err(EventStreamError::Checksum), "byte {at}");
    }
    // a length that the checksum vouches for, and that is impossible all the same
    let mut short = 15_u32.to_be_bytes().to_vec();
    short.extend_from_slice(&0_u32.to_be_bytes());
    short.extend_from_slice(&crc32fast::hash(&short).to_be_bytes());
    assert_eq!(refusal(&short), Err(EventStreamError::Length));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_split_gives_the_same_steps(cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12)) {
        let stream = stream();
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        at.sort_unstable();
        let mut chunks: Vec<&[u8]> = Vec::new();
        let mut start = 0;
        for cut in at.into_iter().chain([stream.len()]) {
            chunks.push(&stream[start..cut]);
            start = cut;
        }
        prop_assert_eq!(events_of(&chunks), events_of(&[&stream]));
    }
}
