//! Pods behind slabs: what they admit themselves, what the ledger has of their slabs, and that the two agree.
//!
//! The truth knows requests, not slabs. What a slab holds beyond the requests that came out of it is counted as its
//! slack, read from the ledger's own list after every call; a pod must never believe to have more than that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tollgate_domain::{HoldId, NanoUsd, TenantId, UnixMillis, UsageEvent};
use tollgate_ledger::{AdmitOutcome, HoldView, OpenReport, SettleOutcome, Settlement, SlabLedger, SlabView};

use super::Simulation;
use super::backend::Caller;
use super::failure::{Checked, violation};
use super::request::OwnedAdmission;
use super::truth::{Standing, TrueHold, nodes_of};
use super::world::Node;

/// How often a pod leases a slab for what it is about to ask.
const LEASES_PER_MILLE: u64 = 400;
/// How often a pod that looks after its slabs returns them all.
const RETURNS_PER_MILLE: u64 = 100;
/// Holds per page.
const MAX_PAGE: usize = 1_000;
/// Where time is real, a round of the end takes so long: leases of dead pods end.
const REAL_ROUND: Duration = Duration::from_millis(10);

/// Which hold of which pod is in which slab, as the pods know it.
#[derive(Debug, Default)]
pub(super) struct SlabBook {
    /// What was unannounced in the slabs of dead pods.
    dead: BTreeMap<HoldId, BTreeSet<HoldId>>,
    /// What is in slabs by what the ledger has.
    inside: BTreeMap<HoldId, HoldId>,
    /// What ended in a slab of a living pod at no cost before anybody else knew of it. Its pod's ledger, which makes
    /// the report for a reseed, has forgotten it, though the pod's request may not have heard of its end: as it has
    /// forgotten what it knows to be paid with its slab.
    given_back: BTreeSet<HoldId>,
    /// What was told to a pod's slabs to be settled and was not answered, at its charge: the next call about its slab
    /// tells the ledger.
    pub(super) ending: BTreeMap<HoldId, (TenantId, i64)>,
    /// Slabs in the ledger.
    n_listed: usize,
}

/// Requests are counted from one; the ids of slabs have other random bits.
pub(super) fn is_slab(hold: HoldId) -> bool {
    hold.as_uuid().as_u128() & u128::from(u64::MAX) > u128::from(u32::MAX)
}

impl Simulation {
    fn slabs_of(&self, pod: usize) -> Option<SlabLedger> {
        self.backend.ledger(Caller::Pod(pod)).slabs().cloned()
    }

    fn views(&self) -> Vec<SlabView> {
        let slabs = (0..self.pods.len()).filter_map(|pod| self.slabs_of(pod));
        slabs.flat_map(|slabs| slabs.views()).collect()
    }

    /// What a pod has admitted and not announced.
    pub(super) fn unannounced_of(&self, pod: usize) -> BTreeSet<HoldId> {
        let views = self.slabs_of(pod).map(|slabs| slabs.views()).unwrap_or_default();
        views.into_iter().flat_map(|view| view.unannounced).map(|(hold, _)| hold).collect()
    }

    /// Every unannounced hold of living and dead pods, and its slab.
    pub(super) fn in_slabs(&self) -> BTreeMap<HoldId, HoldId> {
        let of_view = |view: SlabView| view.unannounced.into_iter().map(move |(hold, _)| (hold, view.hold));
        let living = self.views().into_iter().flat_map(of_view);
        let dead = self.slab_book.dead.iter();
        let dead = dead.flat_map(|(slab, holds)| holds.iter().map(move |hold| (*hold, *slab)));
        living.chain(dead).collect()
    }

    // --- what pods do ---

    pub(super) async fn look_after_slabs(&mut self, pod: usize) -> Checked {
        let returns = self.random.per_mille(RETURNS_PER_MILLE);
        if self.pods[pod].is_cut_from_ledger {
            return Ok(());
        }
        let Some(slabs) = self.slabs_of(pod) else { return Ok(()) };
        self.tell(|| format!("pod {pod}: looks after its slabs (returns them: {returns})"));
        if returns {
            slabs.return_all().await;
        } else {
            slabs.maintain().await;
        }
        self.see_slabs().await
    }

    pub(super) async fn lease_slab_for(&mut self, pod: usize, admission: &OwnedAdmission) -> Checked {
        let Some(slabs) = self.slabs_of(pod) else { return Ok(()) };
        if !self.random.per_mille(LEASES_PER_MILLE) || self.pods[pod].is_cut_from_ledger {
            return Ok(());
        }
        self.tell(|| format!("pod {pod}: leases a slab for {}", admission.hold));
        slabs.lease_for(&admission.borrow()).await;
        self.see_slabs().await
    }

    pub(super) async fn return_slabs(&mut self) -> Checked {
        if !self.plan.ledger.has_slabs() {
            return Ok(());
        }
        for pod in 0..self.pods.len() {
            if let Some(slabs) = self.slabs_of(pod) {
                slabs.return_all().await;
            }
        }
        if !self.backend.has_manual_time() {
            tokio::time::sleep(REAL_ROUND).await;
        }
        self.see_slabs().await
    }

    pub(super) fn has_no_slabs(&self) -> bool {
        self.slab_book.n_listed == 0
    }

    /// A pod dies: of what it has not announced nobody knows more than its slab.
    pub(super) fn lose_slabs_of(&mut self, pod: usize) {
        let views = self.slabs_of(pod).map(|slabs| slabs.views()).unwrap_or_default();
        for view in views {
            let holds = view.unannounced.into_iter().map(|(hold, _)| hold).collect();
            self.slab_book.dead.insert(view.hold, holds);
        }
    }

    /// What a pod reports where the ledger itself has no book of its clients.
    pub(super) fn with_slabs_of(&self, pod: usize, tenant: TenantId, mut report: OpenReport) -> OpenReport {
        if self.slabs_of(pod).is_none() {
            return report;
        }
        let own = self.unannounced_of(pod);
        let told = self.backend.ledger(Caller::Pod(pod)).open_report(Some(&[tenant]));
        let node = self.pods[pod].node;
        let known: BTreeSet<HoldId> = report.holds.iter().map(|hold| hold.hold).collect();
        let slabs: BTreeMap<HoldId, HoldId> =
            told.holds.iter().filter_map(|one| Some((one.hold, one.slab?))).collect();
        for hold in &mut report.holds {
            hold.slab = slabs.get(&hold.hold).copied();
        }
        let is_own = |hold: HoldId| is_slab(hold) || own.contains(&hold);
        let is_paid = |hold: &HoldId| self.truth.paid_by.contains_key(hold) && !own.contains(hold);
        report.holds.retain(|one| !self.slab_book.given_back.contains(&one.hold) && !is_paid(&one.hold));
        let more = told.holds.into_iter();
        report
            .holds
            .extend(more.filter(|one| one.node == node && is_own(one.hold) && !known.contains(&one.hold)));
        report
    }

    // --- what is seen ---

    /// Reads the ledger's slabs of every tenant that it answers about.
    pub(super) async fn see_slabs(&mut self) -> Checked {
        if !self.plan.ledger.has_slabs() {
            return Ok(());
        }
        self.slab_book.inside.clear();
        self.slab_book.n_listed = 0;
        self.truth.slack.clear();
        let views: BTreeMap<HoldId, SlabView> =
            self.views().into_iter().map(|view| (view.hold, view)).collect();
        for tenant in self.tenants.clone() {
            if self.truth.standing(tenant.id) != Standing::Live {
                continue;
            }
            let ledger = self.backend.ledger(Caller::Control);
            let (mut listed, mut cursor): (Vec<HoldView>, Option<String>) = (Vec::new(), None);
            loop {
                let page = ledger.list_holds(tenant.id, cursor.as_deref(), MAX_PAGE).await?;
                listed.extend(page.holds);
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
            let (slabs, own): (Vec<HoldView>, Vec<HoldView>) =
                listed.into_iter().partition(|view| is_slab(view.hold));
            let own: BTreeSet<HoldId> = own.into_iter().map(|view| view.hold).collect();
            for slab in slabs {
                self.see_slab(&slab, tenant.id, views.get(&slab.hold), &own)?;
            }
            self.see_ended_in_slabs(tenant.id, &own);
        }
        Ok(())
    }

    /// What is neither a hold nor in a slab any more was settled with a call about its slab.
    fn see_ended_in_slabs(&mut self, tenant: TenantId, own: &BTreeSet<HoldId>) {
        let now = self.backend.now();
        let (truth, book) = (&mut self.truth, &mut self.slab_book);
        book.ending.retain(|hold, (of, charge)| {
            let is_open = truth.open.contains_key(hold);
            let is_ended = is_open && !own.contains(hold) && !book.inside.contains_key(hold);
            if is_ended && *of == tenant {
                truth.end(tenant, *hold, *charge, now);
            }
            is_open && !(is_ended && *of == tenant)
        });
    }

    fn see_slab(
        &mut self,
        slab: &HoldView,
        tenant: TenantId,
        view: Option<&SlabView>,
        own: &BTreeSet<HoldId>,
    ) -> Checked {
        let nodes = nodes_of(&slab.to_open(tenant));
        self.truth.nodes.insert(slab.hold, nodes.clone());
        self.slab_book.n_listed += 1;
        let of_dead = self.slab_book.dead.get(&slab.hold).cloned().unwrap_or_default();
        let of_view = view.map(|view| view.unannounced.clone()).unwrap_or_default();
        let unannounced = of_view.into_iter().map(|(hold, _)| hold).chain(of_dead);
        let mut slack = i128::from(slab.amount.0);
        for hold in unannounced.filter(|hold| !own.contains(hold)) {
            let Some(open) = self.truth.open.get(&hold) else { continue };
            slack -= i128::from(open.amount);
            self.slab_book.inside.insert(hold, slab.hold);
        }
        let free = view.map_or(0, |view| i128::from(view.free.0));
        if slack < free.max(0) {
            return violation(format!(
                "the slab {} has {} and {slack} beyond its requests; its pod believes {free}",
                slab.hold, slab.amount
            ));
        }
        for node in nodes {
            *self.truth.slack.entry(node).or_default() += slack;
        }
        Ok(())
    }

    /// Whether the answer came out of a slab: then it must be backed by what is held there.
    pub(super) async fn see_local(
        &mut self,
        pod: usize,
        tenant: usize,
        admission: &OwnedAdmission,
        outcome: &AdmitOutcome,
    ) -> Checked<bool> {
        let hold = admission.hold;
        if *outcome == AdmitOutcome::AlreadySettled && self.plan.ledger.has_slabs() {
            self.see_slabs().await?;
            return Ok(self.truth.is_over(hold));
        }
        let slab = self.in_slabs().get(&hold).copied();
        let (AdmitOutcome::Admitted(grant), Some(slab)) = (outcome, slab) else {
            self.see_slabs().await?;
            return Ok(false);
        };
        if let Some(open) = self.truth.open.get(&hold) {
            if open.amount != grant.granted.0 {
                return violation(format!("{hold} holds {}, the repeat says {grant:?}", open.amount));
            }
            self.see_slabs().await?;
            return Ok(true);
        }
        let tenant = &self.tenants[tenant];
        let nodes = tenant.nodes(&admission.budgets, grant.admitted_at);
        let of_slab: BTreeSet<Node> = self.truth.nodes.get(&slab).into_iter().flatten().copied().collect();
        let is_right = grant.granted == NanoUsd(admission.amount)
            && of_slab == nodes.iter().copied().collect()
            && !self.truth.is_over(hold);
        if !is_right {
            return violation(format!(
                "{hold} got {grant:?} of {nodes:?} out of the slab {slab} of {of_slab:?}"
            ));
        }
        self.figures.admitted_locally += 1;
        self.truth.nodes.insert(hold, nodes.clone());
        let tenant = tenant.id;
        self.truth.open.insert(hold, TrueHold { tenant, amount: grant.granted.0, nodes });
        self.see_slabs().await?;
        if self.truth.standing(tenant) == Standing::Live && !self.slab_book.inside.contains_key(&hold) {
            return violation(format!(
                "{hold} came out of the slab {slab} of pod {pod}, which the ledger does not have"
            ));
        }
        Ok(true)
    }

    /// Whether a request ended that nobody but its pod ever knew of.
    pub(super) fn see_given_back(
        &mut self,
        pod: usize,
        before: &BTreeSet<HoldId>,
        settlement: &Settlement,
        outcome: SettleOutcome,
        now: UnixMillis,
    ) -> bool {
        let is_given_back = outcome == SettleOutcome::Settled
            && settlement.event.is_none()
            && settlement.actual == NanoUsd::ZERO
            && before.contains(&settlement.hold)
            && !self.unannounced_of(pod).contains(&settlement.hold)
            && (self.truth.open.contains_key(&settlement.hold)
                || self.truth.paid_by.contains_key(&settlement.hold));
        let is_repeated = outcome == SettleOutcome::AlreadySettled
            && self.plan.ledger.has_slabs()
            && self.truth.is_over(settlement.hold);
        if is_given_back {
            // Nothing where its slab has paid for it, which its pod has not heard.
            self.truth.end(settlement.tenant, settlement.hold, 0, now);
            self.slab_book.given_back.insert(settlement.hold);
        }
        is_given_back || is_repeated
    }

    /// The control plane settled a slab: what was not announced of it is paid for.
    pub(super) async fn see_slab_settled(
        &mut self,
        tenant: TenantId,
        slab: HoldId,
        charge: i64,
        outcome: SettleOutcome,
        now: UnixMillis,
    ) -> Checked {
        if outcome == SettleOutcome::Settled {
            let inside = self.slab_book.inside.iter().filter(|(_, of)| **of == slab);
            for hold in inside.map(|(hold, _)| *hold).collect::<Vec<_>>() {
                self.truth.open.remove(&hold);
                self.truth.paid_by.insert(hold, slab);
            }
            let nodes = self.truth.nodes.get(&slab).cloned().unwrap_or_default();
            self.truth.open.insert(slab, TrueHold { tenant, amount: 0, nodes });
            self.truth.end(tenant, slab, charge, now);
            self.slab_book.dead.remove(&slab);
        }
        self.see_slabs().await
    }

    /// What is paid by its slab is journaled at no cost.
    pub(super) fn as_it_was_charged(&self, settlement: &Settlement) -> Settlement {
        if !self.truth.paid_by.contains_key(&settlement.hold) {
            return settlement.clone();
        }
        let free = |event: &Arc<UsageEvent>| {
            Arc::new(UsageEvent { cost: NanoUsd::ZERO, ..UsageEvent::clone(event) })
        };
        Settlement { actual: NanoUsd::ZERO, event: settlement.event.as_ref().map(free), ..settlement.clone() }
    }

    /// What a slab was settled at covers what its unannounced requests cost.
    pub(super) fn check_paid_by_slabs(&self, served: &BTreeMap<HoldId, i64>) -> Checked {
        let mut sums: BTreeMap<HoldId, i64> = BTreeMap::new();
        for (hold, slab) in &self.truth.paid_by {
            *sums.entry(*slab).or_default() += served.get(hold).copied().unwrap_or(0);
            if self.control.journal.get(hold).is_some_and(|row| row.cost != 0) {
                return violation(format!("{hold} is paid by its slab {slab} and was charged again"));
            }
        }
        for (slab, sum) in sums {
            match self.control.journal.get(&slab) {
                Some(row) if row.cost >= sum => {}
                row => {
                    return violation(format!(
                        "requests out of the slab {slab} cost {sum}, it was settled as {row:?}"
                    ));
                }
            }
        }
        Ok(())
    }
}
