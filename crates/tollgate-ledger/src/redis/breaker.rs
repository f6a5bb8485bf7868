//! The circuit breaker: when Redis is gone, callers learn it at once instead of after a deadline each.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Failures in a row that open the circuit.
const FAILURES_TO_OPEN: u32 = 5;
/// Within which the failures must happen: fewer are hiccups.
const FAILURE_WINDOW: Duration = Duration::from_secs(1);
/// How long nobody asks; then one caller probes, and others after the same time again until one succeeds. Twenty
/// callers per second and process wait for a deadline in vain, and what comes back is noticed within this.
const OPEN_FOR: Duration = Duration::from_millis(50);

#[derive(Default)]
pub(super) struct Breaker {
    /// Whether `state` has anything to say; spares the lock while all is well.
    is_suspicious: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    n_failures: u32,
    first_failure_at: Option<Instant>,
    /// Until when nobody may ask; `None` while the circuit is closed.
    closed_to_callers_until: Option<Instant>,
}

impl Breaker {
    /// Whether the caller may ask Redis. Where the circuit is open, one caller per interval may.
    pub(super) fn lets_through(&self, now: Instant) -> bool {
        if !self.is_suspicious.load(Ordering::Relaxed) {
            return true;
        }
        let mut state = self.state.lock();
        match state.closed_to_callers_until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                state.closed_to_callers_until = Some(now + OPEN_FOR);
                true
            }
        }
    }

    pub(super) fn succeeded(&self) {
        if self.is_suspicious.load(Ordering::Relaxed) {
            let mut state = self.state.lock();
            if state.closed_to_callers_until.is_some() {
                tracing::info!("the ledger answers again");
            }
            *state = State::default();
            self.is_suspicious.store(false, Ordering::Relaxed);
        }
    }

    pub(super) fn failed(&self, now: Instant, reason: &str) {
        let mut state = self.state.lock();
        self.is_suspicious.store(true, Ordering::Relaxed);
        let is_recent = state.first_failure_at.is_some_and(|first| now - first <= FAILURE_WINDOW);
        if !is_recent {
            state.first_failure_at = Some(now);
            state.n_failures = 0;
        }
        state.n_failures += 1;
        let is_open = state.closed_to_callers_until.is_some();
        if is_open || state.n_failures >= FAILURES_TO_OPEN {
            state.closed_to_callers_until = Some(now + OPEN_FOR);
        }
        if !is_open && state.n_failures >= FAILURES_TO_OPEN {
            tracing::warn!(reason, "the ledger does not answer: the circuit is open");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_after_five_failures_and_probes_once_per_interval() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        for _ in 0..4 {
            breaker.failed(start, "test");
            assert!(breaker.lets_through(start));
        }
        breaker.failed(start, "test");
        assert!(!breaker.lets_through(start));
        let later = start + OPEN_FOR;
        assert!(breaker.lets_through(later), "one probe");
        assert!(!breaker.lets_through(later), "and no second");
        breaker.failed(later, "test");
        assert!(!breaker.lets_through(later + OPEN_FOR / 2));
        assert!(breaker.lets_through(later + OPEN_FOR));
        breaker.succeeded();
        assert!(breaker.lets_through(later + OPEN_FOR) && breaker.lets_through(later + OPEN_FOR));
    }

    #[test]
    fn a_probe_that_never_ends_is_followed_by_another() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        for _ in 0..FAILURES_TO_OPEN {
            breaker.failed(start, "test");
        }
        for probe in 1..5 {
            assert!(breaker.lets_through(start + OPEN_FOR * probe));
            assert!(!breaker.lets_through(start + OPEN_FOR * probe + OPEN_FOR / 2));
        }
    }

    #[test]
    fn slow_drips_of_failures_do_not_open() {
        let (breaker, mut now) = (Breaker::default(), Instant::now());
        for _ in 0..20 {
            breaker.failed(now, "test");
            now += FAILURE_WINDOW / 3;
            assert!(breaker.lets_through(now));
        }
    }

    #[test]
    fn a_success_in_between_starts_the_count_again() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..3 {
            for _ in 0..FAILURES_TO_OPEN - 1 {
                breaker.failed(now, "test");
            }
            breaker.succeeded();
        }
        assert!(breaker.lets_through(now));
    }
}
