//! What one lock covers: some tenants' node sets, and where their open holds are.

use foldhash::HashMap;
use tollgate_domain::{HoldId, TenantId};

use super::SlabName;
use super::node_set::{NodeSet, Slab};
use super::recent::Recent;
use crate::types::Grant;

/// Node sets under one lock; further ones are asked for one by one. End users and keys come and go.
pub(super) const MAX_SETS: usize = 4_096;

/// What is known of an open hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// The backend has it, or was asked for it.
    Asked,
    /// It was admitted out of a slab and is not announced.
    Part { set: u64, slab: HoldId, grant: Grant },
    /// The same, and somebody settled that slab at its window: it is paid for.
    Paid,
}

#[derive(Default)]
pub(super) struct Shard {
    pub(super) sets: HashMap<u64, NodeSet>,
    pub(super) holds: HashMap<HoldId, Known>,
    /// Settled lately, as the backend knows.
    pub(super) recent: Recent,
    /// Voided lately before anybody else knew of them.
    pub(super) given_back: Recent,
}

impl Shard {
    pub(super) fn slab(&mut self, name: SlabName) -> Option<&mut Slab> {
        self.sets.get_mut(&name.set)?.slab(name.slab)
    }

    pub(super) fn slabs(&self) -> impl Iterator<Item = (SlabName, &Slab)> {
        self.sets.iter().flat_map(|(set, of)| {
            let name = move |slab: &Slab| SlabName { tenant: of.tenant(), set: *set, slab: slab.hold };
            of.slabs.iter().map(move |slab| (name(slab), slab))
        })
    }

    pub(super) fn has_slabs(&self, tenant: TenantId) -> bool {
        self.sets.values().any(|set| !set.slabs.is_empty() && set.tenant() == tenant)
    }

    /// A hold is over.
    pub(super) fn ended(&mut self, hold: HoldId, now_ms: i64) {
        self.holds.remove(&hold);
        self.recent.insert(hold, now_ms);
    }
}
