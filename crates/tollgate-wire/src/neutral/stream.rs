//! A streamed answer, piece by piece.

use tollgate_domain::Usage;

use super::FinishReason;
use crate::json::RawJson;

/// One step of a streamed answer. Parts of a choice are numbered in the order in which they begin; each is
/// begun, grows and ends; parts may overlap (parallel tool calls).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamEvent {
    /// It begins.
    Start {
        /// The vendor's id.
        id: String,
        /// The model as the vendor names it.
        model: String,
        /// Unix seconds, where told.
        created: Option<u64>,
    },
    /// A part begins.
    PartStart {
        /// The answer's number.
        choice: u64,
        /// The part's number in it.
        part: u64,
        /// What it is.
        start: PartStart,
    },
    /// More of a text, of reasoning, of a refusal, or of a tool's arguments (JSON text).
    Delta {
        /// The answer's number.
        choice: u64,
        /// The part's number in it.
        part: u64,
        /// What is added.
        text: String,
        /// Log probabilities of just this text, in OpenAI's shape.
        logprobs: Option<RawJson>,
    },
    /// The signature of a part that is reasoning or a tool call.
    Signature {
        /// The answer's number.
        choice: u64,
        /// The part's number in it.
        part: u64,
        /// The vendor's bytes.
        signature: String,
    },
    /// A source that the text so far cites, in the dialect it came in.
    Citation {
        /// The answer's number.
        choice: u64,
        /// The part's number in it.
        part: u64,
        /// The citation.
        citation: RawJson,
    },
    /// A part is whole.
    PartEnd {
        /// The answer's number.
        choice: u64,
        /// The part's number in it.
        part: u64,
    },
    /// A choice is whole.
    Finish {
        /// The answer's number.
        choice: u64,
        /// Why.
        reason: FinishReason,
        /// The stop sequence that ended it.
        stop_sequence: Option<String>,
    },
    /// The counts so far; the last ones count.
    Usage(Usage),
    /// The answer is whole and nothing follows.
    End,
    /// The vendor failed in the middle; nothing follows.
    Error {
        /// Its words, secrets masked.
        message: String,
        /// Its own kind of error, where told.
        kind: Option<String>,
    },
}

/// What a part that begins is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartStart {
    /// Text.
    Text,
    /// Reasoning.
    Thinking,
    /// Reasoning only its vendor can read, whole.
    HiddenThinking {
        /// The vendor's bytes.
        data: String,
    },
    /// A refusal.
    Refusal,
    /// A call of a tool; its arguments follow.
    ToolCall {
        /// What its result refers to.
        id: String,
        /// The tool's name.
        name: String,
        /// Whether its input is free text.
        is_custom: bool,
    },
    /// A picture, whole.
    Image {
        /// Its type.
        media_type: String,
        /// Its bytes.
        base64: String,
    },
}
