//! The acceptor: header timer, bounded connections, no delay on small writes, graceful drain.

use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::Gateway;
use crate::edge;
use crate::gateway::Pod;

/// After the grace period streams end with an error event; this long they may take to write it.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Wait after a failed accept (out of descriptors): trying at once would only burn the processor.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
/// HTTP/2 streams open at once on one connection.
const MAX_CONCURRENT_STREAMS: u32 = 256;
/// HTTP/2 streams a client may reset before the connection is closed (rapid reset).
const MAX_PENDING_RESET_STREAMS: usize = 64;

/// Takes connections until `stop`, then drains: requests in flight finish within the grace period, streams
/// still open after it end with an error event. Returns when no connection is left.
pub async fn serve(gateway: Gateway, listener: TcpListener, stop: CancellationToken) {
    let gateway = gateway.0;
    let builder = Arc::new(builder(&gateway));
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(gateway.config.max_connections));
    let connections = tokio_util::task::TaskTracker::new();
    loop {
        let place = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let Ok(place) = place else { break };
        let stream = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match stream {
            Ok((stream, _)) => {
                let connection = connection(&gateway, &builder, stream);
                let watched = graceful.watch(connection);
                connections.spawn(async move {
                    let _place = place;
                    if let Err(error) = watched.await {
                        tracing::debug!(error, "a connection ended badly");
                    }
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
    drain(&gateway, graceful, &connections).await;
}

async fn drain(gateway: &Pod, graceful: GracefulShutdown, connections: &tokio_util::task::TaskTracker) {
    let finished = async {
        graceful.shutdown().await;
        connections.wait().await;
    };
    tokio::pin!(finished);
    if tokio::time::timeout(gateway.config.grace, &mut finished).await.is_ok() {
        return;
    }
    tracing::warn!(connections = connections.len(), "the grace period is over; ending what is left");
    gateway.out_of_grace.cancel();
    if tokio::time::timeout(LAST_WORDS, &mut finished).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections are cut");
    }
}

fn builder(gateway: &Pod) -> auto::Builder<TokioExecutor> {
    let config = &gateway.config;
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        .max_headers(config.max_headers)
        .max_buf_size(config.max_head_bytes.max(8_192));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
        .max_pending_accept_reset_streams(MAX_PENDING_RESET_STREAMS)
        .max_header_list_size(u32::try_from(config.max_head_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

fn connection(
    gateway: &Pod,
    builder: &Arc<auto::Builder<TokioExecutor>>,
    stream: TcpStream,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = Box<dyn std::error::Error + Send + Sync>>
+ Send
+ 'static {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let gateway = gateway.clone();
    let service = service_fn(move |request| edge::serve(gateway.clone(), request));
    builder.serve_connection(TokioIo::new(stream), service).into_owned()
}
