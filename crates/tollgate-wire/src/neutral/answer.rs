//! What a model answers.

use tollgate_domain::Usage;

use super::Part;
use crate::json::{RawJson, Rest};

/// A whole answer in no dialect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChatAnswer {
    /// The vendor's id of it.
    pub id: String,
    /// The model as the vendor names it.
    pub model: String,
    /// Unix seconds, where the vendor tells it.
    pub created: Option<u64>,
    /// One answer for each that was asked for.
    pub choices: Vec<Choice>,
    /// Counts, where the vendor tells them.
    pub usage: Option<Usage>,
    /// The tier it was served at, in the vendor's words.
    pub service_tier: Option<String>,
    /// Members without a place here.
    pub rest: Rest,
}

/// One of the answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Its number.
    pub index: u64,
    /// What the model says and asks for, in order.
    pub parts: Vec<Part>,
    /// Why it ended.
    pub finish: FinishReason,
    /// The stop sequence that ended it.
    pub stop_sequence: Option<String>,
    /// Tokens' log probabilities in OpenAI's shape.
    pub logprobs: Option<RawJson>,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// It was complete.
    Stop,
    /// At one of the client's stop sequences.
    StopSequence,
    /// At the output cap, or the context's end.
    Length,
    /// The model waits for tools.
    ToolCalls,
    /// The vendor held it back.
    ContentFilter,
    /// The model declined.
    Refusal,
    /// A long turn was paused and may be sent back to go on (Anthropic's `pause_turn`).
    Pause,
    /// Something else.
    Other,
}
