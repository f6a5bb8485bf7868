//! One request as the mock read it, and the parser that reads it.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::{Buf as _, Bytes, BytesMut};
use memchr::{memchr, memmem};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::record::AnswerEnd;

/// Request heads beyond this end the connection; Tollgate's own limits are far below.
const HEAD_BYTES_MAX: usize = 256 * 1024;
/// Request bodies beyond this end the connection; Tollgate's own limits are below.
const BODY_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Room for one read: most requests come in whole.
const READ_BYTES: usize = 8 * 1024;

/// A request that the mock has read completely, with the state of its answer.
pub struct ReceivedRequest {
    head: Bytes,
    body: Bytes,
    sequence: u64,
    connection: u64,
    end: AtomicU8,
}

impl ReceivedRequest {
    /// The method, as sent.
    pub fn method(&self) -> &str {
        self.request_line_word(0)
    }

    /// The path with the query, as sent: `/v1/chat/completions`.
    pub fn path(&self) -> &str {
        self.request_line_word(1)
    }

    /// All headers in their order, names in lower case. Text that is not UTF-8 is left out.
    pub fn headers(&self) -> Vec<(String, String)> {
        header_lines(&self.head)
            .filter_map(|(name, value)| {
                let name = std::str::from_utf8(name).ok()?.to_ascii_lowercase();
                Some((name, std::str::from_utf8(value).ok()?.to_owned()))
            })
            .collect()
    }

    /// The first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = header_lines(&self.head);
        let (_, value) = lines.find(|(candidate, _)| candidate.eq_ignore_ascii_case(name.as_bytes()))?;
        std::str::from_utf8(value).ok()
    }

    /// The credential in `Authorization: Bearer …`.
    pub fn bearer(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }

    /// The head's bytes as they came, with the empty line.
    pub fn head_bytes(&self) -> &Bytes {
        &self.head
    }

    /// The body's bytes, without chunked framing.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The body as JSON.
    pub fn json(&self) -> anyhow::Result<serde_json::Value> {
        Ok(serde_json::from_slice(&self.body)?)
    }

    /// Counts requests from 1 in the order in which they were read.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Counts connections from 1: requests of one number came over one connection.
    pub fn connection(&self) -> u64 {
        self.connection
    }

    /// How the answer ended so far.
    pub fn end(&self) -> AnswerEnd {
        match self.end.load(Ordering::SeqCst) {
            0 => AnswerEnd::InFlight,
            1 => AnswerEnd::Complete,
            2 => AnswerEnd::BrokenOff,
            _ => AnswerEnd::ClientDisconnected,
        }
    }

    /// Whether the client went away before the answer ended.
    pub fn client_disconnected(&self) -> bool {
        self.end() == AnswerEnd::ClientDisconnected
    }

    pub(super) fn set_end(&self, end: AnswerEnd) {
        let code = match end {
            AnswerEnd::InFlight => 0,
            AnswerEnd::Complete => 1,
            AnswerEnd::BrokenOff => 2,
            AnswerEnd::ClientDisconnected => 3,
        };
        self.end.store(code, Ordering::SeqCst);
    }

    pub(super) fn wants_close(&self) -> bool {
        let is_old = self.request_line_word(2) == "HTTP/1.0";
        is_old || self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    fn request_line_word(&self, index: usize) -> &str {
        let line_end = memchr(b'\r', &self.head).unwrap_or(self.head.len());
        let line = std::str::from_utf8(&self.head[..line_end]).unwrap_or_default();
        line.split(' ').nth(index).unwrap_or_default()
    }
}

impl fmt::Debug for ReceivedRequest {
    /// Without headers and body: they hold credentials and prompts.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ReceivedRequest")
            .field("method", &self.method())
            .field("path", &self.path())
            .field("n_body_bytes", &self.body.len())
            .field("connection", &self.connection)
            .field("end", &self.end())
            .finish_non_exhaustive()
    }
}

/// Reads one request from `stream`, keeping what follows it in `buffer`. `None` when the client closed the
/// connection between two requests; an error for half a request or one that is not HTTP/1.1.
pub(super) async fn read_request(
    stream: &mut TcpStream,
    buffer: &mut BytesMut,
    connection: u64,
    next_sequence: impl FnOnce() -> u64,
) -> io::Result<Option<ReceivedRequest>> {
    let head_end = loop {
        if let Some(start) = memmem::find(buffer, b"\r\n\r\n") {
            break start + 4;
        }
        if buffer.len() > HEAD_BYTES_MAX {
            return Err(bad_request("the head is too long"));
        }
        let was_empty = buffer.is_empty();
        match read_more(stream, buffer).await {
            Ok(()) => {}
            Err(_) if was_empty => return Ok(None),
            Err(error) => return Err(error),
        }
    };
    let head = take(buffer, head_end);
    let (mut length, mut is_chunked, mut expects_continue) = (0, false, false);
    for (name, value) in header_lines(&head) {
        if name.eq_ignore_ascii_case(b"content-length") {
            let text = std::str::from_utf8(value).unwrap_or_default();
            length = text.parse().map_err(|_| bad_request("content-length is not a number"))?;
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            is_chunked = value.eq_ignore_ascii_case(b"chunked");
        } else if name.eq_ignore_ascii_case(b"expect") {
            expects_continue = value.eq_ignore_ascii_case(b"100-continue");
        }
    }
    if expects_continue {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let body = if is_chunked {
        read_chunked(stream, buffer).await?
    } else {
        read_exactly(stream, buffer, length).await?
    };
    let sequence = next_sequence();
    Ok(Some(ReceivedRequest { head, body, sequence, connection, end: AtomicU8::new(0) }))
}

/// Reads whatever has come into `buffer`; an end of the stream is an error.
pub(super) async fn read_more(stream: &mut TcpStream, buffer: &mut BytesMut) -> io::Result<()> {
    buffer.reserve(READ_BYTES);
    match stream.read_buf(buffer).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

async fn read_exactly(stream: &mut TcpStream, buffer: &mut BytesMut, length: usize) -> io::Result<Bytes> {
    if length > BODY_BYTES_MAX {
        return Err(bad_request("the body is too long"));
    }
    while buffer.len() < length {
        buffer.reserve(length - buffer.len());
        read_more(stream, buffer).await?;
    }
    Ok(take(buffer, length))
}

/// Splits off the first `length` bytes. Small ones are copied: a recorded request must not keep the whole
/// read buffer alive.
fn take(buffer: &mut BytesMut, length: usize) -> Bytes {
    if length > READ_BYTES {
        return buffer.split_to(length).freeze();
    }
    let taken = Bytes::copy_from_slice(&buffer[..length]);
    buffer.advance(length);
    taken
}

async fn read_chunked(stream: &mut TcpStream, buffer: &mut BytesMut) -> io::Result<Bytes> {
    let mut body = BytesMut::new();
    loop {
        let size_line = read_line(stream, buffer).await?;
        let size_text = size_line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size_text, 16).map_err(|_| bad_request("bad chunk size"))?;
        if size == 0 {
            // Trailers, then an empty line.
            while !read_line(stream, buffer).await?.is_empty() {}
            return Ok(body.freeze());
        }
        if body.len().saturating_add(size) > BODY_BYTES_MAX {
            return Err(bad_request("the body is too long"));
        }
        body.extend_from_slice(&read_exactly(stream, buffer, size).await?);
        if !read_line(stream, buffer).await?.is_empty() {
            return Err(bad_request("a chunk does not end where it should"));
        }
    }
}

async fn read_line(stream: &mut TcpStream, buffer: &mut BytesMut) -> io::Result<String> {
    loop {
        if let Some(end) = memmem::find(buffer, b"\r\n") {
            let line = buffer.split_to(end);
            buffer.advance(2);
            return String::from_utf8(line.to_vec()).map_err(|_| bad_request("a line is not text"));
        }
        if buffer.len() > HEAD_BYTES_MAX {
            return Err(bad_request("a line is too long"));
        }
        read_more(stream, buffer).await?;
    }
}

fn header_lines(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = head;
    let mut lines = std::iter::from_fn(move || {
        let end = memchr(b'\n', rest)?;
        let line = rest[..end].trim_ascii_end();
        rest = &rest[end + 1..];
        Some(line)
    });
    lines.next();
    lines.filter_map(|line| {
        let colon = memchr(b':', line)?;
        Some((&line[..colon], line[colon + 1..].trim_ascii()))
    })
}

fn bad_request(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}
