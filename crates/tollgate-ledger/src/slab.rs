//! Slabs: money (and rate limits) leased ahead as one ordinary hold, out of which requests are admitted in
//! memory, without a round trip. What is in a slab is held, so that nothing can be overspent.
//!
//! [`SlabLedger`] stands in front of a backend. A request that it admits itself is known to this process alone
//! until it is announced, some milliseconds later: one call (`call`) makes ordinary holds of all such requests,
//! with the slab's money, and settles those that have ended meanwhile. The decision and its bounds are in
//! `docs/adr/0003-slabs.md`.
//!
//! Reading order: `node_set` what is decided in memory, `admit` the request's path, `announce` and `settle` what
//! the backend is told, `lease` how slabs come and go, `report` what is told for a reseed.

mod admit;
mod announce;
mod call;
mod config;
mod lease;
mod node_set;
mod recent;
mod report;
mod settle;
mod shard;
#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::Instant;
use tollgate_domain::{Clock, HoldId, NanoUsd, TenantId};

use crate::Ledger;
use crate::error::LedgerError;
use crate::types::Admission;
use shard::Shard;

pub(crate) use call::{
    Block, EndedPart, FREE_SHARE, LOW_SHARE, Part, PartEnd, SlabAnswer, SlabCall, SlabDone,
};
pub use config::SlabConfig;

/// Locks over the tenants: so many that busy tenants rarely share one.
const N_SHARDS: usize = 64;
/// Between two rounds of announcements: what comes together is told together, and what is unannounced stays
/// some milliseconds' worth.
const ANNOUNCE_EVERY: Duration = Duration::from_millis(2);
/// How often all slabs are looked at: whether they are idle, near a limit, over.
const TICK: Duration = Duration::from_millis(100);

/// Between two tries at the end to return what the backend did not take back.
const RETURN_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// A ledger that admits out of slabs where it can. Cloning gives the same one.
#[derive(Clone)]
pub struct SlabLedger {
    shared: Arc<Shared>,
}

struct Shared {
    backend: Ledger,
    config: SlabConfig,
    time: Time,
    shards: Vec<Mutex<Shard>>,
    work: Mutex<Work>,
    has_work: Notify,
    /// Whether the backend did not answer the last announcement.
    is_away: AtomicBool,
    /// An answer that comes after a report may be of a state that is lost, and is not believed.
    n_reports: AtomicU64,
    hasher: foldhash::fast::RandomState,
    counters: Counters,
}

/// What the next round has to do.
#[derive(Default)]
struct Work {
    /// Slabs in which something is unannounced.
    unannounced: Vec<SlabName>,
    /// Node sets that want a slab.
    wanted: Vec<(TenantId, u64)>,
    /// Slabs of which it is not known whether they were leased.
    doubtful: Vec<(TenantId, HoldId)>,
}

/// Where a slab is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct SlabName {
    tenant: TenantId,
    set: u64,
    slab: HoldId,
}

/// Time as leases are measured by: the process's own, or that of a ledger in process.
enum Time {
    Monotonic(Instant),
    OfLedger(Arc<dyn Clock>),
}

#[derive(Default)]
struct Counters {
    n_local: AtomicU64,
    n_asked: AtomicU64,
    n_tried: AtomicU64,
    n_leased: AtomicU64,
    n_returned: AtomicU64,
}

/// How many requests were admitted where, and how many slabs came and went, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlabFigures {
    /// Admitted out of a slab, without a round trip.
    pub admitted_locally: u64,
    /// Asked of the backend one by one.
    pub asked: u64,
    /// Slabs leased.
    pub leased: u64,
    /// Slabs returned.
    pub returned: u64,
}

/// A slab as its process sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlabView {
    /// Whose.
    pub tenant: TenantId,
    /// The hold that it is.
    pub hold: HoldId,
    /// What may still be admitted out of it.
    pub free: NanoUsd,
    /// The most that may be unannounced at once.
    pub window: NanoUsd,
    /// The holds that only this process knows of, with their amounts; to the backend they are part of the slab.
    pub unannounced: Vec<(HoldId, NanoUsd)>,
}

impl SlabLedger {
    /// Slabs in front of `backend`, which has none itself. Leases are measured by `clock`, or, without one, by
    /// the process's monotonic clock.
    pub(crate) fn new(backend: Ledger, config: SlabConfig, clock: Option<Arc<dyn Clock>>) -> Self {
        let time = clock.map_or_else(|| Time::Monotonic(Instant::now()), Time::OfLedger);
        Self {
            shared: Arc::new(Shared {
                backend,
                config,
                time,
                shards: std::iter::repeat_with(Mutex::default).take(N_SHARDS).collect(),
                work: Mutex::default(),
                has_work: Notify::new(),
                is_away: AtomicBool::new(false),
                n_reports: AtomicU64::new(0),
                hasher: foldhash::fast::RandomState::default(),
                counters: Counters::default(),
            }),
        }
    }

    /// The ledger that slabs are leased from.
    #[must_use]
    pub fn backend(&self) -> &Ledger {
        &self.shared.backend
    }

    /// Announces, leases and returns until `stop`; then until all slabs are returned: the caller bounds how long
    /// a ledger that is away is waited for. Without this nothing is ever admitted
    /// out of a slab.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        let mut next_tick = Instant::now() + TICK;
        loop {
            tokio::select! {
                () = &mut stop => break,
                () = self.shared.has_work.notified() => {}
                () = tokio::time::sleep_until(next_tick) => {}
            }
            self.work_off().await;
            if Instant::now() >= next_tick {
                next_tick = Instant::now() + TICK;
                self.look_after_all().await;
            }
            tokio::time::sleep(ANNOUNCE_EVERY).await;
        }
        loop {
            self.return_all().await;
            if self.is_empty() {
                return;
            }
            tokio::time::sleep(RETURN_AGAIN_AFTER).await;
        }
    }

    /// One round of what [`SlabLedger::run`] does all the time: for tests.
    pub async fn maintain(&self) {
        self.work_off().await;
        self.look_after_all().await;
    }

    /// Announces everything and returns every slab that can be returned: what the backend has afterwards is as if
    /// there were no slabs. Requests that come meanwhile may lease new ones.
    pub async fn return_all(&self) {
        for name in self.names(None) {
            self.close(name, None);
            self.release(name).await;
        }
        self.void_doubtful().await;
    }

    /// All slabs of this process.
    #[must_use]
    pub fn views(&self) -> Vec<SlabView> {
        let shards = self.shared.shards.iter();
        shards
            .flat_map(|shard| {
                shard.lock().slabs().map(|(name, slab)| slab.view(name.tenant)).collect::<Vec<_>>()
            })
            .collect()
    }

    /// Leases a slab for requests like this one, if it is far from every limit, whatever the demand.
    pub async fn lease_for(&self, admission: &Admission<'_>) {
        if let Some(set) = self.want(admission) {
            self.lease(admission.tenant, set).await;
        }
    }

    /// What was done since the start.
    #[must_use]
    pub fn figures(&self) -> SlabFigures {
        let counters = &self.shared.counters;
        SlabFigures {
            admitted_locally: counters.n_local.load(Ordering::Relaxed),
            asked: counters.n_asked.load(Ordering::Relaxed),
            leased: counters.n_leased.load(Ordering::Relaxed),
            returned: counters.n_returned.load(Ordering::Relaxed),
        }
    }

    fn shard(&self, tenant: TenantId) -> MutexGuard<'_, Shard> {
        // The last bits of an id are random.
        let index = tenant.as_uuid().as_u128() % N_SHARDS as u128;
        self.shared.shards[usize::try_from(index).expect("less than the number of shards")].lock()
    }

    fn is_empty(&self) -> bool {
        self.names(None).is_empty() && self.shared.work.lock().doubtful.is_empty()
    }

    /// The slabs of one tenant, or of all.
    fn names(&self, tenant: Option<TenantId>) -> Vec<SlabName> {
        let of_shard = |shard: &Shard| -> Vec<SlabName> {
            let names = shard.slabs().map(|(name, _)| name);
            names.filter(|name| tenant.is_none_or(|tenant| name.tenant == tenant)).collect()
        };
        match tenant {
            Some(tenant) => of_shard(&self.shard(tenant)),
            None => self.shared.shards.iter().flat_map(|shard| of_shard(&shard.lock())).collect(),
        }
    }

    fn now_ms(&self) -> i64 {
        match &self.shared.time {
            Time::Monotonic(start) => i64::try_from(start.elapsed().as_millis()).unwrap_or(i64::MAX),
            Time::OfLedger(clock) => clock.now().0,
        }
    }

    async fn call(&self, call: &SlabCall<'_>) -> Result<SlabAnswer, LedgerError> {
        let answer = match &self.shared.backend {
            Ledger::Memory(ledger) => Ok(ledger.slab(call)),
            Ledger::Redis(ledger) => ledger.slab(call).await,
            Ledger::Slabs(_) => Err(LedgerError::Invalid("slabs cannot be leased from slabs".to_owned())),
        };
        self.shared.is_away.store(answer.is_err(), Ordering::Relaxed);
        answer
    }

    fn is_away(&self) -> bool {
        self.shared.is_away.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for SlabLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlabLedger").field("backend", &self.shared.backend).finish_non_exhaustive()
    }
}
