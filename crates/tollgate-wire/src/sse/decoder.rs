//! The decoder: chunks in, frames out.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

use super::splitter::Splitter;

/// Bytes of one event, its line ends included; a provider that sends more is broken.
pub const MAX_EVENT_BYTES: usize = 1024 * 1024;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One block of lines up to and with its blank line: an event, a comment, or nothing. The bytes are those
/// that came: a slice of the chunk where the frame lies inside one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The bytes as they came.
    pub raw: Bytes,
}

/// A stream that is no event stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// An event beyond the decoder's bound, [`MAX_EVENT_BYTES`] where none is given.
    #[error("the provider sent an event that is too large")]
    EventTooLarge,
    /// An event that is not what its dialect has.
    #[error("the provider sent an event that cannot be read")]
    Unreadable,
}

/// The decoder's state between chunks.
#[derive(Debug)]
pub struct Decoder {
    splitter: Splitter,
    partial: BytesMut,
    max_event_bytes: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::with_max_event_bytes(MAX_EVENT_BYTES)
    }
}

impl Frame {
    /// The data of the event: its `data` lines joined by line feeds; `None` where it has none.
    #[must_use]
    pub fn data(&self) -> Option<Cow<'_, [u8]>> {
        frame_data(&self.raw)
    }

    /// The event's name, where one is given.
    #[must_use]
    pub fn event(&self) -> Option<&[u8]> {
        lines(&self.raw).filter_map(|line| field(line, b"event")).last().filter(|name| !name.is_empty())
    }
}

impl Decoder {
    /// A decoder at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A decoder whose events may be larger or smaller than usual.
    #[must_use]
    pub fn with_max_event_bytes(max_event_bytes: usize) -> Self {
        Self { splitter: Splitter::default(), partial: BytesMut::new(), max_event_bytes }
    }

    /// Takes the next chunk and appends the frames it completes.
    ///
    /// # Errors
    /// An event is too large.
    #[expect(clippy::needless_pass_by_value, reason = "frames are slices of the chunk")]
    pub fn push(&mut self, chunk: Bytes, frames: &mut Vec<Frame>) -> Result<(), SseError> {
        let mut at = 0;
        while let Some(piece) = self.next_piece(&chunk, &mut at)? {
            let raw = match piece {
                Piece::Slice { start, end } => chunk.slice(start..end),
                Piece::Joined(raw) => raw,
            };
            frames.push(Frame { raw });
        }
        Ok(())
    }

    /// The bytes of an unfinished event at the end of the stream. (The standard drops them; a relay may know
    /// better.)
    #[must_use]
    pub fn take_rest(&mut self) -> Bytes {
        self.splitter = Splitter::default();
        self.partial.split().freeze()
    }

    /// The next frame of `chunk` from `at` on; `None` when the rest of the chunk has been kept for later.
    pub(crate) fn next_piece(&mut self, chunk: &Bytes, at: &mut usize) -> Result<Option<Piece>, SseError> {
        let start = *at;
        let end = self.splitter.event_end(chunk, start);
        let n_bytes = self.partial.len() + end.unwrap_or(chunk.len()) - start;
        if n_bytes > self.max_event_bytes {
            return Err(SseError::EventTooLarge);
        }
        let Some(end) = end else {
            self.partial.extend_from_slice(&chunk[start..]);
            *at = chunk.len();
            return Ok(None);
        };
        *at = end;
        if self.partial.is_empty() {
            return Ok(Some(Piece::Slice { start, end }));
        }
        self.partial.extend_from_slice(&chunk[start..end]);
        Ok(Some(Piece::Joined(self.partial.split().freeze())))
    }
}

/// A frame's bytes: inside the chunk at hand, or put together from several.
#[derive(Debug)]
pub(crate) enum Piece {
    Slice { start: usize, end: usize },
    Joined(Bytes),
}

/// The data of a frame's bytes; borrowed where it is one line.
pub(crate) fn frame_data(raw: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut found: Option<Cow<'_, [u8]>> = None;
    for data in lines(raw).filter_map(|line| field(line, b"data")) {
        match &mut found {
            None => found = Some(Cow::Borrowed(data)),
            Some(joined) => {
                let joined = joined.to_mut();
                joined.push(b'\n');
                joined.extend_from_slice(data);
            }
        }
    }
    found
}

/// The lines of a frame without their ends. A byte order mark can only stand at the start of a stream;
/// anywhere else it makes a field name that nobody knows, and nobody sends one there.
fn lines(raw: &[u8]) -> impl Iterator<Item = &[u8]> {
    let raw = raw.strip_prefix(BYTE_ORDER_MARK).unwrap_or(raw);
    // The empty "line" between the CR and LF of a pair has no field.
    raw.split(|byte| matches!(byte, b'\r' | b'\n')).filter(|line| !line.is_empty())
}

/// The value of a line whose field is `name`, without the one space after the colon.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let rest = line.strip_prefix(name)?;
    match rest.split_first() {
        None => Some(rest),
        Some((b':', value)) => Some(value.strip_prefix(b" ").unwrap_or(value)),
        Some(_) => None,
    }
}
