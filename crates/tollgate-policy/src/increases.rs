//! Budgets that are raised for a time.

use tollgate_domain::{MAX_LIMIT, NanoUsd, UnixMillis};

/// An amount by which a budget's limit is raised until a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetIncrease {
    /// How much; above zero.
    pub amount: NanoUsd,
    /// The first moment at which it does not hold any more.
    pub until: UnixMillis,
}

/// What a budget of `limit` allows at `now`: with every increase that is not over, at most [`MAX_LIMIT`].
#[must_use]
pub fn effective_limit(limit: NanoUsd, increases: &[BudgetIncrease], now: UnixMillis) -> NanoUsd {
    let active = increases.iter().filter(|increase| increase.until > now);
    active.fold(limit, |sum, increase| sum.saturating_add(increase.amount)).min(MAX_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_increase_holds_until_its_end_and_no_longer() {
        let increase =
            |usd, until| BudgetIncrease { amount: NanoUsd::from_usd(usd), until: UnixMillis(until) };
        let increases = [increase(5, 1_000), increase(2, 2_000)];
        let cases = [(0, 17), (999, 17), (1_000, 12), (1_999, 12), (2_000, 10), (i64::MAX, 10)];
        for (now, expected) in cases {
            let limit = effective_limit(NanoUsd::from_usd(10), &increases, UnixMillis(now));
            assert_eq!(limit, NanoUsd::from_usd(expected), "at {now}");
        }
        let huge = [BudgetIncrease { amount: MAX_LIMIT, until: UnixMillis(1) }];
        assert_eq!(effective_limit(MAX_LIMIT, &huge, UnixMillis(0)), MAX_LIMIT);
    }
}
