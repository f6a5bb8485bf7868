//! A ledger whose process is killed: what the next one finds in its log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tollgate_domain::Clock;
use tollgate_ledger::Ledger;

use crate::machine::Machine;
use crate::model::{Model, Seen};
use crate::request::{memo, nanos};

impl Machine {
    /// Everything in memory is gone. Every hold that was open is found as it was, and whatever was settled is found
    /// as an event or, where that was not written yet, as a hold whose end is not known. The next process journals
    /// both and begins with an empty ledger.
    pub(crate) fn kill(&mut self) -> Seen {
        let Some(log) = &self.log else { return Seen::Nothing };
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let (ledger, recovered) = Ledger::memory_with_log(clock, log.path()).unwrap();
        self.ledger = ledger;
        let holds: BTreeMap<u8, _> =
            recovered.holds.iter().map(|hold| (self.names.hold_index(hold.hold), hold)).collect();
        let events: BTreeSet<u8> =
            recovered.events.iter().map(|event| self.names.hold_index(event.hold)).collect();
        for (id, expected) in &self.model.holds {
            let Some(hold) = holds.get(id) else { return Seen::Lost(*id) };
            let seen = (hold.tenant, hold.amount, hold.progress, &hold.memo);
            let expected =
                (self.names.tenant(), nanos(expected.amount), nanos(expected.progress), &memo(*id));
            if seen != expected {
                return Seen::Differs(format!("hold {id}: expected {expected:?}, got {seen:?}"));
            }
        }
        for id in &self.model.events {
            if !events.contains(id) && !holds.contains_key(id) {
                return Seen::Lost(*id);
            }
        }
        for id in holds.keys().filter(|id| !self.model.holds.contains_key(id)) {
            if !self.model.tombstones.contains_key(id) {
                return Seen::Differs(format!("hold {id} was never admitted"));
            }
        }
        if let Some(id) = events.iter().find(|id| !self.model.events.contains(id)) {
            return Seen::Differs(format!("hold {id} has an event that nobody settled"));
        }
        self.ledger.forget_recovered(true).unwrap();
        self.model = Model { now: self.model.now, ..Model::default() };
        Seen::Nothing
    }
}
