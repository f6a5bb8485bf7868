//! What the wire code costs per request and per streamed chunk: `cargo bench -p tollgate-wire`.

use bytes::Bytes;
use divan::{Bencher, black_box};
use tollgate_domain::{NanoUsd, Surface};
use tollgate_wire::openai::request::{Edits, input_token_bound, skim, splice};
use tollgate_wire::openai::response::read_answer;
use tollgate_wire::openai::stream::{StreamOptions, StreamRelay};
use tollgate_wire::openai::usage::{UsageReading, with_cost};

fn main() {
    divan::main();
}

/// A chat body of about `n_bytes`: a system prompt, and prose with a line end every 80 characters.
fn chat_body(n_bytes: usize) -> Bytes {
    let line = "The quick brown fox jumps over the lazy dog, then rests; its day is done by now.\\n";
    let text = line.repeat(n_bytes.saturating_sub(230) / line.len());
    Bytes::from(format!(
        r#"{{"model":"chat-default","messages":[{{"role":"system","content":"You are a helpful assistant."}},{{"role":"user","content":"{text}"}}],"temperature":0.7,"max_tokens":512,"stream":true,"user":"user-1"}}"#
    ))
}

fn answer_body() -> Bytes {
    Bytes::from_static(br#"{"id":"chatcmpl-123","object":"chat.completion","created":1700000000,"model":"gpt-5-mini","choices":[{"index":0,"message":{"role":"assistant","content":"The quick brown fox jumps over the lazy dog and then it rests for a while under the old oak tree.","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":19,"completion_tokens":21,"total_tokens":40,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0}},"system_fingerprint":"fp_1"}"#)
}

fn stream_chunks() -> Vec<Bytes> {
    let chunk = |delta: &str, finish: &str| {
        Bytes::from(format!(
            "data: {{\"id\":\"chatcmpl-123\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"gpt-5-mini\",\"system_fingerprint\":\"fp_1\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{finish}}}],\"usage\":null}}\n\n"
        ))
    };
    let mut chunks = vec![chunk(r#"{"role":"assistant","content":""}"#, "null")];
    chunks.extend((0..97).map(|_| chunk(r#"{"content":" word"}"#, "null")));
    chunks.push(chunk("{}", r#""stop""#));
    chunks.push(Bytes::from_static(b"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":97,\"total_tokens\":104}}\n\ndata: [DONE]\n\n"));
    chunks
}

#[divan::bench(args = [1_024, 32_768, 1_048_576])]
fn skim_chat(bencher: Bencher<'_, '_>, n_bytes: usize) {
    let body = chat_body(n_bytes);
    bencher.bench(|| {
        let skim = skim(Surface::Chat, black_box(&body)).expect("the body is valid");
        input_token_bound(&skim, body.len())
    });
}

#[divan::bench(args = [1_024, 32_768, 1_048_576])]
fn validate_chat(bencher: Bencher<'_, '_>, n_bytes: usize) {
    let body = chat_body(n_bytes);
    bencher.bench(|| tollgate_wire::json::validate(black_box(&body)));
}

/// As program text is quoted: an escape every few bytes.
#[divan::bench(args = [1_024, 32_768, 1_048_576])]
fn validate_escapes(bencher: Bencher<'_, '_>, n_bytes: usize) {
    let line = r#"    println!(\"{name}: {}\\n\", value);\n\tif a < b { return \"c\"; }\n"#;
    let body = format!(r#"{{"messages":["{}"]}}"#, line.repeat(n_bytes / line.len()));
    bencher.bench(|| tollgate_wire::json::validate(black_box(body.as_bytes())));
}

#[divan::bench(args = [1_024, 32_768, 1_048_576])]
fn serde_json_ignored_any(bencher: Bencher<'_, '_>, n_bytes: usize) {
    let body = chat_body(n_bytes);
    bencher.bench(|| serde_json::from_slice::<serde::de::IgnoredAny>(black_box(&body)).is_ok());
}

#[divan::bench(args = [1_024, 32_768, 1_048_576])]
fn splice_chat(bencher: Bencher<'_, '_>, n_bytes: usize) {
    let body = chat_body(n_bytes);
    let skim = skim(Surface::Chat, &body).expect("the body is valid");
    let edits =
        Edits { model: Some("gpt-5-mini"), output_cap: Some(256), include_usage: true, ..Edits::default() };
    bencher.bench(|| splice(black_box(&body), &skim, &edits).len());
}

#[divan::bench]
fn read_answer_and_insert_cost(bencher: Bencher<'_, '_>) {
    let body = answer_body();
    bencher.bench(|| {
        let answer = read_answer(Surface::Chat, black_box(&body));
        match answer.usage {
            UsageReading::Counted(_, span) => with_cost(&body, &span, NanoUsd(123_456)).len(),
            _ => 0,
        }
    });
}

#[divan::bench]
fn relay_100_chunks(bencher: Bencher<'_, '_>) {
    let chunks = stream_chunks();
    let options = StreamOptions { client_wants_usage: false, n_choices: 1 };
    let mut out = Vec::with_capacity(4);
    bencher.bench_local(|| {
        let mut relay = StreamRelay::new(Surface::Chat, options);
        for chunk in &chunks {
            relay.push(chunk.clone(), &mut out).expect("no event is too large");
            out.clear();
        }
        relay.done_seen()
    });
}
