//! The one type callers hold: a closed set of backends behind the same methods.

mod outbox;

use std::path::Path;
use std::sync::Arc;

use tollgate_domain::{Clock, HoldId, KeyId, MAX_LIMIT, NanoUsd, TenantId};

use crate::epoch::Epoch;
use crate::error::LedgerError;
use crate::holds::{GrowOutcome, MAX_MEMO_BYTES, Renewal};
use crate::memory::MemoryLedger;
use crate::redis::{RedisConfig, RedisLedger};
use crate::slab::{SlabConfig, SlabLedger};
use crate::types::{Admission, AdmitOutcome, Balances, BudgetCheck, Seed, SettleOutcome, Settlement};
use crate::write_ahead::Recovered;

/// Entries that can be set aside per shard of the outbox: as many are a defect that somebody must look at.
pub(crate) const MAX_SET_ASIDE: usize = 10_000;

/// A ledger. Cloning is cheap and gives the same ledger.
#[derive(Clone, Debug)]
pub enum Ledger {
    /// In this process.
    Memory(MemoryLedger),
    /// In Redis, shared by all processes.
    Redis(RedisLedger),
    /// One of the others, behind slabs.
    Slabs(SlabLedger),
}

impl Ledger {
    /// A new, empty ledger in this process. Everything is cold until it is seeded.
    #[must_use]
    pub fn memory(clock: Arc<dyn Clock>) -> Self {
        Self::Memory(MemoryLedger::new(clock))
    }

    /// The same with a log in `directory`, which nobody else may use meanwhile: what is held is written there
    /// before an admission is answered, and what is settled soon after. What the process before this one left
    /// behind comes with it: journal that, say so with [`Ledger::forget_recovered`], and only then admit.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] where the directory cannot be used; [`LedgerError::Misconfigured`] where it
    /// holds what this release cannot read.
    pub fn memory_with_log(
        clock: Arc<dyn Clock>,
        directory: &Path,
    ) -> Result<(Self, Recovered), LedgerError> {
        let (ledger, recovered) = MemoryLedger::with_log(clock, directory)?;
        Ok((Self::Memory(ledger), recovered))
    }

    /// Lets go of what the process before this one left behind: it is journaled. Where some of it could not be
    /// (`is_complete` is false) its files stay under another name and are not read again.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: it comes again at the next start, which is harmless.
    pub fn forget_recovered(&self, is_complete: bool) -> Result<(), LedgerError> {
        match self {
            Self::Memory(ledger) => ledger.forget_recovered(is_complete),
            Self::Redis(_) | Self::Slabs(_) => Ok(()),
        }
    }

    /// Makes the log as short as it can be: at the end of a process. Without one it does nothing.
    pub async fn shorten_log(&self) {
        if let Self::Memory(ledger) = self {
            ledger.shorten_log().await;
        }
    }

    /// Connects to Redis. Later it reconnects in the background for as long as it lives.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] when Redis does not answer within the connect timeout: try again later.
    /// [`LedgerError::Misconfigured`] when money would not be safe there.
    pub async fn redis(config: &RedisConfig) -> Result<Self, LedgerError> {
        RedisLedger::connect(config).await.map(Self::Redis)
    }

    /// The same ledger behind slabs, which admit requests without a round trip: only while
    /// [`SlabLedger::run`] runs. In process leases are measured by the ledger's clock; one that keeps a log stays
    /// as it is, because there is no round trip to save.
    #[must_use]
    pub fn with_slabs(self, config: SlabConfig) -> Self {
        match self {
            Self::Memory(ledger) if ledger.has_log() => Self::Memory(ledger),
            Self::Memory(ledger) => {
                let clock = ledger.clock();
                Self::Slabs(SlabLedger::new(Self::Memory(ledger), config, Some(clock)))
            }
            Self::Redis(ledger) => Self::Slabs(SlabLedger::new(Self::Redis(ledger), config, None)),
            Self::Slabs(slabs) => Self::Slabs(slabs),
        }
    }

    /// The slabs in front of this ledger, where it has some.
    #[must_use]
    pub const fn slabs(&self) -> Option<&SlabLedger> {
        match self {
            Self::Memory(_) | Self::Redis(_) => None,
            Self::Slabs(slabs) => Some(slabs),
        }
    }

    /// Whether the events that are not journaled yet leave room for more.
    pub(crate) fn has_room(&self) -> bool {
        match self {
            Self::Memory(ledger) => ledger.has_room(),
            Self::Redis(ledger) => ledger.has_room(),
            Self::Slabs(slabs) => slabs.backend().has_room(),
        }
    }

    /// Whether requests that became ready together have all been decided when the first of them is admitted.
    #[must_use]
    pub fn admits_together(&self) -> bool {
        match self {
            Self::Memory(ledger) => ledger.has_log(),
            Self::Redis(_) | Self::Slabs(_) => false,
        }
    }

    /// Whether holds are known when this process has ended: only then a memo can be read by somebody else.
    #[must_use]
    pub fn outlives_this_process(&self) -> bool {
        match self {
            Self::Memory(ledger) => ledger.has_log(),
            Self::Redis(_) => true,
            Self::Slabs(slabs) => slabs.backend().outlives_this_process(),
        }
    }

    /// Whether the ledger answers.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] when it does not.
    pub async fn ping(&self) -> Result<(), LedgerError> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Redis(ledger) => ledger.ping().await,
            Self::Slabs(slabs) => Box::pin(slabs.backend().ping()).await,
        }
    }

    /// Checks every level and every rate limit and writes a hold, all or nothing, in one round trip. Asking
    /// again with the same hold id gives the same answer while it is held.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: the hold may have been written; settle it at zero or ask again with the
    /// same id. [`LedgerError::OutboxFull`] and [`LedgerError::Invalid`]: nothing was written.
    pub async fn admit(&self, admission: &Admission<'_>) -> Result<AdmitOutcome, LedgerError> {
        check_admission(admission)?;
        match self {
            Self::Memory(ledger) => ledger.admit(admission).await,
            // boxed: its future is large, and every request's future holds the largest of its parts
            Self::Redis(ledger) => Box::pin(ledger.admit(admission)).await,
            Self::Slabs(slabs) => Box::pin(slabs.admit(admission)).await,
        }
    }

    /// Ends a hold: releases it, charges what was used, records the event. A repeat changes nothing.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: it may have happened; a repeat is harmless.
    pub async fn settle(&self, settlement: &Settlement) -> Result<SettleOutcome, LedgerError> {
        check_settlement(settlement)?;
        match self {
            Self::Memory(ledger) => {
                let outcome = ledger.settle(settlement);
                ledger.write_settled().await;
                Ok(outcome)
            }
            Self::Redis(ledger) => ledger.settle(settlement).await,
            Self::Slabs(slabs) => slabs.settle(settlement).await,
        }
    }

    /// Ends many holds in one pipeline; the answers are in the order of the settlements.
    pub async fn settle_many(&self, settlements: &[Settlement]) -> Vec<Result<SettleOutcome, LedgerError>> {
        match self {
            Self::Memory(ledger) => {
                let settle = |settlement| check_settlement(settlement).map(|()| ledger.settle(settlement));
                let outcomes = settlements.iter().map(settle).collect();
                ledger.write_settled().await;
                outcomes
            }
            Self::Redis(ledger) => ledger.settle_many(settlements).await,
            Self::Slabs(slabs) => slabs.settle_many(settlements).await,
        }
    }

    /// Makes a hold larger, on every level or on none, in the periods that it was admitted in. `new_total` is
    /// all that it is to hold, so that a repeat is harmless; a hold never becomes smaller.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: it may have grown; a repeat is harmless.
    pub async fn grow(
        &self,
        tenant: TenantId,
        hold: HoldId,
        new_total: NanoUsd,
    ) -> Result<GrowOutcome, LedgerError> {
        check_amount("hold", new_total)?;
        match self {
            Self::Memory(ledger) => ledger.grow(tenant, hold, new_total),
            Self::Redis(ledger) => ledger.grow(tenant, hold, new_total).await,
            Self::Slabs(slabs) => slabs.grow(tenant, hold, new_total).await,
        }
    }

    /// Extends the leases of holds by `lease_ms` from now and notes what each request has cost so far; the
    /// highest of these is kept.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: some may have been extended.
    pub async fn renew(
        &self,
        holds: &[(TenantId, HoldId, NanoUsd)],
        lease_ms: u64,
    ) -> Result<Renewal, LedgerError> {
        holds.iter().try_for_each(|(_, _, cost)| check_amount("cost so far", *cost))?;
        match self {
            Self::Memory(ledger) => Ok(ledger.renew(holds, lease_ms)),
            Self::Redis(ledger) => ledger.renew(holds, lease_ms).await,
            Self::Slabs(slabs) => slabs.renew(holds, lease_ms).await,
        }
    }

    /// Tells the ledger what the journal knows of a tenant. Writes only what the ledger does not have, except
    /// for a wallet limit of a later version; live counters stay as they are.
    ///
    /// A tenant that the ledger does not know begins its first epoch with it. That is right only while no pod
    /// holds anything of the tenant: where one may, because the ledger may have been lost, gather the pods'
    /// reports and use [`Ledger::reseed`], which does the same with them.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: it may have happened; a repeat is harmless. [`LedgerError::WrongEpoch`]:
    /// what the ledger has is to be replaced by a reseed; nothing was written.
    pub async fn seed(&self, seed: &Seed) -> Result<(), LedgerError> {
        self.seed_known(seed, None).await
    }

    /// The same for a tenant that was seen under `epoch`, and whose ledger must not have been lost since: only what
    /// is new of it, such as a budget, is written.
    ///
    /// # Errors
    /// As [`Ledger::seed`]; [`LedgerError::WrongEpoch`] also where another epoch is stored, or none.
    pub async fn seed_within(&self, seed: &Seed, epoch: &Epoch) -> Result<(), LedgerError> {
        self.seed_known(seed, Some(epoch)).await
    }

    async fn seed_known(&self, seed: &Seed, known: Option<&Epoch>) -> Result<(), LedgerError> {
        check_amount("wallet limit", seed.wallet_limit)?;
        check_amount("wallet charges", seed.wallet_settled)?;
        for counter in &seed.counters {
            check_amount("budget charges", counter.settled)?;
        }
        match self {
            Self::Memory(ledger) => ledger.seed(seed, known),
            Self::Redis(ledger) => ledger.seed(seed, known).await,
            Self::Slabs(slabs) => Box::pin(slabs.backend().seed_known(seed, known)).await,
        }
    }

    /// Sets the wallet's limit: all credit ever granted. Ignored when `version` is not above the stored one,
    /// so that late messages do no harm.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: it may have happened; a repeat is harmless.
    pub async fn set_wallet_limit(
        &self,
        tenant: TenantId,
        limit: NanoUsd,
        version: u64,
    ) -> Result<(), LedgerError> {
        check_amount("wallet limit", limit)?;
        match self {
            Self::Memory(ledger) => {
                ledger.set_wallet_limit(tenant, limit, version);
                Ok(())
            }
            Self::Redis(ledger) => ledger.set_wallet_limit(tenant, limit, version).await,
            Self::Slabs(slabs) => Box::pin(slabs.backend().set_wallet_limit(tenant, limit, version)).await,
        }
    }

    /// Flags a key as revoked (or no longer): the next admission with it is refused, whatever policy the
    /// gateway still has.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: it may have happened; a repeat is harmless.
    pub async fn set_key_revoked(
        &self,
        tenant: TenantId,
        key: KeyId,
        revoked: bool,
    ) -> Result<(), LedgerError> {
        self.set_keys_revoked(tenant, &[key], revoked).await
    }

    /// The same for many keys of one tenant, in one round trip.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: it may have happened; a repeat is harmless.
    pub async fn set_keys_revoked(
        &self,
        tenant: TenantId,
        keys: &[KeyId],
        revoked: bool,
    ) -> Result<(), LedgerError> {
        match self {
            Self::Memory(ledger) => {
                ledger.set_keys_revoked(tenant, keys, revoked);
                Ok(())
            }
            Self::Redis(ledger) => ledger.set_keys_revoked(tenant, keys, revoked).await,
            Self::Slabs(slabs) => Box::pin(slabs.backend().set_keys_revoked(tenant, keys, revoked)).await,
        }
    }

    /// The counters of the wallet (where asked) and of budgets, in the periods of the ledger's present.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`].
    pub async fn balances(
        &self,
        tenant: TenantId,
        wallet: bool,
        budgets: &[BudgetCheck],
    ) -> Result<Balances, LedgerError> {
        match self {
            Self::Memory(ledger) => Ok(ledger.balances(tenant, wallet, budgets)),
            Self::Redis(ledger) => ledger.balances(tenant, wallet, budgets).await,
            Self::Slabs(slabs) => Box::pin(slabs.backend().balances(tenant, wallet, budgets)).await,
        }
    }

    /// Removes everything about a tenant, holds in flight included. It is cold afterwards. Events in the
    /// outbox stay.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: it may have happened; a repeat is harmless.
    pub async fn forget_tenant(&self, tenant: TenantId) -> Result<(), LedgerError> {
        match self {
            Self::Memory(ledger) => {
                ledger.forget_tenant(tenant);
                Ok(())
            }
            Self::Redis(ledger) => ledger.forget_tenant(tenant).await,
            Self::Slabs(slabs) => slabs.forget_tenant(tenant).await,
        }
    }
}

// === what no backend can represent ===

fn check_admission(admission: &Admission<'_>) -> Result<(), LedgerError> {
    check_amount("amount", admission.amount)?;
    check_amount("minimum", admission.minimum)?;
    if admission.minimum > admission.amount {
        return Err(LedgerError::Invalid(format!(
            "the minimum {} is above the amount {}",
            admission.minimum, admission.amount
        )));
    }
    if admission.memo.len() > MAX_MEMO_BYTES {
        return Err(LedgerError::Invalid(format!(
            "the memo has {} bytes, at most {MAX_MEMO_BYTES} are kept",
            admission.memo.len()
        )));
    }
    admission.budgets.iter().try_for_each(|budget| check_amount("budget limit", budget.limit))
}

pub(crate) fn check_settlement(settlement: &Settlement) -> Result<(), LedgerError> {
    check_amount("charge", settlement.actual)
}

pub(crate) fn check_amount(what: &str, amount: NanoUsd) -> Result<(), LedgerError> {
    if amount < NanoUsd::ZERO || amount > MAX_LIMIT {
        return Err(LedgerError::Invalid(format!("the {what} {amount} is not within 0 and {MAX_LIMIT} USD")));
    }
    Ok(())
}
