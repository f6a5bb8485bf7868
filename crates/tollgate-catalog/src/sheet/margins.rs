//! Which margin is on a provider's prices, over time.

use tollgate_domain::{AppliedMargin, UnixMillis};

/// The margins that follow one another, each from its start on; none before the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MarginTimeline {
    /// Sorted by start.
    steps: Vec<(UnixMillis, AppliedMargin)>,
}

impl MarginTimeline {
    /// The timeline of margins, each with its start; of several that begin together the last one holds.
    #[must_use]
    pub fn new(margins: impl IntoIterator<Item = (UnixMillis, AppliedMargin)>) -> Self {
        let mut steps: Vec<_> = margins.into_iter().collect();
        steps.sort_by_key(|(start, _)| *start);
        Self { steps }
    }

    /// The margin in force at `now`.
    #[must_use]
    pub fn at(&self, now: UnixMillis) -> Option<AppliedMargin> {
        self.steps.iter().rev().find(|(start, _)| *start <= now).map(|(_, margin)| *margin)
    }

    /// Whether there is none, now or to come.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// When each begins.
    pub(super) fn starts(&self) -> impl Iterator<Item = UnixMillis> {
        self.steps.iter().map(|(start, _)| *start)
    }
}
