//! Streamed answers: events and sound, relayed as they come.

use std::sync::Arc;

use bytes::Bytes;
use tollgate_domain::{Meter, Surface, Usage};

use super::answer::{Units, usage_of};
use super::{MediaRequest, counted_usage};
use crate::json::{Kind, Node};
use crate::openai::error::read_provider_error;
use crate::openai::stream::{RelayEvent, StreamEnd, UsageFrame};
use crate::openai::usage::with_cost;
use crate::sse::{Decoder, Frame, SseError, data_event, named_event};

/// Bytes of one event: an image of four million pixels as Base64, and some.
pub const MAX_MEDIA_EVENT_BYTES: usize = 32 << 20;

/// The relay of one streamed answer.
#[derive(Debug)]
pub struct MediaRelay {
    request: Arc<MediaRequest>,
    /// `None` where the answer is sound, which has no events.
    decoder: Option<Decoder>,
    usage: Option<Usage>,
    n_bytes: u64,
    n_images: u64,
    text_bytes: u64,
    n_text_events: u64,
    has_finished: bool,
    is_over: bool,
}

impl MediaRelay {
    /// A relay at the start of an answer that is made of events, or else of bytes.
    #[must_use]
    pub fn new(request: Arc<MediaRequest>, has_events: bool) -> Self {
        let decoder = has_events.then(|| Decoder::with_max_event_bytes(MAX_MEDIA_EVENT_BYTES));
        Self {
            request,
            decoder,
            usage: None,
            n_bytes: 0,
            n_images: 0,
            text_bytes: 0,
            n_text_events: 0,
            has_finished: false,
            is_over: false,
        }
    }

    /// Whether the answer is made of events, so that an error can be told as one.
    #[must_use]
    pub const fn has_events(&self) -> bool {
        self.decoder.is_some()
    }

    /// Takes the next chunk and appends what it leads to.
    ///
    /// # Errors
    /// An event is too large; the stream is to be treated as broken.
    pub fn push(&mut self, chunk: Bytes, out: &mut Vec<RelayEvent>) -> Result<(), SseError> {
        let Some(decoder) = &mut self.decoder else {
            self.n_bytes += chunk.len() as u64;
            out.push(RelayEvent::Forward(chunk));
            return Ok(());
        };
        let mut frames = Vec::new();
        let pushed = decoder.push(chunk, &mut frames);
        for frame in frames {
            if !self.is_over {
                self.frame(frame, out);
            }
        }
        pushed
    }

    fn frame(&mut self, frame: Frame, out: &mut Vec<RelayEvent>) {
        self.n_bytes += frame.raw.len() as u64;
        let Some(data) = frame.data() else { return out.push(RelayEvent::Forward(frame.raw)) };
        if data.trim_ascii() == b"[DONE]" {
            self.has_finished = true;
            self.is_over = true;
            return out.push(RelayEvent::Forward(frame.raw.clone()));
        }
        let read = Node::parse(&data).ok().and_then(|root| Some((root.object().ok()?, root)));
        let Some((mut members, root)) = read else { return out.push(RelayEvent::Forward(frame.raw.clone())) };
        let kind = members.take("type").and_then(|kind| kind.string().ok()).unwrap_or_default();
        if kind == "error" || members.take("error").is_some() {
            self.is_over = true;
            return out.push(RelayEvent::ProviderError(read_provider_error(0, &data)));
        }
        if let Some(delta) = members.take("delta").filter(|delta| delta.kind() == Kind::String) {
            self.text_bytes += delta.span().len().saturating_sub(2) as u64;
            self.n_text_events += 1;
        }
        let is_end = kind.ends_with(".completed") || kind.ends_with(".done");
        self.has_finished |= is_end;
        self.n_images += u64::from(kind.ends_with(".completed"));
        let Some(object) = members.take("usage").filter(|usage| usage.kind() == Kind::Object) else {
            return out.push(RelayEvent::Forward(frame.raw.clone()));
        };
        let mut units = Units::of_images(self.n_images.max(1));
        let usage = usage_of(self.request.surface, &object, &mut units);
        let usage = match usage {
            Ok(None) => return out.push(RelayEvent::Forward(frame.raw.clone())),
            Ok(Some(usage)) => Ok(units.finish(&self.request, usage)),
            Err(error) => Err(error),
        };
        self.usage = usage.ok().or(self.usage);
        let frame = written(&frame, root.text().as_bytes(), &object);
        out.push(RelayEvent::Usage { usage, frame });
    }

    /// The end of the provider's body (`clean`) or its failure. A last event without its blank line counts where it is
    /// whole in itself.
    pub fn finish(&mut self, clean: bool, out: &mut Vec<RelayEvent>) -> StreamEnd {
        let rest = self.decoder.as_mut().map(Decoder::take_rest).unwrap_or_default();
        let last = Frame { raw: Bytes::from([rest.as_ref(), b"\n\n"].concat()) };
        if clean && !self.is_over && last.data().is_some_and(|data| Node::parse(&data).is_ok()) {
            self.frame(last, out);
        }
        let is_whole = match self.decoder {
            // what is passed through ends as it likes
            Some(_) => self.has_finished || (clean && self.request.surface == Surface::Passthrough),
            None => clean && (self.n_bytes > 0 || self.request.surface == Surface::Passthrough),
        };
        self.has_finished |= is_whole;
        if is_whole { StreamEnd::Complete } else { StreamEnd::Broken }
    }

    /// Whether anything has come: from here on there is no failover.
    #[must_use]
    pub const fn content_begun(&self) -> bool {
        self.n_bytes > 0
    }

    /// Whether the answer is whole.
    #[must_use]
    pub const fn finish_seen(&self) -> bool {
        self.has_finished
    }

    /// Whether nothing can follow.
    #[must_use]
    pub const fn done_seen(&self) -> bool {
        self.is_over && self.has_finished
    }

    /// The last usable usage.
    #[must_use]
    pub const fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// What it counts where the provider told nothing, or not yet.
    #[must_use]
    pub fn counted(&self) -> Usage {
        let usage = counted_usage(&self.request, None, self.text_bytes);
        match self.request.surface {
            Surface::Images | Surface::ImageEdits => usage.with(Meter::Image, self.n_images),
            _ => usage,
        }
    }

    /// Bytes of text relayed.
    #[must_use]
    pub const fn text_bytes(&self) -> u64 {
        self.text_bytes
    }

    /// Events that carried text.
    #[must_use]
    pub const fn n_text_events(&self) -> u64 {
        self.n_text_events
    }
}

/// The frame, written anew with its cost once that is known.
fn written(frame: &Frame, json: &[u8], usage: &Node<'_>) -> UsageFrame {
    let name = frame.event().map(|name| String::from_utf8_lossy(name).into_owned());
    let (raw, json) = (frame.raw.clone(), json.to_vec());
    let span = crate::openai::usage::UsageSpan {
        object: usage.span(),
        cost_value: usage
            .object()
            .ok()
            .and_then(|mut members| members.take_any("cost"))
            .map(|cost| cost.span()),
        is_empty: usage.object().is_ok_and(|members| members.is_empty()),
    };
    UsageFrame::written(move |cost| {
        let Some(cost) = cost else { return Some(raw) };
        let json = with_cost(&json, &span, cost);
        Some(match &name {
            Some(name) => named_event(name, &json),
            None => data_event(&json),
        })
    })
}
