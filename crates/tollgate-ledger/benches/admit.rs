//! One admission and one settlement at six levels: in process, with and without a log, and in a Redis of its own.
//!
//! The levels: a wallet, budgets of tenant, project and key, and the rate limits of two owners. The
//! Redis benchmarks need `redis-server` (`cargo xtask setup`) and fail without it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot run says why and ends")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use divan::{Bencher, black_box};
use tokio::runtime::Runtime;
use tollgate_domain::{
    BudgetId, EventId, HoldId, KeyId, ManualClock, NanoUsd, NodeId, Period, PeriodPair, ProjectId, RequestId,
    RequestOutcome, Secret, SettlementBasis, Surface, TenantId, UnixMillis, Usage, UsageEvent,
};
use tollgate_ledger::{
    Admission, AdmitOutcome, BudgetCheck, Ledger, LimitCheck, LimitOwner, RedisConfig, Seed, SeedCounter,
    SettleOutcome, Settlement,
};
use tollgate_policy::RateLimits;
use tollgate_testkit::redis::RedisServer;

/// What a gateway notes with a hold, about as long.
const MEMO: &[u8] = &[b'm'; 600];
const TENANT: TenantId = TenantId::from_u128(77);
/// Calls between two readings of the outbox: it must not fill up.
const CALLS_PER_DRAIN: u64 = 10_000;

/// Requests under way at once on a busy pod.
const N_AT_ONCE: usize = 64;

fn main() {
    divan::main();
}

struct Levels {
    budgets: Vec<BudgetCheck>,
    limits: Vec<LimitCheck>,
    next_hold: AtomicU64,
}

impl Levels {
    fn six() -> Self {
        let current = Period { starts_at: UnixMillis(1_000), ends_at: UnixMillis(4_300_000_000_000) };
        let periods = PeriodPair {
            current,
            next: Period { starts_at: current.ends_at, ends_at: UnixMillis(i64::MAX) },
        };
        let limit = NanoUsd::from_usd(1_000_000);
        let budget =
            |number: u128| BudgetCheck { budget: BudgetId::from_u128((number << 64) | 7), limit, periods };
        let limits = RateLimits {
            requests_per_minute: Some(60_000_000),
            tokens_per_minute: Some(60_000_000),
            concurrent_requests: Some(1_000_000),
        };
        let owner = |owner| LimitCheck { owner, limits };
        Self {
            budgets: (1..=3).map(budget).collect(),
            limits: vec![
                owner(LimitOwner::Project(ProjectId::from_u128(5))),
                owner(LimitOwner::Key(KeyId::from_u128(6))),
            ],
            next_hold: AtomicU64::new(1),
        }
    }

    fn seed(&self) -> Seed {
        let counter = |check: &BudgetCheck| SeedCounter {
            budget: check.budget,
            period_starts_at: check.periods.current.starts_at,
            settled: NanoUsd::ZERO,
        };
        Seed {
            tenant: TENANT,
            wallet_limit: NanoUsd::from_usd(1_000_000),
            wallet_version: 1,
            wallet_settled: NanoUsd::ZERO,
            counters: self.budgets.iter().map(counter).collect(),
        }
    }

    fn admission(&self) -> Admission<'_> {
        let hold = self.next_hold.fetch_add(1, Ordering::Relaxed);
        Admission {
            tenant: TENANT,
            key: KeyId::from_u128(6),
            node: NodeId::from_u128(9),
            hold: HoldId::from_u128(u128::from(hold)),
            amount: NanoUsd(12_345_678),
            minimum: NanoUsd(1_000_000),
            wallet: tollgate_ledger::WalletRule::Enforced,
            budgets: &self.budgets,
            limits: &self.limits,
            tokens: 1,
            lease_ms: 60_000,
            memo: MEMO,
        }
    }
}

fn settlement(hold: HoldId, event: Option<Arc<UsageEvent>>) -> Settlement {
    Settlement { tenant: TENANT, hold, actual: NanoUsd(1_234), tokens: 1, event }
}

fn event(hold: HoldId) -> Arc<UsageEvent> {
    Arc::new(UsageEvent {
        event: EventId::from_uuid(hold.as_uuid()),
        request: RequestId::from_uuid(hold.as_uuid()),
        hold,
        tenant: TENANT,
        project: ProjectId::from_u128(5),
        key: KeyId::from_u128(6),
        end_user: Some("customer-4711".to_owned()),
        labels: [("team".to_owned(), "billing".to_owned())].into(),
        surface: Surface::Chat,
        requested_model: "fast".to_owned(),
        provider: "openai".to_owned(),
        model: "gpt-5.4-mini".to_owned(),
        streamed: true,
        admitted_at: UnixMillis(1_900_000_000_000),
        finished_at: UnixMillis(1_900_000_000_812),
        held: NanoUsd(12_345_678),
        cost: NanoUsd(1_234),
        provider_cost: NanoUsd(1_234),
        margin: None,
        provider_charge: None,
        usage: Usage::ZERO,
        charge: Vec::new(),
        basis: SettlementBasis::Provider,
        outcome: RequestOutcome::Ok,
        status: 200,
        attempts: Vec::new(),
        duration_ms: 812,
        first_byte_ms: Some(120),
        overhead_us: 85,
        policy_revision: 7,
    })
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn memory(runtime: &Runtime, levels: &Levels) -> Ledger {
    let ledger = Ledger::memory(Arc::new(ManualClock::new(UnixMillis(1_900_000_000_000))));
    runtime.block_on(ledger.seed(&levels.seed())).unwrap();
    ledger
}

async fn admit(ledger: &Ledger, admission: &Admission<'_>) {
    let outcome = ledger.admit(black_box(admission)).await.unwrap();
    assert!(matches!(outcome, AdmitOutcome::Admitted(_)), "{outcome:?}");
}

async fn settle(ledger: &Ledger, settlement: &Settlement) {
    assert_eq!(ledger.settle(black_box(settlement)).await.unwrap(), SettleOutcome::Settled);
}

#[divan::bench(sample_count = 200, sample_size = 500)]
fn memory_admit(bencher: Bencher) {
    let (runtime, levels) = (runtime(), Levels::six());
    let ledger = memory(&runtime, &levels);
    bencher
        .with_inputs(|| levels.admission())
        .bench_local_values(|admission| futures_now(admit(&ledger, &admission)));
}

#[divan::bench(sample_count = 200, sample_size = 500)]
fn memory_admit_and_settle(bencher: Bencher) {
    let (runtime, levels) = (runtime(), Levels::six());
    let ledger = memory(&runtime, &levels);
    bencher.with_inputs(|| levels.admission()).bench_local_values(|admission| {
        futures_now(async {
            admit(&ledger, &admission).await;
            settle(&ledger, &settlement(admission.hold, None)).await;
        });
    });
}

/// A request with its event: what `dev` and `all` do, save for the log.
#[divan::bench(sample_count = 200, sample_size = 400)]
fn memory_request(bencher: Bencher) {
    let (runtime, levels) = (runtime(), Levels::six());
    let ledger = memory(&runtime, &levels);
    requests(bencher, &runtime, &levels, &ledger);
}

/// The same with a log, as they do it.
#[divan::bench(sample_count = 200, sample_size = 400)]
fn memory_request_with_a_log(bencher: Bencher) {
    let (runtime, levels) = (runtime(), Levels::six());
    // beside the binary: a temporary directory may be in memory
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let clock = Arc::new(ManualClock::new(UnixMillis(1_900_000_000_000)));
    let (ledger, _) = Ledger::memory_with_log(clock, directory.path()).unwrap();
    runtime.block_on(ledger.seed(&levels.seed())).unwrap();
    requests(bencher, &runtime, &levels, &ledger);
}

fn requests(bencher: Bencher, runtime: &Runtime, levels: &Levels, ledger: &Ledger) {
    let input = || {
        let admission = levels.admission();
        let settlement = settlement(admission.hold, Some(event(admission.hold)));
        (admission, settlement)
    };
    bencher.with_inputs(input).bench_local_refs(|(admission, settlement)| {
        runtime.block_on(async {
            admit(ledger, admission).await;
            settle(ledger, settlement).await;
        });
    });
}

/// Runs a future that never waits, without a runtime's overhead.
fn futures_now<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("the ledger in process waits for nothing"),
    }
}

#[divan::bench(sample_count = 50, sample_size = 200)]
fn redis_admit_and_settle(bencher: Bencher) {
    let (runtime, levels) = (runtime(), Levels::six());
    let server = runtime.block_on(RedisServer::start()).unwrap();
    let mut config = RedisConfig::new(Secret::new(server.url()));
    config.response_timeout_ms = 5_000;
    let ledger = runtime.block_on(Ledger::redis(&config)).unwrap();
    runtime.block_on(ledger.seed(&levels.seed())).unwrap();
    runtime.block_on(server.cli(&["CONFIG", "RESETSTAT"])).unwrap();

    bencher.with_inputs(|| levels.admission()).bench_local_values(|admission| {
        runtime.block_on(async {
            admit(&ledger, &admission).await;
            settle(&ledger, &settlement(admission.hold, Some(event(admission.hold)))).await;
        });
        if levels.next_hold.load(Ordering::Relaxed).is_multiple_of(CALLS_PER_DRAIN) {
            runtime.block_on(server.cli(&["DEL", "tg:{13}:outbox"])).unwrap();
        }
    });
    report_server_time(&runtime, &server);
}

/// The same with many requests under way at once, as a busy pod has them: Redis then answers one call after
/// the other without going to sleep in between.
#[divan::bench(sample_count = 50, sample_size = 4)]
fn redis_many_at_once(bencher: Bencher) {
    let (runtime, levels) = (runtime(), Levels::six());
    let server = runtime.block_on(RedisServer::start()).unwrap();
    let mut config = RedisConfig::new(Secret::new(server.url()));
    config.response_timeout_ms = 5_000;
    let ledger = runtime.block_on(Ledger::redis(&config)).unwrap();
    runtime.block_on(ledger.seed(&levels.seed())).unwrap();
    runtime.block_on(server.cli(&["CONFIG", "RESETSTAT"])).unwrap();

    let levels: &'static Levels = Box::leak(Box::new(levels));
    bencher.bench_local(|| {
        let admissions: Vec<_> = (0..N_AT_ONCE).map(|_| levels.admission()).collect();
        runtime.block_on(async {
            let mut asked = tokio::task::JoinSet::new();
            for admission in admissions.clone() {
                let ledger = ledger.clone();
                asked.spawn(async move { ledger.admit(&admission).await });
            }
            let outcomes = asked.join_all().await;
            assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(AdmitOutcome::Admitted(_)))));
            let settlements: Vec<_> =
                admissions.iter().map(|one| settlement(one.hold, Some(event(one.hold)))).collect();
            let outcomes = ledger.settle_many(&settlements).await;
            assert!(outcomes.iter().all(|outcome| *outcome == Ok(SettleOutcome::Settled)));
        });
        if levels.next_hold.load(Ordering::Relaxed).is_multiple_of(CALLS_PER_DRAIN) {
            runtime.block_on(server.cli(&["DEL", "tg:{13}:outbox"])).unwrap();
        }
    });
    report_server_time(&runtime, &server);
}

/// What Redis itself spent, as `INFO commandstats` counts it.
#[expect(clippy::print_stderr, reason = "a benchmark reports to its reader")]
fn report_server_time(runtime: &Runtime, server: &RedisServer) {
    let statistics = runtime.block_on(server.cli(&["INFO", "commandstats"])).unwrap();
    for line in statistics.lines().filter(|line| line.contains("evalsha")) {
        eprintln!("{line} (microseconds per script; an admission and a settlement are two)");
    }
}
