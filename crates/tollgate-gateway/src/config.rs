//! The gateway's bounds. Every one has a reason; the binary may change the ones an operator may choose.

use std::time::Duration;

use tollgate_ledger::IdempotencyBounds;

/// How one data-plane pod behaves. Plain values: the binary reads files and environment.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Largest request body in bytes; beyond it 413. 32 MiB holds the images of one long conversation.
    pub max_body_bytes: usize,
    /// Largest answer that is read whole (streams are not) in bytes; beyond it the attempt failed.
    pub max_answer_bytes: usize,
    /// Largest request head in bytes: line and headers together.
    pub max_head_bytes: usize,
    /// Most headers in one request.
    pub max_headers: usize,
    /// From the first byte of a request to the end of its head.
    pub header_timeout: Duration,
    /// From the end of the head to the end of the body.
    pub body_timeout: Duration,
    /// Connections open at once; further ones wait in the kernel's queue.
    pub max_connections: usize,
    /// Settlements waiting for the ledger; when all places are taken new requests get 503.
    pub max_unsettled: usize,
    /// How long a request may wait for its tenant to be seeded.
    pub seed_timeout: Duration,
    /// After how long without renewal a hold counts as abandoned (`money.md` §3: 60 s).
    pub lease: Duration,
    /// How often holds are renewed: three chances per lease.
    pub renew_every: Duration,
    /// How long requests in flight may go on after SIGTERM.
    pub grace: Duration,
    /// Answer tokens that are held for and written upstream where neither the client nor the catalogue
    /// names a maximum.
    pub default_output_cap_tokens: u64,
    /// Below this many affordable answer tokens a request is refused rather than clamped.
    pub output_floor_tokens: u64,
    /// After so long a stream's beginning is shown though it has no content yet: its client is told that something comes,
    /// and nobody else can answer any more.
    pub show_beginning_after: Duration,
    /// How often a pod looks at the batches it has made: their money is free a moment later, and no provider minds.
    pub look_at_batches_every: Duration,
    /// Requests that carry an idempotency key.
    pub idempotency: IdempotencyConfig,
}

/// How long and how much is kept for requests that carry an idempotency key.
#[derive(Clone, Debug)]
pub struct IdempotencyConfig {
    /// From the end of a request until its key is forgotten.
    pub lifetime: Duration,
    /// How long a repeat waits for the first one's answer, where the client does not say: below it most answers have
    /// ended, and clients retry what is refused then.
    pub wait: Duration,
    /// Largest answer that is kept in bytes; a larger one is answered once and cannot be repeated.
    pub max_answer_bytes: usize,
    /// Keys remembered at once per API key: one a second for a day.
    pub max_keys: u64,
    /// Bytes of answers kept per tenant; beyond them only the outcome is kept.
    pub max_tenant_bytes: u64,
}

impl IdempotencyConfig {
    /// As the ledger is told; `lease` is how long a pod may be silent before its run counts as lost.
    pub(crate) fn bounds(&self, lease: Duration) -> IdempotencyBounds {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        IdempotencyBounds {
            lease_ms: millis(lease),
            lifetime_ms: millis(self.lifetime),
            max_keys: self.max_keys,
            max_tenant_bytes: self.max_tenant_bytes,
        }
    }
}

impl Default for IdempotencyConfig {
    fn default() -> Self {
        Self {
            lifetime: Duration::from_secs(24 * 3_600),
            wait: Duration::from_secs(120),
            max_answer_bytes: 1 << 20,
            max_keys: 86_400,
            max_tenant_bytes: 64 << 20,
        }
    }
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            max_body_bytes: 32 << 20,
            max_answer_bytes: 64 << 20,
            max_head_bytes: 64 << 10,
            max_headers: 100,
            header_timeout: Duration::from_secs(15),
            body_timeout: Duration::from_secs(60),
            max_connections: 20_000,
            max_unsettled: 65_536,
            seed_timeout: Duration::from_millis(500),
            lease: Duration::from_secs(60),
            renew_every: Duration::from_secs(20),
            grace: Duration::from_secs(30),
            default_output_cap_tokens: 4_096,
            output_floor_tokens: 256,
            show_beginning_after: Duration::from_secs(10),
            look_at_batches_every: Duration::from_secs(60),
            idempotency: IdempotencyConfig::default(),
        }
    }
}
