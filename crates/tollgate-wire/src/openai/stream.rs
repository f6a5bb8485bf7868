//! Streamed answers: relayed as they come, except for the usage chunk.
//!
//! Frames that nothing changes in are forwarded as slices of the chunk they came in, neighbours together.
//! Once content has begun, an ordinary delta costs a few substring searches and a walk over the delta
//! itself; only frames with usage, a finish reason or an unexpected shape are read whole.

mod cut;
mod frame;
mod relayed_text;
#[cfg(test)]
mod tests;

use std::ops::Range;

use bytes::Bytes;
use tollgate_domain::{NanoUsd, Surface, Usage, UsageError};

pub use self::cut::{CutNotice, CutUsage, StreamHead, cut_events};
use self::frame::{Look, Progress};
pub use self::relayed_text::collect_text;
use super::error::ProviderError;
use super::usage::{UsageSpan, with_cost};
use crate::sse::{Decoder, Piece, SseError, data_event};

/// `data: [DONE]` and a blank line.
pub const DONE_EVENT: &[u8] = b"data: [DONE]\n\n";

/// How a stream is relayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamOptions {
    /// The client asked for the usage chunk; else it is hidden.
    pub client_wants_usage: bool,
    /// Answers that will each have a finish reason: `RequestSkim::n_returned_choices`.
    pub n_choices: u64,
}

/// What a chunk led to, in order.
#[derive(Debug)]
pub enum RelayEvent {
    /// Bytes for the client as they stand.
    Forward(Bytes),
    /// The provider's usage; price it, then send what [`UsageFrame::with_cost`] returns.
    Usage {
        /// The counts so far (cumulative: the last one wins), or why they are unusable.
        usage: Result<Usage, UsageError>,
        /// The frame it came in.
        frame: UsageFrame,
    },
    /// The provider ended with an error event, which is not forwarded; everything after it is dropped.
    ProviderError(ProviderError),
}

/// A frame that holds usage, waiting for its cost. `Debug` shows nothing of it.
pub struct UsageFrame {
    raw: Bytes,
    show: Show,
}

/// What the client sees of a usage frame.
enum Show {
    Nothing,
    AsItCame,
    WithCost { json: Vec<u8>, span: UsageSpan },
    Written(Box<dyn FnOnce(Option<NanoUsd>) -> Option<Bytes> + Send + Sync>),
}

impl std::fmt::Debug for UsageFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UsageFrame({} bytes)", self.raw.len())
    }
}

impl RelayEvent {
    /// The frames as the provider sent them; empty for its errors.
    #[must_use]
    pub fn frames(&self) -> &[u8] {
        match self {
            Self::Forward(bytes) => bytes,
            Self::Usage { frame, .. } => &frame.raw,
            Self::ProviderError(_) => &[],
        }
    }
}

impl UsageFrame {
    /// A frame that is written once its cost is known.
    #[must_use]
    pub fn written(write: impl FnOnce(Option<NanoUsd>) -> Option<Bytes> + Send + Sync + 'static) -> Self {
        Self { raw: Bytes::new(), show: Show::Written(Box::new(write)) }
    }

    /// The frame for the client with `usage.cost` in it; as it came where the client asked for no usage but
    /// the frame has content; `None` where it is hidden.
    #[must_use]
    pub fn with_cost(self, cost: NanoUsd) -> Option<Bytes> {
        match self.show {
            Show::Nothing => None,
            Show::AsItCame => Some(self.raw),
            Show::WithCost { json, span } => Some(data_event(&with_cost(&json, &span, cost))),
            Show::Written(write) => write(Some(cost)),
        }
    }

    /// The frame for the client without a cost (unusable counts).
    #[must_use]
    pub fn without_cost(self) -> Option<Bytes> {
        match self.show {
            Show::Nothing => None,
            Show::AsItCame | Show::WithCost { .. } => Some(self.raw),
            Show::Written(write) => write(None),
        }
    }
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// With its terminator.
    Complete,
    /// Every answer is finished, but `[DONE]` is missing: write [`DONE_EVENT`].
    MissingTerminator,
    /// In the middle, or with a provider's error.
    Broken,
}

/// The relay of one streamed answer.
#[derive(Debug)]
pub struct StreamRelay {
    decoder: Decoder,
    progress: Progress,
}

impl StreamRelay {
    /// A relay at the start of an answer.
    #[must_use]
    pub fn new(surface: Surface, options: StreamOptions) -> Self {
        Self { decoder: Decoder::new(), progress: Progress::new(surface, options) }
    }

    /// Takes the next chunk and appends what it leads to. After `[DONE]` or an error event everything is
    /// dropped.
    ///
    /// # Errors
    /// An event is too large; the stream is to be treated as broken.
    #[expect(clippy::needless_pass_by_value, reason = "what is forwarded are slices of the chunk")]
    pub fn push(&mut self, chunk: Bytes, out: &mut Vec<RelayEvent>) -> Result<(), SseError> {
        let mut at = 0;
        let mut untouched = 0..0;
        while !self.progress.is_over() {
            let piece = match self.decoder.next_piece(&chunk, &mut at) {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(error) => {
                    flush(&chunk, &mut untouched, out);
                    return Err(error);
                }
            };
            let (look, raw) = match piece {
                Piece::Slice { start, end } => {
                    let look = self.progress.look(&chunk[start..end]);
                    if matches!(look, Look::Forward) {
                        let first = if untouched.is_empty() { start } else { untouched.start };
                        untouched = first..end;
                        continue;
                    }
                    flush(&chunk, &mut untouched, out);
                    (look, chunk.slice(start..end))
                }
                Piece::Joined(raw) => (self.progress.look(&raw), raw),
            };
            out.extend(self.progress.event(look, raw));
        }
        flush(&chunk, &mut untouched, out);
        Ok(())
    }

    /// The end of the provider's body (`clean`) or its failure. A last event without its blank line counts
    /// where it is whole in itself.
    pub fn finish(&mut self, clean: bool, out: &mut Vec<RelayEvent>) -> StreamEnd {
        let rest = self.decoder.take_rest();
        if clean && !self.progress.is_over() && frame::is_whole(&rest) {
            let raw = Bytes::from([rest.as_ref(), b"\n\n"].concat());
            let look = self.progress.look(&raw);
            out.extend(self.progress.event(look, raw));
        }
        match (self.progress.done_seen, self.finish_seen()) {
            (true, _) => StreamEnd::Complete,
            (false, true) if clean && !self.progress.is_over() => StreamEnd::MissingTerminator,
            _ => StreamEnd::Broken,
        }
    }

    /// Whether content (not only a role) has come: from here on there is no failover.
    #[must_use]
    pub const fn content_begun(&self) -> bool {
        self.progress.content_begun
    }

    /// Whether every answer has its finish reason.
    #[must_use]
    pub const fn finish_seen(&self) -> bool {
        self.progress.finish_seen()
    }

    /// Whether `[DONE]` has come.
    #[must_use]
    pub const fn done_seen(&self) -> bool {
        self.progress.done_seen
    }

    /// The last usable usage.
    #[must_use]
    pub const fn usage(&self) -> Option<Usage> {
        self.progress.usage
    }

    /// The tier it is served at, in the provider's words: the last one told before content begins, beside a
    /// finish reason or beside the usage. Ordinary deltas are not searched for it.
    #[must_use]
    pub fn service_tier(&self) -> Option<&str> {
        self.progress.service_tier.as_deref()
    }

    /// Whether text has come since the usage was told: its count of the answer is not the last one.
    #[must_use]
    pub const fn has_text_since_usage(&self) -> bool {
        self.progress.text_bytes > self.progress.text_bytes_told
    }

    /// Whether an event has come that is no JSON.
    #[must_use]
    pub const fn has_unreadable(&self) -> bool {
        self.progress.has_unreadable
    }

    /// Bytes of text relayed: content, reasoning, refusals, tool arguments.
    #[must_use]
    pub const fn text_bytes(&self) -> u64 {
        self.progress.text_bytes
    }

    /// Events that carried text.
    #[must_use]
    pub const fn n_text_events(&self) -> u64 {
        self.progress.n_text_events
    }
}

fn flush(chunk: &Bytes, untouched: &mut Range<usize>, out: &mut Vec<RelayEvent>) {
    if untouched.start < untouched.end {
        out.push(RelayEvent::Forward(chunk.slice(std::mem::take(untouched))));
    }
}
