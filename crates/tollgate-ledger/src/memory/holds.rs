//! A tenant's holds after their admission: growing, renewing, listing, and reseeding all of it.

use tollgate_domain::{HoldId, NanoUsd, TenantId, UnixMillis};

use super::decide::{NodeView, decide};
use super::tenant::{HeldNode, Hold, TenantState, WalletLimit, lease_end};
use crate::epoch::{Epoch, FENCED, Reseed, ReseedOutcome, TenantEpoch};
use crate::holds::{GrowOutcome, HoldView, MoneyDenied, OpenHold, SuspectHold};
use crate::mutants::{self, Mutant};
use crate::types::{AdmitOutcome, Grant, MoneyNode, WalletRule};

/// There is one run only: what is lost with the process is lost together.
const RUN: &str = "process";

impl TenantState {
    pub(super) fn grow(&mut self, id: HoldId, new_total: NanoUsd) -> GrowOutcome {
        if self.is_fenced() {
            return GrowOutcome::WrongEpoch;
        }
        let Some(hold) = self.holds.get(&id) else { return GrowOutcome::UnknownHold };
        let more = new_total.saturating_sub(hold.grant.granted);
        if more <= NanoUsd::ZERO {
            return GrowOutcome::Grown { granted: hold.grant.granted };
        }
        match decide(&self.view_hold(hold), more, more, hold.grant.granted) {
            Ok(_) => {}
            Err(AdmitOutcome::Spent(refusal)) => return GrowOutcome::Refused(MoneyDenied::Spent(refusal)),
            Err(AdmitOutcome::Held(refusal)) => return GrowOutcome::Refused(MoneyDenied::Held(refusal)),
            Err(_) => return GrowOutcome::UnknownHold,
        }
        let nodes: Vec<HeldNode> = hold.nodes().collect();
        for node in nodes {
            if let Some(counter) = self.counter_mut(node) {
                counter.held = counter.held.saturating_add(more);
            }
        }
        if let Some(hold) = self.holds.get_mut(&id) {
            hold.grant.granted = new_total;
        }
        GrowOutcome::Grown { granted: new_total }
    }

    /// The levels that a hold is in, as they stand.
    pub(super) fn view_hold(&self, hold: &Hold) -> Vec<NodeView> {
        let limit_of = |node: HeldNode| match node {
            HeldNode::Wallet => self.wallet.as_ref().map_or(NanoUsd::ZERO, |wallet| wallet.limit),
            HeldNode::Budget(budget, _) => {
                let held = hold.budgets.iter().find(|held| held.budget == budget);
                held.map_or(NanoUsd::ZERO, |held| held.limit)
            }
        };
        let view = |held_node: HeldNode| NodeView {
            node: match held_node {
                HeldNode::Wallet => MoneyNode::Wallet,
                HeldNode::Budget(budget, _) => MoneyNode::Budget(budget),
            },
            held_node,
            limit: limit_of(held_node),
            is_enforced: !matches!(held_node, HeldNode::Wallet) || hold.wallet == WalletRule::Enforced,
            counter: self.counter(held_node).unwrap_or_default(),
            resets_at: None,
        };
        hold.nodes().map(view).collect()
    }

    /// `None` where the tenant's epoch does not answer, else whether the hold exists.
    pub(super) fn renew(
        &mut self,
        id: HoldId,
        cost_so_far: NanoUsd,
        now: UnixMillis,
        lease_ms: u64,
    ) -> Option<bool> {
        if self.is_fenced() {
            return None;
        }
        let Some(hold) = self.holds.get_mut(&id) else { return Some(false) };
        hold.lease_until = hold.lease_until.max(lease_end(now, lease_ms));
        hold.progress = hold.progress.max(cost_so_far);
        self.take_places_again(id);
        Some(true)
    }

    pub(super) fn view(id: HoldId, hold: &Hold, now: UnixMillis) -> HoldView {
        HoldView {
            hold: id,
            key: hold.key,
            node: hold.node,
            amount: hold.grant.granted,
            wallet: hold.wallet,
            budgets: hold.budgets.clone(),
            admitted_at: hold.grant.admitted_at,
            lease_until: hold.lease_until,
            lease_ms: hold.lease_ms,
            is_suspect: hold.lease_until <= now,
            progress: hold.progress,
            memo: hold.memo.to_vec(),
        }
    }

    pub(super) fn suspects(
        &self,
        tenant: TenantId,
        expired_before: UnixMillis,
    ) -> impl Iterator<Item = SuspectHold> + '_ {
        let is_asked = move |hold: &Hold| hold.lease_until <= expired_before;
        let is_open = !self.is_fenced();
        self.holds.iter().filter(move |(_, hold)| is_open && is_asked(hold)).map(move |(id, hold)| {
            SuspectHold {
                tenant,
                hold: *id,
                key: hold.key,
                node: hold.node,
                amount: hold.grant.granted,
                admitted_at: hold.grant.admitted_at,
                lease_until: hold.lease_until,
                progress: hold.progress,
                memo: hold.memo.to_vec(),
            }
        })
    }

    pub(super) fn open_holds(&self, tenant: TenantId) -> impl Iterator<Item = OpenHold> + '_ {
        self.holds.iter().map(move |(id, hold)| OpenHold {
            tenant,
            hold: *id,
            key: hold.key,
            node: hold.node,
            amount: hold.grant.granted,
            wallet: hold.wallet,
            budgets: hold.budgets.clone(),
            admitted_at: Some(hold.grant.admitted_at),
            lease_ms: hold.lease_ms,
            progress: hold.progress,
            memo: hold.memo.to_vec(),
            slab: None,
        })
    }

    /// The fault that frees what nobody renews.
    pub(super) fn release_expired(&mut self, now: UnixMillis) {
        let expired: Vec<HoldId> =
            self.holds.iter().filter(|(_, hold)| hold.lease_until <= now).map(|(id, _)| *id).collect();
        for id in expired {
            let Some(hold) = self.holds.remove(&id) else { continue };
            let nodes: Vec<HeldNode> = hold.nodes().collect();
            for node in nodes {
                if let Some(counter) = self.counter_mut(node) {
                    counter.held = counter.held.saturating_sub(hold.grant.granted);
                }
            }
        }
    }

    // --- epochs ---

    /// The epoch of a tenant that was seeded.
    pub(super) fn open_epoch(&mut self) {
        if self.epoch.is_none() {
            self.epoch = Some(live(1));
        }
    }

    /// The epoch, also of a closed tenant.
    pub(super) fn stored_epoch(&self) -> Option<Epoch> {
        self.epoch.as_ref().map(|epoch| epoch.epoch.clone())
    }

    pub(super) fn fence(&mut self) -> Epoch {
        let n = match &self.epoch {
            Some(TenantEpoch { epoch, is_live: false }) => return epoch.clone(),
            Some(TenantEpoch { epoch, .. }) => epoch.n + 1,
            None => 1,
        };
        let epoch = Epoch { n, run: FENCED.into() };
        self.epoch = Some(TenantEpoch { epoch: epoch.clone(), is_live: false });
        epoch
    }

    pub(super) fn reseed(&mut self, reseed: &Reseed, now: UnixMillis) -> ReseedOutcome {
        let stored = self.stored_epoch();
        if stored.as_ref() != Some(&reseed.expected) {
            return ReseedOutcome::Changed(stored);
        }
        if let Some(TenantEpoch { epoch, is_live: true }) = &self.epoch
            && !mutants::is(Mutant::NoFence)
        {
            return ReseedOutcome::Live(epoch.clone());
        }
        let n = reseed.expected.n.max(reseed.above) + 1;
        let wallet = self.wallet.take().filter(|wallet| wallet.version > reseed.wallet_version);
        let limit = WalletLimit { limit: reseed.wallet_limit, version: reseed.wallet_version };
        *self = Self {
            epoch: Some(live(n)),
            seeded_at: Some(now),
            wallet: Some(wallet.unwrap_or(limit)),
            tombstones: std::mem::take(&mut self.tombstones),
            ..Self::default()
        };
        self.wallet_counter.settled = reseed.wallet_settled;
        // The holds first: of a budget's older periods only those are kept in which something is held.
        for hold in &reseed.holds {
            self.write_reported(hold, now);
        }
        for counter in &reseed.counters {
            let node = HeldNode::Budget(counter.budget, counter.period_starts_at);
            self.counter_or_insert(node).settled = counter.settled;
        }
        self.revoked.extend(&reseed.revoked);
        for hold in &reseed.settled {
            self.tombstones.insert(*hold, now);
        }
        ReseedOutcome::Reseeded(live(n).epoch)
    }

    fn write_reported(&mut self, open: &OpenHold, now: UnixMillis) {
        let admitted_at = open.admitted_at.unwrap_or(now);
        let hold = Hold {
            grant: Grant { granted: open.amount, admitted_at, requests: None, tokens: None },
            key: open.key,
            node: open.node,
            wallet: open.wallet,
            budgets: open.budgets.clone(),
            // Rates begin anew: what was reserved is forgotten on both sides.
            limits: Vec::new(),
            lease_until: lease_end(now, open.lease_ms),
            lease_ms: open.lease_ms,
            progress: open.progress,
            memo: open.memo.as_slice().into(),
            has_lost_its_places: false,
        };
        let nodes: Vec<HeldNode> = hold.nodes().collect();
        for node in nodes {
            let counter = self.counter_or_insert(node);
            counter.held = counter.held.saturating_add(open.amount);
        }
        self.tombstones.remove(open.hold);
        self.holds.insert(open.hold, hold);
    }
}

fn live(n: u64) -> TenantEpoch {
    TenantEpoch { epoch: Epoch { n, run: RUN.into() }, is_live: true }
}
