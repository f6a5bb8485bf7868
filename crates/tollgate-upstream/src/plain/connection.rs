//! One connection: a request out, an answer's head in.

use std::future::{Future as _, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWrite as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::body::PlainBody;
use super::head::{self, AnswerHead};
use super::{Host, is_too_old};
use crate::{RequestBody, UpstreamError, UpstreamErrorKind};

/// Room made for each read: most answers fit.
const READ_BYTES: usize = 8 * 1024;

/// Pieces handed to the kernel at once: a head, and a body in which a few members were changed.
const MAX_SLICES: usize = 16;

/// An open connection.
pub(super) struct Connection {
    stream: TcpStream,
    /// What was read and not yet taken.
    pub(super) buffer: BytesMut,
    /// For every wait on this connection: one timer that is moved costs far less than one per request.
    pub(super) timer: Pin<Box<Sleep>>,
    idle_since: Instant,
}

/// An answer whose body is still on its way.
pub(super) struct Answer {
    head: AnswerHead,
    /// Whether the request went out whole: else the connection is of no more use.
    is_sent: bool,
}

/// Why no answer's head came.
#[derive(Debug)]
pub(super) enum Broken {
    /// The connection was closed before a byte of the request was sent.
    Unsent,
    /// It was closed later.
    Closed,
    /// The time is up.
    TooLate,
    /// What came is no answer.
    Invalid(String),
}

/// A request on its way out.
struct Outgoing<'r> {
    head: &'r [u8],
    body: &'r RequestBody,
    n_sent: usize,
    has_failed: bool,
}

// === impl Connection ===

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Self {
        let now = Instant::now();
        let timer = Box::pin(tokio::time::sleep_until(now));
        Self { stream, buffer: BytesMut::new(), timer, idle_since: now }
    }

    /// It is idle from now on, and holds no buffer.
    pub(super) fn rest(&mut self) {
        self.buffer = BytesMut::new();
        self.idle_since = Instant::now();
    }

    /// Whether an idle connection can be used: young enough, not closed, and silent, because whatever comes on an
    /// idle connection answers nothing.
    pub(super) fn is_usable(&mut self, now: Instant) -> bool {
        !is_too_old(self.idle_since, now)
            && self.poll_read(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// Reads more into the buffer; zero bytes mean the end.
    pub(super) fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.buffer.reserve(READ_BYTES);
        pin!(self.stream.read_buf(&mut self.buffer)).poll(context)
    }

    /// Sends a request and waits for the answer's head, from now on for `limit` at most.
    pub(super) async fn exchange(
        &mut self,
        head: &[u8],
        body: &RequestBody,
        has_no_body: bool,
        limit: Duration,
    ) -> Result<Answer, Broken> {
        let mut outgoing = Outgoing { head, body, n_sent: 0, has_failed: false };
        let mut deadline = None;
        poll_fn(|context| {
            outgoing.poll_send(&mut self.stream, context);
            let head = self.poll_head(context, has_no_body);
            if let Poll::Ready(head) = head {
                let is_unsent = outgoing.n_sent == 0;
                let is_sent = outgoing.is_sent();
                return Poll::Ready(match head {
                    Err(Broken::Closed) if is_unsent => Err(Broken::Unsent),
                    head => head.map(|head| Answer { head, is_sent }),
                });
            }
            let is_armed = deadline.is_some();
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + limit);
            if !is_armed {
                self.timer.as_mut().reset(deadline);
            }
            ready!(self.timer.as_mut().poll(context));
            Poll::Ready(Err(Broken::TooLate))
        })
        .await
    }

    fn poll_head(
        &mut self,
        context: &mut Context<'_>,
        has_no_body: bool,
    ) -> Poll<Result<AnswerHead, Broken>> {
        loop {
            match ready!(self.poll_read(context)) {
                Ok(0) | Err(_) => {
                    return Poll::Ready(Err(match head::is_beginning(&self.buffer) {
                        Ok(()) => Broken::Closed,
                        Err(reason) => Broken::Invalid(reason),
                    }));
                }
                Ok(_) => match head::read(&mut self.buffer, has_no_body) {
                    Ok(None) => {}
                    Ok(Some(head)) => return Poll::Ready(Ok(head)),
                    Err(reason) => return Poll::Ready(Err(Broken::Invalid(reason))),
                },
            }
        }
    }
}

// === impl Outgoing ===

impl Outgoing<'_> {
    fn is_sent(&self) -> bool {
        self.n_sent == self.head.len() + self.body.len()
    }

    /// Sends what the socket takes. A failure is not told here: the provider may have answered before it closed, and
    /// if not, reading tells the same.
    fn poll_send(&mut self, stream: &mut TcpStream, context: &mut Context<'_>) {
        while !self.has_failed && !self.is_sent() {
            let head = self.head.get(self.n_sent..).unwrap_or_default();
            let mut parts = [IoSlice::new(head); MAX_SLICES];
            let n_head = usize::from(!head.is_empty());
            let n_before = self.n_sent.saturating_sub(self.head.len());
            let n_parts = n_head + self.body.slices_after(n_before, &mut parts[n_head..]);
            match Pin::new(&mut *stream).poll_write_vectored(context, &parts[..n_parts]) {
                Poll::Ready(Ok(n @ 1..)) => self.n_sent += n,
                Poll::Ready(_) => self.has_failed = true,
                Poll::Pending => return,
            }
        }
    }
}

// === impl Answer ===

impl Answer {
    /// The head, and the body that goes on with the connection and gives it back to `host`.
    pub(super) fn into_parts(
        self,
        connection: Connection,
        host: Arc<Host>,
        idle_timeout: Duration,
    ) -> (http::response::Parts, PlainBody) {
        let AnswerHead { parts, framing, keeps_alive } = self.head;
        let home = (keeps_alive && self.is_sent).then_some(host);
        (parts, PlainBody::new(connection, home, framing, idle_timeout))
    }
}

// === impl Broken ===

impl Broken {
    pub(super) fn into_error(self, limit: Duration) -> UpstreamError {
        match self {
            Self::Unsent | Self::Closed => UpstreamError::new(
                UpstreamErrorKind::ResetBeforeHeaders,
                "the provider closed the connection without an answer",
            ),
            Self::TooLate => UpstreamError::first_byte_timeout(limit),
            Self::Invalid(reason) => UpstreamError::new(
                UpstreamErrorKind::InvalidResponse,
                format!("the provider's answer is not valid HTTP: {reason}"),
            ),
        }
    }
}
