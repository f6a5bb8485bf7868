//! Usage objects, normalised into disjoint classes.
//!
//! OpenAI counts cached and audio tokens inside the prompt and reasoning inside the completion; others that
//! speak the dialect count one or the other beside it. `counts` has the rules. Afterwards the classes' sum is
//! the provider's total, or the sum of its parts where the total is smaller or missing.

mod counts;
#[cfg(test)]
mod tests;

use std::ops::Range;

use tollgate_domain::{Meter, NanoUsd, Surface, Usage, UsageError};

use self::counts::{Counts, Unreadable};
use super::request::{RequestSkim, input_token_estimate};
use crate::json::{Fault, Kind, Scanner, Value};

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
    /// The same, of an answer that was not read in this dialect.
    Told(Usage),
    /// Nothing in words, but what the answer holds can be counted.
    Inferred(Usage),
    /// Counts that do not.
    Unusable(UsageError, UsageSpan),
}

/// Normalises one usage object given as JSON text; `None` where it has no counts.
///
/// # Errors
/// A count that is negative, absurd, no number, or larger than what it is counted in.
pub fn normalise(surface: Surface, object: &[u8]) -> Result<Option<Usage>, UsageError> {
    let mut counts = Counts::default();
    match counts.read(&mut Scanner::at_offset(object, 0)) {
        Ok(()) => counts.classes(surface),
        Err(Unreadable::Json) => Ok(None),
        Err(Unreadable::Usage(error)) => Err(error),
    }
}

/// Reads the usage object that `value` of a scanned `body` is.
pub(super) fn read_usage(surface: Surface, body: &[u8], value: &Value) -> UsageReading {
    if value.kind != Kind::Object {
        return UsageReading::Missing;
    }
    let span = usage_span(body, value);
    match normalise(surface, &body[value.span.clone()]) {
        Ok(Some(usage)) => UsageReading::Counted(usage, span),
        Ok(None) => UsageReading::Missing,
        Err(error) => UsageReading::Unusable(error, span),
    }
}

/// Reads the usage object that stands next in an answer, in the one pass that checks it.
pub(super) fn read_usage_here(surface: Surface, scanner: &mut Scanner<'_>) -> Result<UsageReading, Fault> {
    if scanner.peek()? != Kind::Object {
        scanner.pass()?;
        return Ok(UsageReading::Missing);
    }
    let before = scanner.checkpoint();
    let start = scanner.position();
    let mut span = UsageSpan { object: start..start, cost_value: None, is_empty: true };
    let mut counts = Counts::default();
    let walked = scanner.object(|scanner, key| {
        span.is_empty = false;
        if scanner.raw_key(&key) == b"cost" {
            span.cost_value = Some(scanner.skip()?.span);
            return Ok(());
        }
        counts.read_member(scanner, &key)
    });
    if walked.is_ok()
        && let Ok(classes) = counts.classes(surface)
    {
        span.object.end = scanner.position();
        return Ok(classes.map_or(UsageReading::Missing, |usage| UsageReading::Counted(usage, span)));
    }
    // odd in some way: slowly, so that what is wrong with it is told
    scanner.back_to(before);
    let value = scanner.skip()?;
    Ok(read_usage(surface, scanner.bytes(), &value))
}

pub(crate) fn usage_span(body: &[u8], value: &Value) -> UsageSpan {
    let mut span = UsageSpan { object: value.span.clone(), cost_value: None, is_empty: true };
    let mut scanner = Scanner::at_offset(body, value.span.start);
    let walked = scanner.object(|scanner, key| {
        span.is_empty = false;
        let is_cost = scanner.raw_key(&key) == b"cost";
        let value = scanner.skip()?;
        if is_cost {
            span.cost_value = Some(value.span);
        }
        Ok::<_, Fault>(())
    });
    debug_assert!(walked.is_ok(), "the object has been scanned before");
    span
}

/// `body` with `"cost": <USD>` in the usage object at `span`; one that is there is replaced.
#[must_use]
pub fn with_cost(body: &[u8], span: &UsageSpan, cost: NanoUsd) -> Vec<u8> {
    let (at, member) = match &span.cost_value {
        Some(value) => (value.clone(), ""),
        None => {
            let close = span.object.end - 1;
            (close..close, if span.is_empty { "\"cost\":" } else { ",\"cost\":" })
        }
    };
    let cost = cost.text();
    let parts = [&body[..at.start], member.as_bytes(), cost.as_str().as_bytes(), &body[at.end..]];
    let mut out = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

/// The usage where the provider told none: the prompt by
/// [`input_token_estimate`], the answer by its text's bytes and (for
/// streams) its number of content events, whichever says more.
#[must_use]
pub fn counted_usage(skim: &RequestSkim, body_len: usize, text_bytes: u64, n_text_events: u64) -> Usage {
    let usage = Usage::ZERO.with(Meter::Input, input_token_estimate(skim, body_len));
    if skim.surface == Surface::Embeddings {
        return usage;
    }
    usage.with(Meter::Output, counted_output(text_bytes, n_text_events))
}

/// The answer's tokens where the provider told none, or not yet.
#[must_use]
pub fn counted_output(text_bytes: u64, n_text_events: u64) -> u64 {
    text_bytes.div_ceil(COUNTED_BYTES_PER_TOKEN).max(n_text_events)
}
