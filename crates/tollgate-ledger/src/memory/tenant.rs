//! One tenant's state: counters, rates, holds, tombstones. Synchronous, under its shard's lock.

use std::collections::{HashMap, HashSet};

use tollgate_domain::{BudgetId, HoldId, KeyId, NanoUsd, Period, PeriodPair, UnixMillis};

use super::tombstones::Tombstones;
use crate::rate;
use crate::types::{
    Admission, AdmitOutcome, Balance, Balances, BudgetCheck, Grant, LimitCheck, LimitKind, LimitOwner,
    MoneyNode, MoneyRefusal, RateRefusal, RateStatus, Seed, SettleOutcome, Settlement, WalletRule,
};

/// Periods of one budget that are kept though nothing is held in them: the present one and, for clocks that
/// step back over its edge, the one before.
const KEPT_PERIODS: usize = 2;

#[derive(Default)]
pub(super) struct TenantState {
    seeded_at: Option<UnixMillis>,
    wallet: Option<WalletLimit>,
    wallet_counter: Counter,
    budgets: HashMap<BudgetId, Vec<PeriodCounter>>,
    revoked: HashSet<KeyId>,
    rates: HashMap<LimitOwner, RateState>,
    holds: HashMap<HoldId, Hold>,
    tombstones: Tombstones,
}

struct WalletLimit {
    limit: NanoUsd,
    version: u64,
}

#[derive(Clone, Copy, Default)]
struct Counter {
    settled: NanoUsd,
    held: NanoUsd,
}

/// A budget's counter in the period that starts at `starts_at`; a budget has two or three of them.
struct PeriodCounter {
    starts_at: UnixMillis,
    counter: Counter,
}

#[derive(Clone, Copy, Default)]
struct RateState {
    requests_tat_us: i64,
    tokens_tat_us: i64,
    in_flight: u64,
}

/// What settling needs to undo and correct, whatever policy says by then.
struct Hold {
    grant: Grant,
    nodes: Vec<HeldNode>,
    limits: Vec<HeldLimit>,
    lease_expires_at: UnixMillis,
}

#[derive(Clone, Copy)]
enum HeldNode {
    Wallet,
    Budget(BudgetId, UnixMillis),
}

struct HeldLimit {
    owner: LimitOwner,
    /// The token limit and what was reserved against it.
    tokens: Option<(u64, i64)>,
    is_concurrent: bool,
}

/// One level as it stands, for the decision.
struct NodeView {
    node: MoneyNode,
    held_node: HeldNode,
    limit: NanoUsd,
    /// Whether nothing may be held beyond the limit.
    is_enforced: bool,
    counter: Counter,
    resets_at: Option<UnixMillis>,
}

// === impl TenantState ===

impl TenantState {
    pub(super) fn admit(&mut self, admission: &Admission<'_>, now: UnixMillis) -> AdmitOutcome {
        if let Some(hold) = self.holds.get(&admission.hold) {
            return AdmitOutcome::Admitted(hold.grant);
        }
        if self.tombstones.contains(admission.hold, now) {
            return AdmitOutcome::AlreadySettled;
        }
        if self.revoked.contains(&admission.key) {
            return AdmitOutcome::Revoked;
        }
        let Some(nodes) = self.view_nodes(admission, now) else { return AdmitOutcome::Cold };
        if let Err(refusal) = self.check_rates(admission, now) {
            return AdmitOutcome::RateLimited(refusal);
        }
        let granted = match decide(&nodes, admission.amount, admission.minimum) {
            Ok(granted) => granted,
            Err(refused) => return refused,
        };

        let (requests, tokens) = self.take_rates(admission, now);
        for node in &nodes {
            let counter = self.counter_or_insert(node.held_node);
            counter.held = counter.held.saturating_add(granted);
        }
        let grant = Grant { granted, admitted_at: now, requests, tokens };
        let hold = Hold {
            grant,
            nodes: nodes.iter().map(|node| node.held_node).collect(),
            limits: admission.limits.iter().map(|check| held_limit(check, admission.tokens)).collect(),
            lease_expires_at: lease_end(now, admission.lease_ms),
        };
        self.holds.insert(admission.hold, hold);
        AdmitOutcome::Admitted(grant)
    }

    pub(super) fn settle(&mut self, settlement: &Settlement, now: UnixMillis) -> SettleOutcome {
        let Some(hold) = self.holds.remove(&settlement.hold) else {
            let is_repeat = self.tombstones.contains(settlement.hold, now);
            if is_repeat {
                return SettleOutcome::AlreadySettled;
            }
            self.tombstones.insert(settlement.hold, now);
            return SettleOutcome::UnknownHold;
        };
        self.tombstones.insert(settlement.hold, now);
        for node in &hold.nodes {
            if let Some(counter) = self.counter_mut(*node) {
                counter.held = counter.held.saturating_sub(hold.grant.granted);
                counter.settled = counter.settled.saturating_add(settlement.actual);
            }
        }
        let used = rate::bounded_units(settlement.tokens);
        for limit in &hold.limits {
            let Some(state) = self.rates.get_mut(&limit.owner) else { continue };
            if let Some((tokens_per_minute, reserved_us)) = limit.tokens {
                let correction_us = rate::cost_us(used, tokens_per_minute) - reserved_us;
                state.tokens_tat_us = micros(now).max(state.tokens_tat_us + correction_us);
            }
            if limit.is_concurrent {
                state.in_flight = state.in_flight.saturating_sub(1);
            }
        }
        SettleOutcome::Settled
    }

    pub(super) fn renew(&mut self, hold: HoldId, now: UnixMillis, lease_ms: u64) -> bool {
        let Some(hold) = self.holds.get_mut(&hold) else { return false };
        hold.lease_expires_at = hold.lease_expires_at.max(lease_end(now, lease_ms));
        true
    }

    pub(super) fn seed(&mut self, seed: &Seed, now: UnixMillis) {
        self.set_wallet_limit(seed.wallet_limit, seed.wallet_version);
        if self.seeded_at.is_none() {
            self.seeded_at = Some(now);
            self.wallet_counter.settled = seed.wallet_settled;
        }
        for counter in &seed.counters {
            let node = HeldNode::Budget(counter.budget, counter.period_starts_at);
            if self.counter(node).is_none() {
                self.counter_or_insert(node).settled = counter.settled;
            }
        }
    }

    pub(super) fn set_wallet_limit(&mut self, limit: NanoUsd, version: u64) {
        if self.wallet.as_ref().is_none_or(|wallet| wallet.version < version) {
            self.wallet = Some(WalletLimit { limit, version });
        }
    }

    pub(super) fn set_key_revoked(&mut self, key: KeyId, revoked: bool) {
        if revoked {
            self.revoked.insert(key);
        } else {
            self.revoked.remove(&key);
        }
    }

    pub(super) fn balances(&self, wallet: bool, budgets: &[BudgetCheck], now: UnixMillis) -> Balances {
        let is_known = wallet && self.seeded_at.is_some();
        let wallet = self.wallet.as_ref().filter(|_| is_known).map(|wallet| Balance {
            limit: wallet.limit,
            settled: self.wallet_counter.settled,
            held: self.wallet_counter.held,
        });
        let balance = |check: &BudgetCheck| {
            let period = choose_period(&check.periods, now);
            let counter = self.counter(HeldNode::Budget(check.budget, period.starts_at)).unwrap_or_default();
            Balance { limit: check.limit, settled: counter.settled, held: counter.held }
        };
        let is_unknown = |check: &BudgetCheck| {
            let period = choose_period(&check.periods, now);
            let is_fresh = self.seeded_at.is_some_and(|seeded_at| period.starts_at >= seeded_at);
            !is_fresh && self.counter(HeldNode::Budget(check.budget, period.starts_at)).is_none()
        };
        let is_cold = self.seeded_at.is_none() || budgets.iter().any(is_unknown);
        Balances { is_cold, wallet, budgets: budgets.iter().map(balance).collect() }
    }

    // --- money ---

    /// Every level as it stands; `None` where one of them is not known.
    fn view_nodes(&self, admission: &Admission<'_>, now: UnixMillis) -> Option<Vec<NodeView>> {
        let has_wallet = admission.wallet != WalletRule::None;
        let has_nodes = has_wallet || !admission.budgets.is_empty();
        if admission.amount == NanoUsd::ZERO || !has_nodes {
            return Some(Vec::new());
        }
        let seeded_at = self.seeded_at?;
        let mut nodes = Vec::with_capacity(admission.budgets.len() + 1);
        if has_wallet {
            nodes.push(NodeView {
                node: MoneyNode::Wallet,
                held_node: HeldNode::Wallet,
                limit: self.wallet.as_ref()?.limit,
                is_enforced: admission.wallet == WalletRule::Enforced,
                counter: self.wallet_counter,
                resets_at: None,
            });
        }
        for check in admission.budgets {
            let period = choose_period(&check.periods, now);
            let held_node = HeldNode::Budget(check.budget, period.starts_at);
            let counter = match self.counter(held_node) {
                Some(counter) => counter,
                // Nothing can have been settled in a period that began after the seed was read.
                None if period.starts_at >= seeded_at => Counter::default(),
                None => return None,
            };
            nodes.push(NodeView {
                node: MoneyNode::Budget(check.budget),
                held_node,
                limit: check.limit,
                is_enforced: true,
                counter,
                resets_at: (period.ends_at != Period::TOTAL.ends_at).then_some(period.ends_at),
            });
        }
        Some(nodes)
    }

    fn counter(&self, node: HeldNode) -> Option<Counter> {
        match node {
            HeldNode::Wallet => Some(self.wallet_counter),
            HeldNode::Budget(budget, starts_at) => {
                let periods = self.budgets.get(&budget)?;
                periods.iter().find(|period| period.starts_at == starts_at).map(|period| period.counter)
            }
        }
    }

    fn counter_mut(&mut self, node: HeldNode) -> Option<&mut Counter> {
        match node {
            HeldNode::Wallet => Some(&mut self.wallet_counter),
            HeldNode::Budget(budget, starts_at) => {
                let periods = self.budgets.get_mut(&budget)?;
                let period = periods.iter_mut().find(|period| period.starts_at == starts_at)?;
                Some(&mut period.counter)
            }
        }
    }

    fn counter_or_insert(&mut self, node: HeldNode) -> &mut Counter {
        let (budget, starts_at) = match node {
            HeldNode::Wallet => return &mut self.wallet_counter,
            HeldNode::Budget(budget, starts_at) => (budget, starts_at),
        };
        let periods = self.budgets.entry(budget).or_default();
        let index = match periods.iter().position(|period| period.starts_at == starts_at) {
            Some(index) => index,
            None => insert_period(periods, starts_at),
        };
        &mut periods[index].counter
    }

    // --- rates ---

    fn check_rates(&self, admission: &Admission<'_>, now: UnixMillis) -> Result<(), RateRefusal> {
        let state_of = |check: &LimitCheck| self.rates.get(&check.owner).copied().unwrap_or_default();
        let requests = admission.limits.iter().filter_map(|check| {
            let limit = check.limits.requests_per_minute?;
            let backlog_us = backlog_us(state_of(check).requests_tat_us, now) + rate::cost_us(1, limit);
            over_burst(check.owner, LimitKind::Requests, limit, backlog_us)
        });
        if let Some(refusal) = longest_wait(requests) {
            return Err(refusal);
        }
        let tokens = admission.limits.iter().filter_map(|check| {
            let limit = check.limits.tokens_per_minute?;
            let cost_us = rate::reservation_cost_us(admission.tokens, limit);
            let backlog_us = backlog_us(state_of(check).tokens_tat_us, now) + cost_us;
            over_burst(check.owner, LimitKind::Tokens, limit, backlog_us)
        });
        if let Some(refusal) = longest_wait(tokens) {
            return Err(refusal);
        }
        for check in admission.limits {
            let Some(limit) = check.limits.concurrent_requests else { continue };
            if state_of(check).in_flight >= limit {
                let (owner, kind) = (check.owner, LimitKind::Concurrency);
                let retry_after_ms = rate::CONCURRENCY_RETRY_AFTER_MS;
                return Err(RateRefusal { owner, kind, limit, retry_after_ms });
            }
        }
        Ok(())
    }

    /// Takes what [`Self::check_rates`] found free; the tightest limits of requests and of tokens.
    fn take_rates(
        &mut self,
        admission: &Admission<'_>,
        now: UnixMillis,
    ) -> (Option<RateStatus>, Option<RateStatus>) {
        let (mut requests, mut tokens) = (Tightest::default(), Tightest::default());
        for check in admission.limits {
            let state = self.rates.entry(check.owner).or_default();
            if let Some(limit) = check.limits.requests_per_minute {
                let backlog_us = backlog_us(state.requests_tat_us, now) + rate::cost_us(1, limit);
                state.requests_tat_us = micros(now) + backlog_us;
                requests.see(limit, backlog_us);
            }
            if let Some(limit) = check.limits.tokens_per_minute {
                let cost_us = rate::reservation_cost_us(admission.tokens, limit);
                let backlog_us = backlog_us(state.tokens_tat_us, now) + cost_us;
                state.tokens_tat_us = micros(now) + backlog_us;
                tokens.see(limit, backlog_us);
            }
            if check.limits.concurrent_requests.is_some() {
                state.in_flight += 1;
            }
        }
        (requests.status(), tokens.status())
    }
}

// === deciding ===

/// What can be granted, or which level refuses. A level is spent where even all its holds returned would
/// not do; where any level is spent, that is the answer, because waiting does not help.
fn decide(nodes: &[NodeView], amount: NanoUsd, minimum: NanoUsd) -> Result<NanoUsd, AdmitOutcome> {
    let unsettled = |node: &NodeView| node.limit.saturating_sub(node.counter.settled);
    let available = |node: &NodeView| unsettled(node).saturating_sub(node.counter.held);
    let nodes = || nodes.iter().filter(|node| node.is_enforced);
    let granted = nodes().map(available).fold(amount, NanoUsd::min);
    if granted >= minimum {
        return Ok(granted);
    }
    let spent = nodes().filter(|node| unsettled(node) < minimum).min_by_key(|node| unsettled(node));
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

fn choose_period(periods: &PeriodPair, now: UnixMillis) -> Period {
    if now < periods.current.ends_at { periods.current } else { periods.next }
}

/// Adds an empty counter and forgets old periods in which nothing is held. Returns its index.
fn insert_period(periods: &mut Vec<PeriodCounter>, starts_at: UnixMillis) -> usize {
    periods.push(PeriodCounter { starts_at, counter: Counter::default() });
    periods.sort_by_key(|period| std::cmp::Reverse(period.starts_at));
    let mut position = 0;
    periods.retain(|period| {
        position += 1;
        let is_new = period.starts_at == starts_at;
        position <= KEPT_PERIODS || is_new || period.counter.held != NanoUsd::ZERO
    });
    periods.iter().position(|period| period.starts_at == starts_at).expect("it was inserted and kept")
}

fn held_limit(check: &LimitCheck, tokens: u64) -> HeldLimit {
    let reserved = |limit| (limit, rate::reservation_cost_us(tokens, limit));
    HeldLimit {
        owner: check.owner,
        tokens: check.limits.tokens_per_minute.map(reserved),
        is_concurrent: check.limits.concurrent_requests.is_some(),
    }
}

/// By how much a limit would be exceeded, and the refusal that follows; `None` where it fits.
fn over_burst(owner: LimitOwner, kind: LimitKind, limit: u64, backlog_us: i64) -> Option<(i64, RateRefusal)> {
    let excess_us = backlog_us - rate::BURST_US;
    let retry_after_ms = rate::retry_after_ms(excess_us);
    (excess_us > 0).then_some((excess_us, RateRefusal { owner, kind, limit, retry_after_ms }))
}

/// The first of the refusals with the longest wait.
fn longest_wait(refusals: impl Iterator<Item = (i64, RateRefusal)>) -> Option<RateRefusal> {
    refusals.reduce(|longest, one| if one.0 > longest.0 { one } else { longest }).map(|(_, refusal)| refusal)
}

/// The first of the limits with the largest backlog.
#[derive(Default)]
struct Tightest(Option<(u64, i64)>);

impl Tightest {
    fn see(&mut self, limit: u64, backlog_us: i64) {
        if self.0.is_none_or(|(_, largest_us)| backlog_us > largest_us) {
            self.0 = Some((limit, backlog_us));
        }
    }

    fn status(&self) -> Option<RateStatus> {
        self.0.map(|(limit, backlog_us)| rate::status(limit, backlog_us))
    }
}

// === time ===

fn micros(now: UnixMillis) -> i64 {
    now.0.saturating_mul(1_000)
}

fn backlog_us(tat_us: i64, now: UnixMillis) -> i64 {
    (tat_us - micros(now)).max(0)
}

fn lease_end(now: UnixMillis, lease_ms: u64) -> UnixMillis {
    now.plus_ms(i64::try_from(lease_ms).unwrap_or(i64::MAX))
}
