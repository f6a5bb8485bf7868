//! Messages to addresses that an operator has written down, webhooks first of all: every address that a name resolves
//! to is checked, and what was checked is what is connected to.

use std::error::Error as StdError;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderMap;
use http::{Method, Request, Uri};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tollgate_domain::{is_loopback_address, is_public_address};
use tower::Service;

use crate::client::tls_config;
use crate::{ConfigError, UpstreamConfig};

/// From the name's look-up to a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// From the beginning to the head of the answer, which is all that is read of it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// The answer's head.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Sends messages by POST. It follows no redirect, reads nothing but the head of an answer, and keeps no connection.
#[derive(Clone, Debug)]
pub struct OutboundClient {
    client: Client<HttpsConnector<CheckedConnector>, Full<Bytes>>,
}

impl OutboundClient {
    /// A client that connects to public addresses by `https`, and to this machine where the URL says so; to private
    /// addresses only if `may_be_private`.
    ///
    /// # Errors
    /// The extra CA file is unusable.
    pub fn new(config: &UpstreamConfig, may_be_private: bool) -> Result<Self, ConfigError> {
        let tls = HttpsConnectorBuilder::new()
            .with_tls_config(tls_config(config)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(CheckedConnector { may_be_private });
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_max_idle_per_host(0)
            .http1_max_buf_size(MAX_HEAD_BYTES)
            .build(tls);
        Ok(Self { client })
    }

    /// Sends one message; answers the receiver's status, whatever it is.
    ///
    /// # Errors
    /// One sentence for the operator: no connection, a refused address, no answer in time. It names the host at most.
    pub async fn post(&self, url: Uri, headers: HeaderMap, body: Bytes) -> Result<u16, String> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = url;
        *request.headers_mut() = headers;
        match tokio::time::timeout(ANSWER_TIMEOUT, self.client.request(request)).await {
            Ok(Ok(answer)) => Ok(answer.status().as_u16()),
            Ok(Err(error)) => Err(root_cause(&error)),
            Err(_) => Err(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs())),
        }
    }
}

fn root_cause(error: &(dyn StdError + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// TCP to addresses that were checked.
#[derive(Clone, Copy, Debug)]
struct CheckedConnector {
    may_be_private: bool,
}

impl Service<Uri> for CheckedConnector {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let may_be_private = self.may_be_private;
        Box::pin(async move {
            let connecting = connect(&target, may_be_private);
            let connected = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
            let timed_out = || other(format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()));
            connected.map_err(|_| timed_out())?.map(TokioIo::new)
        })
    }
}

async fn connect(target: &Uri, may_be_private: bool) -> io::Result<TcpStream> {
    let host = target.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let is_https = target.scheme_str() == Some("https");
    let port = target.port_u16().unwrap_or(if is_https { 443 } else { 80 });
    let resolved = tokio::net::lookup_host((host, port)).await;
    let resolved =
        resolved.map_err(|error| other(format!("the name of {host} cannot be resolved: {error}")))?;
    let addresses: Vec<SocketAddr> = resolved.collect();
    if addresses.is_empty() {
        return Err(other(format!("the name of {host} has no address")));
    }
    // One that must not be reached among them is a trap, or a mistake: nothing is sent.
    if !addresses.iter().all(|address| may_reach(address.ip(), host, is_https, may_be_private)) {
        return Err(other(format!("{host} leads to an address that webhooks must not reach by this scheme")));
    }
    let mut failure = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.map_or_else(
        || other("no address".to_owned()),
        |error| other(format!("no connection to {host}: {error}")),
    ))
}

fn other(message: String) -> io::Error {
    io::Error::other(message)
}

/// Whether a message may go to `address`, which `host` was resolved to. This machine only where the URL names it: a
/// foreign name that leads here is a trap.
fn may_reach(address: IpAddr, host: &str, is_https: bool, may_be_private: bool) -> bool {
    if is_loopback_address(address) {
        let is_named = host.trim_end_matches('.').eq_ignore_ascii_case("localhost")
            || host.parse::<IpAddr>().is_ok_and(is_loopback_address);
        return is_named || may_be_private;
    }
    if is_public_address(address) { is_https } else { may_be_private }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_resolved_decides() {
        // (address, host, by https, private ones allowed)
        for (address, host, is_https, may_be_private, expected) in [
            ("93.184.216.34", "example.com", true, false, true),
            ("93.184.216.34", "example.com", false, false, false),
            ("93.184.216.34", "example.com", false, true, false),
            ("127.0.0.1", "localhost", false, false, true),
            ("127.0.0.1", "LOCALHOST.", false, false, true),
            ("127.0.0.1", "127.0.0.1", false, false, true),
            ("::1", "::1", true, false, true),
            // rebinding: a foreign name that leads to this machine
            ("127.0.0.1", "rebind.example.com", true, false, false),
            ("::1", "rebind.example.com", true, false, false),
            ("::ffff:127.0.0.1", "rebind.example.com", true, false, false),
            ("10.0.0.7", "hooks.internal", true, false, false),
            ("10.0.0.7", "hooks.internal", true, true, true),
            ("10.0.0.7", "hooks.internal", false, true, true),
            ("169.254.169.254", "metadata", true, false, false),
            ("fd00::1", "hooks.internal", true, false, false),
            ("0.0.0.0", "zero.example.com", true, false, false),
        ] {
            let reached = may_reach(address.parse().unwrap(), host, is_https, may_be_private);
            assert_eq!(reached, expected, "{address} {host} {is_https} {may_be_private}");
        }
    }
}
