//! The client.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Response, Uri};

use crate::{ConfigError, UpstreamBody, UpstreamError};

/// How the client behaves towards every provider.
#[derive(Clone, Debug, Default)]
pub struct UpstreamConfig {
    /// A PEM file of further certificate authorities, beside Mozilla's.
    pub extra_ca_file: Option<PathBuf>,
}

/// One request. `Debug` shows neither headers nor body.
pub struct UpstreamRequest {
    /// POST for every surface so far.
    pub method: Method,
    /// Where to.
    pub url: Uri,
    /// As they go out; `host`, `content-length` and `accept-encoding: identity` are added.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// From here to a usable connection (name look-up, TCP, TLS).
    pub connect_timeout: Duration,
    /// From the dispatch to the answer's head.
    pub first_byte_timeout: Duration,
    /// Between two pieces of the answer's body.
    pub idle_timeout: Duration,
}

/// The pooled client; clones share the pool.
#[derive(Clone, Debug)]
pub struct UpstreamClient {}

impl UpstreamClient {
    /// A client with an empty pool.
    ///
    /// # Errors
    /// The extra CA file is unusable.
    pub fn new(config: &UpstreamConfig) -> Result<Self, ConfigError> {
        let _ = config;
        Ok(Self {})
    }
    /// Sends one request and waits for the answer's head.
    ///
    /// # Errors
    /// What [`UpstreamError`] can say; a status of 400 or 500 is no error here.
    #[allow(clippy::unused_async)]
    pub async fn send(&self, request: UpstreamRequest) -> Result<Response<UpstreamBody>, UpstreamError> {
        let _ = request;
        todo!()
    }
}
