//! What operators see: structured logs, Prometheus metrics and OpenTelemetry traces, and the redaction
//! that all of them pass through. Configured by plain values; only the binary reads the environment.

mod access;
pub mod genai;
mod json;
pub mod logging;
pub mod metrics;
pub mod otlp;
pub mod redact;
mod request_trace;
mod trace_context;

pub use access::{ACCESS_TARGET, log_request};
pub use logging::{LogConfig, LogFormat, TelemetryGuard};
pub use metrics::Metrics;
pub use otlp::{OtlpConfig, Sampling};
pub use request_trace::{RequestTrace, RequestTracer};
pub use trace_context::TraceParent;

/// Why telemetry could not be set up. All of them are mistakes in the configuration.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter has a syntax error.
    #[error(
        "the log filter `{filter}` is wrong: {reason}; write one like `info` or `info,tollgate_gateway=debug`"
    )]
    BadFilter {
        /// As given.
        filter: String,
        /// What the parser said.
        reason: String,
    },
    /// A second initialisation in one process.
    #[error("logging is already set up in this process")]
    AlreadyInitialised,
    /// The endpoint is not usable.
    #[error("the trace endpoint `{endpoint}` cannot be used: {reason}")]
    BadEndpoint {
        /// As given, without its password.
        endpoint: String,
        /// What to write instead.
        reason: String,
    },
    /// An OpenTelemetry variable has a value that is not supported.
    #[error("{variable}=`{value}` is not supported; write {expected}")]
    Unsupported {
        /// The variable's name.
        variable: &'static str,
        /// Its value.
        value: String,
        /// What is supported.
        expected: &'static str,
    },
    /// The exporter could not be built.
    #[error("the trace exporter could not be built: {0}")]
    Exporter(String),
}
