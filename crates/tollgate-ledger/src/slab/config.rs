//! The bounds of slabs.

/// How slabs are leased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlabConfig {
    /// Pods that may lease from the same money: "far from a limit" leaves room for the slabs of all of them. Zero
    /// leaves only a tenth of each limit.
    pub n_pods: u32,
    /// Requests within a second from which a slab is worth its calls.
    pub lease_after: u64,
    /// A slab holds this many of the largest requests at least; the window of what is unannounced is an eighth.
    pub min_requests: u64,
    /// A slab is returned when nothing was admitted out of it for so long.
    pub idle_ms: i64,
    /// A slab is returned after so long in any case, unless the backend is away: then it serves on to its lease.
    pub max_age_ms: i64,
}

impl Default for SlabConfig {
    fn default() -> Self {
        Self { n_pods: 8, lease_after: 16, min_requests: 64, idle_ms: 2_000, max_age_ms: 10_000 }
    }
}
