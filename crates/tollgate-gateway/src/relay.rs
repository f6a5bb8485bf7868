//! Relaying a stream: back-pressure by being polled, settlement at its end, cancellation by being dropped.

mod cap;
mod cut;
mod dialect;
mod growth;
mod slices;

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tollgate_domain::{AttemptOutcome, ErrorKind, RequestOutcome, SettlementBasis, Usage};
use tollgate_upstream::{UpstreamBody, UpstreamError};
use tollgate_wire::openai::error::ProviderError;
use tollgate_wire::openai::stream::{DONE_EVENT, RelayEvent, StreamEnd, StreamHead};

use crate::attempt::Failed;
use crate::error::Refusal;
use crate::gates::ProviderPlace;
use crate::leases::RunningStream;
use crate::objects::watch_response;
use crate::provider::{LEFT, with_request};
use crate::responses;
use crate::settle::{Ending, Reservation};
use crate::usage_check::{self, Shown};

use self::cap::CapWatch;
use self::dialect::AnyRelay;
pub(crate) use self::dialect::{created, stand_in_id};
pub(crate) use self::growth::{Growth, grow};
use self::slices::SliceHold;

/// Bytes that may gather before the first content: beyond it the stream is relayed as it is.
const MAX_UNCOMMITTED_BYTES: usize = 256 << 10;

/// A stream whose content has begun (or which has ended well without any), with what came so far.
pub(crate) struct StreamStart {
    body: UpstreamBody,
    relay: AnyRelay,
    events: Vec<RelayEvent>,
    /// Set where the body has ended already.
    end: Option<StreamEnd>,
}

impl fmt::Debug for StreamStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamStart({} events)", self.events.len())
    }
}

/// Reads up to the first content event: until then another candidate can still take over.
pub(crate) async fn start_stream(
    reservation: &Reservation,
    mut body: UpstreamBody,
    has_events: bool,
    deadline: Instant,
) -> Result<StreamStart, Failed> {
    let mut relay = AnyRelay::of(reservation, has_events);
    let mut events = Vec::new();
    let mut n_bytes = 0;
    let commit_at = Instant::now() + reservation.gateway().config.show_beginning_after;
    loop {
        // where nothing has come there is nothing to show: a prompt may take longer than that to be read
        let until = if n_bytes > 0 { deadline.min(commit_at) } else { deadline };
        let frame = tokio::time::timeout_at(until.into(), body.frame()).await;
        let Ok(frame) = frame else {
            if Instant::now() < deadline {
                return Ok(StreamStart { body, relay, events, end: None });
            }
            return Err(Failed::timeout("the answer did not begin within its time limit"));
        };
        match frame {
            Some(Ok(frame)) => {
                let Ok(data) = frame.into_data() else { continue };
                n_bytes += data.len();
                relay.push(data, &mut events).map_err(|error| broken(&error.to_string()))?;
            }
            Some(Err(error)) => return Err(Failed::from_upstream(&error)),
            None => {
                let end = relay.finish(true, &mut events);
                if let Some(failed) = first_error(&events) {
                    return Err(failed.telling(relay.usage_of_failure()));
                }
                if end == StreamEnd::Broken && !relay.content_begun() {
                    return Err(broken("the provider's stream ended before it began"));
                }
                return Ok(StreamStart { body, relay, events, end: Some(end) });
            }
        }
        if !relay.content_begun() {
            if let Some(failed) = first_error(&events) {
                return Err(failed.telling(relay.usage_of_failure()));
            }
            if relay.has_unreadable() {
                return Err(broken("the provider's stream begins with what cannot be read"));
            }
        }
        if relay.content_begun() || relay.done_seen() || n_bytes > MAX_UNCOMMITTED_BYTES {
            return Ok(StreamStart { body, relay, events, end: None });
        }
    }
}

fn broken(message: &str) -> Failed {
    Failed::new(AttemptOutcome::BadAnswer, true, ErrorKind::UpstreamError, message)
}

fn first_error(events: &[RelayEvent]) -> Option<Failed> {
    let error = events.iter().find_map(|event| match event {
        RelayEvent::ProviderError(error) => Some(error),
        _ => None,
    })?;
    Some(Failed::before_content(error))
}

/// The body of a streamed answer.
pub(crate) struct RelayBody {
    reservation: Reservation,
    /// `None` once it has ended.
    upstream: Option<UpstreamBody>,
    relay: AnyRelay,
    events: Vec<RelayEvent>,
    ready: VecDeque<Bytes>,
    is_settled: bool,
    /// It broke where there is no event to tell it by.
    was_cut: bool,
    /// What was relayed last ends in the middle of an event.
    is_inside_event: bool,
    deadline: Pin<Box<tokio::time::Sleep>>,
    /// What the renewal of its lease knows of it; `None` where no candidate is left to price it.
    running: Option<Arc<RunningStream>>,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Where its answer is held for in slices.
    slices: Option<Box<SliceHold>>,
    /// Where the provider was told how long the answer may be.
    cap: Option<CapWatch>,
    /// What Chat Completions repeats in every chunk.
    head: StreamHead,
    _place: ProviderPlace,
}

impl fmt::Debug for RelayBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelayBody(request {})", self.reservation.priced.request)
    }
}

impl RelayBody {
    pub(crate) fn new(
        reservation: Reservation,
        start: StreamStart,
        place: ProviderPlace,
        deadline: Instant,
    ) -> Self {
        let running = reservation.streams();
        let stop = match &running {
            Some(running) => running.stop.clone(),
            None => reservation.gateway().out_of_grace.child_token(),
        };
        let stop = Box::pin(stop.cancelled_owned());
        let slices = SliceHold::of(&reservation);
        let cap = CapWatch::of(&reservation);
        let mut body = Self {
            reservation,
            upstream: Some(start.body),
            relay: start.relay,
            events: start.events,
            ready: VecDeque::new(),
            is_settled: false,
            was_cut: false,
            is_inside_event: false,
            deadline: Box::pin(tokio::time::sleep_until(deadline.into())),
            running,
            stop,
            slices,
            cap,
            head: StreamHead::default(),
            _place: place,
        };
        if body.slices.is_some() {
            body.begin_in_slices(start.end);
            return body;
        }
        body.take_events();
        match start.end {
            Some(end) => body.finish(end),
            None => body.settle_if_done(),
        }
        body
    }

    /// Whether it ended in the middle without a way to say so.
    pub(crate) const fn was_cut(&self) -> bool {
        self.was_cut
    }

    /// The next bytes for the client; `None` at the end. Never fails: what breaks is told as an error event.
    pub(crate) fn poll_bytes(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.slices.is_some() {
            return self.poll_in_slices(context);
        }
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Poll::Ready(Some(bytes));
            }
            let Some(upstream) = &mut self.upstream else { return Poll::Ready(None) };
            match Pin::new(upstream).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.take(data);
                    }
                }
                Poll::Ready(Some(Err(error))) => self.break_off(&error),
                Poll::Ready(None) => {
                    let end = self.relay.finish(true, &mut self.events);
                    self.take_events();
                    self.finish(end);
                }
                Poll::Pending => {
                    if !self.is_interrupted(context) {
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    fn take(&mut self, data: Bytes) {
        let pushed = self.relay.push(data, &mut self.events);
        if let Some(cap) = &mut self.cap {
            cap.note(&mut self.relay, &self.events);
        }
        if let Err(error) = pushed {
            tracing::warn!(%error, "a provider's stream cannot be read");
            self.take_events();
            self.fail(&Refusal::new(ErrorKind::UpstreamError, "the provider's stream cannot be read"));
            return;
        }
        self.take_events();
        if let Some(running) = &self.running {
            running.progressed(self.relay.text_bytes(), self.relay.n_text_events(), self.relay.usage());
        }
        self.settle_if_done();
    }

    fn take_events(&mut self) {
        for event in std::mem::take(&mut self.events) {
            if let AnyRelay::OpenAi(_) = self.relay {
                self.head.note(event.frames(), self.reservation.priced.skim.n_returned_choices());
            }
            match event {
                RelayEvent::Forward(bytes) => {
                    self.is_inside_event = !ends_event(&bytes);
                    self.ready.push_back(bytes);
                }
                RelayEvent::Usage { usage, frame } => {
                    self.reservation.note_served_tier(self.relay.service_tier());
                    let bytes = match usage {
                        Ok(usage) => {
                            let (usage, _) = self.judged(&usage);
                            frame.with_cost(self.reservation.price(&with_request(usage)).cost)
                        }
                        Err(error) => {
                            tracing::warn!(%error, "a provider's usage is unusable; counted instead");
                            frame.without_cost()
                        }
                    };
                    self.ready.extend(bytes);
                }
                RelayEvent::ProviderError(error) => self.provider_failed(&error),
            }
        }
    }

    fn provider_failed(&mut self, error: &ProviderError) {
        let message = format!("the provider failed in the middle of its answer: {}", error.message);
        self.fail(&Refusal::new(ErrorKind::UpstreamError, message));
    }

    /// The answer is whole once its terminator is there; whatever follows changes nothing.
    fn settle_if_done(&mut self) {
        if self.relay.done_seen() {
            self.settle(RequestOutcome::Ok, 200);
        } else {
            self.stop_beyond_cap();
        }
    }

    fn finish(&mut self, end: StreamEnd) {
        match end {
            StreamEnd::Complete => {}
            StreamEnd::MissingTerminator => self.ready.push_back(Bytes::from_static(DONE_EVENT)),
            StreamEnd::Broken if self.is_settled => {}
            StreamEnd::Broken => {
                return self.fail(&Refusal::new(ErrorKind::UpstreamError, "the provider's answer broke off"));
            }
        }
        self.upstream = None;
        self.settle(RequestOutcome::Ok, 200);
    }

    fn break_off(&mut self, error: &UpstreamError) {
        let end = self.relay.finish(false, &mut self.events);
        self.take_events();
        if self.upstream.is_none() {
            return;
        }
        if end == StreamEnd::Complete || self.is_settled {
            return self.finish(StreamEnd::Complete);
        }
        self.fail(&Failed::from_upstream(error).refusal);
    }

    /// The request's time is up, or the pod's grace period, or nobody holds money for it any more.
    fn is_interrupted(&mut self, context: &mut Context<'_>) -> bool {
        if self.deadline.as_mut().poll(context).is_ready() {
            let message = "the answer took longer than the request's time limit";
            self.fail(&Refusal::new(ErrorKind::UpstreamTimeout, message));
            return true;
        }
        if self.stop.as_mut().poll(context).is_ready() {
            let is_out_of_grace = self.reservation.gateway().out_of_grace.has_come();
            let refusal = if is_out_of_grace {
                Refusal::new(ErrorKind::Overloaded, "this gateway is shutting down: try again")
            } else {
                let message = "the ledger no longer holds the money for this answer: it ends here; try again";
                Refusal::new(ErrorKind::LedgerUnavailable, message)
            };
            self.fail(&refusal);
            return true;
        }
        false
    }

    /// Ends the stream with an error event; the provider is cancelled by dropping its body.
    fn fail(&mut self, refusal: &Refusal) {
        if self.upstream.take().is_none() {
            return;
        }
        if !self.is_settled {
            if self.relay.has_events() {
                if self.is_inside_event {
                    // the error is an event of its own, whatever became of the one before
                    self.ready.push_back(Bytes::from_static(b"\n\n"));
                }
                self.ready.push_back(refusal.event(self.reservation.priced.client.dialect));
            } else {
                self.was_cut = true;
            }
            self.settle(RequestOutcome::Error(refusal.kind), 200);
        }
    }

    fn settle(&mut self, outcome: RequestOutcome, status: u16) {
        if !self.is_settled {
            let (usage, basis) = self.usage();
            self.settle_at(usage, basis, outcome, status);
        }
    }

    fn settle_at(&mut self, usage: Usage, basis: SettlementBasis, outcome: RequestOutcome, status: u16) {
        if std::mem::replace(&mut self.is_settled, true) {
            return;
        }
        if let Some(running) = &self.running {
            running.ended();
        }
        if outcome != RequestOutcome::Ok && responses::is_background(&self.reservation.priced.client) {
            // it goes on: whoever asks for it sees its end, and so does this pod
            let claim = responses::claim(&self.reservation).zip(self.relay.response_id());
            if let Some((claim, id)) = claim {
                watch_response(&self.reservation, claim, id.to_owned());
            }
            return self.reservation.let_stand();
        }
        self.reservation.end_in_place(Ending { usage: with_request(usage), basis, outcome, status });
    }

    /// The provider's own count where it came, else the prompt and what was relayed.
    fn usage(&self) -> (Usage, SettlementBasis) {
        let is_whole = self.relay.finish_seen() || self.relay.done_seen();
        if let Some(usage) = self.relay.usage().filter(|_| is_whole) {
            let (settled, basis) = self.judged(&usage);
            if settled != usage {
                let request = self.reservation.priced.request;
                tracing::warn!(%request, "a provider's counts contradict its answer; counted instead");
            }
            return (settled, basis);
        }
        if let AnyRelay::Media(relay) = &self.relay {
            return (relay.counted(), SettlementBasis::Counted);
        }
        let told = self.relay.usage();
        (usage_check::so_far(&self.reservation, told.as_ref(), &self.shown()), SettlementBasis::Counted)
    }

    fn shown(&self) -> Shown {
        let (text_bytes, n_text_events) = (self.relay.text_bytes(), self.relay.n_text_events());
        Shown { text_bytes, n_text_events, has_text_since: self.relay.has_text_since_usage() }
    }

    /// The provider's counts, as far as they can be right.
    fn judged(&self, told: &Usage) -> (Usage, SettlementBasis) {
        match self.relay {
            AnyRelay::Media(_) => (*told, SettlementBasis::Provider),
            _ => usage_check::settled(&self.reservation, Some(told), &self.shown()),
        }
    }
}

impl Drop for RelayBody {
    /// The client left: the provider's body is dropped with this, and what was produced is charged.
    fn drop(&mut self) {
        let (outcome, status) = LEFT;
        self.settle(outcome, status);
    }
}
/// Whether a piece of an event stream ends where an event does.
fn ends_event(bytes: &[u8]) -> bool {
    [&b"\n\n"[..], b"\r\n\r\n", b"\r\r"].iter().any(|end| bytes.ends_with(end))
}
