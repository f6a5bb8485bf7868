//! Prometheus metrics. On the request's path only relaxed atomic additions happen: every series is an
//! array slot chosen by a closed enum, or a handle that was resolved once per configured provider.

mod collector;
mod counters;
mod histogram;
mod labels;
mod process;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tollgate_domain::{NanoUsd, RequestOutcome, Surface, Usage};

use self::counters::{Counters, outcome_index};
pub use self::counters::{MAX_PROVIDERS, ProviderMetrics};
pub use self::labels::{LedgerCall, LedgerResult};

/// The content type of [`Metrics::encode`]'s text.
pub const METRICS_CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of this process. Cheap to clone; clones count into the same series.
#[derive(Clone, Debug)]
pub struct Metrics {
    counters: Arc<Counters>,
    registry: Arc<Mutex<Registry>>,
}

/// What is known of a request when it has ended, as far as metrics are concerned.
#[derive(Clone, Copy, Debug)]
pub struct FinishedRequest<'a> {
    /// Which surface was called.
    pub surface: Surface,
    /// How it ended.
    pub outcome: RequestOutcome,
    /// From the first byte of the request to the last of the answer.
    pub duration: Duration,
    /// Until the first byte of the answer's body, where there was one.
    pub first_byte: Option<Duration>,
    /// Time spent inside the gateway.
    pub overhead: Duration,
    /// Counts by class; zero where nothing was sent upstream.
    pub usage: &'a Usage,
    /// What was charged.
    pub cost: NanoUsd,
}

/// How reseeds and abandoned holds fare: counts since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Tenants reseeded.
    pub reseeded: u64,
    /// Tenants that could not be.
    pub reseeds_failed: u64,
    /// Rounds of reseeds, each of one or many tenants.
    pub reseed_rounds: u64,
    /// Microseconds that all rounds took together.
    pub reseed_microseconds: u64,
    /// Abandoned holds that were settled.
    pub suspects_settled: u64,
    /// What they were settled at, in nano-USD.
    pub suspects_nano_usd: u64,
}

/// How alerts, their messages, and the comparisons of the ledger with the journal fare: counts since the process
/// began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alerting {
    /// Alerts about budgets.
    pub budget_thresholds: u64,
    /// Alerts about wallets.
    pub wallets_low: u64,
    /// Messages that webhooks have taken.
    pub delivered: u64,
    /// Attempts that failed and are repeated.
    pub retried: u64,
    /// Messages given up.
    pub failed: u64,
    /// Comparisons finished.
    pub drift_runs: u64,
    /// Counters that differed.
    pub drifts: u64,
    /// By how much in all, in nano-USD.
    pub drift_nano_usd: u64,
    /// Tenants written anew for it.
    pub drift_repairs: u64,
}

/// Counts a request as in flight until it is dropped.
#[derive(Debug)]
#[must_use = "the request counts as in flight only while this lives"]
pub struct InFlight(Arc<Counters>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

// === impl Metrics ===

/// Counts of a pod that leases money ahead, since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlabCounts {
    /// Requests admitted out of a slab.
    pub admitted_locally: u64,
    /// Requests that the ledger was asked about.
    pub asked: u64,
    /// Slabs leased.
    pub leased: u64,
    /// Slabs returned.
    pub returned: u64,
}

impl Metrics {
    /// An empty set of metrics; all series of closed label sets exist from the start, at zero.
    #[must_use]
    pub fn new() -> Self {
        let counters = Arc::new(Counters::default());
        let mut registry = Registry::default();
        registry.register_collector(Box::new(collector::TollgateCollector(Arc::clone(&counters))));
        registry.register_collector(Box::new(process::ProcessCollector::new()));
        Self { counters, registry: Arc::new(Mutex::new(registry)) }
    }

    /// Everything as OpenMetrics text, ending in `# EOF`.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::with_capacity(ENCODE_CAPACITY_BYTES);
        // writing to a String cannot fail; an error of a collector leaves what was written before it
        if prometheus_client::encoding::text::encode(&mut text, &self.registry.lock()).is_err() {
            tracing::error!("metrics could not be encoded");
        }
        text
    }

    /// Counts one more request in flight, until the answer is dropped.
    pub fn request_started(&self) -> InFlight {
        self.counters.in_flight.fetch_add(1, Relaxed);
        InFlight(Arc::clone(&self.counters))
    }

    /// Counts a request that has ended, refused ones included.
    pub fn request_finished(&self, request: &FinishedRequest<'_>) {
        let surface = self.counters.surface(request.surface);
        surface.requests[outcome_index(request.outcome)].fetch_add(1, Relaxed);
        surface.duration.observe(request.duration);
        if let Some(first_byte) = request.first_byte {
            surface.first_byte.observe(first_byte);
        }
        surface.overhead.observe(request.overhead);
        for (meter, count) in request.usage.iter() {
            self.counters.units[meter as usize].fetch_add(count, Relaxed);
        }
        let cost = u64::try_from(request.cost.0).unwrap_or(0);
        self.counters.cost_nano_usd.fetch_add(cost, Relaxed);
    }

    /// The handle of one configured provider: resolve it once per policy revision, not per request. Past
    /// [`MAX_PROVIDERS`] names all further ones share the label `other`.
    #[must_use]
    pub fn provider(&self, name: &str) -> ProviderMetrics {
        self.counters.provider(name)
    }

    /// Counts one call to the ledger and the time it took.
    pub fn ledger_call(&self, call: LedgerCall, result: LedgerResult, duration: Duration) {
        let series = &self.counters.ledger[call as usize];
        series.results[result as usize].fetch_add(1, Relaxed);
        series.duration.observe(duration);
    }

    /// The policy revision decisions are made under.
    pub fn set_policy_revision(&self, revision: u64) {
        self.counters.policy_revision.store(revision, Relaxed);
    }

    /// Counts one policy that did not pass validation and was not taken.
    pub fn policy_rejected(&self) {
        self.counters.policy_rejected.fetch_add(1, Relaxed);
    }

    /// For how long this node has been behind the control plane's newest revision; zero when it is not.
    pub fn set_policy_lag(&self, lag: Duration) {
        self.counters.policy_lag_us.store(micros(lag), Relaxed);
    }

    /// Settlements that wait for the ledger.
    pub fn set_settlement_queue_length(&self, length: u64) {
        self.counters.settlement_queue_length.store(length, Relaxed);
    }

    /// Events in the outbox that the journal has not written yet.
    pub fn set_journal_lag_events(&self, events: u64) {
        self.counters.journal_lag_events.store(events, Relaxed);
    }

    /// What became of requests and slabs on a pod that leases money ahead, since its start.
    pub fn set_slabs(&self, counts: &SlabCounts) {
        let SlabCounts { admitted_locally, asked, leased, returned } = *counts;
        for (counter, count) in self.counters.slabs.iter().zip([admitted_locally, asked, leased, returned]) {
            counter.store(count, Relaxed);
        }
    }

    /// Holds of this pod that are not settled yet.
    pub fn set_open_holds(&self, holds: u64) {
        self.counters.open_holds.store(holds, Relaxed);
    }

    /// For how long a request was kept waiting because the ledger did not know its tenant, or knew it of another
    /// epoch.
    pub fn ledger_was_closed(&self, duration: Duration) {
        self.counters.ledger_closed.observe(duration);
    }

    /// How reseeds and abandoned holds fare, all of it since the process began.
    pub fn set_recovery(&self, recovery: &Recovery) {
        let counters = &self.counters;
        counters.reseeds[0].store(recovery.reseeded, Relaxed);
        counters.reseeds[1].store(recovery.reseeds_failed, Relaxed);
        counters.reseed_rounds.store(recovery.reseed_rounds, Relaxed);
        counters.reseed_us.store(recovery.reseed_microseconds, Relaxed);
        counters.suspects_settled.store(recovery.suspects_settled, Relaxed);
        counters.suspects_nano_usd.store(recovery.suspects_nano_usd, Relaxed);
    }

    /// Sets how alerts and comparisons fare.
    pub fn set_alerting(&self, alerting: &Alerting) {
        let counters = &self.counters;
        counters.alerts[0].store(alerting.budget_thresholds, Relaxed);
        counters.alerts[1].store(alerting.wallets_low, Relaxed);
        counters.webhook_attempts[0].store(alerting.delivered, Relaxed);
        counters.webhook_attempts[1].store(alerting.retried, Relaxed);
        counters.webhook_attempts[2].store(alerting.failed, Relaxed);
        counters.drift_runs.store(alerting.drift_runs, Relaxed);
        counters.drifts.store(alerting.drifts, Relaxed);
        counters.drift_nano_usd.store(alerting.drift_nano_usd, Relaxed);
        counters.drift_repairs.store(alerting.drift_repairs, Relaxed);
    }

    /// Counts events that the journal has written.
    pub fn journal_events_written(&self, events: u64) {
        self.counters.journal_events.fetch_add(events, Relaxed);
    }
}

/// What the text usually needs: three surfaces' histograms and a few providers.
const ENCODE_CAPACITY_BYTES: usize = 32 * 1024;

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
