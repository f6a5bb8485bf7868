//! The acceptor: timers on the first byte, the head and the last write, bounded connections, no delay on
//! small writes, graceful drain.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Gateway;
use crate::cutoff::Cutoff;
use crate::edge;
use crate::gateway::Pod;
use crate::progress_io::ProgressIo;

/// After the grace period streams end with an error event; this long they may take to write it.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Wait after a failed accept (out of descriptors): trying at once would only burn the processor.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
/// HTTP/2 streams open at once on one connection.
const MAX_CONCURRENT_STREAMS: u32 = 256;
/// HTTP/2 streams a client may reset before the connection is closed (rapid reset).
const MAX_PENDING_RESET_STREAMS: usize = 64;
/// How an HTTP/2 connection begins; no HTTP/1 method has its first three letters.
const HTTP2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PREFACE_MARK: &[u8] = b"PRI";
/// How often a connection that has sent too little to tell is looked at again.
const PREFACE_POLL: Duration = Duration::from_millis(10);

/// Takes connections until `stop`, then drains: requests in flight finish within the grace period, streams
/// still open after it end with an error event, and what is left after that is cut. Returns when no
/// connection is left.
pub async fn serve(gateway: Gateway, listener: TcpListener, stop: CancellationToken) {
    let acceptor = Acceptor::new(gateway.0);
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(acceptor.gateway.config.max_connections));
    let connections = TaskTracker::new();
    loop {
        let place = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let Ok(place) = place else { break };
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (acceptor, watcher) = (acceptor.clone(), graceful.watcher());
                connections.spawn(async move {
                    let _place = place;
                    acceptor.cut.before(pin!(acceptor.connection(stream, watcher))).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
    drop(listener);
    connections.close();
    drain(&acceptor, graceful, &connections).await;
}

async fn drain(acceptor: &Acceptor, graceful: GracefulShutdown, connections: &TaskTracker) {
    acceptor.stop_idle.cancel();
    let finished = async {
        graceful.shutdown().await;
        connections.wait().await;
    };
    tokio::pin!(finished);
    if tokio::time::timeout(acceptor.gateway.config.grace, &mut finished).await.is_ok() {
        return;
    }
    tracing::warn!(connections = connections.len(), "the grace period is over; ending what is left");
    acceptor.gateway.out_of_grace.come();
    if tokio::time::timeout(LAST_WORDS, &mut finished).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections are cut");
        // dropping a connection drops its requests, and each settles what it had reserved
        acceptor.cut.come();
        connections.wait().await;
    }
}

/// What every connection is served with.
#[derive(Clone)]
struct Acceptor {
    gateway: Pod,
    http1: Arc<http1::Builder>,
    http2: Arc<http2::Builder<TokioExecutor>>,
    /// Cancelled at the beginning of the drain: connections that have not said anything yet end.
    stop_idle: CancellationToken,
    /// Comes at the end of the drain.
    cut: Arc<Cutoff>,
}

impl Acceptor {
    fn new(gateway: Pod) -> Self {
        let config = &gateway.config;
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(config.header_timeout)
            .max_headers(config.max_headers)
            .max_buf_size(config.max_head_bytes.max(8_192));
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
            .max_pending_accept_reset_streams(MAX_PENDING_RESET_STREAMS)
            .max_header_list_size(u32::try_from(config.max_head_bytes).unwrap_or(u32::MAX))
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20));
        let (stop_idle, cut) = (CancellationToken::new(), Arc::default());
        Self { gateway, http1: Arc::new(http1), http2: Arc::new(http2), stop_idle, cut }
    }

    async fn connection(&self, stream: TcpStream, watcher: Watcher) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        let first_words = tokio::time::timeout(self.gateway.config.header_timeout, is_http2(&stream));
        let is_http2 = tokio::select! {
            first_words = first_words => first_words,
            () = self.stop_idle.cancelled() => return,
        };
        let Ok(Some(is_http2)) = is_http2 else { return };
        let gateway = Pod::clone(&self.gateway);
        // boxed: hyper would move it, and it has some kilobytes
        let service = service_fn(move |request| Box::pin(edge::serve(Pod::clone(&gateway), request)));
        let io = TokioIo::new(ProgressIo::new(stream));
        if is_http2 {
            watched(watcher, self.http2.serve_connection(io, service)).await;
        } else {
            watched(watcher, self.http1.serve_connection(io, service)).await;
        }
    }
}

async fn watched<C>(watcher: Watcher, connection: C)
where
    C: GracefulConnection,
    C::Error: std::fmt::Display,
{
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection ended badly");
    }
}

/// Whether the client begins with HTTP/2's preface; `None` where it leaves before it has said enough.
async fn is_http2(stream: &TcpStream) -> Option<bool> {
    let mut seen = [0_u8; HTTP2_PREFACE.len()];
    loop {
        let n = stream.peek(&mut seen).await.ok().filter(|n| *n > 0)?;
        let mark = n.min(PREFACE_MARK.len());
        if seen[..mark] != PREFACE_MARK[..mark] {
            return Some(false);
        }
        if n == HTTP2_PREFACE.len() {
            return Some(true);
        }
        // part of the preface, in a packet of its own: the rest is on its way, or the time limit ends it
        tokio::time::sleep(PREFACE_POLL).await;
    }
}
