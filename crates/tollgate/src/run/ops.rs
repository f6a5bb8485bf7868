//! `/healthz`, `/readyz` and `/metrics`, on a thread and runtime of their own: they answer when the rest is
//! busy.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio_util::sync::CancellationToken;
use tollgate_telemetry::Metrics;
use tollgate_telemetry::metrics::METRICS_CONTENT_TYPE;

/// One thing that must hold before traffic may come: its name, and whether it holds now.
pub(super) type Check = (&'static str, Arc<dyn Fn() -> bool + Send + Sync>);

/// What readiness depends on.
#[derive(Clone, Default)]
pub(super) struct Readiness {
    checks: Vec<Check>,
    is_stopping: Arc<AtomicBool>,
}

impl Readiness {
    /// Readiness that depends on `checks`.
    #[must_use]
    pub(super) fn new(checks: Vec<Check>) -> Self {
        Self { checks, is_stopping: Arc::default() }
    }

    /// From now on: not ready.
    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
    }

    fn report(&self) -> (bool, String) {
        let mut text = String::new();
        let mut is_ready = !self.is_stopping.load(Ordering::Acquire);
        if !is_ready {
            text.push_str("stopping\n");
        }
        for (name, check) in &self.checks {
            let holds = check();
            is_ready &= holds;
            let _ = writeln!(text, "{name}: {}", if holds { "ok" } else { "not ready" });
        }
        (is_ready, text)
    }
}

/// The thread that answers; it ends when the token is cancelled.
pub(super) struct OpsServer {
    address: SocketAddr,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl OpsServer {
    /// Binds and starts to answer.
    ///
    /// # Errors
    /// The address is taken or not ours.
    pub(super) fn start(listen: SocketAddr, metrics: Metrics, readiness: Readiness) -> anyhow::Result<Self> {
        let listener = std::net::TcpListener::bind(listen)
            .with_context(|| format!("cannot listen on {listen} for health and metrics (--ops-listen)"))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let app = Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .route("/metrics", get(render))
            .with_state((metrics, readiness));
        let stopped = stop.clone();
        let serve = async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            axum::serve(listener, app).with_graceful_shutdown(stopped.cancelled_owned()).await
        };
        let thread = std::thread::Builder::new().name("tollgate-ops".to_owned()).spawn(move || {
            if let Err(error) = runtime.block_on(serve) {
                tracing::error!(%error, "health and metrics are not served any more");
            }
        })?;
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for OpsServer {
    fn drop(&mut self) {
        self.stop.cancel();
        // an open keep-alive connection may hold the thread a moment longer than anybody wants to wait
        drop(self.thread.take());
    }
}

type Shared = State<(Metrics, Readiness)>;

async fn ready(State((_, readiness)): Shared) -> impl IntoResponse {
    let (is_ready, text) = readiness.report();
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, text)
}

async fn render(State((metrics, _)): Shared) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, METRICS_CONTENT_TYPE)], metrics.encode())
}
