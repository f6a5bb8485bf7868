//! What a hold of the register is to others: its report, and its budgets in the periods that the server chose.

use tollgate_domain::{HoldId, PeriodPair, TenantId};

use super::Held;
use crate::holds::{HeldBudget, OpenHold};
use crate::types::BudgetCheck;

/// A hold as it is reported.
pub(super) fn open_hold(tenant: TenantId, hold: HoldId, held: &Held) -> OpenHold {
    OpenHold {
        tenant,
        hold,
        key: held.key,
        node: held.node,
        // once it ends it needs what it cost: the rest may have been given to others
        amount: held.ending.map_or(held.amount, |cost| cost.min(held.amount)),
        wallet: held.wallet,
        budgets: held_budgets(held),
        admitted_at: held.granted.as_ref().map(|granted| granted.admitted_at),
        lease_ms: held.lease_ms,
        progress: held.progress,
        memo: held.memo.to_vec(),
        slab: None,
    }
}

/// The budgets of a slab, for one of its parts: in the slab's periods, whenever the part was admitted.
pub(super) fn in_periods_of(slab: &Held) -> Vec<BudgetCheck> {
    let in_period = |(check, held): (&BudgetCheck, HeldBudget)| {
        let is_next = held.period_starts_at == check.periods.next.starts_at;
        let period = if is_next { check.periods.next } else { check.periods.current };
        BudgetCheck { periods: PeriodPair { current: period, next: period }, ..*check }
    };
    slab.budgets.iter().zip(held_budgets(slab)).map(in_period).collect()
}

/// The budgets in the periods that the server chose.
pub(super) fn held_budgets(held: &Held) -> Vec<HeldBudget> {
    let admitted_at = held.granted.as_ref().map(|granted| granted.admitted_at);
    let held_budget = |check: &BudgetCheck| {
        let is_next = admitted_at.is_some_and(|at| at >= check.periods.current.ends_at);
        let period = if is_next { check.periods.next } else { check.periods.current };
        HeldBudget { budget: check.budget, period_starts_at: period.starts_at, limit: check.limit }
    };
    held.budgets.iter().map(held_budget).collect()
}
