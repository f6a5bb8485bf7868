//! Which holds were settled lately, so that a repeated admission is not taken for a new one.

use foldhash::HashSet;
use tollgate_domain::HoldId;

/// How long an id is remembered at least, unless too many follow: as long as the backend remembers.
const KEPT_MS: i64 = 600_000;
/// Ids per generation; there are two per lock.
const MAX_PER_GENERATION: usize = 20_000;

/// The ids of settled holds in two generations: the elder is dropped when the younger is full or old.
#[derive(Default)]
pub(super) struct Recent {
    younger: HashSet<HoldId>,
    elder: HashSet<HoldId>,
    since_ms: i64,
}

impl Recent {
    pub(super) fn contains(&self, hold: HoldId) -> bool {
        self.younger.contains(&hold) || self.elder.contains(&hold)
    }

    pub(super) fn insert(&mut self, hold: HoldId, now_ms: i64) {
        if self.younger.len() >= MAX_PER_GENERATION || now_ms - self.since_ms >= KEPT_MS {
            self.elder = std::mem::take(&mut self.younger);
            self.since_ms = now_ms;
        }
        self.younger.insert(hold);
    }
}
