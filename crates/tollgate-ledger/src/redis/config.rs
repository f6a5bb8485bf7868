//! How to reach Redis.

use tollgate_domain::Secret;

/// How long an admission or settlement may take: nobody waits longer because of Redis. A healthy Redis answers
/// within a millisecond; the rest is room for this process's own queue when hundreds of requests come at once.
pub const DEFAULT_RESPONSE_TIMEOUT_MS: u64 = 150;
/// How long connecting may take, a TLS handshake across regions included.
const DEFAULT_CONNECT_TIMEOUT_MS: u64 = 2_000;
/// After so long without acknowledgement an event is delivered again: far above what a journal batch takes.
const DEFAULT_OUTBOX_REDELIVERY_MS: u64 = 5_000;

/// How to reach Redis and how long to wait for it.
#[derive(Clone, Debug)]
pub struct RedisConfig {
    /// `redis://[user:password@]host:port[/database]`, `rediss://` for TLS.
    pub url: Secret,
    /// Deadline of an admission or settlement, in milliseconds.
    pub response_timeout_ms: u64,
    /// Deadline of connecting, in milliseconds.
    pub connect_timeout_ms: u64,
    /// After how many milliseconds an unacknowledged outbox event is delivered again.
    pub outbox_redelivery_ms: u64,
}

impl RedisConfig {
    /// The defaults for a server at `url`.
    #[must_use]
    pub fn new(url: Secret) -> Self {
        Self {
            url,
            response_timeout_ms: DEFAULT_RESPONSE_TIMEOUT_MS,
            connect_timeout_ms: DEFAULT_CONNECT_TIMEOUT_MS,
            outbox_redelivery_ms: DEFAULT_OUTBOX_REDELIVERY_MS,
        }
    }
}
