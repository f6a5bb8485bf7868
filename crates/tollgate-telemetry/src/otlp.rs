//! Traces over OTLP: HTTP with protobuf, batched behind a bounded queue on a thread of its own. A collector
//! that is slow or away costs spans, never requests.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanData, SpanExporter as ExportSpans,
};

use crate::TelemetryError;
use crate::redact::url_without_password;

/// How long the end of the process waits for the last spans.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);
/// How long one export may take: the collector is a neighbour, and the queue fills meanwhile.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// Spans that wait for export: a few MiB; past it new ones are dropped.
const MAX_QUEUED_SPANS: usize = 8_192;
/// Spans of one export; the conventional size.
const MAX_SPANS_PER_EXPORT: usize = 512;
/// Where the traces of a collector's base URL go.
const TRACES_PATH: &str = "/v1/traces";

/// Where traces go and which.
#[derive(Clone, Debug)]
pub struct OtlpConfig {
    /// The full address that spans are posted to, as [`traces_endpoint`] gives it: `http://…/v1/traces`.
    pub endpoint: String,
    /// `service.name`: `tollgate` unless the operator says otherwise.
    pub service_name: String,
    /// `service.instance.id`: which process this is.
    pub instance_id: String,
    /// Which requests are traced.
    pub sampling: Sampling,
}

/// Which requests are traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// Follow the caller's decision where it sent one.
    follow_parent: bool,
    /// A new trace is taken when the low 56 bits of its request's id are below this.
    threshold: u64,
}

/// Ids carry at least 56 random low bits.
const SAMPLING_BITS: u32 = 56;

impl Default for Sampling {
    /// OpenTelemetry's default: the caller decides, else every request.
    fn default() -> Self {
        Self { follow_parent: true, threshold: 1 << SAMPLING_BITS }
    }
}

impl Sampling {
    /// Reads the standard variables `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`.
    ///
    /// # Errors
    /// [`TelemetryError::Unsupported`] for an unknown sampler or a ratio outside 0 to 1.
    pub fn from_otel(sampler: Option<&str>, argument: Option<&str>) -> Result<Self, TelemetryError> {
        let Some(sampler) = sampler.filter(|name| !name.is_empty()) else { return Ok(Self::default()) };
        let (follow_parent, root) = match sampler.strip_prefix("parentbased_") {
            Some(root) => (true, root),
            None => (false, sampler),
        };
        let ratio = match root {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => parse_ratio(argument.unwrap_or("1"))?,
            _ => {
                return Err(TelemetryError::Unsupported {
                    variable: "OTEL_TRACES_SAMPLER",
                    value: sampler.to_owned(),
                    expected: "always_on, always_off, traceidratio, or one of them after parentbased_",
                });
            }
        };
        #[expect(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "between 0 and 2⁵⁶")]
        let threshold = (ratio * (1_u64 << SAMPLING_BITS) as f64) as u64;
        Ok(Self { follow_parent, threshold })
    }

    /// Whether a request is traced: by its caller's decision, else by the low bits of its id.
    #[must_use]
    pub(crate) fn takes(self, caller_sampled: Option<bool>, id: u128) -> bool {
        match caller_sampled {
            Some(sampled) if self.follow_parent => sampled,
            _ => {
                let low_bits = id & ((1 << SAMPLING_BITS) - 1);
                low_bits < u128::from(self.threshold)
            }
        }
    }
}

fn parse_ratio(text: &str) -> Result<f64, TelemetryError> {
    text.trim().parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio)).ok_or_else(|| {
        TelemetryError::Unsupported {
            variable: "OTEL_TRACES_SAMPLER_ARG",
            value: text.to_owned(),
            expected: "a ratio between 0 and 1, like 0.1",
        }
    })
}

/// The address for [`OtlpConfig::endpoint`] from the standard variables: the traces' own
/// (`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`) as it is, else the common one (`OTEL_EXPORTER_OTLP_ENDPOINT`)
/// with `/v1/traces` appended. `None` when neither is set: no traces.
///
/// # Errors
/// [`TelemetryError`]: not `http://`, or a protocol other than `http/protobuf`.
pub fn traces_endpoint(
    common: Option<&str>,
    traces: Option<&str>,
    protocol: Option<&str>,
) -> Result<Option<String>, TelemetryError> {
    let filled =
        |value: Option<&str>| value.map(str::trim).filter(|value| !value.is_empty()).map(str::to_owned);
    let appended = |base: String| format!("{}{TRACES_PATH}", base.trim_end_matches('/'));
    let Some(endpoint) = filled(traces).or_else(|| filled(common).map(appended)) else { return Ok(None) };
    if let Some(protocol) = filled(protocol).filter(|protocol| protocol != "http/protobuf") {
        return Err(TelemetryError::Unsupported {
            variable: "OTEL_EXPORTER_OTLP_PROTOCOL",
            value: protocol,
            expected: "http/protobuf (port 4318 on most collectors)",
        });
    }
    if !endpoint.starts_with("http://") {
        return Err(TelemetryError::BadEndpoint {
            endpoint: url_without_password(&endpoint),
            reason: "write http://host:4318; for TLS send to a collector next to Tollgate that forwards"
                .to_owned(),
        });
    }
    Ok(Some(endpoint))
}

/// A provider that exports to `config.endpoint`. Headers come from `OTEL_EXPORTER_OTLP_HEADERS` and resource
/// attributes from `OTEL_RESOURCE_ATTRIBUTES`, which the SDK reads itself.
pub(crate) fn provider(config: &OtlpConfig) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(&config.endpoint)
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(|error| TelemetryError::Exporter(error.to_string()))?;
    let batch = BatchConfigBuilder::default()
        .with_max_queue_size(MAX_QUEUED_SPANS)
        .with_max_export_batch_size(MAX_SPANS_PER_EXPORT)
        .build();
    let exporter = ReportingExporter {
        exporter,
        endpoint: url_without_password(&config.endpoint),
        lost: AtomicU64::new(0),
    };
    let resource = Resource::builder()
        .with_service_name(config.service_name.clone())
        .with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", config.instance_id.clone()),
        ])
        .build();
    Ok(SdkTracerProvider::builder()
        .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batch).build())
        // what is not sampled never reaches the SDK
        .with_sampler(Sampler::AlwaysOn)
        .with_resource(resource)
        .build())
}

/// Says once when exports begin to fail and once when they work again.
#[derive(Debug)]
struct ReportingExporter {
    exporter: SpanExporter,
    endpoint: String,
    lost: AtomicU64,
}

impl ExportSpans for ReportingExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let n_spans = batch.len() as u64;
        let result = self.exporter.export(batch).await;
        let endpoint = self.endpoint.as_str();
        match &result {
            Ok(()) => {
                let lost_spans = self.lost.swap(0, Relaxed);
                if lost_spans > 0 {
                    tracing::info!(endpoint, lost_spans, "traces are exported again");
                }
            }
            Err(error) => {
                if self.lost.fetch_add(n_spans, Relaxed) == 0 {
                    tracing::warn!(endpoint, %error, "traces cannot be exported; requests are not affected");
                }
            }
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samplers_by_their_standard_names() {
        let takes =
            |sampler, argument, caller, id| Sampling::from_otel(sampler, argument).unwrap().takes(caller, id);
        assert!(takes(None, None, None, u128::MAX));
        assert!(!takes(None, None, Some(false), 0));
        assert!(takes(Some("always_on"), None, Some(false), u128::MAX));
        assert!(!takes(Some("always_off"), None, Some(true), 0));
        assert!(takes(Some("parentbased_always_off"), None, Some(true), 0));
        assert!(!takes(Some("parentbased_always_off"), None, None, 0));
        let quarter = |id| takes(Some("parentbased_traceidratio"), Some("0.25"), None, id);
        assert!(quarter((1 << 54) - 1) && !quarter(1 << 54));
        for (sampler, argument) in
            [("jaeger_remote", None), ("traceidratio", Some("2")), ("traceidratio", Some("x"))]
        {
            assert!(Sampling::from_otel(Some(sampler), argument).is_err(), "{sampler} {argument:?}");
        }
    }

    #[test]
    fn endpoints_from_the_standard_variables() {
        let endpoint = |common, traces, protocol| {
            traces_endpoint(common, traces, protocol).map_err(|error| error.to_string())
        };
        assert_eq!(endpoint(None, Some(""), None), Ok(None));
        assert_eq!(
            endpoint(Some("http://c:4318/"), None, None),
            Ok(Some("http://c:4318/v1/traces".to_owned()))
        );
        assert_eq!(
            endpoint(Some("http://c"), Some("http://d/t"), Some("http/protobuf")),
            Ok(Some("http://d/t".to_owned()))
        );
        assert!(endpoint(Some("http://c:4317"), None, Some("grpc")).unwrap_err().contains("http/protobuf"));
        let refused = endpoint(Some("https://u:secret@c"), None, None).unwrap_err();
        assert!(refused.contains("collector") && !refused.contains("secret"), "{refused}");
    }
}
