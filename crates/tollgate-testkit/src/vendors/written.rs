//! Answers written in each vendor's dialect, whole and streamed.

use serde_json::{Value, json};

use super::said::{Call, SIGNATURE, Said};
use super::{USAGE, Vendor, bedrock};

pub(super) const ID: &str = "answer_1";
const MODEL: &str = "vendor-model-1";
const CREATED_UNIX_SECONDS: u64 = 1_700_000_000;

/// A whole answer.
pub(super) fn whole(vendor: Vendor, said: &Said) -> Value {
    match vendor {
        Vendor::OpenAiChat => openai_whole(said),
        Vendor::OpenAiResponses => responses_whole(said, "completed"),
        Vendor::Anthropic => anthropic_whole(said),
        Vendor::Gemini => gemini_chunk(&gemini_parts(said), true),
        Vendor::Cohere => cohere_whole(said),
        Vendor::Bedrock => bedrock::whole(said),
    }
}

/// A streamed answer as server-sent events, frame by frame; Bedrock has none, its framing is binary.
pub(super) fn frames(vendor: Vendor, said: &Said) -> Vec<String> {
    let named =
        |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default());
    let plain = |event: &Value| format!("data: {event}\n\n");
    match vendor {
        Vendor::OpenAiChat => {
            let mut frames: Vec<String> = openai_events(said).iter().map(plain).collect();
            frames.push("data: [DONE]\n\n".to_owned());
            frames
        }
        Vendor::OpenAiResponses => responses_events(said).iter().map(named).collect(),
        Vendor::Anthropic => anthropic_events(said).iter().map(named).collect(),
        Vendor::Gemini => gemini_events(said).iter().map(|event| format!("data: {event}\r\n\r\n")).collect(),
        Vendor::Cohere => cohere_events(said).iter().map(named).collect(),
        Vendor::Bedrock => Vec::new(),
    }
}

// === OpenAI's Chat Completions ===

fn openai_call(call: &Call, index: Option<usize>) -> Value {
    let mut object = json!({"id": call.id, "type": "function",
        "function": {"name": call.name, "arguments": call.arguments.concat()}});
    if let Some(index) = index {
        object["index"] = json!(index);
        object["function"]["arguments"] = json!("");
    }
    object
}

fn openai_whole(said: &Said) -> Value {
    let mut message = json!({"role": "assistant", "content": said.text.concat()});
    if said.text.is_empty() {
        message["content"] = Value::Null;
    }
    if let Some(thinking) = said.thinking {
        message["reasoning_content"] = json!(thinking);
    }
    if !said.calls.is_empty() {
        message["tool_calls"] = said.calls.iter().map(|call| openai_call(call, None)).collect();
    }
    json!({"id": ID, "object": "chat.completion", "created": CREATED_UNIX_SECONDS, "model": MODEL,
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": openai_finish(said)}],
        "usage": USAGE.to_json()})
}

fn openai_finish(said: &Said) -> &'static str {
    if said.calls.is_empty() { "stop" } else { "tool_calls" }
}

fn openai_events(said: &Said) -> Vec<Value> {
    let chunk = |delta: Value, finish: Value| {
        json!({"id": ID, "object": "chat.completion.chunk", "created": CREATED_UNIX_SECONDS, "model": MODEL,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    };
    let mut events = vec![chunk(json!({"role": "assistant", "content": ""}), Value::Null)];
    if let Some(thinking) = said.thinking {
        events.push(chunk(json!({"reasoning_content": thinking}), Value::Null));
    }
    events.extend(said.text.iter().map(|text| chunk(json!({"content": text}), Value::Null)));
    for (index, call) in said.calls.iter().enumerate() {
        events.push(chunk(json!({"tool_calls": [openai_call(call, Some(index))]}), Value::Null));
        events.extend(call.arguments.iter().map(|piece| {
            chunk(json!({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}), Value::Null)
        }));
    }
    events.push(chunk(json!({}), json!(openai_finish(said))));
    let mut last = chunk(json!({}), Value::Null);
    last["choices"] = json!([]);
    last["usage"] = USAGE.to_json();
    events.push(last);
    events
}

// === OpenAI's Responses ===

fn responses_items(said: &Said) -> Vec<Value> {
    let mut items = Vec::new();
    if let Some(thinking) = said.thinking {
        items.push(json!({"type": "reasoning", "id": "rs_1", "encrypted_content": SIGNATURE,
            "summary": [{"type": "summary_text", "text": thinking}]}));
    }
    if !said.text.is_empty() {
        items.push(json!({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": said.text.concat(), "annotations": []}]}));
    }
    items.extend(said.calls.iter().map(|call| {
        json!({"type": "function_call", "id": format!("fc_{}", call.id), "call_id": call.id, "name": call.name,
            "arguments": call.arguments.concat(), "status": "completed"})
    }));
    items
}

fn responses_whole(said: &Said, status: &str) -> Value {
    let is_done = status == "completed";
    let usage = json!({"input_tokens": USAGE.prompt_tokens, "output_tokens": USAGE.completion_tokens,
        "total_tokens": USAGE.prompt_tokens + USAGE.completion_tokens,
        "input_tokens_details": {"cached_tokens": USAGE.cached_tokens},
        "output_tokens_details": {"reasoning_tokens": USAGE.reasoning_tokens}});
    json!({"id": ID, "object": "response", "created_at": CREATED_UNIX_SECONDS, "status": status, "model": MODEL,
        "output": if is_done { responses_items(said) } else { Vec::new() }, "error": null,
        "incomplete_details": null, "instructions": null, "metadata": {}, "parallel_tool_calls": true,
        "temperature": 1.0, "tool_choice": "auto", "tools": [], "top_p": 1.0,
        "usage": if is_done { usage } else { Value::Null }})
}

fn responses_events(said: &Said) -> Vec<Value> {
    let mut events =
        vec![json!({"type": "response.created", "response": responses_whole(said, "in_progress")})];
    for (index, item) in responses_items(said).iter().enumerate() {
        let mut begun = item.clone();
        let (id, kind) = (item["id"].clone(), item["type"].as_str().unwrap_or_default());
        let (name, emptied) = match kind {
            "reasoning" => ("summary", json!([])),
            "message" => ("content", json!([])),
            _ => ("arguments", json!("")),
        };
        begun[name] = emptied;
        events.push(json!({"type": "response.output_item.added", "output_index": index, "item": begun}));
        let at = |mut event: Value| {
            event["item_id"] = id.clone();
            event["output_index"] = json!(index);
            event
        };
        match kind {
            "reasoning" => events.push(at(json!({"type": "response.reasoning_summary_text.delta",
                "summary_index": 0, "delta": said.thinking}))),
            "message" => {
                let part = json!({"type": "output_text", "text": "", "annotations": []});
                events.push(at(
                    json!({"type": "response.content_part.added", "content_index": 0, "part": part}),
                ));
                events.extend(said.text.iter().map(|text| {
                    at(json!({"type": "response.output_text.delta", "content_index": 0, "delta": text}))
                }));
                let text = said.text.concat();
                events
                    .push(at(json!({"type": "response.output_text.done", "content_index": 0, "text": text})));
            }
            _ => {
                let call = said.calls.iter().find(|call| item["call_id"] == call.id);
                events.extend(call.into_iter().flat_map(|call| &call.arguments).map(|piece| {
                    at(json!({"type": "response.function_call_arguments.delta", "delta": piece}))
                }));
                let arguments = &item["arguments"];
                events.push(at(
                    json!({"type": "response.function_call_arguments.done", "arguments": arguments}),
                ));
            }
        }
        events.push(json!({"type": "response.output_item.done", "output_index": index, "item": item}));
    }
    events.push(json!({"type": "response.completed", "response": responses_whole(said, "completed")}));
    for (number, event) in events.iter_mut().enumerate() {
        event["sequence_number"] = json!(number);
    }
    events
}

// === Anthropic ===

fn anthropic_usage() -> Value {
    json!({"input_tokens": USAGE.prompt_tokens - USAGE.cached_tokens,
        "cache_read_input_tokens": USAGE.cached_tokens, "cache_creation_input_tokens": 0,
        "output_tokens": USAGE.completion_tokens})
}

fn anthropic_finish(said: &Said) -> &'static str {
    if said.calls.is_empty() { "end_turn" } else { "tool_use" }
}

fn anthropic_whole(said: &Said) -> Value {
    let mut content = Vec::new();
    if let Some(thinking) = said.thinking {
        content.push(json!({"type": "thinking", "thinking": thinking, "signature": SIGNATURE}));
    }
    if !said.text.is_empty() {
        content.push(json!({"type": "text", "text": said.text.concat()}));
    }
    for call in &said.calls {
        let input: Value = serde_json::from_str(&call.arguments.concat()).unwrap_or_default();
        content.push(json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input}));
    }
    json!({"id": ID, "type": "message", "role": "assistant", "model": MODEL, "content": content,
        "stop_reason": anthropic_finish(said), "stop_sequence": null, "usage": anthropic_usage()})
}

fn anthropic_events(said: &Said) -> Vec<Value> {
    let mut message = anthropic_whole(&Said::default());
    message["stop_reason"] = Value::Null;
    message["usage"]["output_tokens"] = json!(1);
    let mut events = vec![json!({"type": "message_start", "message": message})];
    let mut index = 0;
    let mut block = |begun: Value, deltas: Vec<Value>| {
        events.push(json!({"type": "content_block_start", "index": index, "content_block": begun}));
        events.extend(
            deltas.iter().map(|delta| json!({"type": "content_block_delta", "index": index, "delta": delta})),
        );
        events.push(json!({"type": "content_block_stop", "index": index}));
        index += 1;
    };
    if let Some(thinking) = said.thinking {
        let deltas = vec![
            json!({"type": "thinking_delta", "thinking": thinking}),
            json!({"type": "signature_delta", "signature": SIGNATURE}),
        ];
        block(json!({"type": "thinking", "thinking": "", "signature": ""}), deltas);
    }
    if !said.text.is_empty() {
        let deltas = said.text.iter().map(|text| json!({"type": "text_delta", "text": text})).collect();
        block(json!({"type": "text", "text": ""}), deltas);
    }
    for call in &said.calls {
        let pieces = call.arguments.iter();
        let deltas = pieces.map(|piece| json!({"type": "input_json_delta", "partial_json": piece})).collect();
        block(json!({"type": "tool_use", "id": call.id, "name": call.name, "input": {}}), deltas);
    }
    let delta = json!({"stop_reason": anthropic_finish(said), "stop_sequence": null});
    events.push(json!({"type": "message_delta", "delta": delta, "usage": anthropic_usage()}));
    events.push(json!({"type": "message_stop"}));
    events
}

// === Google ===

fn gemini_parts(said: &Said) -> Vec<Value> {
    let mut parts = Vec::new();
    if let Some(thinking) = said.thinking {
        parts.push(json!({"text": thinking, "thought": true}));
    }
    if !said.text.is_empty() {
        parts.push(json!({"text": said.text.concat()}));
    }
    parts.extend(gemini_calls(said));
    parts
}

fn gemini_calls(said: &Said) -> impl Iterator<Item = Value> {
    said.calls.iter().enumerate().map(|(index, call)| {
        let arguments: Value = serde_json::from_str(&call.arguments.concat()).unwrap_or_default();
        let mut part = json!({"functionCall": {"name": call.name, "args": arguments}});
        if index == 0 {
            part["thoughtSignature"] = json!(SIGNATURE);
        }
        part
    })
}

fn gemini_chunk(parts: &[Value], is_last: bool) -> Value {
    let mut candidate = json!({"content": {"role": "model", "parts": parts}, "index": 0});
    let mut usage = json!({"promptTokenCount": USAGE.prompt_tokens, "totalTokenCount": USAGE.prompt_tokens,
        "cachedContentTokenCount": USAGE.cached_tokens});
    if is_last {
        candidate["finishReason"] = json!("STOP");
        usage["candidatesTokenCount"] = json!(USAGE.completion_tokens);
        usage["totalTokenCount"] = json!(USAGE.prompt_tokens + USAGE.completion_tokens);
    }
    json!({"candidates": [candidate], "usageMetadata": usage, "modelVersion": MODEL, "responseId": ID})
}

fn gemini_events(said: &Said) -> Vec<Value> {
    let mut events = Vec::new();
    if let Some(thinking) = said.thinking {
        events.push(gemini_chunk(&[json!({"text": thinking, "thought": true})], false));
    }
    events.extend(said.text.iter().map(|text| gemini_chunk(&[json!({"text": text})], false)));
    events.push(gemini_chunk(&gemini_calls(said).collect::<Vec<_>>(), true));
    events
}

// === Cohere ===

fn cohere_usage() -> Value {
    let counts = json!({"input_tokens": USAGE.prompt_tokens, "output_tokens": USAGE.completion_tokens});
    json!({"billed_units": counts, "tokens": {"input_tokens": 400, "output_tokens": 11}})
}

fn cohere_finish(said: &Said) -> &'static str {
    if said.calls.is_empty() { "COMPLETE" } else { "TOOL_CALL" }
}

fn cohere_whole(said: &Said) -> Value {
    let mut content = Vec::new();
    if let Some(thinking) = said.thinking {
        content.push(json!({"type": "thinking", "thinking": thinking}));
    }
    if !said.text.is_empty() {
        content.push(json!({"type": "text", "text": said.text.concat()}));
    }
    let mut message = json!({"role": "assistant", "content": content});
    if !said.calls.is_empty() {
        message["tool_calls"] = said.calls.iter().map(|call| openai_call(call, None)).collect();
    }
    json!({"id": ID, "finish_reason": cohere_finish(said), "message": message, "usage": cohere_usage()})
}

fn cohere_events(said: &Said) -> Vec<Value> {
    let content =
        |index: usize, text: Value| json!({"index": index, "delta": {"message": {"content": text}}});
    let typed = |name: &str, mut event: Value| {
        event["type"] = json!(name);
        event
    };
    let mut events = vec![
        json!({"type": "message-start", "id": ID, "delta": {"message": {"role": "assistant", "content": []}}}),
    ];
    let mut index = 0;
    let mut block = |kind: &str, pieces: Vec<&str>| {
        let begun = content(index, json!({"type": kind, kind: ""}));
        events.push(typed("content-start", begun));
        for piece in pieces {
            events.push(typed("content-delta", content(index, json!({kind: piece}))));
        }
        events.push(json!({"type": "content-end", "index": index}));
        index += 1;
    };
    if let Some(thinking) = said.thinking {
        block("thinking", vec![thinking]);
    }
    if !said.text.is_empty() {
        block("text", said.text.iter().map(String::as_str).collect());
    }
    for (index, call) in said.calls.iter().enumerate() {
        let at = |calls: Value| json!({"index": index, "delta": {"message": {"tool_calls": calls}}});
        let mut begun = openai_call(call, None);
        begun["function"]["arguments"] = json!("");
        events.push(typed("tool-call-start", at(begun)));
        events.extend(
            call.arguments
                .iter()
                .map(|piece| typed("tool-call-delta", at(json!({"function": {"arguments": piece}})))),
        );
        events.push(json!({"type": "tool-call-end", "index": index}));
    }
    let delta = json!({"finish_reason": cohere_finish(said), "usage": cohere_usage()});
    events.push(json!({"type": "message-end", "delta": delta}));
    events
}
