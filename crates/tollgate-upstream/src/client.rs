//! The pooled client.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT_ENCODING, HeaderValue};
use http::uri::Scheme;
use http::{HeaderMap, Method, Request, Response, Uri};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::{Instant, Sleep};

use crate::connector::{ATTEMPT, AttemptScope, TimedConnector};
use crate::plain::PlainClient;
use crate::{ConfigError, RequestBody, UpstreamBody, UpstreamError};

/// An idle connection is closed before the vendors' load balancers (60 s and more) close it under us.
pub(crate) const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(50);
/// Idle connections kept per host: what a pod's peak leaves behind; more only hold descriptors.
pub(crate) const POOL_MAX_IDLE_PER_HOST: usize = 512;
/// The answer's head, and what is read ahead of a slow client on HTTP/1.1.
pub(crate) const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Headers in an answer: vendors send about 40.
pub(crate) const MAX_HEAD_COUNT: usize = 100;
/// Read ahead of a slow client, per HTTP/2 stream.
const H2_STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// And per connection, so that one slow client does not stop the others.
const H2_CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// Finds HTTP/2 connections that died silently.
const H2_PING_INTERVAL: Duration = Duration::from_secs(20);
/// How long such a ping may stay unanswered.
const H2_PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Finds HTTP/1.1 connections that died silently while a long answer is awaited.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// How the client behaves towards every provider.
#[derive(Clone, Debug, Default)]
pub struct UpstreamConfig {
    /// A PEM file of further certificate authorities, beside Mozilla's.
    pub extra_ca_file: Option<PathBuf>,
}

/// One request. `Debug` shows neither path, headers nor body.
pub struct UpstreamRequest {
    /// POST for every surface so far.
    pub method: Method,
    /// Where to.
    pub url: Uri,
    /// As they go out; `host`, `content-length` and `accept-encoding: identity` are added.
    pub headers: HeaderMap,
    /// The body.
    pub body: RequestBody,
    /// From here to a usable connection (name look-up, TCP, TLS).
    pub connect_timeout: Duration,
    /// From the dispatch (the connection, where a new one is made) to the answer's head.
    pub first_byte_timeout: Duration,
    /// Between two pieces of the answer's body.
    pub idle_timeout: Duration,
}

impl fmt::Debug for UpstreamRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.url.host().unwrap_or_default();
        write!(f, "UpstreamRequest({} {host}, {} bytes)", self.method, self.body.len())
    }
}

/// The pooled client; clones share the pool. It follows no redirect, and asks for no compression, as what is
/// counted must be readable. HTTP/2 where the provider offers it over TLS, else HTTP/1.1; without TLS a pool of
/// its own, whose connections are driven by the requests themselves.
///
/// A request on a pooled connection that turns out to be closed before a byte of it was sent is sent once
/// more on another connection; anything sent is never repeated here.
#[derive(Clone, Debug)]
pub struct UpstreamClient {
    /// For `https`.
    client: Client<TimedConnector, RequestBody>,
    /// For `http`.
    plain: PlainClient,
}

impl UpstreamClient {
    /// A client with an empty pool.
    ///
    /// # Errors
    /// The extra CA file is unusable.
    pub fn new(config: &UpstreamConfig) -> Result<Self, ConfigError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(TCP_KEEPALIVE));
        let plain = PlainClient::new(tcp.clone());
        let tls = HttpsConnectorBuilder::new()
            .with_tls_config(tls_config(config)?)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .pool_max_idle_per_host(POOL_MAX_IDLE_PER_HOST)
            .http1_max_buf_size(MAX_HEAD_BYTES)
            .http1_max_headers(MAX_HEAD_COUNT)
            .http2_max_header_list_size(MAX_HEAD_BYTES as u32)
            .http2_initial_stream_window_size(H2_STREAM_WINDOW_BYTES)
            .http2_initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
            .http2_keep_alive_interval(H2_PING_INTERVAL)
            .http2_keep_alive_timeout(H2_PING_TIMEOUT)
            .retry_canceled_requests(true)
            .build(TimedConnector(tls));
        Ok(Self { client, plain })
    }

    /// Sends one request and waits for the answer's head. Dropping the future cancels the request.
    ///
    /// # Errors
    /// What [`UpstreamError`] can say; a status of 400 or 500 is no error here.
    pub async fn send(&self, request: UpstreamRequest) -> Result<Response<UpstreamBody>, UpstreamError> {
        if request.url.scheme() == Some(&Scheme::HTTP) {
            self.plain.send(request).await
        } else {
            // boxed: its future is large, and the caller's holds the larger of the two
            Box::pin(self.send_secured(request)).await
        }
    }

    async fn send_secured(&self, request: UpstreamRequest) -> Result<Response<UpstreamBody>, UpstreamError> {
        let UpstreamRequest { method, url, mut headers, body, .. } = request;
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let mut outgoing = Request::new(body);
        *outgoing.method_mut() = method;
        *outgoing.uri_mut() = url;
        *outgoing.headers_mut() = headers;
        let scope =
            AttemptScope { connect_timeout: request.connect_timeout, connected_at: RefCell::new(None) };
        let mut timer = Box::pin(tokio::time::sleep(request.first_byte_timeout));
        let answering = self.client.request(outgoing);
        let answer =
            ATTEMPT.scope(scope, await_head(answering, timer.as_mut(), request.first_byte_timeout)).await?;
        Ok(answer.map(|incoming| UpstreamBody::from_network(incoming, request.idle_timeout, timer)))
    }
}

/// Waits for the head; the time to connect has its own limit and does not count.
async fn await_head(
    answering: impl Future<Output = Result<Response<Incoming>, ClientError>>,
    mut timer: Pin<&mut Sleep>,
    first_byte_timeout: Duration,
) -> Result<Response<Incoming>, UpstreamError> {
    let mut answering = std::pin::pin!(answering);
    loop {
        tokio::select! {
            biased;
            answer = answering.as_mut() => {
                return answer.map_err(|error| UpstreamError::before_head(&error));
            }
            () = timer.as_mut() => {}
        }
        let dispatched_at = ATTEMPT.with(|attempt| {
            let connecting = attempt.connected_at.borrow();
            connecting.as_ref().map(|connected_at| connected_at.get().copied())
        });
        let now = Instant::now();
        let deadline = match dispatched_at {
            // A pooled connection: the request went out at once.
            None => now,
            Some(Some(connected_at)) => connected_at + first_byte_timeout,
            // Still connecting, within that limit: look again later.
            Some(None) => now + first_byte_timeout,
        };
        if deadline <= now {
            return Err(UpstreamError::first_byte_timeout(first_byte_timeout));
        }
        timer.as_mut().reset(deadline);
    }
}

pub(crate) fn tls_config(config: &UpstreamConfig) -> Result<ClientConfig, ConfigError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = &config.extra_ca_file {
        add_certificates(&mut roots, path)
            .map_err(|reason| ConfigError::CaFile { path: path.display().to_string(), reason })?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring implements the default protocol versions")
        .with_root_certificates(roots)
        .with_no_client_auth())
}

fn add_certificates(roots: &mut RootCertStore, path: &Path) -> Result<(), String> {
    let pem = std::fs::read(path).map_err(|error| error.to_string())?;
    let mut n_certificates = 0;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| format!("it is not PEM: {error}"))?;
        roots.add(certificate).map_err(|error| error.to_string())?;
        n_certificates += 1;
    }
    if n_certificates == 0 { Err("it holds no certificate".to_owned()) } else { Ok(()) }
}
