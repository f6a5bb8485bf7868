//! Writes the counters in OpenMetrics form when somebody scrapes.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use tollgate_domain::{AttemptOutcome, Meter, Surface};

use super::counters::{Counters, SurfaceCounters, outcome_label};
use super::histogram::DurationHistogram;
use super::labels::{LedgerCall, LedgerResult};

/// The product's own metrics.
#[derive(Debug)]
pub(super) struct TollgateCollector(pub(super) Arc<Counters>);

type Label<'a> = (&'static str, &'a str);

impl Collector for TollgateCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_requests(&mut encoder)?;
        self.encode_upstream(&mut encoder)?;
        self.encode_ledger(&mut encoder)?;
        self.encode_policy(&mut encoder)?;
        self.encode_recovery(&mut encoder)?;
        self.encode_alerting(&mut encoder)?;
        self.encode_queues(&mut encoder)
    }
}

impl TollgateCollector {
    fn encode_requests(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Requests that have ended, by surface and outcome";
        let mut family = encoder.encode_descriptor("tollgate_requests", help, None, MetricType::Counter)?;
        for surface in Surface::ALL {
            for (index, count) in self.0.surface(surface).requests.iter().enumerate() {
                let labels = [("surface", surface.name()), ("outcome", outcome_label(index))];
                counter(&mut family, &labels, count)?;
            }
        }
        self.encode_per_surface(
            encoder,
            "tollgate_request_duration_seconds",
            "From the first byte of the request to the last of the answer",
            |surface| &surface.duration,
        )?;
        self.encode_per_surface(
            encoder,
            "tollgate_time_to_first_byte_seconds",
            "From the first byte of the request to the first of the answer's body",
            |surface| &surface.first_byte,
        )?;
        self.encode_per_surface(
            encoder,
            "tollgate_overhead_seconds",
            "Time spent inside the gateway",
            |surface| &surface.overhead,
        )?;
        gauge(encoder, "tollgate_in_flight", "Requests being served", self.0.in_flight.load(Relaxed) as f64)
    }

    fn encode_per_surface(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        pick: impl Fn(&SurfaceCounters) -> &DurationHistogram,
    ) -> fmt::Result {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for surface in Surface::ALL {
            histogram(&mut family, [("surface", surface.name())], pick(self.0.surface(surface)))?;
        }
        Ok(())
    }

    fn encode_upstream(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Attempts at providers that have ended, by provider and outcome";
        let mut family =
            encoder.encode_descriptor("tollgate_upstream_attempts", help, None, MetricType::Counter)?;
        for (name, provider) in self.0.providers() {
            for (outcome, count) in AttemptOutcome::ALL.into_iter().zip(&provider.0.attempts) {
                let labels = [("provider", name.as_str()), ("outcome", outcome.name())];
                counter(&mut family, &labels, count)?;
            }
        }
        let help = "Answers ended because their provider went on beyond the cap it was sent";
        let mut family =
            encoder.encode_descriptor("tollgate_upstream_caps_ignored", help, None, MetricType::Counter)?;
        for (name, provider) in self.0.providers() {
            counter(&mut family, &[("provider", name.as_str())], &provider.0.caps_ignored)?;
        }
        let help = "Charged tokens and other units by class";
        let mut family = encoder.encode_descriptor("tollgate_tokens", help, None, MetricType::Counter)?;
        for (meter, count) in Meter::ALL.into_iter().zip(&self.0.units) {
            counter(&mut family, &[("class", meter.name())], count)?;
        }
        total(encoder, "tollgate_cost_nano_usd", "Charged to customers, in 1e-9 USD", &self.0.cost_nano_usd)
    }

    fn encode_ledger(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Calls to the ledger by call and result";
        let mut family =
            encoder.encode_descriptor("tollgate_ledger_calls", help, None, MetricType::Counter)?;
        for (call, series) in LedgerCall::ALL.into_iter().zip(&self.0.ledger) {
            for (result, count) in LedgerResult::ALL.into_iter().zip(&series.results) {
                counter(&mut family, &[("call", call.name()), ("result", result.name())], count)?;
            }
        }
        let help = "Time of calls to the ledger";
        let mut family =
            encoder.encode_descriptor("tollgate_ledger_call_seconds", help, None, MetricType::Histogram)?;
        for (call, series) in LedgerCall::ALL.into_iter().zip(&self.0.ledger) {
            histogram(&mut family, [("call", call.name())], &series.duration)?;
        }
        Ok(())
    }

    fn encode_policy(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let counters = &self.0;
        let revision = counters.policy_revision.load(Relaxed) as f64;
        gauge(encoder, "tollgate_policy_revision", "The policy revision decisions are made under", revision)?;
        let lag_seconds = counters.policy_lag_us.load(Relaxed) as f64 / 1e6;
        let help = "For how long this node has been behind the newest policy revision";
        gauge(encoder, "tollgate_policy_lag_seconds", help, lag_seconds)?;
        let help = "Policies that did not pass validation and were not taken";
        total(encoder, "tollgate_policy_rejected", help, &counters.policy_rejected)
    }

    fn encode_recovery(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let counters = &self.0;
        let open = counters.open_holds.load(Relaxed) as f64;
        gauge(encoder, "tollgate_open_holds", "Holds of this pod that are not settled yet", open)?;
        let [locally, asked, leased, returned] = &counters.slabs;
        let help = "Admissions of a pod with slabs: out of a slab, or asked of the ledger";
        let mut family =
            encoder.encode_descriptor("tollgate_slab_admissions", help, None, MetricType::Counter)?;
        counter(&mut family, &[("path", "local")], locally)?;
        counter(&mut family, &[("path", "ledger")], asked)?;
        let help = "Slabs of money that this pod leased ahead";
        total(encoder, "tollgate_slabs_leased", help, leased)?;
        total(encoder, "tollgate_slabs_returned", "Slabs that this pod returned", returned)?;
        let help = "Requests kept waiting because the ledger did not know their tenant, or of another epoch";
        let reading = counters.ledger_closed.read();
        encoder
            .encode_descriptor("tollgate_ledger_closed_seconds", help, None, MetricType::Histogram)?
            .encode_histogram::<NoLabelSet>(reading.sum_seconds, reading.count, &reading.buckets, None)?;
        let help = "Tenants written anew into the ledger, by result";
        let mut family = encoder.encode_descriptor("tollgate_reseeds", help, None, MetricType::Counter)?;
        for (result, count) in ["ok", "failed"].into_iter().zip(&counters.reseeds) {
            counter(&mut family, &[("result", result)], count)?;
        }
        let help = "Rounds of reseeds, each of one or many tenants";
        total(encoder, "tollgate_reseed_rounds", help, &counters.reseed_rounds)?;
        total(encoder, "tollgate_reseed_microseconds", "Time of all rounds of reseeds", &counters.reseed_us)?;
        let help = "Holds of pods that died, settled at what is known";
        total(encoder, "tollgate_suspect_holds_settled", help, &counters.suspects_settled)?;
        let help = "What holds of pods that died were settled at, in 1e-9 USD";
        total(encoder, "tollgate_suspect_cost_nano_usd", help, &counters.suspects_nano_usd)
    }

    fn encode_alerting(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let counters = &self.0;
        let help = "Alerts that this process raised, by event";
        let mut family = encoder.encode_descriptor("tollgate_alerts", help, None, MetricType::Counter)?;
        for (event, count) in ["budget.threshold", "wallet.low"].into_iter().zip(&counters.alerts) {
            counter(&mut family, &[("event", event)], count)?;
        }
        let help = "Attempts to send webhooks, by what became of the message";
        let mut family =
            encoder.encode_descriptor("tollgate_webhook_attempts", help, None, MetricType::Counter)?;
        let results = ["delivered", "retried", "failed"];
        for (result, count) in results.into_iter().zip(&counters.webhook_attempts) {
            counter(&mut family, &[("result", result)], count)?;
        }
        let help = "Comparisons of the ledger with the journal";
        total(encoder, "tollgate_ledger_drift_runs", help, &counters.drift_runs)?;
        let help = "Counters of the ledger that were not what the journal said";
        total(encoder, "tollgate_ledger_drifts", help, &counters.drifts)?;
        let help = "By how much counters of the ledger differed, in 1e-9 USD";
        total(encoder, "tollgate_ledger_drift_nano_usd", help, &counters.drift_nano_usd)?;
        let help = "Tenants reseeded because their counters differed";
        total(encoder, "tollgate_ledger_drift_repairs", help, &counters.drift_repairs)
    }

    fn encode_queues(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let counters = &self.0;
        let waiting = counters.settlement_queue_length.load(Relaxed) as f64;
        gauge(encoder, "tollgate_settlement_queue_length", "Settlements that wait for the ledger", waiting)?;
        let lag = counters.journal_lag_events.load(Relaxed) as f64;
        gauge(encoder, "tollgate_journal_lag_events", "Events that the journal has not written yet", lag)?;
        let help = "Events that the journal has written";
        total(encoder, "tollgate_journal_events", help, &counters.journal_events)
    }
}

fn counter(family: &mut MetricEncoder<'_>, labels: &[Label<'_>], count: &AtomicU64) -> fmt::Result {
    let labels = LabelSlice(labels);
    let mut metric = family.encode_family(&labels)?;
    metric.encode_counter::<NoLabelSet, u64, f64>(&count.load(Relaxed), None)
}

fn histogram(
    family: &mut MetricEncoder<'_>,
    labels: [Label<'_>; 1],
    durations: &DurationHistogram,
) -> fmt::Result {
    let reading = durations.read();
    let mut metric = family.encode_family(&labels)?;
    metric.encode_histogram::<NoLabelSet>(reading.sum_seconds, reading.count, &reading.buckets, None)
}

/// A counter without labels; the text gets `_total` appended to `name`.
fn total(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, count: &AtomicU64) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    metric.encode_counter::<NoLabelSet, u64, f64>(&count.load(Relaxed), None)
}

/// A gauge without labels.
pub(super) fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> fmt::Result {
    encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
}

/// Labels of any number; the crate's own impls are for arrays and vectors.
#[derive(Debug)]
struct LabelSlice<'a>(&'a [Label<'a>]);

impl EncodeLabelSet for LabelSlice<'_> {
    fn encode(&self, encoder: &mut prometheus_client::encoding::LabelSetEncoder<'_>) -> fmt::Result {
        use prometheus_client::encoding::EncodeLabel;
        self.0.iter().try_for_each(|label| label.encode(encoder.encode_label()))
    }
}
