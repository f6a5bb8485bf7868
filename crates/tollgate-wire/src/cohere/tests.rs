use serde_json::{Value, json};
use tollgate_domain::{Meter, Usage};

use super::*;
use crate::neutral::{Assembler, Feature, Fidelity, FinishReason, Mode, PartKind};
use crate::openai::chat;

const TARGET: CohereTarget<'_> = CohereTarget { model: "command-a", output_cap: Some(50) };

#[test]
fn an_openai_conversation_becomes_cohere_s() {
    let body = json!({
        "messages": [
            {"role": "developer", "content": "S"},
            {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "1"}],
        "tools": [{"type": "function", "function": {"name": "f", "strict": true}}, {"type": "function", "function": {"name": "g"}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "temperature": 0.3, "top_p": 0.9, "top_k": 5, "seed": 1, "stop": ["x"], "reasoning_effort": "low",
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}, "stream": true
    });
    let request = chat::read_request(body.to_string().as_bytes()).unwrap();
    let mut fidelity = Fidelity::new(Mode::Refuse);
    let written = write_request(&request, &TARGET, &mut fidelity).unwrap();
    let written: Value = serde_json::from_slice(&written).unwrap();
    assert_eq!(
        written,
        json!({
            "model": "command-a", "max_tokens": 50,
            "messages": [
                {"role": "system", "content": "S"},
                {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]},
                {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": "c1", "content": "1"}],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
            "tool_choice": "REQUIRED", "strict_tools": true,
            "temperature": 0.3, "p": 0.9, "k": 5, "seed": 1, "stop_sequences": ["x"],
            "response_format": {"type": "json_object", "json_schema": {"type": "object"}},
            "thinking": {"type": "enabled", "token_budget": 1024}, "stream": true
        })
    );
    let bent: Vec<Feature> = fidelity.approximated().iter().map(|(feature, _)| *feature).collect();
    assert_eq!(bent, [Feature::ToolChoice, Feature::ReasoningEffort]);
}

#[test]
fn what_the_target_lacks_is_refused_by_name() {
    let tool = json!([{"type": "function", "function": {"name": "f"}}]);
    for (members, feature) in [
        (json!({"n": 2}), Feature::N),
        (json!({"logprobs": true}), Feature::Logprobs),
        (json!({"tools": tool, "parallel_tool_calls": false}), Feature::ParallelToolCalls),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "x"}}]}]}),
            Feature::FileInput,
        ),
        (json!({"brand_new": 1}), Feature::UnknownMembers),
    ] {
        let mut body = json!({"model": "m", "messages": []});
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let request = chat::read_request(body.to_string().as_bytes()).unwrap();
        let refused = write_request(&request, &TARGET, &mut Fidelity::new(Mode::Refuse)).unwrap_err();
        assert_eq!(refused.feature, feature, "{body}");
    }
}

#[test]
fn an_answer_is_read_by_what_is_billed() {
    let body = json!({
        "id": "a", "finish_reason": "TOOL_CALL",
        "message": {"role": "assistant", "tool_plan": "I will look.", "content": [{"type": "text", "text": "hi"}],
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        "usage": {"billed_units": {"input_tokens": 10.0, "output_tokens": 5, "search_units": 1}, "tokens": {"input_tokens": 200, "output_tokens": 9}}
    });
    let answer = read_answer(body.to_string().as_bytes()).unwrap();
    assert_eq!(answer.choices[0].finish, FinishReason::ToolCalls);
    assert_eq!(answer.choices[0].parts.len(), 3);
    let expected = Usage::ZERO.with(Meter::Input, 10).with(Meter::Output, 5).with(Meter::Search, 1);
    assert_eq!(answer.usage, Some(expected));
}

#[test]
fn a_stream_is_read() {
    let events = [
        json!({"type": "message-start", "id": "a", "delta": {"message": {"role": "assistant"}}}),
        json!({"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "I will "}}}),
        json!({"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "look."}}}),
        json!({"type": "tool-call-start", "index": 0, "delta": {"message": {"tool_calls": {"id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}}}}),
        json!({"type": "tool-call-delta", "index": 0, "delta": {"message": {"tool_calls": {"function": {"arguments": "{}"}}}}}),
        json!({"type": "tool-call-end", "index": 0}),
        json!({"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}}),
        json!({"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "Hello"}}}}),
        json!({"type": "citation-start", "index": 0, "delta": {}}),
        json!({"type": "content-end", "index": 0}),
        json!({"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": {"billed_units": {"input_tokens": 3, "output_tokens": 4}}}}),
    ];
    let mut reader = CohereStreamReader::default();
    let mut out = Vec::new();
    events.iter().for_each(|event| reader.data(event.to_string().as_bytes(), &mut out).unwrap());
    let mut assembler = Assembler::default();
    out.iter().for_each(|event| assembler.event(event));
    let answer = assembler.finish();
    let kinds: Vec<&PartKind> = answer.choices[0].parts.iter().map(|part| &part.kind).collect();
    assert!(matches!(kinds[0], PartKind::Thinking { text, .. } if text == "I will look."));
    assert!(matches!(kinds[1], PartKind::ToolCall(call) if call.arguments == "{}"));
    assert!(matches!(kinds[2], PartKind::Text { text, .. } if text == "Hello"));
    assert_eq!((answer.choices[0].finish, answer.usage.unwrap().total_tokens()), (FinishReason::Stop, 7));
}
