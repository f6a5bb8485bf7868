//! Holds that grow: what is asked for is nobody's before it is granted.

use std::sync::atomic::Ordering;

use tollgate_domain::{HoldId, NanoUsd, TenantId};

use super::{KnownEpoch, Register};

/// What the growth of a hold needs to know of it before it is asked for.
#[derive(Clone, Debug, Default)]
pub(in crate::redis) struct Growing {
    /// The epoch that the hold was granted under.
    pub(in crate::redis) epoch: Option<KnownEpoch>,
    /// How many reports there had been.
    n_reports: u64,
}

impl Register {
    /// Before a hold is asked to grow. What it is to grow to is not reported: nothing beyond what it holds is spent
    /// before the answer, and a reseed that wrote more would grant it to a request that others were preferred to.
    pub(in crate::redis) fn growing(&self, tenant: TenantId, hold: HoldId) -> Growing {
        // first: what a report that comes now says of the hold, the answer must not contradict
        let n_reports = self.n_reports.load(Ordering::SeqCst);
        Growing { epoch: self.epoch_of(tenant, hold), n_reports }
    }

    /// The hold has so much by now. `false` where a report was made since that was asked for: that told less, the
    /// answer may be of a state that is lost, and nothing was noted.
    #[must_use]
    pub(in crate::redis) fn grown(
        &self,
        tenant: TenantId,
        hold: HoldId,
        granted: NanoUsd,
        growing: &Growing,
    ) -> bool {
        let mut tenants = self.lock(tenant).lock();
        // Settled meanwhile: nothing more is spent.
        let Some(held) = tenants.get_mut(&tenant).and_then(|tenant| tenant.holds.get_mut(&hold)) else {
            return true;
        };
        if growing.n_reports != self.n_reports.load(Ordering::SeqCst) {
            return false;
        }
        held.amount = held.amount.max(granted);
        true
    }
}
