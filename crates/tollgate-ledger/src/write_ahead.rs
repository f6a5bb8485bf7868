//! The write-ahead log of the ledger in process: what is held and what was settled stands in a file before anything
//! is sent, so that whoever starts after a SIGKILL knows it.
//!
//! A directory of segments, one of which is written to. A record is appended under the lock under which the state
//! changes, so that the log has the order of the changes; [`log::WriteAheadLog::write_through`] hands it to the
//! system with one `write` for whatever has gathered. There is no `fsync`: what the system has survives the process,
//! not a loss of power.
//!
//! A checkpoint begins a new segment, copies into it what is still open, and frees the segments before it. So the
//! log is never much larger than what is open, or than [`log::CHECKPOINT_BYTES`].

pub(crate) mod frame;
pub(crate) mod log;
pub(crate) mod record;
pub(crate) mod replay;
pub(crate) mod segment;

use std::sync::Arc;

use tollgate_domain::UsageEvent;

use crate::holds::SuspectHold;

/// What a process left behind that ended without a goodbye.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Settled events that are not known to be journaled. Some may be.
    pub events: Vec<Arc<UsageEvent>>,
    /// Holds that are not known to be settled: their requests may have been sent. Their leases ended when the
    /// log was last written to.
    pub holds: Vec<SuspectHold>,
}

impl Recovered {
    /// Whether nothing was left behind.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.holds.is_empty()
    }
}
