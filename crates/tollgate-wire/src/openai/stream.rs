//! Streamed answers: relayed as they come, except for the usage chunk.

use bytes::Bytes;
use tollgate_domain::{NanoUsd, Surface, Usage, UsageError};

use super::error::ProviderError;
use crate::sse::SseError;

/// `data: [DONE]` and a blank line.
pub const DONE_EVENT: &[u8] = b"data: [DONE]\n\n";

/// How a stream is relayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamOptions {
    /// The client asked for the usage chunk; else it is hidden.
    pub client_wants_usage: bool,
    /// Answers that will each have a finish reason.
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
    /// The provider ended with an error event, which is not forwarded.
    ProviderError(ProviderError),
}

/// A frame that holds usage, waiting for its cost.
#[derive(Debug)]
pub struct UsageFrame {
    raw: Bytes,
}

impl UsageFrame {
    /// The frame for the client with `usage.cost` in it; as it came where the client asked for no usage but
    /// the frame has content; `None` where it is hidden.
    #[must_use]
    pub fn with_cost(self, cost: NanoUsd) -> Option<Bytes> {
        let _ = (cost, self.raw);
        todo!()
    }
    /// The frame for the client without a cost (unusable counts).
    #[must_use]
    pub fn without_cost(self) -> Option<Bytes> {
        todo!()
    }
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// With its terminator.
    Complete,
    /// Every answer is finished, but `[DONE]` is missing: write [`DONE_EVENT`].
    MissingTerminator,
    /// In the middle.
    Broken,
}

/// The relay of one streamed answer.
#[derive(Debug)]
pub struct StreamRelay {}

impl StreamRelay {
    /// A relay at the start of an answer.
    #[must_use]
    pub fn new(surface: Surface, options: StreamOptions) -> Self {
        let _ = (surface, options);
        Self {}
    }
    /// Takes the next chunk and appends what it leads to. After `[DONE]` everything is dropped.
    ///
    /// # Errors
    /// An event is too large; the stream is to be treated as broken.
    pub fn push(&mut self, chunk: Bytes, out: &mut Vec<RelayEvent>) -> Result<(), SseError> {
        let _ = (chunk, out);
        todo!()
    }
    /// The end of the provider's body (`clean`) or its failure; a last event without its blank line counts.
    pub fn finish(&mut self, clean: bool, out: &mut Vec<RelayEvent>) -> StreamEnd {
        let _ = (clean, out);
        todo!()
    }
    /// Whether content (not only a role) has come: from here on there is no failover.
    #[must_use]
    pub fn content_begun(&self) -> bool {
        todo!()
    }
    /// Whether every answer has its finish reason.
    #[must_use]
    pub fn finish_seen(&self) -> bool {
        todo!()
    }
    /// Whether `[DONE]` has come.
    #[must_use]
    pub fn done_seen(&self) -> bool {
        todo!()
    }
    /// The last usable usage.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        todo!()
    }
    /// Bytes of text relayed: content, reasoning, refusals, tool arguments.
    #[must_use]
    pub fn text_bytes(&self) -> u64 {
        todo!()
    }
    /// Events that carried text.
    #[must_use]
    pub fn n_text_events(&self) -> u64 {
        todo!()
    }
}
