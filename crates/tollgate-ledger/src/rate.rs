//! Rate limiting by GCRA in whole microseconds: pure arithmetic, shared by both backends.
//!
//! The generic cell rate algorithm in its virtual-scheduling form: of a limit only its theoretical arrival time
//! is kept, `TAT = max(TAT, now) + increment`, and a call conforms while `TAT − now ≤ burst`. A refused call
//! leaves it as it was. Tokens are taken before anybody knows how many it will be: the reservation is an
//! increment like any other, and settling moves the TAT by what was used less what was reserved, never before
//! now, because an empty bucket cannot owe.
//!
//! A limit of `n` per minute is a bucket that holds one minute's worth and drains at `n` per minute. What is
//! in it is counted in microseconds of draining, the *backlog* (theoretical arrival time minus now): each
//! unit adds `60 s / n`, and a call fits while the backlog stays within a minute. Everything stays below
//! 2⁵³, so that Lua computes the same.

use crate::types::RateStatus;

/// One minute in microseconds: the burst every limit allows, and the base of every interval.
pub(crate) const BURST_US: i64 = 60_000_000;
/// What anything costs under a limit of zero: never fits, and a refusal says to wait a minute.
const NEVER_FITS_US: i64 = 2 * BURST_US;
/// A guess for concurrency limits: nobody knows when a request in flight ends.
pub(crate) const CONCURRENCY_RETRY_AFTER_MS: u64 = 1_000;
/// Above this many units Lua's arithmetic would leave the exact integers (units × 60 s < 2⁵³).
const MAX_EXACT_UNITS: u64 = 150_000_000;

/// What `units` add to the backlog of a limit per minute. Rounded down, so that `limit` single units fit into
/// one minute; at least 1 µs for anything. A limit of zero never fits.
pub(crate) fn cost_us(units: u64, limit: u64) -> i64 {
    if limit == 0 {
        return NEVER_FITS_US;
    }
    if units == 0 {
        return 0;
    }
    let minutes = i64::try_from(units / limit).unwrap_or(i64::MAX / BURST_US);
    let rest_us = u128::from(units % limit) * 60_000_000 / u128::from(limit);
    let rest_us = i64::try_from(rest_us).expect("less than one minute");
    minutes.saturating_mul(BURST_US).saturating_add(rest_us).max(1)
}

/// What a reservation of `tokens` adds: never more than one minute's worth, or it could never fit.
pub(crate) fn reservation_cost_us(tokens: u64, limit: u64) -> i64 {
    cost_us(tokens.min(limit), limit)
}

/// Units really used, as far as the backlog is corrected by them: no model reaches the bound.
pub(crate) fn bounded_units(units: u64) -> u64 {
    units.min(MAX_EXACT_UNITS)
}

/// The state of a limit with `backlog_us` in its bucket.
pub(crate) fn status(limit: u64, backlog_us: i64) -> RateStatus {
    let room_us = u128::try_from(BURST_US.saturating_sub(backlog_us)).unwrap_or(0);
    let remaining = room_us * u128::from(limit) / 60_000_000;
    let backlog_us = u64::try_from(backlog_us).unwrap_or(0);
    RateStatus {
        limit,
        remaining: u64::try_from(remaining).unwrap_or(limit),
        reset_ms: backlog_us.div_ceil(1_000),
    }
}

/// How long until a call fits whose backlog would be `excess_us` above one minute.
pub(crate) fn retry_after_ms(excess_us: i64) -> u64 {
    u64::try_from(excess_us).unwrap_or(0).div_ceil(1_000).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn costs() {
        let cases = [
            // units, limit, microseconds
            (1, 60, 1_000_000),
            (1, 7, 8_571_428),
            (7, 7, 60_000_000),
            (0, 7, 0),
            (14, 7, 120_000_000),
            (1, 150_000_000, 1),
            (0, 0, 120_000_000),
            (1, 0, 120_000_000),
        ];
        for (units, limit, expected) in cases {
            assert_eq!(cost_us(units, limit), expected, "{units} of {limit} per minute");
        }
        assert_eq!(reservation_cost_us(1_000, 10), BURST_US);
    }

    #[test]
    fn statuses() {
        assert_eq!(status(60, 0), RateStatus { limit: 60, remaining: 60, reset_ms: 0 });
        assert_eq!(status(60, 1_000_000), RateStatus { limit: 60, remaining: 59, reset_ms: 1_000 });
        assert_eq!(status(60, 90_000_000), RateStatus { limit: 60, remaining: 0, reset_ms: 90_000 });
        assert_eq!(retry_after_ms(1), 1);
        assert_eq!(retry_after_ms(1_500), 2);
        assert_eq!(retry_after_ms(cost_us(1, 0) - BURST_US), 60_000);
    }

    proptest! {
        #[test]
        fn exactly_the_limit_fits_into_one_burst(limit in 1_u64..1_000_000) {
            let cost = cost_us(1, limit);
            let fitting = u64::try_from(BURST_US / cost).unwrap();
            prop_assert!(fitting >= limit);
            prop_assert!(fitting - limit <= limit / 50 + 1, "{limit} per minute lets {fitting} through");
            let taken = limit / 2;
            let backlog = cost * i64::try_from(taken).unwrap();
            prop_assert!(status(limit, backlog).remaining >= limit - taken);
        }
    }
}
