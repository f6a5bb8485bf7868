//! What can go wrong on the way to a provider and back.

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
