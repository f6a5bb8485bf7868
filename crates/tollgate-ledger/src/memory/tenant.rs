//! One tenant's state: counters, rates, holds, tombstones. Synchronous, under its shard's lock.

use foldhash::{HashMap, HashSet};
use tollgate_domain::{BudgetId, HoldId, KeyId, NanoUsd, NodeId, Period, PeriodPair, UnixMillis};

use super::decide::{NodeView, decide};
use super::rates::{HeldLimit, Rates};
use super::tombstones::Tombstones;
use crate::epoch::TenantEpoch;
use crate::holds::HeldBudget;
use crate::mutants::{self, Mutant};
use crate::types::{
    Admission, AdmitOutcome, Balance, Balances, BudgetCheck, Grant, MAX_CLOCK_LEAD_MS, MoneyNode, Seed,
    SettleOutcome, Settlement, WalletRule,
};

/// Periods of one budget that are kept though nothing is held in them: the present one and, for clocks that
/// step back over its edge, the one before.
pub(super) const KEPT_PERIODS: usize = 2;

#[derive(Default)]
pub(super) struct TenantState {
    pub(super) epoch: Option<TenantEpoch>,
    pub(super) seeded_at: Option<UnixMillis>,
    pub(super) wallet: Option<WalletLimit>,
    pub(super) wallet_counter: Counter,
    pub(super) budgets: HashMap<BudgetId, Vec<PeriodCounter>>,
    pub(super) clean_budgets_at: usize,
    pub(super) revoked: HashSet<KeyId>,
    pub(super) rates: Rates,
    pub(super) holds: HashMap<HoldId, Hold>,
    pub(super) tombstones: Tombstones,
}

pub(super) struct WalletLimit {
    pub(super) limit: NanoUsd,
    pub(super) version: u64,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Counter {
    pub(super) settled: NanoUsd,
    pub(super) held: NanoUsd,
}

/// A budget's counter in the period that starts at `starts_at`; a budget has two or three of them.
pub(super) struct PeriodCounter {
    pub(super) starts_at: UnixMillis,
    pub(super) counter: Counter,
}

/// What settling needs to undo and correct, whatever policy says by then, and what others need to know.
pub(super) struct Hold {
    pub(super) grant: Grant,
    pub(super) key: KeyId,
    pub(super) node: NodeId,
    pub(super) wallet: WalletRule,
    pub(super) budgets: Vec<HeldBudget>,
    pub(super) limits: Vec<HeldLimit>,
    pub(super) lease_until: UnixMillis,
    pub(super) lease_ms: u64,
    pub(super) progress: NanoUsd,
    pub(super) memo: Box<[u8]>,
    /// Whether its places among the concurrent requests were given up because its lease ended.
    pub(super) has_lost_its_places: bool,
}

#[derive(Clone, Copy)]
pub(super) enum HeldNode {
    Wallet,
    Budget(BudgetId, UnixMillis),
}

/// What a settlement did.
pub(super) enum Settled {
    /// The hold ended; these are the levels that it was in.
    Charged(WalletRule, Vec<HeldBudget>),
    /// The hold is not known.
    Uncounted,
    /// Nothing.
    Nothing(SettleOutcome),
}

impl Hold {
    pub(super) fn nodes(&self) -> impl Iterator<Item = HeldNode> + '_ {
        let wallet = (self.wallet != WalletRule::None).then_some(HeldNode::Wallet);
        let budgets = self.budgets.iter().map(|held| HeldNode::Budget(held.budget, held.period_starts_at));
        wallet.into_iter().chain(budgets)
    }
}

// === impl TenantState ===

impl TenantState {
    /// Whether the tenant was closed for a reseed.
    pub(super) fn is_fenced(&self) -> bool {
        self.epoch.as_ref().is_some_and(|epoch| !epoch.is_live) && !mutants::is(Mutant::NoFence)
    }

    pub(super) fn admit(&mut self, admission: &Admission<'_>, now: UnixMillis) -> AdmitOutcome {
        if self.is_fenced() {
            return AdmitOutcome::WrongEpoch;
        }
        if let Some(hold) = self.holds.get(&admission.hold) {
            return AdmitOutcome::Admitted(hold.grant);
        }
        if self.tombstones.contains(admission.hold, now) {
            return AdmitOutcome::AlreadySettled;
        }
        if self.revoked.contains(&admission.key) {
            return AdmitOutcome::Revoked;
        }
        if mutants::is(Mutant::ExpiredIsReleased) {
            self.release_expired(now);
        }
        if let Some(budget) = not_begun(admission, now) {
            return AdmitOutcome::NotBegun(budget);
        }
        let Some(nodes) = self.view_nodes(admission, now) else { return AdmitOutcome::Cold };
        if let Err(refusal) = self.check_rates(admission, now) {
            return AdmitOutcome::RateLimited(refusal);
        }
        let granted = match decide(&nodes, admission.amount, admission.minimum, NanoUsd::ZERO) {
            Ok(granted) => granted,
            Err(refused) => return refused,
        };

        self.forget_end_users(now);
        let (requests, tokens) = self.rates.take(admission, now);
        let mut budgets = Vec::with_capacity(admission.budgets.len());
        let mut wallet = WalletRule::None;
        for node in &nodes {
            let counter = self.counter_or_insert(node.held_node);
            counter.held = counter.held.saturating_add(granted);
            match node.held_node {
                HeldNode::Wallet => wallet = admission.wallet,
                HeldNode::Budget(budget, period_starts_at) => {
                    budgets.push(HeldBudget { budget, period_starts_at, limit: node.limit });
                }
            }
        }
        let grant = Grant { granted, admitted_at: now, requests, tokens };
        let lease_until = lease_end(now, admission.lease_ms);
        let limits = Rates::held_limits(admission);
        if limits.iter().any(|limit| limit.places > 0) {
            self.rates.expect_expiry(lease_until);
        }
        let hold = Hold {
            grant,
            key: admission.key,
            node: admission.node,
            wallet,
            budgets,
            limits,
            lease_until,
            lease_ms: admission.lease_ms,
            progress: NanoUsd::ZERO,
            memo: admission.memo.into(),
            has_lost_its_places: false,
        };
        self.holds.insert(admission.hold, hold);
        AdmitOutcome::Admitted(grant)
    }

    pub(super) fn settle(&mut self, settlement: &Settlement, now: UnixMillis) -> Settled {
        if self.is_fenced() {
            return Settled::Nothing(SettleOutcome::WrongEpoch);
        }
        let Some(hold) = self.holds.remove(&settlement.hold) else {
            let is_repeat = self.tombstones.contains(settlement.hold, now);
            if is_repeat {
                return Settled::Nothing(SettleOutcome::AlreadySettled);
            }
            self.bury(settlement.hold, now);
            return Settled::Uncounted;
        };
        self.bury(settlement.hold, now);
        for node in hold.nodes() {
            if let Some(counter) = self.counter_mut(node) {
                counter.held = counter.held.saturating_sub(hold.grant.granted);
                counter.settled = counter.settled.saturating_add(settlement.actual);
            }
        }
        self.rates.settle(&hold, settlement.tokens, now);
        Settled::Charged(hold.wallet, hold.budgets)
    }

    pub(super) fn bury(&mut self, hold: HoldId, now: UnixMillis) {
        if !mutants::is(Mutant::NoTombstone) {
            self.tombstones.insert(hold, now);
        }
    }

    pub(super) fn seed(&mut self, seed: &Seed, now: UnixMillis) {
        self.set_wallet_limit(seed.wallet_limit, seed.wallet_version);
        if self.seeded_at.is_none() {
            self.seeded_at = Some(now);
            self.wallet_counter.settled = seed.wallet_settled;
        }
        for counter in &seed.counters {
            let node = HeldNode::Budget(counter.budget, counter.period_starts_at);
            if self.counter(node).is_none() && !self.may_be_forgotten(node) {
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
        let is_cold = self.is_fenced() || self.seeded_at.is_none() || budgets.iter().any(is_unknown);
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
        let is_missing_full = mutants::is(Mutant::MissingIsFull);
        let seeded_at = if is_missing_full { UnixMillis(i64::MIN) } else { self.seeded_at? };
        let mut nodes = Vec::with_capacity(admission.budgets.len() + 1);
        if has_wallet {
            let limit = self.wallet.as_ref().map(|wallet| wallet.limit);
            nodes.push(NodeView {
                node: MoneyNode::Wallet,
                held_node: HeldNode::Wallet,
                limit: limit.or(is_missing_full.then_some(tollgate_domain::MAX_LIMIT))?,
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
                None if period.starts_at >= seeded_at && !self.may_be_forgotten(held_node) => {
                    Counter::default()
                }
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

    pub(super) fn counter(&self, node: HeldNode) -> Option<Counter> {
        match node {
            HeldNode::Wallet => Some(self.wallet_counter),
            HeldNode::Budget(budget, starts_at) => {
                let periods = self.budgets.get(&budget)?;
                periods.iter().find(|period| period.starts_at == starts_at).map(|period| period.counter)
            }
        }
    }

    pub(super) fn counter_mut(&mut self, node: HeldNode) -> Option<&mut Counter> {
        match node {
            HeldNode::Wallet => Some(&mut self.wallet_counter),
            HeldNode::Budget(budget, starts_at) => {
                let periods = self.budgets.get_mut(&budget)?;
                let period = periods.iter_mut().find(|period| period.starts_at == starts_at)?;
                Some(&mut period.counter)
            }
        }
    }

    pub(super) fn counter_or_insert(&mut self, node: HeldNode) -> &mut Counter {
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
}

/// A budget of a paid request whose period begins too far in the future, by the ledger's clock.
fn not_begun(admission: &Admission<'_>, now: UnixMillis) -> Option<BudgetId> {
    let latest = now.plus_ms(MAX_CLOCK_LEAD_MS);
    let budgets = if admission.amount == NanoUsd::ZERO { &[][..] } else { admission.budgets };
    budgets.iter().find(|check| check.periods.current.starts_at > latest).map(|check| check.budget)
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

pub(super) fn lease_end(now: UnixMillis, lease_ms: u64) -> UnixMillis {
    now.plus_ms(i64::try_from(lease_ms).unwrap_or(i64::MAX))
}
