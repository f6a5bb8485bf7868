//! One trace span per request and one per attempt, made only where the request is sampled.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId,
    TraceState, Tracer, TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span};
use tollgate_domain::{
    Attempt, AttemptOutcome, Meter, RequestId, RequestOutcome, Surface, UnixMillis, UsageEvent,
};

use crate::otlp::Sampling;
use crate::redact::excerpt;
use crate::{TraceParent, genai};

/// Model names are the client's text: longer ones are cut.
const MAX_MODEL_CHARS: usize = 256;

/// Starts the traces of requests. Cheap to clone; the disabled one costs a branch per request.
#[derive(Clone, Debug, Default)]
pub struct RequestTracer(Option<Arc<Live>>);

#[derive(Debug)]
struct Live {
    tracer: SdkTracer,
    sampling: Sampling,
}

/// The trace of one request. Not sampled or disabled: empty, and nothing was allocated.
#[derive(Debug, Default)]
#[must_use = "a trace is exported when it is finished"]
pub struct RequestTrace(Option<Box<Recording>>);

#[derive(Debug)]
struct Recording {
    live: Arc<Live>,
    surface: Surface,
    span: Span,
}

// === impl RequestTracer ===

impl RequestTracer {
    /// One that makes no traces.
    #[must_use]
    pub fn disabled() -> Self {
        Self(None)
    }

    pub(crate) fn new(provider: &SdkTracerProvider, sampling: Sampling) -> Self {
        Self(Some(Arc::new(Live { tracer: provider.tracer("tollgate"), sampling })))
    }

    /// Whether any request may be traced: where not, the caller need not look for a `traceparent`.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.0.is_some()
    }

    /// Starts the trace of a request, as a child of the caller's span where the client sent a valid
    /// `traceparent` header.
    pub fn start(&self, traceparent: Option<&str>, surface: Surface, request: RequestId) -> RequestTrace {
        let Some(live) = &self.0 else { return RequestTrace(None) };
        let caller = traceparent.and_then(TraceParent::parse);
        if !live.sampling.takes(caller.map(|caller| caller.sampled), request.as_uuid().as_u128()) {
            return RequestTrace(None);
        }
        let attributes = [
            KeyValue::new(genai::OPERATION_NAME, genai::operation_name(surface)),
            KeyValue::new(genai::TOLLGATE_REQUEST_ID, request.to_string()),
        ];
        let builder = SpanBuilder::from_name(genai::operation_name(surface))
            .with_kind(SpanKind::Server)
            .with_attributes(attributes);
        let parent = caller.map_or_else(Context::new, remote_context);
        let span = live.tracer.build_with_context(builder, &parent);
        RequestTrace(Some(Box::new(Recording { live: Arc::clone(live), surface, span })))
    }
}

fn remote_context(caller: TraceParent) -> Context {
    Context::new().with_remote_span_context(SpanContext::new(
        TraceId::from(caller.trace_id),
        SpanId::from(caller.span_id),
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    ))
}

// === impl RequestTrace ===

impl RequestTrace {
    /// One that records nothing.
    pub fn disabled() -> Self {
        Self(None)
    }

    /// Whether anything is recorded.
    #[must_use]
    pub fn is_recording(&self) -> bool {
        self.0.is_some()
    }

    /// Notes what was asked for, as soon as it is known.
    pub fn set_request(&mut self, model: &str, max_tokens: Option<u64>, streamed: bool) {
        let Some(recording) = &mut self.0 else { return };
        let model = excerpt(model, MAX_MODEL_CHARS).into_owned();
        recording.span.update_name(format!("{} {model}", genai::operation_name(recording.surface)));
        recording.span.set_attribute(KeyValue::new(genai::REQUEST_MODEL, model));
        recording.span.set_attribute(KeyValue::new(genai::REQUEST_STREAM, streamed));
        if let Some(max_tokens) = max_tokens {
            recording.span.set_attribute(KeyValue::new(genai::REQUEST_MAX_TOKENS, integer(max_tokens)));
        }
    }

    /// What to send to the provider as `traceparent`; `None` where nothing is recorded.
    #[must_use]
    pub fn traceparent(&self) -> Option<TraceParent> {
        let context = self.0.as_ref()?.span.span_context();
        let trace_id = u128::from_be_bytes(context.trace_id().to_bytes());
        let span_id = u64::from_be_bytes(context.span_id().to_bytes());
        Some(TraceParent { trace_id, span_id, sampled: true })
    }

    /// Ends the trace of a request that was sent upstream: its usage, cost and outcome, and a child span per
    /// attempt.
    pub fn finish(self, event: &UsageEvent) {
        let Some(mut recording) = self.0 else { return };
        recording.span.set_attributes(request_attributes(event));
        recording.set_outcome(event.outcome, event.status);
        let parent = Context::new().with_remote_span_context(recording.span.span_context().clone());
        for attempt in &event.attempts {
            record_attempt(&recording.live.tracer, &parent, recording.surface, attempt);
        }
        recording.span.end();
    }

    /// Ends the trace of a request that was refused before anything was sent.
    pub fn finish_refused(self, outcome: RequestOutcome, status: u16) {
        let Some(mut recording) = self.0 else { return };
        recording.set_outcome(outcome, status);
        recording.span.end();
    }
}

impl Recording {
    fn set_outcome(&mut self, outcome: RequestOutcome, status: u16) {
        self.span.set_attribute(KeyValue::new(genai::TOLLGATE_OUTCOME, outcome.name()));
        self.span.set_attribute(KeyValue::new(genai::HTTP_RESPONSE_STATUS_CODE, i64::from(status)));
        if let RequestOutcome::Error(kind) = outcome {
            self.span.set_attribute(KeyValue::new(genai::ERROR_TYPE, kind.code()));
            // by the conventions a server's span is in error only where the server is to blame
            if status >= 500 {
                self.span.set_status(Status::error(kind.code()));
            }
        }
    }
}

fn request_attributes(event: &UsageEvent) -> Vec<KeyValue> {
    vec![
        KeyValue::new(genai::PROVIDER_NAME, event.provider.clone()),
        KeyValue::new(genai::RESPONSE_MODEL, excerpt(&event.model, MAX_MODEL_CHARS).into_owned()),
        KeyValue::new(genai::USAGE_INPUT_TOKENS, integer(event.usage.input_tokens())),
        KeyValue::new(genai::USAGE_OUTPUT_TOKENS, integer(event.usage.output_tokens())),
        KeyValue::new(genai::USAGE_CACHE_READ_INPUT_TOKENS, integer(event.usage.get(Meter::CachedInput))),
        KeyValue::new(genai::TOLLGATE_TENANT_ID, event.tenant.to_string()),
        KeyValue::new(genai::TOLLGATE_PROJECT_ID, event.project.to_string()),
        KeyValue::new(genai::TOLLGATE_KEY_ID, event.key.to_string()),
        KeyValue::new(genai::TOLLGATE_COST_NANO_USD, event.cost.0),
        KeyValue::new(genai::TOLLGATE_ATTEMPTS, integer(event.attempts.len() as u64)),
        KeyValue::new(genai::TOLLGATE_OVERHEAD_US, integer(event.overhead_us)),
    ]
}

/// An attempt's span, made after the fact from its receipt. It carries no usage: that stands on the
/// request's span once, so that nobody counts it twice.
fn record_attempt(tracer: &SdkTracer, parent: &Context, surface: Surface, attempt: &Attempt) {
    let operation = genai::operation_name(surface);
    let model = excerpt(&attempt.model, MAX_MODEL_CHARS).into_owned();
    let started_at = system_time(attempt.started_at);
    let mut attributes = vec![
        KeyValue::new(genai::OPERATION_NAME, operation),
        KeyValue::new(genai::PROVIDER_NAME, attempt.provider.clone()),
    ];
    if let Some(status) = attempt.status {
        attributes.push(KeyValue::new(genai::HTTP_RESPONSE_STATUS_CODE, i64::from(status)));
    }
    let has_failed = !matches!(attempt.outcome, AttemptOutcome::Ok | AttemptOutcome::Cancelled);
    if has_failed {
        attributes.push(KeyValue::new(genai::ERROR_TYPE, attempt.outcome.name()));
    }
    let name = format!("{operation} {model}");
    attributes.push(KeyValue::new(genai::REQUEST_MODEL, model));
    let builder = SpanBuilder::from_name(name)
        .with_kind(SpanKind::Client)
        .with_start_time(started_at)
        .with_attributes(attributes);
    let mut span = tracer.build_with_context(builder, parent);
    if has_failed {
        span.set_status(Status::error(attempt.outcome.name()));
    }
    span.end_with_timestamp(started_at + Duration::from_millis(attempt.duration_ms));
}

fn system_time(moment: UnixMillis) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(moment.0).unwrap_or(0))
}

/// The conventions' integers are signed.
fn integer(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
