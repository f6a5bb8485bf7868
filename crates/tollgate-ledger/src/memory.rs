//! The ledger in this process: for single-process installations and as everybody's test double.

mod counters;
mod decide;
mod holds;
mod idempotency;
mod logged;
mod outbox;
mod rates;
mod recovery;
mod slab;
mod tenant;
mod tombstones;

use std::fmt;
use std::sync::Arc;

use foldhash::HashMap;
use parking_lot::{Mutex, MutexGuard};
use tollgate_domain::{Clock, HoldId, KeyId, NanoUsd, TenantId};

use crate::epoch::Epoch;
use crate::error::LedgerError;
use crate::holds::{GrowOutcome, Renewal, UnjournaledEvent};
use crate::mutants::{self, Mutant};
use crate::types::{
    Admission, AdmitOutcome, Balances, BudgetCheck, OutboxEntry, OutboxHandle, OutboxMark, Seed,
    SettleOutcome, Settlement, WalletRule,
};
use crate::write_ahead::log::{Position, WriteAheadLog};
use idempotency::IdempotencyRecords;
use outbox::Outbox;
use tenant::{Settled, TenantState};

/// Admissions stop while this many events wait for the journal: about 200 MB of events. Settlements go on,
/// so that the outbox exceeds it at most by the holds in flight.
pub const MAX_OUTBOX_EVENTS: usize = 100_000;
/// Locks over the tenants: so many that busy tenants rarely share one.
const N_SHARDS: usize = 64;

/// A ledger in this process. Nothing survives the process but what its log tells, where it has one. Cloning gives
/// the same ledger.
///
/// Memory per tenant is bounded by its keys, budgets and holds in flight, plus a
/// hundred thousand ids of settled holds.
#[derive(Clone)]
pub struct MemoryLedger {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    shards: Vec<Mutex<HashMap<TenantId, TenantState>>>,
    outbox: Outbox,
    idempotency: IdempotencyRecords,
    /// What is held and settled, for who starts after this process was killed.
    log: Option<WriteAheadLog>,
}

impl MemoryLedger {
    /// A new, empty ledger that reads time from `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::of(clock, None)
    }

    fn of(clock: Arc<dyn Clock>, log: Option<WriteAheadLog>) -> Self {
        let shards = std::iter::repeat_with(Mutex::default).take(N_SHARDS).collect();
        Self {
            shared: Arc::new(Shared {
                clock,
                shards,
                outbox: Outbox::default(),
                idempotency: IdempotencyRecords::default(),
                log,
            }),
        }
    }

    /// Everything that this ledger has is replaced by everything that `other` has, which is empty afterwards: for
    /// simulations in which a server is lost, or another one takes over.
    pub fn replace_with(&self, other: &Self) {
        for (mine, theirs) in self.shared.shards.iter().zip(&other.shared.shards) {
            let theirs = std::mem::take(&mut *theirs.lock());
            *mine.lock() = theirs;
        }
        self.shared.outbox.replace_with(&other.shared.outbox);
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.shared.clock)
    }

    pub(crate) fn has_room(&self) -> bool {
        self.shared.outbox.len() < MAX_OUTBOX_EVENTS
    }

    /// What is admitted stands in the log before this answers. Requests that became ready together are decided first
    /// and written with one call, which is dearer than deciding all of them.
    pub(crate) async fn admit(&self, admission: &Admission<'_>) -> Result<AdmitOutcome, LedgerError> {
        let (outcome, position) = self.decide(admission)?;
        if position.is_some() {
            tokio::task::yield_now().await;
            self.write_through(position)?;
        }
        Ok(outcome)
    }

    /// The answer, and how far the log must be written before it counts.
    fn decide(&self, admission: &Admission<'_>) -> Result<(AdmitOutcome, Option<Position>), LedgerError> {
        if !self.has_room() {
            return Err(LedgerError::OutboxFull);
        }
        self.log_is_writable()?;
        let now = self.shared.clock.now();
        let mut tenants = self.shard(admission.tenant);
        let state = tenants.entry(admission.tenant).or_default();
        let outcome = state.admit(admission, now);
        let position = match outcome {
            AdmitOutcome::Admitted(_) => self.log_hold(admission.tenant, admission.hold, state),
            _ => None,
        };
        Ok((outcome, position))
    }

    pub(crate) fn settle(&self, settlement: &Settlement) -> SettleOutcome {
        let now = self.shared.clock.now();
        let event = settlement.event.clone();
        let mut tenants = self.shard(settlement.tenant);
        let settled = tenants.entry(settlement.tenant).or_default().settle(settlement, now);
        let (outcome, wallet, budgets) = match settled {
            Settled::Charged(wallet, budgets) => (SettleOutcome::Settled, wallet, budgets),
            Settled::Uncounted => (SettleOutcome::UnknownHold, WalletRule::None, Vec::new()),
            Settled::Nothing(outcome) => return outcome,
        };
        // Under the tenant's lock, so that a charge is never visible without its event; into the outbox first, so
        // that a checkpoint finds it there or the log has it after the checkpoint began.
        if let Some(event) = event {
            self.shared.outbox.push(UnjournaledEvent { event: Arc::clone(&event), wallet, budgets });
            self.log_settled(&event);
            if outcome == SettleOutcome::UnknownHold {
                // there is no hold in the log that would tell of it
                self.write_log();
            }
        } else if outcome == SettleOutcome::Settled {
            self.log_ended(settlement.hold);
        }
        outcome
    }

    pub(crate) fn grow(
        &self,
        tenant: TenantId,
        hold: HoldId,
        new_total: NanoUsd,
    ) -> Result<GrowOutcome, LedgerError> {
        self.log_is_writable()?;
        let mut tenants = self.shard(tenant);
        let state = tenants.entry(tenant).or_default();
        let outcome = state.grow(hold, new_total);
        let position = match outcome {
            GrowOutcome::Grown { .. } => self.log_hold(tenant, hold, state),
            _ => None,
        };
        drop(tenants);
        self.write_through(position)?;
        Ok(outcome)
    }

    pub(crate) fn renew(&self, holds: &[(TenantId, HoldId, NanoUsd)], lease_ms: u64) -> Renewal {
        let now = self.shared.clock.now();
        let mut renewal = Renewal::default();
        for (tenant, hold, cost_so_far) in holds {
            let mut tenants = self.shard(*tenant);
            let state = tenants.entry(*tenant).or_default();
            match state.renew(*hold, *cost_so_far, now, lease_ms) {
                Some(true) => {
                    renewal.renewed += 1;
                    if *cost_so_far > NanoUsd::ZERO {
                        self.log_hold(*tenant, *hold, state);
                    }
                }
                Some(false) => renewal.gone.push((*tenant, *hold)),
                None => renewal.wrong_epoch.push(*tenant),
            }
        }
        self.write_log();
        renewal.wrong_epoch.sort_unstable();
        renewal.wrong_epoch.dedup();
        renewal
    }

    pub(crate) fn seed(&self, seed: &Seed, known: Option<&Epoch>) -> Result<(), LedgerError> {
        let now = self.shared.clock.now();
        let mut tenants = self.shard(seed.tenant);
        let state = tenants.entry(seed.tenant).or_default();
        let is_another = known.is_some_and(|known| state.stored_epoch().as_ref() != Some(known));
        if state.is_fenced() || is_another && !mutants::is(Mutant::NoFence) {
            return Err(LedgerError::WrongEpoch);
        }
        state.open_epoch();
        state.seed(seed, now);
        Ok(())
    }

    pub(crate) fn set_wallet_limit(&self, tenant: TenantId, limit: NanoUsd, version: u64) {
        self.shard(tenant).entry(tenant).or_default().set_wallet_limit(limit, version);
    }

    pub(crate) fn set_keys_revoked(&self, tenant: TenantId, keys: &[KeyId], revoked: bool) {
        let mut tenants = self.shard(tenant);
        let state = tenants.entry(tenant).or_default();
        keys.iter().for_each(|key| state.set_key_revoked(*key, revoked));
    }

    pub(crate) fn balances(&self, tenant: TenantId, wallet: bool, budgets: &[BudgetCheck]) -> Balances {
        let now = self.shared.clock.now();
        self.shard(tenant).entry(tenant).or_default().balances(wallet, budgets, now)
    }

    pub(crate) fn forget_tenant(&self, tenant: TenantId) {
        self.shard(tenant).remove(&tenant);
        self.forget_idempotency(tenant);
    }

    pub(crate) async fn outbox_read(&self, max: usize, block_ms: u64) -> Vec<OutboxEntry> {
        // with a pause of a journal writer since the last one: what was settled meanwhile waits no longer
        self.write_log();
        self.shared.outbox.read(max, block_ms, self.shared.clock.as_ref()).await
    }

    pub(crate) async fn outbox_acknowledge(&self, handles: &[OutboxHandle]) {
        let journaled = self.shared.outbox.acknowledge(handles);
        self.log_journaled(&journaled);
        self.maintain_log().await;
    }

    pub(crate) fn outbox_set_aside(&self, handles: &[OutboxHandle]) -> u64 {
        self.shared.outbox.set_aside(handles)
    }

    pub(crate) fn outbox_set_aside_len(&self) -> u64 {
        self.shared.outbox.set_aside_len()
    }

    pub(crate) fn outbox_mark(&self) -> OutboxMark {
        self.shared.outbox.mark()
    }

    pub(crate) fn outbox_look(&self, mark: &mut OutboxMark, max: usize) -> Vec<OutboxEntry> {
        self.shared.outbox.look(mark, max)
    }

    pub(crate) fn outbox_len(&self) -> u64 {
        u64::try_from(self.shared.outbox.len()).unwrap_or(u64::MAX)
    }

    fn shard(&self, tenant: TenantId) -> MutexGuard<'_, HashMap<TenantId, TenantState>> {
        // The last bits of an id are random.
        let index = tenant.as_uuid().as_u128() % N_SHARDS as u128;
        let index = usize::try_from(index).expect("less than the number of shards");
        self.shared.shards[index].lock()
    }
}

impl fmt::Debug for MemoryLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLedger").field("outbox_len", &self.shared.outbox.len()).finish_non_exhaustive()
    }
}
