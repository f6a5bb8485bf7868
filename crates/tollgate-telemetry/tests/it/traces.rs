use tollgate_domain::{ErrorKind, RequestId, RequestOutcome, Surface};
use tollgate_telemetry::logging::tracing_only;
use tollgate_telemetry::otlp::traces_endpoint;
use tollgate_telemetry::{OtlpConfig, RequestTracer, Sampling, TelemetryGuard, TraceParent};

use crate::collector::{collector, next};
use crate::event::{failed_request, finished_request};

const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn exporting_to(address: &str, sampling: Sampling) -> TelemetryGuard {
    let endpoint = traces_endpoint(Some(address), None, None).unwrap().unwrap();
    let config = OtlpConfig {
        endpoint,
        service_name: "tollgate".to_owned(),
        instance_id: "node-1".to_owned(),
        sampling,
    };
    tracing_only(Some(&config)).unwrap()
}

#[test]
fn a_collector_gets_spans_by_the_conventions() {
    let (address, exports) = collector(200);
    let guard = exporting_to(&address, Sampling::default());
    let event = finished_request();
    let mut trace = guard.tracer().start(Some(CALLER), Surface::Chat, event.request);
    trace.set_request("chat-default", Some(64), true);
    let own = trace.traceparent().unwrap();
    assert_eq!(own.trace_id, TraceParent::parse(CALLER).unwrap().trace_id);
    assert_ne!(own.span_id, TraceParent::parse(CALLER).unwrap().span_id);
    trace.finish(&event);
    drop(guard);
    let export = next(&exports);
    assert_eq!(export.path, "/v1/traces");
    for (name, value) in [
        ("service.name", "tollgate"),
        ("service.instance.id", "node-1"),
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "openai"),
        ("gen_ai.provider.name", "azure"),
        ("gen_ai.request.model", "chat-default"),
        ("gen_ai.response.model", "gpt-5-mini"),
        ("error.type", "rate_limited"),
        ("tollgate.outcome", "ok"),
    ] {
        assert!(export.has_text_attribute(name, value), "{name}={value}");
    }
    assert!(export.has_small_integer_attribute("gen_ai.usage.input_tokens", 100));
    assert!(export.has_small_integer_attribute("gen_ai.usage.output_tokens", 20));
    assert!(export.has_small_integer_attribute("gen_ai.request.max_tokens", 64));
    assert!(export.has_text("chat chat-default") && export.has_text("chat gpt-5-mini"));
    let callers_span = 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes();
    assert!(export.body.windows(8).any(|window| window == callers_span), "the caller's span is the parent");
    let text = String::from_utf8_lossy(&export.body);
    assert!(!text.contains("canary"), "people's data and labels stay out");
}

#[test]
fn refusals_and_failures_name_their_kind() {
    let (address, exports) = collector(200);
    let guard = exporting_to(&address, Sampling::default());
    let refused = guard.tracer().start(None, Surface::Embeddings, RequestId::from_u128(5));
    refused.finish_refused(RequestOutcome::Error(ErrorKind::BudgetExceeded), 402);
    guard.tracer().start(None, Surface::Chat, RequestId::from_u128(6)).finish(&failed_request());
    guard.flush();
    let export = next(&exports);
    assert!(export.has_text_attribute("gen_ai.operation.name", "embeddings"));
    assert!(export.has_text_attribute("error.type", "budget_exceeded"));
    assert!(export.has_text_attribute("error.type", "upstream_error"));
}

#[test]
fn what_is_not_sampled_is_not_recorded() {
    let (address, exports) = collector(200);
    let guard = exporting_to(&address, Sampling::default());
    let unsampled = CALLER.replace("-01", "-00");
    let trace = guard.tracer().start(Some(&unsampled), Surface::Chat, RequestId::from_u128(1));
    assert!(!trace.is_recording() && trace.traceparent().is_none());
    trace.finish(&finished_request());
    let off = exporting_to(&address, Sampling::from_otel(Some("always_off"), None).unwrap());
    assert!(!off.tracer().start(Some(CALLER), Surface::Chat, RequestId::from_u128(1)).is_recording());
    drop((guard, off));
    assert!(exports.try_recv().is_err(), "nothing is exported");
}

#[test]
fn disabled_traces_take_every_call() {
    let guard = tracing_only(None).unwrap();
    assert!(!guard.tracer().is_enabled());
    for tracer in [guard.tracer(), RequestTracer::disabled()] {
        let mut trace = tracer.start(Some(CALLER), Surface::Chat, RequestId::from_u128(1));
        trace.set_request("chat-default", None, false);
        assert!(!trace.is_recording() && trace.traceparent().is_none());
        trace.finish(&finished_request());
        tracer
            .start(None, Surface::Chat, RequestId::from_u128(1))
            .finish_refused(RequestOutcome::ClientClosed, 499);
    }
    assert_eq!(
        size_of_val(&RequestTracer::disabled().start(None, Surface::Chat, RequestId::from_u128(1))),
        size_of::<usize>()
    );
}

/// A collector that refuses, and one that is not there: the spans are lost, nothing else happens.
#[test]
fn a_failing_collector_disturbs_nothing() {
    let (address, exports) = collector(500);
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    for address in [address.as_str(), closed.as_str()] {
        let guard = exporting_to(address, Sampling::default());
        for _ in 0..100 {
            guard.tracer().start(None, Surface::Chat, RequestId::from_u128(1)).finish(&finished_request());
        }
        guard.flush();
        drop(guard);
    }
    assert!(next(&exports).has_text_attribute("tollgate.outcome", "ok"));
}

/// Inside an async runtime of one thread: the exporter has a thread of its own, and the end does not hang.
#[tokio::test(flavor = "current_thread")]
async fn exports_work_inside_a_single_threaded_runtime() {
    let (address, exports) = collector(200);
    let guard = exporting_to(&address, Sampling::default());
    guard.tracer().start(None, Surface::Chat, RequestId::from_u128(1)).finish(&finished_request());
    drop(guard);
    assert!(next(&exports).has_text_attribute("tollgate.outcome", "ok"));
}
