//! The numbers themselves: arrays of atomics indexed by closed enums.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicI64, AtomicU64};

use parking_lot::RwLock;
use tollgate_domain::{AttemptOutcome, ErrorKind, Meter, RequestOutcome, Surface};

use super::histogram::DurationHistogram;
use super::labels::{LedgerCall, LedgerResult};

/// Providers with a label of their own: an installation has dozens, and every one costs ten series.
pub const MAX_PROVIDERS: usize = 1_000;
/// The label of all providers past [`MAX_PROVIDERS`].
const OTHER_PROVIDERS: &str = "other";

/// Outcomes of a request: `ok`, every error kind (`client_closed` is one of them) and `lost`.
pub(super) const N_OUTCOMES: usize = 2 + ErrorKind::ALL.len();

/// Whole requests: from a cache hit to a long reasoning stream.
const DURATION_BOUNDS_US: &[u64] = &[
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
    300_000_000,
    600_000_000,
];
/// The gateway's own share: microseconds when all is well.
const OVERHEAD_BOUNDS_US: &[u64] = &[
    10, 20, 30, 50, 75, 100, 150, 200, 300, 500, 750, 1_000, 2_000, 5_000, 10_000, 25_000, 50_000, 100_000,
    500_000,
];
/// Ledger calls: microseconds in process, a round trip to Redis, seconds when it struggles.
const LEDGER_BOUNDS_US: &[u64] = &[
    5, 10, 25, 50, 100, 200, 300, 500, 1_000, 2_000, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000,
    2_000_000,
];

/// Series of one surface.
#[derive(Debug)]
pub(super) struct SurfaceCounters {
    pub(super) requests: [AtomicU64; N_OUTCOMES],
    pub(super) duration: DurationHistogram,
    pub(super) first_byte: DurationHistogram,
    pub(super) overhead: DurationHistogram,
}

/// Series of one ledger call.
#[derive(Debug)]
pub(super) struct LedgerCounters {
    pub(super) results: [AtomicU64; LedgerResult::ALL.len()],
    pub(super) duration: DurationHistogram,
}

/// Series of one provider: a handle to keep, counting without a look-up.
#[derive(Clone, Debug)]
pub struct ProviderMetrics(pub(super) Arc<ProviderCounters>);

/// The numbers of one provider.
#[derive(Debug)]
pub(super) struct ProviderCounters {
    /// By outcome.
    pub(super) attempts: [AtomicU64; AttemptOutcome::ALL.len()],
    pub(super) caps_ignored: AtomicU64,
}

impl ProviderMetrics {
    /// Counts one attempt that has ended.
    pub fn attempt(&self, outcome: AttemptOutcome) {
        self.0.attempts[outcome as usize].fetch_add(1, Relaxed);
    }

    /// Counts one answer that went on beyond the cap its provider was sent, and was ended.
    pub fn ignored_cap(&self) {
        self.0.caps_ignored.fetch_add(1, Relaxed);
    }
}

/// All numbers of a process.
#[derive(Debug)]
pub(super) struct Counters {
    surfaces: [SurfaceCounters; Surface::ALL.len()],
    pub(super) ledger: [LedgerCounters; LedgerCall::ALL.len()],
    pub(super) units: [AtomicU64; Meter::ALL.len()],
    providers: RwLock<BTreeMap<String, ProviderMetrics>>,
    pub(super) cost_nano_usd: AtomicU64,
    pub(super) in_flight: AtomicI64,
    pub(super) policy_revision: AtomicU64,
    pub(super) policy_rejected: AtomicU64,
    pub(super) policy_lag_us: AtomicU64,
    pub(super) settlement_queue_length: AtomicU64,
    pub(super) journal_lag_events: AtomicU64,
    pub(super) journal_events: AtomicU64,
    pub(super) open_holds: AtomicU64,
    /// Admitted locally, asked, leased, returned.
    pub(super) slabs: [AtomicU64; 4],
    pub(super) ledger_closed: DurationHistogram,
    pub(super) reseeds: [AtomicU64; 2],
    pub(super) reseed_rounds: AtomicU64,
    pub(super) reseed_us: AtomicU64,
    pub(super) suspects_settled: AtomicU64,
    pub(super) suspects_nano_usd: AtomicU64,
    pub(super) alerts: [AtomicU64; 2],
    pub(super) webhook_attempts: [AtomicU64; 3],
    pub(super) drift_runs: AtomicU64,
    pub(super) drifts: AtomicU64,
    pub(super) drift_nano_usd: AtomicU64,
    pub(super) drift_repairs: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            surfaces: std::array::from_fn(|_| SurfaceCounters {
                requests: zeros(),
                duration: DurationHistogram::new(DURATION_BOUNDS_US),
                first_byte: DurationHistogram::new(DURATION_BOUNDS_US),
                overhead: DurationHistogram::new(OVERHEAD_BOUNDS_US),
            }),
            ledger: std::array::from_fn(|_| LedgerCounters {
                results: zeros(),
                duration: DurationHistogram::new(LEDGER_BOUNDS_US),
            }),
            units: zeros(),
            providers: RwLock::default(),
            cost_nano_usd: AtomicU64::new(0),
            in_flight: AtomicI64::new(0),
            policy_revision: AtomicU64::new(0),
            policy_rejected: AtomicU64::new(0),
            policy_lag_us: AtomicU64::new(0),
            settlement_queue_length: AtomicU64::new(0),
            journal_lag_events: AtomicU64::new(0),
            journal_events: AtomicU64::new(0),
            open_holds: AtomicU64::new(0),
            slabs: zeros(),
            ledger_closed: DurationHistogram::new(LEDGER_BOUNDS_US),
            reseeds: zeros(),
            reseed_rounds: AtomicU64::new(0),
            reseed_us: AtomicU64::new(0),
            suspects_settled: AtomicU64::new(0),
            suspects_nano_usd: AtomicU64::new(0),
            alerts: zeros(),
            webhook_attempts: zeros(),
            drift_runs: AtomicU64::new(0),
            drifts: AtomicU64::new(0),
            drift_nano_usd: AtomicU64::new(0),
            drift_repairs: AtomicU64::new(0),
        }
    }
}

fn zeros<const N: usize>() -> [AtomicU64; N] {
    std::array::from_fn(|_| AtomicU64::new(0))
}

impl Counters {
    pub(super) fn surface(&self, surface: Surface) -> &SurfaceCounters {
        &self.surfaces[surface as usize]
    }

    pub(super) fn provider(&self, name: &str) -> ProviderMetrics {
        if let Some(known) = self.providers.read().get(name) {
            return known.clone();
        }
        let mut providers = self.providers.write();
        let name = if providers.len() < MAX_PROVIDERS { name } else { OTHER_PROVIDERS };
        let new = || {
            let counters = ProviderCounters { attempts: zeros(), caps_ignored: AtomicU64::new(0) };
            ProviderMetrics(Arc::new(counters))
        };
        providers.entry(name.to_owned()).or_insert_with(new).clone()
    }

    /// All providers seen so far, by name.
    pub(super) fn providers(&self) -> Vec<(String, ProviderMetrics)> {
        self.providers.read().iter().map(|(name, metrics)| (name.clone(), metrics.clone())).collect()
    }
}

/// The slot of an outcome: a client that left counts once, whichever way it is told.
pub(super) fn outcome_index(outcome: RequestOutcome) -> usize {
    match outcome {
        RequestOutcome::Ok => 0,
        RequestOutcome::ClientClosed => 1 + ErrorKind::ClientClosed as usize,
        RequestOutcome::Error(kind) => 1 + kind as usize,
        RequestOutcome::Lost => 1 + ErrorKind::ALL.len(),
    }
}

/// The label of an outcome's slot.
pub(super) fn outcome_label(index: usize) -> &'static str {
    match index.checked_sub(1) {
        None => RequestOutcome::Ok.name(),
        Some(kind) => ErrorKind::ALL.get(kind).map_or(RequestOutcome::Lost.name(), |kind| kind.code()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enums_index_their_own_slots() {
        let outcomes = ErrorKind::ALL.map(RequestOutcome::Error).into_iter().chain([
            RequestOutcome::Ok,
            RequestOutcome::ClientClosed,
            RequestOutcome::Lost,
        ]);
        for outcome in outcomes {
            assert_eq!(outcome_label(outcome_index(outcome)), outcome.name());
        }
        assert!(Surface::ALL.iter().enumerate().all(|(index, surface)| *surface as usize == index));
        assert!(AttemptOutcome::ALL.iter().enumerate().all(|(index, outcome)| *outcome as usize == index));
        assert!(LedgerCall::ALL.iter().enumerate().all(|(index, call)| *call as usize == index));
        assert!(LedgerResult::ALL.iter().enumerate().all(|(index, result)| *result as usize == index));
    }

    #[test]
    fn providers_are_capped() {
        let counters = Counters::default();
        for number in 0..MAX_PROVIDERS + 50 {
            counters.provider(&format!("p{number}")).attempt(AttemptOutcome::Ok);
        }
        let providers = counters.providers();
        assert_eq!(providers.len(), MAX_PROVIDERS + 1);
        let other = &providers.iter().find(|(name, _)| name == OTHER_PROVIDERS).unwrap().1;
        assert_eq!(other.0.attempts[0].load(Relaxed), 50);
    }
}
