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

/// Most values that [`AnswerFacts`] writes, and the bytes that they usually have.
const MAX_VALUES: usize = 13;
const USUAL_VALUES_BYTES: usize = 192;

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
        let mut values = HeaderValues::default();
        values.text(PROVIDER, self.provider);
        values.text(MODEL, self.model);
        values.number(ATTEMPTS, self.n_attempts as u64);
        values.number(OVERHEAD_US, micros(self.overhead));
        values.rate(RATE_REQUESTS, self.grant.requests);
        values.rate(RATE_TOKENS, self.grant.tokens);
        if let Some(cost) = self.cost {
            values.text(COST_USD, cost.text().as_str());
        }
        if let Some(dropped) = self.dropped {
            values.text(DROPPED, dropped);
        }
        if let Some(cap) = self.clamped_to {
            values.number(MAX_TOKENS, cap);
        }
        values.insert_into(headers);
    }
}

/// Values that stand side by side in one buffer: an allocation for each of them would cost more than all the rest.
struct HeaderValues {
    text: Vec<u8>,
    /// Each with where its value ends.
    ends: Vec<(HeaderName, usize)>,
}

impl Default for HeaderValues {
    fn default() -> Self {
        Self { text: Vec::with_capacity(USUAL_VALUES_BYTES), ends: Vec::with_capacity(MAX_VALUES) }
    }
}

impl HeaderValues {
    /// A model name may hold what a header may not: then the header says nothing rather than something else.
    fn text(&mut self, name: HeaderName, text: &str) {
        if text.bytes().all(|byte| byte == b'\t' || !byte.is_ascii_control()) {
            self.text.extend_from_slice(text.as_bytes());
            self.ends.push((name, self.text.len()));
        }
    }

    fn number(&mut self, name: HeaderName, number: u64) {
        self.text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        self.ends.push((name, self.text.len()));
    }

    fn rate(&mut self, names: [HeaderName; 3], status: Option<RateStatus>) {
        let Some(status) = status else { return };
        let [limit, remaining, reset] = names;
        self.number(limit, status.limit);
        self.number(remaining, status.remaining);
        // OpenAI's spelling of a duration
        self.text.extend_from_slice(itoa::Buffer::new().format(status.reset_ms).as_bytes());
        self.text(reset, "ms");
    }

    fn insert_into(self, headers: &mut HeaderMap) {
        let text = Bytes::from(self.text);
        let mut start = 0;
        for (name, end) in self.ends {
            if let Ok(value) = HeaderValue::from_maybe_shared(text.slice(start..end)) {
                headers.insert(name, value);
            }
            start = end;
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

pub(crate) fn overhead_value(overhead: Duration) -> HeaderValue {
    HeaderValue::from(micros(overhead))
}

/// The limit that refused has nothing left until a repeat can succeed.
fn write_refused_rate(headers: &mut HeaderMap, refusal: &RateRefusal) {
    let status = Some(RateStatus { limit: refusal.limit, remaining: 0, reset_ms: refusal.retry_after_ms });
    let mut values = HeaderValues::default();
    match refusal.kind {
        LimitKind::Requests => values.rate(RATE_REQUESTS, status),
        LimitKind::Tokens => values.rate(RATE_TOKENS, status),
        LimitKind::Concurrency => {}
    }
    values.insert_into(headers);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_under_their_names_and_what_no_header_may_hold_is_left_out() {
        let mut values = HeaderValues::default();
        values.text(PROVIDER, "openai");
        values.text(MODEL, "mod\u{e8}le \u{6a21}\u{578b}");
        values.text(DROPPED, "line\nend");
        values.number(OVERHEAD_US, u64::MAX);
        values.text(COST_USD, "");
        values.rate(RATE_REQUESTS, Some(RateStatus { limit: 60, remaining: 0, reset_ms: 0 }));
        values.rate(RATE_TOKENS, Some(RateStatus { limit: 1_000, remaining: 999, reset_ms: 1_250 }));
        values.number(ATTEMPTS, 1);
        let mut headers = HeaderMap::new();
        values.insert_into(&mut headers);
        let expected = [
            (PROVIDER, "openai"),
            (MODEL, "mod\u{e8}le \u{6a21}\u{578b}"),
            (OVERHEAD_US, "18446744073709551615"),
            (COST_USD, ""),
            (RATE_REQUESTS[0].clone(), "60"),
            (RATE_REQUESTS[1].clone(), "0"),
            (RATE_REQUESTS[2].clone(), "0ms"),
            (RATE_TOKENS[0].clone(), "1000"),
            (RATE_TOKENS[1].clone(), "999"),
            (RATE_TOKENS[2].clone(), "1250ms"),
            (ATTEMPTS, "1"),
        ];
        assert_eq!(headers.len(), expected.len());
        for (name, value) in expected {
            assert_eq!(headers[&name].as_bytes(), value.as_bytes(), "{name}");
        }
    }
}
