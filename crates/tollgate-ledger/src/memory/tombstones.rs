//! Which holds were settled lately, so that repeats are recognised.

use std::collections::VecDeque;

use foldhash::HashSet;
use tollgate_domain::{HoldId, UnixMillis};

/// How long a settled hold is remembered, so that repeats are recognised: far above any retry.
const TOMBSTONE_TTL_MS: i64 = 600_000;
/// The newest settled holds that are remembered per tenant: 10 minutes at 160 requests per second; beyond
/// that rate repeats are recognised for a shorter time.
const MAX_TOMBSTONES_PER_TENANT: usize = 100_000;
/// The ids of settled holds, for a while.
#[derive(Default)]
pub(super) struct Tombstones {
    settled: HashSet<HoldId>,
    by_age: VecDeque<(UnixMillis, HoldId)>,
}

impl Tombstones {
    pub(super) fn contains(&mut self, hold: HoldId, now: UnixMillis) -> bool {
        self.forget_old(now);
        self.settled.contains(&hold)
    }

    pub(super) fn insert(&mut self, hold: HoldId, now: UnixMillis) {
        self.forget_old(now);
        if self.by_age.len() >= MAX_TOMBSTONES_PER_TENANT {
            self.forget_oldest();
        }
        // One that is remembered already keeps its age: a second entry would outlive the first one's end.
        if self.settled.insert(hold) {
            self.by_age.push_back((now.plus_ms(TOMBSTONE_TTL_MS), hold));
        }
    }

    /// Forgets one that is open after all.
    pub(super) fn remove(&mut self, hold: HoldId) {
        self.settled.remove(&hold);
    }

    fn forget_old(&mut self, now: UnixMillis) {
        while self.by_age.front().is_some_and(|(expires_at, _)| *expires_at <= now) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, hold)) = self.by_age.pop_front() {
            self.settled.remove(&hold);
        }
    }
}
