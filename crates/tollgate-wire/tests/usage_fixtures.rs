//! Answers and streams in the shapes that vendors send, and the classes they come to (`usage/*.json`).
//!
//! A fixture is a body of the vendor's shape with numbers of our own. For each the sum of the classes is the
//! provider's total, or what `total_rule` says where that total does not cover everything that is billed.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use tollgate_domain::{Meter, NanoUsd, Surface, Usage, UsageError};
use tollgate_wire::openai::response::read_answer;
use tollgate_wire::openai::stream::{RelayEvent, StreamEnd, StreamOptions, StreamRelay};
use tollgate_wire::openai::usage::{UsageReading, with_cost};

/// Fewer would mean that fixtures were lost.
const MIN_FIXTURES: usize = 60;
/// Who must have one: each surface of this dialect that is met often.
const VENDORS: &[&str] = &[
    "anthropic",
    "azure",
    "cerebras",
    "cohere",
    "dashscope",
    "deepseek",
    "fireworks",
    "gemini",
    "groq",
    "llamacpp",
    "lmstudio",
    "mistral",
    "moonshot",
    "ollama",
    "openai",
    "openrouter",
    "perplexity",
    "together",
    "vllm",
    "voyage",
    "xai",
    "zai",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixture {
    about: String,
    surface: String,
    #[serde(default)]
    answer: Option<Value>,
    #[serde(default)]
    stream: Option<Vec<Value>>,
    #[serde(default)]
    expected: Option<Usage>,
    #[serde(default)]
    unusable: Option<String>,
    #[serde(default)]
    total_rule: Option<String>,
}

impl Fixture {
    fn surface(&self) -> Surface {
        match self.surface.as_str() {
            "chat" => Surface::Chat,
            "completions" => Surface::Completions,
            "embeddings" => Surface::Embeddings,
            other => panic!("no surface `{other}`"),
        }
    }

    /// The usage object as it stands in the answer, or in the last event that has one.
    fn told(&self) -> &Value {
        let of_event = |event: &'_ Value| event.get("usage").is_some_and(Value::is_object);
        match (&self.answer, &self.stream) {
            (Some(answer), None) => &answer["usage"],
            (None, Some(events)) => {
                let groq = || events.iter().rev().find_map(|event| event.pointer("/x_groq/usage"));
                let last = events.iter().rev().find(|event| of_event(event)).map(|event| &event["usage"]);
                last.or_else(groq).expect("a stream with usage")
            }
            _ => panic!("either an answer or a stream"),
        }
    }

    fn read(&self) -> Result<Usage, UsageError> {
        match (&self.answer, &self.stream) {
            (Some(answer), _) => self.read_answer(answer),
            (None, Some(events)) => self.read_stream(events),
            (None, None) => panic!("either an answer or a stream"),
        }
    }

    fn read_answer(&self, answer: &Value) -> Result<Usage, UsageError> {
        let body = answer.to_string();
        match read_answer(self.surface(), body.as_bytes()).usage {
            UsageReading::Counted(usage, span) => {
                // whatever cost the vendor writes there, the client sees ours and JSON that still parses
                let priced = with_cost(body.as_bytes(), &span, NanoUsd(1_500_000));
                let priced: Value = serde_json::from_slice(&priced).unwrap();
                assert_eq!(priced["usage"]["cost"].to_string(), "0.0015");
                Ok(usage)
            }
            UsageReading::Unusable(error, _) => Err(error),
            UsageReading::Missing | UsageReading::Told(_) | UsageReading::Inferred(_) => {
                panic!("no usage is found")
            }
        }
    }

    /// The stream in one piece and in pieces of seven bytes: the reading is the same.
    fn read_stream(&self, events: &[Value]) -> Result<Usage, UsageError> {
        let event = |event: &Value| match event.as_str() {
            Some(text) => format!("data: {text}\n\n"),
            None => format!("data: {event}\n\n"),
        };
        let text: String = events.iter().map(event).collect();
        let whole = self.relay([Bytes::from(text.clone())]);
        let pieces = text.as_bytes().chunks(7).map(Bytes::copy_from_slice);
        assert_eq!(self.relay(pieces), whole, "in pieces");
        whole
    }

    fn relay(&self, chunks: impl IntoIterator<Item = Bytes>) -> Result<Usage, UsageError> {
        let options = StreamOptions { client_wants_usage: true, n_choices: 1 };
        let mut relay = StreamRelay::new(self.surface(), options);
        let mut out = Vec::new();
        for chunk in chunks {
            relay.push(chunk, &mut out).unwrap();
        }
        assert_eq!(relay.finish(true, &mut out), StreamEnd::Complete);
        let last = out.into_iter().rev().find_map(|event| match event {
            RelayEvent::Usage { usage, .. } => Some(usage),
            _ => None,
        });
        let last = last.expect("a usage event");
        assert_eq!(last.as_ref().ok().copied(), relay.usage());
        last
    }
}

fn fixtures() -> BTreeMap<String, Fixture> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/usage");
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let fixture = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, fixture)
    };
    std::fs::read_dir(folder).unwrap().map(read).collect()
}

#[test]
fn every_vendor_s_counts_become_the_expected_classes() {
    for (name, fixture) in fixtures() {
        assert!(!fixture.about.is_empty(), "{name}");
        match (fixture.read(), fixture.expected, &fixture.unusable) {
            (Ok(usage), Some(expected), None) => assert_eq!(usage, expected, "{name}"),
            (Err(error), None, Some(part)) => assert!(error.to_string().contains(part), "{name}: {error}"),
            (read, ..) => panic!("{name}: {read:?}"),
        }
    }
}

#[test]
fn the_classes_sum_to_the_provider_s_total() {
    let mut n_ruled = 0;
    for (name, fixture) in fixtures() {
        let Ok(usage) = fixture.read() else { continue };
        let told = fixture.told();
        let total = told["total_tokens"].as_f64();
        match &fixture.total_rule {
            None => {
                // the whole numbers of fixtures are exact as floats
                assert_eq!(Some(usage.total_tokens() as f64), total, "{name}");
            }
            Some(rule) => {
                n_ruled += 1;
                let (reason, sum) = rule.split_once(": ").expect("a reason and a sum");
                let sum: u64 = sum.split(" + ").map(|part| part.parse::<u64>().unwrap()).sum();
                assert!(!reason.is_empty());
                assert_eq!(usage.total_tokens(), sum, "{name}: {rule}");
                assert_ne!(Some(sum as f64), total, "{name}: no rule is needed");
            }
        }
    }
    assert!(n_ruled >= 4, "{n_ruled}");
}

#[test]
fn every_class_and_every_vendor_has_a_fixture() {
    let fixtures = fixtures();
    assert!(fixtures.len() >= MIN_FIXTURES, "only {} fixtures", fixtures.len());
    let seen: BTreeSet<Meter> = fixtures
        .values()
        .filter_map(|fixture| fixture.expected)
        .flat_map(|usage| usage.iter().map(|(meter, _)| meter).collect::<Vec<_>>())
        .collect();
    // images made, pages read and characters spoken are told by no object of these surfaces; a request is counted by the gateway
    let elsewhere = [Meter::Request, Meter::Image, Meter::Page, Meter::Character];
    for meter in Meter::ALL {
        assert_eq!(seen.contains(&meter), !elsewhere.contains(&meter), "{}", meter.name());
    }
    for vendor in VENDORS {
        let is_theirs = |name: &&String| name.split('-').next() == Some(vendor);
        assert!(fixtures.keys().any(|name| is_theirs(&name)), "no fixture of {vendor}");
    }
}
