//! Spend of end users, their rules, and budgets that are raised for a time.

use std::collections::BTreeMap;

use tollgate_domain::{
    BudgetId, BudgetIncreaseId, BudgetWindow, Id, KeyId, MAX_LIMIT, NanoUsd, Period, ProjectId, TenantId,
    TimeZoneName, UnixMillis,
};
use tollgate_policy::BudgetOwner;
use tollgate_store::{
    EndUserSpend, MAX_ACTIVE_INCREASES, NewBudgetIncrease, PageRequest, PolicyRecord, Store,
};

use crate::fixture::Fixture;
use crate::policy::{conflict, missing, seed};
use crate::samples::{NEW_YEAR, budget, ctx, ctx_at, event, events, rules, tenant};

crate::on_both_databases!(
    end_users_spend_apart_by_owner_and_period,
    texts_of_end_users_are_kept_apart,
    rules_are_changed_and_follow_the_time_zone,
    an_increase_is_listed_for_ever_and_holds_until_its_end,
    an_increase_ends_early_and_has_bounds,
);

const TENANT: TenantId = TenantId::from_u128(1);

async fn all_spending(store: &Store, owner: BudgetOwner, period: Period) -> Vec<EndUserSpend> {
    let (mut all, mut page) = (Vec::new(), PageRequest::first(2));
    loop {
        let part = store.end_users_spending(TENANT, owner, period, page).await.unwrap();
        all.extend(part.items);
        let Some(next) = part.next else { return all };
        page = PageRequest::after(2, next);
    }
}

async fn end_users_spend_apart_by_owner_and_period(fixture: &Fixture) {
    let store = &fixture.store;
    let batch = events(200, 1);
    store.journal_events(&batch).await.unwrap();
    // again, and those of another tenant, who has users of the same names
    store.journal_events(&batch[..120]).await.unwrap();
    store.journal_events(&events(50, 2)).await.unwrap();
    let day = TimeZoneName::utc().periods(BudgetWindow::Day, NEW_YEAR.plus_ms(90 * 3_600_000)).unwrap();
    let owners = [
        BudgetOwner::Tenant(TENANT),
        BudgetOwner::Project(ProjectId::from_u128(101)),
        BudgetOwner::Key(KeyId::from_u128(1_002)),
    ];
    let mut n_compared = 0;
    for owner in owners {
        for period in [Period::TOTAL, day.current] {
            let mut expected = BTreeMap::<String, (NanoUsd, u64)>::new();
            for event in batch.iter().filter(|event| period.contains(event.admitted_at)) {
                let is_of = match owner {
                    BudgetOwner::Tenant(_) => true,
                    BudgetOwner::Project(id) => event.project == id,
                    BudgetOwner::Key(id) => event.key == id,
                };
                if let Some(user) = event.end_user.as_ref().filter(|_| is_of) {
                    let sum = expected.entry(user.clone()).or_default();
                    *sum = (sum.0.saturating_add(event.cost), sum.1 + 1);
                }
            }
            let found = all_spending(store, owner, period).await;
            let expected: Vec<EndUserSpend> = expected
                .into_iter()
                .map(|(user, (spent, requests))| EndUserSpend { user, spent, requests })
                .collect();
            assert_eq!(found, expected, "{owner:?} {period:?}");
            for spend in expected {
                let one = store.spent_by_end_user(TENANT, owner, &spend.user, period).await.unwrap();
                assert_eq!(one, spend.spent, "{owner:?} {period:?} {}", spend.user);
                n_compared += 1;
            }
        }
    }
    assert!(n_compared >= 12, "{n_compared}");
    let nobody = store.spent_by_end_user(TENANT, owners[0], "user-9", Period::TOTAL).await.unwrap();
    assert_eq!(nobody, NanoUsd::ZERO);
}

async fn texts_of_end_users_are_kept_apart(fixture: &Fixture) {
    let store = &fixture.store;
    let users = ["a", "A", "a ", "ä", "a\u{308}", "%", "user'; --", "\u{1f600}", "z\0z"];
    let batch: Vec<_> = users
        .iter()
        .zip(1..)
        .map(|(user, n)| {
            let mut event = event(n, 1);
            event.end_user = Some((*user).to_owned());
            event.cost = NanoUsd(1_000 + i64::try_from(n).unwrap());
            event
        })
        .collect();
    store.journal_events(&batch).await.unwrap();
    for event in &batch {
        let user = event.end_user.as_deref().unwrap();
        let owner = BudgetOwner::Tenant(TENANT);
        let spent = store.spent_by_end_user(TENANT, owner, user, Period::TOTAL).await.unwrap();
        assert_eq!(spent, event.cost, "{user:?}");
    }
}

async fn rules_are_changed_and_follow_the_time_zone(fixture: &Fixture) {
    let store = &fixture.store;
    let mut without = tenant(1);
    without.rules = rules(0);
    without.rules.end_users.budgets.clear();
    store.create_tenant(&ctx(), without).await.unwrap();
    let to_berlin = |record: &mut tollgate_store::TenantRecord| {
        record.time_zone = TimeZoneName::parse("Asia/Tokyo").unwrap();
    };
    store.update_tenant(&ctx(), TENANT, to_berlin).await.unwrap();
    let changed = store.update_tenant(&ctx(), TENANT, |record| record.rules = rules(4)).await.unwrap();
    assert_eq!(changed.rules, rules(4));
    assert_eq!(store.tenant(TENANT).await.unwrap().to_policy().rules, rules(4));
    let back = |record: &mut tollgate_store::TenantRecord| record.time_zone = TimeZoneName::utc();
    let refused = store.update_tenant(&ctx(), TENANT, back).await;
    assert_eq!(conflict(refused), ("tenant", "time_zone"));
}

fn increase(n: u128, usd: i32, until: UnixMillis) -> NewBudgetIncrease {
    let reason = Some("launch".to_owned());
    NewBudgetIncrease { id: Id::from_u128(n), amount: NanoUsd::from_usd(usd), until, reason }
}

/// A budget of 500 USD of the tenant.
async fn budgeted(store: &Store) -> BudgetId {
    seed(store).await;
    let policy = budget(77, BudgetOwner::Project(ProjectId::from_u128(10)), BudgetWindow::Total);
    store.create_budget(&ctx(), policy).await.unwrap().id
}

async fn an_increase_is_listed_for_ever_and_holds_until_its_end(fixture: &Fixture) {
    let store = &fixture.store;
    let id = budgeted(store).await;
    let before = store.policy_revision().await.unwrap();
    let end = NEW_YEAR.plus_ms(1_000);
    let raised = store.create_budget_increase(&ctx(), id, increase(1, 25, end)).await.unwrap();
    assert_eq!(raised.effective_limit(NEW_YEAR), NanoUsd::from_usd(525));
    assert_eq!(raised.effective_limit(end), NanoUsd::from_usd(500));
    assert_eq!(store.policy_revision().await.unwrap(), before + 1, "the pods must hear of it");
    // as everybody reads it
    assert_eq!(store.budget(id).await.unwrap(), raised);
    let reference =
        tollgate_policy::ObjectRef { kind: tollgate_policy::ObjectKind::Budget, id: id.as_uuid() };
    let loaded = store.load_policy_object(reference).await.unwrap();
    assert_eq!(loaded, Some(PolicyRecord::Budget(raised.clone())));
    let all = store.load_policy().await.unwrap().records;
    assert!(all.contains(&PolicyRecord::Budget(raised.clone())));
    let filter = tollgate_store::BudgetFilter { tenant: Some(TENANT), owner: None };
    let listed = store.list_budgets(&filter, PageRequest::first(10)).await.unwrap().items;
    assert!(listed.contains(&raised));
    assert_eq!(raised.to_policy().increases.len(), 1);
    // what is over leaves the policy with the next change, and never the list
    let later = ctx_at(end.plus_ms(1));
    let raised = store.create_budget_increase(&later, id, increase(2, 7, end.plus_ms(9_000))).await.unwrap();
    assert_eq!(raised.increases.len(), 1);
    let listed = store.list_budget_increases(id, PageRequest::first(10)).await.unwrap().items;
    assert_eq!(listed.iter().map(|one| one.id).collect::<Vec<_>>(), [Id::from_u128(1), Id::from_u128(2)]);
    assert_eq!((listed[0].ended_at, listed[1].ended_at), (Some(end), None));
    assert_eq!((listed[0].actor.as_str(), listed[0].reason.as_deref()), ("ada", Some("launch")));
    let other = store.update_budget(&later, id, |budget| budget.limit = NanoUsd::from_usd(1)).await.unwrap();
    assert_eq!(other.effective_limit(later.now), NanoUsd::from_usd(8), "a change of the limit keeps it");
    let audit =
        store.list_audit(&tollgate_store::AuditFilter::default(), PageRequest::first(3)).await.unwrap();
    let actions: Vec<&str> = audit.items.iter().map(|row| row.action.as_str()).collect();
    assert_eq!(actions, ["update", "increase", "increase"]);
    let after = audit.items[2].after.as_ref().unwrap();
    assert_eq!(after["increases"][0]["amount"], "25");
}

async fn an_increase_ends_early_and_has_bounds(fixture: &Fixture) {
    let store = &fixture.store;
    let id = budgeted(store).await;
    let end = NEW_YEAR.plus_ms(10_000);
    store.create_budget_increase(&ctx(), id, increase(1, 25, end)).await.unwrap();
    let now = ctx_at(NEW_YEAR.plus_ms(5));
    let ended = store.end_budget_increase(&now, id, BudgetIncreaseId::from_u128(1)).await.unwrap();
    assert_eq!(ended.ended_at, Some(now.now));
    assert_eq!(store.budget(id).await.unwrap().effective_limit(now.now), NanoUsd::from_usd(500));
    let revision = store.policy_revision().await.unwrap();
    let again = store.end_budget_increase(&ctx_at(end), id, BudgetIncreaseId::from_u128(1)).await.unwrap();
    assert_eq!((again, store.policy_revision().await.unwrap()), (ended, revision), "again: no change");
    let nothing = store.end_budget_increase(&now, id, BudgetIncreaseId::from_u128(9)).await;
    assert_eq!(missing(nothing), "budget increase");
    let nobody = store.create_budget_increase(&now, BudgetId::from_u128(9), increase(3, 1, end)).await;
    assert_eq!(missing(nobody), "budget");
    let mut huge = increase(4, 1, end);
    huge.amount = MAX_LIMIT;
    let refused = store.create_budget_increase(&now, id, huge).await;
    assert_eq!(conflict(refused), ("budget", "amount"));
    for n in 0..MAX_ACTIVE_INCREASES {
        store.create_budget_increase(&now, id, increase(100 + n as u128, 1, end)).await.unwrap();
    }
    let refused = store.create_budget_increase(&now, id, increase(999, 1, end)).await;
    assert_eq!(conflict(refused), ("budget", "amount"));
    // a budget goes with what raised it
    store.delete_budget(&now, id).await.unwrap();
    assert!(store.list_budget_increases(id, PageRequest::first(10)).await.unwrap().items.is_empty());
}
