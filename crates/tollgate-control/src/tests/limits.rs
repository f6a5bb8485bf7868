//! Rules about end users: what the ledger is told of what they spent, and when.

use std::collections::BTreeMap;

use tollgate_domain::{
    BudgetId, BudgetWindow, HoldId, HoldMemo, Id, MAX_LIMIT, NanoUsd, Surface, TenantId, TimeZoneName,
};
use tollgate_ledger::{BudgetCheck, HeldBudget, OpenHold, SeedCounter, WalletRule};
use tollgate_policy::{BudgetOwner, EndUserCounter};

use super::harness::{NOW, World, paths};
use super::money::event;
use crate::{CreatedKey, EndUserQuery, UpdateKey, UpdateProject, UpdateTenant};

fn rules(window: &str) -> serde_json::Value {
    serde_json::json!({ "end_users": { "budgets": [{ "limit": "1.00", "window": window }] } })
}

/// A tenant whose end users `a` and `b` have spent 0.50 and 0.25 USD with its only key.
async fn spent() -> (World, TenantId, CreatedKey) {
    let world = World::new().await;
    let tenant: TenantId = world.tenant("acme").await.id.parse().unwrap();
    let key = world.key("acme", "bot", "prod").await;
    let mut events = Vec::new();
    for (number, user) in [(1, "a"), (2, "b"), (3, "a")] {
        let mut event = event(tenant, &key, Id::from_u128(number), number);
        event.end_user = Some(user.to_owned());
        events.push(event);
    }
    world.store.journal_events(&events).await.unwrap();
    (world, tenant, key)
}

async fn settled(
    world: &World,
    tenant: TenantId,
    rule: BudgetId,
    window: BudgetWindow,
    user: &str,
) -> NanoUsd {
    let periods = TimeZoneName::utc().periods(window, NOW).unwrap();
    let check = BudgetCheck { budget: Id::derived(rule, user), limit: NanoUsd::from_usd(1), periods };
    let balances = world.ledger.balances(tenant, true, &[check]).await.unwrap();
    assert!(!balances.is_cold, "{user}");
    balances.budgets[0].settled
}

#[tokio::test]
async fn the_ledger_knows_what_each_user_spent_before_a_rule_holds() {
    let (world, tenant, key) = spent().await;
    let (app, admin) = (world.app(), &world.admin);
    let half = NanoUsd(500_000_000);
    let body: UpdateTenant = serde_json::from_value(rules("month")).unwrap();
    app.update_tenant(admin, "acme", body).await.unwrap();
    let body: UpdateProject = serde_json::from_value(rules("day")).unwrap();
    app.update_project(admin, "acme/bot", body).await.unwrap();
    let body: UpdateKey = serde_json::from_value(rules("total")).unwrap();
    app.update_key(admin, &key.key.id, body.clone()).await.unwrap();
    let record = world.store.key(key.key.id.parse().unwrap()).await.unwrap();
    let project = world.store.project(record.project).await.unwrap();
    let of_tenant = world.store.tenant(tenant).await.unwrap();
    for (rules, window) in [
        (&of_tenant.rules, BudgetWindow::Month),
        (&project.rules, BudgetWindow::Day),
        (&record.rules, BudgetWindow::Total),
    ] {
        let rule = rules.end_users.budgets[0];
        assert_eq!((rule.window, rule.limit), (window, NanoUsd::from_usd(1)));
        assert_eq!(settled(&world, tenant, rule.id, window, "a").await, half, "{window:?}");
        assert_eq!(settled(&world, tenant, rule.id, window, "b").await, NanoUsd(250_000_000), "{window:?}");
    }
    // another limit of the same window is the same rule, one that went away for a time is another one
    let before = record.rules.end_users.budgets[0].id;
    let mut raised = rules("total");
    raised["end_users"]["budgets"][0]["limit"] = "2".into();
    app.update_key(admin, &key.key.id, serde_json::from_value(raised).unwrap()).await.unwrap();
    assert_eq!(world.store.key(record.id).await.unwrap().rules.end_users.budgets[0].id, before);
    let none: UpdateKey = serde_json::from_str(r#"{"end_users":null}"#).unwrap();
    assert!(app.update_key(admin, &key.key.id, none).await.unwrap().end_users.budgets.is_empty());
    app.update_key(admin, &key.key.id, body).await.unwrap();
    let again = world.store.key(record.id).await.unwrap().rules.end_users.budgets[0].id;
    assert_ne!(again, before);
    assert_eq!(settled(&world, tenant, again, BudgetWindow::Total, "a").await, half);
}

#[tokio::test]
async fn a_pod_has_one_user_s_counter_seeded_by_name() {
    let (world, tenant, key) = spent().await;
    let body: UpdateKey = serde_json::from_value(rules("total")).unwrap();
    world.app().update_key(&world.admin, &key.key.id, body).await.unwrap();
    let record = world.store.key(key.key.id.parse().unwrap()).await.unwrap();
    let rule = record.rules.end_users.budgets[0];
    // an empty ledger, as after its loss
    world.ledger.forget_tenant(tenant).await.unwrap();
    for (user, expected) in [("a", 500_000_000), ("nobody yet", 0)] {
        let asked = EndUserCounter {
            rule: rule.id,
            owner: BudgetOwner::Key(record.id),
            window: rule.window,
            user: user.to_owned(),
        };
        world.control.seed_end_users(tenant, &[asked]).await.unwrap();
        assert_eq!(settled(&world, tenant, rule.id, rule.window, user).await, NanoUsd(expected), "{user}");
    }
    let query = EndUserQuery { key: Some(key.key.id.clone()), ..EndUserQuery::default() };
    let query = EndUserQuery { window: Some(crate::BudgetWindowName::Total), ..query };
    let listed = world.app().list_end_users(&world.admin, &query).await.unwrap().data;
    let shown: Vec<_> = listed
        .iter()
        .map(|view| (view.user.as_str(), view.spent.0.to_string(), view.remaining.unwrap().0.to_string()))
        .collect();
    assert_eq!(shown, [("a", "0.5".into(), "0.5".into()), ("b", "0.25".into(), "0.75".into())]);
    let error = world.app().list_end_users(&world.admin, &EndUserQuery::default()).await.unwrap_err();
    assert_eq!(paths(&error), ["tenant"]);
}

#[tokio::test]
async fn a_reseed_brings_the_counters_of_users_with_open_holds() {
    let (world, tenant, key) = spent().await;
    let body: UpdateKey = serde_json::from_value(rules("month")).unwrap();
    world.app().update_key(&world.admin, &key.key.id, body).await.unwrap();
    let record = world.store.key(key.key.id.parse().unwrap()).await.unwrap();
    let rule = record.rules.end_users.budgets[0];
    let starts_at = TimeZoneName::utc().periods(rule.window, NOW).unwrap().current.starts_at;
    let hold = |n: u128, user: &str, memo_of: Option<&str>| {
        let memo = HoldMemo {
            project: record.project,
            end_user: memo_of,
            surface: Surface::Chat,
            requested_model: "m",
            provider: "p",
            model: "m",
            streamed: false,
            estimate: NanoUsd::ZERO,
            provider_estimate: NanoUsd::ZERO,
            input_tokens: 1,
            policy_revision: 1,
        };
        let budget: BudgetId = Id::derived(rule.id, user);
        OpenHold {
            tenant,
            hold: HoldId::from_u128(n),
            key: record.id,
            node: Id::from_u128(9),
            amount: NanoUsd(7),
            wallet: WalletRule::None,
            budgets: vec![HeldBudget { budget, period_starts_at: starts_at, limit: rule.limit }],
            admitted_at: None,
            lease_ms: 60_000,
            progress: NanoUsd::ZERO,
            memo: memo.to_bytes(&BTreeMap::new()),
            slab: None,
        }
    };
    let holds =
        [hold(1, "a", Some("a")), hold(2, "a", Some("a")), hold(3, "new", Some("new")), hold(4, "b", None)];
    let seed =
        crate::jobs::seed_of(&world.store, NOW, tenant, &tollgate_domain::TimeZoneName::utc(), None, &holds)
            .await
            .unwrap();
    let settled_of = |user: &str| {
        let budget: BudgetId = Id::derived(rule.id, user);
        let found: Vec<_> = seed.counters.iter().filter(|counter| counter.budget == budget).collect();
        assert_eq!(found.len(), 1, "{user}");
        assert_eq!(found[0].period_starts_at, starts_at);
        found[0].settled
    };
    assert_eq!(settled_of("a"), NanoUsd(500_000_000));
    assert_eq!(settled_of("new"), NanoUsd::ZERO);
    // whose counter it is cannot be told: it is full rather than empty
    assert_eq!(settled_of("b"), MAX_LIMIT);
}

#[tokio::test]
async fn rules_come_back_from_an_export_as_they_were_applied() {
    let world = World::new().await;
    let rules = serde_json::json!({
        "required": true,
        "limits": { "requests_per_minute": 10 },
        "budgets": [{ "limit": "1", "window": "day" }, { "limit": "9.5", "window": "total" }],
    });
    let models = serde_json::json!([{ "model": "chat-*", "requests_per_minute": 5 }]);
    let document = serde_json::json!({
        "version": 1,
        "tenants": [{
            "name": "acme", "time_zone": "UTC", "data_policy": { "log_payloads": "none" }, "end_users": rules, "model_limits": models,
            "projects": [{
                "name": "bot", "end_users": rules, "model_limits": models,
                "keys": [{ "name": "prod", "end_users": rules, "model_limits": models }],
            }],
        }],
    });
    let document: crate::ConfigDocument = serde_json::from_value(document).unwrap();
    let options = crate::ApplyOptions { dry_run: false, prune: false };
    world.app().apply_config(&world.admin, document.clone(), options).await.unwrap();
    let exported = world.app().export_config(&world.admin).await.unwrap();
    assert_eq!(exported, document);
    let again = world.app().apply_config(&world.admin, exported, options).await.unwrap();
    assert!(!again.has_changes(), "{:?}", again.changes);
    let mut changed = document;
    changed.tenants[0].projects[0].keys[0].model_limits.clear();
    changed.tenants[0].end_users.required = false;
    let report = world.app().apply_config(&world.admin, changed, options).await.unwrap();
    let details: Vec<_> = report.changes.iter().map(|change| change.detail.as_str()).collect();
    assert_eq!(details, ["end_users", "", "model_limits"]);
}

#[tokio::test]
async fn what_was_read_before_another_epoch_is_not_written_into_it() {
    let (world, tenant, _) = spent().await;
    let (app, ledger) = (world.app(), &world.ledger);
    app.seed_tenant(tenant).await.unwrap();
    let epoch = async || ledger.epochs(&[tenant]).await.unwrap().remove(0).unwrap().epoch;
    let seen = epoch().await;
    let period_starts_at = TimeZoneName::utc().periods(BudgetWindow::Month, NOW).unwrap().current.starts_at;
    let counters = |settled| {
        vec![SeedCounter { budget: Id::derived(BudgetId::from_u128(7), "a"), period_starts_at, settled }]
    };
    // Reseeded meanwhile: what was journaled for that was not read.
    let reseed = tollgate_ledger::Reseed {
        tenant,
        expected: ledger.fence(&[tenant]).await.unwrap().remove(0),
        above: 0,
        wallet_limit: NanoUsd::ZERO,
        wallet_version: 9,
        wallet_settled: NanoUsd(750_000_000),
        counters: Vec::new(),
        holds: Vec::new(),
        settled: Vec::new(),
        revoked: Vec::new(),
    };
    assert!(!app.write_counters(tenant, Some(&seen), counters(NanoUsd(1))).await.unwrap(), "it is closed");
    ledger.reseed(&[reseed]).await.unwrap();
    assert!(!app.write_counters(tenant, Some(&seen), counters(NanoUsd(1))).await.unwrap());
    let present = epoch().await;
    assert!(app.write_counters(tenant, Some(&present), counters(NanoUsd(2))).await.unwrap());
    let spent = settled(&world, tenant, BudgetId::from_u128(7), BudgetWindow::Month, "a").await;
    assert_eq!(spent, NanoUsd(2));
}
