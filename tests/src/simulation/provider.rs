//! The provider: it counts what it served, whoever pays for it.

use std::collections::BTreeMap;

use tollgate_domain::HoldId;

use super::world::Node;

#[derive(Debug, Default)]
pub(super) struct Provider {
    served: BTreeMap<HoldId, i64>,
    /// Its bill by level, so that it can be held against the limits.
    billed: BTreeMap<Node, i128>,
}

impl Provider {
    /// A request arrives; more of it is produced.
    pub(super) fn serve(&mut self, hold: HoldId, nodes: &[Node], more: i64) {
        *self.served.entry(hold).or_default() += more;
        for node in nodes {
            *self.billed.entry(*node).or_default() += i128::from(more);
        }
    }

    pub(super) fn has_seen(&self, hold: HoldId) -> bool {
        self.served.contains_key(&hold)
    }

    pub(super) fn served(&self) -> impl Iterator<Item = (HoldId, i64)> + '_ {
        self.served.iter().map(|(hold, served)| (*hold, *served))
    }

    pub(super) fn billed(&self) -> impl Iterator<Item = (Node, i128)> + '_ {
        self.billed.iter().map(|(node, billed)| (*node, *billed))
    }
}
