//! A provider that goes on beyond the cap it was sent: nobody holds money for that, so it is stopped.

use tollgate_domain::RequestOutcome;

use super::RelayBody;
use super::dialect::AnyRelay;
use crate::provider::output_cap;
use crate::settle::Reservation;

/// Text of so many bytes is more than a token on the average of any language's long text: what has more of them than the
/// cap has tokens is beyond it.
const MOST_BYTES_PER_CAPPED_TOKEN: u64 = 12;
/// Bytes beyond that: short answers may be far from the average.
const CAP_TOLERANCE_BYTES: u64 = 1_024;
/// Tokens that a provider itself tells may be beyond the cap by this share of it, and by these few: some count the marks
/// around an answer.
const CAP_TOLERANCE_SHARE: u64 = 4;
const CAP_TOLERANCE_TOKENS: u64 = 64;

/// What an answer has at most where its provider obeys the cap.
#[derive(Clone, Copy, Debug)]
pub(super) struct CapWatch {
    tokens: u64,
}

impl CapWatch {
    /// `None` where no cap was written, and where not all that is billed is told apart.
    pub(super) fn of(reservation: &Reservation) -> Option<Self> {
        let plan = &reservation.priced.plan;
        let cap = output_cap(reservation, reservation.candidate_index()?)?;
        let all = cap.saturating_mul(plan.n_choices).saturating_add(plan.prediction_tokens);
        Some(Self { tokens: all })
    }

    fn is_passed(&self, relay: &AnyRelay) -> bool {
        let most_bytes =
            self.tokens.saturating_mul(MOST_BYTES_PER_CAPPED_TOKEN).saturating_add(CAP_TOLERANCE_BYTES);
        let most_told = self
            .tokens
            .saturating_add(self.tokens / CAP_TOLERANCE_SHARE)
            .saturating_add(CAP_TOLERANCE_TOKENS);
        let told = relay.usage().map_or(0, |usage| usage.output_tokens());
        relay.text_bytes() > most_bytes || (relay.text_bytes() > 0 && told > most_told)
    }
}

impl RelayBody {
    /// Ends the answer where its provider ignores the cap: with `length`, as the provider would have had to.
    pub(super) fn stop_beyond_cap(&mut self) {
        let is_passed = !self.is_settled
            && !self.relay.finish_seen()
            && self.cap.is_some_and(|cap| cap.is_passed(&self.relay));
        if !is_passed {
            return;
        }
        if let Some(priced) = self.reservation.current() {
            let provider = &priced.candidate.provider.name;
            let (request, model) = (self.reservation.priced.request, &priced.candidate.model);
            tracing::warn!(%request, %provider, %model, "a provider ignores the cap of an answer: it is ended");
            self.reservation.gateway().metrics.provider(provider).ignored_cap();
        }
        let relayed = (self.relay.text_bytes(), self.relay.n_text_events());
        self.end_with_length(relayed, None, RequestOutcome::Ok);
    }
}
