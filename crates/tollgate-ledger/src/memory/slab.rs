//! What happened in a slab, written into the tenant's state: as `redis/slab.lua` does.

use tollgate_domain::{HoldId, MAX_LIMIT, NanoUsd, UnixMillis};

use super::MemoryLedger;
use super::rates::{HeldLimit, Rates, backlog_us, micros};
use super::tenant::{HeldNode, Hold, TenantState, lease_end};
use crate::holds::{HeldBudget, UnjournaledEvent};
use crate::rate;
use crate::slab::{Block, FREE_SHARE, LOW_SHARE, Part, PartEnd, SlabAnswer, SlabCall, SlabDone};
use crate::types::{Grant, WalletRule};

impl MemoryLedger {
    pub(crate) fn slab(&self, call: &SlabCall<'_>) -> SlabAnswer {
        let now = self.shared.clock.now();
        let mut tenants = self.shard(call.tenant);
        let state = tenants.entry(call.tenant).or_default();
        let answer = state.slab(call, now);
        if let SlabAnswer::Done(done) = &answer {
            let (wallet, budgets) = state.nodes_of_slab(call);
            // Under the tenant's lock, so that a charge is never visible without its event.
            let settled = call.ended.iter().zip(&done.ended).filter(|(_, end)| **end == PartEnd::Settled);
            for event in settled.filter_map(|(ended, _)| ended.settlement.event.clone()) {
                self.shared.outbox.push(UnjournaledEvent { event, wallet, budgets: budgets.clone() });
            }
        }
        answer
    }
}

impl TenantState {
    fn slab(&mut self, call: &SlabCall<'_>, now: UnixMillis) -> SlabAnswer {
        if self.is_fenced() {
            return SlabAnswer::WrongEpoch;
        }
        let Some(mut slab) = self.holds.remove(&call.slab) else {
            // Lost as a whole: in process there is no run that would tell.
            if self.epoch.is_none() {
                return SlabAnswer::WrongEpoch;
            }
            let parts = call.opened.iter().chain(call.ended.iter().map(|ended| &ended.part));
            let parts = parts.map(|part| part.hold);
            let (holds, tombstones) = (&self.holds, &mut self.tombstones);
            let is_own = |hold: &HoldId| holds.contains_key(hold) || tombstones.contains(*hold, now);
            return SlabAnswer::Gone(parts.filter(is_own).collect());
        };
        for part in call.opened {
            if !self.holds.contains_key(&part.hold) && !self.tombstones.contains(part.hold, now) {
                self.open_part(&mut slab, part, now);
            }
        }
        let mut ended = Vec::with_capacity(call.ended.len());
        for one in call.ended {
            ended.push(if self.holds.contains_key(&one.part.hold) {
                PartEnd::IsHold
            } else if self.tombstones.contains(one.part.hold, now) {
                PartEnd::AlreadySettled
            } else {
                self.end_part(&mut slab, &one.part, one.settlement.actual, one.settlement.tokens, now);
                PartEnd::Settled
            });
        }
        let has_block = call.block.is_some_and(|block| self.take_block(&mut slab, block, now));
        let (available, is_low) = self.left_at(&slab);
        self.holds.insert(call.slab, slab);
        let is_revoked = self.revoked.contains(&call.key);
        SlabAnswer::Done(SlabDone { ended, available, is_low, is_revoked, has_block })
    }

    fn nodes_of_slab(&self, call: &SlabCall<'_>) -> (WalletRule, Vec<HeldBudget>) {
        self.holds.get(&call.slab).map(|slab| (slab.wallet, slab.budgets.clone())).unwrap_or_default()
    }

    /// Takes money out of the slab; what it has not is held beyond it, so that it is seen.
    fn take_money(&mut self, slab: &mut Hold, amount: NanoUsd) {
        let beyond = NanoUsd(amount.0.saturating_sub(slab.grant.granted.0).max(0));
        slab.grant.granted = NanoUsd(slab.grant.granted.0.saturating_sub(amount.0).max(0));
        self.move_held(slab, beyond, NanoUsd::ZERO);
    }

    /// On every level of the slab: `held` more, `settled` more.
    fn move_held(&mut self, slab: &Hold, held: NanoUsd, settled: NanoUsd) {
        let nodes: Vec<HeldNode> = slab.nodes().collect();
        for node in nodes {
            if let Some(counter) = self.counter_mut(node) {
                counter.held = NanoUsd(counter.held.0.saturating_add(held.0).max(0));
                counter.settled = counter.settled.saturating_add(settled);
            }
        }
    }

    fn open_part(&mut self, slab: &mut Hold, part: &Part, now: UnixMillis) {
        self.take_money(slab, part.amount);
        let mut limits = Vec::with_capacity(slab.limits.len());
        for limit in &mut slab.limits {
            let tokens = take_reserved(limit, part.tokens);
            let places = limit.places.min(1);
            limit.places -= places;
            limits.push(HeldLimit { owner: limit.owner, tokens, places });
        }
        let (granted, admitted_at) = (part.amount, part.admitted_at);
        let lease_until = lease_end(now, part.lease_ms);
        if limits.iter().any(|limit| limit.places > 0) {
            self.rates.expect_expiry(lease_until);
        }
        let hold = Hold {
            grant: Grant { granted, admitted_at, requests: None, tokens: None },
            key: part.key,
            node: part.node,
            wallet: slab.wallet,
            budgets: slab.budgets.clone(),
            limits,
            lease_until,
            lease_ms: part.lease_ms,
            progress: NanoUsd::ZERO,
            memo: part.memo.clone(),
            has_lost_its_places: slab.has_lost_its_places,
        };
        self.holds.insert(part.hold, hold);
    }

    fn end_part(&mut self, slab: &mut Hold, part: &Part, actual: NanoUsd, used: u64, now: UnixMillis) {
        self.take_money(slab, part.amount);
        self.move_held(slab, NanoUsd(-part.amount.0), actual);
        for limit in &mut slab.limits {
            let Some((tokens_per_minute, reserved_us)) = take_reserved(limit, part.tokens) else { continue };
            let Some(state) = self.rates.owners.get_mut(&limit.owner) else { continue };
            let correction_us = rate::cost_us(rate::bounded_units(used), tokens_per_minute) - reserved_us;
            state.tokens_tat_us = micros(now).max(state.tokens_tat_us + correction_us);
        }
        self.bury(part.hold, now);
    }

    /// What the tightest enforced level has left, and whether one has little.
    fn left_at(&self, slab: &Hold) -> (NanoUsd, bool) {
        let (mut available, mut is_low) = (MAX_LIMIT, false);
        for view in self.view_hold(slab).into_iter().filter(|view| view.is_enforced) {
            let left =
                view.limit.0.saturating_sub(view.counter.settled.0).saturating_sub(view.counter.held.0);
            available = available.min(NanoUsd(left));
            is_low |= left < view.limit.0 / LOW_SHARE;
        }
        (available, is_low)
    }

    /// All of it or nothing, and only where much stays free.
    fn take_block(&mut self, slab: &mut Hold, block: &Block, now: UnixMillis) -> bool {
        let most_us = rate::BURST_US / FREE_SHARE;
        let cost_us = |limit: u64| {
            let requests = i64::try_from(block.requests).unwrap_or(i64::MAX);
            rate::cost_us(1, limit).saturating_mul(requests)
        };
        let rates: &mut Rates = &mut self.rates;
        let fits = block.limits.iter().all(|check| {
            let state = rates.state(check.owner);
            let limits = check.limits;
            let requests_us = limits
                .requests_per_minute
                .map_or(0, |limit| backlog_us(state.requests_tat_us, now).saturating_add(cost_us(limit)));
            let tokens_us = limits.tokens_per_minute.map_or(0, |_| backlog_us(state.tokens_tat_us, now));
            let places = limits.concurrent_requests.is_none_or(|limit| {
                (state.in_flight + block.places).saturating_mul(FREE_SHARE.unsigned_abs()) <= limit
            });
            requests_us <= most_us && tokens_us <= most_us && places
        });
        if !fits {
            return false;
        }
        for check in &block.limits {
            let state = rates.owners.entry(check.owner).or_default();
            if let Some(limit) = check.limits.requests_per_minute {
                state.requests_tat_us = micros(now) + backlog_us(state.requests_tat_us, now) + cost_us(limit);
            }
            if check.limits.concurrent_requests.is_some() {
                state.in_flight += block.places;
                if let Some(limit) = slab.limits.iter_mut().find(|limit| limit.owner == check.owner) {
                    limit.places += block.places;
                }
            }
        }
        true
    }
}

/// Takes what was reserved for some tokens out of the slab's reservation.
fn take_reserved(limit: &mut HeldLimit, tokens: u64) -> Option<(u64, i64)> {
    let (tokens_per_minute, reserved_us) = limit.tokens.as_mut()?;
    let taken_us = rate::reservation_cost_us(tokens, *tokens_per_minute).min(*reserved_us);
    *reserved_us -= taken_us;
    Some((*tokens_per_minute, taken_us))
}
