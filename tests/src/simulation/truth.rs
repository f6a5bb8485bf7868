//! What the ledger must hold, kept by somebody who sees every call and every answer, lost ones too.
//!
//! Sums over plain maps. Every answer is held against it: an answer that does not follow is a violation.

use std::collections::{BTreeMap, BTreeSet};

use tollgate_domain::{HoldId, NanoUsd, TenantId, UnixMillis};
use tollgate_ledger::{
    AdmitOutcome, BudgetCheck, Epoch, GrowOutcome, MoneyDenied, MoneyNode, MoneyRefusal, OpenHold, Reseed,
    ReseedOutcome, SettleOutcome, WalletRule,
};

use super::failure::{Checked, violation};
use super::slabs::is_slab;
use super::world::{Node, Tenant};

/// So long a settled hold is certainly remembered.
const TOMBSTONE_MS: i64 = 600_000;

/// A hold that was granted and not settled.
#[derive(Clone, Debug)]
pub(super) struct TrueHold {
    pub(super) tenant: TenantId,
    pub(super) amount: i64,
    pub(super) nodes: Vec<Node>,
}

/// A settled hold.
#[derive(Clone, Copy, Debug)]
struct Ended {
    tenant: TenantId,
    /// By the ledger's clock.
    at: UnixMillis,
}

/// Whether calls about a tenant are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Yes.
    Live,
    /// No: it was closed for a reseed.
    Fenced,
    /// No: the server's state is gone, or is a copy of the past.
    Lost,
}

#[derive(Debug, Default)]
pub(super) struct Truth {
    pub(super) open: BTreeMap<HoldId, TrueHold>,
    ended: BTreeMap<HoldId, Ended>,
    /// When each hold was settled for the first time, whatever was lost since: a copy of the past may remember it.
    first_ended: BTreeMap<HoldId, UnixMillis>,
    pub(super) settled: BTreeMap<Node, i128>,
    /// What each settled hold was charged.
    charges: BTreeMap<HoldId, i64>,
    /// The levels of every hold that was ever granted.
    pub(super) nodes: BTreeMap<HoldId, Vec<Node>>,
    standings: BTreeMap<TenantId, Standing>,
    /// The epoch that a closed tenant's next reseed must have seen.
    fenced: BTreeMap<TenantId, Epoch>,
    unrecovered: BTreeSet<TenantId>,
    /// What slabs hold on each level that is no request's yet.
    pub(super) slack: BTreeMap<Node, i128>,
    /// Requests that were never announced, of slabs that were settled by the control plane.
    pub(super) paid_by: BTreeMap<HoldId, HoldId>,
}

/// What was asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) hold: HoldId,
    pub(super) amount: i64,
    pub(super) minimum: i64,
}

impl Truth {
    pub(super) fn standing(&self, tenant: TenantId) -> Standing {
        self.standings.get(&tenant).copied().unwrap_or(Standing::Lost)
    }

    pub(super) fn set_standing(&mut self, tenant: TenantId, standing: Standing) {
        self.standings.insert(tenant, standing);
    }

    pub(super) fn see_fence(&mut self, tenant: TenantId, epoch: &Epoch) -> Checked {
        let is_closed_anew = self.fenced.get(&tenant).is_none_or(|closed| epoch.n > closed.n);
        if self.standing(tenant) == Standing::Fenced && self.fenced.get(&tenant) != Some(epoch) {
            return violation(format!("a closed tenant got the new epoch {epoch}"));
        }
        if self.standing(tenant) == Standing::Live && !is_closed_anew {
            return violation(format!("a tenant was closed under the epoch {epoch} a second time"));
        }
        self.set_standing(tenant, Standing::Fenced);
        self.fenced.insert(tenant, epoch.clone());
        Ok(())
    }

    /// The server lost everything, or is a copy of the past.
    pub(super) fn lose_all(&mut self) {
        self.standings.values_mut().for_each(|standing| *standing = Standing::Lost);
        self.unrecovered.extend(self.standings.keys());
        self.ended.clear();
        self.fenced.clear();
    }

    /// Whether it was settled, or paid for with its slab.
    pub(super) fn is_over(&self, hold: HoldId) -> bool {
        (self.first_ended.contains_key(&hold) && !self.open.contains_key(&hold))
            || self.paid_by.contains_key(&hold)
    }

    pub(super) fn was_ended(&self, hold: HoldId) -> bool {
        self.ended.contains_key(&hold)
    }

    /// Whether some tenant was lost and is not reseeded yet: what its pods hold, nobody else knows.
    pub(super) fn is_any_unrecovered(&self) -> bool {
        !self.unrecovered.is_empty()
    }

    pub(super) fn all_live(&self) -> bool {
        self.standings.values().all(|standing| *standing == Standing::Live)
    }

    pub(super) fn settled_at(&self, node: Node) -> i128 {
        self.settled.get(&node).copied().unwrap_or(0)
    }

    pub(super) fn held_at(&self, node: Node) -> i128 {
        let at_node = self.open.values().filter(|hold| hold.nodes.contains(&node));
        at_node.map(|hold| i128::from(hold.amount)).sum::<i128>()
            + self.slack.get(&node).copied().unwrap_or(0)
    }

    fn available(&self, tenant: &Tenant, nodes: &[Node]) -> i128 {
        let enforced = nodes.iter().filter(|node| tenant.is_enforced(**node));
        let left =
            |node: &Node| i128::from(tenant.limit(*node)) - self.settled_at(*node) - self.held_at(*node);
        enforced.map(left).min().unwrap_or(i128::MAX)
    }

    // --- answers ---

    pub(super) fn see_admit(
        &mut self,
        tenant: &Tenant,
        budgets: &[BudgetCheck],
        asked: Asked,
        outcome: &AdmitOutcome,
        now: UnixMillis,
    ) -> Checked {
        let is_known = self.open.contains_key(&asked.hold);
        let is_remembered =
            self.ended.get(&asked.hold).is_some_and(|ended| now.since(ended.at) < TOMBSTONE_MS);
        match (self.standing(tenant.id), outcome) {
            (Standing::Live, AdmitOutcome::Admitted(grant)) => {
                if is_remembered {
                    return violation(format!("{asked:?} was settled and is admitted again"));
                }
                let granted = i128::from(grant.granted.0);
                if let Some(hold) = self.open.get(&asked.hold) {
                    if i128::from(hold.amount) != granted {
                        return violation(format!(
                            "{asked:?} holds {}, the repeat says {granted}",
                            hold.amount
                        ));
                    }
                    return Ok(());
                }
                let nodes = tenant.nodes(budgets, grant.admitted_at);
                let due = self.available(tenant, &nodes).min(i128::from(asked.amount));
                if granted != due || granted < i128::from(asked.minimum) {
                    return violation(format!("{asked:?} was granted {granted} where {due} is due"));
                }
                self.nodes.insert(asked.hold, nodes.clone());
                let hold = TrueHold { tenant: tenant.id, amount: grant.granted.0, nodes };
                self.open.insert(asked.hold, hold);
                Ok(())
            }
            (Standing::Live | Standing::Lost, AdmitOutcome::AlreadySettled)
                if self.first_ended.contains_key(&asked.hold) || self.paid_by.contains_key(&asked.hold) =>
            {
                Ok(())
            }
            (Standing::Live, AdmitOutcome::Spent(refusal)) if !is_known => {
                let unsettled = self.check_refusal(tenant, refusal)?.0;
                expect(unsettled < i128::from(asked.minimum), asked, outcome)
            }
            (Standing::Live, AdmitOutcome::Held(refusal)) if !is_known => {
                let (unsettled, available) = self.check_refusal(tenant, refusal)?;
                let minimum = i128::from(asked.minimum);
                expect(unsettled >= minimum && available < minimum, asked, outcome)
            }
            // A budget whose period began before the seed.
            (Standing::Live, AdmitOutcome::Cold) if !is_known => Ok(()),
            (Standing::Fenced | Standing::Lost, AdmitOutcome::WrongEpoch | AdmitOutcome::Cold) => Ok(()),
            (standing, outcome) => {
                violation(format!("{asked:?} was answered {outcome:?} where the tenant is {standing:?}"))
            }
        }
    }

    /// The refusing level as told must be the level as it is; what it has unsettled, and what is available.
    fn check_refusal(&self, tenant: &Tenant, refusal: &MoneyRefusal) -> Checked<(i128, i128)> {
        let told = (i128::from(refusal.limit.0), i128::from(refusal.settled.0), i128::from(refusal.held.0));
        let is_told =
            |node: &Node| told == (tenant.limit(*node).into(), self.settled_at(*node), self.held_at(*node));
        let is_right = match refusal.node {
            MoneyNode::Wallet => is_told(&Node::Wallet(tenant.id)),
            MoneyNode::Budget(budget) => {
                let charged = self.nodes.values().flatten().copied();
                charged
                    .filter(|node| matches!(node, Node::Budget(id, _) if *id == budget))
                    .any(|n| is_told(&n))
                    || told == (tenant.limit(Node::Budget(budget, 0)).into(), 0, 0)
            }
        };
        if !is_right {
            return violation(format!("a refusal tells what is not so: {refusal:?}"));
        }
        Ok((told.0 - told.1, told.0 - told.1 - told.2))
    }

    /// Whether this settlement counts from now on. `now` is by the ledger's clock, which may have stepped back;
    /// `latest` is what it ever read: what it has forgotten then it does not remember.
    pub(super) fn see_settle(
        &mut self,
        tenant: TenantId,
        hold: HoldId,
        charge: i64,
        outcome: SettleOutcome,
        (now, latest): (UnixMillis, UnixMillis),
    ) -> Checked {
        let ended_at = self.ended.get(&hold).map(|ended| ended.at);
        let is_open = self.open.contains_key(&hold);
        let is_right = match (self.standing(tenant), outcome) {
            (Standing::Live, SettleOutcome::Settled) => is_open,
            (Standing::Live, SettleOutcome::AlreadySettled) => {
                self.first_ended.contains_key(&hold) && !is_open
            }
            (Standing::Live, SettleOutcome::UnknownHold) => {
                !is_open && ended_at.is_none_or(|ended_at| latest.since(ended_at) >= TOMBSTONE_MS)
            }
            (Standing::Live, SettleOutcome::WrongEpoch) => false,
            (Standing::Fenced, SettleOutcome::WrongEpoch) => true,
            (Standing::Fenced, _) => false,
            // In process there is no run to compare: the event is recorded, which the reseed finds.
            (Standing::Lost, SettleOutcome::Settled) => false,
            (Standing::Lost, _) => true,
        };
        if !is_right {
            let known = if is_open { "open" } else { "not open" };
            let standing = self.standing(tenant);
            return violation(format!(
                "the settlement of {hold} ({known}, ended at {ended_at:?}) was answered {outcome:?} at {latest:?} where \
                 the tenant is {standing:?}"
            ));
        }
        if matches!(outcome, SettleOutcome::Settled | SettleOutcome::UnknownHold) {
            self.end(tenant, hold, charge, now);
        }
        Ok(())
    }

    pub(super) fn end(&mut self, tenant: TenantId, hold: HoldId, charge: i64, now: UnixMillis) {
        let at = *self.first_ended.entry(hold).or_insert(now);
        self.ended.entry(hold).or_insert(Ended { tenant, at });
        let Some(open) = self.open.remove(&hold) else { return };
        self.charges.insert(hold, charge);
        for node in open.nodes {
            *self.settled.entry(node).or_default() += i128::from(charge);
        }
    }

    pub(super) fn see_grow(
        &mut self,
        tenant: &Tenant,
        hold: HoldId,
        new_total: NanoUsd,
        outcome: &GrowOutcome,
    ) -> Checked {
        if self.standing(tenant.id) != Standing::Live {
            // In process a lost state has no holds.
            let is_closed = matches!(outcome, GrowOutcome::WrongEpoch | GrowOutcome::UnknownHold);
            return expect(is_closed, hold, outcome);
        }
        let Some(open) = self.open.get(&hold) else {
            return expect(matches!(outcome, GrowOutcome::UnknownHold), hold, outcome);
        };
        let more = i128::from(new_total.0 - open.amount);
        let fits = more <= 0 || self.available(tenant, &open.nodes) >= more;
        let new_amount = open.amount.max(new_total.0);
        match outcome {
            GrowOutcome::Grown { granted } => {
                expect(fits && granted.0 == new_amount, (hold, more), outcome)?;
                if let Some(open) = self.open.get_mut(&hold) {
                    open.amount = new_amount;
                }
                Ok(())
            }
            GrowOutcome::Refused(MoneyDenied::Spent(_) | MoneyDenied::Held(_)) => {
                expect(!fits, (hold, more), outcome)
            }
            GrowOutcome::UnknownHold | GrowOutcome::WrongEpoch => expect(false, hold, outcome),
        }
    }
}

// === reseeds ===

impl Truth {
    /// `is_dispatched` tells which holds may have cost something.
    pub(super) fn see_reseed(
        &mut self,
        tenant: &Tenant,
        reseed: &Reseed,
        outcome: &ReseedOutcome,
        is_dispatched: impl Fn(HoldId) -> bool,
        in_slabs: &BTreeMap<HoldId, HoldId>,
        now: UnixMillis,
    ) -> Checked {
        let standing = self.standing(tenant.id);
        let fenced = self.fenced.get(&tenant.id);
        let ReseedOutcome::Reseeded(epoch) = outcome else {
            let may_refuse = standing != Standing::Fenced || Some(&reseed.expected) != fenced;
            return expect(may_refuse, ("the reseed of", tenant.id), outcome);
        };
        // What is lost may be a copy of the time when the epoch was this one: what was gathered then is too old.
        if standing != Standing::Fenced || Some(&reseed.expected) != fenced {
            return violation(format!("a reseed of {standing:?} that saw {:?} was applied", reseed.expected));
        }
        if epoch.n <= reseed.expected.n || epoch.n <= reseed.above {
            return violation(format!("the new epoch {epoch} is not above what is known: {reseed:?}"));
        }
        let reopened = self.reopen(tenant.id, reseed);
        self.compare_settled(tenant.id, reseed)?;
        let reported: BTreeMap<HoldId, &OpenHold> =
            reseed.holds.iter().map(|hold| (hold.hold, hold)).collect();
        let of_tenant = |hold: &TrueHold| hold.tenant == tenant.id;
        self.see_paid_by_slabs(tenant.id, &reported, in_slabs);
        // The money of what is unannounced is in its slab.
        let is_in_slab = |id: &HoldId| in_slabs.get(id).is_some_and(|slab| reported.contains_key(slab));
        let missing = self.open.iter().find(|(id, hold)| {
            of_tenant(hold) && is_dispatched(**id) && !reported.contains_key(*id) && !is_in_slab(id)
        });
        if let Some((id, hold)) = missing {
            return violation(format!("the reseed has forgotten the hold {id}: {hold:?}"));
        }
        let before = std::mem::take(&mut self.open);
        let (before, others): (BTreeMap<_, _>, _) = before.into_iter().partition(|(_, hold)| of_tenant(hold));
        self.open = others;
        let kept = before.iter().filter(|(id, _)| !reported.contains_key(*id) && is_in_slab(id));
        self.open.extend(kept.map(|(id, hold)| (*id, hold.clone())));
        for (id, hold) in reported {
            let reopened_at = if reopened.contains(&id) { hold.amount.0 } else { 0 };
            let granted = before.get(&id).map_or(reopened_at, |hold| hold.amount);
            let nodes = nodes_of(hold);
            if is_slab(id) {
                self.nodes.insert(id, nodes);
                continue;
            }
            if let Some(slab) = self.paid_by.get(&id) {
                return violation(format!("the reseed writes {id}, for which its slab {slab} has paid"));
            }
            // More may have been given to others, and would be taken for granted when it is asked for again.
            if hold.amount.0 > granted {
                return violation(format!(
                    "the reseed writes {} for {id}, to which {granted} was granted",
                    hold.amount
                ));
            }
            self.nodes.insert(id, nodes.clone());
            self.open.insert(id, TrueHold { tenant: tenant.id, amount: hold.amount.0, nodes });
        }
        for hold in &reseed.settled {
            // One that is told a second time is remembered from the first time on.
            let at = *self.first_ended.entry(*hold).or_insert(now);
            self.ended.entry(*hold).or_insert(Ended { tenant: tenant.id, at });
        }
        self.ended.retain(|hold, ended| ended.tenant != tenant.id || !self.open.contains_key(hold));
        self.set_standing(tenant.id, Standing::Live);
        self.unrecovered.remove(&tenant.id);
        Ok(())
    }

    /// What its pod takes for unannounced in a slab that was settled is left out of a reseed, even where it had been a
    /// hold of its own: what the slab was settled at pays for it.
    fn see_paid_by_slabs(
        &mut self,
        tenant: TenantId,
        reported: &BTreeMap<HoldId, &OpenHold>,
        in_slabs: &BTreeMap<HoldId, HoldId>,
    ) {
        for (id, slab) in in_slabs {
            let is_paid = self.first_ended.contains_key(slab) && !reported.contains_key(id);
            if is_paid && self.open.get(id).is_some_and(|hold| hold.tenant == tenant) {
                self.open.remove(id);
                self.paid_by.insert(*id, *slab);
            }
        }
    }

    /// A settlement that was lost with the ledger, of which the pod had no answer: it still has the hold, and will
    /// settle it again.
    fn reopen(&mut self, tenant: TenantId, reseed: &Reseed) -> BTreeSet<HoldId> {
        let mut reopened = BTreeSet::new();
        if !self.unrecovered.contains(&tenant) {
            return reopened;
        }
        for hold in &reseed.holds {
            let Some(charge) = self.charges.remove(&hold.hold) else { continue };
            reopened.insert(hold.hold);
            for node in nodes_of(hold) {
                *self.settled.entry(node).or_default() -= i128::from(charge);
            }
        }
        reopened
    }

    /// What the journal says must be what was settled: no charge lost, none doubled.
    fn compare_settled(&self, tenant: TenantId, reseed: &Reseed) -> Checked {
        let wallet = (Node::Wallet(tenant), reseed.wallet_settled);
        let counters = reseed
            .counters
            .iter()
            .map(|counter| (Node::Budget(counter.budget, counter.period_starts_at.0), counter.settled));
        for (node, journaled) in counters.chain([wallet]) {
            let settled = self.settled_at(node);
            if settled != i128::from(journaled.0) {
                return violation(format!(
                    "the journal has {} at {node:?} where {settled} was settled",
                    journaled.0
                ));
            }
        }
        Ok(())
    }
}

pub(super) fn nodes_of(hold: &OpenHold) -> Vec<Node> {
    let wallet = (hold.wallet != WalletRule::None).then_some(Node::Wallet(hold.tenant));
    let budgets = hold.budgets.iter().map(|held| Node::Budget(held.budget, held.period_starts_at.0));
    wallet.into_iter().chain(budgets).collect()
}

fn expect(is_right: bool, what: impl std::fmt::Debug, outcome: &impl std::fmt::Debug) -> Checked {
    if is_right { Ok(()) } else { violation(format!("{what:?} was answered {outcome:?}")) }
}
