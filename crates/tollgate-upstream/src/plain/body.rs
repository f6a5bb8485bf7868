//! An answer's body, read from the connection by whoever reads the body.

use std::future::Future as _;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::Host;
use super::connection::Connection;
use super::decoder::{Decoded, Decoder, Framing};
use crate::{UpstreamError, UpstreamErrorKind};

/// The body; at its end the connection goes back to its host, and when it is dropped before, the connection is
/// closed.
pub(crate) struct PlainBody {
    /// `None` once the body has ended.
    connection: Option<Connection>,
    /// `None` where the connection is of no use after this.
    home: Option<Arc<Host>>,
    decoder: Decoder,
    idle_timeout: Duration,
    is_armed: bool,
    /// Since when the reader has been waiting; `None` after a piece. The time in which nobody asked for more (a slow
    /// client) is not the provider's.
    waiting_since: Option<Instant>,
}

impl PlainBody {
    pub(super) fn new(
        connection: Connection,
        home: Option<Arc<Host>>,
        framing: Framing,
        idle_timeout: Duration,
    ) -> Self {
        let (connection, decoder) = (Some(connection), Decoder::new(framing));
        let mut body = Self { connection, home, decoder, idle_timeout, is_armed: false, waiting_since: None };
        body.release_at_end();
        body
    }

    pub(crate) const fn has_ended(&self) -> bool {
        self.decoder.has_ended()
    }

    /// Bytes to come, where that is known.
    pub(crate) const fn remaining(&self) -> Option<u64> {
        self.decoder.remaining()
    }

    /// The next piece. After the end or an error nothing more is to be asked for.
    pub(crate) fn poll_data(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, UpstreamError>>> {
        loop {
            let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
            match self.decoder.next(&mut connection.buffer) {
                Ok(Decoded::Data(data)) => {
                    self.waiting_since = None;
                    self.release_at_end();
                    return Poll::Ready(Some(Ok(data)));
                }
                Ok(Decoded::End) => {
                    self.release_at_end();
                    return Poll::Ready(None);
                }
                Ok(Decoded::NeedsMore) => {}
                Err(reason) => return Poll::Ready(Some(Err(broke_off(reason)))),
            }
            let Poll::Ready(read) = connection.poll_read(context) else {
                ready!(self.poll_idle(context));
                return Poll::Ready(Some(Err(UpstreamError::idle_timeout(self.idle_timeout))));
            };
            match read {
                Ok(0) => return Poll::Ready(self.end_of_connection()),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(broke_off(&error.to_string())))),
            }
        }
    }

    fn end_of_connection(&mut self) -> Option<Result<Bytes, UpstreamError>> {
        self.connection = None;
        match self.decoder {
            Decoder::ToClose => {
                self.decoder = Decoder::Ended;
                None
            }
            Decoder::Length(_) => {
                let message = "the provider's answer ended before its declared length";
                Some(Err(UpstreamError::new(UpstreamErrorKind::BodyBroken, message)))
            }
            _ => Some(Err(broke_off("the connection ended before it did"))),
        }
    }

    /// Ready when the provider was silent for too long.
    fn poll_idle(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(connection) = &mut self.connection else { return Poll::Pending };
        let deadline = *self.waiting_since.get_or_insert_with(Instant::now) + self.idle_timeout;
        // Before it is armed it is where the wait for the head has left it.
        if !std::mem::replace(&mut self.is_armed, true) {
            connection.timer.as_mut().reset(deadline);
        }
        loop {
            ready!(connection.timer.as_mut().poll(context));
            if connection.timer.deadline() >= deadline {
                return Poll::Ready(());
            }
            // It was set for an earlier wait.
            connection.timer.as_mut().reset(deadline);
        }
    }

    /// Gives the connection back once nothing of this answer is left on it; closes it where something else is.
    fn release_at_end(&mut self) {
        if !self.decoder.has_ended() {
            return;
        }
        let (connection, home) = (self.connection.take(), self.home.take());
        if let (Some(connection), Some(home)) = (connection, home)
            && connection.buffer.is_empty()
        {
            home.put(connection);
        }
    }
}

fn broke_off(reason: &str) -> UpstreamError {
    UpstreamError::new(UpstreamErrorKind::BodyBroken, format!("the provider's answer broke off: {reason}"))
}
