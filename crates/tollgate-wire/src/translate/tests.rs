use proptest::prelude::*;
use serde_json::{Value, json};
use tollgate_domain::NanoUsd;

use super::*;
use crate::json::ReadError;
use crate::neutral::{ChatDialect, Mode, replay};
use crate::openai::responses::ResponseEcho;
use crate::openai::stream::{RelayEvent, StreamEnd};
use bytes::Bytes;

/// Every dialect's words for the same answer, streamed: reasoning, text and two calls.
fn provider_stream(dialect: ChatDialect) -> Vec<u8> {
    let answer = crate::anthropic::read_answer(
        json!({
            "id": "x1", "model": "m-1", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "sig"},
                {"type": "text", "text": "Grüße \u{2028} 😀"},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {"n": 12_345_678_901_234_567_890_u64}},
                {"type": "tool_use", "id": "t2", "name": "g", "input": {}}],
            "stop_reason": "tool_use", "usage": {"input_tokens": 6, "cache_read_input_tokens": 4, "output_tokens": 7}
        })
        .to_string()
        .as_bytes(),
    )
    .unwrap();
    let mut writer = super::streams::StreamWriter::new(dialect, 5, true, ResponseEcho::default());
    replay(&answer).iter().filter_map(|event| writer.event(event, None)).flatten().collect()
}

const SPOKEN: [ChatDialect; 4] =
    [ChatDialect::OpenAiChat, ChatDialect::OpenAiResponses, ChatDialect::Anthropic, ChatDialect::Gemini];

fn context(provider: ChatDialect, client: ChatDialect) -> RelayContext {
    RelayContext {
        provider,
        client,
        created: 5,
        wants_usage: true,
        n_choices: 1,
        echo: ResponseEcho::default(),
        stand_in: ("id".to_owned(), "model".to_owned()),
    }
}

fn relayed(provider: ChatDialect, client: ChatDialect, chunks: &[&[u8]]) -> String {
    let mut relay = TranslatingRelay::new(context(provider, client));
    let mut events = Vec::new();
    for chunk in chunks {
        relay.push(Bytes::copy_from_slice(chunk), &mut events).unwrap();
    }
    assert_eq!(relay.finish(true, &mut events), StreamEnd::Complete, "{provider:?} to {client:?}");
    let mut out = Vec::new();
    for event in events {
        match event {
            RelayEvent::Forward(bytes) => out.extend_from_slice(&bytes),
            RelayEvent::Usage { usage, frame } => {
                assert_eq!(usage.unwrap().total_tokens(), 17);
                out.extend(frame.with_cost(NanoUsd::from_usd(1)).into_iter().flatten());
            }
            RelayEvent::ProviderError(error) => panic!("{error:?}"),
        }
    }
    String::from_utf8(out).unwrap()
}

/// What a stream of `dialect` says: text, calls, finish, counts.
fn said(dialect: ChatDialect, stream: &str) -> Value {
    let mut reader = StreamReader::new(dialect);
    let mut steps = Vec::new();
    reader.push(Bytes::copy_from_slice(stream.as_bytes()), &mut steps).unwrap();
    reader.end(&mut steps);
    let mut assembler = crate::neutral::Assembler::default();
    steps.iter().for_each(|step| assembler.event(step));
    serde_json::from_slice(&crate::openai::chat::write_answer(&assembler.finish(), 0, None)).unwrap()
}

#[test]
fn every_pair_of_dialects_streams_the_same_answer() {
    for provider in SPOKEN {
        let stream = provider_stream(provider);
        for client in SPOKEN {
            let out = relayed(provider, client, &[&stream]);
            let said = said(client, &out);
            let message = &said["choices"][0]["message"];
            assert_eq!(message["content"], "Grüße \u{2028} 😀", "{provider:?} to {client:?}");
            assert_eq!(message["reasoning_content"], "hm", "{provider:?} to {client:?}");
            let calls = message["tool_calls"].as_array().unwrap();
            assert_eq!(calls.len(), 2, "{provider:?} to {client:?}");
            assert_eq!(
                calls[0]["function"]["arguments"], "{\"n\":12345678901234567890}",
                "{provider:?} to {client:?}"
            );
            assert_eq!(said["choices"][0]["finish_reason"], "tool_calls", "{provider:?} to {client:?}");
            assert_eq!(said["usage"]["prompt_tokens"], 10, "{provider:?} to {client:?}");
            assert!(!out.contains('\u{2028}'), "{provider:?} to {client:?}: a raw line separator");
        }
    }
}

#[test]
fn every_split_and_every_line_end_gives_the_same_bytes() {
    for provider in SPOKEN {
        // a sample of the places: the splitter and each reader are tested at every one
        for (line_end, step) in [("\n", 5), ("\r\n", 31), ("\r", 31)] {
            let stream = String::from_utf8(provider_stream(provider)).unwrap().replace('\n', line_end);
            // a lone CR at the very end waits for what may follow it
            let stream = if line_end == "\r" { stream + ":\n" } else { stream };
            let whole = relayed(provider, ChatDialect::OpenAiChat, &[stream.as_bytes()]);
            for cut in (1..stream.len()).step_by(step) {
                let (left, right) = stream.as_bytes().split_at(cut);
                let parts = relayed(provider, ChatDialect::OpenAiChat, &[left, right]);
                assert_eq!(parts, whole, "{provider:?} cut at {cut}");
            }
        }
    }
}

#[test]
fn a_stream_that_breaks_off_is_broken() {
    for provider in SPOKEN {
        let stream = provider_stream(provider);
        let mut relay = TranslatingRelay::new(context(provider, ChatDialect::OpenAiChat));
        let mut events = Vec::new();
        relay.push(Bytes::copy_from_slice(&stream[..stream.len() / 2]), &mut events).unwrap();
        assert_eq!(relay.finish(true, &mut events), StreamEnd::Broken, "{provider:?}");
        assert!(relay.content_begun() && relay.text_bytes() > 0, "{provider:?}");
    }
}

#[test]
fn garbage_is_an_error_and_not_an_answer() {
    for provider in ChatDialect::ALL {
        let mut relay = TranslatingRelay::new(context(provider, ChatDialect::OpenAiChat));
        let mut events = Vec::new();
        let garbage = Bytes::from_static(b"data: <html>\n\ndata: {\"a\":\n\n");
        assert!(relay.push(garbage, &mut events).is_err(), "{provider:?}");
    }
}

#[test]
fn a_request_of_any_client_reaches_any_provider() {
    let bodies = [
        (
            ChatDialect::OpenAiChat,
            json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 50}),
        ),
        (ChatDialect::OpenAiResponses, json!({"model": "m", "input": "hi", "max_output_tokens": 50})),
        (
            ChatDialect::Anthropic,
            json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 50}),
        ),
        (
            ChatDialect::Gemini,
            json!({"contents": [{"parts": [{"text": "hi"}]}], "generationConfig": {"maxOutputTokens": 50}}),
        ),
    ];
    for (client, body) in bodies {
        let asked = Asked { model: "m", stream: false };
        let incoming = read_request(client, asked, body.to_string().as_bytes()).unwrap();
        assert_eq!(incoming.chat_lacks, None, "{client:?}");
        let as_chat: Value = serde_json::from_slice(&incoming.as_chat).unwrap();
        assert_eq!((&as_chat["model"], &as_chat["max_tokens"]), (&json!("m"), &json!(50)), "{client:?}");
        for dialect in ChatDialect::ALL {
            let target = RequestTarget { dialect, model: "p", output_cap: Some(20), model_cap: None };
            let written = write_request(&incoming.request, &target, Mode::Refuse).unwrap();
            let text = String::from_utf8(written.body.to_vec()).unwrap();
            assert!(text.contains("\"hi\"") && text.contains("20"), "{client:?} to {dialect:?}: {text}");
            assert!(!text.contains("50"), "{client:?} to {dialect:?}: the cap was not replaced: {text}");
        }
    }
}

#[test]
fn what_chat_cannot_say_is_told_before_it_is_priced() {
    let body = json!({"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": [
        {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}}]}],
        "tools": [{"type": "web_search_20250305", "name": "web_search"}]});
    let incoming =
        read_request(ChatDialect::Anthropic, Asked::default(), body.to_string().as_bytes()).unwrap();
    assert!(incoming.has_unbounded_parts && incoming.has_vendor_tools && incoming.chat_lacks.is_some());
}

#[test]
fn answers_reach_every_client() {
    let answer = read_answer(
        ChatDialect::Bedrock,
        br#"{"output":{"message":{"role":"assistant","content":[{"text":"hi"}]}},"stopReason":"end_turn","usage":{"inputTokens":3,"outputTokens":4,"totalTokens":7}}"#,
        "id-1",
        "model-1",
    )
    .unwrap();
    for dialect in SPOKEN {
        let context = AnswerContext {
            dialect,
            created: 9,
            echo: &ResponseEcho::default(),
            cost: Some(NanoUsd::from_usd(1)),
        };
        let text = String::from_utf8(write_answer(&answer, &context)).unwrap();
        assert!(
            text.contains("\"hi\"") && text.contains("id-1") && text.contains("model-1"),
            "{dialect:?}: {text}"
        );
        let is_openai = matches!(dialect, ChatDialect::OpenAiChat | ChatDialect::OpenAiResponses);
        assert_eq!(text.contains("\"cost\":"), is_openai, "{dialect:?}: {text}");
    }
}

#[test]
fn the_same_dialect_passes_with_its_model_and_cap_set() {
    let cases = [
        (
            ChatDialect::Anthropic,
            r#"{"model": "x", "max_tokens": 9,"new": [1.50]}"#,
            r#"{"model": "p", "max_tokens": 5,"new": [1.50]}"#,
        ),
        (ChatDialect::Anthropic, r#"{"new":1}"#, r#"{"new":1,"model":"p","max_tokens":5}"#),
        (
            ChatDialect::Gemini,
            r#"{"contents":[]}"#,
            r#"{"contents":[],"generationConfig":{"maxOutputTokens":5}}"#,
        ),
        (
            ChatDialect::Gemini,
            r#"{"generation_config":{"max_output_tokens":9}}"#,
            r#"{"generation_config":{"max_output_tokens":5}}"#,
        ),
        (
            ChatDialect::Gemini,
            r#"{"generationConfig":{"topK":1}}"#,
            r#"{"generationConfig":{"topK":1,"maxOutputTokens":5}}"#,
        ),
    ];
    for (dialect, body, expected) in cases {
        let target = RequestTarget { dialect, model: "p", output_cap: Some(5), model_cap: None };
        let out = pass_request(body.as_bytes(), &target).unwrap();
        assert_eq!(String::from_utf8(out.to_vec()).unwrap(), expected, "{body}");
    }
}

#[test]
fn what_only_the_native_body_says_is_bounded() {
    let long = "x".repeat(5_000);
    let tool = json!({"name": "f", "input_schema": {"type": "object"}, "input_examples": [{"x": long}]});
    let document = json!({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a"},
        "context": long});
    for body in [
        json!({"model": "m", "max_tokens": 1, "messages": [], "tools": [tool]}),
        json!({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": [document]}]}),
        json!({"model": "m", "max_tokens": 1, "messages": [
            {"role": "assistant", "content": [{"type": "thinking", "thinking": long, "signature": "s"}]}]}),
    ] {
        let asked = Asked::default();
        let incoming = read_request(ChatDialect::Anthropic, asked, body.to_string().as_bytes()).unwrap();
        assert!(incoming.as_chat.len() as u64 + incoming.n_unseen_bytes >= 5_000, "{incoming:?}");
    }
    let pdf = json!({"functionResponse": {"name": "f", "response": {}, "parts": [
        {"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}}]}});
    let film = json!({"fileData": {"mimeType": "image/png", "fileUri": "https://example.com/an-hour.mp4"}});
    for part in [pdf, film] {
        let body = json!({"contents": [{"role": "user", "parts": [part]}]}).to_string();
        let incoming = read_request(ChatDialect::Gemini, Asked::default(), body.as_bytes()).unwrap();
        assert!(incoming.has_unbounded_parts, "{body}");
    }
}

#[test]
fn what_costs_more_than_its_words_say_is_seen_or_refused() {
    for (tier, neutral) in [("priority", "priority"), ("SERVICE_TIER_FLEX", "flex"), ("STANDARD", "default")]
    {
        for name in ["serviceTier", "service_tier"] {
            let body = json!({"contents": [], name: tier}).to_string();
            let incoming = read_request(ChatDialect::Gemini, Asked::default(), body.as_bytes()).unwrap();
            assert_eq!(incoming.request.service_tier.as_deref(), Some(neutral), "{body}");
        }
    }
    let with = |kind: &str| {
        let body = json!({"model": "m", "max_tokens": 1, "messages": [],
            "context_management": {"edits": [{"type": kind}]}});
        read_request(ChatDialect::Anthropic, Asked::default(), body.to_string().as_bytes())
    };
    assert!(with("clear_tool_uses_20250919").is_ok());
    let Err(ReadError::Field(error)) = with("compact_20260112") else { panic!("compaction passes") };
    assert_eq!(error.path, "context_management.edits[0]");
    for (name, usual, dearer) in [("speed", "standard", "fast"), ("inference_geo", "global", "us")] {
        let with = |value: &str| {
            let body = json!({"model": "m", "max_tokens": 1, "messages": [], name: value}).to_string();
            read_request(ChatDialect::Anthropic, Asked::default(), body.as_bytes())
        };
        assert!(with(usual).is_ok());
        assert!(matches!(with(dearer), Err(ReadError::Field(error)) if error.path == name), "{name}");
    }
}

#[test]
fn two_spellings_of_one_member_are_refused() {
    let bodies = [
        (
            r#"{"generationConfig":{"maxOutputTokens":1},"generation_config":{"maxOutputTokens":9}}"#,
            "generation_config",
        ),
        (r#"{"generation_config":{"maxOutputTokens":9},"generationConfig":null}"#, "generationConfig"),
        (
            r#"{"generationConfig":{"max_output_tokens":9,"maxOutputTokens":1}}"#,
            "generationConfig.maxOutputTokens",
        ),
        (
            r#"{"generation_config":{"candidateCount":1,"candidate_count":8}}"#,
            "generation_config.candidate_count",
        ),
        (
            r#"{"generationConfig":{"thinkingConfig":{"thinkingBudget":1,"thinking_budget":9}}}"#,
            "generationConfig.thinkingConfig.thinking_budget",
        ),
    ];
    for (body, path) in bodies {
        let body = format!(r#"{{"contents":[],{}"#, &body[1..]);
        let refused = read_request(ChatDialect::Gemini, Asked::default(), body.as_bytes());
        let Err(ReadError::Field(error)) = refused else { panic!("{body}") };
        assert_eq!((error.path.as_str(), error.message.contains("two spellings")), (path, true), "{body}");
    }
}

#[test]
fn the_same_dialect_streams_its_own_bytes() {
    for dialect in [ChatDialect::Anthropic, ChatDialect::Gemini] {
        let stream = provider_stream(dialect);
        let mut relay = TranslatingRelay::new(context(dialect, dialect));
        let mut events = Vec::new();
        stream.chunks(50).for_each(|chunk| relay.push(Bytes::copy_from_slice(chunk), &mut events).unwrap());
        assert_eq!(relay.finish(true, &mut events), StreamEnd::Complete, "{dialect:?}");
        let out: Vec<u8> = events
            .into_iter()
            .filter_map(|event| match event {
                RelayEvent::Forward(bytes) => Some(bytes),
                _ => None,
            })
            .flatten()
            .collect();
        assert_eq!(out, stream, "{dialect:?}");
        assert_eq!(relay.usage().unwrap().total_tokens(), 17, "{dialect:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_bytes_make_a_relay_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), is_json in any::<bool>(), which in 0..6_usize) {
        let provider = ChatDialect::ALL[which];
        let mut relay = TranslatingRelay::new(context(provider, ChatDialect::Anthropic));
        let chunk = if is_json { [b"data: ".as_slice(), &bytes, b"\n\n"].concat() } else { bytes };
        let mut events = Vec::new();
        let _ = relay.push(Bytes::from(chunk), &mut events);
        relay.finish(true, &mut events);
    }
}
