//! Prompt tokens before anybody has counted them: an upper bound to hold money for, and an estimate.
//!
//! The bound rests on bytes: a byte-level BPE never makes more tokens than bytes, and a JSON escape is
//! never shorter than the UTF-8 it stands for. What the provider writes around the text (role markers, tool
//! templates) is bounded by constants, images by the tables of their model or else the dearest entry of all,
//! audio by its length; what nothing in the body bounds is flagged as `has_unbounded_parts`, and the caller
//! takes the model's context. Text that was counted with the model's own tokenizer replaces its bytes.

use super::RequestSkim;
use super::audio::AUDIO_TOKENS_PER_SECOND;
use super::exact::CountedText;
use super::images::{IMAGE_TOKENS_BOUND, ImageRates};

/// Tokens written around each message beyond the JSON it came in: role and separator marks.
pub const MESSAGE_TOKENS: u64 = 8;
/// Tokens written around each tool.
pub const TOOL_TOKENS: u64 = 32;
/// Tokens of the system text some chat templates add when there are tools (the longest known is about 530).
pub const TOOL_PREAMBLE_TOKENS: u64 = 640;
/// Tokens per JSON value of a tool: templates that print schemas with indentation add a line end, the
/// indentation and a space, and again for a closing bracket.
pub const TOKENS_PER_TOOL_VALUE: u64 = 4;
/// Tokens of every prompt: start, end, the opening of the answer, a default system line.
pub const FIXED_TOKENS: u64 = 64;
/// Bytes of text per token, for the estimate.
const ESTIMATED_BYTES_PER_TOKEN: u64 = 4;
/// Tokens of an ordinary image, for the estimate.
const ESTIMATED_IMAGE_TOKENS: u64 = 1_000;
/// Tokens of a second of audio, for the estimate.
const ESTIMATED_AUDIO_TOKENS_PER_SECOND: u64 = 10;

/// What is known of how a model counts a prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PromptCounting {
    /// How it counts images, where its vendor says so.
    pub images: Option<ImageRates>,
    /// Text of this request that was counted with its tokenizer.
    pub text: CountedText,
}

/// Prompt tokens at most, for a body of `body_len` bytes and any model; not a bound where
/// `has_unbounded_parts`.
#[must_use]
pub fn input_token_bound(skim: &RequestSkim, body_len: usize) -> u64 {
    input_token_bound_with(skim, body_len, &PromptCounting::default())
}

/// The same for a model of which more is known.
#[must_use]
pub fn input_token_bound_with(skim: &RequestSkim, body_len: usize, counting: &PromptCounting) -> u64 {
    let mut bound = text_bytes(skim, body_len)
        .saturating_sub(counting.text.n_bytes)
        .saturating_add(counting.text.n_tokens)
        .saturating_add(skim.counts.n_ids)
        .saturating_add(FIXED_TOKENS)
        .saturating_add(skim.n_prompts.max(skim.n_messages).saturating_mul(MESSAGE_TOKENS))
        .saturating_add(image_tokens(skim, counting.images))
        .saturating_add(skim.audio_seconds.saturating_mul(AUDIO_TOKENS_PER_SECOND));
    if skim.n_tools > 0 {
        bound = bound
            .saturating_add(TOOL_PREAMBLE_TOKENS)
            .saturating_add(skim.n_tools.saturating_mul(TOOL_TOKENS))
            .saturating_add(skim.counts.n_tool_values.saturating_mul(TOKENS_PER_TOOL_VALUE));
    }
    bound
}

fn image_tokens(skim: &RequestSkim, rates: Option<ImageRates>) -> u64 {
    let Some(rates) = rates else { return skim.n_images.saturating_mul(IMAGE_TOKENS_BOUND) };
    let known = skim.images.iter().fold(0, |sum: u64, image| sum.saturating_add(rates.tokens(*image)));
    let n_unknown = skim.n_images.saturating_sub(skim.images.len() as u64);
    known.saturating_add(n_unknown.saturating_mul(IMAGE_TOKENS_BOUND))
}

/// Prompt tokens as rate limits count them before the answer: bytes ÷ 4, images at 1,000.
#[must_use]
pub fn input_token_estimate(skim: &RequestSkim, body_len: usize) -> u64 {
    text_bytes(skim, body_len)
        .div_ceil(ESTIMATED_BYTES_PER_TOKEN)
        .saturating_add(skim.counts.n_ids)
        .saturating_add(skim.n_images.saturating_mul(ESTIMATED_IMAGE_TOKENS))
        .saturating_add(skim.audio_seconds.saturating_mul(ESTIMATED_AUDIO_TOKENS_PER_SECOND))
}

/// The body's bytes without those that are counted another way, and with those that did not make it into it.
fn text_bytes(skim: &RequestSkim, body_len: usize) -> u64 {
    let body_len = u64::try_from(body_len).unwrap_or(u64::MAX);
    let counted_otherwise = skim.counts.n_image_bytes + skim.counts.n_audio_bytes + skim.counts.n_id_bytes;
    body_len.saturating_sub(counted_otherwise).saturating_add(skim.n_unseen_bytes)
}
