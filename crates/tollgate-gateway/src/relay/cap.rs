//! A provider that goes on beyond the cap it was sent: nobody holds money for that, so it is stopped.
//!
//! What it tells is believed at once. Text is looked at by its bytes first, which cost nothing; where these are more than
//! any usual text's, what comes from then on is counted by a tokenizer: long runs of one sign, or words that a vocabulary
//! knows whole, are many bytes and few tokens, and no reason to cut an answer.

use tollgate_catalog::Tokenizer;
use tollgate_domain::RequestOutcome;
use tollgate_wire::openai::stream::RelayEvent;
use tollgate_wire::tokens::{Encoding, TokenCounter};

use super::RelayBody;
use super::dialect::AnyRelay;
use crate::provider::output_cap;
use crate::settle::Reservation;
use crate::usage_check::MOST_BYTES_PER_TOKEN;

/// More bytes per token of the cap than the usual text of any language has: from there on text is counted.
const USUAL_BYTES_PER_TOKEN: u64 = 12;
/// Bytes beyond that: short answers may be far from the average.
const CAP_TOLERANCE_BYTES: u64 = 1_024;
/// Tokens may be beyond the cap by this share of it, and by these few: some providers count the marks around an answer,
/// and a count of pieces is a little more than that of the whole.
const CAP_TOLERANCE_SHARE: u64 = 4;
const CAP_TOLERANCE_TOKENS: u64 = 64;
/// So much text is counted at once.
const COUNTED_BYTES: usize = 512;
/// Vocabularies that are not public may have longer tokens than the public one: half its count is no more than theirs.
const SHARE_OF_UNKNOWN_TOKENIZER: u64 = 2;

/// What an answer has at most where its provider obeys the cap.
#[derive(Debug)]
pub(super) struct CapWatch {
    tokens: u64,
    tokenizer: Option<Tokenizer>,
    counted: Option<Box<Counted>>,
}

/// Tokens that have surely come.
#[derive(Debug)]
struct Counted {
    tokens: u64,
    text: String,
}

impl CapWatch {
    /// `None` where no cap was written, and where not all that is billed is told apart.
    pub(super) fn of(reservation: &Reservation) -> Option<Self> {
        let plan = &reservation.priced.plan;
        let cap = output_cap(reservation, reservation.candidate_index()?)?;
        let all = cap.saturating_mul(plan.n_choices).saturating_add(plan.prediction_tokens);
        let tokenizer = reservation.current().and_then(|priced| priced.candidate.tokenizer);
        Some(Self::new(all, tokenizer))
    }

    const fn new(tokens: u64, tokenizer: Option<Tokenizer>) -> Self {
        Self { tokens, tokenizer, counted: None }
    }

    /// Keeps the text of `events`, which have just come, where it is counted.
    pub(super) fn note(&mut self, relay: &mut AnyRelay, events: &[RelayEvent]) {
        if let Some(counted) = &mut self.counted {
            relay.take_text(events, &mut counted.text);
        }
    }

    /// The same for text that somebody else has taken.
    pub(super) fn note_text(&mut self, text: &str) {
        if let Some(counted) = &mut self.counted {
            counted.text.push_str(text);
        }
    }

    fn is_passed(&mut self, relay: &mut AnyRelay) -> bool {
        let most = self
            .tokens
            .saturating_add(self.tokens / CAP_TOLERANCE_SHARE)
            .saturating_add(CAP_TOLERANCE_TOKENS);
        let (text_bytes, told) = (relay.text_bytes(), relay.usage().map_or(0, |usage| usage.output_tokens()));
        if text_bytes > 0 && told > most {
            return true;
        }
        let usual_bytes =
            self.tokens.saturating_mul(USUAL_BYTES_PER_TOKEN).saturating_add(CAP_TOLERANCE_BYTES);
        if text_bytes <= usual_bytes {
            return false;
        }
        let Some(counted) = &mut self.counted else {
            relay.collect_text();
            let tokens = text_bytes / MOST_BYTES_PER_TOKEN;
            self.counted = Some(Box::new(Counted { tokens, text: String::new() }));
            return false;
        };
        counted.count(self.tokenizer);
        counted.tokens > most
    }
}

impl Counted {
    /// Counts the text that has gathered, where it is enough to be worth it.
    fn count(&mut self, tokenizer: Option<Tokenizer>) {
        if self.text.len() < COUNTED_BYTES {
            return;
        }
        let n = match tokenizer {
            Some(Tokenizer::Cl100k) => Encoding::Cl100k.count(&self.text),
            Some(Tokenizer::O200k) => Encoding::O200k.count(&self.text),
            None => Encoding::O200k.count(&self.text) / SHARE_OF_UNKNOWN_TOKENIZER,
        };
        self.tokens = self.tokens.saturating_add(n);
        self.text.clear();
    }
}

impl RelayBody {
    /// Ends the answer where its provider ignores the cap: with `length`, as the provider would have had to.
    pub(super) fn stop_beyond_cap(&mut self) {
        if self.is_settled || self.relay.finish_seen() {
            return;
        }
        let is_passed = self.cap.as_mut().is_some_and(|cap| cap.is_passed(&mut self.relay));
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tollgate_wire::openai::stream::{StreamOptions, StreamRelay};

    use super::*;

    /// Bytes of text until an answer of such pieces is ended, of 400 pieces at most.
    fn ended_after(cap: u64, tokenizer: Option<Tokenizer>, piece: &str) -> Option<u64> {
        let options = StreamOptions { client_wants_usage: false, n_choices: 1 };
        let mut relay = AnyRelay::OpenAi(StreamRelay::new(tollgate_domain::Surface::Chat, options));
        let mut watch = CapWatch::new(cap, tokenizer);
        let frame =
            format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{piece}\"}}}}]}}\n\n");
        for _ in 0..400 {
            let mut events = Vec::new();
            relay.push(Bytes::from(frame.clone()), &mut events).unwrap();
            watch.note(&mut relay, &events);
            if watch.is_passed(&mut relay) {
                return Some(relay.text_bytes());
            }
        }
        None
    }

    #[test]
    fn long_runs_of_one_sign_are_few_tokens() {
        for tokenizer in [None, Some(Tokenizer::Cl100k), Some(Tokenizer::O200k)] {
            for sign in ["-", "=", " ", "*", "#"] {
                // one token each, in the public vocabularies
                let run = sign.repeat(64);
                assert_eq!(ended_after(400, tokenizer, &run), None, "{tokenizer:?} {sign}");
            }
            let words = ended_after(400, tokenizer, "The quick brown fox jumps over the lazy dog, and on. ");
            assert!(words.is_some_and(|n_bytes| n_bytes < 400 * 28), "{tokenizer:?}: {words:?}");
        }
    }
}
