//! A body out of its framing.

use bytes::{Buf as _, Bytes, BytesMut};

use crate::client::MAX_HEAD_BYTES;

/// A chunk's size with its extensions: nobody writes more than some ten bytes.
const MAX_SIZE_LINE_BYTES: usize = 4 * 1024;

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// After so many bytes.
    Length(u64),
    /// As its chunks say.
    Chunked,
    /// With the connection.
    ToClose,
}

/// Takes a body out of what was read.
#[derive(Debug)]
pub(super) enum Decoder {
    /// So many bytes are missing.
    Length(u64),
    /// Whatever comes.
    ToClose,
    /// A chunk's size is next.
    ChunkSize,
    /// So many bytes of a chunk are missing.
    Chunk(u64),
    /// A chunk's line end is next.
    ChunkEnd,
    /// Trailers, of which so many bytes were passed.
    Trailers(usize),
    /// The body has ended.
    Ended,
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decoded {
    /// A piece of the body.
    Data(Bytes),
    /// Nothing yet.
    NeedsMore,
    /// The end.
    End,
}

impl Decoder {
    pub(super) const fn new(framing: Framing) -> Self {
        match framing {
            Framing::Length(0) => Self::Ended,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::ChunkSize,
            Framing::ToClose => Self::ToClose,
        }
    }

    pub(super) const fn has_ended(&self) -> bool {
        matches!(self, Self::Ended)
    }

    /// Bytes to come, where that is known.
    pub(super) const fn remaining(&self) -> Option<u64> {
        match self {
            Self::Length(missing) => Some(*missing),
            Self::Ended => Some(0),
            _ => None,
        }
    }

    /// The next piece of the body in `buffer`.
    ///
    /// # Errors
    /// What is wrong with the chunks.
    pub(super) fn next(&mut self, buffer: &mut BytesMut) -> Result<Decoded, &'static str> {
        loop {
            match self {
                Self::Ended => return Ok(Decoded::End),
                _ if buffer.is_empty() => return Ok(Decoded::NeedsMore),
                Self::ToClose => return Ok(Decoded::Data(buffer.split().freeze())),
                Self::Length(missing) => {
                    let data = take(missing, buffer);
                    if *missing == 0 {
                        *self = Self::Ended;
                    }
                    return Ok(Decoded::Data(data));
                }
                Self::Chunk(missing) => {
                    let data = take(missing, buffer);
                    if *missing == 0 {
                        *self = Self::ChunkEnd;
                    }
                    return Ok(Decoded::Data(data));
                }
                Self::ChunkSize => {
                    let Some(line) = take_line(buffer, MAX_SIZE_LINE_BYTES)? else {
                        return Ok(Decoded::NeedsMore);
                    };
                    *self = match chunk_size(&line)? {
                        0 => Self::Trailers(0),
                        size => Self::Chunk(size),
                    };
                }
                Self::ChunkEnd => match buffer[..] {
                    [b'\r'] => return Ok(Decoded::NeedsMore),
                    [b'\r', b'\n', ..] => {
                        buffer.advance(2);
                        *self = Self::ChunkSize;
                    }
                    _ => return Err("a chunk does not end where it should"),
                },
                Self::Trailers(n_passed) => {
                    let Some(line) = take_line(buffer, MAX_HEAD_BYTES.saturating_sub(*n_passed))? else {
                        return Ok(Decoded::NeedsMore);
                    };
                    *n_passed += line.len();
                    if line.trim_ascii_end().is_empty() {
                        *self = Self::Ended;
                    }
                }
            }
        }
    }
}

fn take(missing: &mut u64, buffer: &mut BytesMut) -> Bytes {
    let n = usize::try_from(*missing).unwrap_or(usize::MAX).min(buffer.len());
    *missing -= n as u64;
    if n == buffer.len() { buffer.split().freeze() } else { buffer.split_to(n).freeze() }
}

/// The next line with its end.
fn take_line(buffer: &mut BytesMut, max: usize) -> Result<Option<BytesMut>, &'static str> {
    match memchr::memchr(b'\n', buffer) {
        Some(at) if at < max => Ok(Some(buffer.split_to(at + 1))),
        None if buffer.len() <= max => Ok(None),
        _ => Err("a line between its chunks is too long"),
    }
}

fn chunk_size(line: &[u8]) -> Result<u64, &'static str> {
    let size = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let is_hexadecimal = !size.is_empty() && size.iter().all(u8::is_ascii_hexdigit);
    let size = std::str::from_utf8(size).ok().filter(|_| is_hexadecimal);
    size.and_then(|size| u64::from_str_radix(size, 16).ok()).ok_or("a chunk's size is no number")
}
