//! Ending a stream in the middle as if its cap had been reached.

use tollgate_domain::{RequestOutcome, SettlementBasis};
use tollgate_wire::openai::stream::CutNotice;

use super::RelayBody;
use crate::provider::with_request;
use crate::usage_check::{Shown, so_far};

impl RelayBody {
    /// Ends the client's stream with `length` and settles what was relayed: bytes of text and events with text. The
    /// provider is cancelled by dropping its body.
    pub(super) fn end_with_length(
        &mut self,
        relayed: (u64, u64),
        notice: Option<&CutNotice<'_>>,
        outcome: RequestOutcome,
    ) {
        if self.upstream.take().is_none() || self.is_settled {
            return;
        }
        self.events.clear();
        let (text_bytes, n_text_events) = relayed;
        let shown = Shown { text_bytes, n_text_events, has_text_since: true };
        let usage = so_far(&self.reservation, self.relay.usage().as_ref(), &shown);
        let cost = self.reservation.price(&with_request(usage)).cost;
        match self.relay.cut(&self.reservation, &self.head, (&usage, cost), notice) {
            Some(bytes) => self.ready.push_back(bytes),
            None => self.was_cut = true,
        }
        self.settle_at(usage, SettlementBasis::Counted, outcome, 200);
    }
}
