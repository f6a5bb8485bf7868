//! What can go wrong on the way to a provider and back.

use std::error::Error as StdError;
use std::time::Duration;

use hyper_util::client::legacy;

use crate::connector::ConnectFailure;

/// The class of a failure, for the attempt policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamErrorKind {
    /// No connection: refused, unreachable, no such name. Nothing was sent.
    Connect,
    /// No connection in time. Nothing was sent.
    ConnectTimeout,
    /// The TLS handshake failed. Nothing was sent.
    Tls,
    /// The connection ended after the request was (or may have been) sent and before the answer's head.
    ResetBeforeHeaders,
    /// No answer's head in time.
    FirstByteTimeout,
    /// The answer stopped for too long.
    IdleTimeout,
    /// The answer's body broke off or lied about its length.
    BodyBroken,
    /// The answer is no HTTP, or beyond the limits of its head.
    InvalidResponse,
}

impl UpstreamErrorKind {
    /// Whether the provider cannot have seen the request, so that nothing can have been billed.
    #[must_use]
    pub const fn is_before_dispatch(self) -> bool {
        matches!(self, Self::Connect | Self::ConnectTimeout | Self::Tls)
    }
}

/// A failed exchange. Its text names the host at most, never a header, a path or a query.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct UpstreamError {
    /// The class.
    pub kind: UpstreamErrorKind,
    /// One sentence.
    pub message: String,
}

impl UpstreamError {
    pub(crate) fn new(kind: UpstreamErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(crate) fn not_a_target() -> Self {
        let message = "the provider's URL cannot be requested: it needs a scheme and a host";
        Self::new(UpstreamErrorKind::Connect, message)
    }

    pub(crate) fn first_byte_timeout(limit: Duration) -> Self {
        let message = format!("the provider did not begin to answer within {} s", limit.as_secs_f64());
        Self::new(UpstreamErrorKind::FirstByteTimeout, message)
    }

    pub(crate) fn idle_timeout(limit: Duration) -> Self {
        let message = format!("the provider stopped answering for {} s", limit.as_secs_f64());
        Self::new(UpstreamErrorKind::IdleTimeout, message)
    }

    pub(crate) fn broken_body(error: &hyper::Error) -> Self {
        let message = if error.is_incomplete_message() {
            "the provider's answer ended before its declared length".to_owned()
        } else {
            format!("the provider's answer broke off: {error}")
        };
        Self::new(UpstreamErrorKind::BodyBroken, message)
    }

    /// The class of an exchange that failed before the answer's head.
    pub(crate) fn before_head(error: &legacy::Error) -> Self {
        if let Some(failure) = find::<ConnectFailure>(error) {
            return Self::new(failure.kind, failure.message.clone());
        }
        if error.is_connect() {
            // The HTTP/2 handshake: TCP and TLS stand, but no request has been sent.
            return Self::new(UpstreamErrorKind::Connect, "the provider refused the HTTP connection");
        }
        match find::<hyper::Error>(error) {
            Some(error) if error.is_parse() => Self::new(
                UpstreamErrorKind::InvalidResponse,
                format!("the provider's answer is not valid HTTP: {error}"),
            ),
            Some(_) => Self::new(
                UpstreamErrorKind::ResetBeforeHeaders,
                "the provider closed the connection without an answer",
            ),
            None => Self::not_a_target(),
        }
    }
}

fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// A client that cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The extra CA file cannot be read or holds no certificate.
    #[error("cannot use the CA file {path}: {reason}")]
    CaFile {
        /// Its path.
        path: String,
        /// What is wrong.
        reason: String,
    },
}
