//! The body of an answer, with its idle limit.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use crate::UpstreamError;
use crate::plain::PlainBody;

/// An answer's body. Dropping it closes the HTTP/1.1 connection or resets the HTTP/2 stream, unless the
/// answer has been read to its end. `Debug` shows none of it.
pub struct UpstreamBody(Source);

enum Source {
    Network(NetworkBody),
    Plain(PlainBody),
    Ready(VecDeque<Bytes>),
    Ended,
}

struct NetworkBody {
    incoming: Incoming,
    idle_timeout: Duration,
    /// The request's one timer: armed when the body is first found waiting, and moved only when it fires.
    timer: Pin<Box<Sleep>>,
    is_armed: bool,
    /// Since when the reader has been waiting; `None` after a frame. The time in which nobody asked for more
    /// (a slow client) is not the provider's.
    waiting_since: Option<Instant>,
}

impl fmt::Debug for UpstreamBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Source::Network(_) | Source::Plain(_) => "UpstreamBody(network)",
            Source::Ready(_) => "UpstreamBody(ready)",
            Source::Ended => "UpstreamBody(ended)",
        })
    }
}

impl UpstreamBody {
    /// A body that is already here.
    #[must_use]
    pub fn from_chunks(chunks: Vec<Bytes>) -> Self {
        Self(Source::Ready(chunks.into_iter().filter(|chunk| !chunk.is_empty()).collect()))
    }

    pub(crate) const fn from_network(
        incoming: Incoming,
        idle_timeout: Duration,
        timer: Pin<Box<Sleep>>,
    ) -> Self {
        let waiting_since = None;
        Self(Source::Network(NetworkBody { incoming, idle_timeout, timer, is_armed: false, waiting_since }))
    }

    pub(crate) const fn from_plain(body: PlainBody) -> Self {
        Self(Source::Plain(body))
    }
}

impl NetworkBody {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(context) {
            self.waiting_since = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(|error| UpstreamError::broken_body(&error))));
        }
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        if !self.is_armed {
            self.is_armed = true;
            self.timer.as_mut().reset(since + self.idle_timeout);
        }
        loop {
            ready!(self.timer.as_mut().poll(context));
            let deadline = since + self.idle_timeout;
            if self.timer.deadline() >= deadline {
                return Poll::Ready(Some(Err(UpstreamError::idle_timeout(self.idle_timeout))));
            }
            // It was set for an earlier wait.
            self.timer.as_mut().reset(deadline);
        }
    }
}

impl http_body::Body for UpstreamBody {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        match &mut self.0 {
            Source::Network(body) => {
                let frame = ready!(body.poll(context));
                if !matches!(frame, Some(Ok(_))) {
                    // Gives the connection back, or closes it after an error.
                    self.0 = Source::Ended;
                }
                Poll::Ready(frame)
            }
            Source::Plain(body) => {
                let data = ready!(body.poll_data(context));
                if !matches!(data, Some(Ok(_))) {
                    self.0 = Source::Ended;
                }
                Poll::Ready(data.map(|data| data.map(Frame::data)))
            }
            Source::Ready(chunks) => Poll::Ready(chunks.pop_front().map(|chunk| Ok(Frame::data(chunk)))),
            Source::Ended => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Network(body) => body.incoming.is_end_stream(),
            Source::Plain(body) => body.has_ended(),
            Source::Ready(chunks) => chunks.is_empty(),
            Source::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Network(body) => body.incoming.size_hint(),
            Source::Plain(body) => body.remaining().map_or_else(SizeHint::default, SizeHint::with_exact),
            Source::Ready(chunks) => {
                SizeHint::with_exact(chunks.iter().map(|chunk| chunk.len() as u64).sum())
            }
            Source::Ended => SizeHint::with_exact(0),
        }
    }
}
