//! What is told for a reseed, and what else concerns a whole tenant.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tollgate_domain::{HoldId, NanoUsd, TenantId};

use super::SlabLedger;
use super::node_set::{NodeSet, Slab, State};
use super::shard::Known;
use crate::error::LedgerError;
use crate::holds::{HeldBudget, OpenHold, OpenReport};

impl SlabLedger {
    /// Each unannounced request is a hold of its own, and a slab is what is left of it: whatever is admitted from now
    /// on comes out of that rest, whether a call about it is answered before the reseed or after it.
    pub(crate) fn open_report(&self, tenants: Option<&[TenantId]>) -> OpenReport {
        // First: what is answered from now on is asked for again.
        self.shared.n_reports.fetch_add(1, Ordering::SeqCst);
        let now_ms = self.now_ms();
        let is_asked = |tenant: TenantId| tenants.is_none_or(|asked| asked.contains(&tenant));
        let mut free: HashMap<HoldId, NanoUsd> = HashMap::new();
        let (mut parts, mut live): (Vec<OpenHold>, Vec<OpenHold>) = (Vec::new(), Vec::new());
        for shard in &self.shared.shards {
            let mut shard = shard.lock();
            for set in shard.sets.values_mut().filter(|set| is_asked(set.tenant())) {
                let mut slabs = std::mem::take(&mut set.slabs);
                for slab in &mut slabs {
                    free.insert(slab.hold, told_free(slab, now_ms));
                    let is_open = slab.state != State::Closing || slab.has_unannounced();
                    live.extend(is_open.then(|| open_slab(set, slab)));
                    // From now on somebody knows of them.
                    let queued = std::mem::take(&mut slab.queued);
                    slab.sent.extend(queued);
                    parts.extend(open_parts(set, slab));
                }
                set.slabs = slabs;
            }
        }
        // After the parts: what is announced in between is in both.
        let mut report = self.backend().open_report(tenants);
        for hold in &mut report.holds {
            if let Some(free) = free.get(&hold.hold) {
                hold.amount = hold.amount.min(*free);
            }
        }
        let settled: HashSet<HoldId> = report.events.iter().map(|one| one.event.hold).collect();
        let known: HashSet<HoldId> = report.holds.iter().map(|hold| hold.hold).collect();
        // A backend in process has no memory of its own of what was lost.
        live.retain(|slab| !known.contains(&slab.hold));
        report.holds.extend(live);
        parts.retain(|part| !settled.contains(&part.hold) && !known.contains(&part.hold));
        report.holds.extend(parts);
        report
    }

    pub(crate) async fn forget_tenant(&self, tenant: TenantId) -> Result<(), LedgerError> {
        Box::pin(self.backend().forget_tenant(tenant)).await?;
        let mut shard = self.shard(tenant);
        let mut parts = Vec::new();
        shard.sets.retain(|_, set| {
            if set.tenant() == tenant {
                parts.extend(set.slabs.iter().flat_map(unannounced).map(|part| part.hold));
            }
            set.tenant() != tenant
        });
        for hold in parts {
            shard.holds.insert(hold, Known::Asked);
        }
        Ok(())
    }
}

/// What a slab is told to have left. One whose lease has run out may have been given up by everybody else: it is
/// told to be empty and never used again.
fn told_free(slab: &mut Slab, now_ms: i64) -> NanoUsd {
    if slab.is_expiring(now_ms) {
        slab.state = State::Closing;
    }
    if slab.state == State::Closing {
        slab.free = NanoUsd::ZERO;
    }
    slab.free
}

fn unannounced(slab: &Slab) -> impl Iterator<Item = &Arc<super::Part>> {
    slab.queued.iter().chain(&slab.sent).chain(slab.ending.iter().map(|ended| &ended.part))
}

fn open_slab(set: &NodeSet, slab: &Slab) -> OpenHold {
    OpenHold {
        tenant: set.tenant(),
        hold: slab.hold,
        key: set.key(),
        node: slab.node,
        amount: slab.free,
        wallet: set.wallet(),
        budgets: set.held_in(slab),
        admitted_at: Some(slab.admitted_at),
        lease_ms: slab.lease_ms.unsigned_abs(),
        progress: slab.progress,
        memo: slab.memo.clone(),
        slab: None,
    }
}

fn open_parts(set: &NodeSet, slab: &Slab) -> Vec<OpenHold> {
    let budgets: Vec<HeldBudget> = set.held_in(slab);
    let ending = |hold: HoldId| slab.ending.iter().find(|ended| ended.part.hold == hold);
    let open = |part: &Arc<super::Part>| OpenHold {
        tenant: set.tenant(),
        hold: part.hold,
        key: part.key,
        node: part.node,
        // once it ends it needs what it cost: the rest may have been given to others
        amount: ending(part.hold).map_or(part.amount, |ended| ended.settlement.actual.min(part.amount)),
        wallet: set.wallet(),
        budgets: budgets.clone(),
        admitted_at: Some(part.admitted_at),
        lease_ms: part.lease_ms,
        progress: NanoUsd::ZERO,
        memo: part.memo.to_vec(),
        slab: Some(slab.hold),
    };
    unannounced(slab).map(open).collect()
}
