//! Who spends: tenants, their keys, and the budgets and wallets above each key. Small numbers, so that limits are
//! met all the time.

use tollgate_domain::{BudgetId, KeyId, NanoUsd, Period, PeriodPair, TenantId, UnixMillis};
use tollgate_ledger::{BudgetCheck, WalletRule};

use super::random::Random;

/// The longest window: short enough that a run sees several of each. Real time has windows of the same length.
pub(super) const WINDOW_MS: i64 = 3_600_000;

/// What holds money, as the truth counts it: budgets by the start of their period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Node {
    Wallet(TenantId),
    Budget(BudgetId, i64),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    pub(super) id: BudgetId,
    pub(super) limit: i64,
    /// `None` for a budget without end.
    window_ms: Option<i64>,
}

#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) id: KeyId,
    pub(super) budgets: Vec<Budget>,
}

#[derive(Clone, Debug)]
pub(super) struct Tenant {
    pub(super) id: TenantId,
    pub(super) wallet: WalletRule,
    pub(super) wallet_limit: i64,
    pub(super) wallet_version: u64,
    pub(super) keys: Vec<Key>,
}

impl Budget {
    pub(super) fn period(&self, now: UnixMillis) -> Period {
        self.period_by_start(self.window_ms.map_or(0, |window_ms| now.0 - now.0.rem_euclid(window_ms)))
    }

    fn period_by_start(&self, starts_at: i64) -> Period {
        match self.window_ms {
            Some(window_ms) => {
                Period { starts_at: UnixMillis(starts_at), ends_at: UnixMillis(starts_at + window_ms) }
            }
            None => Period::TOTAL,
        }
    }

    /// What a caller says whose clock reads `now`.
    pub(super) fn check(&self, now: UnixMillis) -> BudgetCheck {
        let current = self.period(now);
        let next = match self.window_ms {
            Some(_) => self.period_by_start(current.ends_at.0),
            None => Period::TOTAL,
        };
        BudgetCheck { budget: self.id, limit: NanoUsd(self.limit), periods: PeriodPair { current, next } }
    }

    /// A check that asks for one period whatever the ledger's clock reads.
    pub(super) fn check_of(&self, starts_at: i64) -> BudgetCheck {
        let forever = Period { starts_at: UnixMillis(starts_at), ends_at: UnixMillis(i64::MAX) };
        let periods = PeriodPair { current: forever, next: forever };
        BudgetCheck { budget: self.id, limit: NanoUsd(self.limit), periods }
    }

    /// The periods around a moment, the present one first.
    pub(super) fn starts_around(&self, now: UnixMillis) -> Vec<i64> {
        let present = self.period(now).starts_at.0;
        match self.window_ms {
            Some(window_ms) => vec![present, present - window_ms, present + window_ms],
            None => vec![present],
        }
    }
}

impl Tenant {
    pub(super) fn budget(&self, id: BudgetId) -> Option<Budget> {
        self.keys.iter().flat_map(|key| &key.budgets).find(|budget| budget.id == id).copied()
    }

    /// Every budget of its keys, each once.
    pub(super) fn budgets(&self) -> Vec<Budget> {
        let mut budgets: Vec<Budget> = self.keys.iter().flat_map(|key| &key.budgets).copied().collect();
        budgets.sort_by_key(|budget| budget.id);
        budgets.dedup_by_key(|budget| budget.id);
        budgets
    }

    pub(super) fn limit(&self, node: Node) -> i64 {
        match node {
            Node::Wallet(_) => self.wallet_limit,
            Node::Budget(id, _) => self.budget(id).map_or(0, |budget| budget.limit),
        }
    }

    /// Whether nothing may be held there beyond the limit.
    pub(super) fn is_enforced(&self, node: Node) -> bool {
        !matches!(node, Node::Wallet(_)) || self.wallet == WalletRule::Enforced
    }

    /// The levels that an admission with these budgets at `now` is counted in: of the two periods that a caller names
    /// the ledger's clock chooses.
    pub(super) fn nodes(&self, budgets: &[BudgetCheck], now: UnixMillis) -> Vec<Node> {
        let mut nodes = Vec::new();
        if self.wallet != WalletRule::None {
            nodes.push(Node::Wallet(self.id));
        }
        for check in budgets {
            let PeriodPair { current, next } = check.periods;
            let period = if now < current.ends_at { current } else { next };
            nodes.push(Node::Budget(check.budget, period.starts_at.0));
        }
        nodes
    }
}

/// Three tenants: one that pays in advance under four levels of budgets, one that pays by invoice under budgets,
/// one that has a wallet only.
pub(super) fn tenants(seed: u64, random: &mut Random) -> Vec<Tenant> {
    let mut next_id = u128::from(seed) << 64;
    let mut id = || {
        next_id += 1;
        next_id
    };
    let rules = [WalletRule::Enforced, WalletRule::Counted, WalletRule::Enforced];
    let mut tenants = Vec::new();
    for (index, wallet) in rules.into_iter().enumerate() {
        let mut budget = |from, to, window_ms| Budget {
            id: BudgetId::from_u128(id()),
            limit: random.between(from, to),
            window_ms,
        };
        let whole = budget(3_500, 7_000, Some(WINDOW_MS));
        let project = budget(2_000, 5_000, Some(WINDOW_MS));
        let without_end = budget(15_000, 60_000, None);
        let end_user = budget(800, 2_500, Some(WINDOW_MS / 4));
        let levels: [Vec<Budget>; 3] = match index {
            0 => [vec![end_user, project, whole, without_end], vec![project, whole], vec![whole]],
            1 => [vec![end_user, whole], vec![whole, without_end], vec![project]],
            _ => [Vec::new(), Vec::new(), Vec::new()],
        };
        let keys = levels.into_iter().map(|budgets| Key { id: KeyId::from_u128(id()), budgets }).collect();
        let wallet_limit = random.between(3_000, 9_000);
        let tenant = TenantId::from_u128(id());
        tenants.push(Tenant { id: tenant, wallet, wallet_limit, wallet_version: 1, keys });
    }
    tenants
}
