//! The line that says how a request ended.

use tollgate_domain::{ErrorKind, RequestOutcome, UsageEvent};

use crate::redact::excerpt;

/// The target of [`log_request`]'s events: `tollgate::access=debug` in the filter shows every request.
pub const ACCESS_TARGET: &str = "tollgate::access";
/// Model names are the client's text: longer ones are cut.
const MAX_MODEL_CHARS: usize = 128;

/// Logs a request that was sent upstream: at `error` where the fault is ours, at `warn` where it failed,
/// else at `debug`, so that healthy traffic costs no line. Where the line is filtered out nothing is computed.
pub fn log_request(event: &UsageEvent) {
    macro_rules! log_at {
        ($level:ident) => {
            tracing::$level!(
                target: ACCESS_TARGET,
                request_id = %event.request,
                tenant = %event.tenant,
                project = %event.project,
                key = %event.key,
                surface = event.surface.name(),
                requested_model = %excerpt(&event.requested_model, MAX_MODEL_CHARS),
                provider = event.provider.as_str(),
                model = %excerpt(&event.model, MAX_MODEL_CHARS),
                streamed = event.streamed,
                outcome = event.outcome.name(),
                status = event.status,
                attempts = event.attempts.len(),
                input_tokens = event.usage.input_tokens(),
                output_tokens = event.usage.output_tokens(),
                held_nano_usd = event.held.0,
                cost_nano_usd = event.cost.0,
                basis = event.basis.name(),
                duration_ms = event.duration_ms,
                overhead_us = event.overhead_us,
                policy_revision = event.policy_revision,
                "request finished"
            )
        };
    }
    match event.outcome {
        RequestOutcome::Error(ErrorKind::Internal) => log_at!(error),
        RequestOutcome::Error(_) if event.status >= 500 => log_at!(warn),
        _ => log_at!(debug),
    }
}
