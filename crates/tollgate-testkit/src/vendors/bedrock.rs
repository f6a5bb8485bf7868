//! Bedrock's Converse: its answers, and the binary framing of its streams.

use serde_json::{Value, json};

use super::USAGE;
use super::said::{SIGNATURE, Said};

/// What streams are sent as.
pub(super) const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";
/// A header's value is a string.
const STRING_HEADER: u8 = 7;

pub(super) fn whole(said: &Said) -> Value {
    let mut content = Vec::new();
    if let Some(thinking) = said.thinking {
        let text = json!({"text": thinking, "signature": SIGNATURE});
        content.push(json!({"reasoningContent": {"reasoningText": text}}));
    }
    if !said.text.is_empty() {
        content.push(json!({"text": said.text.concat()}));
    }
    for call in &said.calls {
        let input: Value = serde_json::from_str(&call.arguments.concat()).unwrap_or_default();
        content.push(json!({"toolUse": {"toolUseId": call.id, "name": call.name, "input": input}}));
    }
    json!({"output": {"message": {"role": "assistant", "content": content}}, "stopReason": stop_reason(said),
        "usage": usage(), "metrics": {"latencyMs": 5}})
}

fn stop_reason(said: &Said) -> &'static str {
    if said.calls.is_empty() { "end_turn" } else { "tool_use" }
}

fn usage() -> Value {
    json!({"inputTokens": USAGE.prompt_tokens - USAGE.cached_tokens, "outputTokens": USAGE.completion_tokens,
        "cacheReadInputTokens": USAGE.cached_tokens, "cacheWriteInputTokens": 0,
        "totalTokens": USAGE.prompt_tokens + USAGE.completion_tokens})
}

pub(super) fn frames(said: &Said) -> Vec<Vec<u8>> {
    let mut events = vec![("messageStart", json!({"role": "assistant"}))];
    let mut index = 0;
    let mut block = |start: Option<Value>, deltas: Vec<Value>| {
        events.extend(
            start.map(|start| ("contentBlockStart", json!({"contentBlockIndex": index, "start": start}))),
        );
        events.extend(
            deltas
                .into_iter()
                .map(|delta| ("contentBlockDelta", json!({"contentBlockIndex": index, "delta": delta}))),
        );
        events.push(("contentBlockStop", json!({"contentBlockIndex": index})));
        index += 1;
    };
    if let Some(thinking) = said.thinking {
        let deltas = [json!({"text": thinking}), json!({"signature": SIGNATURE})];
        block(None, deltas.into_iter().map(|delta| json!({"reasoningContent": delta})).collect());
    }
    if !said.text.is_empty() {
        block(None, said.text.iter().map(|text| json!({"text": text})).collect());
    }
    for call in &said.calls {
        let deltas = call.arguments.iter().map(|piece| json!({"toolUse": {"input": piece}})).collect();
        block(Some(json!({"toolUse": {"toolUseId": call.id, "name": call.name}})), deltas);
    }
    events.push(("messageStop", json!({"stopReason": stop_reason(said)})));
    events.push(("metadata", json!({"usage": usage(), "metrics": {"latencyMs": 5}})));
    events.iter().map(|(name, payload)| framed(name, payload.to_string().as_bytes())).collect()
}

/// A message: lengths and their checksum, headers, payload, and the checksum of everything.
fn framed(event_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut headers = Vec::new();
    let pairs =
        [(":event-type", event_type), (":content-type", "application/json"), (":message-type", "event")];
    for (name, value) in pairs {
        headers.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        headers.extend_from_slice(name.as_bytes());
        headers.push(STRING_HEADER);
        headers.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
        headers.extend_from_slice(value.as_bytes());
    }
    let length = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_be_bytes();
    let mut message = Vec::with_capacity(headers.len() + payload.len() + 16);
    message.extend_from_slice(&length(headers.len() + payload.len() + 16));
    message.extend_from_slice(&length(headers.len()));
    message.extend_from_slice(&crc32fast::hash(&message).to_be_bytes());
    message.extend_from_slice(&headers);
    message.extend_from_slice(payload);
    message.extend_from_slice(&crc32fast::hash(&message).to_be_bytes());
    message
}
