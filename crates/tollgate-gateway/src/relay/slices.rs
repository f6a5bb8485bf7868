//! A stream whose answer is held for in slices: what has come goes on when it is held for, more is asked for in
//! time, and where nobody pays for more the provider is cancelled and the stream ends with `length`.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Body;
use tollgate_catalog::Tokenizer;
use tollgate_domain::{ErrorKind, MAX_LIMIT, NanoUsd, RequestOutcome};
use tollgate_ledger::MoneyDenied;
use tollgate_wire::openai::stream::{CutNotice, RelayEvent, StreamEnd};
use tollgate_wire::tokens::{Encoding, TokenCounter};

use super::RelayBody;
use super::cap::CapWatch;
use super::dialect::AnyRelay;
use super::growth::{Growing, Growth, grow};
use crate::error::Refusal;
use crate::plan::{PricedCandidate, PricedPlanShape};
use crate::provider::with_request;
use crate::reserve;
use crate::settle::Reservation;
use crate::slice_plan::{SlicePlan, Verdict};

/// Tokens of an answer that no text shows, at most: the marks around it and around its tool calls.
const UNSEEN_TOKENS_PER_ANSWER: u64 = 16;
/// The smallest piece of what has come that is read at a time when little is held for: about one event.
const MIN_PIECE_BYTES: u64 = 256;
/// So much text is counted at once at least: its bytes stand for it until then.
const MIN_COUNTED_BYTES: u64 = 256;
/// Added for each counted text: it was cut out of the answer, where its ends may have been other tokens.
const TOKENS_PER_COUNT: u64 = 2;

/// What is held for the answer of one stream.
pub(super) struct SliceHold {
    plan: SlicePlan,
    meter: SliceMeter,
    shape: PricedPlanShape,
    growing: Option<Growing>,
    /// What is asked for beyond the slices, because the provider claims it in the end.
    claim: Claim,
    /// Why the last question was refused.
    denied: Option<MoneyDenied>,
    /// Runs while what has come waits for an answer.
    patience: Option<Pin<Box<tokio::time::Sleep>>>,
    /// What has come and was not read yet.
    backlog: Bytes,
    /// Set where the provider's body has ended.
    end: Option<StreamEnd>,
    /// Bytes of text and events with text that went on to the client.
    relayed: (u64, u64),
}

/// The last question of a stream, for what its provider claims above what is held.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Claim {
    None,
    Asked,
    /// Not all of it is there: what is left is asked for.
    Rest,
    /// Nobody pays for it: the charge is what is held.
    Refused,
}

/// Tokens of the answer so far, never too few: text that was counted, and the bytes of the rest.
#[derive(Default)]
struct SliceMeter {
    encoding: Option<Encoding>,
    counted_tokens: u64,
    counted_bytes: u64,
    text: String,
}

/// What to do next.
enum Next {
    Read,
    Again,
    Wait,
}

impl SliceHold {
    /// `None` where the whole answer is held for.
    pub(super) fn of(reservation: &Reservation) -> Option<Box<Self>> {
        let request = &reservation.priced;
        let priced = reservation.current()?;
        let slice = priced.slice_tokens.filter(|_| request.plan.is_paid)?;
        let shape = request.plan.shape();
        let cap = priced.output_cap.saturating_mul(shape.n_choices);
        let held = held_in_all(priced, &shape, reservation.granted_for_answer());
        let encoding = priced.candidate.tokenizer.map(|tokenizer| match tokenizer {
            Tokenizer::Cl100k => Encoding::Cl100k,
            Tokenizer::O200k => Encoding::O200k,
        });
        Some(Box::new(Self {
            plan: SlicePlan::new(slice, cap, held),
            meter: SliceMeter { encoding, ..SliceMeter::default() },
            shape,
            growing: None,
            claim: Claim::None,
            denied: None,
            patience: None,
            backlog: Bytes::new(),
            end: None,
            relayed: (0, 0),
        }))
    }

    /// Tokens that have come, at most.
    fn used(&self, text_bytes: u64) -> u64 {
        let unseen = UNSEEN_TOKENS_PER_ANSWER.saturating_mul(self.shape.n_choices);
        self.meter.tokens(text_bytes).saturating_add(unseen)
    }

    /// The same, counted where the bytes would ask for more, or end the stream.
    fn used_at_most(&mut self, text_bytes: u64) -> u64 {
        let used = self.used(text_bytes);
        if !self.plan.is_due(used) && self.plan.verdict(used) != Verdict::End {
            return used;
        }
        self.meter.count(text_bytes);
        self.used(text_bytes)
    }
}

impl SliceMeter {
    /// No text has more tokens than bytes.
    fn tokens(&self, text_bytes: u64) -> u64 {
        self.counted_tokens.saturating_add(text_bytes.saturating_sub(self.counted_bytes))
    }

    fn note(&mut self, relay: &mut AnyRelay, events: &[RelayEvent], cap: Option<&mut CapWatch>) {
        if self.encoding.is_none() {
            cap.into_iter().for_each(|cap| cap.note(relay, events));
            return;
        }
        let before = self.text.len();
        relay.take_text(events, &mut self.text);
        cap.into_iter().for_each(|cap| cap.note_text(&self.text[before..]));
    }

    /// Counts the text since the last time, where its tokenizer is public and there is enough of it.
    fn count(&mut self, text_bytes: u64) {
        let Some(encoding) = self.encoding else { return };
        let n_new = text_bytes.saturating_sub(self.counted_bytes);
        let n_text = self.text.len() as u64;
        if n_text < MIN_COUNTED_BYTES {
            return;
        }
        // what is no text here keeps its bytes
        let n_tokens = encoding.count(&self.text).saturating_add(TOKENS_PER_COUNT);
        let n_other = n_new.saturating_sub(n_text);
        self.counted_tokens = self.counted_tokens.saturating_add(n_tokens.saturating_add(n_other).min(n_new));
        self.counted_bytes = text_bytes;
        self.text.clear();
    }
}

impl RelayBody {
    /// The first events have come; nothing of them has gone on.
    pub(super) fn begin_in_slices(&mut self, end: Option<StreamEnd>) {
        let Some(slices) = &mut self.slices else { return };
        slices.end = end;
        slices.meter.note(&mut self.relay, &self.events, self.cap.as_mut());
    }

    pub(super) fn poll_in_slices(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            self.poll_growth(context);
            if let Some(bytes) = self.ready.pop_front() {
                return Poll::Ready(Some(bytes));
            }
            if self.upstream.is_none() {
                return Poll::Ready(None);
            }
            match self.advance() {
                Next::Again => {}
                Next::Wait => {
                    if !self.is_interrupted(context) && !self.is_out_of_patience(context) {
                        return Poll::Pending;
                    }
                }
                Next::Read => {
                    let Some(upstream) = &mut self.upstream else { continue };
                    match Pin::new(upstream).poll_frame(context) {
                        Poll::Ready(Some(Ok(frame))) => self.take_backlog(frame.into_data()),
                        Poll::Ready(Some(Err(error))) => self.break_off(&error),
                        Poll::Ready(None) => self.body_ended(),
                        Poll::Pending => {
                            if !self.is_interrupted(context) {
                                return Poll::Pending;
                            }
                        }
                    }
                }
            }
        }
    }

    fn take_backlog<Other>(&mut self, data: Result<Bytes, Other>) {
        if let (Some(slices), Ok(data)) = (&mut self.slices, data) {
            slices.backlog = data;
        }
    }

    fn body_ended(&mut self) {
        let end = self.relay.finish(true, &mut self.events);
        let Some(slices) = &mut self.slices else { return };
        slices.meter.note(&mut self.relay, &self.events, self.cap.as_mut());
        slices.end = Some(end);
    }

    /// One step: what has come is read, asked for, and goes on or ends the stream.
    fn advance(&mut self) -> Next {
        let text_bytes = self.relay.text_bytes();
        let Some(slices) = &mut self.slices else { return Next::Read };
        if !self.is_settled {
            let used = slices.used_at_most(text_bytes);
            if let Some(tokens) = slices.plan.ask(used) {
                self.ask_for(tokens);
                return Next::Again;
            }
            if !self.events.is_empty() {
                return self.judge(used);
            }
        }
        let Some(slices) = &mut self.slices else { return Next::Read };
        if !self.events.is_empty() {
            self.release();
        } else if !slices.backlog.is_empty() {
            self.read_piece();
        } else if let Some(end) = slices.end.take() {
            self.finish(end);
        } else {
            return Next::Read;
        }
        Next::Again
    }

    /// What becomes of events that have come.
    fn judge(&mut self, used: u64) -> Next {
        let Some(slices) = &self.slices else { return Next::Read };
        match slices.plan.verdict(used) {
            Verdict::Wait => return Next::Wait,
            Verdict::End => {
                let refusal = self.why_denied();
                self.cut(&refusal);
            }
            Verdict::Relay => {
                if self.claims_more() {
                    return if self.growth_of_claim() { Next::Again } else { Next::Wait };
                }
                self.release();
            }
        }
        Next::Again
    }

    /// Reads of what has come as much as is surely held for, and a little where that is nothing.
    fn read_piece(&mut self) {
        let text_bytes = self.relay.text_bytes();
        let Some(slices) = &mut self.slices else { return };
        let room = slices.plan.room(slices.used(text_bytes)).max(MIN_PIECE_BYTES);
        let n = usize::try_from(room).unwrap_or(usize::MAX).min(slices.backlog.len());
        let piece = slices.backlog.split_to(n);
        if let Err(error) = self.relay.push(piece, &mut self.events) {
            tracing::warn!(%error, "a provider's stream cannot be read");
            self.take_events();
            self.fail(&Refusal::new(ErrorKind::UpstreamError, "the provider's stream cannot be read"));
            return;
        }
        slices.meter.note(&mut self.relay, &self.events, self.cap.as_mut());
    }

    /// Events that are held for go on.
    fn release(&mut self) {
        let relayed = (self.relay.text_bytes(), self.relay.n_text_events());
        if let Some(slices) = &mut self.slices {
            slices.relayed = relayed;
            slices.patience = None;
        }
        self.take_events();
        if let Some(running) = &self.running {
            running.progressed(relayed.0, relayed.1, self.relay.usage());
        }
        self.settle_if_done();
    }

    // === asking ===

    fn ask_for(&mut self, tokens: u64) {
        let total = self.slices.as_ref().zip(self.reservation.current());
        let total =
            total.map(|(slices, priced): (_, &PricedCandidate)| priced.bound_in_all(tokens, &slices.shape));
        let Some(total) = total else { return };
        let total = total.saturating_add(self.reservation.lost_cost());
        let growing = grow(&self.reservation, total.min(MAX_LIMIT));
        if let Some(slices) = &mut self.slices {
            slices.growing = Some(growing);
        }
    }

    fn poll_growth(&mut self, context: &mut Context<'_>) {
        while !self.is_settled {
            let Some(growing) = self.slices.as_mut().and_then(|slices| slices.growing.as_mut()) else {
                return;
            };
            let Poll::Ready(growth) = growing.as_mut().poll(context) else { return };
            self.answered(growth);
        }
    }

    fn answered(&mut self, growth: Growth) {
        let text_bytes = self.relay.text_bytes();
        let granted = match growth {
            Growth::Grown(granted) => granted.max(self.reservation.grant.granted),
            Growth::Denied(_) => self.reservation.grant.granted,
        };
        self.reservation.grown(granted);
        if let Some(running) = &self.running {
            running.grown(granted);
        }
        let (Some(slices), Some(priced)) = (&mut self.slices, self.reservation.current()) else { return };
        slices.growing = None;
        let (shape, used) = (slices.shape, slices.used(text_bytes));
        let lost = self.reservation.lost_cost();
        let within = |money: NanoUsd| held_in_all(priced, &shape, money.saturating_sub(lost));
        match growth {
            Growth::Grown(_) if slices.claim == Claim::Asked || slices.claim == Claim::Rest => {
                slices.claim = if slices.claim == Claim::Rest { Claim::Refused } else { Claim::None };
                slices.plan.grown(within(granted));
            }
            Growth::Grown(_) if within(granted) > slices.plan.held() => slices.plan.grown(within(granted)),
            // no hold can be larger
            Growth::Grown(_) => {
                slices.plan.refused(used, 0);
            }
            Growth::Denied(denied) if slices.claim == Claim::Asked => {
                slices.claim = Claim::Rest;
                let rest = granted.saturating_add(available(&denied)).min(MAX_LIMIT);
                slices.growing = Some(grow(&self.reservation, rest));
            }
            Growth::Denied(_) if slices.claim == Claim::Rest => slices.claim = Claim::Refused,
            Growth::Denied(denied) => {
                slices.denied = Some(denied);
                let affordable = within(granted.saturating_add(available(&denied)));
                if let Some(rest) = slices.plan.refused(used, affordable) {
                    self.ask_for(rest);
                }
            }
        }
    }

    /// Whether what has come holds a usage that costs more than is held, and somebody may still pay for it.
    fn claims_more(&mut self) -> bool {
        if self.slices.as_ref().is_none_or(|slices| slices.claim == Claim::Refused) {
            return false;
        }
        self.claimed() > self.reservation.grant.granted
    }

    fn claimed(&mut self) -> NanoUsd {
        let Some(usage) = self.relay.usage() else { return NanoUsd::ZERO };
        let (usage, _) = self.judged(&usage);
        self.reservation.note_served_tier(self.relay.service_tier());
        self.reservation.price(&with_request(usage)).claimed
    }

    /// Asks for what is claimed, once nothing else is asked; answers whether it does so now.
    fn growth_of_claim(&mut self) -> bool {
        let claimed = self.claimed().min(MAX_LIMIT);
        let Some(slices) = &mut self.slices else { return false };
        if slices.growing.is_some() {
            return false;
        }
        slices.claim = Claim::Asked;
        slices.growing = Some(grow(&self.reservation, claimed));
        true
    }

    /// Whether what has come has waited too long for an answer, and was done with.
    fn is_out_of_patience(&mut self, context: &mut Context<'_>) -> bool {
        let timeout = self.reservation.gateway().config.seed_timeout;
        let Some(slices) = &mut self.slices else { return false };
        let patience = slices.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        if patience.as_mut().poll(context).is_pending() {
            return false;
        }
        slices.growing = None;
        slices.patience = None;
        slices.plan.given_up();
        if slices.plan.verdict(slices.used(self.relay.text_bytes())) == Verdict::Relay {
            // only the provider's claim waits
            slices.claim = Claim::Refused;
            return true;
        }
        let message =
            "the ledger did not say in time whether there is money for more of this answer: it ends here";
        self.cut(&Refusal::new(ErrorKind::LedgerUnavailable, message));
        true
    }

    // === the end that nobody pays beyond ===

    fn why_denied(&self) -> Refusal {
        let denied = self.slices.as_ref().and_then(|slices| slices.denied);
        let (refusal, held_only) = match denied {
            Some(MoneyDenied::Spent(refusal)) => (refusal, false),
            Some(MoneyDenied::Held(refusal)) => (refusal, true),
            None => {
                return Refusal::new(ErrorKind::BudgetExceeded, "there is no money for more of this answer");
            }
        };
        let levels = reserve::levels(&self.reservation.priced);
        let required = self.reservation.grant.granted;
        let mut why = reserve::money(&levels, &refusal, required, held_only);
        let what = if why.kind == ErrorKind::InsufficientCredit { "the prepaid credit" } else { "a budget" };
        why.message = if held_only {
            format!("what is left of {what} is reserved by other requests in flight: the answer ends here")
        } else {
            format!("{what} is used up: the answer ends here")
        };
        why
    }

    /// Ends the stream as if its cap had been reached, and says why. The provider is cancelled by dropping its
    /// body; what it has not been able to show is not charged.
    fn cut(&mut self, why: &Refusal) {
        let Some(slices) = &mut self.slices else { return };
        slices.growing = None;
        slices.backlog = Bytes::new();
        let relayed = slices.relayed;
        let notice =
            CutNotice { code: why.kind.code(), message: &why.message, metadata: why.metadata.as_ref() };
        self.end_with_length(relayed, Some(&notice), RequestOutcome::Error(why.kind));
    }
}

/// Answer tokens, over all answers, that `money` holds for: all there can be where it is as much as they cost.
fn held_in_all(priced: &PricedCandidate, shape: &PricedPlanShape, money: NanoUsd) -> u64 {
    let cap = priced.output_cap.saturating_mul(shape.n_choices);
    if money >= priced.bound_in_all(cap, shape).min(MAX_LIMIT) {
        return cap;
    }
    priced.affordable_in_all(money, shape)
}

/// What the level that refused has left.
fn available(denied: &MoneyDenied) -> NanoUsd {
    let (MoneyDenied::Spent(refusal) | MoneyDenied::Held(refusal)) = denied;
    refusal.limit.saturating_sub(refusal.settled).saturating_sub(refusal.held).max(NanoUsd::ZERO)
}

#[cfg(test)]
mod tests;
