//! What reaches the ledger though something is in the way: credit, flags of keys, what a tenant spent before.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tollgate_domain::{Id, MAX_LIMIT, ManualClock, NanoUsd, Secret, TenantId};
use tollgate_ledger::{Admission, AdmitOutcome, Ledger, RedisConfig, Settlement, WalletRule};
use tollgate_store::{ActorKind, CreditKind, NewCredit, Store, WriteContext};
use tollgate_testkit::redis::RedisServer;
use tollgate_testkit::wait::eventually;

use super::harness::{NOW, PATIENCE, World, start};
use super::money::{event, prepaid};
use crate::jobs::{AlertSignals, JournalWriter};
use crate::{AppError, BillingName, CreateCredit, CreatedKey, CreditKindName, KeyStateName, UpdateTenant};

/// Far above any pause of a loaded machine.
const PATIENT_TIMEOUT_MS: u64 = 10_000;
/// Short enough to wait for when the server is gone.
const SHORT_TIMEOUT_MS: u64 = 500;

pub(super) async fn redis(timeout_ms: u64) -> (RedisServer, Ledger) {
    let server = RedisServer::start().await.unwrap();
    let mut config = RedisConfig::new(Secret::new(server.url()));
    config.response_timeout_ms = timeout_ms;
    config.connect_timeout_ms = PATIENT_TIMEOUT_MS;
    let ledger = Ledger::redis(&config).await.unwrap();
    (server, ledger)
}

pub(super) async fn migrated() -> Store {
    let store = Store::connect("sqlite::memory:").await.unwrap();
    store.migrate().await.unwrap();
    store
}

/// What a pod would get for a request of `amount`.
async fn admit(
    world: &World,
    key: &CreatedKey,
    hold: u128,
    amount: i64,
    wallet: WalletRule,
) -> Result<AdmitOutcome, tollgate_ledger::LedgerError> {
    let admission = Admission {
        tenant: key.key.tenant_id.parse().unwrap(),
        key: key.key.id.parse().unwrap(),
        node: Id::from_u128(9),
        hold: Id::from_u128(hold),
        amount: NanoUsd(amount),
        minimum: NanoUsd(amount),
        wallet,
        budgets: &[],
        limits: &[],
        tokens: 0,
        lease_ms: 60_000,
        memo: &[],
    };
    world.ledger.admit(&admission).await
}

/// Whether the ledger lets the key through: a free request tells, as soon as no reseed is under way.
async fn is_flagged(world: &World, key: &CreatedKey, hold: u128) -> bool {
    let answered = async || match admit(world, key, hold, 0, WalletRule::None).await.unwrap() {
        AdmitOutcome::Revoked => Some(true),
        AdmitOutcome::Admitted(_) => Some(false),
        AdmitOutcome::WrongEpoch => None,
        other => panic!("neither admitted nor revoked: {other:?}"),
    };
    eventually(PATIENCE, "an answer", answered).await.unwrap()
}

fn update(json: &str) -> UpdateTenant {
    serde_json::from_str(json).unwrap()
}

async fn journaled(world: &World, n: u64) {
    let reached = async || (world.control.journal_status().journaled == n).then_some(());
    eventually(PATIENCE, "events in the journal", reached).await.unwrap();
}

#[tokio::test]
async fn what_was_spent_by_invoice_is_spent_when_the_tenant_begins_to_prepay() {
    let world = World::new().await;
    let (app, admin) = (world.app(), &world.admin);
    let tenant = world.tenant("acme").await;
    assert_eq!(tenant.billing, BillingName::Postpaid);
    let id: TenantId = tenant.id.parse().unwrap();
    let key = world.key("acme", "bot", "prod").await;
    let outcome = admit(&world, &key, 1, 1_000_000_000, WalletRule::Counted).await.unwrap();
    assert!(matches!(outcome, AdmitOutcome::Admitted(_)), "{outcome:?}");
    let mut spent = event(id, &key, Id::from_u128(1), 1);
    spent.cost = NanoUsd::from_usd(1);
    let settlement =
        Settlement { tenant: id, hold: spent.hold, actual: spent.cost, tokens: 0, event: Some(spent.into()) };
    world.ledger.settle(&settlement).await.unwrap();
    let topup = CreateCredit {
        currency: None,
        amount: "1.00".into(),
        kind: CreditKindName::Topup,
        reference: None,
        expires_at: None,
        corrects: None,
    };
    app.create_credit(admin, "acme", topup).await.unwrap();
    let view = app.update_tenant(admin, "acme", update(r#"{"billing":"prepaid"}"#)).await.unwrap();
    assert_eq!(view.billing, BillingName::Prepaid);

    let balance = app.balance(admin, "acme").await.unwrap();
    assert_eq!((balance.settled.0, balance.available.0), (NanoUsd::from_usd(1), NanoUsd::ZERO));
    let refused = admit(&world, &key, 2, 1, WalletRule::Enforced).await.unwrap();
    assert!(matches!(refused, AdmitOutcome::Spent(_)), "{refused:?}");
    // The same from the journal alone, after a restart with an empty ledger.
    journaled(&world, 1).await;
    let again = World::over(world.store.clone()).await;
    again.control.seed_tenant(id).await.unwrap();
    let refused = admit(&again, &key, 3, 1, WalletRule::Enforced).await.unwrap();
    assert!(matches!(refused, AdmitOutcome::Spent(_)), "{refused:?}");
}

/// Beyond what one ledger counter can tell, nothing is left: for an invoice that does not matter.
#[tokio::test]
async fn who_spent_more_by_invoice_than_can_be_counted_is_still_served() {
    let world = World::new().await;
    let id: TenantId = world.tenant("acme").await.id.parse().unwrap();
    let key = world.key("acme", "bot", "prod").await;
    let events = [1, 2].map(|number| {
        let mut event = event(id, &key, Id::from_u128(number), number);
        event.cost = MAX_LIMIT;
        event
    });
    world.store.journal_events(&events).await.unwrap();
    world.ledger.forget_tenant(id).await.unwrap();
    assert_eq!(admit(&world, &key, 3, 1, WalletRule::Counted).await.unwrap(), AdmitOutcome::Cold);
    world.control.seed_tenant(id).await.unwrap();
    let served = admit(&world, &key, 3, 1, WalletRule::Counted).await.unwrap();
    assert!(matches!(served, AdmitOutcome::Admitted(_)), "{served:?}");
    let refused = admit(&world, &key, 4, 1, WalletRule::Enforced).await.unwrap();
    assert!(matches!(refused, AdmitOutcome::Spent(_)), "{refused:?}");
}

/// In the periods of another zone the ledger would count what was spent as nothing.
#[tokio::test]
async fn a_tenant_keeps_its_time_zone_while_budgets_follow_it() {
    let world = World::new().await;
    let (app, admin) = (world.app(), &world.admin);
    let (_, _, budget) = prepaid(&world).await;
    let berlin = || update(r#"{"time_zone":"Europe/Berlin","limits":{"requests_per_minute":5}}"#);
    let refused = app.update_tenant(admin, "acme", berlin()).await.unwrap_err();
    assert!(matches!(&refused, AppError::Conflict { path, .. } if path == "time_zone"), "{refused:?}");
    assert!(refused.to_string().contains("create them again"), "{refused}");
    let kept = app.tenant(admin, "acme").await.unwrap();
    assert_eq!((kept.time_zone.as_str(), kept.limits.requests_per_minute), ("UTC", None));
    // Its own one again is no change.
    app.update_tenant(admin, "acme", update(r#"{"time_zone":null}"#)).await.unwrap();
    app.delete_budget(admin, &budget.id).await.unwrap();
    let total = crate::CreateBudget {
        tenant: Some("acme".into()),
        project: None,
        key: None,
        window: crate::BudgetWindowName::Total,
        limit: "10".into(),
        alert_at: Vec::new(),
    };
    app.create_budget(admin, total).await.unwrap();
    let moved = app.update_tenant(admin, "acme", berlin()).await.unwrap();
    assert_eq!(moved.time_zone, "Europe/Berlin", "a total has no calendar");
}

#[tokio::test]
async fn a_credit_whose_sender_died_reaches_the_ledger_at_the_next_start() {
    let world = World::new().await;
    let (tenant, ..) = prepaid(&world).await;
    let context = WriteContext { actor: "ada".into(), actor_kind: ActorKind::Token, now: NOW, reason: None };
    let credit = NewCredit {
        id: Id::from_u128(77),
        tenant,
        kind: CreditKind::Topup,
        amount: NanoUsd::from_usd(2),
        reference: None,
        expires_at: None,
        corrects: None,
    };
    world.store.grant_credit(&context, credit).await.unwrap();
    let limit = async || world.ledger.balances(tenant, true, &[]).await.unwrap().wallet.unwrap().limit;
    assert_eq!(limit().await, NanoUsd::from_usd(5), "nobody told the ledger");
    let control = start(world.store.clone(), world.ledger.clone(), world.clock.clone(), 7).await.unwrap();
    let arrived = async || (limit().await == NanoUsd::from_usd(7)).then_some(());
    eventually(PATIENCE, "the credit in the ledger", arrived).await.unwrap();
    control.shutdown().await;
}

#[tokio::test]
async fn an_outbox_entry_that_is_no_event_is_set_aside_and_the_others_are_journaled() {
    let world = World::new().await;
    let (tenant, key, _) = prepaid(&world).await;
    let (server, ledger) = redis(PATIENT_TIMEOUT_MS).await;
    let good = event(tenant, &key, Id::from_u128(1), 1);
    let settlement = Settlement {
        tenant,
        hold: good.hold,
        actual: NanoUsd::ZERO,
        tokens: 0,
        event: Some(std::sync::Arc::new(good)),
    };
    server.cli(&["XADD", "tg:{3}:outbox", "*", "e", "{broken"]).await.unwrap();
    ledger.settle(&settlement).await.unwrap();
    let (writer, stop) = (
        JournalWriter::new(world.store.clone(), ledger.clone(), AlertSignals::default()),
        CancellationToken::new(),
    );
    let running = tokio::spawn(writer.clone().run(stop.clone()));
    let emptied = async || (ledger.outbox_len().await.unwrap() == 0).then_some(());
    eventually(PATIENCE, "an empty outbox", emptied).await.unwrap();
    stop.cancel();
    running.await.unwrap();
    assert_eq!((writer.status().journaled, writer.status().malformed), (1, 1));
    assert_eq!(ledger.outbox_set_aside_len().await.unwrap(), 1);
    let kept = server.cli(&["XRANGE", "tg:{3}:dead", "-", "+"]).await.unwrap();
    assert!(kept.ends_with("{broken"), "{kept}");
}

#[tokio::test]
async fn keys_that_may_not_be_used_are_flagged() {
    let world = World::new().await;
    let (app, admin) = (world.app(), &world.admin);
    world.tenant("acme").await;
    let (first, second) = (world.key("acme", "bot", "first").await, world.key("acme", "web", "second").await);
    let flags = async |hold: u128| {
        (is_flagged(&world, &first, hold).await, is_flagged(&world, &second, 100 + hold).await)
    };
    assert_eq!(flags(1).await, (false, false));
    app.block_key(admin, "first").await.unwrap();
    assert_eq!(flags(2).await, (true, false));
    app.unblock_key(admin, "first").await.unwrap();
    assert_eq!(flags(3).await, (false, false));

    app.block_key(admin, "second").await.unwrap();
    app.update_tenant(admin, "acme", update(r#"{"blocked":true}"#)).await.unwrap();
    assert_eq!(flags(4).await, (true, true));
    // Of a blocked tenant, a key stays flagged whatever its own state is.
    app.block_key(admin, "first").await.unwrap();
    app.unblock_key(admin, "first").await.unwrap();
    assert_eq!(flags(5).await, (true, true));
    app.update_tenant(admin, "acme", update(r#"{"blocked":false}"#)).await.unwrap();
    assert_eq!(flags(6).await, (false, true), "the second one is blocked by itself");

    app.unblock_key(admin, "second").await.unwrap();
    app.delete_project(admin, "acme/web").await.unwrap();
    assert_eq!(flags(7).await, (false, true));
    app.delete_tenant(admin, "acme", true).await.unwrap();
    assert_eq!(flags(8).await, (true, true));
}

#[tokio::test]
async fn a_flag_is_sent_until_it_arrives_and_never_outlives_its_reason() {
    let (mut server, ledger) = redis(SHORT_TIMEOUT_MS).await;
    let world = World::with(migrated().await, ledger, Arc::new(ManualClock::new(NOW))).await;
    let (app, admin) = (world.app(), &world.admin);
    world.tenant("acme").await;
    let (revoked, blocked) =
        (world.key("acme", "bot", "first").await, world.key("acme", "bot", "second").await);
    app.block_key(admin, "second").await.unwrap();
    server.stop().await.unwrap();
    app.revoke_key(admin, "first").await.unwrap();
    let refused = app.unblock_key(admin, "second").await.unwrap_err();
    assert!(matches!(refused, AppError::Unavailable(_)), "{refused:?}");
    assert_eq!(app.key(admin, "second").await.unwrap().state, KeyStateName::Blocked);

    server.start_again().await.unwrap();
    let mut hold = 0;
    let arrived = async || {
        hold += 1;
        let outcome = admit(&world, &revoked, hold, 0, WalletRule::None).await;
        (outcome == Ok(AdmitOutcome::Revoked)).then_some(())
    };
    eventually(PATIENCE, "the flag of the revoked key", arrived).await.unwrap();
    app.unblock_key(admin, "second").await.unwrap();
    assert!(!is_flagged(&world, &blocked, 1_000).await);
}
