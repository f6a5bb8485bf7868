//! Holds in flight on this pod, and the task that renews their leases.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tollgate_domain::{HoldId, NanoUsd, TenantId};
use tollgate_ledger::Ledger;

/// Shards, so that requests on different cores rarely meet at one lock.
const SHARDS: usize = 32;

/// The holds in flight. Bounded by the settlement places: every hold here owns one.
#[derive(Debug)]
pub(crate) struct OpenHolds {
    shards: [Mutex<HashMap<HoldId, TenantId>>; SHARDS],
}

impl Default for OpenHolds {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::new(HashMap::new())) }
    }
}

impl OpenHolds {
    fn shard(&self, hold: HoldId) -> &Mutex<HashMap<HoldId, TenantId>> {
        // the last byte of a version-7 UUID is random
        &self.shards[usize::from(hold.as_uuid().as_bytes()[15]) % SHARDS]
    }

    pub(crate) fn open(&self, hold: HoldId, tenant: TenantId) {
        self.shard(hold).lock().insert(hold, tenant);
    }

    pub(crate) fn close(&self, hold: HoldId) {
        self.shard(hold).lock().remove(&hold);
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    fn all(&self) -> Vec<(TenantId, HoldId, NanoUsd)> {
        let pairs = |shard: &Mutex<HashMap<HoldId, TenantId>>| {
            shard.lock().iter().map(|(hold, tenant)| (*tenant, *hold, NanoUsd::ZERO)).collect::<Vec<_>>()
        };
        self.shards.iter().flat_map(pairs).collect()
    }
}

/// Renews every open hold until told to stop.
pub(crate) async fn renew_leases(
    holds: &OpenHolds,
    ledger: &Ledger,
    every: Duration,
    lease: Duration,
    stop: CancellationToken,
) {
    let lease_ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let open = holds.all();
        if open.is_empty() {
            continue;
        }
        if let Err(error) = ledger.renew(&open, lease_ms).await {
            tracing::warn!(%error, holds = open.len(), "leases could not be renewed");
        }
    }
}
