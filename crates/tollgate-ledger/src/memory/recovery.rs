//! Looking after all tenants' holds and epochs.

use tollgate_domain::{HoldId, TenantId};

use super::MemoryLedger;
use super::tenant::TenantState;
use crate::epoch::{Epoch, Reseed, ReseedOutcome, TenantEpoch};
use crate::error::LedgerError;
use crate::holds::{HoldPage, JournalConfirmation, OpenReport, SuspectHold};

impl MemoryLedger {
    pub(crate) fn list_holds(
        &self,
        tenant: TenantId,
        cursor: Option<&str>,
        max: usize,
    ) -> Result<HoldPage, LedgerError> {
        let after: Option<HoldId> = match cursor {
            Some(text) => {
                Some(text.parse().map_err(|_| LedgerError::Invalid(format!("`{text}` is no cursor")))?)
            }
            None => None,
        };
        let now = self.shared.clock.now();
        let tenants = self.shard(tenant);
        let Some(state) = tenants.get(&tenant) else { return Ok(HoldPage::default()) };
        let is_next = |id: &HoldId| after.is_none_or(|after| *id > after);
        let mut holds: Vec<_> = state.holds.iter().filter(|(id, _)| is_next(id)).collect();
        holds.sort_unstable_by_key(|(id, _)| **id);
        let has_more = holds.len() > max;
        holds.truncate(max);
        let next = holds.last().filter(|_| has_more).map(|(id, _)| id.to_string());
        let holds = holds.into_iter().map(|(id, hold)| TenantState::view(*id, hold, now)).collect();
        Ok(HoldPage { holds, next })
    }

    pub(crate) fn suspect_holds(&self, max: usize, expired_for_ms: u64) -> Vec<SuspectHold> {
        let expired_for_ms = i64::try_from(expired_for_ms).unwrap_or(i64::MAX);
        let expired_before = self.shared.clock.now().plus_ms(-expired_for_ms);
        let mut suspects = Vec::new();
        for shard in &self.shared.shards {
            for (tenant, state) in shard.lock().iter() {
                suspects.extend(state.suspects(*tenant, expired_before));
            }
        }
        suspects.sort_by_key(|suspect| (suspect.lease_until, suspect.hold));
        suspects.truncate(max);
        suspects
    }

    pub(crate) fn open_report(&self, tenants: Option<&[TenantId]>) -> OpenReport {
        let is_asked = |tenant: TenantId| tenants.is_none_or(|asked| asked.contains(&tenant));
        let mut report = OpenReport::default();
        for shard in &self.shared.shards {
            for (tenant, state) in shard.lock().iter().filter(|(tenant, _)| is_asked(**tenant)) {
                report.holds.extend(state.open_holds(*tenant));
                let known = state.epoch.as_ref().map_or(0, |epoch| epoch.epoch.n);
                report.highest_epoch = report.highest_epoch.max(known);
            }
        }
        // After the holds: what is settled in between is in both, which a reseed tells apart.
        report.events = self.shared.outbox.unjournaled(is_asked);
        let settled: std::collections::HashSet<HoldId> =
            report.events.iter().map(|unjournaled| unjournaled.event.hold).collect();
        report.holds.retain(|hold| !settled.contains(&hold.hold));
        report
    }

    pub(crate) fn confirm_journaled(&self) -> JournalConfirmation {
        self.write_log();
        JournalConfirmation { journaled: 0, republished: 0, waiting: self.outbox_len() }
    }

    pub(crate) fn epochs(&self, tenants: &[TenantId]) -> Vec<Option<TenantEpoch>> {
        let epoch_of = |tenant: &TenantId| self.shard(*tenant).get(tenant)?.epoch.clone();
        tenants.iter().map(epoch_of).collect()
    }

    pub(crate) fn fence(&self, tenants: &[TenantId]) -> Vec<Epoch> {
        tenants.iter().map(|tenant| self.shard(*tenant).entry(*tenant).or_default().fence()).collect()
    }

    pub(crate) fn reseed(&self, reseed: &Reseed) -> ReseedOutcome {
        let now = self.shared.clock.now();
        let mut tenants = self.shard(reseed.tenant);
        let state = tenants.entry(reseed.tenant).or_default();
        let outcome = state.reseed(reseed, now);
        if matches!(outcome, ReseedOutcome::Reseeded(_)) {
            for hold in &reseed.holds {
                self.log_hold(reseed.tenant, hold.hold, state);
            }
        }
        outcome
    }
}
