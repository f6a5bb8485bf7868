//! A call about a slab whose answer was lost: its repeat changes nothing, on either backend.

use tollgate_domain::{
    EventId, HoldId, KeyId, ManualClock, NanoUsd, NodeId, ProjectId, RequestId, RequestOutcome, Secret,
    SettlementBasis, Surface, TenantId, UnixMillis, Usage, UsageEvent,
};
use tollgate_testkit::redis::RedisServer;

use super::*;
use crate::{AdmitOutcome, Balance, RedisConfig, Seed, SettleOutcome, Settlement, WalletRule};

const TENANT: TenantId = TenantId::from_u128(1);
const KEY: KeyId = KeyId::from_u128(2);
const NODE: NodeId = NodeId::from_u128(3);
const SLAB: HoldId = HoldId::from_u128(100);
const NOW: UnixMillis = UnixMillis(1_900_000_000_000);

fn part(hold: u128) -> Arc<Part> {
    Arc::new(Part {
        hold: HoldId::from_u128(hold),
        key: KEY,
        node: NODE,
        amount: NanoUsd(30),
        admitted_at: NOW,
        lease_ms: 60_000,
        tokens: 0,
        memo: Box::from(&b"memo"[..]),
    })
}

fn settlement(hold: HoldId, actual: i64) -> Settlement {
    let event = UsageEvent {
        event: EventId::from_uuid(hold.as_uuid()),
        request: RequestId::from_uuid(hold.as_uuid()),
        hold,
        tenant: TENANT,
        project: ProjectId::from_u128(4),
        key: KEY,
        end_user: None,
        labels: [].into(),
        surface: Surface::Chat,
        requested_model: String::new(),
        provider: String::new(),
        model: String::new(),
        streamed: false,
        admitted_at: NOW,
        finished_at: NOW,
        held: NanoUsd(30),
        cost: NanoUsd(actual),
        provider_cost: NanoUsd(actual),
        usage: Usage::ZERO,
        charge: Vec::new(),
        provider_charge: None,
        margin: None,
        basis: SettlementBasis::Provider,
        outcome: RequestOutcome::Ok,
        status: 200,
        attempts: Vec::new(),
        duration_ms: 1,
        first_byte_ms: None,
        overhead_us: 1,
        policy_revision: 1,
    };
    Settlement { tenant: TENANT, hold, actual: NanoUsd(actual), tokens: 0, event: Some(Arc::new(event)) }
}

async fn wallet(ledger: &Ledger) -> (i64, i64) {
    let Balance { settled, held, .. } = ledger.balances(TENANT, true, &[]).await.unwrap().wallet.unwrap();
    (settled.0, held.0)
}

async fn repeats_change_nothing(backend: Ledger) {
    let seed = Seed {
        tenant: TENANT,
        wallet_limit: NanoUsd(1_000),
        wallet_version: 1,
        wallet_settled: NanoUsd::ZERO,
        counters: Vec::new(),
    };
    backend.seed(&seed).await.unwrap();
    let admission = Admission {
        tenant: TENANT,
        key: KEY,
        node: NODE,
        hold: SLAB,
        amount: NanoUsd(300),
        minimum: NanoUsd(300),
        wallet: WalletRule::Enforced,
        budgets: &[],
        limits: &[],
        tokens: 0,
        lease_ms: 60_000,
        memo: &[],
    };
    assert!(matches!(backend.admit(&admission).await.unwrap(), AdmitOutcome::Admitted(_)));
    let slabs = SlabLedger::new(backend.clone(), SlabConfig::default(), None);
    let (runs, over, opened_before) = (part(5), part(6), part(7));
    let open = |opened| SlabCall { tenant: TENANT, slab: SLAB, key: KEY, opened, ended: &[], block: None };
    let before = [Arc::clone(&opened_before)];
    for _ in 0..2 {
        assert!(matches!(slabs.call(&open(&before)).await.unwrap(), SlabAnswer::Done(_)));
        assert_eq!(wallet(&backend).await, (0, 300));
    }
    let opened = [runs];
    let ended = [&over, &opened_before]
        .map(|part| EndedPart { part: Arc::clone(part), settlement: settlement(part.hold, 12) });
    let call = SlabCall { ended: &ended, ..open(&opened) };
    for first in [PartEnd::Settled, PartEnd::AlreadySettled] {
        let SlabAnswer::Done(done) = slabs.call(&call).await.unwrap() else { panic!("the slab is there") };
        assert_eq!(done.ended, [first, PartEnd::IsHold]);
        assert_eq!(done.available, NanoUsd(1_000 - 12 - 270));
        assert_eq!(wallet(&backend).await, (12, 270));
        assert_eq!(backend.outbox_len().await.unwrap(), 1);
    }
    assert_eq!(backend.settle(&settlement(opened_before.hold, 3)).await.unwrap(), SettleOutcome::Settled);
    let void = Settlement { event: None, ..settlement(SLAB, 0) };
    assert_eq!(backend.settle(&void).await.unwrap(), SettleOutcome::Settled);
    assert_eq!(wallet(&backend).await, (15, 30), "the one that runs is left");
    let own = [5, 7, 6].map(HoldId::from_u128);
    let own = [own[0], own[2], own[1]];
    assert_eq!(slabs.call(&call).await.unwrap(), SlabAnswer::Gone(own.to_vec()));
    backend.fence(&[TENANT]).await.unwrap();
    assert_eq!(slabs.call(&call).await.unwrap(), SlabAnswer::WrongEpoch);
}

#[tokio::test]
async fn in_process() {
    repeats_change_nothing(Ledger::memory(Arc::new(ManualClock::new(NOW)))).await;
}

#[tokio::test]
async fn in_redis() {
    let server = RedisServer::start().await.unwrap();
    let mut config = RedisConfig::new(Secret::new(server.url()));
    (config.response_timeout_ms, config.connect_timeout_ms) = (10_000, 10_000);
    repeats_change_nothing(Ledger::redis(&config).await.unwrap()).await;
}
