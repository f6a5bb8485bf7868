//! Logs and traces of a server process, from its options and the standard variables.

use tollgate_telemetry::otlp::traces_endpoint;
use tollgate_telemetry::{
    LogConfig, LogFormat, OtlpConfig, Sampling, TelemetryError, TelemetryGuard, logging,
};

use crate::cli::{LogFormat as LogFormatOption, ServerOptions, UsageError};

/// Starts both; keep the guard until the end.
///
/// # Errors
/// A filter, endpoint or variable that is wrong.
pub(super) fn start(options: &ServerOptions, role: &str) -> anyhow::Result<TelemetryGuard> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let refused = |error: TelemetryError| UsageError::new(error.to_string());
    let endpoint = traces_endpoint(
        options.otlp_endpoint.as_deref(),
        variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").as_deref(),
        variable("OTEL_EXPORTER_OTLP_PROTOCOL").as_deref(),
    )
    .map_err(refused)?;
    let sampling = Sampling::from_otel(
        variable("OTEL_TRACES_SAMPLER").as_deref(),
        variable("OTEL_TRACES_SAMPLER_ARG").as_deref(),
    )
    .map_err(refused)?;
    let service_name = variable("OTEL_SERVICE_NAME").unwrap_or_else(|| "tollgate".to_owned());
    let otlp = endpoint.map(|endpoint| OtlpConfig {
        endpoint,
        service_name,
        instance_id: format!("{role}-{}", std::process::id()),
        sampling,
    });
    let format = match options.log_format {
        LogFormatOption::Text => LogFormat::Text,
        LogFormatOption::Json => LogFormat::Json,
    };
    let named = |name| variable(name).map(|filter| (name, filter));
    let (filter_variable, filter) =
        named("TOLLGATE_LOG").or_else(|| named("RUST_LOG")).unwrap_or(("TOLLGATE_LOG", String::new()));
    logging::init(&LogConfig { format, filter, otlp }).map_err(|error| match error {
        TelemetryError::BadFilter { .. } => UsageError::new(format!("{filter_variable}: {error}")).into(),
        _ => anyhow::Error::new(error).context("logging cannot start"),
    })
}
