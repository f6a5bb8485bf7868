//! What the ledger in process writes to its log, and when. Without a log all of it does nothing.

use std::path::Path;
use std::sync::Arc;

use tollgate_domain::{Clock, EventId, HoldId, TenantId, UsageEvent};

use super::MemoryLedger;
use super::tenant::{Hold, TenantState};
use crate::error::LedgerError;
use crate::write_ahead::Recovered;
use crate::write_ahead::log::{Position, WriteAheadLog};
use crate::write_ahead::record::HoldRecord;

impl MemoryLedger {
    pub(crate) fn with_log(
        clock: Arc<dyn Clock>,
        directory: &Path,
    ) -> Result<(Self, Recovered), LedgerError> {
        let (log, recovered) = WriteAheadLog::open(directory)?;
        Ok((Self::of(clock, Some(log)), recovered))
    }

    pub(crate) fn has_log(&self) -> bool {
        self.shared.log.is_some()
    }

    pub(crate) fn forget_recovered(&self, is_complete: bool) -> Result<(), LedgerError> {
        self.shared.log.as_ref().map_or(Ok(()), |log| log.forget_inherited(is_complete))
    }

    // --- records ---

    /// To be asked before anything changes that must be written.
    pub(super) fn log_is_writable(&self) -> Result<(), LedgerError> {
        self.shared.log.as_ref().map_or(Ok(()), WriteAheadLog::is_writable)
    }

    /// A hold as it is in its tenant's state.
    pub(super) fn log_hold(&self, tenant: TenantId, id: HoldId, state: &TenantState) -> Option<Position> {
        let log = self.shared.log.as_ref()?;
        state.holds.get(&id).map(|hold| log.hold(&record_of(tenant, id, hold)))
    }

    pub(super) fn log_settled(&self, event: &UsageEvent) {
        if let Some(log) = &self.shared.log {
            log.settled(event);
        }
    }

    pub(super) fn log_ended(&self, hold: HoldId) {
        if let Some(log) = &self.shared.log {
            log.ended(hold);
        }
    }

    /// Written at once: the journal takes them in batches.
    pub(super) fn log_journaled(&self, events: &[EventId]) {
        if let Some(log) = self.shared.log.as_ref().filter(|_| !events.is_empty()) {
            log.journaled(events);
            log.write_all();
        }
    }

    // --- writing ---

    /// # Errors
    /// [`LedgerError::Unavailable`]: it is not written.
    pub(super) fn write_through(&self, position: Option<Position>) -> Result<(), LedgerError> {
        match (&self.shared.log, position) {
            (Some(log), Some(position)) => log.write_through(position),
            _ => Ok(()),
        }
    }

    pub(super) fn write_log(&self) {
        if let Some(log) = &self.shared.log {
            log.write_all();
        }
    }

    /// After settlements: they ride with the next admission, unless there has been none for a while.
    pub(crate) async fn write_settled(&self) {
        if let Some(log) = &self.shared.log {
            log.write_settled();
            self.maintain_log().await;
        }
    }

    /// Makes the log shorter where that is due; on a thread that may wait for a disk.
    pub(super) async fn maintain_log(&self) {
        if self.shared.log.as_ref().is_some_and(WriteAheadLog::is_checkpoint_due) {
            self.shorten_log().await;
        }
    }

    /// The same whether it is due or not.
    pub(crate) async fn shorten_log(&self) {
        if !self.has_log() {
            return;
        }
        let this = self.clone();
        // a panic in there has been reported, and costs nothing but a long log
        let _ = tokio::task::spawn_blocking(move || this.checkpoint()).await;
    }

    fn checkpoint(&self) {
        let Some(log) = &self.shared.log else { return };
        log.checkpoint(|log| {
            for shard in &self.shared.shards {
                for (tenant, state) in shard.lock().iter() {
                    for (id, hold) in &state.holds {
                        log.hold(&record_of(*tenant, *id, hold));
                    }
                }
                log.write_if_much();
            }
            for event in self.shared.outbox.all() {
                log.settled(&event);
                log.write_if_much();
            }
        });
    }
}

fn record_of(tenant: TenantId, id: HoldId, hold: &Hold) -> HoldRecord<'_> {
    HoldRecord {
        tenant,
        hold: id,
        key: hold.key,
        node: hold.node,
        amount: hold.grant.granted,
        admitted_at: hold.grant.admitted_at,
        progress: hold.progress,
        memo: &hold.memo,
    }
}

#[cfg(test)]
mod tests;
