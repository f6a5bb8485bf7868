//! Credit that expires, is paid out, is corrected, or is given to try with.

use std::sync::Arc;

use tollgate_domain::{Clock as _, HoldId, Id, ManualClock, NanoUsd, TenantId};
use tollgate_ledger::{Admission, AdmitOutcome, Settlement, WalletRule};
use tollgate_store::{PageRequest, Store};
use tollgate_testkit::redis::RedisServer;

use super::harness::{NOW, World, paths};
use super::money::{event, prepaid};
use super::pushes::redis;
use crate::jobs::{CreditExpiry, WalletPushes};
use crate::{
    ApplyOptions, BillingName, ConfigDocument, ConfigTenant, CreateCredit, CreateTenant, CreatedKey,
    CreditKindName, CreditReason, ListQuery,
};

const DAY_MS: i64 = 86_400_000;

fn body(amount: &str, kind: CreditKindName) -> CreateCredit {
    let amount = amount.to_owned();
    CreateCredit { amount, kind, currency: None, reference: None, expires_at: None, corrects: None }
}

fn expiry(world: &World) -> CreditExpiry {
    CreditExpiry::new(&world.store, &world.ledger, &(world.clock.clone() as _), &WalletPushes::default())
}

/// Holds an amount as a request in flight does.
async fn hold(world: &World, tenant: TenantId, key: &CreatedKey, number: u128, amount: NanoUsd) -> HoldId {
    let hold = Id::from_u128(number);
    let admission = Admission {
        tenant,
        key: key.key.id.parse().unwrap(),
        node: Id::from_u128(9),
        hold,
        amount,
        minimum: amount,
        wallet: WalletRule::Enforced,
        budgets: &[],
        limits: &[],
        tokens: 0,
        lease_ms: 60_000,
        memo: &[],
    };
    let outcome = world.ledger.admit(&admission).await.unwrap();
    assert!(matches!(outcome, AdmitOutcome::Admitted(_)), "{outcome:?}");
    hold
}

/// Ends it at a quarter of a dollar, and journals that.
async fn settle(world: &World, tenant: TenantId, key: &CreatedKey, hold: HoldId, number: u128) {
    let event = event(tenant, key, hold, number);
    let actual = event.cost;
    let settlement = Settlement { tenant, hold, actual, tokens: 0, event: Some(Arc::new(event.clone())) };
    world.ledger.settle(&settlement).await.unwrap();
    world.store.journal_events(&[event]).await.unwrap();
}

/// The wallet by the ledger: limit, settled, held. The first is at no time less than the others.
async fn wallet(world: &World, tenant: TenantId) -> [String; 3] {
    let wallet = world.ledger.balances(tenant, true, &[]).await.unwrap().wallet.unwrap();
    assert!(wallet.settled.saturating_add(wallet.held) <= wallet.limit, "{wallet:?}");
    [wallet.limit, wallet.settled, wallet.held].map(|amount| amount.to_string())
}

#[tokio::test]
async fn trial_credit_is_given_spent_first_and_expires() {
    let world = World::new().await;
    let (app, admin) = (world.app(), &world.admin);
    let with_trial = |credit: &str, days| ConfigDocument {
        trial_credit: Some(credit.to_owned()),
        trial_days: days,
        ..ConfigDocument::default()
    };
    for (document, path) in [
        (with_trial("-1", None), "trial_credit"),
        (with_trial("1e3", None), "trial_credit"),
        (with_trial("1", Some(0)), "trial_days"),
        (ConfigDocument { trial_days: Some(3), ..ConfigDocument::default() }, "trial_days"),
    ] {
        let refused = app.apply_config(admin, document, ApplyOptions::default()).await.unwrap_err();
        assert_eq!(paths(&refused), [path]);
    }
    let document = with_trial("2.00", Some(3));
    let report = app.apply_config(admin, document.clone(), ApplyOptions::default()).await.unwrap();
    assert_eq!(report.changes[0].detail, "2 USD for 3 days");
    assert!(!app.apply_config(admin, document, ApplyOptions::default()).await.unwrap().has_changes());
    let exported = app.export_config(admin).await.unwrap();
    assert_eq!((exported.trial_credit.as_deref(), exported.trial_days), (Some("2"), Some(3)));

    let prepaid = |name: &str| CreateTenant {
        name: name.to_owned(),
        billing: BillingName::Prepaid,
        ..CreateTenant::default()
    };
    let tenant = app.create_tenant(admin, prepaid("acme")).await.unwrap();
    let tenant: TenantId = tenant.id.parse().unwrap();
    let trial = &app.list_credits(admin, "acme", &ListQuery::default()).await.unwrap().data[0];
    assert_eq!(
        (trial.amount.0, trial.expires_at.unwrap().0),
        (NanoUsd::from_usd(2), NOW.plus_ms(3 * DAY_MS))
    );
    // who pays by invoice gets none, nor does who is described in the file
    world.tenant("postpaid").await;
    assert_eq!(app.list_credits(admin, "postpaid", &ListQuery::default()).await.unwrap().data, []);
    let named =
        ConfigTenant { name: "named".into(), billing: BillingName::Prepaid, ..ConfigTenant::default() };
    let document = ConfigDocument { tenants: vec![named], ..ConfigDocument::default() };
    app.apply_config(admin, document, ApplyOptions::default()).await.unwrap();
    assert_eq!(app.list_credits(admin, "named", &ListQuery::default()).await.unwrap().data, []);

    app.create_credit(admin, "acme", body("10", CreditKindName::Topup)).await.unwrap();
    let key = world.key("acme", "bot", "prod").await;
    let spent = hold(&world, tenant, &key, 1, NanoUsd::from_usd(1)).await;
    settle(&world, tenant, &key, spent, 1).await;
    expiry(&world).expire_all().await.unwrap();
    assert_eq!(wallet(&world, tenant).await, ["12", "0.25", "0"]);
    world.clock.advance_ms(3 * DAY_MS);
    for _ in 0..2 {
        expiry(&world).expire_all().await.unwrap();
        assert_eq!(wallet(&world, tenant).await, ["10.25", "0.25", "0"]);
    }
    let balance = app.balance(admin, "acme").await.unwrap();
    assert_eq!(balance.available.0, NanoUsd::from_usd(10));
    let credits = app.list_credits(admin, "acme", &ListQuery::default()).await.unwrap().data;
    let of_kind = |kind| credits.iter().find(|credit| credit.kind == kind).unwrap();
    let expired = of_kind(CreditReason::Expire);
    assert_eq!(expired.amount.0.to_string(), "-1.75");
    assert_eq!(expired.corrects.as_ref(), Some(&of_kind(CreditReason::Grant).id));
}

/// Each case on the ledger in process and on Redis.
macro_rules! on_both_ledgers {
    ($($case:ident),* $(,)?) => {
        mod in_process {
            $(
                #[tokio::test]
                async fn $case() {
                    super::$case(&super::World::new().await).await;
                }
            )*
        }
        mod on_redis {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let (_server, world) = super::world_on_redis().await;
                    super::$case(&world).await;
                }
            )*
        }
    };
}

on_both_ledgers!(
    what_requests_in_flight_hold_expires_when_they_have_ended,
    a_refund_takes_only_what_was_paid_in_and_nobody_uses,
);

async fn world_on_redis() -> (RedisServer, World) {
    let (server, ledger) = redis(5_000).await;
    let store = Store::connect("sqlite::memory:").await.unwrap();
    store.migrate().await.unwrap();
    (server, World::with(store, ledger, Arc::new(ManualClock::new(NOW))).await)
}

/// Without the ledger nobody knows what requests in flight hold: nothing leaves a wallet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_leaves_a_wallet_while_the_ledger_is_away() {
    let (mut server, world) = world_on_redis().await;
    let (app, admin) = (world.app(), &world.admin);
    let (tenant, _, _) = prepaid(&world).await;
    let at = NOW.plus_ms(DAY_MS);
    let lapsing = CreateCredit { expires_at: Some(at.to_string()), ..body("3", CreditKindName::Topup) };
    app.create_credit(admin, "acme", lapsing).await.unwrap();
    let before = world.store.credit_total(tenant).await.unwrap();
    world.clock.advance_ms(DAY_MS);
    server.stop().await.unwrap();
    let refused = app.create_credit(admin, "acme", body("-1", CreditKindName::Refund)).await.unwrap_err();
    assert_eq!(refused.status(), 503, "{refused}");
    assert!(expiry(&world).expire_all().await.is_err());
    assert_eq!(world.store.credit_total(tenant).await.unwrap(), before);
    let due = world.store.list_expired_credits(world.clock.now(), PageRequest::first(9)).await.unwrap();
    assert_eq!(due.items.len(), 1, "it is tried again");
}

async fn what_requests_in_flight_hold_expires_when_they_have_ended(world: &World) {
    let (app, admin) = (world.app(), &world.admin);
    // five dollars without an end
    let (tenant, key, _) = prepaid(world).await;
    let at = NOW.plus_ms(DAY_MS);
    let lapsing = CreateCredit { expires_at: Some(at.to_string()), ..body("3", CreditKindName::Grant) };
    app.create_credit(admin, "acme", lapsing).await.unwrap();
    let in_flight = hold(world, tenant, &key, 1, NanoUsd::from_usd(2)).await;
    // 2 of the 3 may still be used by the request
    world.clock.advance_ms(DAY_MS);
    expiry(world).expire_all().await.unwrap();
    assert_eq!(wallet(world, tenant).await, ["7", "0", "2"]);
    settle(world, tenant, &key, in_flight, 1).await;
    expiry(world).expire_all().await.unwrap();
    assert_eq!(wallet(world, tenant).await, ["5.25", "0.25", "0"]);

    // everything is held: nothing can be taken yet
    let at = world.clock.now().plus_ms(DAY_MS);
    let lapsing = CreateCredit { expires_at: Some(at.to_string()), ..body("1", CreditKindName::Topup) };
    app.create_credit(admin, "acme", lapsing).await.unwrap();
    let in_flight = hold(world, tenant, &key, 2, NanoUsd::from_usd(6)).await;
    world.clock.advance_ms(DAY_MS);
    expiry(world).expire_all().await.unwrap();
    assert_eq!(wallet(world, tenant).await, ["6.25", "0.25", "6"]);
    settle(world, tenant, &key, in_flight, 2).await;
    // the ledger has forgotten everything: it is left for a later round
    world.ledger.forget_tenant(tenant).await.unwrap();
    expiry(world).expire_all().await.unwrap();
    app.seed_tenant(tenant).await.unwrap();
    expiry(world).expire_all().await.unwrap();
    assert_eq!(wallet(world, tenant).await, ["5.5", "0.5", "0"]);
}

async fn a_refund_takes_only_what_was_paid_in_and_nobody_uses(world: &World) {
    let (app, admin) = (world.app(), &world.admin);
    // five dollars were given
    let (tenant, key, _) = prepaid(world).await;
    let refund = |amount: &str, reference: Option<&str>| CreateCredit {
        reference: reference.map(str::to_owned),
        ..body(amount, CreditKindName::Refund)
    };
    let refused = app.create_credit(admin, "acme", refund("-1", None)).await.unwrap_err();
    assert_eq!((refused.status(), paths(&refused)), (422, vec!["amount"]));
    assert!(refused.to_string().contains("at most 0 USD"), "{refused}");
    app.create_credit(admin, "acme", body("10", CreditKindName::Topup)).await.unwrap();
    let in_flight = hold(world, tenant, &key, 1, NanoUsd::from_usd(9)).await;
    let refused = app.create_credit(admin, "acme", refund("-7", None)).await.unwrap_err();
    assert_eq!(refused.status(), 409, "{refused}");
    assert_eq!(wallet(world, tenant).await, ["15", "0", "9"]);
    let paid = app.create_credit(admin, "acme", refund("-6", Some("r1"))).await.unwrap();
    assert_eq!(wallet(world, tenant).await, ["9", "0", "9"]);
    // the same again is the same, though nothing is left now
    assert_eq!(app.create_credit(admin, "acme", refund("-6", Some("r1"))).await.unwrap(), paid);
    assert_eq!(app.create_credit(admin, "acme", refund("-5", Some("r1"))).await.unwrap_err().status(), 409);
    settle(world, tenant, &key, in_flight, 1).await;
    // a cold ledger hears of the tenant first; 4 of what was paid in are left
    world.ledger.forget_tenant(tenant).await.unwrap();
    let refused = app.create_credit(admin, "acme", refund("-4.000000001", None)).await.unwrap_err();
    assert!(refused.to_string().contains("at most 4 USD"), "{refused}");
    app.create_credit(admin, "acme", refund("-4", None)).await.unwrap();
    assert_eq!(wallet(world, tenant).await, ["5", "0.25", "0"]);
}

#[tokio::test]
async fn bad_credits_are_refused_with_the_reason() {
    let world = World::new().await;
    let (app, admin) = (world.app(), &world.admin);
    prepaid(&world).await;
    let topup = || body("1", CreditKindName::Topup);
    let text = |text: &str| Some(text.to_owned());
    let cases = [
        (CreateCredit { amount: "0.0000000001".into(), ..topup() }, "amount", "finer"),
        (CreateCredit { amount: "99999999999999".into(), ..topup() }, "amount", "too large"),
        (CreateCredit { amount: "9007195".into(), ..topup() }, "amount", "more than 9007199"),
        (CreateCredit { amount: "-1".into(), ..topup() }, "amount", "negative"),
        (CreateCredit { amount: "1 EUR".into(), ..topup() }, "amount", "decimal"),
        (CreateCredit { currency: text("EUR"), ..topup() }, "currency", "USD"),
        (CreateCredit { currency: text("usd"), ..topup() }, "currency", "USD"),
        (CreateCredit { expires_at: text("tomorrow"), ..topup() }, "expires_at", ""),
        (CreateCredit { expires_at: text("2020-01-01T00:00:00Z"), ..topup() }, "expires_at", "past"),
        (CreateCredit { corrects: text("x"), ..topup() }, "corrects", "id"),
        (CreateCredit { corrects: text(&Id::<()>::from_u128(5).to_string()), ..topup() }, "corrects", "only"),
        (
            CreateCredit {
                corrects: text(&Id::<()>::from_u128(5).to_string()),
                ..body("-1", CreditKindName::Adjustment)
            },
            "corrects",
            "no such credit",
        ),
        (body("-6", CreditKindName::Adjustment), "amount", "more than the wallet was given"),
    ];
    for (wrong, path, reason) in cases {
        let refused = app.create_credit(admin, "acme", wrong.clone()).await.unwrap_err();
        assert_eq!(paths(&refused), [path], "{wrong:?}");
        assert!(refused.to_string().contains(reason), "{wrong:?}: {refused}");
    }
    let credits = app.list_credits(admin, "acme", &ListQuery::default()).await.unwrap().data;
    assert_eq!(credits.len(), 1);
    let correction = CreateCredit {
        corrects: Some(credits[0].id.clone()),
        currency: text("USD"),
        ..body("-1", CreditKindName::Adjustment)
    };
    let correction = app.create_credit(admin, "acme", correction).await.unwrap();
    assert_eq!(correction.corrects.as_ref(), Some(&credits[0].id));
    let entries = app.list_ledger(admin, "acme", &ListQuery::default()).await.unwrap().data;
    assert!(entries.iter().any(|entry| entry.id == correction.id && entry.corrects == correction.corrects));
}
