//! The sheets of one model over time.

use tollgate_domain::UnixMillis;

use super::{MarginTimeline, PriceSheet};
use crate::PriceRow;

/// The sheets of one model over time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PriceTimeline {
    /// Sorted by start; each sheet holds from its start on.
    sheets: Vec<(UnixMillis, PriceSheet)>,
}

impl PriceTimeline {
    /// The timeline of all rows of one model, whatever their start.
    #[must_use]
    pub fn from_rows(rows: &[&PriceRow]) -> Self {
        let mut starts: Vec<UnixMillis> = rows.iter().map(|row| row.effective_from).collect();
        starts.sort_unstable();
        starts.dedup();
        let sheet_at = |start: UnixMillis| {
            PriceSheet::from_rows(rows.iter().copied().filter(|row| row.effective_from <= start))
        };
        Self { sheets: starts.into_iter().map(|start| (start, sheet_at(start))).collect() }
    }

    /// What customers pay: a tenant's `own` rows, whatever their start, over the `provider`'s prices with a
    /// margin on them.
    #[must_use]
    pub fn for_customer(provider: Option<&Self>, own: &[&PriceRow], margins: &MarginTimeline) -> Self {
        let of_provider = provider.into_iter().flat_map(|timeline| &timeline.sheets);
        let mut starts: Vec<UnixMillis> = of_provider.map(|(start, _)| *start).collect();
        starts.extend(own.iter().map(|row| row.effective_from));
        starts.extend(margins.starts());
        starts.sort_unstable();
        starts.dedup();
        let sheet_at = |start: UnixMillis| {
            let base = provider.and_then(|timeline| timeline.at(start));
            let mut in_force = own.iter().copied().filter(|row| row.effective_from <= start).peekable();
            match (base, in_force.peek().is_some()) {
                (base, true) => Some(PriceSheet::for_tenant(base, in_force, margins.at(start))),
                (Some(base), false) => Some(base.with_margin(margins.at(start))),
                (None, false) => None,
            }
        };
        Self { sheets: starts.into_iter().filter_map(|start| Some((start, sheet_at(start)?))).collect() }
    }

    /// The sheet in force at `now`, or `None` before the first.
    #[must_use]
    pub fn at(&self, now: UnixMillis) -> Option<&PriceSheet> {
        self.sheets.iter().rev().find(|(start, _)| *start <= now).map(|(_, sheet)| sheet)
    }
}
