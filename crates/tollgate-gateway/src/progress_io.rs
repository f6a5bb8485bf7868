//! A socket whose peer must keep reading: one that takes too little for too long is cut, so that what it
//! holds (money, a place at the provider) comes back.

use std::future::Future;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// While writing is blocked, a peer must take at least [`MIN_PROGRESS_BYTES`] in every such span.
const PROGRESS_WINDOW: Duration = Duration::from_secs(30);
/// Half a kilobyte a second: slower than any network people work on.
const MIN_PROGRESS_BYTES: usize = 16 << 10;

/// The socket.
#[derive(Debug)]
pub(crate) struct ProgressIo<S> {
    socket: S,
    /// Runs while writing is blocked.
    window: Option<Pin<Box<Sleep>>>,
    n_taken: usize,
    window_length: Duration,
}

impl<S> ProgressIo<S> {
    pub(crate) fn new(socket: S) -> Self {
        Self { socket, window: None, n_taken: 0, window_length: PROGRESS_WINDOW }
    }

    /// After a write: `Ready` passes through; `Pending` begins or checks the window.
    fn check(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(outcome) = written {
            if let Ok(n) = &outcome
                && self.window.is_some()
            {
                self.n_taken += n;
                if self.n_taken >= MIN_PROGRESS_BYTES {
                    self.window = None;
                }
            }
            return Poll::Ready(outcome);
        }
        let length = self.window_length;
        let window = self.window.get_or_insert_with(|| {
            self.n_taken = 0;
            Box::pin(tokio::time::sleep_until(Instant::now() + length))
        });
        ready!(window.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, "the peer has stopped reading")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ProgressIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ProgressIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.check(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
        self.check(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_is_cut_in_time() {
        let (near, _far) = duplex(64);
        let mut io = ProgressIo::new(near);
        let started = Instant::now();
        let error = io.write_all(&[0; 1_000]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(started.elapsed(), PROGRESS_WINDOW);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_trickles_is_cut_too() {
        let (near, mut far) = duplex(64);
        let mut io = ProgressIo::new(near);
        let reading = tokio::spawn(async move {
            while far.read_u8().await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let started = Instant::now();
        assert_eq!(io.write_all(&[0; 10_000]).await.unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(started.elapsed() <= PROGRESS_WINDOW + Duration::from_secs(1));
        drop(io);
        reading.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_but_steady_peer_is_served() {
        let (near, mut far) = duplex(8 << 10);
        let mut io = ProgressIo::new(near);
        let reading = tokio::spawn(async move {
            let mut buffer = vec![0; 8 << 10];
            let mut n_read = 0;
            while n_read < 200_000 {
                tokio::time::sleep(Duration::from_secs(5)).await;
                n_read += far.read(&mut buffer).await.unwrap();
            }
        });
        io.write_all(&vec![0; 200_000]).await.unwrap();
        reading.await.unwrap();
    }
}
