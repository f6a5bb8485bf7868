//! What segments say, read from the first record to the last whole one.

use std::collections::BTreeMap;
use std::sync::Arc;

use tollgate_domain::{EventId, HoldId, UnixMillis, UsageEvent};

use super::Recovered;
use super::frame::Frames;
use super::record::{Record, id_of};
use super::segment::SegmentText;
use crate::holds::SuspectHold;

/// A whole record that this release cannot read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

#[derive(Default)]
struct State {
    holds: BTreeMap<HoldId, SuspectHold>,
    events: BTreeMap<EventId, Vec<u8>>,
}

/// What is open after all that the segments tell, in their order.
pub(crate) fn replay(segments: &[SegmentText]) -> Result<Recovered, Unreadable> {
    let mut state = State::default();
    let written_at_ms = segments.iter().map(|segment| segment.written_at_ms).max().unwrap_or(0);
    for segment in segments {
        let frames = Frames::of_segment(segment.number);
        let mut rest = segment.frames.as_deref().unwrap_or_default();
        while let Some((payload, following)) = frames.first(rest) {
            state.apply(Record::read(payload).ok_or(Unreadable)?, written_at_ms);
            rest = following;
        }
    }
    let events = state.events.values().map(|bytes| UsageEvent::from_bytes(bytes).map(Arc::new));
    let events = events.collect::<Result<_, _>>().map_err(|_| Unreadable)?;
    Ok(Recovered { events, holds: state.holds.into_values().collect() })
}

impl State {
    fn apply(&mut self, record: Record<'_>, written_at_ms: i64) {
        match record {
            Record::Hold(hold) => {
                let suspect = SuspectHold {
                    tenant: hold.tenant,
                    hold: hold.hold,
                    key: hold.key,
                    node: hold.node,
                    amount: hold.amount,
                    admitted_at: hold.admitted_at,
                    lease_until: UnixMillis(written_at_ms.max(hold.admitted_at.0)),
                    progress: hold.progress,
                    memo: hold.memo.to_vec(),
                };
                self.holds.insert(hold.hold, suspect);
            }
            Record::Settled { hold, event, bytes } => {
                self.holds.remove(&hold);
                self.events.insert(event, bytes.to_vec());
            }
            Record::Ended(hold) => drop(self.holds.remove(&hold)),
            Record::Journaled(events) => {
                events.iter().for_each(|event| drop(self.events.remove(&id_of(*event))));
            }
        }
    }
}
