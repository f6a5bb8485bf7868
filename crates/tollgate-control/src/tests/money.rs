//! Credit, budgets and the way of a finished request into the journal.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tollgate_domain::{
    Attempt, AttemptOutcome, EventId, HoldId, Id, ManualClock, NanoUsd, RequestOutcome, SettlementBasis,
    Surface, TenantId, Usage, UsageEvent,
};
use tollgate_ledger::{Admission, AdmitOutcome, BudgetCheck, Ledger, Settlement, WalletRule};
use tollgate_store::Store;
use tollgate_testkit::wait::eventually;

use super::harness::{NOW, PATIENCE, World, paths};
use crate::jobs::{AlertSignals, JournalWriter};
use crate::{
    BalanceSource, BillingName, BudgetView, BudgetWindowName, CreateBudget, CreateCredit, CreateTenant,
    CreatedKey, CreditKindName, ListQuery, RequestQuery, UpdateBudget, UsageQuery,
};

fn credit(amount: &str, kind: CreditKindName, reference: Option<&str>) -> CreateCredit {
    CreateCredit {
        amount: amount.into(),
        kind,
        currency: None,
        reference: reference.map(str::to_owned),
        expires_at: None,
        corrects: None,
    }
}

pub(super) async fn prepaid(world: &World) -> (TenantId, CreatedKey, BudgetView) {
    let body = CreateTenant { name: "acme".into(), billing: BillingName::Prepaid, ..CreateTenant::default() };
    let tenant = world.app().create_tenant(&world.admin, body).await.unwrap();
    let grant = credit("5.00", CreditKindName::Grant, Some("welcome"));
    world.app().create_credit(&world.admin, "acme", grant).await.unwrap();
    let key = world.key("acme", "bot", "prod").await;
    let budget = CreateBudget {
        tenant: None,
        project: None,
        key: Some("prod".into()),
        window: BudgetWindowName::Day,
        limit: "1".into(),
        alert_at: Vec::new(),
    };
    let budget = world.app().create_budget(&world.admin, budget).await.unwrap();
    (tenant.id.parse().unwrap(), key, budget)
}

pub(super) fn event(tenant: TenantId, key: &CreatedKey, hold: HoldId, number: u128) -> UsageEvent {
    let id: EventId = Id::from_u128(number);
    let attempt = Attempt {
        provider: "openai".into(),
        model: "gpt-5-mini".into(),
        credential: None,
        outcome: AttemptOutcome::Ok,
        status: Some(200),
        started_at: NOW,
        first_byte_ms: 5,
        duration_ms: 10,
        bill: None,
    };
    UsageEvent {
        event: id,
        request: Id::from_u128(number),
        hold,
        tenant,
        project: key.key.project_id.parse().unwrap(),
        key: key.key.id.parse().unwrap(),
        end_user: None,
        labels: BTreeMap::new(),
        surface: Surface::Chat,
        requested_model: "chat".into(),
        provider: "openai".into(),
        model: "gpt-5-mini".into(),
        streamed: false,
        admitted_at: NOW,
        finished_at: NOW,
        held: NanoUsd::from_usd(1),
        cost: NanoUsd(250_000_000),
        provider_cost: NanoUsd(250_000_000),
        margin: None,
        provider_charge: None,
        usage: Usage::ZERO.with(tollgate_domain::Meter::Input, 10),
        charge: Vec::new(),
        basis: SettlementBasis::Provider,
        outcome: RequestOutcome::Ok,
        status: 200,
        attempts: vec![attempt],
        duration_ms: 10,
        first_byte_ms: Some(5),
        overhead_us: 100,
        policy_revision: 1,
    }
}

async fn spend(
    world: &World,
    tenant: TenantId,
    key: &CreatedKey,
    budget: &BudgetView,
    number: u128,
) -> AdmitOutcome {
    let zone = tollgate_domain::TimeZoneName::utc();
    let budgets = [BudgetCheck {
        budget: budget.id.parse().unwrap(),
        limit: budget.limit.0,
        periods: zone.periods(budget.window.into(), NOW).unwrap(),
    }];
    let hold: HoldId = Id::from_u128(1_000 + number);
    let admission = Admission {
        tenant,
        key: key.key.id.parse().unwrap(),
        node: Id::from_u128(9),
        hold,
        amount: NanoUsd(500_000_000),
        minimum: NanoUsd(500_000_000),
        wallet: WalletRule::Enforced,
        budgets: &budgets,
        limits: &[],
        tokens: 0,
        lease_ms: 60_000,
        memo: &[],
    };
    let outcome = world.ledger.admit(&admission).await.unwrap();
    if matches!(outcome, AdmitOutcome::Admitted(_)) {
        let event = event(tenant, key, hold, number);
        let settlement = Settlement {
            tenant,
            hold,
            actual: event.cost,
            tokens: 0,
            event: Some(std::sync::Arc::new(event)),
        };
        world.ledger.settle(&settlement).await.unwrap();
    }
    outcome
}

#[tokio::test]
async fn a_settled_request_reaches_journal_balances_and_reports_once() {
    let world = World::new().await;
    let (app, admin) = (world.app(), &world.admin);
    let (tenant, key, budget) = prepaid(&world).await;
    // Journaled before: as after a crash between journal and acknowledgement.
    let repeated = event(tenant, &key, Id::from_u128(1_001), 1);
    assert_eq!(world.store.journal_events(&[repeated]).await.unwrap(), 1);
    for number in [1, 2] {
        let outcome = spend(&world, tenant, &key, &budget, number).await;
        assert!(matches!(outcome, AdmitOutcome::Admitted(_)), "{outcome:?}");
    }
    let journaled = async || {
        let status = world.control.journal_status();
        (status.journaled + status.repeated == 2).then_some(status)
    };
    let status = eventually(PATIENCE, "two events in the journal", journaled).await.unwrap();
    assert_eq!((status.journaled, status.repeated, status.malformed), (1, 1, 0));
    let emptied = async || (world.ledger.outbox_len().await.unwrap() == 0).then_some(());
    eventually(PATIENCE, "an empty outbox", emptied).await.unwrap();
    let requests = app.list_requests(admin, &RequestQuery::default()).await.unwrap().data;
    assert_eq!(requests.len(), 2);
    let receipt = app.request(admin, &requests[0].id).await.unwrap();
    assert_eq!((receipt.key.as_str(), receipt.cost.0), ("prod", NanoUsd(250_000_000)));
    let balance = app.balance(admin, "acme").await.unwrap();
    assert_eq!(balance.source, BalanceSource::Ledger);
    assert_eq!((balance.settled.0, balance.held.0), (NanoUsd(500_000_000), NanoUsd::ZERO));
    assert_eq!(balance.available.0.to_string(), "4.5");
    let budget = app.budget(admin, &budget.id).await.unwrap();
    assert_eq!(
        (budget.spent.0.to_string().as_str(), budget.remaining.0.to_string().as_str()),
        ("0.5", "0.5")
    );
    assert_eq!(budget.resets_at.unwrap().0.to_string(), "2026-11-23T00:00:00.000Z");
    let query = UsageQuery { group_by: Some("tenant,key".into()), ..UsageQuery::default() };
    let report = app.usage(admin, &query).await.unwrap().data;
    assert_eq!((report.len(), report[0].cost_usd.as_str(), report[0].requests), (1, "0.5", 2));
    assert_eq!((report[0].tenant.as_deref(), report[0].key.as_deref()), (Some("acme"), Some("prod")));
    let postings = app.list_ledger(admin, "acme", &ListQuery::default()).await.unwrap().data;
    assert_eq!(postings.iter().filter(|posting| posting.kind == "charge").count(), 2);
}

#[tokio::test]
async fn nothing_is_lost_and_nothing_doubled_while_the_database_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("journal.db").display());
    // Without its tables the database refuses every batch.
    let store = Store::connect(&url).await.unwrap();
    let ledger = Ledger::memory(Arc::new(ManualClock::new(NOW)));
    let world = World::new().await;
    let (tenant, key, _) = prepaid(&world).await;
    for number in 1..=3 {
        let hold = Id::from_u128(number);
        let event = event(tenant, &key, hold, number);
        let settlement = Settlement {
            tenant,
            hold,
            actual: NanoUsd::ZERO,
            tokens: 0,
            event: Some(std::sync::Arc::new(event)),
        };
        ledger.settle(&settlement).await.unwrap();
    }
    let (writer, stop) = (
        JournalWriter::new(store.clone(), ledger.clone(), AlertSignals::default()),
        CancellationToken::new(),
    );
    let running = tokio::spawn(writer.clone().run(stop.clone()));
    let failing = async || writer.status().is_failing.then_some(());
    eventually(PATIENCE, "a refused batch", failing).await.unwrap();
    assert_eq!((writer.status().journaled, ledger.outbox_len().await.unwrap()), (0, 3));
    store.migrate().await.unwrap();
    let emptied = async || (ledger.outbox_len().await.unwrap() == 0).then_some(());
    eventually(PATIENCE, "an empty outbox", emptied).await.unwrap();
    stop.cancel();
    running.await.unwrap();
    assert_eq!((writer.status().journaled, writer.status().repeated), (3, 0));
    assert_eq!(store.wallet_settled(tenant).await.unwrap(), NanoUsd(750_000_000));
}

#[tokio::test]
async fn a_stop_drains_the_outbox_first() {
    let world = World::new().await;
    let (tenant, key, budget) = prepaid(&world).await;
    let (store, ledger) = (world.store.clone(), world.ledger.clone());
    for number in 1..=2 {
        spend(&world, tenant, &key, &budget, number).await;
    }
    world.control.shutdown().await;
    assert_eq!(ledger.outbox_len().await.unwrap(), 0);
    assert_eq!(store.wallet_settled(tenant).await.unwrap(), NanoUsd(500_000_000));
}

#[tokio::test]
async fn a_new_budget_counts_what_was_spent_and_a_cold_ledger_is_seeded() {
    let world = World::new().await;
    let (app, admin) = (world.app(), &world.admin);
    let (tenant, key, _) = prepaid(&world).await;
    let settled = event(tenant, &key, Id::from_u128(1_001), 1);
    world.store.journal_events(&[settled]).await.unwrap();
    let body = CreateBudget {
        tenant: Some("acme".into()),
        project: None,
        key: None,
        window: BudgetWindowName::Month,
        limit: "10".into(),
        alert_at: Vec::new(),
    };
    let budget = app.create_budget(admin, body.clone()).await.unwrap();
    assert_eq!((budget.spent.0.to_string().as_str(), budget.source), ("0.25", BalanceSource::Ledger));
    assert_eq!(app.create_budget(admin, body).await.unwrap_err().status(), 409);
    world.ledger.forget_tenant(tenant).await.unwrap();
    assert_eq!(app.balance(admin, "acme").await.unwrap().available.0.to_string(), "4.75");
    assert_eq!(app.budget(admin, &budget.id).await.unwrap().spent.0.to_string(), "0.25");
}

/// In the periods of another window the ledger would count what was spent as nothing.
#[tokio::test]
async fn a_budget_keeps_its_window() {
    let world = World::new().await;
    let (app, admin) = (world.app(), &world.admin);
    let (tenant, key, budget) = prepaid(&world).await;
    spend(&world, tenant, &key, &budget, 1).await;
    let update =
        |window: Option<BudgetWindowName>| UpdateBudget { limit: Some("2".into()), window, alert_at: None };
    let refused = app.update_budget(admin, &budget.id, update(Some(BudgetWindowName::Month))).await;
    let refused = refused.unwrap_err();
    assert_eq!(paths(&refused), ["window"]);
    assert!(refused.to_string().contains("create a new budget"), "{refused}");
    for same in [None, Some(BudgetWindowName::Day)] {
        let kept = app.update_budget(admin, &budget.id, update(same)).await.unwrap();
        assert_eq!((kept.window, kept.limit.0.to_string().as_str()), (BudgetWindowName::Day, "2"));
        assert_eq!(kept.spent.0.to_string(), "0.25");
    }
}

#[tokio::test]
async fn credit_is_checked_idempotent_and_reaches_the_ledger() {
    let world = World::new().await;
    let (app, admin) = (world.app(), &world.admin);
    prepaid(&world).await;
    let again = credit("5", CreditKindName::Grant, Some("welcome"));
    app.create_credit(admin, "acme", again).await.unwrap();
    app.create_credit(admin, "acme", credit("-1.5", CreditKindName::Adjustment, None)).await.unwrap();
    assert_eq!(app.list_credits(admin, "acme", &ListQuery::default()).await.unwrap().data.len(), 2);
    let balance = app.balance(admin, "acme").await.unwrap();
    assert_eq!((balance.credit.0.to_string().as_str(), balance.source), ("3.5", BalanceSource::Ledger));
    for (amount, kind) in [
        ("0", CreditKindName::Grant),
        ("-1", CreditKindName::Topup),
        ("1e3", CreditKindName::Topup),
        ("9007199", CreditKindName::Topup),
    ] {
        let refused = app.create_credit(admin, "acme", credit(amount, kind, None)).await.unwrap_err();
        assert_eq!(paths(&refused), ["amount"], "{amount}");
    }
    let other = credit("6", CreditKindName::Grant, Some("welcome"));
    assert_eq!(app.create_credit(admin, "acme", other).await.unwrap_err().status(), 409);
}

#[tokio::test]
async fn a_revoked_key_is_refused_by_the_ledger() {
    let world = World::new().await;
    let (tenant, key, budget) = prepaid(&world).await;
    world.app().revoke_key(&world.admin, "prod").await.unwrap();
    assert_eq!(spend(&world, tenant, &key, &budget, 1).await, AdmitOutcome::Revoked);
}
