//! Usage objects, normalised into disjoint classes.

use std::ops::Range;

use tollgate_domain::{NanoUsd, Surface, Usage, UsageError};

use super::request::RequestSkim;

/// A count beyond this is nonsense, whatever the model.
pub const MAX_PLAUSIBLE_TOKENS: u64 = 1_000_000_000;
/// Bytes of text per token where only the text is known.
pub const COUNTED_BYTES_PER_TOKEN: u64 = 4;

/// Where a usage object stands in its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageSpan {
    /// The object, braces included.
    pub object: Range<usize>,
    /// The value of a `cost` member that is already there.
    pub cost_value: Option<Range<usize>>,
    /// Whether it has no members.
    pub is_empty: bool,
}

/// What a body says about usage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UsageReading {
    /// Nothing: no member, `null`, or an object without counts.
    Missing,
    /// Counts that make sense.
    Counted(Usage, UsageSpan),
    /// Counts that do not.
    Unusable(UsageError, UsageSpan),
}

/// Normalises one usage object given as JSON text; `None` where it has no counts.
///
/// # Errors
/// A count that is negative, absurd or larger than what it is counted in.
pub fn normalise(surface: Surface, object: &[u8]) -> Result<Option<Usage>, UsageError> {
    let _ = (surface, object);
    todo!()
}

/// `body` with `"cost": <USD>` in the usage object at `span`.
#[must_use]
pub fn with_cost(body: &[u8], span: &UsageSpan, cost: NanoUsd) -> Vec<u8> {
    let _ = (body, span, cost);
    todo!()
}

/// The usage where the provider told none: the prompt by [`super::request::input_token_estimate`], the
/// answer by its text's bytes and (for streams) its number of content events, whichever says more.
#[must_use]
pub fn counted_usage(skim: &RequestSkim, body_len: usize, text_bytes: u64, n_text_events: u64) -> Usage {
    let _ = (skim, body_len, text_bytes, n_text_events);
    todo!()
}
