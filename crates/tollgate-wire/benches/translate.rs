//! What translation costs: `cargo bench -p tollgate-wire --bench translate`. The `item/s` of `stream` are a provider's
//! events per second of one core, each in a chunk of its own, as tokens come.

use bytes::Bytes;
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use tollgate_domain::NanoUsd;
use tollgate_wire::bedrock::event_stream;
use tollgate_wire::neutral::{ChatDialect, Mode};
use tollgate_wire::openai::responses::ResponseEcho;
use tollgate_wire::openai::stream::RelayEvent;
use tollgate_wire::translate::{
    AnswerContext, RelayContext, RequestTarget, TranslatingRelay, read_answer, read_chat, write_answer,
    write_request,
};

/// Tokens of a streamed answer.
const N_TOKENS: usize = 500;
const PROVIDERS: [ChatDialect; 6] = [
    ChatDialect::OpenAiChat,
    ChatDialect::OpenAiResponses,
    ChatDialect::Anthropic,
    ChatDialect::Gemini,
    ChatDialect::Bedrock,
    ChatDialect::Cohere,
];
/// The dialects that clients speak come first among them.
const N_CLIENTS: usize = 4;

fn main() {
    divan::main();
}

/// Who answers and who asked.
#[derive(Clone, Copy, Debug)]
struct Pair {
    provider: ChatDialect,
    client: ChatDialect,
}

fn pairs() -> impl Iterator<Item = Pair> {
    let clients = &PROVIDERS[..N_CLIENTS];
    let all = PROVIDERS
        .iter()
        .flat_map(move |provider| clients.iter().map(|client| Pair { provider: *provider, client: *client }));
    all.filter(|pair| pair.provider != pair.client)
}

fn context(pair: Pair) -> RelayContext {
    RelayContext {
        provider: pair.provider,
        client: pair.client,
        created: 1_700_000_000,
        wants_usage: true,
        n_choices: 1,
        echo: ResponseEcho::default(),
        stand_in: ("id-1".to_owned(), "model-1".to_owned()),
    }
}

fn sse(json: &str) -> Bytes {
    Bytes::from(format!("data: {json}\n\n"))
}

/// A stream of Chat Completions.
fn chat_stream() -> Vec<Bytes> {
    let chunk = |delta: &str, finish: &str| {
        sse(&format!(
            r#"{{"id":"chatcmpl-123","object":"chat.completion.chunk","created":1700000000,"model":"gpt-5-mini","system_fingerprint":"fp_1","choices":[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish}}}],"usage":null}}"#
        ))
    };
    let mut chunks = vec![chunk(r#"{"role":"assistant","content":""}"#, "null")];
    chunks.extend((0..N_TOKENS).map(|at| chunk(&format!(r#"{{"content":" word\n{at}"}}"#), "null")));
    chunks.push(chunk("{}", r#""stop""#));
    chunks.push(sse(
        r#"{"id":"chatcmpl-123","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":97,"total_tokens":104}}"#,
    ));
    chunks.push(Bytes::from_static(b"data: [DONE]\n\n"));
    chunks
}

/// A stream of Bedrock's: one message of its framing per token.
fn bedrock_stream() -> Vec<Bytes> {
    let message = |name: &str, json: &str| Bytes::from(event_stream::encode(name, false, json.as_bytes()));
    let mut chunks = vec![message("messageStart", r#"{"role":"assistant"}"#)];
    chunks.extend((0..N_TOKENS).map(|at| {
        let json =
            format!(r#"{{"contentBlockIndex":0,"delta":{{"text":" word\n{at}"}},"p":"abcdefghijkl"}}"#);
        message("contentBlockDelta", &json)
    }));
    chunks.push(message("contentBlockStop", r#"{"contentBlockIndex":0}"#));
    chunks.push(message("messageStop", r#"{"stopReason":"end_turn"}"#));
    let usage =
        r#"{"usage":{"inputTokens":7,"outputTokens":97,"totalTokens":104},"metrics":{"latencyMs":5}}"#;
    chunks.push(message("metadata", usage));
    chunks
}

/// A stream of Cohere's.
fn cohere_stream() -> Vec<Bytes> {
    let event = |name: &str, json: &str| Bytes::from(format!("event: {name}\ndata: {json}\n\n"));
    let start =
        r#"{"type":"content-start","index":0,"delta":{"message":{"content":{"type":"text","text":""}}}}"#;
    let mut chunks = vec![
        event(
            "message-start",
            r#"{"id":"c1","type":"message-start","delta":{"message":{"role":"assistant"}}}"#,
        ),
        event("content-start", start),
    ];
    chunks.extend((0..N_TOKENS).map(|at| {
        let text = format!(r#"{{"message":{{"content":{{"text":" word\n{at}"}}}}}}"#);
        event("content-delta", &format!(r#"{{"type":"content-delta","index":0,"delta":{text}}}"#))
    }));
    chunks.push(event("content-end", r#"{"type":"content-end","index":0}"#));
    let end = r#"{"finish_reason":"COMPLETE","usage":{"tokens":{"input_tokens":7,"output_tokens":97}}}"#;
    chunks.push(event("message-end", &format!(r#"{{"type":"message-end","delta":{end}}}"#)));
    chunks
}

/// What a provider of `dialect` streams; those that clients speak, too, as this crate writes them.
fn provider_stream(dialect: ChatDialect) -> Vec<Bytes> {
    match dialect {
        ChatDialect::OpenAiChat => chat_stream(),
        ChatDialect::Bedrock => bedrock_stream(),
        ChatDialect::Cohere => cohere_stream(),
        client => {
            let mut relay =
                TranslatingRelay::new(context(Pair { provider: ChatDialect::OpenAiChat, client }));
            let mut events = Vec::new();
            for chunk in chat_stream() {
                relay.push(chunk, &mut events).expect("the stream is whole");
            }
            relay.finish(true, &mut events);
            let sent = |event| match event {
                RelayEvent::Forward(bytes) => Some(bytes),
                RelayEvent::Usage { frame, .. } => frame.without_cost(),
                RelayEvent::ProviderError(_) => None,
            };
            events.into_iter().filter_map(sent).collect()
        }
    }
}

#[divan::bench(args = pairs())]
fn stream(bencher: Bencher<'_, '_>, pair: Pair) {
    let chunks = provider_stream(pair.provider);
    let mut events = Vec::new();
    bencher.counter(ItemsCount::new(chunks.len())).bench_local(|| {
        let mut relay = TranslatingRelay::new(context(pair));
        let mut n_bytes = 0;
        for chunk in &chunks {
            relay.push(black_box(chunk).clone(), &mut events).expect("the stream is whole");
            for event in events.drain(..) {
                n_bytes += match event {
                    RelayEvent::Forward(bytes) => bytes.len(),
                    RelayEvent::Usage { frame, .. } => {
                        frame.with_cost(NanoUsd(1)).map_or(0, |bytes| bytes.len())
                    }
                    RelayEvent::ProviderError(_) => 0,
                };
            }
        }
        let end = relay.finish(true, &mut events);
        assert!(relay.n_text_events() >= N_TOKENS as u64, "{pair:?} lost text");
        (n_bytes, end)
    });
}

/// A conversation of about 1 KiB.
fn chat_request() -> String {
    let text = r#"A sentence with \"quotes\" and a line break.\n"#.repeat(18);
    format!(
        r#"{{"model":"m","temperature":0.2,"max_tokens":256,"messages":[{{"role":"system","content":"You are a helpful assistant."}},{{"role":"user","content":"{text}"}}]}}"#
    )
}

#[divan::bench]
fn request_to_anthropic_1_kib(bencher: Bencher<'_, '_>) {
    let body = chat_request();
    let target = RequestTarget {
        dialect: ChatDialect::Anthropic,
        model: "claude-haiku-4-5",
        output_cap: Some(256),
        model_cap: Some(64_000),
    };
    bencher.bench(|| {
        let request = read_chat(black_box(body.as_bytes())).expect("the body is valid");
        write_request(&request, &target, Mode::Refuse).expect("the dialect has it all").body.len()
    });
}

#[divan::bench]
fn answer_of_anthropic(bencher: Bencher<'_, '_>) {
    let body = br#"{"id":"msg_1","type":"message","role":"assistant","model":"claude-haiku-4-5","content":[{"type":"text","text":"The quick brown fox jumps over the lazy dog and then it rests for a while under the old oak tree."}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":200,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":100}}"#;
    let echo = ResponseEcho::default();
    bencher.bench(|| {
        let answer = read_answer(ChatDialect::Anthropic, black_box(body), "id", "m").expect("it is valid");
        let context = AnswerContext {
            dialect: ChatDialect::OpenAiChat,
            created: 1_700_000_000,
            echo: &echo,
            cost: Some(NanoUsd(5)),
        };
        write_answer(&answer, &context).len()
    });
}
