//! Every provider's answers for every client.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tollgate_wire::neutral::ChatDialect;
use tollgate_wire::openai::responses::ResponseEcho;
use tollgate_wire::translate::{AnswerContext, read_answer, write_answer};

use crate::table::{CLIENTS, Case, Cell, Row, cases, key};
use crate::{golden, sameness};

/// When every answer comes, in Unix seconds.
const NOW: u64 = 1_700_000_009;

pub(crate) fn all() -> Vec<Case> {
    cases(include_str!("answers.json"))
}

/// What a client's dialect cannot show of an answer, by feature: how it comes near.
const EXPLAINED: &[(&str, ChatDialect, &str)] = &[
    ("citations", ChatDialect::OpenAiChat, CITATIONS),
    ("citations", ChatDialect::OpenAiResponses, CITATIONS),
    ("citations", ChatDialect::Anthropic, CITATIONS),
    ("citations", ChatDialect::Gemini, CITATIONS),
    ("refusal", ChatDialect::OpenAiChat, "a refusal ends as `content_filter`"),
    ("refusal", ChatDialect::OpenAiResponses, "a refusal without words of its own ends as complete"),
    ("refusal", ChatDialect::Anthropic, "the words of a refusal become text"),
    ("refusal", ChatDialect::Gemini, "the words of a refusal become text, and it ends as `SAFETY`"),
    ("stop_sequence", ChatDialect::OpenAiChat, STOP_SEQUENCE),
    ("stop_sequence", ChatDialect::OpenAiResponses, STOP_SEQUENCE),
    ("stop_sequence", ChatDialect::Gemini, STOP_SEQUENCE),
    ("pause", ChatDialect::OpenAiChat, PAUSE),
    ("pause", ChatDialect::OpenAiResponses, PAUSE),
    ("pause", ChatDialect::Gemini, PAUSE),
    ("filtered", ChatDialect::Anthropic, "what the vendor holds back ends as `refusal`"),
    ("hidden_reasoning", ChatDialect::Gemini, "hidden reasoning of another vendor is left out"),
    ("signed_call", ChatDialect::OpenAiResponses, SIGNED_CALL),
    ("signed_call", ChatDialect::Anthropic, SIGNED_CALL),
    ("custom_call", ChatDialect::Anthropic, "free text becomes the member `input`"),
    ("custom_call", ChatDialect::Gemini, "free text becomes the member `input`"),
    ("logprobs", ChatDialect::OpenAiResponses, LOGPROBS),
    ("logprobs", ChatDialect::Anthropic, LOGPROBS),
    ("logprobs", ChatDialect::Gemini, LOGPROBS),
    ("choices", ChatDialect::OpenAiResponses, CHOICES),
    ("choices", ChatDialect::Anthropic, CHOICES),
    ("image", ChatDialect::OpenAiChat, "pictures stand in `images`, beside the content"),
    ("image", ChatDialect::OpenAiResponses, "pictures are left out"),
    ("service_tier", ChatDialect::Anthropic, "the tier is not told"),
    ("service_tier", ChatDialect::Gemini, "the tier is not told"),
    (
        "usage_written",
        ChatDialect::OpenAiChat,
        "what is written to the cache is one count, whatever its lifetime",
    ),
    ("usage_written", ChatDialect::OpenAiResponses, "what is written to the cache counts as input"),
    ("usage_written", ChatDialect::Gemini, "what is written to the cache counts as input"),
    ("usage_reasoning", ChatDialect::Anthropic, "reasoning counts as output"),
    ("usage_audio", ChatDialect::OpenAiResponses, "sound counts as text"),
    ("usage_audio", ChatDialect::Anthropic, "sound counts as text"),
    ("usage_audio", ChatDialect::Gemini, "sound counts as text"),
];
const CITATIONS: &str = "citations are left out";
const STOP_SEQUENCE: &str = "which stop sequence it was is not told: it ends as complete";
const PAUSE: &str = "a turn that was paused ends as complete";
const SIGNED_CALL: &str = "what proves a call to Google is left out";
const LOGPROBS: &str = "log probabilities are left out";
const CHOICES: &str = "only the first of several answers is told";

struct Outcome {
    cell: Cell,
    answer: Value,
    lost: Vec<String>,
}

fn outcome(provider: ChatDialect, client: ChatDialect, case: &Case) -> Option<Outcome> {
    let body = case.bodies.get(key(provider))?.to_string();
    let answer = read_answer(provider, body.as_bytes(), "stand-in", "stand-in-model").unwrap();
    let context = AnswerContext { dialect: client, created: NOW, echo: &ResponseEcho::default(), cost: None };
    let written = write_answer(&answer, &context);
    let back = read_answer(client, &written, "", "").unwrap();
    let mut lost = sameness::differences(&sameness::of_answer(&answer), &sameness::of_answer(&back));
    let explained =
        EXPLAINED.iter().find(|(feature, dialect, _)| *feature == case.feature && *dialect == client);
    let cell = match explained {
        Some((_, _, how)) if !lost.is_empty() => {
            lost.clear();
            Cell::Approximated((*how).to_owned())
        }
        _ => Cell::Exact,
    };
    Some(Outcome { cell, answer: serde_json::from_slice(&written).unwrap(), lost })
}

/// The rows of a client's table: a feature's title and its cells.
pub(crate) fn rows(client: ChatDialect) -> Vec<(String, Row)> {
    let cell =
        |case: &Case, provider| outcome(provider, client, case).map_or(Cell::Absent, |outcome| outcome.cell);
    let providers = || ChatDialect::ALL.into_iter().filter(move |provider| *provider != client);
    let row = |case: &Case| {
        (case.title.clone(), providers().map(|provider| (provider, cell(case, provider))).collect())
    };
    all()
        .iter()
        .map(row)
        .filter(|(_, row): &(String, Row)| row.iter().any(|(_, cell)| *cell != Cell::Absent))
        .collect()
}

#[test]
fn every_answer_is_written_as_before() {
    let (mut files, mut unexplained, mut used) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
    for client in CLIENTS {
        for provider in ChatDialect::ALL.into_iter().filter(|provider| *provider != client) {
            let mut text = String::new();
            for case in all() {
                let Some(Outcome { cell, answer, lost }) = outcome(provider, client, &case) else { continue };
                if cell != Cell::Exact {
                    used.insert((case.feature.clone(), client));
                }
                unexplained.extend(
                    lost.iter().map(|lost| format!("{provider:?} to {client:?}, {}: {lost}", case.feature)),
                );
                text.push_str(&json!({"feature": case.feature, "answer": answer}).to_string());
                text.push('\n');
            }
            files.insert(format!("{}-to-{}.jsonl", key(provider), key(client)), text);
        }
    }
    assert!(unexplained.is_empty(), "lost without a word:\n{}", unexplained.join("\n"));
    for (feature, client, _) in EXPLAINED {
        assert!(
            used.contains(&((*feature).to_owned(), *client)),
            "{feature} to {client:?} needs no explanation"
        );
    }
    golden::check_folder("answers", &files);
}
