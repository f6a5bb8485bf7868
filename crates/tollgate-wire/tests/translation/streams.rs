//! Streams in the shapes that vendors send, at every split and with every line end, and what each becomes in
//! every client's dialect.
//!
//! `streams/<dialect>-<vendor>-<what>.sse`, written by hand in the shapes that the vendors are known to send, with
//! words of our own, none recorded from a vendor; Bedrock's messages stand one per line, as `[name, payload]`, exceptions as `!name`.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use serde_json::Value;
use tollgate_domain::Surface;
use tollgate_wire::bedrock::event_stream;
use tollgate_wire::neutral::{Assembler, ChatDialect, StreamEvent};
use tollgate_wire::openai::responses::ResponseEcho;
use tollgate_wire::openai::stream::{RelayEvent, StreamEnd, StreamOptions, StreamRelay};
use tollgate_wire::translate::{RelayContext, StreamReader, TranslatingRelay};

use crate::table::{CLIENTS, key};
use crate::{golden, sameness};

/// Fewer would mean that streams were lost.
const MIN_STREAMS: usize = 75;
/// When every answer comes, in Unix seconds.
const NOW: u64 = 1_700_000_009;

struct Recorded {
    name: String,
    dialect: ChatDialect,
    bytes: Vec<u8>,
}

fn all() -> Vec<Recorded> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/translation/streams");
    let mut streams: Vec<Recorded> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let dialect = name.split('-').next().unwrap();
            let dialect = ChatDialect::ALL.into_iter().find(|known| key(*known) == dialect).unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            let bytes = if dialect == ChatDialect::Bedrock { framed(&text) } else { text.into_bytes() };
            Recorded { name, dialect, bytes }
        })
        .collect();
    streams.sort_by(|left, right| left.name.cmp(&right.name));
    assert!(streams.len() >= MIN_STREAMS, "{} streams", streams.len());
    streams
}

fn framed(lines: &str) -> Vec<u8> {
    let message = |line: &str| {
        let (name, payload): (String, Value) = serde_json::from_str(line).unwrap();
        let exception = name.strip_prefix('!');
        let payload = payload.to_string();
        event_stream::encode(exception.unwrap_or(&name), exception.is_some(), payload.as_bytes())
    };
    lines.lines().flat_map(message).collect()
}

/// The steps of a stream that comes in these pieces, and whether it could be read.
fn steps(dialect: ChatDialect, pieces: &[&[u8]]) -> (Vec<StreamEvent>, bool) {
    let mut reader = StreamReader::new(dialect);
    let mut steps = Vec::new();
    let is_readable =
        pieces.iter().all(|piece| reader.push(Bytes::copy_from_slice(piece), &mut steps).is_ok());
    reader.end(&mut steps);
    (steps, is_readable)
}

/// The stream with every line end that the standard knows; an event stream of Amazon's has none.
fn variants(stream: &Recorded) -> Vec<Vec<u8>> {
    if stream.dialect == ChatDialect::Bedrock {
        return vec![stream.bytes.clone()];
    }
    let text = std::str::from_utf8(&stream.bytes).unwrap();
    // a lone CR at the very end waits for what may follow it
    let returns = text.replace('\n', "\r") + ":\n";
    vec![text.as_bytes().to_vec(), text.replace('\n', "\r\n").into_bytes(), returns.into_bytes()]
}

fn every_split_says_the_same(dialect: ChatDialect) {
    for stream in all().iter().filter(|stream| stream.dialect == dialect) {
        let whole = steps(dialect, &[&stream.bytes]);
        for (variant, bytes) in variants(stream).iter().enumerate() {
            assert_eq!(steps(dialect, &[bytes]), whole, "{}, line end {variant}", stream.name);
            for cut in 1..bytes.len() {
                let (left, right) = bytes.split_at(cut);
                assert!(
                    steps(dialect, &[left, right]) == whole,
                    "{}, line end {variant}, cut at {cut}",
                    stream.name
                );
            }
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(steps(dialect, &single), whole, "{}, line end {variant}, byte by byte", stream.name);
        }
    }
}

#[test]
fn openai_chat_is_read_at_every_split() {
    every_split_says_the_same(ChatDialect::OpenAiChat);
}

#[test]
fn openai_responses_is_read_at_every_split() {
    every_split_says_the_same(ChatDialect::OpenAiResponses);
}

#[test]
fn anthropic_is_read_at_every_split() {
    every_split_says_the_same(ChatDialect::Anthropic);
}

#[test]
fn gemini_is_read_at_every_split() {
    every_split_says_the_same(ChatDialect::Gemini);
}

#[test]
fn cohere_is_read_at_every_split() {
    every_split_says_the_same(ChatDialect::Cohere);
}

#[test]
fn bedrock_is_read_at_every_split() {
    every_split_says_the_same(ChatDialect::Bedrock);
}

/// What a client of the same dialect gets, and what was counted.
fn passed(pieces: &[&[u8]]) -> (Vec<u8>, String) {
    let mut relay = StreamRelay::new(Surface::Chat, StreamOptions { client_wants_usage: true, n_choices: 1 });
    let mut events = Vec::new();
    let mut is_readable = true;
    for piece in pieces {
        is_readable &= relay.push(Bytes::copy_from_slice(piece), &mut events).is_ok();
    }
    let end = relay.finish(true, &mut events);
    let mut out = Vec::new();
    for event in events {
        match event {
            RelayEvent::Forward(bytes) => out.extend_from_slice(&bytes),
            RelayEvent::Usage { frame, .. } => {
                out.extend(frame.with_cost(tollgate_domain::NanoUsd(1)).into_iter().flatten());
            }
            RelayEvent::ProviderError(error) => out.extend_from_slice(error.message.as_bytes()),
        }
    }
    (out, format!("{end:?} {is_readable} {:?}", relay.usage()))
}

#[test]
fn openai_chat_passes_at_every_split() {
    for stream in all().iter().filter(|stream| stream.dialect == ChatDialect::OpenAiChat) {
        let whole = passed(&[&stream.bytes]);
        for cut in 1..stream.bytes.len() {
            let (left, right) = stream.bytes.split_at(cut);
            assert!(passed(&[left, right]) == whole, "{}, cut at {cut}", stream.name);
        }
    }
}

/// What a client of another dialect gets.
fn translated(stream: &Recorded, client: ChatDialect) -> String {
    let mut relay = TranslatingRelay::new(RelayContext {
        provider: stream.dialect,
        client,
        created: NOW,
        wants_usage: true,
        n_choices: 1 + u64::from(stream.name.contains("-two_")),
        echo: ResponseEcho::default(),
        stand_in: ("stand-in".to_owned(), "stand-in-model".to_owned()),
    });
    let mut events = Vec::new();
    relay.push(Bytes::copy_from_slice(&stream.bytes), &mut events).unwrap();
    let end = relay.finish(true, &mut events);
    let mut out = Vec::new();
    for event in events {
        match event {
            RelayEvent::Forward(bytes) => out.extend_from_slice(&bytes),
            RelayEvent::Usage { frame, .. } => {
                out.extend(frame.with_cost(tollgate_domain::NanoUsd(1)).into_iter().flatten());
            }
            RelayEvent::ProviderError(error) => {
                out.extend_from_slice(format!("error: {}\n", error.message).as_bytes());
            }
        }
    }
    if end != StreamEnd::Complete {
        out.extend_from_slice(b"broken\n");
    }
    String::from_utf8(out).unwrap()
}

#[test]
fn every_stream_is_translated_as_before() {
    let mut files = BTreeMap::new();
    for stream in all() {
        let (steps, is_readable) = steps(stream.dialect, &[&stream.bytes]);
        assert!(is_readable, "{}", stream.name);
        let mut assembler = Assembler::default();
        steps.iter().for_each(|step| assembler.event(step));
        let mut text = "# said\n".to_owned();
        for (name, value) in
            sameness::of_answer(&assembler.finish()).iter().filter(|(_, value)| !value.is_empty())
        {
            text.push_str(&format!("{name}: {}\n", value.escape_debug()));
        }
        for step in &steps {
            if let StreamEvent::Error { message, kind } = step {
                text.push_str(&format!("error: {message} {kind:?}\n"));
            }
        }
        for client in CLIENTS.into_iter().filter(|client| *client != stream.dialect) {
            text.push_str(&format!("\n# to {}\n{}", key(client), translated(&stream, client)));
        }
        files.insert(format!("{}.txt", stream.name), text);
    }
    golden::check_folder("streams", &files);
}
