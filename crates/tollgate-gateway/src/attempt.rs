//! One attempt at one provider: the request is spliced, sent, and its answer judged.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use tollgate_domain::{AttemptOutcome, ErrorKind, Surface, Usage};
use tollgate_policy::{CredentialPolicy, Dialect, Timeouts};
use tollgate_upstream::{
    RequestBody, UpstreamBody, UpstreamError, UpstreamErrorKind, UpstreamRequest, demo, headers,
};
use tollgate_wire::embeddings::EmbeddingDialect;
use tollgate_wire::json::Node;
use tollgate_wire::neutral::{ChatAnswer, ChatDialect};
use tollgate_wire::openai::error::{ErrorBody, ProviderError, encode_error, read_provider_error};
use tollgate_wire::openai::request::{Edits, splice_pieces};
use tollgate_wire::openai::response::{Answer, AnswerShape, read_answer};
use tollgate_wire::openai::usage::normalise;
use tollgate_wire::translate;

use crate::error::{Refusal, UpstreamRefusal};
use crate::media;
use crate::plan::PricedCandidate;
use crate::relay::{StreamStart, stand_in_id, start_stream};
use crate::settle::{MayBill, Reservation};
use crate::vendor_keys::VendorKey;
use crate::{bedrock, dialects, embeddings, quirks, responses};

/// A provider's error body is read this far.
const MAX_ERROR_BODY_BYTES: usize = 64 << 10;

/// What an attempt brought.
pub(crate) enum Attempted {
    /// A whole answer.
    Whole {
        head: http::response::Parts,
        body: Bytes,
        answer: Box<Answer>,
        /// Where some side speaks another dialect than Chat Completions.
        neutral: Option<Box<ChatAnswer>>,
    },
    /// A stream whose content has begun, or that ended well without any.
    Stream { head: http::response::Parts, start: Box<StreamStart> },
}

/// Why an attempt brought nothing.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) outcome: AttemptOutcome,
    pub(crate) status: Option<StatusCode>,
    /// What the provider may bill all the same.
    pub(crate) may_bill: MayBill,
    /// What the client is told if nothing else succeeds.
    pub(crate) refusal: Box<Refusal>,
}

/// Sends the request to one candidate.
pub(crate) async fn run(
    reservation: &Reservation,
    priced: &PricedCandidate,
    cap: Option<u64>,
    credential: Option<&CredentialPolicy>,
    deadline: Instant,
) -> Result<Attempted, Failed> {
    let body = request_body(reservation, priced, cap)?;
    let timeouts = reservation.priced.plan.plan.timeouts;
    let response = dispatch(reservation, priced, credential, body, &timeouts, deadline).await?;
    let status = response.status();
    if !status.is_success() {
        return Err(Box::pin(refused(response, priced, deadline)).await);
    }
    let has_events = is_event_stream(response.headers());
    let media = reservation.priced.media.as_deref();
    let is_opaque = reservation.priced.passthrough.as_ref().is_some_and(|call| call.is_opaque);
    let is_bytes =
        is_opaque || media.is_some_and(|media| media::answers_bytes(media, content_type(response.headers())));
    if (reservation.priced.skim.stream && has_events) || is_bytes {
        let (head, body) = response.into_parts();
        let start = Box::pin(start_stream(reservation, body, has_events, deadline)).await;
        let start = start.map_err(|failed| failed.named(priced))?;
        return Ok(Attempted::Stream { head, start: Box::new(start) });
    }
    whole(reservation, response, priced, deadline).await
}

fn request_body(
    reservation: &Reservation,
    priced: &PricedCandidate,
    cap: Option<u64>,
) -> Result<RequestBody, Failed> {
    let request = &reservation.priced;
    let refused = |refusal: Refusal| {
        let (outcome, kind) = (AttemptOutcome::Refused, refusal.kind);
        Failed { refusal: Box::new(refusal), ..Failed::new(outcome, false, kind, "") }
    };
    if let Some(media) = &request.media {
        let body = media.body_for(&request.body.0, &priced.candidate.model);
        return body.map(RequestBody::from).map_err(|error| refused(Refusal::from(error)));
    }
    let embedding = embeddings::dialect(&priced.candidate, request.surface);
    let spoken = dialects::spoken(&request.client, &priced.candidate);
    if embedding.is_some() || spoken != ChatDialect::OpenAiChat {
        let body = match embedding {
            Some(dialect) => match &request.client.embedding {
                Some(google) if dialect == EmbeddingDialect::Gemini => {
                    Ok(Bytes::from(google.write(&priced.candidate.model)))
                }
                _ => embeddings::body(&priced.candidate, dialect, &request.body.0),
            },
            None => {
                let drops = request.plan.plan.drop_unsupported;
                dialects::provider_body(&request.client, &priced.candidate, cap, &request.body.0, drops)
            }
        };
        return body.map(RequestBody::from).map_err(refused);
    }
    let edits = Edits {
        model: Some(&priced.candidate.model),
        output_cap: cap,
        output_cap_field: quirks::output_cap_field(&priced.candidate),
        include_usage: request.skim.stream && priced.candidate.quirks.takes_stream_options,
    };
    let mut body = RequestBody::default();
    splice_pieces(&request.body.0, &request.skim, &edits, |piece| body.push(piece));
    let quirks = &priced.candidate.quirks;
    if !quirks::may_change(quirks, request.surface) {
        return Ok(body);
    }
    Ok(RequestBody::from(quirks::applied(quirks, request.surface, body.to_bytes())))
}

async fn dispatch(
    reservation: &Reservation,
    priced: &PricedCandidate,
    credential: Option<&CredentialPolicy>,
    body: RequestBody,
    timeouts: &Timeouts,
    deadline: Instant,
) -> Result<Response<UpstreamBody>, Failed> {
    let request = &reservation.priced;
    if priced.candidate.provider.dialect == Dialect::Demo {
        return Ok(demo::answer(request.surface, &body.to_bytes()));
    }
    let key =
        VendorKey::read(&priced.candidate.provider, credential).map_err(|failed| failed.named(priced))?;
    let url = match &request.passthrough {
        Some(call) => call.url(&priced.candidate),
        None => {
            let spoken = dialects::spoken(&request.client, &priced.candidate);
            let spoken = (spoken, responses::path(&request.client));
            dialects::url(&priced.candidate, spoken, request.surface, request.skim.stream, key.as_ref())
        }
    };
    let url = url.map_err(|reason| {
        Failed::new(AttemptOutcome::ConnectFailed, false, ErrorKind::UpstreamError, reason)
    })?;
    let method = request.passthrough.as_ref().map_or(Method::POST, |call| call.method.clone());
    let mut headers = request_headers(reservation, priced, credential.filter(|_| key.is_none()));
    if let Some(key) = &key {
        let pod = reservation.gateway();
        let provider = &priced.candidate.provider;
        let signed = body.to_bytes();
        let authorizing = Box::pin(key.authorize(pod, provider, (&method, &url), &signed, &mut headers));
        let authorized = tokio::time::timeout_at(deadline.into(), authorizing).await;
        authorized
            .unwrap_or_else(|_| {
                let failed = Failed::timeout("no access token came within the request's time limit");
                // nothing was sent
                Err(Failed { may_bill: MayBill::Nothing, ..failed })
            })
            .map_err(|failed| failed.named(priced))?;
    }
    let left = deadline.saturating_duration_since(Instant::now());
    let upstream = UpstreamRequest {
        method,
        url,
        headers,
        body,
        connect_timeout: Duration::from_millis(timeouts.connect_ms).min(left),
        first_byte_timeout: Duration::from_millis(timeouts.first_byte_ms).min(left),
        idle_timeout: Duration::from_millis(timeouts.idle_ms),
    };
    let sent = reservation.gateway().upstream.send(upstream).await;
    sent.map_err(|error| Failed::from_upstream(&error).named(priced))
}

fn request_headers(
    reservation: &Reservation,
    priced: &PricedCandidate,
    credential: Option<&CredentialPolicy>,
) -> HeaderMap {
    let request = &reservation.priced;
    let mut headers = headers::client_to_provider(&request.headers);
    if let Some(media) = &request.media {
        media::write_headers(media, &request.headers, &mut headers);
        if request.passthrough.as_ref().is_some_and(|call| call.is_opaque) {
            headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        }
        if request.passthrough.is_some() && request.body.0.is_empty() {
            headers.remove(CONTENT_TYPE);
        }
    } else {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let accept = if request.skim.stream { "text/event-stream" } else { "application/json" };
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
    }
    let dialect = priced.candidate.provider.dialect;
    dialects::dialect_headers(&mut headers, dialect, dialects::is_same(&request.client, &priced.candidate));
    if let Some(credential) = credential {
        dialects::present(&mut headers, dialect, &credential.secret);
    }
    if let Some(traceparent) = request.trace.traceparent()
        && let Ok(value) = HeaderValue::from_str(&traceparent.to_string())
    {
        headers.insert("traceparent", value);
    }
    headers
}

/// Whether an answer is streamed: as server-sent events, or in Amazon's framing.
fn is_event_stream(headers: &HeaderMap) -> bool {
    let types = ["text/event-stream", "application/vnd.amazon.eventstream"];
    content_type(headers).is_some_and(|value| types.iter().any(|name| value.starts_with(name)))
}

fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok())
}

// === whole answers ===

async fn whole(
    reservation: &Reservation,
    response: Response<UpstreamBody>,
    priced: &PricedCandidate,
    deadline: Instant,
) -> Result<Attempted, Failed> {
    let (head, body) = response.into_parts();
    let max = reservation.gateway().config.max_answer_bytes;
    let body = read_body(body, max, deadline).await.map_err(|failed| failed.named(priced))?;
    let bad = |reason: &str, body: &[u8]| {
        let message = format!("the provider's answer {reason}");
        let failed = Failed::new(AttemptOutcome::BadAnswer, true, ErrorKind::UpstreamError, message);
        Failed { status: Some(head.status), ..failed }.telling(told_usage(body)).named(priced)
    };
    let request = &reservation.priced;
    let body = match embeddings::dialect(&priced.candidate, request.surface) {
        Some(dialect) => {
            embeddings::answer(&priced.candidate, dialect, &request.body.0, &head.headers, &body)
                .map_err(|_| bad("is not what its dialect promises", &body))?
        }
        None => body,
    };
    let (answer, neutral) = match &request.media {
        Some(media) => (media::read_answer(media, content_type(&head.headers), &body), None),
        None => read_whole(reservation, priced, &body),
    };
    if answer.shape == AnswerShape::NotJson {
        return Err(bad("is not JSON", &body));
    }
    if answer.is_error {
        return Err(bad("is an error with a success status", &body));
    }
    if let Some(failed) = neutral.as_ref().and_then(|_| responses::failure(request, priced, &body)) {
        return Err(Failed { status: Some(head.status), ..failed }.named(priced));
    }
    if neutral.is_none() && is_translated(reservation, priced) {
        return Err(bad("is not what its dialect promises", &body));
    }
    Ok(Attempted::Whole { head, body, answer: Box::new(answer), neutral })
}

/// Whether one side or both speak another dialect than Chat Completions.
fn is_translated(reservation: &Reservation, priced: &PricedCandidate) -> bool {
    if reservation.priced.surface == Surface::Embeddings {
        // what is not OpenAI's has been made OpenAI's
        return false;
    }
    let provider = dialects::spoken(&reservation.priced.client, &priced.candidate);
    reservation.priced.media.is_none()
        && (reservation.priced.client.dialect, provider) != (ChatDialect::OpenAiChat, ChatDialect::OpenAiChat)
}

/// What the answer says: in the bytes where both sides speak Chat Completions, else in no dialect.
fn read_whole(
    reservation: &Reservation,
    priced: &PricedCandidate,
    body: &[u8],
) -> (Answer, Option<Box<ChatAnswer>>) {
    let request = &reservation.priced;
    if !is_translated(reservation, priced) {
        return (read_answer(request.surface, body), None);
    }
    let provider = dialects::spoken(&request.client, &priced.candidate);
    let id = stand_in_id(reservation);
    match translate::read_answer(provider, body, &id, &priced.candidate.model) {
        Ok(neutral) => (Answer::of_neutral(&neutral), Some(Box::new(neutral))),
        // an error with a success status, or nothing that can be read
        Err(_) => (read_answer(request.surface, body), None),
    }
}

pub(crate) async fn read_body(body: UpstreamBody, max: usize, deadline: Instant) -> Result<Bytes, Failed> {
    match tokio::time::timeout_at(deadline.into(), collect(body, max)).await {
        Err(_) => Err(Failed::timeout("the answer took longer than the request's time limit")),
        Ok(collected) => collected,
    }
}

/// The whole body; one that comes in one piece, as most do, is not copied.
async fn collect(mut body: UpstreamBody, max: usize) -> Result<Bytes, Failed> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failed::from_upstream(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len().max(all.len()) + data.len() > max {
            let message = format!("the provider's answer is larger than {max} bytes");
            return Err(Failed::new(AttemptOutcome::BadAnswer, true, ErrorKind::UpstreamError, message));
        }
        if first.is_empty() {
            first = data;
        } else {
            if all.is_empty() {
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&data);
        }
        if body.is_end_stream() {
            break;
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

// === refusals of the provider ===

async fn refused(response: Response<UpstreamBody>, priced: &PricedCandidate, deadline: Instant) -> Failed {
    let (head, body) = response.into_parts();
    let bytes = read_body(body, MAX_ERROR_BODY_BYTES, deadline).await.unwrap_or_default();
    let status = head.status;
    let mut error = read_provider_error(status.as_u16(), &bytes);
    bedrock::name_error(&mut error, &head.headers);
    let provider = &priced.candidate.provider.name;
    let (outcome, refusal) = match status.as_u16() {
        429 => {
            let message = format!("the provider `{provider}` limits its rate: {}", error.message);
            let mut refusal = Refusal::new(ErrorKind::UpstreamRateLimited, message);
            refusal.retry_after_ms = Some(retry_after_ms(&head.headers));
            (AttemptOutcome::RateLimited, refusal)
        }
        401..=403 => {
            let message =
                format!("the provider `{provider}` refuses the gateway's credentials: tell your operator");
            (
                AttemptOutcome::CredentialRefused,
                Refusal::new(ErrorKind::UpstreamCredentialsExhausted, message),
            )
        }
        // 424 is Bedrock's word for a model that failed
        code @ 400..=499 if code != 408 && code != 424 => {
            (AttemptOutcome::Refused, passed_on(status, &error))
        }
        code => {
            let message = format!("the provider `{provider}` failed with status {code}: {}", error.message);
            (AttemptOutcome::ServerError, Refusal::new(ErrorKind::UpstreamError, message))
        }
    };
    // what such a refusal tells is what others used before
    let was_begun = !matches!(outcome, AttemptOutcome::RateLimited | AttemptOutcome::CredentialRefused);
    Failed { outcome, status: Some(status), may_bill: MayBill::Nothing, refusal: Box::new(refusal) }
        .telling(told_usage(&bytes).filter(|_| was_begun))
}

/// What a body says that was used, whatever else it says: who tells it may bill it.
pub(crate) fn told_usage(body: &[u8]) -> Option<Usage> {
    let usage = Node::parse(body).ok()?.object().ok()?.take("usage")?;
    let told = normalise(Surface::Chat, usage.text().as_bytes()).ok().flatten();
    told.filter(|told| told.total_tokens() > 0)
}

/// The provider's own words about the request, re-written in the client's shape so that nothing else of the
/// provider's answer gets out.
pub(crate) fn passed_on(status: StatusCode, error: &ProviderError) -> Refusal {
    let mut refusal = Refusal::new(ErrorKind::UpstreamRefused, error.message.clone());
    refusal.param.clone_from(&error.param);
    let body = encode_error(&ErrorBody {
        message: &error.message,
        error_type: error.error_type.as_deref().unwrap_or("invalid_request_error"),
        param: error.param.as_deref(),
        code: error.code.as_deref(),
        metadata: None,
    });
    refusal.upstream = Some(Box::new(UpstreamRefusal { status, body }));
    refusal
}

/// What the provider asks to wait, within bounds: 1 s where it says nothing, never above 300 s.
fn retry_after_ms(headers: &HeaderMap) -> u64 {
    const MAX_RETRY_AFTER_MS: u64 = 300_000;
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    number("retry-after-ms")
        .or_else(|| number("retry-after").map(|seconds| seconds.saturating_mul(1_000)))
        .unwrap_or(1_000)
        .min(MAX_RETRY_AFTER_MS)
}

// === impl Failed ===

impl Failed {
    pub(crate) fn new(
        outcome: AttemptOutcome,
        may_be_billed: bool,
        kind: ErrorKind,
        message: impl Into<String>,
    ) -> Self {
        let may_bill = if may_be_billed { MayBill::Estimate } else { MayBill::Nothing };
        Self { outcome, status: None, may_bill, refusal: Box::new(Refusal::new(kind, message)) }
    }

    /// The same where the provider says what it used.
    pub(crate) fn telling(self, told: Option<Usage>) -> Self {
        Self { may_bill: told.map_or(self.may_bill, |told| MayBill::Told(Box::new(told))), ..self }
    }

    pub(crate) fn timeout(message: &str) -> Self {
        Self::new(AttemptOutcome::Timeout, true, ErrorKind::UpstreamTimeout, message)
    }

    /// An error that a stream tells before its content: by its name the request's, the rate's or the provider's.
    pub(crate) fn before_content(error: &ProviderError) -> Self {
        let name = error.error_type.as_deref().unwrap_or_default().to_ascii_lowercase();
        match name.as_str() {
            "throttlingexception" => {
                let message = format!("the provider limits its rate: {}", error.message);
                let mut failed =
                    Self::new(AttemptOutcome::RateLimited, false, ErrorKind::UpstreamRateLimited, message);
                failed.refusal.retry_after_ms = Some(retry_after_ms(&HeaderMap::new()));
                failed
            }
            "validationexception" => {
                let refusal = passed_on(StatusCode::BAD_REQUEST, error);
                let kind = refusal.kind;
                Self { refusal: Box::new(refusal), ..Self::new(AttemptOutcome::Refused, false, kind, "") }
            }
            _ => {
                let message = format!("the provider failed: {}", error.message);
                Self::new(AttemptOutcome::ServerError, false, ErrorKind::UpstreamError, message)
            }
        }
    }

    pub(crate) fn from_upstream(error: &UpstreamError) -> Self {
        let (outcome, kind) = match error.kind {
            UpstreamErrorKind::Connect | UpstreamErrorKind::Tls | UpstreamErrorKind::ResetBeforeHeaders => {
                (AttemptOutcome::ConnectFailed, ErrorKind::UpstreamError)
            }
            UpstreamErrorKind::ConnectTimeout
            | UpstreamErrorKind::FirstByteTimeout
            | UpstreamErrorKind::IdleTimeout => (AttemptOutcome::Timeout, ErrorKind::UpstreamTimeout),
            UpstreamErrorKind::BodyBroken => (AttemptOutcome::StreamBroken, ErrorKind::UpstreamError),
            UpstreamErrorKind::InvalidResponse => (AttemptOutcome::BadAnswer, ErrorKind::UpstreamError),
        };
        tracing::debug!(%error, "an attempt failed");
        // the client learns what kind of failure it was, not where the provider lives
        let message = match error.kind {
            UpstreamErrorKind::Connect | UpstreamErrorKind::Tls => "the provider cannot be reached",
            UpstreamErrorKind::ConnectTimeout => "the provider did not accept a connection in time",
            UpstreamErrorKind::ResetBeforeHeaders => "the provider closed the connection without an answer",
            UpstreamErrorKind::FirstByteTimeout => "the provider did not answer in time",
            UpstreamErrorKind::IdleTimeout => "the provider stopped in the middle of its answer",
            UpstreamErrorKind::BodyBroken => "the provider's answer broke off",
            UpstreamErrorKind::InvalidResponse => "the provider's answer is not valid HTTP",
        };
        Self::new(outcome, !error.kind.is_before_dispatch(), kind, message)
    }

    /// With the provider's name in the sentence.
    pub(crate) fn named(mut self, priced: &PricedCandidate) -> Self {
        let name = &priced.candidate.provider.name;
        self.refusal.message =
            format!("{} (provider `{name}`); try again or use another model", self.refusal.message);
        self
    }
}
