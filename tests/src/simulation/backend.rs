//! The ledger under test, and what can happen to it: everything lost, or a copy of the past in its place.

use std::sync::Arc;

use tollgate_domain::{Clock, HoldId, ManualClock, NanoUsd, TenantId, UnixMillis};
use tollgate_ledger::{Ledger, Reseed, Seed, Settlement, SlabConfig};

use super::failure::Checked;
use super::redis::RedisBackend;
use super::request::OwnedAdmission;

/// Where the simulated time begins.
const START: UnixMillis = UnixMillis(1_900_000_000_000);

/// Who calls: pods are counted from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    Pod(usize),
    Control,
}

pub(super) enum Backend {
    Memory(MemoryBackend),
    Redis(Box<RedisBackend>),
}

/// One ledger in this process that all pods share. It has no server to fail, so that losing it is done by putting an
/// empty one in its place, and failing over by one that repeats what the first did up to some time ago.
pub(super) struct MemoryBackend {
    clock: Arc<ManualClock>,
    ledger: Ledger,
    /// Each pod's, where they have slabs.
    slabs: Vec<Ledger>,
    log: Vec<(UnixMillis, Write)>,
}

/// A call that changes something, so that a replica can repeat it.
#[derive(Clone)]
pub(super) enum Write {
    Admit(OwnedAdmission),
    Settle(Settlement),
    Grow(TenantId, HoldId, NanoUsd),
    Renew(TenantId, HoldId, NanoUsd, u64),
    Seed(Seed),
    WalletLimit(TenantId, NanoUsd, u64),
    Fence(TenantId),
    Reseed(Box<Reseed>),
}

impl Backend {
    pub(super) fn memory(n_pods: usize, has_slabs: bool) -> Self {
        let clock = Arc::new(ManualClock::new(START));
        let ledger = Ledger::memory(Arc::clone(&clock) as Arc<dyn Clock>);
        let n_slabs = if has_slabs { n_pods } else { 0 };
        let slabs = (0..n_slabs).map(|_| with_slabs(&ledger)).collect();
        Self::Memory(MemoryBackend { clock, ledger, slabs, log: Vec::new() })
    }

    pub(super) fn ledger(&self, caller: Caller) -> Ledger {
        match self {
            Self::Memory(memory) => {
                let slabs = match caller {
                    Caller::Pod(pod) => memory.slabs.get(pod),
                    Caller::Control => None,
                };
                slabs.unwrap_or(&memory.ledger).clone()
            }
            Self::Redis(redis) => redis.ledger(caller),
        }
    }

    pub(super) fn now(&self) -> UnixMillis {
        match self {
            Self::Memory(memory) => memory.clock.now(),
            Self::Redis(redis) => redis.now(),
        }
    }

    /// Lets time pass, or jump; the server of a real ledger has a clock of its own.
    pub(super) fn advance_ms(&self, ms: i64) {
        if let Self::Memory(memory) = self {
            memory.clock.advance_ms(ms);
        }
    }

    /// Whether time is the simulation's own: leases end by it.
    pub(super) fn has_manual_time(&self) -> bool {
        matches!(self, Self::Memory(_))
    }

    /// A pod died: the next one in its place knows nothing.
    pub(super) async fn replace_pod(&mut self, pod: usize) -> Checked {
        match self {
            Self::Memory(memory) => {
                let fresh = with_slabs(&memory.ledger);
                if let Some(slabs) = memory.slabs.get_mut(pod) {
                    *slabs = fresh;
                }
                Ok(())
            }
            Self::Redis(redis) => redis.replace_pod(pod).await,
        }
    }

    /// To be called with every write before it is made.
    pub(super) fn remember(&mut self, write: impl FnOnce() -> Write) {
        if let Self::Memory(memory) = self {
            memory.log.push((memory.clock.now(), write()));
        }
    }

    /// Everything is gone.
    pub(super) async fn lose_everything(&mut self, by_restart: bool) -> Checked {
        match self {
            Self::Memory(memory) => {
                memory.replace_with(&Ledger::memory(Arc::clone(&memory.clock) as Arc<dyn Clock>));
                memory.log.clear();
                Ok(())
            }
            Self::Redis(redis) => redis.lose_everything(by_restart).await,
        }
    }

    /// A copy of the past takes over, in process one from `lag` writes ago. Answers whether it did: in Redis it is only
    /// made the first time.
    pub(super) async fn fail_over(&mut self, lag: usize, tenants: &[TenantId]) -> Checked<bool> {
        match self {
            Self::Memory(memory) => memory.fail_over(lag, tenants).await.map(|()| true),
            Self::Redis(redis) => redis.fail_over().await,
        }
    }
}

impl MemoryBackend {
    /// Another state under the same handles: pods keep theirs, and what they know.
    fn replace_with(&self, other: &Ledger) {
        if let (Ledger::Memory(ledger), Ledger::Memory(other)) = (&self.ledger, other) {
            ledger.replace_with(other);
        }
    }

    async fn fail_over(&mut self, lag: usize, tenants: &[TenantId]) -> Checked {
        let now = self.clock.now();
        self.log.truncate(self.log.len().saturating_sub(lag));
        let replica = Ledger::memory(Arc::clone(&self.clock) as Arc<dyn Clock>);
        for (at, write) in &self.log {
            self.clock.set(*at);
            write.repeat(&replica).await?;
        }
        self.replace_with(&replica);
        self.clock.set(now);
        // In process there is no run that would differ; this is what another run does to every tenant.
        self.ledger.fence(tenants).await?;
        tenants.iter().for_each(|tenant| self.log.push((now, Write::Fence(*tenant))));
        Ok(())
    }
}

impl Write {
    async fn repeat(&self, ledger: &Ledger) -> Checked {
        match self {
            Self::Admit(admission) => drop(ledger.admit(&admission.borrow()).await?),
            Self::Settle(settlement) => drop(ledger.settle(settlement).await?),
            Self::Grow(tenant, hold, new_total) => drop(ledger.grow(*tenant, *hold, *new_total).await?),
            Self::Renew(tenant, hold, cost, lease_ms) => {
                drop(ledger.renew(&[(*tenant, *hold, *cost)], *lease_ms).await?);
            }
            // Refused while the tenant is closed, as it was then.
            Self::Seed(seed) => drop(ledger.seed(seed).await),
            Self::WalletLimit(tenant, limit, version) => {
                ledger.set_wallet_limit(*tenant, *limit, *version).await?;
            }
            Self::Fence(tenant) => drop(ledger.fence(&[*tenant]).await?),
            Self::Reseed(reseed) => drop(ledger.reseed(std::slice::from_ref(reseed.as_ref())).await?),
        }
        Ok(())
    }
}

/// A pod's slabs: as near a limit as they can be, so that limits and slabs meet.
pub(super) fn with_slabs(ledger: &Ledger) -> Ledger {
    let config = SlabConfig { n_pods: 0, min_requests: 8, ..SlabConfig::default() };
    ledger.clone().with_slabs(config)
}
