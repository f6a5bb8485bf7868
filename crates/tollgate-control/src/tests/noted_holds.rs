//! Holds of dead pods, where the ledger is lost before they are settled.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tollgate_domain::{HoldId, Id, NanoUsd, TenantId};
use tollgate_ledger::{Admission, AdmitOutcome, SettleOutcome, WalletRule};
use tollgate_testkit::wait::eventually;

use super::harness::{PATIENCE, World};
use super::money::prepaid;
use super::recovery::{IfAsked, LONG_SILENCE_MS, Pod, held_of, serve};
use crate::CreatedKey;
use crate::jobs::{HoldNoter, SuspectSettler};

/// Ends at once.
const SHORT_LEASE_MS: u64 = 1;
/// Longer than any request's.
const STANDING_LEASE_MS: u64 = 72 * 3_600_000;

fn noter(world: &World) -> HoldNoter {
    let (store, ledger) = (world.store.clone(), world.ledger.clone());
    HoldNoter { store, ledger, clock: Arc::clone(&world.clock) as Arc<_>, looked_at: None }
}

async fn admit(pod: &Pod, tenant: TenantId, key: &CreatedKey, hold: u128, lease_ms: u64) {
    let admission = Admission {
        tenant,
        key: key.key.id.parse().unwrap(),
        node: pod.node,
        hold: Id::from_u128(hold),
        amount: NanoUsd::from_usd(1),
        minimum: NanoUsd::from_usd(1),
        wallet: WalletRule::Enforced,
        budgets: &[],
        limits: &[],
        tokens: 0,
        lease_ms,
        memo: &[],
    };
    let outcome = pod.ledger.admit(&admission).await.unwrap();
    assert!(matches!(outcome, AdmitOutcome::Admitted(_)), "{outcome:?}");
}

async fn noted(world: &World) -> Vec<HoldId> {
    world.store.list_noted_holds(9).await.unwrap().iter().map(|noted| noted.hold).collect()
}

/// Looks until these are noted: a lease ends by the clock of Redis.
async fn look_until(world: &World, expected: &[HoldId]) {
    let looked = async || {
        noter(world).look().await.unwrap();
        (noted(world).await == expected).then_some(())
    };
    eventually(PATIENCE, "notes", looked).await.unwrap();
}

#[tokio::test]
async fn holds_of_a_dead_pod_are_held_again_when_all_is_lost() {
    let (server, served) = serve().await;
    let world = &served.world;
    let (tenant, key, _) = prepaid(world).await;
    let dying = Pod::connect(&served, &server, 77, IfAsked::Tells).await;
    let other = Pod::connect(&served, &server, 78, IfAsked::Tells).await;
    let [abandoned, standing, alive]: [HoldId; 3] = [1, 2, 3].map(Id::from_u128);
    admit(&dying, tenant, &key, 1, SHORT_LEASE_MS).await;
    admit(&dying, tenant, &key, 2, STANDING_LEASE_MS).await;
    admit(&other, tenant, &key, 3, 60_000).await;
    look_until(world, &[abandoned, standing]).await;
    dying.stream.abort();
    let disconnected = async || {
        let nodes = world.app().list_nodes(&world.admin).await.unwrap().data;
        nodes.iter().any(|node| !node.connected).then_some(())
    };
    eventually(PATIENCE, "the disconnection", disconnected).await.unwrap();
    world.clock.advance_ms(LONG_SILENCE_MS);

    server.flush_all().await.unwrap();
    // nothing is known of what was lost, and so nothing of it is forgotten
    noter(world).look().await.unwrap();
    assert_eq!(noted(world).await, [abandoned, standing]);
    other.is_reseeded_in_the_end(tenant).await;
    let one = NanoUsd::from_usd(1);
    let all = BTreeMap::from([(abandoned, one), (standing, one), (alive, one)]);
    assert_eq!(held_of(world, tenant).await, (NanoUsd::from_usd(3), all));

    // what is settled as abandoned is not noted any more, and not held again
    let settler = SuspectSettler {
        store: world.store.clone(),
        ledger: world.ledger.clone(),
        clock: Arc::clone(&world.clock) as Arc<_>,
        after: Duration::ZERO,
        counters: Arc::default(),
    };
    let settled = async || {
        settler.settle_all().await.unwrap();
        (!held_of(world, tenant).await.1.contains_key(&abandoned)).then_some(())
    };
    eventually(PATIENCE, "the settlement", settled).await.unwrap();
    server.flush_all().await.unwrap();
    let reseeded = async || other.has_reseeded_again(tenant).await.ok();
    eventually(PATIENCE, "another reseed", reseeded).await.unwrap();
    let rest = BTreeMap::from([(standing, one), (alive, one)]);
    assert_eq!(held_of(world, tenant).await, (NanoUsd::from_usd(2), rest), "the journal has it");
    look_until(world, &[standing]).await;
    assert_eq!(other.settle(tenant, 2).await, SettleOutcome::Settled);
    look_until(world, &[]).await;
}
