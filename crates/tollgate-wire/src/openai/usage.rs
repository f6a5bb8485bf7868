//! Usage objects, normalised into disjoint classes.
//!
//! OpenAI counts cached and audio tokens inside the prompt and reasoning inside the completion; others that
//! speak the dialect count reasoning beside it, which only the total tells. Afterwards the classes' sum is
//! the provider's total, or the sum of its parts where the total is smaller or missing.

#[cfg(test)]
mod tests;

use std::ops::Range;

use tollgate_domain::{Meter, NanoUsd, Surface, Usage, UsageError};

use super::request::{RequestSkim, input_token_estimate};
use crate::json::{Fault, Key, Kind, Scanner, Value};

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

/// Why a reading stops.
enum Unreadable {
    Json,
    Usage(UsageError),
}

impl From<Fault> for Unreadable {
    fn from(_: Fault) -> Self {
        Self::Json
    }
}

impl From<UsageError> for Unreadable {
    fn from(error: UsageError) -> Self {
        Self::Usage(error)
    }
}

/// The counts as they stand in the object.
#[derive(Default)]
struct Counts {
    prompt: Option<u64>,
    completion: Option<u64>,
    total: Option<u64>,
    cached: Option<u64>,
    cache_hit: Option<u64>,
    cache_written: Option<u64>,
    audio_in: Option<u64>,
    image_in: Option<u64>,
    reasoning: Option<u64>,
    audio_out: Option<u64>,
    image_out: Option<u64>,
}

/// Normalises one usage object given as JSON text; `None` where it has no counts.
///
/// # Errors
/// A count that is negative, absurd, no number, or larger than what it is counted in.
pub fn normalise(surface: Surface, object: &[u8]) -> Result<Option<Usage>, UsageError> {
    let mut counts = Counts::default();
    match read_counts(&mut Scanner::at_offset(object, 0), &mut counts) {
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
        read_member(scanner, &key, &mut counts)
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

fn usage_span(body: &[u8], value: &Value) -> UsageSpan {
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

fn read_counts(scanner: &mut Scanner<'_>, counts: &mut Counts) -> Result<(), Unreadable> {
    scanner.object(|scanner, key| read_member(scanner, &key, counts))
}

fn read_member(scanner: &mut Scanner<'_>, key: &Key, counts: &mut Counts) -> Result<(), Unreadable> {
    match scanner.raw_key(key) {
        b"prompt_tokens" | b"input_tokens" => counts.prompt = count(scanner, "prompt_tokens")?,
        b"completion_tokens" | b"output_tokens" => counts.completion = count(scanner, "completion_tokens")?,
        b"total_tokens" => counts.total = count(scanner, "total_tokens")?,
        b"prompt_cache_hit_tokens" => counts.cache_hit = count(scanner, "prompt_cache_hit_tokens")?,
        b"prompt_tokens_details" | b"input_tokens_details" => prompt_details(scanner, counts)?,
        b"completion_tokens_details" | b"output_tokens_details" => completion_details(scanner, counts)?,
        _ => scanner.pass()?,
    }
    Ok(())
}

fn prompt_details(scanner: &mut Scanner<'_>, counts: &mut Counts) -> Result<(), Unreadable> {
    if scanner.peek()? != Kind::Object {
        return Ok(scanner.pass()?);
    }
    scanner.object(|scanner, key| {
        match scanner.raw_key(&key) {
            b"cached_tokens" => counts.cached = count(scanner, "cached_tokens")?,
            b"cache_write_tokens" => counts.cache_written = count(scanner, "cache_write_tokens")?,
            b"audio_tokens" => counts.audio_in = count(scanner, "audio_tokens")?,
            b"image_tokens" => counts.image_in = count(scanner, "image_tokens")?,
            _ => scanner.pass()?,
        }
        Ok(())
    })
}

fn completion_details(scanner: &mut Scanner<'_>, counts: &mut Counts) -> Result<(), Unreadable> {
    if scanner.peek()? != Kind::Object {
        return Ok(scanner.pass()?);
    }
    scanner.object(|scanner, key| {
        match scanner.raw_key(&key) {
            b"reasoning_tokens" => counts.reasoning = count(scanner, "reasoning_tokens")?,
            b"audio_tokens" => counts.audio_out = count(scanner, "audio_tokens")?,
            b"image_tokens" => counts.image_out = count(scanner, "image_tokens")?,
            _ => scanner.pass()?,
        }
        Ok(())
    })
}

/// A count: a whole number that may be written `12.0`, or `null`.
fn count(scanner: &mut Scanner<'_>, name: &'static str) -> Result<Option<u64>, Unreadable> {
    let value = scanner.skip()?;
    let text = match value.kind {
        Kind::Null => return Ok(None),
        Kind::Number => std::str::from_utf8(&scanner.bytes()[value.span]).unwrap_or_default(),
        _ => return Err(UsageError::NotACount(name).into()),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_digits = !whole.is_empty() && whole.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits || !fraction.bytes().all(|byte| byte == b'0') {
        return Err(UsageError::NotACount(name).into());
    }
    match whole.parse::<u64>() {
        Ok(count) if count <= MAX_PLAUSIBLE_TOKENS => Ok(Some(count)),
        _ => Err(UsageError::Absurd(name).into()),
    }
}

impl Counts {
    fn classes(&self, surface: Surface) -> Result<Option<Usage>, UsageError> {
        let prompt = match (self.prompt, self.completion, self.total) {
            (None, None, None) => return Ok(None),
            // Embedding servers that tell only the total.
            (None, completion, Some(total)) => total.saturating_sub(completion.unwrap_or(0)),
            (prompt, _, _) => prompt.unwrap_or(0),
        };
        let mut usage = Usage::ZERO;
        self.split_prompt(prompt, &mut usage)?;
        if surface != Surface::Embeddings {
            self.split_completion(prompt, &mut usage)?;
        }
        Ok(Some(usage))
    }

    fn split_prompt(&self, prompt: u64, usage: &mut Usage) -> Result<(), UsageError> {
        let part = |count: Option<u64>, part| part_of(count, part, prompt, "prompt_tokens");
        let mut cached = part(self.cached.or(self.cache_hit), "cached_tokens")?;
        let written = part(self.cache_written, "cache_write_tokens")?;
        let audio = part(self.audio_in, "audio_tokens")?;
        let image = part(self.image_in, "image_tokens")?;
        let mut others = written + audio + image;
        // Image and audio tokens can be cached ones too; the dearer class keeps what is in both.
        cached = cached.min(prompt.saturating_sub(others));
        if others > prompt {
            return Err(UsageError::PartExceedsWhole {
                part: "prompt_tokens_details",
                whole: "prompt_tokens",
            });
        }
        others += cached;
        usage.set(Meter::CachedInput, cached);
        usage.set(Meter::CacheWrite5m, written);
        usage.set(Meter::InputAudio, audio);
        usage.set(Meter::InputImage, image);
        usage.set(Meter::Input, prompt - others);
        Ok(())
    }

    fn split_completion(&self, prompt: u64, usage: &mut Usage) -> Result<(), UsageError> {
        let told = self.completion.unwrap_or(0);
        let beyond = self.total.unwrap_or(0).saturating_sub(prompt.saturating_add(told));
        // What only the total knows is reasoning that is not counted in the completion.
        let completion = told + beyond;
        let reasoning_told = self.reasoning.unwrap_or(0);
        let reasoning = if beyond > 0 && reasoning_told <= beyond { beyond } else { reasoning_told };
        let part = |count: Option<u64>, part| part_of(count, part, completion, "completion_tokens");
        let reasoning = part(Some(reasoning), "reasoning_tokens")?;
        let audio = part(self.audio_out, "audio_tokens")?;
        let image = part(self.image_out, "image_tokens")?;
        let parts = reasoning + audio + image;
        if parts > completion {
            let part = "completion_tokens_details";
            return Err(UsageError::PartExceedsWhole { part, whole: "completion_tokens" });
        }
        usage.set(Meter::Reasoning, reasoning);
        usage.set(Meter::OutputAudio, audio);
        usage.set(Meter::OutputImage, image);
        usage.set(Meter::Output, completion - parts);
        Ok(())
    }
}

fn part_of(
    count: Option<u64>,
    part: &'static str,
    whole: u64,
    whole_name: &'static str,
) -> Result<u64, UsageError> {
    match count.unwrap_or(0) {
        count if count <= whole => Ok(count),
        _ => Err(UsageError::PartExceedsWhole { part, whole: whole_name }),
    }
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
