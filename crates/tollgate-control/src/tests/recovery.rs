//! Reseeds over a real Redis: who is asked what when, and what becomes of pods and tenants that are gone.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tollgate_domain::{HoldId, Id, ManualClock, NanoUsd, NodeId, Secret, TenantId};
use tollgate_ledger::{
    Admission, AdmitOutcome, Ledger, OpenReport, RedisConfig, Seed, SettleOutcome, Settlement, SlabConfig,
    SlabView, WalletRule,
};
use tollgate_proto::v1;
use tollgate_proto::v1::control_plane_client::ControlPlaneClient;
use tollgate_proto::v1::watch_request::Message as Asked;
use tollgate_proto::v1::watch_response::Message as Answer;
use tollgate_testkit::fault_proxy::{FaultMode, FaultProxy};
use tollgate_testkit::redis::RedisServer;
use tollgate_testkit::wait::eventually;
use tonic::transport::Channel;

use super::channel::{Served, serve_world, with_token};
use super::harness::{NOW, PATIENCE, PLANE_TOKEN, World};
use super::money::{event, prepaid};
use super::pushes::{migrated, redis};
use crate::CreatedKey;
use crate::jobs::{Compared, Reserved, WalletReservation, compare};

/// Far above any pause of a loaded machine.
const PATIENT_TIMEOUT_MS: u64 = 10_000;
/// Longer than a lease and all that a note of it may be late.
pub(super) const LONG_SILENCE_MS: i64 = 600_000;

async fn ledger_at(url: String) -> Ledger {
    let mut config = RedisConfig::new(Secret::new(url));
    (config.response_timeout_ms, config.connect_timeout_ms) = (PATIENT_TIMEOUT_MS, PATIENT_TIMEOUT_MS);
    Ledger::redis(&config).await.unwrap()
}

pub(super) async fn serve() -> (RedisServer, Served) {
    let (server, ledger) = redis(PATIENT_TIMEOUT_MS).await;
    let world = World::with(migrated().await, ledger, Arc::new(ManualClock::new(NOW))).await;
    (server, serve_world(world).await)
}

/// What a gateway does when it is asked what it holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum IfAsked {
    Tells,
    TellsAndDies,
    IsSilent,
}

/// A gateway as the control plane sees it: a stream, and a ledger of its own.
pub(super) struct Pod {
    pub(super) node: NodeId,
    pub(super) ledger: Ledger,
    channel: Channel,
    /// How often it was asked what it holds while some tenant's epoch still answered.
    n_asked_too_early: Arc<AtomicUsize>,
    n_asked: Arc<AtomicUsize>,
    pub(super) stream: JoinHandle<()>,
}

impl Pod {
    pub(super) async fn connect(
        served: &Served,
        server: &RedisServer,
        node: u128,
        if_asked: IfAsked,
    ) -> Self {
        Self::with_ledger(served, ledger_at(server.url()).await, node, if_asked).await
    }

    async fn with_ledger(served: &Served, ledger: Ledger, node: u128, if_asked: IfAsked) -> Self {
        let node: NodeId = Id::from_u128(node);
        let (asks, receiver) = mpsc::channel(8);
        let hello = v1::Hello { node_id: node_bytes(node), reports_open: true, ..v1::Hello::default() };
        asks.send(v1::WatchRequest { message: Some(Asked::Hello(hello)) }).await.unwrap();
        let request = with_token(ReceiverStream::new(receiver), PLANE_TOKEN);
        let channel = served.channel.clone();
        let mut messages =
            ControlPlaneClient::new(channel.clone()).watch(request).await.unwrap().into_inner();
        // the first policy says that the hello was heard
        messages.message().await.unwrap().unwrap();
        let (n_asked_too_early, n_asked) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (too_early, asked) = (Arc::clone(&n_asked_too_early), Arc::clone(&n_asked));
        let (of_pod, to_control) = (ledger.clone(), channel.clone());
        let stream = tokio::spawn(async move {
            let _asks = asks;
            while let Ok(Some(message)) = messages.message().await {
                let Some(Answer::OpenReportRequest(request)) = message.message else { continue };
                let tenants: Vec<TenantId> = request.tenant_ids.iter().map(|id| tenant_of(id)).collect();
                let epochs = of_pod.epochs(&tenants).await.unwrap();
                let is_closed = |epoch: &Option<tollgate_ledger::TenantEpoch>| {
                    epoch.as_ref().is_some_and(|epoch| !epoch.is_live && epoch.epoch.is_fenced())
                };
                too_early.fetch_add(usize::from(!epochs.iter().all(is_closed)), Ordering::AcqRel);
                asked.fetch_add(1, Ordering::AcqRel);
                if if_asked != IfAsked::IsSilent {
                    let report = of_pod.open_report(Some(&tenants));
                    report_to(&to_control, node, request.nonce, &report).await;
                }
                if if_asked == IfAsked::TellsAndDies {
                    break;
                }
            }
        });
        Self { node, ledger, channel, n_asked_too_early, n_asked, stream }
    }

    async fn has_reseeded(&self, tenant: TenantId) -> Result<(), tonic::Status> {
        self.asks_for_reseed(tenant, node_bytes(self.node)).await
    }

    /// Also where the pods were heard a moment ago: it does not say who asks.
    pub(super) async fn has_reseeded_again(&self, tenant: TenantId) -> Result<(), tonic::Status> {
        self.asks_for_reseed(tenant, Vec::new()).await
    }

    async fn asks_for_reseed(&self, tenant: TenantId, node_id: Vec<u8>) -> Result<(), tonic::Status> {
        let request = v1::SeedTenantRequest {
            tenant_id: tenant.as_uuid().as_bytes().to_vec(),
            wrong_epoch: true,
            node_id,
            end_users: Vec::new(),
        };
        let mut client = ControlPlaneClient::new(self.channel.clone());
        client.seed_tenant(with_token(request, PLANE_TOKEN)).await.map(drop)
    }

    /// A loaded machine may be slower than a pod is waited for.
    pub(super) async fn is_reseeded_in_the_end(&self, tenant: TenantId) {
        let reseeded = async || self.has_reseeded(tenant).await.ok();
        eventually(PATIENCE, "a reseed", reseeded).await.unwrap();
    }

    async fn admit(
        &self,
        tenant: TenantId,
        key: &CreatedKey,
        hold: u128,
        wallet: WalletRule,
    ) -> AdmitOutcome {
        let admission = Admission {
            tenant,
            key: key.key.id.parse().unwrap(),
            node: self.node,
            hold: Id::from_u128(hold),
            amount: NanoUsd::from_usd(1),
            minimum: NanoUsd::from_usd(1),
            wallet,
            budgets: &[],
            limits: &[],
            tokens: 0,
            lease_ms: 60_000,
            memo: &[],
        };
        self.ledger.admit(&admission).await.unwrap()
    }

    pub(super) async fn settle(&self, tenant: TenantId, hold: u128) -> SettleOutcome {
        let (hold, actual): (HoldId, _) = (Id::from_u128(hold), NanoUsd(5));
        self.ledger.settle(&Settlement { tenant, hold, actual, tokens: 0, event: None }).await.unwrap()
    }
}

fn node_bytes(node: NodeId) -> Vec<u8> {
    node.as_uuid().as_bytes().to_vec()
}

fn tenant_of(bytes: &[u8]) -> TenantId {
    Id::from_uuid(uuid::Uuid::from_slice(bytes).unwrap())
}

async fn report_to(channel: &Channel, node: NodeId, nonce: u64, report: &OpenReport) {
    let chunk = v1::OpenReportChunk {
        node_id: node_bytes(node),
        nonce,
        last: true,
        highest_epoch: report.highest_epoch,
        holds: report.holds.iter().map(|hold| serde_json::to_vec(hold).unwrap()).collect(),
        events: report.events.iter().map(|event| serde_json::to_vec(event).unwrap()).collect(),
        ..v1::OpenReportChunk::default()
    };
    // who asked may have given up
    let _ = ControlPlaneClient::new(channel.clone()).report_open(with_token(chunk, PLANE_TOKEN)).await;
}

#[tokio::test]
async fn every_tenant_is_closed_before_a_pod_is_asked_what_it_holds() {
    let (server, served) = serve().await;
    let (tenant, key, _) = prepaid(&served.world).await;
    let pod = Pod::connect(&served, &server, 77, IfAsked::Tells).await;
    assert!(matches!(pod.admit(tenant, &key, 1, WalletRule::Enforced).await, AdmitOutcome::Admitted(_)));
    // Its epoch answers, and the pod says that it holds something else.
    pod.is_reseeded_in_the_end(tenant).await;
    let n_asked = pod.n_asked.load(Ordering::Acquire);
    assert!(n_asked > 0);
    // Nothing is left of it: there is no epoch that could answer, and still one is closed.
    server.flush_all().await.unwrap();
    pod.is_reseeded_in_the_end(tenant).await;
    assert!(pod.n_asked.load(Ordering::Acquire) > n_asked);
    assert_eq!(pod.n_asked_too_early.load(Ordering::Acquire), 0);
    assert_eq!(pod.settle(tenant, 1).await, SettleOutcome::Settled, "what it holds is there");
}

#[tokio::test]
async fn a_pod_that_never_answers_is_given_up_after_a_lease_and_its_holds_stay_held() {
    let (server, served) = serve().await;
    let world = &served.world;
    let (tenant, key, _) = prepaid(world).await;
    let silent = Pod::connect(&served, &server, 77, IfAsked::IsSilent).await;
    assert!(matches!(silent.admit(tenant, &key, 1, WalletRule::Enforced).await, AdmitOutcome::Admitted(_)));
    let other = Pod::connect(&served, &server, 78, IfAsked::Tells).await;
    let refused = other.has_reseeded(tenant).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unavailable, "nobody else knows what it holds");
    assert!(silent.n_asked.load(Ordering::Acquire) > 0);
    assert_eq!(other.admit(tenant, &key, 2, WalletRule::Enforced).await, AdmitOutcome::WrongEpoch);
    // It is gone, and for longer than it could have renewed anything.
    silent.stream.abort();
    let _ = silent.stream.await;
    let disconnected = async || {
        let nodes = world.app().list_nodes(&world.admin).await.unwrap().data;
        nodes.iter().any(|node| !node.connected).then_some(())
    };
    eventually(PATIENCE, "the disconnection", disconnected).await.unwrap();
    world.clock.advance_ms(LONG_SILENCE_MS);
    other.is_reseeded_in_the_end(tenant).await;
    let holds = world.ledger.list_holds(tenant, None, 9).await.unwrap().holds;
    assert_eq!(
        holds.iter().map(|hold| (hold.hold, hold.node)).collect::<Vec<_>>(),
        [(Id::from_u128(1), silent.node)]
    );
    let wallet = world.ledger.balances(tenant, true, &[]).await.unwrap().wallet.unwrap();
    assert_eq!(wallet.held, NanoUsd::from_usd(1), "nobody else gets it before it is settled as abandoned");
}

/// A pod that has admitted a request out of a slab, of which nobody else knows.
async fn pod_with_a_slab(
    served: &Served,
    server: &RedisServer,
    tenant: TenantId,
    key: &CreatedKey,
    if_asked: IfAsked,
) -> (Pod, SlabView) {
    served.world.app().seed_tenant(tenant).await.unwrap();
    let config = SlabConfig { n_pods: 0, min_requests: 8, ..SlabConfig::default() };
    let ledger = ledger_at(server.url()).await.with_slabs(config);
    let pod = Pod::with_ledger(served, ledger, 77, if_asked).await;
    let admission = Admission {
        tenant,
        key: key.key.id.parse().unwrap(),
        node: pod.node,
        hold: Id::from_u128(1),
        amount: NanoUsd(1_000),
        minimum: NanoUsd(1_000),
        wallet: WalletRule::Enforced,
        budgets: &[],
        limits: &[],
        tokens: 0,
        lease_ms: 60_000,
        memo: &[],
    };
    let slabs = pod.ledger.slabs().unwrap();
    slabs.lease_for(&admission).await;
    assert!(matches!(pod.ledger.admit(&admission).await.unwrap(), AdmitOutcome::Admitted(_)));
    let slab = slabs.views().remove(0);
    assert_eq!(slab.unannounced, [(admission.hold, NanoUsd(1_000))]);
    (pod, slab)
}

/// What is held of a tenant by its wallet, and hold by hold.
pub(super) async fn held_of(world: &World, tenant: TenantId) -> (NanoUsd, BTreeMap<HoldId, NanoUsd>) {
    let wallet = world.ledger.balances(tenant, true, &[]).await.unwrap().wallet.unwrap();
    let holds = world.ledger.list_holds(tenant, None, 9).await.unwrap().holds;
    (wallet.held, holds.into_iter().map(|hold| (hold.hold, hold.amount)).collect())
}

/// What is closed lists the slab at all that was leased; its pod tells what is left of it, and a hold of its own.
#[tokio::test]
async fn a_slab_counts_as_its_pod_told_it_though_the_pod_died_after_that() {
    let (server, served) = serve().await;
    let world = &served.world;
    let (tenant, key, _) = prepaid(world).await;
    let (pod, slab) = pod_with_a_slab(&served, &server, tenant, &key, IfAsked::TellsAndDies).await;
    let leased = held_of(world, tenant).await.0;
    assert_eq!(slab.free, NanoUsd(leased.0 - 1_000));
    let other = Pod::connect(&served, &server, 78, IfAsked::Tells).await;
    let is_reseeded = async || {
        let reseeded = other.has_reseeded_again(tenant).await.ok();
        // Where a loaded machine gave up waiting: the dead pod is off the roster after a while.
        world.clock.advance_ms(if reseeded.is_none() { LONG_SILENCE_MS } else { 0 });
        reseeded
    };
    for _ in 0..2 {
        eventually(PATIENCE, "a reseed", &is_reseeded).await.unwrap();
        let (held, holds) = held_of(world, tenant).await;
        assert_eq!(held, leased, "{holds:?}");
        assert_eq!(holds.values().map(|amount| amount.0).sum::<i64>(), leased.0, "{holds:?}");
        // From now on nobody tells, and it counts as it is.
        pod.stream.abort();
        world.clock.advance_ms(LONG_SILENCE_MS);
    }
}

#[tokio::test]
async fn what_a_reseed_made_a_hold_stays_one_though_its_slab_was_settled_since() {
    let (server, served) = serve().await;
    let world = &served.world;
    let (tenant, key, _) = prepaid(world).await;
    let (pod, slab) = pod_with_a_slab(&served, &server, tenant, &key, IfAsked::Tells).await;
    let hold: HoldId = Id::from_u128(1);
    pod.is_reseeded_in_the_end(tenant).await;
    let own = BTreeMap::from([(hold, NanoUsd(1_000)), (slab.hold, slab.free)]);
    assert_eq!(held_of(world, tenant).await, (NanoUsd(1_000 + slab.free.0), own));
    // The slab is abandoned; its pod, which is cut off, takes the hold for a part of it still.
    let mut paid = event(tenant, &key, slab.hold, slab.hold.as_uuid().as_u128());
    paid.cost = slab.window;
    let paid = Arc::new(paid);
    let (hold_of_slab, actual) = (slab.hold, slab.window);
    let settlement =
        Settlement { tenant, hold: hold_of_slab, actual, tokens: 0, event: Some(Arc::clone(&paid)) };
    assert_eq!(world.ledger.settle(&settlement).await.unwrap(), SettleOutcome::Settled);
    world.store.journal_events(&[paid]).await.unwrap();
    let own = BTreeMap::from([(hold, NanoUsd(1_000))]);
    assert_eq!(held_of(world, tenant).await, (NanoUsd(1_000), own.clone()));
    let epoch = world.ledger.epochs(&[tenant]).await.unwrap();
    let again = async || pod.has_reseeded_again(tenant).await.ok();
    eventually(PATIENCE, "a second reseed", again).await.unwrap();
    assert_ne!(world.ledger.epochs(&[tenant]).await.unwrap(), epoch);
    assert_eq!(held_of(world, tenant).await, (NanoUsd(1_000), own), "nobody has paid for it");
    assert_eq!(pod.settle(tenant, 1).await, SettleOutcome::Settled);
    let wallet = world.ledger.balances(tenant, true, &[]).await.unwrap().wallet.unwrap();
    assert_eq!((wallet.settled, wallet.held), (NanoUsd(slab.window.0 + 5), NanoUsd::ZERO));
}

#[tokio::test]
async fn what_a_journaled_slab_has_paid_for_is_not_held_again() {
    let (server, served) = serve().await;
    let world = &served.world;
    let (tenant, key, _) = prepaid(world).await;
    let (pod, slab) = pod_with_a_slab(&served, &server, tenant, &key, IfAsked::Tells).await;
    // The pod was cut off for so long that its slab was settled; it has not heard of that when all is lost.
    let mut paid = event(tenant, &key, slab.hold, slab.hold.as_uuid().as_u128());
    paid.cost = slab.window;
    world.store.journal_events(&[paid]).await.unwrap();
    server.flush_all().await.unwrap();
    pod.is_reseeded_in_the_end(tenant).await;
    assert_eq!(world.ledger.list_holds(tenant, None, 9).await.unwrap().holds, []);
    assert_eq!(pod.settle(tenant, 1).await, SettleOutcome::UnknownHold);
    let wallet = world.ledger.balances(tenant, true, &[]).await.unwrap().wallet.unwrap();
    assert_eq!((wallet.settled, wallet.held), (slab.window, NanoUsd::ZERO), "it is charged once");
}

#[tokio::test]
async fn what_is_under_way_of_a_deleted_tenant_ends_though_redis_was_lost() {
    let (server, served) = serve().await;
    let world = &served.world;
    let (with_journal, key, _) = prepaid(world).await;
    // Without any credit nothing is left of it when it is deleted.
    let without: TenantId = world.tenant("bare").await.id.parse().unwrap();
    let other_key = world.key("bare", "bot", "other").await;
    let pod = Pod::connect(&served, &server, 77, IfAsked::Tells).await;
    let tenants = [("acme", with_journal, &key, 1_u128), ("bare", without, &other_key, 2)];
    for (name, tenant, key, hold) in tenants {
        assert!(matches!(pod.admit(tenant, key, hold, WalletRule::Counted).await, AdmitOutcome::Admitted(_)));
        world.app().delete_tenant(&world.admin, name, true).await.unwrap();
    }
    server.flush_all().await.unwrap();
    for (name, tenant, key, hold) in tenants {
        assert_eq!(pod.settle(tenant, hold).await, SettleOutcome::WrongEpoch, "{name}");
        pod.is_reseeded_in_the_end(tenant).await;
        // Its policy may be late: the key is refused all the same.
        assert_eq!(
            pod.admit(tenant, key, hold + 10, WalletRule::Counted).await,
            AdmitOutcome::Revoked,
            "{name}"
        );
        assert_eq!(pod.settle(tenant, hold).await, SettleOutcome::Settled, "{name}");
    }
}

#[tokio::test]
async fn a_reservation_is_given_back_when_redis_answers_again() {
    let server = RedisServer::start().await.unwrap();
    let proxy = FaultProxy::start(SocketAddr::from((Ipv4Addr::LOCALHOST, server.port()))).await.unwrap();
    let ledger = ledger_at(format!("redis://{}", proxy.address())).await;
    let world = World::with(migrated().await, ledger.clone(), Arc::new(ManualClock::new(NOW))).await;
    let (tenant, ..) = prepaid(&world).await;
    let two = NanoUsd::from_usd(2);
    let Reserved::Granted(reservation) =
        WalletReservation::ask(&ledger, NOW, tenant, two, two).await.unwrap()
    else {
        panic!("there are five dollars")
    };
    let elsewhere = ledger_at(server.url()).await;
    let held = async || elsewhere.balances(tenant, true, &[]).await.unwrap().wallet.unwrap().held;
    assert_eq!(held().await, two);
    proxy.set_mode(FaultMode::Refuse);
    proxy.cut().await.unwrap();
    let n_tries = proxy.n_accepted_connections();
    let releasing = tokio::spawn(async move { reservation.release(&ledger).await });
    let tried = async || (proxy.n_accepted_connections() > n_tries).then_some(());
    eventually(PATIENCE, "a try in vain", tried).await.unwrap();
    assert_eq!(held().await, two);
    proxy.set_mode(FaultMode::Pass);
    releasing.await.unwrap();
    assert_eq!(held().await, NanoUsd::ZERO);
}

/// What is on its way from the ledger to the journal explains a ledger that has more, never one that has less.
#[tokio::test]
async fn a_ledger_that_has_less_than_the_journal_is_wrong_whatever_is_on_its_way() {
    let world = World::new().await;
    let (tenant, key, _) = prepaid(&world).await;
    let store = &world.store;
    store.journal_events(&[event(tenant, &key, Id::from_u128(1), 1)]).await.unwrap();
    let settled = store.wallet_settled(tenant).await.unwrap();
    assert!(settled > NanoUsd::ZERO);
    let credit = store.credit_total(tenant).await.unwrap();
    // Another ledger, whose outbox nobody reads: something is on its way, and stays so.
    let ledger = Ledger::memory(Arc::new(ManualClock::new(NOW)));
    let (hold, event) = (Id::from_u128(2), Arc::new(event(tenant, &key, Id::from_u128(2), 2)));
    let on_its_way = Settlement { tenant, hold, actual: event.cost, tokens: 0, event: Some(event) };
    ledger.settle(&on_its_way).await.unwrap();
    let record = store.tenant(tenant).await.unwrap();
    for (has, is_wrong) in [(settled, false), (NanoUsd(settled.0 + 1), false), (NanoUsd(settled.0 - 1), true)]
    {
        ledger.forget_tenant(tenant).await.unwrap();
        let seed = Seed {
            tenant,
            wallet_limit: credit.sum,
            wallet_version: credit.version,
            wallet_settled: has,
            counters: Vec::new(),
        };
        ledger.seed(&seed).await.unwrap();
        let compared = compare(store, &ledger, &record, tokio::time::Instant::now()).await.unwrap();
        assert_eq!(matches!(compared, Compared::Different(_)), is_wrong, "{has}");
        assert_eq!(ledger.outbox_len().await, Ok(1));
    }
}
