//! Requests: what the gateway must know of a body, bounds, and splices.

use std::borrow::Cow;

use tollgate_domain::Surface;

use crate::json::JsonError;

/// Tokens that one image can cost at most: the dearest entry of OpenAI's image table (gpt-4o-mini,
/// high detail: 2,833 + 8 tiles × 5,667, rounded as they bill it).
pub const IMAGE_TOKENS_BOUND: u64 = 48_169;
/// Answers per prompt at most (`n`, `best_of`), as OpenAI allows.
pub const MAX_CHOICES: u64 = 128;

/// A request that is refused before it is routed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RequestError {
    /// One sentence for the client; never holds prompt text.
    pub message: String,
    /// The offending parameter, like `max_tokens` or `stream_options.include_usage`.
    pub param: Option<String>,
}

impl From<JsonError> for RequestError {
    fn from(error: JsonError) -> Self {
        let param = (!error.path.is_empty()).then(|| error.path.clone());
        Self { message: error.to_string(), param }
    }
}

/// Where the output cap is written when the client gave none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutputCapField {
    /// `max_completion_tokens`: OpenAI's own chat models.
    #[default]
    MaxCompletionTokens,
    /// `max_tokens`: Completions, and most compatible servers.
    MaxTokens,
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
    /// Images in message parts.
    pub n_images: u64,
    /// A part whose tokens the body's bytes do not bound: a file, a video, an earlier audio answer by id,
    /// a part type unknown here.
    pub has_unbounded_parts: bool,
    /// Audio in the prompt.
    pub has_audio_input: bool,
    /// `modalities` asks for audio.
    pub wants_audio_output: bool,
    /// `web_search_options` is set: the provider bills searches.
    pub has_web_search: bool,
    /// Bytes of a predicted output: rejected ones are billed as output on top of the cap.
    pub prediction_bytes: u64,
}

/// What is to change in a request on its way to the provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edits<'a> {
    /// The model's name there.
    pub model: Option<&'a str>,
    /// The answer's tokens at most, written where the client wrote its own (lowered, never raised), else into
    /// `output_cap_field`. Ignored for embeddings.
    pub output_cap: Option<u64>,
    /// See [`OutputCapField`].
    pub output_cap_field: OutputCapField,
    /// Ask for the usage chunk; only has an effect on streams.
    pub include_usage: bool,
}

/// Reads what must be known of a request, checking the whole body.
///
/// # Errors
/// Invalid JSON, a duplicate member, a wrong type, a missing prompt.
pub fn skim(surface: Surface, body: &[u8]) -> Result<RequestSkim, RequestError> {
    let _ = (surface, body);
    todo!()
}

impl RequestSkim {
    /// The client's own cap on each answer's tokens: the lower one where it gave both.
    #[must_use]
    pub fn client_output_cap(&self) -> Option<u64> {
        todo!()
    }
    /// Answers the provider generates and bills: prompts × max(n, best_of). 0 for embeddings.
    #[must_use]
    pub fn n_billed_choices(&self) -> u64 {
        todo!()
    }
    /// Whether text is all that goes in and out.
    #[must_use]
    pub fn is_text_only(&self) -> bool {
        todo!()
    }
}

/// Prompt tokens at most, for a body of `body_len` bytes.
#[must_use]
pub fn input_token_bound(skim: &RequestSkim, body_len: usize) -> u64 {
    let _ = (skim, body_len);
    todo!()
}

/// Prompt tokens as rate limits count them before the answer.
#[must_use]
pub fn input_token_estimate(skim: &RequestSkim, body_len: usize) -> u64 {
    let _ = (skim, body_len);
    todo!()
}

/// The body with `edits` made, every other byte as it was; borrowed when nothing changes. `skim` must be
/// the body's own.
#[must_use]
pub fn splice<'a>(body: &'a [u8], skim: &RequestSkim, edits: &Edits<'_>) -> Cow<'a, [u8]> {
    let _ = (skim, edits);
    Cow::Borrowed(body)
}
