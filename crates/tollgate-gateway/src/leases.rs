//! Holds in flight on this pod, what their streams have cost so far, and the task that renews their leases.
//!
//! A hold whose lease ends is taken for abandoned by everybody else. So a stream whose hold cannot be renewed
//! is ended before that: nothing is produced that nobody holds money for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use foldhash::HashMap;
use foldhash::HashMapExt as _;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tollgate_catalog::{PriceSheet, ServiceTier};
use tollgate_domain::{HoldId, Meter, NanoUsd, TenantId, Usage};
use tollgate_ledger::{Ledger, Renewal};
use tollgate_telemetry::Metrics;
use tollgate_telemetry::metrics::{LedgerCall, LedgerResult};
use tollgate_wire::openai::usage::counted_output;

use crate::seeder::{SeedReason, Seeder};

/// Shards, so that requests on different cores rarely meet at one lock.
const SHARDS: usize = 32;
/// After a renewal that failed the next one follows this share of the usual interval later.
const RETRIES_PER_INTERVAL: u32 = 20;
/// This share of a lease before its end a stream is ended that could not be renewed: its last words and its
/// settlement still fall within the lease.
const LEASE_MARGIN: u32 = 12;

/// A stream being relayed, as the renewal sees it.
#[derive(Debug)]
pub(crate) struct RunningStream {
    /// Ends the stream with an error event; also when the pod's grace period ends.
    pub(crate) stop: CancellationToken,
    pub(crate) sheet: PriceSheet,
    pub(crate) tier: ServiceTier,
    pub(crate) input_tokens: u64,
    /// What the attempts before it cost.
    lost: NanoUsd,
    /// No request costs more than was held.
    granted: AtomicI64,
    text_bytes: AtomicU64,
    n_text_events: AtomicU64,
    /// What the provider itself has told so far.
    told: Mutex<Option<Usage>>,
    has_ended: AtomicBool,
}

impl RunningStream {
    pub(crate) fn new(
        stop: CancellationToken,
        sheet: PriceSheet,
        tier: ServiceTier,
        input_tokens: u64,
        (lost, granted): (NanoUsd, NanoUsd),
    ) -> Self {
        let (text_bytes, n_text_events) = (AtomicU64::new(0), AtomicU64::new(0));
        let (has_ended, granted) = (AtomicBool::new(false), AtomicI64::new(granted.0));
        let told = Mutex::new(None);
        Self { stop, sheet, tier, input_tokens, lost, granted, text_bytes, n_text_events, told, has_ended }
    }

    /// Notes how far the stream has come, and what the provider has told of it.
    pub(crate) fn progressed(&self, text_bytes: u64, n_text_events: u64, told: Option<Usage>) {
        self.text_bytes.store(text_bytes, Ordering::Relaxed);
        self.n_text_events.store(n_text_events, Ordering::Relaxed);
        if told.is_some() {
            *self.told.lock() = told;
        }
    }

    /// Its hold has grown.
    pub(crate) fn grown(&self, granted: NanoUsd) {
        self.granted.fetch_max(granted.0, Ordering::Relaxed);
    }

    /// It is settled: whatever becomes of its hold is right.
    pub(crate) fn ended(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
    }

    /// By what was relayed, or by what the provider has told where that is more: what is lost with this pod is
    /// charged so much.
    fn cost_so_far(&self) -> NanoUsd {
        let (bytes, events) =
            (self.text_bytes.load(Ordering::Relaxed), self.n_text_events.load(Ordering::Relaxed));
        let output = counted_output(bytes, events);
        let counted = Usage::ZERO
            .with(Meter::Input, self.input_tokens)
            .with(Meter::Output, output)
            .with(Meter::Request, 1);
        let told = self.told.lock().map_or(NanoUsd::ZERO, |told| {
            let told = told.with(Meter::Output, told.get(Meter::Output).max(output)).with(Meter::Request, 1);
            self.sheet.total(&told, self.tier)
        });
        let cost = self.sheet.total(&counted, self.tier).max(told).saturating_add(self.lost);
        cost.min(NanoUsd(self.granted.load(Ordering::Relaxed)))
    }

    /// Ends it unless it has ended; answers whether that was necessary.
    fn stop(&self) -> bool {
        let is_running = !self.has_ended.load(Ordering::Relaxed) && !self.stop.is_cancelled();
        if is_running {
            self.stop.cancel();
        }
        is_running
    }
}

#[derive(Debug)]
struct OpenHold {
    tenant: TenantId,
    /// A moment before the ledger last counted the lease from.
    renewed_at: Instant,
    stream: Option<Arc<RunningStream>>,
    /// What it costs, whatever becomes of it.
    least_cost: NanoUsd,
}

/// The holds in flight. Bounded by the settlement places: every hold here owns one.
#[derive(Debug)]
pub(crate) struct OpenHolds {
    shards: [Mutex<HashMap<HoldId, OpenHold>>; SHARDS],
}

impl Default for OpenHolds {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::new(HashMap::new())) }
    }
}

impl OpenHolds {
    fn shard(&self, hold: HoldId) -> &Mutex<HashMap<HoldId, OpenHold>> {
        // the last byte of a version-7 UUID is random
        &self.shards[usize::from(hold.as_uuid().as_bytes()[15]) % SHARDS]
    }

    /// A hold that was asked for at `asked_at`.
    pub(crate) fn open(&self, hold: HoldId, tenant: TenantId, asked_at: Instant) {
        self.shard(hold)
            .lock()
            .insert(hold, OpenHold { tenant, renewed_at: asked_at, stream: None, least_cost: NanoUsd::ZERO });
    }

    /// It costs so much already, whatever becomes of it.
    pub(crate) fn cost_at_least(&self, hold: HoldId, cost: NanoUsd) {
        if let Some(open) = self.shard(hold).lock().get_mut(&hold) {
            open.least_cost = cost;
        }
    }

    /// The hold pays for a stream from now on.
    pub(crate) fn streams(&self, hold: HoldId, stream: &Arc<RunningStream>) {
        if let Some(open) = self.shard(hold).lock().get_mut(&hold) {
            open.stream = Some(Arc::clone(stream));
        }
    }

    pub(crate) fn close(&self, hold: HoldId) {
        self.shard(hold).lock().remove(&hold);
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// All holds with their cost so far, or those of some tenants.
    fn all(&self, tenants: Option<&[TenantId]>) -> Vec<(TenantId, HoldId, NanoUsd)> {
        let is_asked = |open: &OpenHold| tenants.is_none_or(|tenants| tenants.contains(&open.tenant));
        let mut holds = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            let asked = shard.iter().filter(|(_, open)| is_asked(open));
            holds.extend(asked.map(|(hold, open)| {
                let cost = open.stream.as_ref().map_or(open.least_cost, |stream| stream.cost_so_far());
                (open.tenant, *hold, cost)
            }));
        }
        holds
    }

    /// Notes that holds were renewed by a call that began at `at`.
    fn renewed(&self, holds: &[(TenantId, HoldId, NanoUsd)], renewal: &Renewal, at: Instant) {
        for (tenant, hold, _) in holds {
            if renewal.wrong_epoch.contains(tenant) {
                continue;
            }
            if let Some(open) = self.shard(*hold).lock().get_mut(hold) {
                open.renewed_at = at;
            }
        }
    }

    /// Ends the streams of holds that the ledger does not have.
    fn gone(&self, holds: &[(TenantId, HoldId)]) {
        for (tenant, hold) in holds {
            let stream = self.shard(*hold).lock().get(hold).and_then(|open| open.stream.clone());
            if stream.is_some_and(|stream| stream.stop()) {
                tracing::warn!(%tenant, %hold, "the ledger does not have a stream's hold any more: it is ended");
            }
        }
    }

    /// Ends the streams whose lease ends within `margin`.
    fn stop_expiring(&self, lease: Duration, margin: Duration) {
        let now = Instant::now();
        let mut n_stopped = 0_usize;
        for shard in &self.shards {
            for open in shard.lock().values() {
                let is_expiring = open.renewed_at + lease.saturating_sub(margin) <= now;
                if is_expiring && open.stream.as_ref().is_some_and(|stream| stream.stop()) {
                    n_stopped += 1;
                }
            }
        }
        if n_stopped > 0 {
            tracing::error!(
                streams = n_stopped,
                "streams are ended: the ledger did not renew their leases in time"
            );
        }
    }
}

/// Renews every open hold until told to stop.
#[derive(Debug)]
pub(crate) struct Renewer {
    pub(crate) holds: Arc<OpenHolds>,
    pub(crate) ledger: Ledger,
    pub(crate) metrics: Metrics,
    pub(crate) seeder: Seeder,
    pub(crate) every: Duration,
    pub(crate) lease: Duration,
    pub(crate) seed_timeout: Duration,
}

impl Renewer {
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut wait = self.every;
        while stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
            let all_renewed = self.renew().await;
            wait = if all_renewed { self.every } else { self.every / RETRIES_PER_INTERVAL };
            if !all_renewed {
                self.holds.stop_expiring(self.lease, self.lease / LEASE_MARGIN);
            }
        }
    }

    /// Renews all holds; those of a wrong epoch again after a reseed. Answers whether none is left.
    async fn renew(&self) -> bool {
        let Some(wrong_epoch) = self.renew_some(None).await else { return false };
        if wrong_epoch.is_empty() {
            return true;
        }
        let mut asking = JoinSet::new();
        for tenant in &wrong_epoch {
            let (seeder, tenant, timeout) = (self.seeder.clone(), *tenant, self.seed_timeout);
            asking.spawn(async move {
                if let Err(reason) = seeder.seed(tenant, SeedReason::WrongEpoch, timeout).await {
                    tracing::warn!(%tenant, reason, "holds cannot be renewed before the ledger is reseeded");
                }
            });
        }
        asking.join_all().await;
        self.renew_some(Some(&wrong_epoch)).await.is_some_and(|still_wrong| still_wrong.is_empty())
    }

    /// The tenants of a wrong epoch; `None` where the ledger did not answer.
    async fn renew_some(&self, tenants: Option<&[TenantId]>) -> Option<Vec<TenantId>> {
        let holds = self.holds.all(tenants);
        if holds.is_empty() {
            return Some(Vec::new());
        }
        let lease_ms = u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX);
        let began = Instant::now();
        let renewal = self.ledger.renew(&holds, lease_ms).await;
        let result = if renewal.is_ok() { LedgerResult::Ok } else { LedgerResult::Error };
        self.metrics.ledger_call(LedgerCall::Renew, result, began.elapsed());
        match renewal {
            Ok(renewal) => {
                self.holds.renewed(&holds, &renewal, began);
                self.holds.gone(&renewal.gone);
                Some(renewal.wrong_epoch)
            }
            Err(error) => {
                tracing::warn!(%error, holds = holds.len(), "leases could not be renewed; it is tried again");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tollgate_catalog::PriceRow;
    use tollgate_domain::{PricePerMillion, UnixMillis};

    use super::*;

    fn row(meter: Meter, price: &str) -> PriceRow {
        PriceRow {
            id: None,
            tenant: None,
            provider: "p".into(),
            model: "m".into(),
            effective_from: UnixMillis(0),
            meter: Some(meter),
            service_tier: ServiceTier::Standard,
            context_from: 0,
            price: PricePerMillion::parse(price).unwrap(),
            source: "operator".into(),
        }
    }

    /// A stream with a prompt of 100 tokens, of which 10 text events were relayed.
    fn cost_where(told: Option<Usage>, granted: i64) -> i64 {
        let rows = [row(Meter::Input, "1"), row(Meter::CacheWrite1h, "2"), row(Meter::Output, "10")];
        let (sheet, stop) = (PriceSheet::from_rows(&rows), CancellationToken::new());
        let stream =
            RunningStream::new(stop, sheet, ServiceTier::Standard, 100, (NanoUsd::ZERO, NanoUsd(granted)));
        stream.progressed(0, 0, told);
        // What was told stays so where nothing more is told.
        stream.progressed(40, 10, None);
        stream.cost_so_far().0
    }

    #[test]
    fn a_stream_has_cost_what_its_provider_has_told_where_that_is_more_than_what_was_counted() {
        let output = i64::try_from(counted_output(40, 10)).unwrap() * 10_000;
        let told = |input, written, output| {
            let usage = Usage::ZERO.with(Meter::Input, input).with(Meter::CacheWrite1h, written);
            Some(usage.with(Meter::Output, output))
        };
        let plenty = 1_000_000_000;
        let cases = [
            (None, plenty, 100_000 + output),
            // a prompt that was estimated too low, and was written into a cache; what was relayed is counted on
            (told(120, 300, 1), plenty, 120_000 + 600_000 + output),
            (told(120, 0, 5_000), plenty, 120_000 + 50_000_000),
            // the estimate was higher
            (told(3, 0, 0), plenty, 100_000 + output),
            (told(120, 300, 5_000), 777, 777),
        ];
        for (told, granted, expected) in cases {
            assert_eq!(cost_where(told, granted), expected, "{told:?} {granted}");
        }
    }
}
