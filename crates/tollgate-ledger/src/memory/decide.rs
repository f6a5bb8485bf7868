//! What the levels can give. Pure.

use tollgate_domain::{NanoUsd, UnixMillis};

use super::tenant::{Counter, HeldNode};
use crate::mutants::{self, Mutant};
use crate::types::{AdmitOutcome, MoneyNode, MoneyRefusal};

/// One level as it stands.
pub(super) struct NodeView {
    pub(super) node: MoneyNode,
    pub(super) held_node: HeldNode,
    pub(super) limit: NanoUsd,
    /// Whether nothing may be held beyond the limit.
    pub(super) is_enforced: bool,
    pub(super) counter: Counter,
    pub(super) resets_at: Option<UnixMillis>,
}

/// What can be granted, or which level refuses. A level is spent where even all its holds returned would
/// not do; where any level is spent, that is the answer, because waiting does not help.
/// `own` is what the asking hold has already, which would not come back for it.
pub(super) fn decide(
    nodes: &[NodeView],
    amount: NanoUsd,
    minimum: NanoUsd,
    own: NanoUsd,
) -> Result<NanoUsd, AdmitOutcome> {
    let nodes = if mutants::is(Mutant::FirstLevelOnly) { &nodes[..nodes.len().min(1)] } else { nodes };
    let unsettled = |node: &NodeView| node.limit.saturating_sub(node.counter.settled);
    let held = |node: &NodeView| {
        if mutants::is(Mutant::HoldsIgnored) { NanoUsd::ZERO } else { node.counter.held }
    };
    let available = |node: &NodeView| unsettled(node).saturating_sub(held(node));
    let nodes = || nodes.iter().filter(|node| node.is_enforced);
    let granted = nodes().map(available).fold(amount, NanoUsd::min);
    if granted >= minimum {
        return Ok(granted);
    }
    let needed = minimum.saturating_add(own);
    let spent = nodes()
        .filter(|node| unsettled(node) < needed && available(node) < minimum)
        .min_by_key(|node| unsettled(node));
    if let Some(node) = spent {
        return Err(AdmitOutcome::Spent(refusal(node)));
    }
    let tightest = nodes().min_by_key(|node| available(node));
    Err(AdmitOutcome::Held(refusal(tightest.expect("the minimum is not above the amount: a node refused"))))
}

fn refusal(node: &NodeView) -> MoneyRefusal {
    MoneyRefusal {
        node: node.node,
        limit: node.limit,
        settled: node.counter.settled,
        held: node.counter.held,
        resets_at: node.resets_at,
    }
}
