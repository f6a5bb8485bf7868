use std::collections::{BTreeMap, BTreeSet};

use tollgate_domain::{AttemptOutcome, ErrorKind, Meter};

use super::*;

fn finished(outcome: RequestOutcome, usage: &Usage) -> FinishedRequest<'_> {
    FinishedRequest {
        surface: Surface::Chat,
        outcome,
        duration: Duration::from_millis(120),
        first_byte: Some(Duration::from_millis(40)),
        overhead: Duration::from_micros(85),
        usage,
        cost: NanoUsd(2_500),
    }
}

/// Metric names to the set of label names used with them.
fn label_names(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let series = line.rsplit_once(' ').unwrap().0;
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let known = names.entry(name.to_owned()).or_default();
        let labels = labels.trim_end_matches('}').split("\",").filter(|label| !label.is_empty());
        known.extend(labels.map(|label| label.split_once('=').unwrap().0.to_owned()));
    }
    names
}

#[test]
fn every_metric_is_there_with_closed_labels() {
    let metrics = Metrics::new();
    metrics.provider("openai").attempt(AttemptOutcome::Timeout);
    let names = label_names(&metrics.encode());
    let expected = [
        ("tollgate_requests_total", vec!["surface", "outcome"]),
        ("tollgate_request_duration_seconds_bucket", vec!["surface", "le"]),
        ("tollgate_time_to_first_byte_seconds_count", vec!["surface"]),
        ("tollgate_overhead_seconds_sum", vec!["surface"]),
        ("tollgate_upstream_attempts_total", vec!["provider", "outcome"]),
        ("tollgate_upstream_caps_ignored_total", vec!["provider"]),
        ("tollgate_tokens_total", vec!["class"]),
        ("tollgate_cost_nano_usd_total", vec![]),
        ("tollgate_ledger_calls_total", vec!["call", "result"]),
        ("tollgate_ledger_call_seconds_bucket", vec!["call", "le"]),
        ("tollgate_alerts_total", vec!["event"]),
        ("tollgate_webhook_attempts_total", vec!["result"]),
        ("tollgate_ledger_drifts_total", vec![]),
        ("tollgate_ledger_drift_nano_usd_total", vec![]),
        ("tollgate_policy_revision", vec![]),
        ("tollgate_policy_rejected_total", vec![]),
        ("tollgate_policy_lag_seconds", vec![]),
        ("tollgate_in_flight", vec![]),
        ("tollgate_settlement_queue_length", vec![]),
        ("tollgate_journal_lag_events", vec![]),
        ("tollgate_journal_events_total", vec![]),
        ("process_resident_memory_bytes", vec![]),
        ("process_cpu_seconds_total", vec![]),
    ];
    for (name, labels) in expected {
        let labels: BTreeSet<String> = labels.into_iter().map(str::to_owned).collect();
        assert_eq!(names.get(name), Some(&labels), "{name}");
    }
    let allowed = ["surface", "outcome", "provider", "class", "call", "result", "le", "event", "path"];
    let used: BTreeSet<&str> = names.values().flatten().map(String::as_str).collect();
    assert!(used.iter().all(|label| allowed.contains(label)), "{used:?}");
}

#[test]
fn requests_are_counted_in_their_series() {
    let metrics = Metrics::new();
    let usage = Usage::ZERO.with(Meter::Input, 11).with(Meter::Output, 7);
    let in_flight = metrics.request_started();
    metrics.request_finished(&finished(RequestOutcome::Ok, &usage));
    metrics.request_finished(&finished(RequestOutcome::ClientClosed, &Usage::ZERO));
    metrics.request_finished(&finished(RequestOutcome::Error(ErrorKind::BudgetExceeded), &Usage::ZERO));
    metrics.provider("openai").attempt(AttemptOutcome::Ok);
    metrics.provider("openai").attempt(AttemptOutcome::Ok);
    metrics.ledger_call(LedgerCall::Admit, LedgerResult::Refused, Duration::from_micros(30));
    metrics.set_policy_revision(17);
    metrics.set_policy_lag(Duration::from_millis(1_500));
    let text = metrics.encode();
    let expected = [
        r#"tollgate_requests_total{surface="chat",outcome="ok"} 1"#,
        r#"tollgate_requests_total{surface="chat",outcome="client_closed"} 1"#,
        r#"tollgate_requests_total{surface="chat",outcome="budget_exceeded"} 1"#,
        r#"tollgate_requests_total{surface="embeddings",outcome="ok"} 0"#,
        r#"tollgate_request_duration_seconds_count{surface="chat"} 3"#,
        r#"tollgate_request_duration_seconds_bucket{le="+Inf",surface="chat"} 3"#,
        r#"tollgate_overhead_seconds_bucket{le="0.000075",surface="chat"} 0"#,
        r#"tollgate_overhead_seconds_bucket{le="0.0001",surface="chat"} 3"#,
        r#"tollgate_upstream_attempts_total{provider="openai",outcome="ok"} 2"#,
        r#"tollgate_tokens_total{class="input"} 11"#,
        r#"tollgate_tokens_total{class="output"} 7"#,
        "tollgate_cost_nano_usd_total 7500",
        r#"tollgate_ledger_calls_total{call="admit",result="refused"} 1"#,
        "tollgate_policy_revision 17",
        "tollgate_policy_lag_seconds 1.5",
        "tollgate_in_flight 1",
    ];
    for line in expected {
        assert!(text.lines().any(|found| found.starts_with(line)), "{line} is missing in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
    drop(in_flight);
    assert!(metrics.encode().contains("tollgate_in_flight 0"));
}

#[test]
fn series_do_not_repeat() {
    let text = Metrics::new().encode();
    let series: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.rsplit_once(' ').unwrap().0)
        .collect();
    let unique: BTreeSet<&str> = series.iter().copied().collect();
    assert_eq!(unique.len(), series.len());
}
