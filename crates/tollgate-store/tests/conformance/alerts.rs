//! Alerts, webhooks, deliveries and the runs of jobs.

use std::collections::BTreeSet;

use tollgate_domain::{
    AlertId, BudgetId, BudgetShare, BudgetWindow, NanoUsd, TenantId, UnixMillis, WebhookId,
};
use tollgate_policy::BudgetOwner;
use tollgate_store::{
    AlertKind, AuditFilter, DeliveryOutcome, DeliveryState, NewAlert, NewWebhook, PageRequest, Store,
};

use crate::fixture::Fixture;
use crate::policy::{conflict, missing, seed};
use crate::samples::{NEW_YEAR, budget, ctx, tenant};

crate::on_both_databases!(
    alert_thresholds_are_kept_with_their_budget,
    an_alert_is_raised_once_by_whoever_is_first,
    webhooks_are_written_and_audited_without_their_secret,
    messages_go_to_those_that_want_them,
    a_claim_is_one_replica_s_until_its_lease_ends,
    no_webhook_takes_all_places,
    a_disabled_webhook_gives_up_what_is_pending,
    what_is_over_is_forgotten,
    a_run_of_a_job_is_claimed_once,
);

fn share(text: &str) -> BudgetShare {
    text.parse().unwrap()
}

fn alert(n: u128, subject: u128, threshold: i64) -> NewAlert {
    NewAlert {
        id: AlertId::from_u128(n),
        tenant: TenantId::from_u128(1),
        kind: AlertKind::BudgetThreshold,
        subject: uuid::Uuid::from_u128(subject),
        occasion: NEW_YEAR.0,
        occasion_ends_at: NEW_YEAR.plus_ms(1_000),
        threshold,
        body: format!("{{\"n\":{n}}}"),
        at: NEW_YEAR,
    }
}

fn webhook(n: u128, tenant: Option<u128>, events: &[AlertKind]) -> NewWebhook {
    NewWebhook {
        id: WebhookId::from_u128(n),
        name: format!("webhook-{n}"),
        url: "https://example.org/hook".to_owned(),
        secret_ciphertext: format!("CIPHERTEXT-{n}").into_bytes(),
        tenant: tenant.map(TenantId::from_u128),
        events: events.to_vec(),
    }
}

async fn alert_thresholds_are_kept_with_their_budget(fixture: &Fixture) {
    let store = &fixture.store;
    store.create_tenant(&ctx(), tenant(1)).await.unwrap();
    store.create_tenant(&ctx(), tenant(2)).await.unwrap();
    let owner = |n| BudgetOwner::Tenant(TenantId::from_u128(n));
    let shares = vec![share("0.5"), share("0.8"), share("1")];
    let day = budget(7, owner(1), BudgetWindow::Day);
    let made = store.create_alerting_budget(&ctx(), day, shares.clone()).await.unwrap();
    assert_eq!((made.alert_at.clone(), store.budget(made.id).await.unwrap()), (shares, made.clone()));
    store.create_budget(&ctx(), budget(8, owner(1), BudgetWindow::Month)).await.unwrap();
    store.create_budget(&ctx(), budget(9, owner(2), BudgetWindow::Month)).await.unwrap();
    let both = [uuid::Uuid::from_u128(1), uuid::Uuid::from_u128(2), uuid::Uuid::from_u128(99)];
    let ids = async |owners: &[uuid::Uuid]| {
        let found = store.alerting_budgets_of(owners).await.unwrap();
        found.into_iter().map(|budget| budget.id).collect::<BTreeSet<_>>()
    };
    assert_eq!(ids(&both).await, [made.id].into());
    assert!(ids(&[]).await.is_empty() && ids(&both[1..]).await.is_empty());
    let nine = BudgetId::from_u128(9);
    store.update_budget(&ctx(), nine, |budget| budget.alert_at = vec![share("0.9")]).await.unwrap();
    assert_eq!(ids(&both).await, [made.id, nine].into());
    let all = store.list_alerting_budgets(PageRequest::first(1)).await.unwrap();
    assert_eq!((all.items.len(), all.next), (1, Some(made.id)));
    let rest = store.list_alerting_budgets(PageRequest::after(1, made.id)).await.unwrap();
    assert_eq!((rest.items[0].id, rest.next), (nine, None));
    store.update_budget(&ctx(), nine, |budget| budget.alert_at.clear()).await.unwrap();
    assert_eq!(ids(&both).await, [made.id].into());
    let levels = vec![NanoUsd::from_usd(5), NanoUsd::from_usd(1)];
    let change = |tenant: &mut tollgate_store::TenantRecord| tenant.alert_below = levels.clone();
    store.update_tenant(&ctx(), TenantId::from_u128(1), change).await.unwrap();
    assert_eq!(store.tenant(TenantId::from_u128(1)).await.unwrap().alert_below, levels);
}

async fn an_alert_is_raised_once_by_whoever_is_first(fixture: &Fixture) {
    let store = &fixture.store;
    store.create_webhook(&ctx(), webhook(1, None, &AlertKind::ALL)).await.unwrap();
    let second = Store::connect(&fixture.url).await.unwrap();
    let tasks = (0..8).map(|n| {
        let store = if n % 2 == 0 { store.clone() } else { second.clone() };
        tokio::spawn(async move { store.raise_alert(&alert(100 + n, 7, 8_000)).await.unwrap() })
    });
    let mut n_new = 0;
    for task in tasks.collect::<Vec<_>>() {
        n_new += usize::from(task.await.unwrap());
    }
    assert_eq!(n_new, 1);
    assert_eq!(deliveries(store, 1).await, 1);
    let other_period = NewAlert { occasion: NEW_YEAR.0 + 1, ..alert(200, 7, 8_000) };
    let other_kind = NewAlert { kind: AlertKind::WalletLow, ..alert(201, 7, 8_000) };
    for new in [alert(202, 7, 5_000), alert(203, 8, 8_000), other_period, other_kind] {
        assert!(store.raise_alert(&new).await.unwrap(), "{new:?}");
        assert!(!store.raise_alert(&NewAlert { id: AlertId::from_u128(300), ..new }).await.unwrap());
    }
    let raised =
        async |kind| store.raised_thresholds(kind, uuid::Uuid::from_u128(7), NEW_YEAR.0).await.unwrap();
    assert_eq!(raised(AlertKind::BudgetThreshold).await, [5_000, 8_000]);
    assert_eq!(raised(AlertKind::WalletLow).await, [8_000]);
    assert_eq!(deliveries(store, 1).await, 5);
}

async fn deliveries(store: &Store, webhook: u128) -> usize {
    let page = PageRequest::first(100);
    store.list_deliveries(WebhookId::from_u128(webhook), None, page).await.unwrap().items.len()
}

async fn webhooks_are_written_and_audited_without_their_secret(fixture: &Fixture) {
    let store = &fixture.store;
    seed(store).await;
    let revision = store.policy_revision().await.unwrap();
    let made = store.create_webhook(&ctx(), webhook(1, Some(1), &[AlertKind::WalletLow])).await.unwrap();
    let same_id = NewWebhook { name: "other".to_owned(), ..webhook(1, None, &[]) };
    assert_eq!(conflict(store.create_webhook(&ctx(), same_id).await), ("webhook", "id"));
    let twin = NewWebhook { id: WebhookId::from_u128(2), ..webhook(1, None, &[]) };
    assert_eq!(conflict(store.create_webhook(&ctx(), twin).await), ("webhook", "name"));
    assert_eq!(missing(store.create_webhook(&ctx(), webhook(3, Some(77), &[])).await), "tenant");
    store.create_webhook(&ctx(), webhook(4, None, &AlertKind::ALL)).await.unwrap();
    assert_eq!(store.webhook_by_name("webhook-1").await.unwrap(), made);
    let events = [AlertKind::WalletLow, AlertKind::BudgetThreshold, AlertKind::WalletLow];
    let changed = store
        .update_webhook(&ctx(), made.id, |webhook| {
            webhook.events = events.to_vec();
            webhook.tenant = None;
            webhook.secret_ciphertext = b"CIPHERTEXT-NEW".to_vec();
        })
        .await
        .unwrap();
    assert_eq!((changed.events.as_slice(), changed.tenant), (&AlertKind::ALL[..], made.tenant));
    assert_eq!(store.webhook(made.id).await.unwrap(), changed);
    let page = store.list_webhooks(PageRequest::first(1)).await.unwrap();
    assert_eq!((page.items.len(), page.next), (1, Some(made.id)));
    // its tenant takes it along
    store.delete_tenant(&ctx(), TenantId::from_u128(1)).await.unwrap();
    assert_eq!(missing(store.webhook(made.id).await), "webhook");
    let four = WebhookId::from_u128(4);
    store.delete_webhook(&ctx(), four).await.unwrap();
    assert_eq!(missing(store.delete_webhook(&ctx(), four).await), "webhook");
    let filter = AuditFilter { object_kind: Some("webhook".to_owned()), ..AuditFilter::default() };
    let log = store.list_audit(&filter, PageRequest::first(100)).await.unwrap().items;
    let actions: Vec<_> = log.iter().map(|row| row.action.as_str()).collect();
    assert_eq!(actions, ["delete", "delete", "update", "create", "create"]);
    assert!(!format!("{log:?} {changed:?}").contains("CIPHER") && !format!("{log:?}").contains("67, 73, 80"));
    assert!(store.policy_revision().await.unwrap() > revision, "by the tenant's deletion");
}

async fn messages_go_to_those_that_want_them(fixture: &Fixture) {
    let store = &fixture.store;
    seed(store).await;
    store.create_tenant(&ctx(), tenant(2)).await.unwrap();
    for new in [
        webhook(1, None, &AlertKind::ALL),
        webhook(2, Some(1), &[AlertKind::BudgetThreshold]),
        webhook(3, Some(2), &AlertKind::ALL),
        webhook(4, None, &[AlertKind::WalletLow]),
        webhook(5, None, &AlertKind::ALL),
    ] {
        store.create_webhook(&ctx(), new).await.unwrap();
    }
    store.update_webhook(&ctx(), WebhookId::from_u128(5), |webhook| webhook.enabled = false).await.unwrap();
    assert!(store.raise_alert(&alert(10, 7, 5_000)).await.unwrap());
    let mut reached = Vec::new();
    for n in 1..=5 {
        reached.push(deliveries(store, n).await);
    }
    assert_eq!(reached, [1, 1, 0, 0, 0]);
}

async fn a_claim_is_one_replica_s_until_its_lease_ends(fixture: &Fixture) {
    let store = &fixture.store;
    let id = WebhookId::from_u128(1);
    store.create_webhook(&ctx(), webhook(1, None, &AlertKind::ALL)).await.unwrap();
    for n in 0..20 {
        assert!(store.raise_alert(&alert(10 + n, 7, 5_000 + i64::try_from(n).unwrap())).await.unwrap());
    }
    let lease = |now: UnixMillis| now.plus_ms(60_000);
    let second = Store::connect(&fixture.url).await.unwrap();
    let tasks = (0..4).map(|n| {
        let store = if n % 2 == 0 { store.clone() } else { second.clone() };
        tokio::spawn(async move { store.claim_deliveries(NEW_YEAR, lease(NEW_YEAR), 8, 8).await.unwrap() })
    });
    let mut claimed = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        claimed.extend(task.await.unwrap());
    }
    // two that looked at the same moment may have looked at the same rows: the rest is there for the next
    claimed.extend(store.claim_deliveries(NEW_YEAR, lease(NEW_YEAR), 20, 20).await.unwrap());
    assert_eq!(claimed.len(), 20);
    let messages: BTreeSet<_> = claimed.iter().map(|claim| claim.message).collect();
    assert_eq!(messages.len(), 20);
    assert!(
        claimed.iter().all(|claim| claim.attempt == 1 && claim.webhook.secret_ciphertext == b"CIPHERTEXT-1")
    );
    assert!(!format!("{claimed:?}").contains("CIPHER"));
    assert!(
        store.claim_deliveries(NEW_YEAR.plus_ms(59_999), lease(NEW_YEAR), 20, 20).await.unwrap().is_empty()
    );

    // the first died: its lease ends, another sends, and the first's late word is not taken
    let late = &claimed[0];
    let later = NEW_YEAR.plus_ms(60_000);
    let again = store.claim_deliveries(later, lease(later), 100, 100).await.unwrap();
    assert_eq!(again.len(), 20);
    assert!(again.iter().all(|claim| claim.attempt == 2));
    let delivered = DeliveryOutcome::Delivered { status: 204 };
    let finish = async |claim: &tollgate_store::ClaimedDelivery, outcome: &DeliveryOutcome| {
        store.finish_delivery(id, claim.message, claim.attempt, outcome, later).await.unwrap()
    };
    assert!(!finish(late, &delivered).await);
    assert!(finish(&again[0], &delivered).await);
    assert!(!finish(&again[0], &delivered).await);
    let at = later.plus_ms(5_000);
    let retry = DeliveryOutcome::Retry { at, status: Some(500), error: "status 500".to_owned() };
    assert!(finish(&again[1], &retry).await);
    let failed = DeliveryOutcome::Failed { status: None, error: "no answer".to_owned() };
    assert!(finish(&again[2], &failed).await);
    let due = store.claim_deliveries(at, lease(at), 100, 100).await.unwrap();
    assert_eq!(
        due.iter().map(|claim| (claim.message, claim.attempt)).collect::<Vec<_>>(),
        [(again[1].message, 3)]
    );
    let listed = store.list_deliveries(id, None, PageRequest::first(100)).await.unwrap().items;
    let of = |message| listed.iter().find(|delivery| delivery.message == message).unwrap();
    let done = of(again[0].message);
    assert_eq!(
        (done.state, done.last_status, done.finished_at),
        (DeliveryState::Delivered, Some(204), Some(later))
    );
    let given_up = of(again[2].message);
    assert_eq!((given_up.state, given_up.last_error.as_deref()), (DeliveryState::Failed, Some("no answer")));
    let pending = Some(DeliveryState::Pending);
    let page = store.list_deliveries(id, pending, PageRequest::first(10)).await.unwrap();
    assert_eq!(page.items.len(), 10);
    let rest = store.list_deliveries(id, pending, PageRequest::after(10, page.next.unwrap())).await.unwrap();
    assert_eq!((rest.items.len(), rest.next), (8, None));
    assert!(page.items.iter().all(|delivery| delivery.message > rest.items[0].message));
}

async fn no_webhook_takes_all_places(fixture: &Fixture) {
    let store = &fixture.store;
    for n in 1..=3 {
        store.create_webhook(&ctx(), webhook(n, None, &AlertKind::ALL)).await.unwrap();
    }
    for n in 0..10 {
        assert!(store.raise_alert(&alert(10 + n, 7, 5_000 + i64::try_from(n).unwrap())).await.unwrap());
    }
    let claimed = store.claim_deliveries(NEW_YEAR, NEW_YEAR.plus_ms(1), 12, 4).await.unwrap();
    for n in 1..=3 {
        let id = WebhookId::from_u128(n);
        assert_eq!(claimed.iter().filter(|claim| claim.webhook.id == id).count(), 4);
    }
    assert_eq!(claimed.len(), 12);
}

async fn a_disabled_webhook_gives_up_what_is_pending(fixture: &Fixture) {
    let store = &fixture.store;
    let id = WebhookId::from_u128(1);
    store.create_webhook(&ctx(), webhook(1, None, &AlertKind::ALL)).await.unwrap();
    assert!(store.raise_alert(&alert(10, 7, 5_000)).await.unwrap());
    store.update_webhook(&ctx(), id, |webhook| webhook.enabled = false).await.unwrap();
    assert!(store.claim_deliveries(NEW_YEAR, NEW_YEAR, 10, 10).await.unwrap().is_empty());
    let given_up = store.list_deliveries(id, None, PageRequest::first(10)).await.unwrap().items;
    assert_eq!((given_up[0].state, given_up[0].attempts), (DeliveryState::Failed, 0));
    store.update_webhook(&ctx(), id, |webhook| webhook.enabled = true).await.unwrap();
    assert!(store.raise_alert(&alert(11, 7, 8_000)).await.unwrap());
    assert_eq!(store.claim_deliveries(NEW_YEAR, NEW_YEAR, 10, 10).await.unwrap().len(), 1);
    store.delete_webhook(&ctx(), id).await.unwrap();
    assert_eq!(deliveries(store, 1).await, 0);
}

async fn what_is_over_is_forgotten(fixture: &Fixture) {
    let store = &fixture.store;
    let id = WebhookId::from_u128(1);
    store.create_webhook(&ctx(), webhook(1, None, &AlertKind::ALL)).await.unwrap();
    let endless = NewAlert { occasion_ends_at: UnixMillis(i64::MAX), ..alert(11, 8, 5_000) };
    assert!(
        store.raise_alert(&alert(10, 7, 5_000)).await.unwrap() && store.raise_alert(&endless).await.unwrap()
    );
    let claimed = store.claim_deliveries(NEW_YEAR, NEW_YEAR, 1, 1).await.unwrap();
    let delivered = DeliveryOutcome::Delivered { status: 200 };
    assert!(store.finish_delivery(id, claimed[0].message, 1, &delivered, NEW_YEAR).await.unwrap());
    assert_eq!(store.prune_alerts(NEW_YEAR).await.unwrap(), 0);
    assert_eq!(store.prune_alerts(NEW_YEAR.plus_ms(1_001)).await.unwrap(), 2);
    assert_eq!(deliveries(store, 1).await, 1, "what is pending stays");
    assert!(!store.raise_alert(&NewAlert { id: AlertId::from_u128(12), ..endless }).await.unwrap());
}

async fn a_run_of_a_job_is_claimed_once(fixture: &Fixture) {
    let store = &fixture.store;
    let claim = async |run: &str, now: UnixMillis, forget| {
        store.claim_job_run("drift", run, now, forget).await.unwrap()
    };
    assert!(claim("2026-01-01", NEW_YEAR, UnixMillis(0)).await);
    assert!(!claim("2026-01-01", NEW_YEAR.plus_ms(5), UnixMillis(0)).await);
    assert!(claim("2026-01-02", NEW_YEAR.plus_ms(9), NEW_YEAR.plus_ms(5)).await);
    assert!(claim("2026-01-01", NEW_YEAR.plus_ms(9), UnixMillis(0)).await, "it was forgotten");
    assert!(store.claim_job_run("other", "2026-01-02", NEW_YEAR, UnixMillis(0)).await.unwrap());
    let tasks = (0..8).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.claim_job_run("drift", "x", NEW_YEAR, UnixMillis(0)).await.unwrap() })
    });
    let mut n_claimed = 0;
    for task in tasks.collect::<Vec<_>>() {
        n_claimed += usize::from(task.await.unwrap());
    }
    assert_eq!(n_claimed, 1);
}
