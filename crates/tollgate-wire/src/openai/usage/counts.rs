//! The counts of a usage object, and the rules by which vendors' ways of counting become disjoint classes.
//!
//! - Cached, written, audio and image tokens that stand in `prompt_tokens_details` are inside the prompt.
//! - Cache counts that stand beside the prompt (`cache_read_input_tokens`, `cache_creation_input_tokens`) are
//!   inside it too, unless the total says otherwise, they do not fit into it, or the object is Anthropic's
//!   own (`input_tokens` without a total), where they come on top.
//! - Reasoning is inside the completion, unless the total is larger than prompt and completion: what only the
//!   total knows is reasoning beside it (xAI, Gemini).
//! - `citation_tokens` mark Perplexity's research, which counts neither them nor its `reasoning_tokens` in
//!   its total: both come on top, as prompt and as reasoning.
//! - A total that is smaller than its parts is not believed.

use tollgate_domain::{Meter, Surface, Usage, UsageError};

use super::MAX_PLAUSIBLE_TOKENS;
use crate::json::{Fault, Key, Kind, Scanner};

/// Why a reading stops.
pub(super) enum Unreadable {
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
pub(super) struct Counts {
    prompt: Option<u64>,
    /// The prompt goes by Anthropic's name, `input_tokens`.
    is_prompt_input: bool,
    completion: Option<u64>,
    total: Option<u64>,
    cached: Option<u64>,
    written: CacheWrites,
    /// Cache counts beside the prompt.
    flat_read: Option<u64>,
    flat_written: CacheWrites,
    audio_in: Option<u64>,
    image_in: Option<u64>,
    reasoning: Option<u64>,
    audio_out: Option<u64>,
    image_out: Option<u64>,
    flat_reasoning: Option<u64>,
    citations: Option<u64>,
    searches: Option<u64>,
    seconds: Option<u64>,
}

/// Tokens written to a prompt cache: all of them, and by the time they are kept.
#[derive(Clone, Copy, Default)]
struct CacheWrites {
    all: Option<u64>,
    for_5m: Option<u64>,
    for_1h: Option<u64>,
}

impl CacheWrites {
    const fn is_told(&self) -> bool {
        self.all.is_some() || self.for_5m.is_some() || self.for_1h.is_some()
    }

    /// Kept for five minutes and for an hour; what is in neither is kept for five minutes.
    fn parts(&self) -> (u64, u64) {
        let (for_5m, for_1h) = (self.for_5m.unwrap_or(0), self.for_1h.unwrap_or(0));
        (for_5m.max(self.all.unwrap_or(0).saturating_sub(for_1h)), for_1h)
    }
}

// === reading ===

impl Counts {
    /// Reads a whole object.
    pub(super) fn read(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Unreadable> {
        scanner.object(|scanner, key| self.read_member(scanner, &key))
    }

    /// Reads the member of that key.
    pub(super) fn read_member(&mut self, scanner: &mut Scanner<'_>, key: &Key) -> Result<(), Unreadable> {
        match scanner.raw_key(key) {
            b"prompt_tokens" => self.prompt = count(scanner, "prompt_tokens")?,
            b"input_tokens" => {
                self.prompt = count(scanner, "prompt_tokens")?;
                self.is_prompt_input = true;
            }
            b"completion_tokens" | b"output_tokens" => {
                self.completion = count(scanner, "completion_tokens")?;
            }
            b"total_tokens" => self.total = count(scanner, "total_tokens")?,
            b"prompt_tokens_details"
            | b"input_tokens_details"
            | b"prompt_token_details"
            | b"input_token_details" => {
                members(scanner, |scanner, key| self.read_prompt_detail(scanner, key))?;
            }
            b"completion_tokens_details" | b"output_tokens_details" => {
                members(scanner, |scanner, key| self.read_completion_detail(scanner, key))?;
            }
            _ => self.read_vendor_member(scanner, key)?,
        }
        Ok(())
    }

    /// What only some vendors tell.
    fn read_vendor_member(&mut self, scanner: &mut Scanner<'_>, key: &Key) -> Result<(), Unreadable> {
        match scanner.raw_key(key) {
            b"prompt_cache_hit_tokens" | b"cached_tokens" | b"num_cached_tokens" => {
                self.cached = self.cached.max(count(scanner, "cached_tokens")?);
            }
            b"cache_read_input_tokens" => self.flat_read = count(scanner, "cache_read_input_tokens")?,
            b"cache_creation_input_tokens" => {
                self.flat_written.all = count(scanner, "cache_creation_input_tokens")?;
            }
            b"cache_creation" => {
                members(scanner, |scanner, key| read_cache_times(scanner, key, &mut self.flat_written))?;
            }
            b"reasoning_tokens" => self.flat_reasoning = count(scanner, "reasoning_tokens")?,
            b"citation_tokens" => self.citations = count(scanner, "citation_tokens")?,
            b"num_search_queries" | b"num_sources_used" => self.searches = units(scanner)?,
            b"server_tool_use" | b"server_tool_use_details" => {
                members(scanner, |scanner, key| match scanner.raw_key(key) {
                    b"web_search_requests" => {
                        self.searches = units(scanner)?;
                        Ok(())
                    }
                    _ => Ok(scanner.pass()?),
                })?;
            }
            b"prompt_audio_seconds" => self.seconds = units(scanner)?,
            _ => scanner.pass()?,
        }
        Ok(())
    }

    fn read_prompt_detail(&mut self, scanner: &mut Scanner<'_>, key: &Key) -> Result<(), Unreadable> {
        match scanner.raw_key(key) {
            b"cached_tokens" => self.cached = self.cached.max(count(scanner, "cached_tokens")?),
            b"cache_write_tokens" | b"cache_creation_tokens" | b"cache_creation_input_tokens" => {
                self.written.all = count(scanner, "cache_write_tokens")?;
            }
            b"cache_creation" => {
                members(scanner, |scanner, key| read_cache_times(scanner, key, &mut self.written))?;
            }
            b"audio_tokens" => self.audio_in = count(scanner, "audio_tokens")?,
            b"image_tokens" => self.image_in = count(scanner, "image_tokens")?,
            _ => scanner.pass()?,
        }
        Ok(())
    }

    fn read_completion_detail(&mut self, scanner: &mut Scanner<'_>, key: &Key) -> Result<(), Unreadable> {
        match scanner.raw_key(key) {
            b"reasoning_tokens" => self.reasoning = count(scanner, "reasoning_tokens")?,
            b"audio_tokens" => self.audio_out = count(scanner, "audio_tokens")?,
            b"image_tokens" => self.image_out = count(scanner, "image_tokens")?,
            _ => scanner.pass()?,
        }
        Ok(())
    }
}

fn read_cache_times(
    scanner: &mut Scanner<'_>,
    key: &Key,
    writes: &mut CacheWrites,
) -> Result<(), Unreadable> {
    match scanner.raw_key(key) {
        b"ephemeral_5m_input_tokens" => writes.for_5m = count(scanner, "cache_creation")?,
        b"ephemeral_1h_input_tokens" => writes.for_1h = count(scanner, "cache_creation")?,
        _ => scanner.pass()?,
    }
    Ok(())
}

/// Reads the members of an object; anything else is passed.
fn members(
    scanner: &mut Scanner<'_>,
    mut member: impl FnMut(&mut Scanner<'_>, &Key) -> Result<(), Unreadable>,
) -> Result<(), Unreadable> {
    if scanner.peek()? != Kind::Object {
        return Ok(scanner.pass()?);
    }
    scanner.object(|scanner, key| member(scanner, &key))
}

/// A count: a whole number that may be written `12.0`, or `null`.
fn count(scanner: &mut Scanner<'_>, name: &'static str) -> Result<Option<u64>, Unreadable> {
    let value = scanner.skip()?;
    if let Some(count) = short_count(&scanner.bytes()[value.span.clone()]) {
        return Ok(Some(count));
    }
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

/// Most counts: so few digits that the number is plausible, and nothing else.
fn short_count(digits: &[u8]) -> Option<u64> {
    const MAX_DIGITS: usize = MAX_PLAUSIBLE_TOKENS.ilog10() as usize;
    let add = |number: u64, digit: &u8| digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'));
    if digits.len() > MAX_DIGITS { None } else { digits.iter().try_fold(0, add) }
}

/// Whole units beside the tokens, rounded up. What is no plausible number is none: some vendors write an
/// empty object, and the tokens count all the same.
fn units(scanner: &mut Scanner<'_>) -> Result<Option<u64>, Unreadable> {
    let value = scanner.skip()?;
    if value.kind != Kind::Number {
        return Ok(None);
    }
    let text = std::str::from_utf8(&scanner.bytes()[value.span]).unwrap_or_default();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_broken = fraction.bytes().any(|byte| byte != b'0');
    let units = whole.parse::<u64>().ok().map(|whole| whole.saturating_add(u64::from(is_broken)));
    Ok(units.filter(|units| *units <= MAX_PLAUSIBLE_TOKENS))
}

// === classes ===

impl Counts {
    /// The disjoint classes; `None` where the object has no token counts.
    ///
    /// # Errors
    /// A part is larger than what it is counted in.
    pub(super) fn classes(&self, surface: Surface) -> Result<Option<Usage>, UsageError> {
        let told = match (self.prompt, self.completion, self.total) {
            (None, None, None) => return Ok(None),
            // Embedding servers that tell only the total.
            (None, completion, Some(total)) => total.saturating_sub(completion.unwrap_or(0)),
            (prompt, _, _) => prompt.unwrap_or(0),
        };
        let (cached, (written_5m, written_1h)) = self.cache_counts();
        let prompt = if self.cache_is_beside(told) { told + cached + written_5m + written_1h } else { told };
        let mut usage = Usage::ZERO;
        self.split_prompt(prompt, cached, (written_5m, written_1h), &mut usage)?;
        if surface != Surface::Embeddings {
            self.split_completion(prompt, &mut usage)?;
        }
        usage.set(Meter::Input, usage.get(Meter::Input) + self.citations.unwrap_or(0));
        usage.set(Meter::Search, self.searches.unwrap_or(0));
        usage.set(Meter::Second, self.seconds.unwrap_or(0));
        Ok(Some(usage))
    }

    /// Read and written cache tokens: OpenAI's place for each goes before Anthropic's.
    fn cache_counts(&self) -> (u64, (u64, u64)) {
        let cached = self.cached.filter(|cached| *cached > 0).or(self.flat_read).unwrap_or(0);
        let nested = self.written.parts();
        let written = if nested == (0, 0) { self.flat_written.parts() } else { nested };
        (cached, written)
    }

    /// Whether the cache counts come on top of the prompt.
    fn cache_is_beside(&self, prompt: u64) -> bool {
        let is_nested = self.cached.is_some() || self.written.is_told();
        let (written_5m, written_1h) = self.flat_written.parts();
        let flat = self.flat_read.unwrap_or(0) + written_5m + written_1h;
        if is_nested || flat == 0 {
            return false;
        }
        let completion = self.completion.unwrap_or(0);
        let is_in_total = self.total == Some(prompt + completion + flat);
        is_in_total || flat > prompt || (self.is_prompt_input && self.total.is_none())
    }

    fn split_prompt(
        &self,
        prompt: u64,
        cached: u64,
        (written_5m, written_1h): (u64, u64),
        usage: &mut Usage,
    ) -> Result<(), UsageError> {
        let part = |count, part| part_of(count, part, prompt, "prompt_tokens");
        let cached = part(cached, "cached_tokens")?;
        let written = part(written_5m + written_1h, "cache_write_tokens")?;
        let audio = part(self.audio_in.unwrap_or(0), "audio_tokens")?;
        let image = part(self.image_in.unwrap_or(0), "image_tokens")?;
        let others = written + audio + image;
        if others > prompt {
            return Err(UsageError::PartExceedsWhole {
                part: "prompt_tokens_details",
                whole: "prompt_tokens",
            });
        }
        // Image and audio tokens can be cached ones too; the dearer class keeps what is in both.
        let cached = cached.min(prompt - others);
        usage.set(Meter::CachedInput, cached);
        usage.set(Meter::CacheWrite5m, written_5m);
        usage.set(Meter::CacheWrite1h, written_1h);
        usage.set(Meter::InputAudio, audio);
        usage.set(Meter::InputImage, image);
        usage.set(Meter::Input, prompt - others - cached);
        Ok(())
    }

    fn split_completion(&self, prompt: u64, usage: &mut Usage) -> Result<(), UsageError> {
        let told = self.completion.unwrap_or(0);
        let beyond = match (self.citations, self.flat_reasoning) {
            (Some(_), Some(reasoning)) => reasoning,
            _ => self.total.unwrap_or(0).saturating_sub(prompt.saturating_add(told)),
        };
        // What only the total knows is reasoning that is not counted in the completion.
        let completion = told + beyond;
        let reasoning_told = self.reasoning.or(self.flat_reasoning).unwrap_or(0);
        let reasoning = if beyond > 0 && reasoning_told <= beyond { beyond } else { reasoning_told };
        let part = |count, part| part_of(count, part, completion, "completion_tokens");
        let reasoning = part(reasoning, "reasoning_tokens")?;
        let audio = part(self.audio_out.unwrap_or(0), "audio_tokens")?;
        let image = part(self.image_out.unwrap_or(0), "image_tokens")?;
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

fn part_of(count: u64, part: &'static str, whole: u64, whole_name: &'static str) -> Result<u64, UsageError> {
    if count <= whole { Ok(count) } else { Err(UsageError::PartExceedsWhole { part, whole: whole_name }) }
}
