//! A tenant's rate limits: tokens and requests by GCRA, places of requests in flight by count.

use foldhash::HashMap;
use tollgate_domain::{HoldId, UnixMillis};

use super::tenant::{Hold, TenantState};
use crate::rate;
use crate::types::{Admission, LimitCheck, LimitKind, LimitOwner, RateRefusal, RateStatus};

/// Above so many owners those without anything to remember are forgotten, each time as many have been added
/// again: end users come and go.
const OWNERS_BEFORE_CLEANING: usize = 10_000;

#[derive(Default)]
pub(super) struct Rates {
    pub(super) owners: HashMap<LimitOwner, RateState>,
    clean_at: usize,
    /// No lease of a hold that has places ends before this; `None` where no hold has any.
    next_expiry: Option<UnixMillis>,
}

#[derive(Clone, Copy, Default)]
pub(super) struct RateState {
    pub(super) requests_tat_us: i64,
    pub(super) tokens_tat_us: i64,
    pub(super) in_flight: u64,
}

/// A limit that a hold is counted in.
pub(super) struct HeldLimit {
    pub(super) owner: LimitOwner,
    /// The token limit and what was reserved against it.
    pub(super) tokens: Option<(u64, i64)>,
    /// Its places among the concurrent requests; zero where those are not limited.
    pub(super) places: u64,
}

impl Rates {
    /// What settling must correct.
    pub(super) fn held_limits(admission: &Admission<'_>) -> Vec<HeldLimit> {
        let held = |check: &LimitCheck| HeldLimit {
            owner: check.owner,
            tokens: check
                .limits
                .tokens_per_minute
                .map(|limit| (limit, rate::reservation_cost_us(admission.tokens, limit))),
            places: u64::from(check.limits.concurrent_requests.is_some()),
        };
        admission.limits.iter().map(held).collect()
    }

    /// A hold with places was written.
    pub(super) fn expect_expiry(&mut self, lease_until: UnixMillis) {
        self.next_expiry = Some(self.next_expiry.map_or(lease_until, |next| next.min(lease_until)));
    }

    pub(super) fn state(&self, owner: LimitOwner) -> RateState {
        self.owners.get(&owner).copied().unwrap_or_default()
    }

    /// Takes what was found free; the tightest limits of requests and of tokens.
    pub(super) fn take(
        &mut self,
        admission: &Admission<'_>,
        now: UnixMillis,
    ) -> (Option<RateStatus>, Option<RateStatus>) {
        let (mut requests, mut tokens) = (Tightest::default(), Tightest::default());
        self.clean(now);
        for check in admission.limits {
            let state = self.owners.entry(check.owner).or_default();
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

    /// Corrects tokens and gives places back.
    pub(super) fn settle(&mut self, hold: &Hold, tokens: u64, now: UnixMillis) {
        let used = rate::bounded_units(tokens);
        for limit in &hold.limits {
            let Some(state) = self.owners.get_mut(&limit.owner) else { continue };
            if let Some((tokens_per_minute, reserved_us)) = limit.tokens {
                let correction_us = rate::cost_us(used, tokens_per_minute) - reserved_us;
                state.tokens_tat_us = micros(now).max(state.tokens_tat_us + correction_us);
            }
            if !hold.has_lost_its_places {
                state.in_flight = state.in_flight.saturating_sub(limit.places);
            }
        }
    }

    /// Takes (or gives back) the places of one hold.
    pub(super) fn move_places(&mut self, limits: &[HeldLimit], takes: bool) {
        for limit in limits.iter().filter(|limit| limit.places > 0) {
            let state = self.owners.entry(limit.owner).or_default();
            state.in_flight = if takes {
                state.in_flight + limit.places
            } else {
                state.in_flight.saturating_sub(limit.places)
            };
        }
    }

    /// Forgets owners whose state is that of a new one.
    fn clean(&mut self, now: UnixMillis) {
        if self.owners.len() < self.clean_at.max(OWNERS_BEFORE_CLEANING) {
            return;
        }
        let now_us = micros(now);
        self.owners.retain(|_, state| {
            state.in_flight > 0 || state.requests_tat_us > now_us || state.tokens_tat_us > now_us
        });
        self.clean_at = self.owners.len() + OWNERS_BEFORE_CLEANING;
    }
}

impl TenantState {
    pub(super) fn check_rates(
        &mut self,
        admission: &Admission<'_>,
        now: UnixMillis,
    ) -> Result<(), RateRefusal> {
        let rates = &self.rates;
        let requests = admission.limits.iter().filter_map(|check| {
            let limit = check.limits.requests_per_minute?;
            let backlog_us =
                backlog_us(rates.state(check.owner).requests_tat_us, now) + rate::cost_us(1, limit);
            over_burst(check.owner, LimitKind::Requests, limit, backlog_us)
        });
        if let Some(refusal) = longest_wait(requests) {
            return Err(refusal);
        }
        let tokens = admission.limits.iter().filter_map(|check| {
            let limit = check.limits.tokens_per_minute?;
            let cost_us = rate::reservation_cost_us(admission.tokens, limit);
            let backlog_us = backlog_us(rates.state(check.owner).tokens_tat_us, now) + cost_us;
            over_burst(check.owner, LimitKind::Tokens, limit, backlog_us)
        });
        if let Some(refusal) = longest_wait(tokens) {
            return Err(refusal);
        }
        match self.full_concurrency(admission) {
            Some(_) if self.free_expired_places(now) => self.full_concurrency(admission).map_or(Ok(()), Err),
            Some(refusal) => Err(refusal),
            None => Ok(()),
        }
    }

    /// The first owner without a free place.
    fn full_concurrency(&self, admission: &Admission<'_>) -> Option<RateRefusal> {
        admission.limits.iter().find_map(|check| {
            let limit = check.limits.concurrent_requests?;
            (self.rates.state(check.owner).in_flight >= limit).then_some(RateRefusal {
                owner: check.owner,
                kind: LimitKind::Concurrency,
                limit,
                retry_after_ms: rate::CONCURRENCY_RETRY_AFTER_MS,
            })
        })
    }

    /// Gives up the places of holds whose lease ended: their pod is gone, and with it their requests. Answers
    /// whether there were any.
    fn free_expired_places(&mut self, now: UnixMillis) -> bool {
        if self.rates.next_expiry.is_none_or(|next| now < next) {
            return false;
        }
        self.rates.next_expiry = None;
        let mut is_any_free = false;
        for hold in self.holds.values_mut() {
            if hold.has_lost_its_places || !hold.limits.iter().any(|limit| limit.places > 0) {
                continue;
            }
            if hold.lease_until <= now {
                hold.has_lost_its_places = true;
                is_any_free = true;
                self.rates.move_places(&hold.limits, false);
            } else {
                self.rates.expect_expiry(hold.lease_until);
            }
        }
        is_any_free
    }

    /// The places of a hold that is renewed after all.
    pub(super) fn take_places_again(&mut self, id: HoldId) {
        let Some(hold) = self.holds.get_mut(&id) else { return };
        if std::mem::take(&mut hold.has_lost_its_places) {
            self.rates.move_places(&hold.limits, true);
            self.rates.expect_expiry(hold.lease_until);
        }
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

pub(super) fn micros(now: UnixMillis) -> i64 {
    now.0.saturating_mul(1_000)
}

pub(super) fn backlog_us(tat_us: i64, now: UnixMillis) -> i64 {
    (tat_us - micros(now)).max(0)
}
