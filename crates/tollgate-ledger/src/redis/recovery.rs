//! Looking after holds and epochs in Redis.

use tollgate_domain::{HoldId, NanoUsd, TenantId};

use super::RedisLedger;
use crate::epoch::{Epoch, Reseed, ReseedOutcome, TenantEpoch};
use crate::error::LedgerError;
use crate::holds::{GrowOutcome, HoldPage, JournalConfirmation, OpenReport, SuspectHold};

fn not_yet<T>() -> Result<T, LedgerError> {
    Err(LedgerError::Protocol("this release does not do that on Redis".to_owned()))
}

impl RedisLedger {
    pub(crate) async fn grow(
        &self,
        _tenant: TenantId,
        _hold: HoldId,
        _new_total: NanoUsd,
    ) -> Result<GrowOutcome, LedgerError> {
        not_yet()
    }

    pub(crate) async fn list_holds(
        &self,
        _tenant: TenantId,
        _cursor: Option<&str>,
        _max: usize,
    ) -> Result<HoldPage, LedgerError> {
        not_yet()
    }

    pub(crate) async fn suspect_holds(
        &self,
        _max: usize,
        _expired_for_ms: u64,
    ) -> Result<Vec<SuspectHold>, LedgerError> {
        not_yet()
    }

    pub(crate) fn open_report(&self, _tenants: Option<&[TenantId]>) -> OpenReport {
        OpenReport::default()
    }

    pub(crate) async fn confirm_journaled(&self) -> Result<JournalConfirmation, LedgerError> {
        not_yet()
    }

    pub(crate) async fn epochs(
        &self,
        _tenants: &[TenantId],
    ) -> Result<Vec<Option<TenantEpoch>>, LedgerError> {
        not_yet()
    }

    pub(crate) async fn fence(&self, _tenants: &[TenantId]) -> Result<Vec<Epoch>, LedgerError> {
        not_yet()
    }

    pub(crate) async fn reseed(&self, _reseeds: &[Reseed]) -> Result<Vec<ReseedOutcome>, LedgerError> {
        not_yet()
    }
}
