//! TCP and TLS to a provider, within the request's own connect limit.

use std::cell::RefCell;
use std::error::Error as StdError;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tower::Service;

use crate::UpstreamErrorKind;

tokio::task_local! {
    /// The attempt on whose behalf the client may connect. The client calls the connector while the
    /// attempt's future is polled, which is how a per-request limit gets here.
    pub(crate) static ATTEMPT: AttemptScope;
}

/// What the connector is told and tells back.
pub(crate) struct AttemptScope {
    pub(crate) connect_timeout: Duration,
    /// Set when this attempt connects (and takes no pooled connection); filled when it is connected.
    pub(crate) connected_at: RefCell<Option<Arc<OnceLock<Instant>>>>,
}

/// A connection that could not be made, with its class.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ConnectFailure {
    pub(crate) kind: UpstreamErrorKind,
    pub(crate) message: String,
}

/// The connector of the pooled client.
#[derive(Clone, Debug)]
pub(crate) struct TimedConnector(pub(crate) HttpsConnector<HttpConnector>);

pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

impl Service<Uri> for TimedConnector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = ConnectFailure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectFailure>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ConnectFailure>> {
        self.0.poll_ready(context).map_err(|error| classify(&error, ""))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let host = target.authority().map(ToString::to_string).unwrap_or_default();
        let connected_at = Arc::new(OnceLock::new());
        let connect_timeout = ATTEMPT
            .try_with(|attempt| {
                attempt.connected_at.replace(Some(Arc::clone(&connected_at)));
                attempt.connect_timeout
            })
            .ok();
        let connecting = self.0.call(target);
        Box::pin(async move {
            let connected = match connect_timeout {
                Some(limit) => tokio::time::timeout(limit, connecting).await.map_err(|_| ConnectFailure {
                    kind: UpstreamErrorKind::ConnectTimeout,
                    message: format!("no connection to {host} within {} s", limit.as_secs_f64()),
                })?,
                None => connecting.await,
            };
            let stream = connected.map_err(|error| classify(&error, &host))?;
            // Nobody else fills it.
            let _ = connected_at.set(Instant::now());
            Ok(stream)
        })
    }
}

/// Errors of the handshake come as bare I/O errors, those before it wrapped by the TCP connector.
pub(crate) fn classify(error: &BoxError, host: &str) -> ConnectFailure {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        let message = format!("the TLS handshake with {host} failed: {error}");
        return ConnectFailure { kind: UpstreamErrorKind::Tls, message };
    }
    let cause = root_cause(error.as_ref());
    let message = if error.to_string().contains("dns") {
        format!("the name of {host} cannot be resolved: {cause}")
    } else {
        format!("no connection to {host}: {cause}")
    };
    ConnectFailure { kind: UpstreamErrorKind::Connect, message }
}

fn root_cause(error: &(dyn StdError + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
