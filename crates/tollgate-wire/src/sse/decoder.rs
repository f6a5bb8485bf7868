//! The decoder.

use bytes::Bytes;

/// Bytes of one event, its line ends included; a provider that sends more is broken.
pub const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// One block of lines up to and with its blank line: an event, a comment, or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The bytes as they came.
    pub raw: Bytes,
}

/// A stream that is no event stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// An event beyond [`MAX_EVENT_BYTES`].
    #[error("the provider sent an event of more than {MAX_EVENT_BYTES} bytes")]
    EventTooLarge,
}

/// The decoder's state between chunks.
#[derive(Debug, Default)]
pub struct Decoder {}

impl Frame {
    /// The data of the event: its `data` lines joined by line feeds; `None` where it has none.
    #[must_use]
    pub fn data(&self) -> Option<&[u8]> {
        todo!()
    }
    /// The event's name, where one is given.
    #[must_use]
    pub fn event(&self) -> Option<&[u8]> {
        todo!()
    }
}

impl Decoder {
    /// A decoder at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// Takes the next chunk and appends the frames it completes.
    ///
    /// # Errors
    /// An event is too large.
    pub fn push(&mut self, chunk: Bytes, frames: &mut Vec<Frame>) -> Result<(), SseError> {
        let _ = (chunk, frames);
        todo!()
    }
    /// The bytes of an unfinished event at the end of the stream.
    pub fn take_rest(&mut self) -> Bytes {
        todo!()
    }
}
