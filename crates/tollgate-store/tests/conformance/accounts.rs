//! What a reseed reads of many tenants at once is what is told of each alone.

use tollgate_domain::{BudgetIncreaseId, BudgetWindow, NanoUsd, TenantId};
use tollgate_policy::BudgetOwner;
use tollgate_store::{BudgetFilter, NewBudgetIncrease, PageRequest, TenantAccount};

use crate::fixture::Fixture;
use crate::samples::{NEW_YEAR, budget, credit, ctx, event, key, project, tenant};

crate::on_both_databases!(accounts_of_many_are_those_of_each);

async fn accounts_of_many_are_those_of_each(fixture: &Fixture) {
    let store = &fixture.store;
    // Three, so that they are not read with one text; the second is blocked, the last has nothing.
    let [plain, blocked, bare, unknown] = [1, 2, 3, 404].map(TenantId::from_u128);
    for n in [1, 2, 3] {
        store.create_tenant(&ctx(), tenant(n)).await.unwrap();
    }
    for (n, owner) in [(100, 1), (200, 2)] {
        store.create_project(&ctx(), project(n, owner)).await.unwrap();
    }
    for (n, project) in [(1_001, 100), (1_002, 100), (2_001, 200)] {
        store.create_key(&ctx(), key(n, project), "tg").await.unwrap();
    }
    let revoked = store.revoke_key(&ctx(), key(1_002, 100).id).await.unwrap().id;
    let owners = [
        (7, BudgetOwner::Tenant(plain), BudgetWindow::Month),
        (8, BudgetOwner::Key(key(1_001, 100).id), BudgetWindow::Day),
        (9, BudgetOwner::Tenant(blocked), BudgetWindow::Day),
    ];
    for (n, owner, window) in owners {
        store.create_budget(&ctx(), budget(n, owner, window)).await.unwrap();
    }
    let (id, amount) = (BudgetIncreaseId::from_u128(5), NanoUsd(77));
    let increase = NewBudgetIncrease { id, amount, until: NEW_YEAR.plus_ms(1_000), reason: None };
    store
        .create_budget_increase(&ctx(), budget(8, owners[1].1, BudgetWindow::Day).id, increase)
        .await
        .unwrap();
    for (n, owner, amount) in [(1, 1, 500), (2, 1, 70), (3, 2, 9)] {
        store.grant_credit(&ctx(), credit(n, owner, NanoUsd(amount), None)).await.unwrap();
    }
    store.journal_events(&[event(1, 1), event(2, 1), event(3, 2)]).await.unwrap();

    let tenants = [bare, plain, unknown, blocked];
    let accounts = store.tenant_accounts(&tenants).await.unwrap();
    let settled = store.wallets_settled(&tenants).await.unwrap();
    for (index, id) in tenants.into_iter().enumerate() {
        let filter = BudgetFilter { tenant: Some(id), owner: None };
        let alone = TenantAccount {
            calendar: store.calendar_of(id).await.unwrap(),
            budgets: store.list_budgets(&filter, PageRequest::first(9)).await.unwrap().items,
            credit: store.credit_total(id).await.unwrap(),
            unusable_keys: match id {
                _ if id == plain => vec![revoked],
                _ if id == blocked => vec![key(2_001, 200).id],
                _ => Vec::new(),
            },
        };
        assert_eq!(accounts[index], alone);
        assert_eq!(settled[index], store.wallet_settled(id).await.unwrap());
    }
    assert_eq!(accounts[1].budgets[1].increases.len(), 1);
    assert_eq!((accounts[0].calendar.is_some(), &accounts[2]), (true, &TenantAccount::default()));
    assert!(settled[1] > NanoUsd::ZERO && settled[3] > NanoUsd::ZERO && settled[0] == NanoUsd::ZERO);
}
