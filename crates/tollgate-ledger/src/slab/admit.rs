//! A request's path: out of a slab where there is room, else as ever.

use std::hash::{BuildHasher as _, Hash as _, Hasher as _};
use std::sync::atomic::Ordering;

use tollgate_domain::NanoUsd;

use super::node_set::NodeSet;
use super::shard::{Known, MAX_SETS};
use super::{SlabLedger, SlabName};
use crate::error::LedgerError;
use crate::types::{Admission, AdmitOutcome, WalletRule};

impl SlabLedger {
    pub(crate) async fn admit(&self, admission: &Admission<'_>) -> Result<AdmitOutcome, LedgerError> {
        let was_known = self.shard(admission.tenant).holds.contains_key(&admission.hold);
        if let Some(outcome) = self.admit_locally(admission) {
            return Ok(outcome);
        }
        let outcome = Box::pin(self.backend().admit(admission)).await;
        let is_refused = matches!(
            outcome,
            Ok(AdmitOutcome::Held(_) | AdmitOutcome::Spent(_) | AdmitOutcome::RateLimited(_))
        );
        let outcome = if is_refused && self.shard(admission.tenant).has_slabs(admission.tenant) {
            // What lies idle here is in nobody's way.
            self.return_slabs_of(admission.tenant).await;
            Box::pin(self.backend().admit(admission)).await
        } else {
            outcome
        };
        // A repeat may be refused though the hold was granted before: then it is still under way.
        let is_over = match outcome {
            Ok(AdmitOutcome::Admitted(_)) | Err(_) => false,
            Ok(AdmitOutcome::AlreadySettled) => true,
            Ok(_) => !was_known,
        };
        if is_over {
            self.shard(admission.tenant).holds.remove(&admission.hold);
        }
        outcome
    }

    /// The answer where it needs no round trip.
    fn admit_locally(&self, admission: &Admission<'_>) -> Option<AdmitOutcome> {
        let now_ms = self.now_ms();
        let (mut is_wanted, mut is_first) = (false, None);
        let mut shard = self.shard(admission.tenant);
        let shard = &mut *shard;
        match shard.holds.get(&admission.hold) {
            Some(Known::Part { grant, .. }) => return Some(AdmitOutcome::Admitted(*grant)),
            // It was settled by somebody else, with its slab.
            Some(Known::Paid) => return Some(AdmitOutcome::AlreadySettled),
            Some(Known::Asked) => return None,
            None if shard.given_back.contains(admission.hold) => return Some(AdmitOutcome::AlreadySettled),
            None => {}
        }
        // The backend knows what it settled.
        let is_new = !shard.recent.contains(admission.hold);
        let mut known = Known::Asked;
        if is_for_slabs(admission) && is_new && self.backend().has_room() {
            let hash = self.hash(admission);
            if shard.sets.len() >= MAX_SETS && !shard.sets.contains_key(&hash) {
                shard.holds.insert(admission.hold, known);
                return None;
            }
            let set = shard.sets.entry(hash).or_insert_with(|| NodeSet::new(admission));
            if set.is_for(admission) {
                if let Some((slab, grant)) = set.take(admission, now_ms) {
                    known = Known::Part { set: hash, slab, grant };
                    let is_only = set.slab(slab).is_some_and(|slab| slab.queued.len() == 1);
                    is_first = is_only.then_some(SlabName { tenant: admission.tenant, set: hash, slab });
                }
                is_wanted = set.note(admission, &self.shared.config, now_ms);
            }
            if is_first.is_some() || is_wanted {
                let mut work = self.shared.work.lock();
                work.unannounced.extend(is_first);
                work.wanted.extend(is_wanted.then_some((admission.tenant, hash)));
                drop(work);
                self.shared.has_work.notify_one();
            }
        }
        shard.holds.insert(admission.hold, known);
        let counters = &self.shared.counters;
        if let Known::Part { grant, .. } = known {
            counters.n_local.fetch_add(1, Ordering::Relaxed);
            return Some(AdmitOutcome::Admitted(grant));
        }
        counters.n_asked.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// Notes that a slab is wanted for requests like this one; `None` where there can be none.
    pub(super) fn want(&self, admission: &Admission<'_>) -> Option<u64> {
        let hash = self.hash(admission);
        let mut shard = self.shard(admission.tenant);
        let set = shard.sets.entry(hash).or_insert_with(|| NodeSet::new(admission));
        let is_for_slabs = is_for_slabs(admission) && set.is_for(admission);
        (is_for_slabs && set.want(admission, self.now_ms())).then_some(hash)
    }

    /// Finds a request's node set: everything that [`NodeSet::is_for`] compares.
    fn hash(&self, admission: &Admission<'_>) -> u64 {
        let mut hasher = self.shared.hasher.build_hasher();
        admission.tenant.hash(&mut hasher);
        admission.key.hash(&mut hasher);
        hasher.write_u8(match admission.wallet {
            WalletRule::None => 0,
            WalletRule::Enforced => 1,
            WalletRule::Counted => 2,
        });
        for check in admission.budgets {
            check.budget.hash(&mut hasher);
            hasher.write_i64(check.limit.0);
        }
        for check in admission.limits {
            check.owner.hash(&mut hasher);
            check.limits.hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// Whether a request takes money from somewhere.
fn is_for_slabs(admission: &Admission<'_>) -> bool {
    let has_nodes = admission.wallet != WalletRule::None || !admission.budgets.is_empty();
    admission.amount > NanoUsd::ZERO && has_nodes
}
