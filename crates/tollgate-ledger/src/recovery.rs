//! Looking after holds and epochs: lists, suspects, reports, reseeds.

use std::collections::HashSet;

use tollgate_domain::{BudgetId, HoldId, TenantId, UnixMillis};

use crate::Ledger;
use crate::epoch::{Epoch, Reseed, ReseedOutcome, TenantEpoch};
use crate::error::LedgerError;
use crate::holds::{HoldPage, JournalConfirmation, OpenReport, SuspectHold};
use crate::ledger::check_amount;

impl Ledger {
    /// Some holds of a tenant, about `max`; `cursor` is the end of the page before.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]; [`LedgerError::Invalid`] for a cursor that is none.
    pub async fn list_holds(
        &self,
        tenant: TenantId,
        cursor: Option<&str>,
        max: usize,
    ) -> Result<HoldPage, LedgerError> {
        match self {
            Self::Memory(ledger) => ledger.list_holds(tenant, cursor, max),
            Self::Redis(ledger) => ledger.list_holds(tenant, cursor, max).await,
            Self::Slabs(slabs) => Box::pin(slabs.backend().list_holds(tenant, cursor, max)).await,
        }
    }

    /// Up to `max` holds of all tenants whose lease ended `expired_for_ms` ago or earlier, the earliest first.
    /// Their money stays held until somebody settles them. Those of tenants that wait for a reseed are left
    /// out.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`].
    pub async fn suspect_holds(
        &self,
        max: usize,
        expired_for_ms: u64,
    ) -> Result<Vec<SuspectHold>, LedgerError> {
        match self {
            Self::Memory(ledger) => Ok(ledger.suspect_holds(max, expired_for_ms)),
            Self::Redis(ledger) => ledger.suspect_holds(max, expired_for_ms).await,
            Self::Slabs(slabs) => Box::pin(slabs.backend().suspect_holds(max, expired_for_ms)).await,
        }
    }

    /// What this process has under way of some tenants (`None`: of all): every hold that it was granted and that
    /// is not known to be settled, and every event that is not known to be journaled. A hold whose grant
    /// arrives after the report is asked for again before anybody is told of it.
    #[must_use]
    pub fn open_report(&self, tenants: Option<&[TenantId]>) -> OpenReport {
        match self {
            Self::Memory(ledger) => ledger.open_report(tenants),
            Self::Redis(ledger) => ledger.open_report(tenants),
            Self::Slabs(slabs) => slabs.open_report(tenants),
        }
    }

    /// Asks which of the events that this process settled are journaled and forgets those; puts the others
    /// into the outbox again where the server has lost it. To be called about twice a second: admission stops
    /// when too many events are kept.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: everything is kept.
    pub async fn confirm_journaled(&self) -> Result<JournalConfirmation, LedgerError> {
        match self {
            Self::Memory(ledger) => Ok(ledger.confirm_journaled()),
            Self::Redis(ledger) => ledger.confirm_journaled().await,
            Self::Slabs(slabs) => Box::pin(slabs.backend().confirm_journaled()).await,
        }
    }

    /// The tenants' epochs as stored, in the order asked; `None` where the ledger has never heard of a tenant
    /// or has lost it.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`].
    pub async fn epochs(&self, tenants: &[TenantId]) -> Result<Vec<Option<TenantEpoch>>, LedgerError> {
        match self {
            Self::Memory(ledger) => Ok(ledger.epochs(tenants)),
            Self::Redis(ledger) => ledger.epochs(tenants).await,
            Self::Slabs(slabs) => Box::pin(slabs.backend().epochs(tenants)).await,
        }
    }

    /// Closes tenants for a reseed: from now on every call about them answers that the epoch is wrong, and
    /// nothing of theirs changes. Answers the closed epochs, in the order asked: [`Reseed::expected`]. What was
    /// closed already in this run of the server stays as it is.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: some may have been closed; a repeat is harmless.
    pub async fn fence(&self, tenants: &[TenantId]) -> Result<Vec<Epoch>, LedgerError> {
        match self {
            Self::Memory(ledger) => Ok(ledger.fence(tenants)),
            Self::Redis(ledger) => ledger.fence(tenants).await,
            Self::Slabs(slabs) => Box::pin(slabs.backend().fence(tenants)).await,
        }
    }

    /// Replaces everything of tenants under new epochs; each answer is in the place of its reseed.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: some may have been written; a repeat then answers `Changed` for those.
    /// [`LedgerError::Invalid`]: nothing was written.
    pub async fn reseed(&self, reseeds: &[Reseed]) -> Result<Vec<ReseedOutcome>, LedgerError> {
        reseeds.iter().try_for_each(check_reseed)?;
        match self {
            Self::Memory(ledger) => Ok(reseeds.iter().map(|reseed| ledger.reseed(reseed)).collect()),
            Self::Redis(ledger) => ledger.reseed(reseeds).await,
            Self::Slabs(slabs) => Box::pin(slabs.backend().reseed(reseeds)).await,
        }
    }
}

fn check_reseed(reseed: &Reseed) -> Result<(), LedgerError> {
    check_amount("wallet limit", reseed.wallet_limit)?;
    check_amount("wallet charges", reseed.wallet_settled)?;
    let mut known: HashSet<(BudgetId, UnixMillis)> = HashSet::with_capacity(reseed.counters.len());
    for counter in &reseed.counters {
        check_amount("budget charges", counter.settled)?;
        known.insert((counter.budget, counter.period_starts_at));
    }
    let settled: HashSet<HoldId> = reseed.settled.iter().copied().collect();
    for hold in &reseed.holds {
        check_amount("hold", hold.amount)?;
        let unknown = hold.budgets.iter().find(|held| !known.contains(&(held.budget, held.period_starts_at)));
        if let Some(held) = unknown {
            return Err(LedgerError::Invalid(format!(
                "the hold {} is in the budget {} in the period from {}, whose charges the reseed does not tell",
                hold.hold, held.budget, held.period_starts_at
            )));
        }
        if hold.tenant != reseed.tenant || settled.contains(&hold.hold) {
            return Err(LedgerError::Invalid(format!(
                "the hold {} is of another tenant or both open and settled",
                hold.hold
            )));
        }
    }
    Ok(())
}
