//! How long it takes until every tenant is served again after Redis has lost everything: 10,000 tenants (or as many as
//! the first number among the arguments says), each with a wallet, budgets, a key, a journal and a request under way at
//! a gateway, reseeded by the control plane's own jobs over PostgreSQL.
//!
//! Needs `redis-server` and PostgreSQL (`cargo xtask setup`) and fails without them.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot run says why and ends; it reports to its reader"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tollgate_control::{Control, ControlConfig, MasterKey};
use tollgate_domain::{
    BudgetId, BudgetWindow, CreditId, EventId, HoldId, KeyHash, KeyId, ManualClock, Meter, NanoUsd, NodeId,
    ProjectId, RequestId, RequestOutcome, Secret, SettlementBasis, Surface, TenantId, TimeZoneName,
    UnixMillis, Usage, UsageEvent,
};
use tollgate_ledger::{Admission, AdmitOutcome, Ledger, RedisConfig, TenantEpoch, WalletRule};
use tollgate_policy::{
    Billing, BudgetOwner, BudgetPolicy, DataPolicy, KeyPolicy, KeyState, OwnerRules, ProjectPolicy,
    RateLimits, TenantPolicy,
};
use tollgate_proto::v1;
use tollgate_proto::v1::control_plane_client::ControlPlaneClient;
use tollgate_proto::v1::watch_request::Message as Asked;
use tollgate_proto::v1::watch_response::Message as Answer;
use tollgate_store::{CreditKind, NewCredit, Store, WriteContext};
use tollgate_testkit::postgres::PostgresServer;
use tollgate_testkit::redis::RedisServer;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

const N_TENANTS: u64 = 10_000;
/// Requests in each tenant's journal.
const EVENTS_PER_TENANT: u64 = 2;
/// Events journaled at once.
const BATCH: usize = 500;
/// Tenants made, or asked for, side by side.
const AT_ONCE: usize = 16;
/// Within so long all of it is done, or something is wrong.
const PATIENCE: Duration = Duration::from_secs(600);
/// Between two looks at what is done.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// 2026-11-22T12:00:00Z
const NOW: UnixMillis = UnixMillis(1_795_348_800_000);
const NODE: NodeId = NodeId::from_u128(7_777);
const PLANE_TOKEN: &str = "plane-token-for-the-benchmark";

#[tokio::main]
async fn main() {
    let n_tenants = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(N_TENANTS);
    let postgres = PostgresServer::start().await.unwrap();
    let store = Store::connect(&postgres.create_database("reseed").await.unwrap()).await.unwrap();
    store.migrate().await.unwrap();
    store.prepare_partitions(NOW).await.unwrap();
    let began = Instant::now();
    fill(&store, n_tenants).await;
    println!("{n_tenants} tenants made in {:.1} s", began.elapsed().as_secs_f64());

    let redis = RedisServer::start().await.unwrap();
    let ledger = ledger_at(&redis).await;
    let config = ControlConfig { plane_token: Some(Secret::new(PLANE_TOKEN)), ..ControlConfig::default() };
    let clock = Arc::new(ManualClock::new(NOW));
    let control =
        Control::start(config, store, ledger.clone(), clock, MasterKey::new([7; 32])).await.unwrap();
    let began = Instant::now();
    all_live(&ledger, n_tenants).await;
    report("an empty Redis at the start", n_tenants, began);

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(control.serve_grpc(listener, tokio_util::sync::CancellationToken::new()));
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let of_pod = ledger_at(&redis).await;
    let (is_heard, heard) = oneshot::channel();
    let pod = tokio::spawn(pod(of_pod.clone(), channel, is_heard));
    heard.await.unwrap();
    for n in 0..n_tenants {
        admit(&of_pod, n).await;
    }
    for run in 1..=3 {
        redis.flush_all().await.unwrap();
        let began = Instant::now();
        all_live(&ledger, n_tenants).await;
        report(&format!("everything lost, run {run}"), n_tenants, began);
    }
    println!("{:?}", control.recovery_status());
    for n in [0, n_tenants - 1] {
        let held = ledger.balances(tenant(n), true, &[]).await.unwrap().wallet.unwrap().held;
        assert_eq!(held, NanoUsd::from_usd(1), "what is under way is held");
    }
    pod.abort();
    control.shutdown().await;
    serving.await.unwrap().unwrap();
}

fn report(what: &str, n_tenants: u64, began: Instant) {
    println!("{n_tenants} tenants reseeded in {:.2} s ({what})", began.elapsed().as_secs_f64());
}

fn tenant(n: u64) -> TenantId {
    TenantId::from_u128(id(n, 1))
}

fn key(n: u64) -> KeyId {
    KeyId::from_u128(id(n, 3))
}

/// Ids of different kinds, whose last bits are random as everywhere.
fn id(n: u64, kind: u128) -> u128 {
    (kind << 120) | (u128::from(n) << 64) | u128::from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

async fn ledger_at(redis: &RedisServer) -> Ledger {
    let mut config = RedisConfig::new(Secret::new(redis.url()));
    (config.response_timeout_ms, config.connect_timeout_ms) = (10_000, 10_000);
    Ledger::redis(&config).await.unwrap()
}

// --- what there is ---

async fn fill(store: &Store, n_tenants: u64) {
    let mut making = tokio::task::JoinSet::new();
    for n in 0..n_tenants {
        if making.len() >= AT_ONCE {
            making.join_next().await.unwrap().unwrap();
        }
        let store = store.clone();
        making.spawn(async move { make(&store, n).await });
    }
    making.join_all().await;
    let events: Vec<UsageEvent> =
        (0..n_tenants).flat_map(|n| (0..EVENTS_PER_TENANT).map(move |i| event(n, i))).collect();
    for batch in events.chunks(BATCH) {
        store.journal_events(batch).await.unwrap();
    }
}

async fn make(store: &Store, n: u64) {
    let ctx = WriteContext::system("bench", NOW);
    let owner = TenantPolicy {
        id: tenant(n),
        name: format!("tenant-{n}"),
        billing: Billing::Prepaid,
        time_zone: TimeZoneName::parse("Europe/Berlin").unwrap(),
        blocked: false,
        limits: RateLimits::default(),
        rules: OwnerRules::default(),
        data_policy: DataPolicy::default(),
    };
    let credit = NewCredit {
        id: CreditId::from_u128(id(n, 5)),
        tenant: tenant(n),
        kind: CreditKind::Topup,
        amount: NanoUsd::from_usd(100),
        reference: None,
        expires_at: None,
        corrects: None,
    };
    store.create_tenant_with_credit(&ctx, owner, Some(credit)).await.unwrap();
    let project = ProjectPolicy {
        id: ProjectId::from_u128(id(n, 2)),
        tenant: tenant(n),
        name: "bot".to_owned(),
        labels: [].into(),
        limits: RateLimits::default(),
        rules: OwnerRules::default(),
    };
    let project = store.create_project(&ctx, project).await.unwrap().id;
    let mut hash = [0; 32];
    hash[..16].copy_from_slice(&id(n, 4).to_be_bytes());
    let policy = KeyPolicy {
        id: key(n),
        project,
        name: "prod".to_owned(),
        hash: KeyHash(hash),
        previous_hash: None,
        models: Vec::new(),
        limits: RateLimits::default(),
        rules: OwnerRules::default(),
        expires_at: None,
        state: KeyState::Active,
        labels: [].into(),
    };
    store.create_key(&ctx, policy, "tg-1").await.unwrap();
    let budgets = [
        (6, BudgetOwner::Tenant(tenant(n)), BudgetWindow::Month),
        (7, BudgetOwner::Key(key(n)), BudgetWindow::Day),
    ];
    for (kind, owner, window) in budgets {
        let (id, limit) = (BudgetId::from_u128(id(n, kind)), NanoUsd::from_usd(500));
        let budget = BudgetPolicy { id, owner, window, limit, increases: Vec::new() };
        store.create_budget(&ctx, budget).await.unwrap();
    }
}

fn event(n: u64, number: u64) -> UsageEvent {
    let admitted_at = NOW.plus_ms(-60_000);
    // as the gateway makes them: the millisecond first
    let id = (u128::from(admitted_at.0.unsigned_abs()) << 80) | (7 << 76) | u128::from(n * 100 + number);
    UsageEvent {
        event: EventId::from_u128(id),
        request: RequestId::from_u128(id),
        hold: HoldId::from_u128(id),
        tenant: tenant(n),
        project: ProjectId::from_u128(crate::id(n, 2)),
        key: key(n),
        end_user: None,
        labels: [].into(),
        surface: Surface::Chat,
        requested_model: "chat".to_owned(),
        provider: "openai".to_owned(),
        model: "gpt-5-mini".to_owned(),
        streamed: true,
        admitted_at,
        finished_at: NOW,
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

// --- who is waiting ---

async fn admit(ledger: &Ledger, n: u64) {
    let admission = Admission {
        tenant: tenant(n),
        key: key(n),
        node: NODE,
        hold: HoldId::from_u128(id(n, 15)),
        amount: NanoUsd::from_usd(1),
        minimum: NanoUsd::from_usd(1),
        wallet: WalletRule::Enforced,
        budgets: &[],
        limits: &[],
        tokens: 0,
        lease_ms: 600_000,
        memo: &[b'm'; 600],
    };
    let outcome = ledger.admit(&admission).await.unwrap();
    assert!(matches!(outcome, AdmitOutcome::Admitted(_)), "{outcome:?}");
}

/// Until every tenant's epoch answers.
async fn all_live(ledger: &Ledger, n_tenants: u64) {
    let tenants: Vec<TenantId> = (0..n_tenants).map(tenant).collect();
    let waited = async {
        let mut rest = tenants.as_slice();
        while !rest.is_empty() {
            let epochs = ledger.epochs(rest).await.unwrap();
            let is_live = |epoch: &Option<TenantEpoch>| epoch.as_ref().is_some_and(|epoch| epoch.is_live);
            rest = &rest[epochs.iter().take_while(|epoch| is_live(epoch)).count()..];
            if !rest.is_empty() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    };
    tokio::time::timeout(PATIENCE, waited).await.unwrap();
}

/// A gateway as the control plane sees it: it tells what it has under way when it is asked.
async fn pod(ledger: Ledger, channel: Channel, is_heard: oneshot::Sender<()>) {
    let (asks, receiver) = mpsc::channel(8);
    let hello = v1::Hello { node_id: node_bytes(), reports_open: true, ..v1::Hello::default() };
    asks.send(v1::WatchRequest { message: Some(Asked::Hello(hello)) }).await.unwrap();
    let mut client = ControlPlaneClient::new(channel).max_decoding_message_size(usize::MAX);
    let mut messages = client.watch(with_token(ReceiverStream::new(receiver))).await.unwrap().into_inner();
    // the first policy says that the hello was heard
    messages.message().await.unwrap().unwrap();
    is_heard.send(()).unwrap();
    while let Ok(Some(message)) = messages.message().await {
        let Some(Answer::OpenReportRequest(request)) = message.message else { continue };
        let tenants: Vec<TenantId> = request
            .tenant_ids
            .iter()
            .map(|id| TenantId::from_uuid(uuid::Uuid::from_slice(id).unwrap()))
            .collect();
        let report = ledger.open_report(Some(&tenants));
        let chunk = v1::OpenReportChunk {
            node_id: node_bytes(),
            nonce: request.nonce,
            last: true,
            highest_epoch: report.highest_epoch,
            holds: report.holds.iter().map(|hold| serde_json::to_vec(hold).unwrap()).collect(),
            events: report.events.iter().map(|event| serde_json::to_vec(event).unwrap()).collect(),
            ..v1::OpenReportChunk::default()
        };
        client.report_open(with_token(chunk)).await.unwrap();
    }
}

fn node_bytes() -> Vec<u8> {
    NODE.as_uuid().as_bytes().to_vec()
}

fn with_token<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let bearer = format!("Bearer {PLANE_TOKEN}").parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    request
}
