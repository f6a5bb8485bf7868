use serde_json::{Value, json};

use super::*;
use crate::neutral::{
    Assembler, ChatRequest, Feature, Fidelity, FinishReason, Mode, PartKind, Role, StreamEvent, replay,
};
use crate::openai::chat;
use crate::{anthropic, gemini};

const TARGET: ResponsesTarget<'_> = ResponsesTarget { model: "m", output_cap: None };

fn read(body: &Value) -> ChatRequest {
    read_request(body.to_string().as_bytes()).unwrap()
}

fn full_request() -> Value {
    json!({
        "model": "m",
        "input": [
            {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "Be brief."}]},
            {"type": "message", "role": "user", "content": [
                {"type": "input_text", "text": "What is this?"},
                {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"},
                {"type": "input_image", "file_id": "file-1"},
                {"type": "input_file", "file_url": "https://example.com/a.pdf"},
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,BBBB"}]},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "sig"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{\"n\":12345678901234567890123}"},
            {"type": "function_call_output", "call_id": "c1", "output": "42"},
            {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "https://example.com/a.png"}]}],
        "tools": [{"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": true},
                  {"type": "web_search"}],
        "tool_choice": {"type": "function", "name": "f"}, "parallel_tool_calls": false,
        "max_output_tokens": 100, "temperature": 0.5, "top_p": 0.9,
        "reasoning": {"effort": "high", "summary": "auto"},
        "text": {"format": {"type": "json_schema", "name": "s", "schema": {"type": "object"}, "strict": true}, "verbosity": "low"},
        "metadata": {"k": "v"}, "user": "u", "service_tier": "flex", "store": false, "stream": true,
        "include": ["reasoning.encrypted_content"]
    })
}

#[test]
fn a_request_of_everything_comes_back_as_it_was() {
    let body = full_request();
    let written = write_request(&read(&body), &TARGET, &mut Fidelity::new(Mode::Refuse)).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), body);
}

#[test]
fn a_turn_of_the_model_is_one_message() {
    let request = read(&full_request());
    let roles: Vec<Role> = request.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::Tool, Role::Tool]);
    assert_eq!(request.messages[2].parts.len(), 3);
    let short = read(&json!({"model": "m", "input": "hi", "instructions": "S"}));
    assert_eq!(short.messages.len(), 2);
}

#[test]
fn a_request_reaches_other_dialects() {
    let body = json!({
        "model": "m", "instructions": "S",
        "input": [
            {"role": "user", "content": "hi"},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "42"}],
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
        "tool_choice": "required", "max_output_tokens": 50
    });
    let request = read(&body);
    let mut fidelity = Fidelity::new(Mode::Refuse);
    let target = anthropic::AnthropicTarget { model: Some("c"), output_cap: 50, has_effort: true };
    let claude = anthropic::write_request(&request, &target, &mut fidelity).unwrap();
    let claude: Value = serde_json::from_slice(&claude).unwrap();
    assert_eq!((&claude["system"], &claude["tool_choice"]["type"]), (&json!("S"), &json!("any")));
    assert_eq!(claude["messages"][2]["content"][0]["tool_use_id"], "c1");
    let target = gemini::GeminiTarget { output_cap: Some(50), has_thinking_level: false };
    let google = gemini::write_request(&request, &target, &mut fidelity).unwrap();
    let google: Value = serde_json::from_slice(&google).unwrap();
    assert_eq!(google["contents"][2]["parts"][0]["functionResponse"]["name"], "f");
    let target = chat::ChatTarget {
        model: "m",
        output_cap: Some(50),
        has_completion_cap: false,
        has_top_k: false,
        has_developer_role: true,
    };
    let chat = chat::write_request(&request, &target, &mut fidelity).unwrap();
    let chat: Value = serde_json::from_slice(&chat).unwrap();
    assert_eq!((&chat["messages"][3]["content"], &chat["max_tokens"]), (&json!("42"), &json!(50)));
}

#[test]
fn what_the_target_lacks_is_refused_by_name() {
    for (members, feature) in [
        (json!({"n": 2}), Feature::N),
        (json!({"seed": 1}), Feature::Seed),
        (json!({"stop": "x"}), Feature::Stop),
        (json!({"logprobs": true}), Feature::Logprobs),
        (json!({"presence_penalty": 1}), Feature::Penalties),
        (json!({"top_k": 1}), Feature::TopK),
        (json!({"brand_new": 1}), Feature::UnknownMembers),
    ] {
        let mut body = json!({"model": "m", "messages": []});
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let request = chat::read_request(body.to_string().as_bytes()).unwrap();
        let refused = write_request(&request, &TARGET, &mut Fidelity::new(Mode::Refuse)).unwrap_err();
        assert_eq!(refused.feature, feature, "{body}");
    }
    let custom = json!({"model": "m", "messages": [], "tools": [{"type": "custom", "custom": {"name": "g", "format": {"type": "text"}}}]});
    let request = chat::read_request(custom.to_string().as_bytes()).unwrap();
    let written = write_request(&request, &TARGET, &mut Fidelity::new(Mode::Refuse)).unwrap();
    let written: Value = serde_json::from_slice(&written).unwrap();
    assert_eq!(written["tools"][0], json!({"type": "custom", "name": "g", "format": {"type": "text"}}));
    assert_eq!(written["store"], false);
}

fn full_answer() -> Value {
    json!({
        "id": "resp_1", "object": "response", "created_at": 5, "status": "completed", "error": null, "incomplete_details": null,
        "model": "m-1",
        "output": [
            {"id": "rs_1_0", "type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "sig"},
            {"id": "msg_1_1", "type": "message", "status": "completed", "role": "assistant",
             "content": [{"type": "output_text", "text": "hé", "annotations": [], "logprobs": []}]},
            {"id": "fc_1_2", "type": "function_call", "call_id": "c1", "name": "f", "arguments": "{\"a\":1}", "status": "completed"}],
        "usage": {"input_tokens": 10, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 7,
                  "output_tokens_details": {"reasoning_tokens": 3}, "total_tokens": 17},
        "background": false, "instructions": "S", "max_output_tokens": null, "max_tool_calls": null, "metadata": {},
        "parallel_tool_calls": true, "previous_response_id": null, "reasoning": null, "store": true, "temperature": 0.5,
        "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "top_p": null, "truncation": "disabled"
    })
}

#[test]
fn an_answer_comes_back_as_it_was() {
    let body = full_answer();
    let answer = read_answer(body.to_string().as_bytes()).unwrap();
    assert_eq!(answer.choices[0].finish, FinishReason::ToolCalls);
    let echo = ResponseEcho::read(br#"{"instructions":"S","temperature":0.5,"input":"x"}"#).unwrap();
    let written: Value = serde_json::from_slice(&write_answer(&answer, &echo, 0, None)).unwrap();
    assert_eq!(written, body);
}

#[test]
fn a_cut_answer_is_incomplete() {
    let chat = json!({"id": "x", "model": "m", "choices": [{"message": {"content": "a"}, "finish_reason": "length"}]});
    let answer = chat::read_answer(chat.to_string().as_bytes()).unwrap();
    let written = write_answer(&answer, &ResponseEcho::default(), 7, None);
    let written: Value = serde_json::from_slice(&written).unwrap();
    assert_eq!((&written["status"], &written["id"]), (&json!("incomplete"), &json!("resp_x")));
    assert_eq!(written["incomplete_details"], json!({"reason": "max_output_tokens"}));
}

fn written_events(events: &[StreamEvent]) -> Vec<Value> {
    let mut writer = ResponsesStreamWriter::new(ResponseEcho::default(), 1);
    let bytes: Vec<u8> = events.iter().filter_map(|event| writer.event(event, None)).flatten().collect();
    let text = String::from_utf8(bytes).unwrap();
    text.split("\n\n")
        .filter_map(|frame| frame.split_once("data: "))
        .map(|(name, data)| {
            let value: Value = serde_json::from_str(data).unwrap();
            assert_eq!(name, format!("event: {}\n", value["type"].as_str().unwrap()));
            value
        })
        .collect()
}

#[test]
fn a_replayed_answer_streams_into_itself() {
    let mut answer = read_answer(full_answer().to_string().as_bytes()).unwrap();
    let events = written_events(&replay(&answer));
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number, "{event}");
    }
    let last = &events.last().unwrap()["response"];
    assert_eq!((&last["output"], &last["usage"]), (&full_answer()["output"], &full_answer()["usage"]));
    let (mut reader, mut assembler) = (ResponsesStreamReader::default(), Assembler::default());
    let mut steps = Vec::new();
    events.iter().for_each(|event| reader.data(event.to_string().as_bytes(), &mut steps).unwrap());
    steps.iter().for_each(|step| assembler.event(step));
    assert_eq!(steps.last(), Some(&StreamEvent::End));
    answer.rest = crate::json::Rest::default();
    assert_eq!(assembler.finish(), answer);
}

#[test]
fn an_item_is_announced_filled_and_closed() {
    let answer = read_answer(full_answer().to_string().as_bytes()).unwrap();
    let names: Vec<String> = written_events(&replay(&answer))
        .iter()
        .filter(|event| event["output_index"] == 1 || event["output_index"] == 2)
        .map(|event| event["type"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        names,
        [
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "response.output_item.done",
        ]
    );
}

#[test]
fn a_failure_in_the_middle_is_told_twice_as_the_dialect_does() {
    let events = written_events(&[
        StreamEvent::Start { id: "x".to_owned(), model: "m".to_owned(), created: None },
        StreamEvent::Error { message: "broke".to_owned(), kind: None },
    ]);
    assert_eq!((&events[2]["type"], &events[2]["message"]), (&json!("error"), &json!("broke")));
    assert_eq!(events[3]["response"]["status"], "failed");
    let mut out = Vec::new();
    ResponsesStreamReader::default().data(events[2].to_string().as_bytes(), &mut out).unwrap();
    assert!(matches!(&out[0], StreamEvent::Error { message, .. } if message == "broke"));
}

#[test]
fn parts_only_other_dialects_know_are_left_out_of_answers() {
    let foreign = PartKind::Foreign {
        dialect: crate::neutral::ChatDialect::Anthropic,
        name: "server_tool_use".to_owned(),
        raw: crate::json::RawJson::from_count(1),
        is_item: true,
    };
    let mut answer = read_answer(full_answer().to_string().as_bytes()).unwrap();
    answer.choices[0].parts = vec![foreign.into()];
    let written = write_answer(&answer, &ResponseEcho::default(), 0, None);
    assert_eq!(serde_json::from_slice::<Value>(&written).unwrap()["output"], json!([]));
}
