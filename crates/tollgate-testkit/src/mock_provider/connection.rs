//! One connection of the mock: reads requests, sends answers byte for byte as their scripts say, and
//! notices a client that goes away.

use std::fmt::Write as _;
use std::future::{Future, pending};
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::Shared;
use super::answer::{Answer, answer};
use super::record::AnswerEnd;
use super::request::{ReceivedRequest, read_more, read_request};
use super::script::{BreakKind, Point, Script};

/// How much a client may send ahead while it is being answered; then only its end is not noticed.
const READ_AHEAD_BYTES_MAX: usize = 1024 * 1024;

/// Why an answer stopped before its end.
enum Stop {
    Gone,
    Broken(BreakKind),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

pub(super) async fn serve(mut stream: TcpStream, number: u64, shared: Arc<Shared>) {
    shared.recorder().connection_opened();
    let open = OpenConnection(&shared);
    let mut buffer = BytesMut::new();
    loop {
        let next_sequence = || shared.recorder().next_sequence();
        let request = match read_request(&mut stream, &mut buffer, number, next_sequence).await {
            Ok(Some(request)) => Arc::new(request),
            Ok(None) => break,
            Err(_) => {
                shared.recorder().bad_request();
                break;
            }
        };
        shared.recorder().request_received(&request);
        let answering = Answering { shared: &shared, request: &request, end: AnswerEnd::BrokenOff };
        if !answer_one(&mut stream, &mut buffer, answering).await {
            break;
        }
    }
    // The socket closes before the count says so.
    drop(stream);
    drop(open);
}

struct OpenConnection<'a>(&'a Shared);

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.0.recorder().connection_closed();
    }
}

/// Reports the end of an answer exactly once, also when the mock is stopped meanwhile.
struct Answering<'a> {
    shared: &'a Shared,
    request: &'a Arc<ReceivedRequest>,
    end: AnswerEnd,
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.shared.recorder().answer_ended(self.request, self.end);
    }
}

/// Sends one answer. Returns whether the connection stays open.
async fn answer_one(stream: &mut TcpStream, buffer: &mut BytesMut, mut answering: Answering<'_>) -> bool {
    let request = answering.request;
    let script = answering.shared.script_for(request);
    let mut writer =
        AnswerWriter { stream, buffer, script: &script, unsent: Vec::new(), n_body_bytes: 0, n_chunks: 0 };
    let answer = answer(request, &script, || answering.shared.models());
    let (end, stays_open) = match writer.send(request, &answer).await {
        Ok(stays_open) => (AnswerEnd::Complete, stays_open),
        Err(Stop::Gone) => (AnswerEnd::ClientDisconnected, false),
        Err(Stop::Broken(kind)) => (writer.break_off(kind).await, false),
    };
    answering.end = end;
    stays_open
}

struct AnswerWriter<'a> {
    stream: &'a mut TcpStream,
    buffer: &'a mut BytesMut,
    script: &'a Script,
    /// Bytes that wait for the next flush.
    unsent: Vec<u8>,
    n_body_bytes: usize,
    n_chunks: usize,
}

impl AnswerWriter<'_> {
    async fn send(&mut self, request: &ReceivedRequest, answer: &Answer) -> Result<bool, Stop> {
        if let Some(delay) = self.script.delay_before_headers {
            self.wait(sleep(delay)).await?;
        }
        self.reach(Point::BeforeHeaders).await?;
        if let Some(raw) = &self.script.raw {
            self.unsent.extend_from_slice(raw);
            self.flush().await?;
            return Ok(false);
        }
        let n_bytes = answer.pieces.iter().map(|piece| piece.bytes.len() as u64).sum::<u64>();
        let framing = self.framing(answer, n_bytes);
        let announces_close = request.wants_close() || framing == Framing::UntilClose;
        let head = head(answer, self.script, framing, announces_close, request.sequence());
        self.unsent.extend_from_slice(head.as_bytes());
        self.reach(Point::AfterChunks(0)).await?;
        for piece in &answer.pieces {
            if piece.is_chunk {
                self.wait_before_chunk().await?;
            }
            self.send_piece(&piece.bytes, framing).await?;
            if answer.is_stream && piece.is_chunk {
                self.n_chunks += 1;
                self.flush().await?;
                self.reach(Point::AfterChunks(self.n_chunks)).await?;
            }
        }
        if framing == Framing::Chunked {
            self.unsent.extend_from_slice(b"0\r\n\r\n");
        }
        self.flush().await?;
        match framing {
            // The announced rest never comes.
            Framing::Length(declared) if declared > n_bytes => Err(Stop::Broken(BreakKind::Close)),
            _ => Ok(!announces_close && !self.script.closes_after_answer),
        }
    }

    fn framing(&self, answer: &Answer, n_bytes: u64) -> Framing {
        match self.script.declared_length {
            _ if self.script.is_close_delimited => Framing::UntilClose,
            Some(declared) => Framing::Length(declared),
            None if answer.is_stream => Framing::Chunked,
            None => Framing::Length(n_bytes),
        }
    }

    /// Frames one piece, or as much of it as the script lets through.
    async fn send_piece(&mut self, bytes: &[u8], framing: Framing) -> Result<(), Stop> {
        let is_chunked = framing == Framing::Chunked;
        if is_chunked {
            self.unsent.extend_from_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
        }
        if let Some((Point::AfterBytes(limit), kind)) = self.script.break_at {
            let n_allowed = limit.saturating_sub(self.n_body_bytes);
            if n_allowed < bytes.len() {
                self.unsent.extend_from_slice(&bytes[..n_allowed]);
                self.flush().await?;
                return Err(Stop::Broken(kind));
            }
        }
        self.n_body_bytes += bytes.len();
        self.unsent.extend_from_slice(bytes);
        if is_chunked {
            self.unsent.extend_from_slice(b"\r\n");
        }
        Ok(())
    }

    async fn wait_before_chunk(&mut self) -> Result<(), Stop> {
        let is_first = self.n_chunks == 0;
        let delay =
            if is_first { self.script.delay_before_first_chunk } else { self.script.delay_between_chunks };
        let Some(delay) = delay else { return Ok(()) };
        self.flush().await?;
        self.wait(sleep(delay)).await
    }

    /// Holds or breaks the answer where the script says so.
    async fn reach(&mut self, point: Point) -> Result<(), Stop> {
        let script = self.script;
        for (_, gate) in script.holds.iter().filter(|(at, _)| *at == point) {
            self.flush().await?;
            self.wait(gate.pass()).await?;
        }
        match script.break_at {
            Some((at, kind)) if at == point => {
                self.flush().await?;
                Err(Stop::Broken(kind))
            }
            _ => Ok(()),
        }
    }

    /// Sends what is unsent and looks whether the client is still there.
    async fn flush(&mut self) -> Result<(), Stop> {
        let bytes = std::mem::take(&mut self.unsent);
        if let Some((n_bytes, delay)) = self.script.drip {
            for drop in bytes.chunks(n_bytes) {
                self.stream.write_all(drop).await.map_err(|_| Stop::Gone)?;
                self.wait(sleep(delay)).await?;
            }
        } else {
            self.stream.write_all(&bytes).await.map_err(|_| Stop::Gone)?;
        }
        match self.stream.try_read_buf(self.buffer) {
            Ok(0) => Err(Stop::Gone),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
            Err(_) => Err(Stop::Gone),
        }
    }

    /// Waits for `awaited` unless the client goes away first.
    async fn wait(&mut self, awaited: impl Future<Output = ()>) -> Result<(), Stop> {
        tokio::select! {
            biased;
            () = awaited => Ok(()),
            () = client_gone(self.stream, self.buffer) => Err(Stop::Gone),
        }
    }

    async fn break_off(&mut self, kind: BreakKind) -> AnswerEnd {
        match kind {
            BreakKind::Reset => {
                // A socket that refuses the option is closed already.
                let _ = self.stream.set_zero_linger();
                AnswerEnd::BrokenOff
            }
            BreakKind::Close => AnswerEnd::BrokenOff,
            BreakKind::Stall => {
                client_gone(self.stream, self.buffer).await;
                AnswerEnd::ClientDisconnected
            }
        }
    }
}

/// Ends when the client closes its side; keeps what it sends ahead.
async fn client_gone(stream: &mut TcpStream, buffer: &mut BytesMut) {
    loop {
        if buffer.len() > READ_AHEAD_BYTES_MAX {
            return pending().await;
        }
        if read_more(stream, buffer).await.is_err() {
            return;
        }
    }
}

fn head(answer: &Answer, script: &Script, framing: Framing, announces_close: bool, sequence: u64) -> String {
    let status = http::StatusCode::from_u16(answer.status).ok();
    let reason = status.and_then(|status| status.canonical_reason()).unwrap_or("Unknown");
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", answer.status);
    let is_scripted =
        |name: &str| script.headers.iter().any(|(scripted, _)| scripted.eq_ignore_ascii_case(name));
    let mut add = |name: &str, value: &str| {
        if !is_scripted(name) {
            head.extend([name, ": ", value, "\r\n"]);
        }
    };
    add("content-type", &answer.content_type);
    add("x-request-id", &format!("mock-{sequence}"));
    match framing {
        Framing::Length(n_bytes) => add("content-length", &n_bytes.to_string()),
        Framing::Chunked => add("transfer-encoding", "chunked"),
        Framing::UntilClose => {}
    }
    if announces_close {
        add("connection", "close");
    }
    for (name, value) in &script.headers {
        // Writing to a String cannot fail.
        let _ = write!(head, "{name}: {value}\r\n");
    }
    head.push_str("\r\n");
    head
}
