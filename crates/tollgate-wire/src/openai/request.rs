//! Requests: what the gateway must know of a body, and what of it is refused.

mod audio;
mod bound;
mod exact;
mod images;
mod parts;
mod skim;
mod splice;
#[cfg(test)]
mod tests;

use std::ops::Range;

use tollgate_domain::Surface;

pub use audio::AUDIO_TOKENS_PER_SECOND;
pub use bound::{
    FIXED_TOKENS, MESSAGE_TOKENS, PromptCounting, TOKENS_PER_TOOL_VALUE, TOOL_PREAMBLE_TOKENS, TOOL_TOKENS,
    input_token_bound, input_token_bound_with, input_token_estimate,
};
pub use exact::{CountedText, MAX_COUNTED_TEXT_BYTES, count_text};
pub use images::{IMAGE_TOKENS_BOUND, ImageDetail, ImagePart, ImageRates, image_rates};
pub(crate) use skim::empty;
pub use skim::skim;
pub use splice::{Edits, OutputCapField, splice, splice_pieces};

use crate::json::{Fault, JsonError};

/// Answers per prompt at most (`n`, `best_of`), as OpenAI allows.
pub const MAX_CHOICES: u64 = 128;

/// Top-level members by which some provider answers with another model than the priced one or adds paid
/// work: OpenRouter's routing and plugins, xAI's live search, fallbacks of compatible proxies, searches of
/// Qwen, Groq's systems and Cohere.
pub const FOREIGN_MEMBERS: &[&str] = &[
    "models",
    "route",
    "provider",
    "plugins",
    "transforms",
    "search_parameters",
    "fallbacks",
    "enable_search",
    "search_options",
    "search_settings",
    "compound_custom",
    "connectors",
    "mcp_servers",
];

/// Top-level members that name prompt text which is not in the body: Gemini's cached contents stand in
/// `extra_body`.
const OUTSIDE_MEMBERS: &[&str] = &["extra_body", "cached_content"];

/// A request that is refused before it is routed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RequestError {
    /// One sentence for the client; never holds prompt text.
    pub message: String,
    /// The offending parameter, like `max_tokens` or `stream_options.include_usage`.
    pub param: Option<String>,
}

impl RequestError {
    pub(crate) fn new(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { message: message.into(), param: Some(param.into()) }
    }
}

impl From<JsonError> for RequestError {
    fn from(error: JsonError) -> Self {
        let param = (!error.path.is_empty()).then(|| error.path.clone());
        Self { message: error.to_string(), param }
    }
}

/// What a request says about itself; owns everything, so that it lives beside the body's `Bytes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestSkim {
    /// Which surface it was read for.
    pub surface: Surface,
    /// The model as the client spelled it; `None` where it named none.
    pub model: Option<String>,
    /// Whether the client wants a stream.
    pub stream: bool,
    /// `stream_options.include_usage`, where given.
    pub include_usage: Option<bool>,
    /// `max_tokens`, where given.
    pub max_tokens: Option<u64>,
    /// `max_completion_tokens`, where given (chat only).
    pub max_completion_tokens: Option<u64>,
    /// Answers per prompt; 1 unless given.
    pub n: u64,
    /// Answers generated (and billed) per prompt, of which `n` are returned (completions only).
    pub best_of: Option<u64>,
    /// Prompts or inputs in the body, at least 1: each gets its own answers.
    pub n_prompts: u64,
    /// The end user, as the client names it.
    pub user: Option<String>,
    /// `service_tier`, where given.
    pub service_tier: Option<String>,
    /// Messages of a chat.
    pub n_messages: u64,
    /// Tools and functions offered.
    pub n_tools: u64,
    /// Tools that the provider runs itself and bills: searches, code, anything but the client's functions.
    pub has_provider_tools: bool,
    /// Images in message parts.
    pub n_images: u64,
    /// What is known of those that are given; there may be fewer than `n_images`.
    pub images: Vec<ImagePart>,
    /// Something whose tokens the body's bytes do not bound: a file, a video, audio that does not tell its
    /// length, an earlier audio answer by id, a part type unknown here, text that the provider keeps.
    pub has_unbounded_parts: bool,
    /// Audio in the prompt.
    pub has_audio_input: bool,
    /// Seconds of audio in the prompt at most; where that is not known, `has_unbounded_parts` is set.
    pub audio_seconds: u64,
    /// `modalities` asks for audio.
    pub wants_audio_output: bool,
    /// `web_search_options` is set: the provider bills searches.
    pub has_web_search: bool,
    /// Which of [`FOREIGN_MEMBERS`] are set (neither `null` nor `false`), in the body's order.
    pub foreign_members: Vec<&'static str>,
    /// Bytes of a predicted output: rejected ones are billed as output on top of the cap.
    pub prediction_bytes: u64,
    /// Bytes of the client's own body that have no place in this one: they count as text.
    pub n_unseen_bytes: u64,
    counts: BodyCounts,
    spans: Spans,
}

/// What the token bound needs beside the public counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct BodyCounts {
    /// JSON values inside `tools` and `functions`.
    n_tool_values: u64,
    /// Bytes of images carried in the body, which are priced as images.
    n_image_bytes: u64,
    /// Bytes of audio carried in the body, which is priced by its length.
    n_audio_bytes: u64,
    /// Bytes of prompts given as token ids, and the ids in them.
    n_id_bytes: u64,
    n_ids: u64,
}

/// Where the members stand that a splice may replace; `null` values included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Spans {
    /// The byte after the outermost opening brace.
    first_member: usize,
    model: Option<Range<usize>>,
    max_tokens: Option<Range<usize>>,
    max_completion_tokens: Option<Range<usize>>,
    stream_options: Option<StreamOptionsSpan>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct StreamOptionsSpan {
    value: Range<usize>,
    is_object: bool,
    is_empty: bool,
    include_usage: Option<Range<usize>>,
}

impl RequestSkim {
    /// The client's own cap on each answer's tokens: the lower one where it gave both.
    #[must_use]
    pub fn client_output_cap(&self) -> Option<u64> {
        match (self.max_completion_tokens, self.max_tokens) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// Answers the provider generates and bills: prompts × max(n, `best_of`). 0 for embeddings.
    #[must_use]
    pub fn n_billed_choices(&self) -> u64 {
        match self.surface {
            Surface::Embeddings => 0,
            _ => self.n_prompts.saturating_mul(self.n.max(self.best_of.unwrap_or(1))),
        }
    }

    /// Answers that come back: prompts × n. 0 for embeddings.
    #[must_use]
    pub fn n_returned_choices(&self) -> u64 {
        match self.surface {
            Surface::Embeddings => 0,
            _ => self.n_prompts.saturating_mul(self.n),
        }
    }

    /// Whether text is all that goes in and out.
    #[must_use]
    pub const fn is_text_only(&self) -> bool {
        self.n_images == 0 && !self.has_unbounded_parts && !self.has_audio_input && !self.wants_audio_output
    }
}

/// Why a skim stops: the text is malformed, or the request is wrong.
enum Refusal {
    Json(Fault),
    Request(Box<RequestError>),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Json(fault)
    }
}

impl From<RequestError> for Refusal {
    fn from(error: RequestError) -> Self {
        Self::Request(Box::new(error))
    }
}
