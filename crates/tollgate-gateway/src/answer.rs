//! Answers on their way to the client: the body types and the headers every answer carries.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use tollgate_domain::{NanoUsd, RequestId};
use tollgate_ledger::{Grant, LimitKind, RateRefusal, RateStatus};
use tollgate_wire::neutral::ChatDialect;

use crate::error::Refusal;
use crate::idempotency::RecordedBody;
use crate::json_array::ArrayBody;
use crate::objects::KeptBody;
use crate::relay::RelayBody;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-tollgate-request-id");
/// The same again under the name the SDKs read.
const SDK_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const PROVIDER: HeaderName = HeaderName::from_static("x-tollgate-provider");
const MODEL: HeaderName = HeaderName::from_static("x-tollgate-model");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-tollgate-attempts");
const CACHE: HeaderName = HeaderName::from_static("x-tollgate-cache");
pub(crate) const OVERHEAD_US: HeaderName = HeaderName::from_static("x-tollgate-overhead-us");
const COST_USD: HeaderName = HeaderName::from_static("x-tollgate-cost-usd");
const DROPPED: HeaderName = HeaderName::from_static("x-tollgate-dropped");
const MAX_TOKENS: HeaderName = HeaderName::from_static("x-tollgate-max-tokens");

const RATE_REQUESTS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];
const RATE_TOKENS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];

/// The body of any answer.
#[derive(Debug)]
pub(crate) enum GatewayBody {
    /// Known whole.
    Whole(Option<Bytes>),
    /// A provider's stream, relayed.
    Relay(Box<RelayBody>),
    /// The same, kept for whoever repeats the request.
    Recorded(Box<RecordedBody>),
    /// One of these, as the array that some of Google's clients read.
    Array(Box<ArrayBody>),
    /// A kept response, streamed again.
    Kept(Box<KeptBody>),
}

/// An answer without events that is not whole: the connection is closed in the middle of it, which is the only way to
/// tell.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the answer broke off")]
pub(crate) struct BrokenOff;

impl GatewayBody {
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self::Whole(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }
}

impl Body for GatewayBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Relay(relay) => {
                let bytes = ready!(relay.poll_bytes(context));
                Poll::Ready(framed(bytes, || relay.was_cut()))
            }
            Self::Recorded(recorded) => {
                let bytes = ready!(recorded.poll_bytes(context));
                Poll::Ready(framed(bytes, || recorded.was_cut()))
            }
            Self::Array(array) => array.poll(context),
            Self::Kept(kept) => kept.poll(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Relay(_) | Self::Recorded(_) | Self::Array(_) | Self::Kept(_) => SizeHint::default(),
        }
    }
}

fn framed(bytes: Option<Bytes>, was_cut: impl FnOnce() -> bool) -> Option<Result<Frame<Bytes>, BrokenOff>> {
    match bytes {
        Some(bytes) => Some(Ok(Frame::data(bytes))),
        None => was_cut().then_some(Err(BrokenOff)),
    }
}

/// What the headers of an answer tell about the way it took.
#[derive(Debug)]
pub(crate) struct AnswerFacts<'a> {
    pub(crate) provider: &'a str,
    pub(crate) model: &'a str,
    pub(crate) n_attempts: usize,
    pub(crate) overhead: Duration,
    pub(crate) grant: &'a Grant,
    /// Where the answer is whole.
    pub(crate) cost: Option<NanoUsd>,
    /// Where the money lowered the cap.
    pub(crate) clamped_to: Option<u64>,
    /// What was left out of the request, with commas.
    pub(crate) dropped: Option<&'a str>,
}

impl AnswerFacts<'_> {
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        insert_text(headers, PROVIDER, self.provider);
        insert_text(headers, MODEL, self.model);
        headers.insert(ATTEMPTS, HeaderValue::from(self.n_attempts));
        headers.insert(OVERHEAD_US, overhead_value(self.overhead));
        write_rates(headers, self.grant);
        if let Some(cost) = self.cost {
            insert_text(headers, COST_USD, cost.text().as_str());
        }
        if let Some(dropped) = self.dropped {
            insert_text(headers, DROPPED, dropped);
        }
        if let Some(cap) = self.clamped_to {
            headers.insert(MAX_TOKENS, HeaderValue::from(cap));
        }
    }
}

fn insert_text(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    // a model name may hold what a header may not: then the header says nothing rather than something else
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

pub(crate) fn overhead_value(overhead: Duration) -> HeaderValue {
    HeaderValue::from(u64::try_from(overhead.as_micros()).unwrap_or(u64::MAX))
}

fn write_rates(headers: &mut HeaderMap, grant: &Grant) {
    write_rate(headers, RATE_REQUESTS, grant.requests);
    write_rate(headers, RATE_TOKENS, grant.tokens);
}

fn write_rate(headers: &mut HeaderMap, names: [HeaderName; 3], status: Option<RateStatus>) {
    let Some(status) = status else { return };
    let [limit, remaining, reset] = names;
    headers.insert(limit, HeaderValue::from(status.limit));
    headers.insert(remaining, HeaderValue::from(status.remaining));
    headers.insert(reset, reset_value(status.reset_ms));
}

/// The digits of any number of milliseconds, and their unit.
const MAX_RESET_BYTES: usize = 22;

/// OpenAI's spelling of a duration.
fn reset_value(reset_ms: u64) -> HeaderValue {
    if reset_ms == 0 {
        return HeaderValue::from_static("0ms");
    }
    let mut digits = itoa::Buffer::new();
    let mut text = String::with_capacity(MAX_RESET_BYTES);
    text.push_str(digits.format(reset_ms));
    text.push_str("ms");
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("0ms"))
}

/// The limit that refused has nothing left until a repeat can succeed.
fn write_refused_rate(headers: &mut HeaderMap, refusal: &RateRefusal) {
    let status = Some(RateStatus { limit: refusal.limit, remaining: 0, reset_ms: refusal.retry_after_ms });
    match refusal.kind {
        LimitKind::Requests => write_rate(headers, RATE_REQUESTS, status),
        LimitKind::Tokens => write_rate(headers, RATE_TOKENS, status),
        LimitKind::Concurrency => {}
    }
}

/// Headers of everything that leaves the traffic port. An answer that is repeated keeps the id of its request, under
/// which its receipt is found.
pub(crate) fn write_common(headers: &mut HeaderMap, request: RequestId) {
    let mut text = [0_u8; 36];
    let text = request.as_uuid().hyphenated().encode_lower(&mut text);
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.entry(SDK_REQUEST_ID).or_insert_with(|| value.clone());
        headers.entry(REQUEST_ID).or_insert(value);
    }
    headers.insert(CACHE, HeaderValue::from_static("off"));
}

/// A refusal as an answer.
pub(crate) fn refuse(
    refusal: &Refusal,
    dialect: ChatDialect,
    request: RequestId,
    overhead: Duration,
) -> Response<GatewayBody> {
    let mut response = Response::new(GatewayBody::whole(refusal.body(dialect, request)));
    *response.status_mut() = refusal.status();
    let headers = response.headers_mut();
    refusal.write_headers(headers);
    if let Some(rate) = &refusal.rate {
        write_refused_rate(headers, rate);
    }
    headers.insert(OVERHEAD_US, overhead_value(overhead));
    headers.entry(ATTEMPTS).or_insert(HeaderValue::from(refusal.n_attempts));
    response
}

/// A JSON document as an answer.
pub(crate) fn json(status: StatusCode, body: Bytes) -> Response<GatewayBody> {
    let mut response = Response::new(GatewayBody::whole(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
