//! Alerts: which are raised, when, and that each is raised once.

use std::sync::Arc;

use parking_lot::Mutex;
use tollgate_domain::{BudgetId, Clock as _, Id, ManualClock, NanoUsd, TenantId, UnixMillis, UsageEvent};
use tollgate_store::{AlertKind, Store};
use tollgate_testkit::wait::eventually;

use super::harness::{NOW, PATIENCE, World, paths};
use super::money::{event, prepaid};
use crate::jobs::{AlertJob, Touched};
use crate::{
    CreateCredit, CreateWebhook, CreatedKey, CreditKindName, DeliveryQuery, DeliveryStateName, MasterKey,
    ShareNumber, UpdateBudget, UpdateTenant, WebhookEventName, WebhookMessage, WebhookTransport,
};

fn shares(text: &str) -> Vec<ShareNumber> {
    serde_json::from_str(text).unwrap()
}

fn charge(tenant: TenantId, key: &CreatedKey, number: u128, at: UnixMillis, cost: i64) -> UsageEvent {
    UsageEvent {
        admitted_at: at,
        finished_at: at,
        cost: NanoUsd(cost),
        ..event(tenant, key, Id::from_u128(number), number)
    }
}

/// A job apart from the control plane's own, which looks when it is told to.
fn job(store: &Store, clock: &Arc<ManualClock>) -> AlertJob {
    let clock: Arc<dyn tollgate_domain::Clock> = clock.clone();
    AlertJob::new(store, &clock, MasterKey::new([7; 32]).credential_box(), None)
}

async fn raised(store: &Store, budget: &str, occasion: UnixMillis) -> Vec<i64> {
    let budget: BudgetId = budget.parse().unwrap();
    store.raised_thresholds(AlertKind::BudgetThreshold, budget.as_uuid(), occasion.0).await.unwrap()
}

const DAY_MS: i64 = 24 * 3_600_000;
/// Midnight before [`NOW`].
const TODAY: UnixMillis = UnixMillis(NOW.0 - DAY_MS / 2);

#[tokio::test]
async fn each_threshold_is_raised_once_per_period_also_by_two_replicas_and_after_a_restart() {
    let world = World::new().await;
    let (app, admin) = (world.app(), &world.admin);
    let (tenant, key, budget) = prepaid(&world).await;
    let update = UpdateBudget { alert_at: Some(shares("[1, 0.5, 0.8]")), ..UpdateBudget::default() };
    let view = app.update_budget(admin, &budget.id, update).await.unwrap();
    assert_eq!(serde_json::to_string(&view.alert_at).unwrap(), "[0.5,0.8,1]");
    let (one, two) = (job(&world.store, &world.clock), job(&world.store, &world.clock));
    let journal = async |event: UsageEvent| {
        let events = [Arc::new(event)];
        world.store.journal_events(&events).await.unwrap();
        one.signals.journaled(&events);
        one.signals.take()
    };
    // of 1 USD: just below half, then half, then more
    let touched = journal(charge(tenant, &key, 1, NOW, 499_999_999)).await;
    one.look(&touched).await.unwrap();
    assert!(raised(&world.store, &budget.id, TODAY).await.is_empty());
    let touched = journal(charge(tenant, &key, 2, NOW, 1)).await;
    let looks = [(&one, 0), (&two, 1), (&one, 2), (&two, 3)].map(|(job, _)| job.look(&touched));
    let [a, b, c, d] = looks;
    let looked = tokio::join!(a, b, c, d);
    assert!(looked.0.is_ok() && looked.1.is_ok() && looked.2.is_ok() && looked.3.is_ok());
    assert_eq!(raised(&world.store, &budget.id, TODAY).await, [5_000]);
    let by_all = |status: &[crate::AlertStatus]| status.iter().map(|one| one.budget_thresholds).sum::<u64>();
    let status = [one.counters.status(), two.counters.status(), world.control.alert_status()];
    assert_eq!(by_all(&status), 1);
    // both that are left at once
    let touched = journal(charge(tenant, &key, 3, NOW, 500_000_000)).await;
    one.look(&touched).await.unwrap();
    assert_eq!(raised(&world.store, &budget.id, TODAY).await, [5_000, 8_000, 10_000]);
    let restarted = job(&world.store, &world.clock);
    restarted.look(&Touched::everything()).await.unwrap();
    assert_eq!(restarted.counters.status().budget_thresholds, 0);
    // the next day begins anew; a charge of the day before that is late is told of that day only
    let tomorrow = TODAY.plus_ms(DAY_MS);
    world.clock.set(tomorrow.plus_ms(60_000));
    one.look(&Touched::everything()).await.unwrap();
    assert!(raised(&world.store, &budget.id, tomorrow).await.is_empty());
    let touched = journal(charge(tenant, &key, 4, tomorrow, 900_000_000)).await;
    one.look(&touched).await.unwrap();
    assert_eq!(raised(&world.store, &budget.id, tomorrow).await, [5_000, 8_000]);
}

#[tokio::test]
async fn a_charge_that_is_journaled_after_its_period_is_told_of_it() {
    let world = World::new().await;
    let (app, admin) = (world.app(), &world.admin);
    let (tenant, key, budget) = prepaid(&world).await;
    let update = UpdateBudget { alert_at: Some(shares("[0.5]")), ..UpdateBudget::default() };
    app.update_budget(admin, &budget.id, update).await.unwrap();
    let job = job(&world.store, &world.clock);
    let late = Arc::new(charge(tenant, &key, 1, NOW, 700_000_000));
    world.store.journal_events(&[Arc::clone(&late)]).await.unwrap();
    let tomorrow = TODAY.plus_ms(DAY_MS);
    for (at, expected) in
        [(tomorrow.plus_ms(2 * 3_600_000), &[][..]), (tomorrow.plus_ms(1_000), &[5_000][..])]
    {
        world.clock.set(at);
        job.signals.journaled(&[Arc::clone(&late)]);
        job.look(&job.signals.take()).await.unwrap();
        assert_eq!(raised(&world.store, &budget.id, TODAY).await, expected, "{at}");
    }
}

/// By the control plane's own tasks, from the outbox on.
#[tokio::test]
async fn a_journaled_request_and_a_lowered_limit_raise_by_themselves() {
    let world = World::new().await;
    let (app, admin) = (world.app(), &world.admin);
    let (tenant, key, budget) = prepaid(&world).await;
    let update = UpdateBudget { alert_at: Some(shares("[0.2, 0.9]")), ..UpdateBudget::default() };
    app.update_budget(admin, &budget.id, update).await.unwrap();
    let hold = Id::from_u128(77);
    let settlement = tollgate_ledger::Settlement {
        tenant,
        hold,
        actual: NanoUsd(250_000_000),
        tokens: 0,
        event: Some(Arc::new(event(tenant, &key, hold, 77))),
    };
    world.ledger.settle(&settlement).await.unwrap();
    let has =
        async |expected: &[i64]| (raised(&world.store, &budget.id, TODAY).await == expected).then_some(());
    eventually(PATIENCE, "the first threshold", async || has(&[2_000]).await).await.unwrap();
    let lower = UpdateBudget { limit: Some("0.26".into()), ..UpdateBudget::default() };
    app.update_budget(admin, &budget.id, lower).await.unwrap();
    eventually(PATIENCE, "the second threshold", async || has(&[2_000, 9_000]).await).await.unwrap();
    assert_eq!(world.control.alert_status().budget_thresholds, 2);
    // one that is made when the money is spent already
    let body = crate::CreateBudget {
        tenant: Some("acme".into()),
        project: None,
        key: None,
        window: crate::BudgetWindowName::Total,
        limit: "0.25".into(),
        alert_at: shares("[1]"),
    };
    let total = app.create_budget(admin, body.clone()).await.unwrap();
    let told = async || (raised(&world.store, &total.id, UnixMillis(0)).await == [10_000]).then_some(());
    eventually(PATIENCE, "the new budget's", told).await.unwrap();
    for (bad, path) in [("[0]", "alert_at[0]"), ("[0.5, 0.5]", "alert_at[1]")] {
        let update = UpdateBudget { alert_at: Some(shares(bad)), ..UpdateBudget::default() };
        let refused = app.update_budget(admin, &budget.id, update).await.unwrap_err();
        assert_eq!(paths(&refused), [path]);
        let body = crate::CreateBudget { alert_at: shares(bad), ..body.clone() };
        assert_eq!(paths(&app.create_budget(admin, body).await.unwrap_err()), [path]);
    }
}

#[tokio::test]
async fn a_wallet_that_falls_again_is_told_again() {
    let world = World::new().await;
    let (app, admin) = (world.app(), &world.admin);
    let (tenant, key, _) = prepaid(&world).await;
    let update: UpdateTenant = serde_json::from_str(r#"{"alert_below":["1","4.00"]}"#).unwrap();
    let view = app.update_tenant(admin, "acme", update).await.unwrap();
    assert_eq!(serde_json::to_string(&view.alert_below).unwrap(), r#"["4","1"]"#);
    let job = job(&world.store, &world.clock);
    let look = async |number: u128, cost: i64| {
        let events = [Arc::new(charge(tenant, &key, number, NOW, cost))];
        world.store.journal_events(&events).await.unwrap();
        job.signals.journaled(&events);
        job.look(&job.signals.take()).await.unwrap();
        let mut raised = Vec::new();
        for occasion in 0..3 {
            let of = world.store.raised_thresholds(AlertKind::WalletLow, tenant.as_uuid(), occasion);
            raised.extend(of.await.unwrap().into_iter().map(|level| (occasion, level / 1_000_000_000)));
        }
        raised
    };
    // of 5 USD
    assert_eq!(look(1, 1_000_000_000).await, [], "4 is not below 4");
    assert_eq!(look(2, 1).await, [(1, 4)]);
    assert_eq!(look(3, 3_500_000_000).await, [(1, 1), (1, 4)]);
    let topup = CreateCredit {
        amount: "2".into(),
        kind: CreditKindName::Topup,
        currency: None,
        reference: None,
        expires_at: None,
        corrects: None,
    };
    app.create_credit(admin, "acme", topup).await.unwrap();
    // above 1 again, and not above 4
    assert_eq!(look(4, 1).await, [(1, 1), (1, 4)]);
    assert_eq!(look(5, 2_000_000_000).await, [(1, 1), (1, 4), (2, 1)]);
    let refused: UpdateTenant = serde_json::from_str(r#"{"alert_below":["1","x"]}"#).unwrap();
    assert_eq!(paths(&app.update_tenant(admin, "acme", refused).await.unwrap_err()), ["alert_below[1]"]);
}

#[tokio::test]
async fn two_replicas_send_each_message_once_and_a_dead_one_s_again() {
    let world = World::new().await;
    let (app, admin) = (world.app(), &world.admin);
    let (tenant, key, budget) = prepaid(&world).await;
    let hook = CreateWebhook {
        name: "ops".into(),
        url: "https://example.com/hook".into(),
        events: vec![WebhookEventName::BudgetThreshold],
        ..CreateWebhook::default()
    };
    assert!(app.create_webhook(admin, hook).await.unwrap().secret.is_some());
    let update = UpdateBudget { alert_at: Some(shares("[0.1, 0.2, 0.3, 0.4]")), ..UpdateBudget::default() };
    app.update_budget(admin, &budget.id, update).await.unwrap();
    let sent = Arc::new(Mutex::new(Vec::<WebhookMessage>::new()));
    let replica = |status: u16| {
        let sent = Arc::clone(&sent);
        let transport = WebhookTransport::new(move |message| {
            sent.lock().push(message);
            async move { Ok(status) }
        });
        let clock: Arc<dyn tollgate_domain::Clock> = world.clock.clone();
        AlertJob::new(&world.store, &clock, MasterKey::new([7; 32]).credential_box(), Some(transport))
    };
    let (one, two) = (replica(204), replica(200));
    let events = [Arc::new(charge(tenant, &key, 1, NOW, 500_000_000))];
    world.store.journal_events(&events).await.unwrap();
    one.look(&Touched::everything()).await.unwrap();
    let both = tokio::join!(one.dispatcher.deliver_due(), two.dispatcher.deliver_due());
    assert_eq!(both.0.unwrap() + both.1.unwrap(), 4);
    let ids = |sent: &[WebhookMessage]| {
        let id = |message: &WebhookMessage| {
            message.headers.iter().find(|(name, _)| *name == "webhook-id").unwrap().1.clone()
        };
        sent.iter().map(id).collect::<std::collections::BTreeSet<_>>().len()
    };
    let sent_by_then = sent.lock().clone();
    assert_eq!((sent_by_then.len(), ids(&sent_by_then)), (4, 4));
    let query = DeliveryQuery { state: Some(DeliveryStateName::Delivered), ..DeliveryQuery::default() };
    assert_eq!(app.list_deliveries(admin, "ops", &query).await.unwrap().data.len(), 4);
    // a receiver that never takes anything is given up after the last attempt, a day and a half later
    world.clock.set(TODAY.plus_ms(DAY_MS + 60_000));
    let events = [Arc::new(charge(tenant, &key, 2, TODAY.plus_ms(DAY_MS), 100_000_000))];
    world.store.journal_events(&events).await.unwrap();
    let failing = replica(500);
    failing.look(&Touched::everything()).await.unwrap();
    let began = world.clock.now();
    for attempt in 1..=9 {
        assert_eq!(failing.dispatcher.deliver_due().await.unwrap(), 1, "attempt {attempt}");
        assert_eq!(failing.dispatcher.deliver_due().await.unwrap(), 0, "not before its time");
        let query = DeliveryQuery { state: Some(DeliveryStateName::Pending), ..DeliveryQuery::default() };
        let pending = app.list_deliveries(admin, "ops", &query).await.unwrap().data;
        let Some(next) = pending.first().and_then(|delivery| delivery.next_attempt_at) else {
            assert_eq!(attempt, 9);
            break;
        };
        world.clock.set(next.0);
    }
    let hours = world.clock.now().since(began) / 3_600_000;
    assert!((33..=54).contains(&hours), "{hours} hours");
    let status = failing.counters.status();
    assert_eq!((status.retried, status.failed, status.delivered), (8, 1, 0));
}

#[tokio::test]
async fn webhooks_are_the_platform_s_and_their_fields_are_checked() {
    let world = World::new().await;
    let (app, admin) = (world.app(), &world.admin);
    let tenant = world.tenant("acme").await;
    let bob = crate::Actor::new("bob", crate::Role::TenantAdmin(tenant.id.parse().unwrap()));
    let hook = |url: &str, secret: Option<&str>| CreateWebhook {
        name: "ops".into(),
        url: url.into(),
        secret: secret.map(crate::SecretText::new),
        tenant: Some("acme".into()),
        events: vec![WebhookEventName::WalletLow],
        ..CreateWebhook::default()
    };
    assert_eq!(app.create_webhook(&bob, hook("https://example.com/", None)).await.unwrap_err().status(), 403);
    for (url, secret) in [("http://example.com/", None), ("https://10.0.0.1/", None)] {
        assert_eq!(paths(&app.create_webhook(admin, hook(url, secret)).await.unwrap_err()), ["url"], "{url}");
    }
    let weak = app.create_webhook(admin, hook("https://example.com/", Some("whsec_c2hvcnQ="))).await;
    assert_eq!(paths(&weak.unwrap_err()), ["secret"]);
    let none = CreateWebhook { events: Vec::new(), ..hook("https://example.com/", None) };
    assert_eq!(paths(&app.create_webhook(admin, none).await.unwrap_err()), ["events"]);
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let made = app.create_webhook(admin, hook("https://example.com/", Some(secret))).await.unwrap();
    assert_eq!((made.secret, made.webhook.tenant.as_deref()), (None, Some("acme")));
    assert_eq!(app.webhook(&bob, "ops").await.unwrap_err().status(), 403);
    let tested = app.test_webhook(admin, "ops").await.unwrap_err();
    assert_eq!(tested.status(), 503, "{tested}");
}

#[tokio::test]
async fn webhooks_of_a_file_are_applied_once_and_exported_without_secrets() {
    let world = World::new().await;
    let (app, admin) = (world.app(), &world.admin);
    let file = |url: &str, secret: &str| -> crate::ConfigDocument {
        serde_json::from_value(serde_json::json!({
            "version": 1,
            "tenants": [{
                "name": "acme", "billing": "prepaid", "alert_below": ["5.00"],
                "budgets": [{ "limit": "10", "window": "month", "alert_at": [0.5, 1.0] }]
            }],
            "webhooks": [{ "name": "ops", "url": url, "secret": secret, "tenant": "acme",
                "events": ["budget.threshold", "wallet.low"] }]
        }))
        .unwrap()
    };
    let apply = async |document: crate::ConfigDocument, prune: bool| {
        let options = crate::ApplyOptions { dry_run: false, prune };
        let report = app.apply_config(admin, document, options).await.unwrap();
        let changed = report.changes.into_iter().filter(|one| one.action != crate::ChangeAction::Unchanged);
        changed.map(|one| format!("{:?} {} {}", one.action, one.kind, one.detail)).collect::<Vec<_>>()
    };
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let first = apply(file("https://example.com/a", secret), false).await;
    assert!(first.contains(&"Create webhook ".to_owned()), "{first:?}");
    assert_eq!(apply(file("https://example.com/a", secret), true).await, Vec::<String>::new());
    let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    assert_eq!(apply(file("https://example.com/b", secret), false).await, ["Update webhook url"]);
    assert_eq!(apply(file("https://example.com/b", other), false).await, ["Update webhook secret"]);
    let exported = app.export_config(admin).await.unwrap();
    let text = serde_json::to_string(&exported).unwrap();
    assert!(text.contains("${WEBHOOK_OPS_SECRET}") && !text.contains("whsec_"), "{text}");
    assert!(text.contains(r#""alert_at":[0.5,1]"#) && text.contains(r#""alert_below":["5"]"#), "{text}");
    let mut without = file("https://example.com/b", other);
    without.webhooks.clear();
    without.tenants[0].budgets[0].alert_at.clear();
    without.tenants[0].alert_below.clear();
    let pruned = apply(without, true).await;
    assert_eq!(pruned, ["Update tenant alert_below", "Update budget alert_at", "Delete webhook "]);
}

#[tokio::test]
async fn drift_in_process_is_found_told_and_repaired() {
    let world = World::new().await;
    let (app, admin) = (world.app(), &world.admin);
    let (tenant, key, budget) = prepaid(&world).await;
    let done = async |repair: bool| {
        app.start_drift(admin, crate::DriftQuery { repair }).unwrap();
        let finished = async || {
            let view = app.drift(admin).unwrap();
            (view.state == crate::DriftState::Done).then_some(view)
        };
        eventually(PATIENCE, "a comparison", finished).await.unwrap()
    };
    let healthy = done(true).await;
    assert_eq!((healthy.tenants, healthy.drifts.len()), (1, 0));
    // the journal knows of a charge that the ledger never had
    let lost = [Arc::new(charge(tenant, &key, 1, NOW, 300_000_000))];
    world.store.journal_events(&lost).await.unwrap();
    let told = done(false).await;
    let names: Vec<_> = told.drifts.iter().map(|drift| (drift.counter.as_str(), drift.repaired)).collect();
    assert_eq!(names, [("wallet_settled", false), ("budget_settled", false)]);
    assert_eq!(app.budget(admin, &budget.id).await.unwrap().spent.0, NanoUsd::ZERO);
    let repaired = done(true).await;
    assert!(repaired.drifts.len() == 2 && repaired.drifts.iter().all(|drift| drift.repaired), "{repaired:?}");
    assert_eq!(app.budget(admin, &budget.id).await.unwrap().spent.0, NanoUsd(300_000_000));
    assert_eq!(done(true).await.drifts, []);
    let status = world.control.drift_status();
    assert_eq!((status.runs, status.drifts, status.repaired), (4, 4, 1));
    assert_eq!(status.drift_nano_usd, 1_200_000_000);
    let bob = crate::Actor::new("bob", crate::Role::TenantAdmin(tenant));
    assert_eq!(app.start_drift(&bob, crate::DriftQuery { repair: false }).unwrap_err().status(), 403);
}
