//! Dialects by their names in the cases, and what a cell of the table says.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use tollgate_wire::neutral::ChatDialect;

/// The dialects that clients speak.
pub(crate) const CLIENTS: [ChatDialect; 4] =
    [ChatDialect::OpenAiChat, ChatDialect::OpenAiResponses, ChatDialect::Anthropic, ChatDialect::Gemini];

/// One feature and the words for it in each dialect that has some.
#[derive(Deserialize)]
pub(crate) struct Case {
    pub(crate) feature: String,
    pub(crate) title: String,
    #[serde(flatten)]
    pub(crate) bodies: BTreeMap<String, Value>,
}

/// How a feature comes from one dialect into another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    /// Nothing is lost.
    Exact,
    /// Something comes near, as the text says.
    Approximated(String),
    /// It is refused by name before anything is sent.
    Refused,
    /// The dialect it would come from has no words for it.
    Absent,
}

/// A table's row by the other side's dialect.
pub(crate) type Row = Vec<(ChatDialect, Cell)>;

pub(crate) const fn key(dialect: ChatDialect) -> &'static str {
    match dialect {
        ChatDialect::OpenAiChat => "openai_chat",
        ChatDialect::OpenAiResponses => "openai_responses",
        ChatDialect::Anthropic => "anthropic",
        ChatDialect::Gemini => "gemini",
        ChatDialect::Bedrock => "bedrock",
        ChatDialect::Cohere => "cohere",
    }
}

/// Reads cases; every key is a dialect's.
pub(crate) fn cases(text: &str) -> Vec<Case> {
    let cases: Vec<Case> = serde_json::from_str(text).unwrap();
    for case in &cases {
        for name in case.bodies.keys() {
            assert!(ChatDialect::ALL.iter().any(|dialect| key(*dialect) == name), "{}: {name}", case.feature);
        }
    }
    cases
}
