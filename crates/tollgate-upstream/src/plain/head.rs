//! Heads: the request's as bytes, the answer's out of them.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, Version};

use super::decoder::Framing;
use crate::UpstreamRequest;
use crate::client::{MAX_HEAD_BYTES, MAX_HEAD_COUNT};

/// Room for a usual request's head: it need not grow.
const USUAL_HEAD_BYTES: usize = 768;
/// What every answer begins with.
const ANSWER_MARK: &[u8] = b"HTTP/1.";

/// An answer's head, and how its body ends.
#[derive(Debug)]
pub(super) struct AnswerHead {
    pub(super) parts: http::response::Parts,
    pub(super) framing: Framing,
    /// Whether the connection may be used again after the body.
    pub(super) keeps_alive: bool,
}

// === requests ===

/// The head of a request, framed by its length.
pub(super) fn write(request: &UpstreamRequest) -> Vec<u8> {
    let mut out = Vec::with_capacity(USUAL_HEAD_BYTES);
    let path = request.url.path_and_query().map_or("/", |path| path.as_str());
    for part in [request.method.as_str(), " ", path, " HTTP/1.1\r\nhost: "] {
        out.extend_from_slice(part.as_bytes());
    }
    write_host(&mut out, &request.url);
    out.extend_from_slice(b"\r\naccept-encoding: identity\r\n");
    let is_bodiless = matches!(request.method, Method::GET | Method::HEAD) && request.body.is_empty();
    if !is_bodiless {
        out.extend_from_slice(b"content-length: ");
        out.extend_from_slice(itoa::Buffer::new().format(request.body.len()).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    for (name, value) in &request.headers {
        if is_ours(name) {
            continue;
        }
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// Headers that frame the message or are written anyway: nobody else has a say in them.
fn is_ours(name: &HeaderName) -> bool {
    [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, ACCEPT_ENCODING].contains(name)
}

/// Without user and password, and without a port that goes without saying.
fn write_host(out: &mut Vec<u8>, url: &Uri) {
    out.extend_from_slice(url.host().unwrap_or_default().as_bytes());
    if let Some(port) = url.port().filter(|port| port.as_u16() != 80) {
        out.push(b':');
        out.extend_from_slice(port.as_str().as_bytes());
    }
}

// === answers ===

/// Takes an answer's head off the buffer, once it is there whole; interim answers (`100 Continue`) are passed over.
///
/// # Errors
/// Why it is none.
pub(super) fn read(buffer: &mut BytesMut, has_no_body: bool) -> Result<Option<AnswerHead>, String> {
    loop {
        let Some(end) = end_of_head(buffer) else {
            let mark = buffer.len().min(ANSWER_MARK.len());
            if buffer[..mark] != ANSWER_MARK[..mark] {
                return Err("it does not begin with `HTTP/1.`".to_owned());
            }
            return if buffer.len() > MAX_HEAD_BYTES { Err(too_large()) } else { Ok(None) };
        };
        if end > MAX_HEAD_BYTES {
            return Err(too_large());
        }
        let head = buffer.split_to(end).freeze();
        let answer = parse(&head, has_no_body)?;
        if answer.parts.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err("it switches protocols".to_owned());
        }
        if !answer.parts.status.is_informational() {
            return Ok(Some(answer));
        }
    }
}

/// Whether a head that broke off had begun like one.
///
/// # Errors
/// Why it had not.
pub(super) fn is_beginning(bytes: &[u8]) -> Result<(), String> {
    let mut headers = [const { MaybeUninit::uninit() }; MAX_HEAD_COUNT];
    let mut answer = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let parsed = config.parse_response_with_uninit_headers(&mut answer, bytes, &mut headers);
    parsed.map(drop).map_err(|error| error.to_string())
}

fn too_large() -> String {
    format!("its head is larger than {MAX_HEAD_BYTES} bytes")
}

/// Where the empty line ends.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(n) = memchr::memchr(b'\n', &bytes[at..]) {
        at += n + 1;
        match bytes[at..] {
            [b'\n', ..] => return Some(at + 1),
            [b'\r', b'\n', ..] => return Some(at + 2),
            _ => {}
        }
    }
    None
}

fn parse(head: &Bytes, has_no_body: bool) -> Result<AnswerHead, String> {
    let mut headers = [const { MaybeUninit::uninit() }; MAX_HEAD_COUNT];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut parsed, head, &mut headers) {
        Ok(status) if status.is_complete() => {}
        Ok(_) => return Err("its head is cut off".to_owned()),
        Err(error) => return Err(error.to_string()),
    }
    let status = StatusCode::from_u16(parsed.code.unwrap_or(0)).map_err(|error| error.to_string())?;
    let version = if parsed.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    let mut map = HeaderMap::with_capacity(parsed.headers.len());
    for header in parsed.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|error| error.to_string())?;
        let value = HeaderValue::from_maybe_shared(head.slice_ref(header.value));
        map.append(name, value.map_err(|error| error.to_string())?);
    }
    let (framing, is_plain) = framing(status, version, &map, has_no_body)?;
    let keeps_alive = is_plain && keeps_alive(version, &map);
    let (mut parts, ()) = Response::new(()).into_parts();
    (parts.status, parts.version, parts.headers) = (status, version, map);
    Ok(AnswerHead { parts, framing, keeps_alive })
}

/// How the body ends, and whether that is beyond doubt: where it is not, nothing else is read from the connection.
fn framing(
    status: StatusCode,
    version: Version,
    headers: &HeaderMap,
    has_no_body: bool,
) -> Result<(Framing, bool), String> {
    if has_no_body || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Ok((Framing::Length(0), true));
    }
    let length = length(headers)?;
    if let Some(last) = headers.get_all(TRANSFER_ENCODING).iter().next_back() {
        if version == Version::HTTP_10 {
            return Err("HTTP/1.0 knows no transfer-encoding".to_owned());
        }
        let last = last.as_bytes().rsplit(|byte| *byte == b',').next().unwrap_or_default();
        let is_chunked = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
        return Ok(if is_chunked { (Framing::Chunked, length.is_none()) } else { (Framing::ToClose, false) });
    }
    Ok(length.map_or((Framing::ToClose, false), |length| (Framing::Length(length), true)))
}

/// The one length that all `content-length` headers tell.
fn length(headers: &HeaderMap) -> Result<Option<u64>, String> {
    let mut length = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        for number in value.as_bytes().split(|byte| *byte == b',') {
            let digits = number.trim_ascii();
            let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
            let number = std::str::from_utf8(digits).ok().filter(|_| is_number);
            let number = number.and_then(|digits| digits.parse::<u64>().ok());
            let number = number.ok_or("its content-length is no number")?;
            if length.is_some_and(|length| length != number) {
                return Err("it has two lengths".to_owned());
            }
            length = Some(number);
        }
    }
    Ok(length)
}

fn keeps_alive(version: Version, headers: &HeaderMap) -> bool {
    let has = |word: &[u8]| {
        let values = headers.get_all(CONNECTION).iter();
        values
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .any(|token| token.trim_ascii().eq_ignore_ascii_case(word))
    };
    if version == Version::HTTP_11 { !has(b"close") } else { has(b"keep-alive") && !has(b"close") }
}
