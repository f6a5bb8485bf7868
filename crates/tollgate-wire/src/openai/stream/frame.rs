//! What one frame of a stream says.

use std::sync::LazyLock;

use bytes::Bytes;
use memchr::memchr2;
use memchr::memmem::Finder;
use tollgate_domain::{Surface, Usage, UsageError};

use super::{RelayEvent, Show, StreamOptions, UsageFrame};
use crate::json::{Fault, Kind, Scanner, Value, decode_string, decoded_len};
use crate::openai::error::{ProviderError, read_provider_error};
use crate::openai::response::text_bytes;
use crate::openai::usage::{UsageReading, UsageSpan, read_usage};
use crate::sse::frame_data;

/// Searchers for the members that matter, built once: building one costs more than a search.
static NAMES: LazyLock<Names> = LazyLock::new(|| Names {
    delta: Finder::new(b"\"delta\""),
    usage: Finder::new(b"\"usage\""),
    finish_reason: Finder::new(b"\"finish_reason\""),
});

struct Names {
    delta: Finder<'static>,
    usage: Finder<'static>,
    finish_reason: Finder<'static>,
}

/// What is to happen with a frame.
#[derive(Debug)]
pub(super) enum Look {
    Forward,
    Hide,
    Usage { usage: Result<Usage, UsageError>, json: Vec<u8>, span: UsageSpan, has_choices: bool },
    Error(ProviderError),
}

/// What the stream has said so far.
#[derive(Debug)]
pub(super) struct Progress {
    surface: Surface,
    options: StreamOptions,
    n_finished: u64,
    has_failed: bool,
    pub(super) content_begun: bool,
    pub(super) done_seen: bool,
    pub(super) usage: Option<Usage>,
    pub(super) service_tier: Option<String>,
    pub(super) text_bytes: u64,
    /// The text that had come when the usage was told.
    pub(super) text_bytes_told: u64,
    pub(super) n_text_events: u64,
    /// An event came that cannot be read.
    pub(super) has_unreadable: bool,
}

/// A chunk's members that matter here.
#[derive(Default)]
struct Chunk {
    n_choices: u64,
    n_finished: u64,
    text_bytes: u64,
    has_content: bool,
    usage: Option<Value>,
    nested_usage: Option<Value>,
    service_tier: Option<Value>,
    has_error: bool,
}

impl Progress {
    pub(super) const fn new(surface: Surface, options: StreamOptions) -> Self {
        Self {
            surface,
            options,
            n_finished: 0,
            has_failed: false,
            content_begun: false,
            done_seen: false,
            usage: None,
            service_tier: None,
            text_bytes: 0,
            text_bytes_told: 0,
            n_text_events: 0,
            has_unreadable: false,
        }
    }

    pub(super) const fn is_over(&self) -> bool {
        self.done_seen || self.has_failed
    }

    pub(super) const fn finish_seen(&self) -> bool {
        self.n_finished > 0 && self.n_finished >= self.options.n_choices
    }

    /// Reads one frame and decides.
    pub(super) fn look(&mut self, raw: &[u8]) -> Look {
        if self.content_begun && self.surface == Surface::Chat && self.look_at_delta(raw).is_some() {
            return Look::Forward;
        }
        self.look_at_all(raw)
    }

    /// The way of nearly every frame: one data line, a delta, no usage, no finish reason. `None` where it is
    /// anything else, and nothing has been counted.
    fn look_at_delta(&mut self, raw: &[u8]) -> Option<()> {
        let line_bytes = memchr2(b'\r', b'\n', raw)?;
        // What follows the line is its end and the blank line, so there is no second line.
        if raw.len() - line_bytes > 4 || !raw.starts_with(b"data:") {
            return None;
        }
        let line = &raw[..line_bytes];
        if has_value(line, &NAMES.usage) || has_value(line, &NAMES.finish_reason) {
            return None;
        }
        let mut at = 0;
        let mut n_bytes = 0;
        while let Some(delta) = find_member(line, &NAMES.delta, at) {
            let mut scanner = Scanner::at_offset(line, delta);
            n_bytes += text_bytes(&mut scanner).ok()?;
            at = scanner.position();
        }
        if at == 0 {
            return None;
        }
        self.count_text(n_bytes);
        Some(())
    }

    fn look_at_all(&mut self, raw: &[u8]) -> Look {
        let Some(data) = frame_data(raw) else { return Look::Forward };
        if data.trim_ascii() == b"[DONE]" {
            self.done_seen = true;
            return Look::Forward;
        }
        let Ok(chunk) = read_chunk(&data) else {
            self.has_unreadable |= !data.trim_ascii().is_empty();
            return Look::Forward;
        };
        if chunk.has_error || is_error_event(raw) {
            self.has_failed = true;
            return Look::Error(read_provider_error(0, &data));
        }
        self.count_text(chunk.text_bytes);
        self.n_finished += chunk.n_finished;
        self.content_begun |= chunk.has_content;
        self.note_tier(chunk.service_tier, &data);
        let Some(value) = chunk.usage.or(chunk.nested_usage) else { return Look::Forward };
        let has_choices = chunk.n_choices > 0;
        let (usage, span) = match read_usage(self.surface, &data, &value) {
            // a frame's usage always has its place
            UsageReading::Missing | UsageReading::Told(_) | UsageReading::Inferred(_)
                if has_choices || self.options.client_wants_usage =>
            {
                return Look::Forward;
            }
            UsageReading::Missing | UsageReading::Told(_) | UsageReading::Inferred(_) => return Look::Hide,
            UsageReading::Counted(usage, span) => {
                self.usage = Some(usage);
                self.text_bytes_told = self.text_bytes;
                (Ok(usage), span)
            }
            UsageReading::Unusable(error, span) => (Err(error), span),
        };
        Look::Usage { usage, json: data.into_owned(), span, has_choices }
    }

    /// Keeps the latest tier: the first chunks may name the one asked for, the last the one it was.
    fn note_tier(&mut self, value: Option<Value>, data: &[u8]) {
        let Some(value) = value.filter(|value| value.kind == Kind::String) else { return };
        let name = decode_string(&data[value.inside()]);
        if self.service_tier.as_deref() != Some(&*name) {
            self.service_tier = Some(name.into_owned());
        }
    }

    /// The event that a look at `raw` makes for the caller.
    pub(super) fn event(&self, look: Look, raw: Bytes) -> Option<RelayEvent> {
        match look {
            Look::Forward => Some(RelayEvent::Forward(raw)),
            Look::Hide => None,
            Look::Error(error) => Some(RelayEvent::ProviderError(error)),
            Look::Usage { usage, json, span, has_choices } => {
                let show = if self.options.client_wants_usage {
                    Show::WithCost { json, span }
                } else if has_choices {
                    Show::AsItCame
                } else {
                    Show::Nothing
                };
                Some(RelayEvent::Usage { usage, frame: UsageFrame { raw, show } })
            }
        }
    }

    const fn count_text(&mut self, n_bytes: u64) {
        self.text_bytes += n_bytes;
        self.n_text_events += (n_bytes > 0) as u64;
    }
}

/// Whether an unfinished last frame says something whole: the terminator, or a JSON object.
pub(super) fn is_whole(rest: &[u8]) -> bool {
    frame_data(rest).is_some_and(|data| data.trim_ascii() == b"[DONE]" || read_chunk(&data).is_ok())
}

/// Whether a member `name` (quotes included) with another value than `null` is in the line. Quotes inside
/// JSON strings are escaped, so a name with its quotes and a colon after it can only be a member's.
fn has_value(line: &[u8], name: &Finder<'_>) -> bool {
    let mut at = 0;
    while let Some(value) = find_member(line, name, at) {
        if !line[value..].starts_with(b"null") {
            return true;
        }
        at = value;
    }
    false
}

/// The start of the value of the next member `name` from `at` on.
fn find_member(line: &[u8], name: &Finder<'_>, at: usize) -> Option<usize> {
    let mut at = at;
    loop {
        at += name.find(&line[at..])? + name.needle().len();
        let after_name = skip_spaces(line, at);
        if line.get(after_name) == Some(&b':') {
            return Some(skip_spaces(line, after_name + 1));
        }
    }
}

fn skip_spaces(line: &[u8], at: usize) -> usize {
    at + line[at..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count()
}

fn is_error_event(raw: &[u8]) -> bool {
    raw.starts_with(b"event: error\n")
        || raw.starts_with(b"event:error\n")
        || raw.starts_with(b"event: error\r")
}

fn read_chunk(data: &[u8]) -> Result<Chunk, Fault> {
    let mut chunk = Chunk::default();
    let mut scanner = Scanner::new(data)?;
    scanner.object(|scanner, key| {
        match scanner.raw_key(&key) {
            b"choices" if scanner.peek()? == Kind::Array => {
                scanner.array(|scanner| read_choice(scanner, &mut chunk))?;
            }
            b"usage" => chunk.usage = object(scanner)?,
            b"x_groq" if scanner.peek()? == Kind::Object => scanner.object(|scanner, key| {
                if scanner.raw_key(&key) == b"usage" {
                    chunk.nested_usage = object(scanner)?;
                    return Ok(());
                }
                scanner.pass()
            })?,
            b"service_tier" => chunk.service_tier = Some(scanner.skip()?),
            b"error" => chunk.has_error = scanner.skip()?.kind != Kind::Null,
            _ => scanner.pass()?,
        }
        Ok::<_, Fault>(())
    })?;
    scanner.end()?;
    Ok(chunk)
}

fn object(scanner: &mut Scanner<'_>) -> Result<Option<Value>, Fault> {
    let value = scanner.skip()?;
    Ok((value.kind == Kind::Object).then_some(value))
}

fn read_choice(scanner: &mut Scanner<'_>, chunk: &mut Chunk) -> Result<(), Fault> {
    chunk.n_choices += 1;
    if scanner.peek()? != Kind::Object {
        return scanner.pass();
    }
    scanner.object(|scanner, key| {
        match scanner.raw_key(&key) {
            b"delta" | b"message" => {
                scanner.peek()?;
                let start = scanner.position();
                chunk.text_bytes += text_bytes(scanner)?;
                chunk.has_content |= delta_has_content(scanner.bytes(), start)?;
            }
            b"text" => {
                let value = scanner.skip()?;
                if value.kind == Kind::String {
                    chunk.text_bytes += decoded_len(&scanner.bytes()[value.inside()]) as u64;
                    chunk.has_content |= value.span.len() > 2;
                }
            }
            b"finish_reason" => {
                let is_finished = scanner.skip()?.kind == Kind::String;
                chunk.n_finished += u64::from(is_finished);
                chunk.has_content |= is_finished;
            }
            _ => scanner.pass()?,
        }
        Ok(())
    })
}

/// Whether a delta has more than a role: any member with a value that is neither `null` nor empty.
fn delta_has_content(bytes: &[u8], start: usize) -> Result<bool, Fault> {
    let mut scanner = Scanner::at_offset(bytes, start);
    let mut has_content = false;
    if scanner.peek()? != Kind::Object {
        return Ok(false);
    }
    scanner.object(|scanner, key| {
        let is_role = scanner.raw_key(&key) == b"role";
        let value = scanner.skip()?;
        let is_empty = match value.kind {
            Kind::Null => true,
            Kind::String | Kind::Array | Kind::Object => value.span.len() == 2,
            _ => false,
        };
        has_content |= !is_role && !is_empty;
        Ok::<_, Fault>(())
    })?;
    Ok(has_content)
}
