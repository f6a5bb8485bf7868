//! How many events per second each database journals, in batches as the journal writer makes them.

use std::sync::atomic::{AtomicU64, Ordering};

use divan::counter::ItemsCount;
use tokio::runtime::Runtime;
use tollgate_domain::{
    EventId, HoldId, KeyId, Meter, NanoUsd, ProjectId, RequestId, RequestOutcome, SettlementBasis, Surface,
    TenantId, UnixMillis, Usage, UsageEvent,
};
use tollgate_store::Store;
use tollgate_testkit::postgres::PostgresServer;

const BATCH: u64 = 500;
static NEXT: AtomicU64 = AtomicU64::new(0);

fn main() {
    divan::main();
}

fn event() -> UsageEvent {
    let n = u128::from(NEXT.fetch_add(1, Ordering::Relaxed));
    let admitted_at =
        UnixMillis(1_767_225_600_000 + i64::try_from(n).expect("a bench makes millions at most"));
    // As the gateway makes them: the millisecond first.
    let id = (u128::from(admitted_at.0.unsigned_abs()) << 80) | (7 << 76) | n;
    UsageEvent {
        event: EventId::from_u128(id),
        request: RequestId::from_u128(id),
        hold: HoldId::from_u128((n << 64) | 3),
        tenant: TenantId::from_u128(n % 20),
        project: ProjectId::from_u128(n % 60),
        key: KeyId::from_u128(n % 300),
        end_user: Some(format!("user-{}", n % 1_000)),
        labels: [("department".to_owned(), "support".to_owned())].into(),
        surface: Surface::Chat,
        requested_model: "chat-default".to_owned(),
        provider: "openai".to_owned(),
        model: "gpt-5-mini".to_owned(),
        streamed: true,
        admitted_at,
        finished_at: admitted_at.plus_ms(900),
        held: NanoUsd(1_000_000),
        cost: NanoUsd(4_711),
        provider_cost: NanoUsd(4_711),
        margin: None,
        provider_charge: None,
        usage: Usage::ZERO.with(Meter::Input, 812).with(Meter::Output, 97),
        charge: Vec::new(),
        basis: SettlementBasis::Provider,
        outcome: RequestOutcome::Ok,
        status: 200,
        attempts: Vec::new(),
        duration_ms: 900,
        first_byte_ms: Some(200),
        overhead_us: 180,
        policy_revision: 7,
    }
}

fn bench(bencher: divan::Bencher<'_, '_>, runtime: &Runtime, store: &Store) {
    runtime.block_on(store.migrate()).expect("the database is empty");
    runtime.block_on(store.prepare_partitions(event().admitted_at)).expect("the database is up");
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| (0..BATCH).map(|_| event()).collect::<Vec<_>>())
        .bench_values(|batch| runtime.block_on(store.journal_events(&batch)).expect("the database is up"));
}

#[divan::bench(sample_count = 40, sample_size = 1)]
fn postgres(bencher: divan::Bencher<'_, '_>) {
    let runtime = Runtime::new().expect("threads can be started");
    let server = runtime.block_on(PostgresServer::start()).expect("PostgreSQL is installed");
    in_postgres(bencher, &runtime, &server);
}

/// The same with every commit forced to the disk.
#[divan::bench(sample_count = 40, sample_size = 1)]
fn postgres_durable(bencher: divan::Bencher<'_, '_>) {
    let runtime = Runtime::new().expect("threads can be started");
    let server = runtime.block_on(PostgresServer::start_durable()).expect("PostgreSQL is installed");
    let sync = runtime.block_on(server.query("postgres", "SHOW fsync")).expect("the server is up");
    assert_eq!(sync, "on", "what is measured is durable");
    in_postgres(bencher, &runtime, &server);
}

fn in_postgres(bencher: divan::Bencher<'_, '_>, runtime: &Runtime, server: &PostgresServer) {
    let url = runtime.block_on(server.create_database("bench")).expect("the server is up");
    let store = runtime.block_on(Store::connect(&url)).expect("the server is up");
    bench(bencher, runtime, &store);
}

#[divan::bench(sample_count = 40, sample_size = 1)]
fn sqlite(bencher: divan::Bencher<'_, '_>) {
    let runtime = Runtime::new().expect("threads can be started");
    let directory = tempfile::tempdir().expect("the temporary directory is writable");
    let url = format!("sqlite://{}", directory.path().join("bench.db").display());
    let store = runtime.block_on(Store::connect(&url)).expect("the file can be created");
    bench(bencher, &runtime, &store);
}
