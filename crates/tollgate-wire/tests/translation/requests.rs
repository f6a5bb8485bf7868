//! Every client's requests for every provider.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tollgate_wire::neutral::{ChatDialect, Feature, Mode};
use tollgate_wire::translate::{Asked, ProviderRequest, RequestTarget, read_request, write_request};

use crate::table::{CLIENTS, Case, Cell, Row, cases, key};
use crate::{golden, sameness};

/// The cap that was paid for: with it every request is written.
const OUTPUT_CAP: u64 = 4_000;

pub(crate) fn all() -> Vec<Case> {
    cases(include_str!("requests.json"))
}

/// A model of each vendor; some features depend on it.
const fn model(provider: ChatDialect) -> &'static str {
    match provider {
        ChatDialect::OpenAiChat | ChatDialect::OpenAiResponses => "gpt-5",
        ChatDialect::Anthropic => "claude-opus-4-7",
        ChatDialect::Gemini => "gemini-3-pro",
        ChatDialect::Bedrock => "anthropic.claude-sonnet-4-5-v1:0",
        ChatDialect::Cohere => "command-a",
    }
}

/// The request that a client sends: one question, and what the case changes of it.
fn body(client: ChatDialect, case: &Value) -> Value {
    let mut body = match client {
        ChatDialect::OpenAiResponses => json!({"model": "m", "input": "Hi", "max_output_tokens": 900}),
        ChatDialect::Gemini => json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
            "generationConfig": {"maxOutputTokens": 900}}),
        _ => json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 900}),
    };
    body.as_object_mut().unwrap().extend(case.as_object().unwrap().clone());
    body
}

/// What a case comes to, with the golden line that shows it.
struct Outcome {
    cell: Cell,
    line: Value,
}

fn outcome(client: ChatDialect, provider: ChatDialect, case: &Case) -> Option<Outcome> {
    let asked = Asked { model: "m", stream: case.feature == "stream" };
    let body = body(client, case.bodies.get(key(client))?).to_string();
    let request = read_request(client, asked, body.as_bytes()).unwrap().request;
    let target = RequestTarget {
        dialect: provider,
        model: model(provider),
        output_cap: Some(OUTPUT_CAP),
        model_cap: None,
    };
    let name = &case.feature;
    Some(match write_request(&request, &target, Mode::Refuse) {
        Err(lacks) => {
            let dropped = write_request(&request, &target, Mode::Drop).unwrap();
            let names: Vec<&str> = dropped.fidelity.dropped().iter().copied().map(Feature::name).collect();
            let line = json!({"feature": name, "refused": lacks.to_string(), "dropped": names,
                "without": written(&dropped)});
            Outcome { cell: Cell::Refused, line }
        }
        Ok(done) => {
            let hows: Vec<&str> = done.fidelity.approximated().iter().map(|(_, how)| *how).collect();
            let mut line = json!({"feature": name, "body": written(&done)});
            if !hows.is_empty() {
                line["approximated"] = json!(hows);
                return Some(Outcome { cell: Cell::Approximated(hows.join("; ")), line });
            }
            if CLIENTS.contains(&provider) {
                let back = read_request(provider, asked, &done.body).unwrap().request;
                let lost =
                    sameness::differences(&sameness::of_request(&request), &sameness::of_request(&back));
                line["unexplained"] = json!(lost);
            }
            Outcome { cell: Cell::Exact, line }
        }
    })
}

fn written(request: &ProviderRequest) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

/// The rows of a client's table: a feature's title and its cells.
pub(crate) fn rows(client: ChatDialect) -> Vec<(String, Row)> {
    let cell =
        |case: &Case, provider| outcome(client, provider, case).map_or(Cell::Absent, |outcome| outcome.cell);
    let providers = || ChatDialect::ALL.into_iter().filter(move |provider| *provider != client);
    let present = |case: &Case| case.bodies.contains_key(key(client));
    let cases = all();
    let rows = cases.iter().filter(|case| present(case)).map(|case| {
        (case.title.clone(), providers().map(|provider| (provider, cell(case, provider))).collect())
    });
    rows.collect()
}

#[test]
fn every_request_is_written_as_before() {
    let mut files = BTreeMap::new();
    let mut unexplained = Vec::new();
    for client in CLIENTS {
        for provider in ChatDialect::ALL.into_iter().filter(|provider| *provider != client) {
            let mut text = String::new();
            for case in all() {
                let Some(Outcome { mut line, .. }) = outcome(client, provider, &case) else { continue };
                let lost = line.as_object_mut().unwrap().remove("unexplained");
                for lost in lost.iter().flat_map(|lost| lost.as_array().unwrap()) {
                    unexplained.push(format!("{client:?} to {provider:?}, {}: {lost}", case.feature));
                }
                text.push_str(&line.to_string());
                text.push('\n');
            }
            files.insert(format!("{}-to-{}.jsonl", key(client), key(provider)), text);
        }
    }
    assert!(unexplained.is_empty(), "lost without a word:\n{}", unexplained.join("\n"));
    golden::check_folder("requests", &files);
}

#[test]
fn every_feature_has_a_case() {
    // each is met somewhere, as approximated, dropped or carried: names that nobody meets are not covered
    let mut met = std::collections::BTreeSet::new();
    for client in CLIENTS {
        for case in all() {
            let Some(words) = case.bodies.get(key(client)) else { continue };
            let asked = Asked { model: "m", stream: false };
            let request =
                read_request(client, asked, body(client, words).to_string().as_bytes()).unwrap().request;
            for provider in ChatDialect::ALL {
                let target = RequestTarget {
                    dialect: provider,
                    model: model(provider),
                    output_cap: Some(OUTPUT_CAP),
                    model_cap: None,
                };
                let done = write_request(&request, &target, Mode::Drop).unwrap();
                met.extend(done.fidelity.dropped().iter().copied());
                met.extend(done.fidelity.approximated().iter().map(|(feature, _)| *feature));
            }
        }
    }
    // carried by every dialect, or by those that have words for it
    let carried = [
        Feature::SystemPrompt,
        Feature::ImageUrl,
        Feature::ImageInline,
        Feature::Tools,
        Feature::Stop,
        Feature::TopP,
        Feature::JsonSchema,
        Feature::Citations,
    ];
    let missing: Vec<_> = Feature::ALL
        .into_iter()
        .filter(|feature| !met.contains(feature) && !carried.contains(feature))
        .collect();
    assert!(missing.is_empty(), "no case for {missing:?}");
}
