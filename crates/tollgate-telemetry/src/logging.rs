//! Logs on standard error, as text for people or as JSON lines for machines, every line scrubbed.

use std::io;

use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;

use crate::json::JsonLayer;
use crate::otlp::{self, OtlpConfig};
use crate::{RequestTracer, TelemetryError, redact};

/// What is logged when the caller gives no filter.
pub const DEFAULT_FILTER: &str = "info";

/// The shape of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One readable line per event.
    #[default]
    Text,
    /// One flat JSON object per event.
    Json,
}

impl LogFormat {
    /// The format of that name: `text` or `json`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// How logs and traces leave the process.
#[derive(Clone, Debug, Default)]
pub struct LogConfig {
    /// Shape of the lines.
    pub format: LogFormat,
    /// Which events are logged, as in `info,tollgate_gateway=debug`; empty is [`DEFAULT_FILTER`].
    pub filter: String,
    /// Where traces go; `None` makes none.
    pub otlp: Option<OtlpConfig>,
}

/// Keeps telemetry running; dropping it hands the last spans over, waiting at most
/// [`otlp::SHUTDOWN_TIMEOUT`]. Keep it in `main` until the end.
#[derive(Debug)]
#[must_use = "traces stop when the guard is dropped"]
pub struct TelemetryGuard {
    tracer: RequestTracer,
    provider: Option<SdkTracerProvider>,
}

impl TelemetryGuard {
    /// What makes the traces of requests; disabled where no endpoint was given. Cheap to clone.
    #[must_use]
    pub fn tracer(&self) -> RequestTracer {
        self.tracer.clone()
    }

    /// Hands over the spans that have ended so far. Blocks; failures are logged by the exporter.
    pub fn flush(&self) {
        if let Some(provider) = &self.provider {
            let _ = provider.force_flush();
        }
    }
}

impl Drop for TelemetryGuard {
    fn drop(&mut self) {
        if let Some(provider) = self.provider.take() {
            // the exporter has logged why, if it failed
            let _ = provider.shutdown_with_timeout(otlp::SHUTDOWN_TIMEOUT);
        }
    }
}

/// Sets up logs on standard error, and traces where an endpoint is given, for the whole process.
///
/// # Errors
/// [`TelemetryError`]: a wrong filter or endpoint, or a second call in one process.
pub fn init(config: &LogConfig) -> Result<TelemetryGuard, TelemetryError> {
    let subscriber = subscriber(config, io::stderr)?;
    let guard = tracing_only(config.otlp.as_ref())?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| TelemetryError::AlreadyInitialised)?;
    Ok(guard)
}

/// Sets up traces alone: for tests and for programs with logs of their own.
///
/// # Errors
/// [`TelemetryError`]: a wrong endpoint.
pub fn tracing_only(otlp: Option<&OtlpConfig>) -> Result<TelemetryGuard, TelemetryError> {
    let Some(config) = otlp else {
        return Ok(TelemetryGuard { tracer: RequestTracer::disabled(), provider: None });
    };
    let provider = otlp::provider(config)?;
    let tracer = RequestTracer::new(&provider, config.sampling);
    Ok(TelemetryGuard { tracer, provider: Some(provider) })
}

/// The subscriber that [`init`] installs, writing to `make_writer` instead of standard error.
///
/// # Errors
/// [`TelemetryError::BadFilter`].
pub fn subscriber<W>(
    config: &LogConfig,
    make_writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, TelemetryError>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let filter = if config.filter.is_empty() { DEFAULT_FILTER } else { &config.filter };
    let filter = EnvFilter::builder().parse(filter).map_err(|error| TelemetryError::BadFilter {
        filter: filter.to_owned(),
        reason: error.to_string(),
    })?;
    let registry = tracing_subscriber::registry().with(filter);
    let make_writer = ScrubbingWriter(make_writer);
    Ok(match config.format {
        LogFormat::Json => Box::new(registry.with(JsonLayer::new(make_writer))),
        LogFormat::Text => {
            let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(make_writer);
            Box::new(registry.with(layer))
        }
    })
}

// === the scrubbing writer ===

/// Scrubs what passes through; the layers above write one whole line at a time.
struct ScrubbingWriter<W>(W);

impl<'writer, W: MakeWriter<'writer>> MakeWriter<'writer> for ScrubbingWriter<W> {
    type Writer = ScrubbingLine<W::Writer>;

    fn make_writer(&'writer self) -> Self::Writer {
        ScrubbingLine(self.0.make_writer())
    }

    fn make_writer_for(&'writer self, metadata: &tracing::Metadata<'_>) -> Self::Writer {
        ScrubbingLine(self.0.make_writer_for(metadata))
    }
}

/// The writer of one line.
struct ScrubbingLine<W>(W);

impl<W: io::Write> io::Write for ScrubbingLine<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        self.0.write_all(redact::scrub(&text).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
