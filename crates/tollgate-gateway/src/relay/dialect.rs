//! The relay of a stream, in whatever dialects its two sides speak.

use std::sync::Arc;

use bytes::Bytes;
use tollgate_domain::{NanoUsd, Usage};
use tollgate_wire::media::MediaRelay;
use tollgate_wire::neutral::ChatDialect;
use tollgate_wire::openai::responses::{ResponseEcho, ResponsesRelay};
use tollgate_wire::openai::stream::{
    CutNotice, CutUsage, RelayEvent, StreamEnd, StreamHead, StreamOptions, StreamRelay, collect_text,
    cut_events,
};
use tollgate_wire::sse::SseError;
use tollgate_wire::translate::{RelayContext, TranslatingRelay};

use crate::dialects::spoken;
use crate::plan::PricedCandidate;
use crate::responses;
use crate::settle::Reservation;

/// One of the two relays: bytes that pass, or steps that are written anew.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is the usual one, and is not to cost an allocation"
)]
pub(super) enum AnyRelay {
    OpenAi(StreamRelay),
    Translating(Box<TranslatingRelay>),
    Media(Box<MediaRelay>),
    Responses(Box<ResponsesRelay>),
}

macro_rules! delegate {
    ($self:ident, $relay:ident => $call:expr) => {
        match $self {
            Self::OpenAi($relay) => $call,
            Self::Translating($relay) => $call,
            Self::Media($relay) => $call,
            Self::Responses($relay) => $call,
        }
    };
}

impl AnyRelay {
    /// The relay of what the candidate at hand answers.
    pub(super) fn of(reservation: &Reservation, has_events: bool) -> Self {
        let request = &reservation.priced;
        if let Some(media) = &request.media {
            return Self::Media(Box::new(MediaRelay::new(Arc::clone(media), has_events)));
        }
        let skim = &request.skim;
        let client = request.client.dialect;
        let candidate = reservation.current().map(|priced| &priced.candidate);
        let provider = candidate.map_or(ChatDialect::OpenAiChat, |one| spoken(&request.client, one));
        if (client, provider) == (ChatDialect::OpenAiResponses, ChatDialect::OpenAiResponses) {
            let claim = responses::claim(reservation);
            let mut relay = ResponsesRelay::new(responses::names(
                reservation,
                claim.as_ref(),
                request.plan.input_estimate,
            ));
            if is_counted_exactly(reservation) {
                relay.collect_text();
            }
            return Self::Responses(Box::new(relay));
        }
        let (wants_usage, n_choices) = (skim.include_usage == Some(true), skim.n_returned_choices());
        if (client, provider) == (ChatDialect::OpenAiChat, ChatDialect::OpenAiChat) {
            let options = StreamOptions { client_wants_usage: wants_usage, n_choices };
            return Self::OpenAi(StreamRelay::new(request.surface, options));
        }
        let foreign = request.client.foreign.as_ref();
        let mut relay = TranslatingRelay::new(RelayContext {
            provider,
            client,
            created: created(reservation),
            wants_usage,
            n_choices,
            echo: foreign.map_or_else(ResponseEcho::default, |foreign| foreign.incoming.echo.clone()),
            stand_in: (
                stand_in_id(reservation),
                candidate.map_or_else(String::new, |one| one.model.to_string()),
            ),
        });
        if is_counted_exactly(reservation) {
            relay.collect_text();
        }
        Self::Translating(Box::new(relay))
    }

    /// Whether an error can be told as an event.
    pub(super) const fn has_events(&self) -> bool {
        match self {
            Self::OpenAi(_) | Self::Translating(_) | Self::Responses(_) => true,
            Self::Media(relay) => relay.has_events(),
        }
    }

    pub(super) fn push(&mut self, chunk: Bytes, out: &mut Vec<RelayEvent>) -> Result<(), SseError> {
        delegate!(self, relay => relay.push(chunk, out))
    }

    pub(super) fn finish(&mut self, clean: bool, out: &mut Vec<RelayEvent>) -> StreamEnd {
        delegate!(self, relay => relay.finish(clean, out))
    }

    /// The provider's name for what it keeps.
    pub(super) fn response_id(&self) -> Option<&str> {
        match self {
            Self::Responses(relay) => relay.response_id(),
            Self::OpenAi(_) | Self::Translating(_) | Self::Media(_) => None,
        }
    }

    /// What an answer that failed has cost by its own words: only one dialect's failures tell that.
    pub(super) fn usage_of_failure(&self) -> Option<Usage> {
        match self {
            Self::Responses(relay) => relay.usage().filter(|usage| usage.total_tokens() > 0),
            Self::OpenAi(_) | Self::Translating(_) | Self::Media(_) => None,
        }
    }

    pub(super) const fn content_begun(&self) -> bool {
        delegate!(self, relay => relay.content_begun())
    }

    pub(super) const fn finish_seen(&self) -> bool {
        delegate!(self, relay => relay.finish_seen())
    }

    pub(super) const fn done_seen(&self) -> bool {
        delegate!(self, relay => relay.done_seen())
    }

    pub(super) const fn usage(&self) -> Option<Usage> {
        delegate!(self, relay => relay.usage())
    }

    /// Whether text has come since the usage was told.
    pub(super) const fn has_text_since_usage(&self) -> bool {
        match self {
            Self::OpenAi(relay) => relay.has_text_since_usage(),
            Self::Translating(relay) => relay.has_text_since_usage(),
            // usage is told at the end
            Self::Media(_) | Self::Responses(_) => false,
        }
    }

    /// Whether an event came that cannot be read and is relayed all the same.
    pub(super) const fn has_unreadable(&self) -> bool {
        match self {
            Self::OpenAi(relay) => relay.has_unreadable(),
            Self::Translating(_) | Self::Media(_) | Self::Responses(_) => false,
        }
    }

    /// Keeps the text that comes from now on for [`Self::take_text`].
    pub(super) fn collect_text(&mut self) {
        match self {
            Self::Translating(relay) => relay.collect_text(),
            Self::Responses(relay) => relay.collect_text(),
            // its events tell it
            Self::OpenAi(_) | Self::Media(_) => {}
        }
    }

    /// Appends the text that led to `events`, which have just come.
    pub(super) fn take_text(&mut self, events: &[RelayEvent], into: &mut String) {
        match self {
            Self::OpenAi(_) => events.iter().for_each(|event| collect_text(event.frames(), into)),
            Self::Translating(relay) => relay.take_text(into),
            Self::Responses(relay) => relay.take_text(into),
            Self::Media(_) => {}
        }
    }

    /// The last events of a stream that ends in the middle with `length`; `None` where there are no events.
    pub(super) fn cut(
        &mut self,
        reservation: &Reservation,
        head: &StreamHead,
        (usage, cost): (&Usage, NanoUsd),
        notice: Option<&CutNotice<'_>>,
    ) -> Option<Bytes> {
        let skim = &reservation.priced.skim;
        match self {
            Self::OpenAi(_) => {
                let wants_usage = skim.include_usage == Some(true);
                let counts = wants_usage.then(|| CutUsage::of(usage, cost));
                Some(cut_events(head, skim.surface, skim.n_returned_choices(), notice, counts))
            }
            Self::Translating(relay) => Some(relay.cut(usage, cost, notice)),
            Self::Responses(relay) => relay.cut(usage, cost, notice),
            Self::Media(_) => None,
        }
    }

    pub(super) const fn text_bytes(&self) -> u64 {
        delegate!(self, relay => relay.text_bytes())
    }

    pub(super) const fn n_text_events(&self) -> u64 {
        delegate!(self, relay => relay.n_text_events())
    }

    /// The tier it is served at, in the provider's words, where the dialect tells it in a stream.
    pub(super) fn service_tier(&self) -> Option<&str> {
        match self {
            Self::OpenAi(relay) => relay.service_tier(),
            Self::Responses(relay) => relay.service_tier(),
            Self::Translating(_) | Self::Media(_) => None,
        }
    }
}

/// Whether a stream's tokens are counted as they come: where it is held for in slices and its tokenizer is public.
fn is_counted_exactly(reservation: &Reservation) -> bool {
    let is_sliced =
        |priced: &PricedCandidate| priced.slice_tokens.is_some() && priced.candidate.tokenizer.is_some();
    // what nobody pays for is not held for in slices: nobody would take its text
    reservation.priced.plan.is_paid && reservation.current().is_some_and(is_sliced)
}

/// Now, in Unix seconds.
pub(crate) fn created(reservation: &Reservation) -> u64 {
    u64::try_from(reservation.gateway().clock.now().0 / 1_000).unwrap_or(0)
}

/// An answer's id where its provider tells none: the request's own.
pub(crate) fn stand_in_id(reservation: &Reservation) -> String {
    reservation.priced.request.as_uuid().simple().to_string()
}
