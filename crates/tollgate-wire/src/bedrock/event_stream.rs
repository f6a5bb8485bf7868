//! Amazon's event-stream framing: each message has a prelude with its lengths and their checksum, headers, a
//! payload, and a checksum of everything.

use bytes::{Bytes, BytesMut};

/// Bytes of a message at most; Amazon's own bound is 16 MiB, models' messages are far smaller.
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;
/// Lengths of the message and of its headers, and the checksum of both.
const PRELUDE_BYTES: usize = 12;
/// The checksum at the end.
const CHECKSUM_BYTES: usize = 4;

/// One message.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// `:event-type` or, for an exception, `:exception-type`.
    pub name: String,
    /// Whether it tells of a failure.
    pub is_exception: bool,
    /// Its JSON.
    pub payload: Bytes,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Message({}, {} bytes)", self.name, self.payload.len())
    }
}

/// Why a stream cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventStreamError {
    /// A length that no message has.
    #[error("a message has an impossible length")]
    Length,
    /// A checksum that does not fit.
    #[error("a message is damaged: its checksum does not fit")]
    Checksum,
    /// Headers that do not follow the format.
    #[error("a message has headers that cannot be read")]
    Headers,
}

/// Cuts a stream into its messages, however it is split.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
}

impl Decoder {
    /// Takes the next bytes and appends the messages that are whole.
    ///
    /// # Errors
    /// The stream is damaged; nothing after it can be read.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<Message>) -> Result<(), EventStreamError> {
        self.buffer.extend_from_slice(bytes);
        while let Some(total) = self.next_length()? {
            let message = self.buffer.split_to(total).freeze();
            out.push(read_message(&message)?);
        }
        Ok(())
    }

    /// Whether the stream may end here.
    #[must_use]
    pub fn is_between_messages(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The length of the next message, where it is here in full.
    fn next_length(&self) -> Result<Option<usize>, EventStreamError> {
        let Some(prelude) = self.buffer.get(..PRELUDE_BYTES) else { return Ok(None) };
        if crc32fast::hash(&prelude[..8]) != word(prelude, 8) {
            return Err(EventStreamError::Checksum);
        }
        let total = word(prelude, 0) as usize;
        let headers = word(prelude, 4) as usize;
        let least = headers.saturating_add(PRELUDE_BYTES + CHECKSUM_BYTES);
        if total < least || total > MAX_MESSAGE_BYTES {
            return Err(EventStreamError::Length);
        }
        Ok((self.buffer.len() >= total).then_some(total))
    }
}

/// The big-endian word at `at`, which is inside.
fn word(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |word, byte| (word << 8) | u32::from(*byte))
}

fn read_message(bytes: &Bytes) -> Result<Message, EventStreamError> {
    let end = bytes.len() - CHECKSUM_BYTES;
    if crc32fast::hash(&bytes[..end]) != word(bytes, end) {
        return Err(EventStreamError::Checksum);
    }
    let headers_end = PRELUDE_BYTES + word(bytes, 4) as usize;
    let mut message =
        Message { name: String::new(), is_exception: false, payload: bytes.slice(headers_end..end) };
    let mut rest = &bytes[PRELUDE_BYTES..headers_end];
    while !rest.is_empty() {
        let (name, value, after) = read_header(rest).ok_or(EventStreamError::Headers)?;
        rest = after;
        match (name, value) {
            (b":event-type", Some(value)) => message.name = String::from_utf8_lossy(value).into_owned(),
            (b":exception-type" | b":error-code", Some(value)) => {
                message.name = String::from_utf8_lossy(value).into_owned();
                message.is_exception = true;
            }
            (b":message-type", Some(b"exception" | b"error")) => message.is_exception = true,
            _ => {}
        }
    }
    Ok(message)
}

/// A header's name, its value where that is a string, and what follows.
type Header<'a> = (&'a [u8], Option<&'a [u8]>, &'a [u8]);

/// The next header.
fn read_header(bytes: &[u8]) -> Option<Header<'_>> {
    let (n_name, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*n_name))?;
    let (kind, rest) = rest.split_first()?;
    let n_value = match kind {
        // true, false
        0 | 1 => 0,
        // byte, short, int, long
        2 => 1,
        3 => 2,
        4 => 4,
        // long, timestamp
        5 | 8 => 8,
        // bytes, string
        6 | 7 => {
            let (length, rest) = rest.split_at_checked(2)?;
            let length = (usize::from(length[0]) << 8) | usize::from(length[1]);
            let (value, after) = rest.split_at_checked(length)?;
            return Some((name, (*kind == 7).then_some(value), after));
        }
        // a UUID
        9 => 16,
        _ => return None,
    };
    Some((name, None, rest.get(n_value..)?))
}

/// A message in the framing: for tests and mock providers.
#[must_use]
pub fn encode(name: &str, is_exception: bool, payload: &[u8]) -> Vec<u8> {
    let kind = if is_exception { "exception" } else { "event" };
    let type_name = if is_exception { ":exception-type" } else { ":event-type" };
    let mut headers = Vec::new();
    for (key, value) in [(":message-type", kind), (type_name, name), (":content-type", "application/json")] {
        headers.push(u8::try_from(key.len()).unwrap_or(u8::MAX));
        headers.extend_from_slice(key.as_bytes());
        headers.push(7);
        headers.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
        headers.extend_from_slice(value.as_bytes());
    }
    let length = |n_bytes: usize| u32::try_from(n_bytes).unwrap_or(u32::MAX).to_be_bytes();
    let total = PRELUDE_BYTES + headers.len() + payload.len() + CHECKSUM_BYTES;
    let mut out = Vec::with_capacity(total);
    out.extend_from_slice(&length(total));
    out.extend_from_slice(&length(headers.len()));
    out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
    out.extend_from_slice(&headers);
    out.extend_from_slice(payload);
    out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
    out
}
