//! Counters that are forgotten: of old periods, and of end users who do not come any more.

use tollgate_domain::{NanoUsd, Period, UnixMillis};

use super::tenant::{HeldNode, KEPT_PERIODS, TenantState};

/// Above so many budgets those of end users are looked through, each time as many have been added again.
const BUDGETS_BEFORE_CLEANING: usize = 10_000;
/// Two months and some: no calendar period that began before is the present one, or the one before it.
const FORGOTTEN_AFTER_MS: i64 = 70 * 86_400_000;

impl TenantState {
    /// Whether an absent counter may be one of an old period that was forgotten: then nobody knows what was settled
    /// there, and what of it is not journaled yet. Somebody whose clock is periods behind asks for it.
    pub(super) fn may_be_forgotten(&self, node: HeldNode) -> bool {
        let HeldNode::Budget(budget, starts_at) = node else { return false };
        let periods = self.budgets.get(&budget).map_or(&[][..], Vec::as_slice);
        periods.iter().filter(|period| period.starts_at > starts_at).count() >= KEPT_PERIODS
    }

    /// Forgets end users' counters (named by derived ids) of periods that ended long ago and in which nothing is
    /// held. One over all time stays.
    pub(super) fn forget_end_users(&mut self, now: UnixMillis) {
        if self.budgets.len() < self.clean_budgets_at.max(BUDGETS_BEFORE_CLEANING) {
            return;
        }
        let is_past = |starts_at: UnixMillis| {
            starts_at != Period::TOTAL.starts_at && now.since(starts_at) > FORGOTTEN_AFTER_MS
        };
        self.budgets.retain(|budget, periods| {
            if budget.is_derived() {
                periods.retain(|period| !is_past(period.starts_at) || period.counter.held != NanoUsd::ZERO);
            }
            !periods.is_empty()
        });
        self.clean_budgets_at = self.budgets.len() + BUDGETS_BEFORE_CLEANING;
    }
}

#[cfg(test)]
mod tests {
    use tollgate_domain::{BudgetId, Id};

    use super::*;

    #[test]
    fn only_what_can_be_asked_for_again_is_kept() {
        let mut state = TenantState::default();
        let now = UnixMillis(2_000_000_000_000);
        let (old, recent) = (now.plus_ms(-FORGOTTEN_AFTER_MS - 1), now.plus_ms(-FORGOTTEN_AFTER_MS));
        let rule = Id::<()>::from_u128(7);
        let user = |name: &str| BudgetId::derived(rule, name);
        let kept = [
            (user("recent"), recent),
            (user("total"), Period::TOTAL.starts_at),
            (user("holding"), old),
            // an ordinary budget is no end user's
            (BudgetId::generate(UnixMillis(1), [1; 10]), old),
        ];
        for (budget, starts_at) in kept {
            state.counter_or_insert(HeldNode::Budget(budget, starts_at)).settled = NanoUsd(1);
        }
        state.counter_or_insert(HeldNode::Budget(user("holding"), old)).held = NanoUsd(1);
        for n in 0..BUDGETS_BEFORE_CLEANING - kept.len() - 1 {
            state.counter_or_insert(HeldNode::Budget(user(&n.to_string()), old));
        }
        state.forget_end_users(now);
        assert_eq!(state.budgets.len(), BUDGETS_BEFORE_CLEANING - 1, "few enough to be left alone");
        state.counter_or_insert(HeldNode::Budget(user("one more"), old));
        state.forget_end_users(now);
        let mut left: Vec<BudgetId> = state.budgets.keys().copied().collect();
        let mut expected = kept.map(|(budget, _)| budget).to_vec();
        left.sort();
        expected.sort();
        assert_eq!(left, expected);
    }
}
