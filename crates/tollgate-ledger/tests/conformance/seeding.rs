//! What is cold, what a seed writes, and that it never touches what lives.

use tollgate_domain::NanoUsd;
use tollgate_ledger::AdmitOutcome::Cold;
use tollgate_ledger::SettleOutcome;

use crate::stand::{Ask, Stand, balance, budget, long_period, on_both_backends, seed, tenant};

on_both_backends!(
    what_is_cold,
    balances_tell_that_they_are_cold,
    fresh_periods_start_at_zero,
    seeding_again_changes_nothing_live,
    seeding_a_new_budget_of_a_known_tenant,
    wallet_versions,
    forgetting_a_tenant,
);

async fn what_is_cold(stand: Stand) {
    let tenant = tenant();
    let check = budget(1_000, long_period());
    let fresh = budget(1_000, stand.fresh_period());
    assert_eq!(stand.admit(&Ask::of(tenant).exactly(1).with_wallet()).await, Cold);
    assert_eq!(stand.admit(&Ask::of(tenant).exactly(1).under(check)).await, Cold);
    assert_eq!(stand.admit(&Ask::of(tenant).exactly(1).under(fresh)).await, Cold);
    assert_eq!(stand.wallet(tenant).await, None);
    // A limit alone is no knowledge of what was spent.
    stand.ledger.set_wallet_limit(tenant, NanoUsd(500), 3).await.unwrap();
    assert_eq!(stand.admit(&Ask::of(tenant).exactly(1).with_wallet()).await, Cold);
    assert_eq!(stand.wallet(tenant).await, None);

    stand.ledger.seed(&seed(tenant, 400, &[])).await.unwrap();
    stand.granted(&Ask::of(tenant).exactly(1).with_wallet()).await;
    assert_eq!(stand.wallet(tenant).await, Some(balance(500, 0, 1)), "the later version stays");
    // Its period began before the seed, which did not mention it.
    assert_eq!(stand.admit(&Ask::of(tenant).exactly(1).with_wallet().under(check)).await, Cold);
    stand.granted(&Ask::of(tenant).exactly(1).under(fresh)).await;
}

async fn balances_tell_that_they_are_cold(stand: Stand) {
    let tenant = tenant();
    let (known, fresh) = (budget(1_000, long_period()), budget(1_000, stand.fresh_period()));
    let other = budget(1_000, long_period());
    let ledger = &stand.ledger;
    let is_cold = async |budgets: &[_]| ledger.balances(tenant, false, budgets).await.unwrap().is_cold;
    assert!(is_cold(&[]).await && is_cold(&[known]).await && is_cold(&[fresh]).await);
    // A limit alone is no knowledge of what was spent.
    ledger.set_wallet_limit(tenant, NanoUsd(500), 3).await.unwrap();
    assert!(ledger.balances(tenant, true, &[]).await.unwrap().is_cold);
    ledger.seed(&seed(tenant, 400, &[(known, 30)])).await.unwrap();
    assert!(!is_cold(&[]).await && !is_cold(&[known, fresh]).await);
    assert!(is_cold(&[known, other]).await, "its period began before the seed, which did not mention it");
    let balances = ledger.balances(tenant, true, &[known]).await.unwrap();
    assert!(!balances.is_cold && balances.wallet.is_some());
}

async fn fresh_periods_start_at_zero(stand: Stand) {
    let tenant = tenant();
    let check = budget(100, long_period());
    stand.ledger.seed(&seed(tenant, 0, &[(check, 100)])).await.unwrap();
    stand.spent(&Ask::of(tenant).exactly(1).under(check)).await;
    let renewed = tollgate_ledger::BudgetCheck { periods: stand.fresh_period(), ..check };
    stand.granted(&Ask::of(tenant).exactly(100).under(renewed)).await;
    assert_eq!(stand.budget(tenant, renewed).await, balance(100, 0, 100));
    assert_eq!(stand.budget(tenant, check).await, balance(100, 100, 0));
}

async fn seeding_again_changes_nothing_live(stand: Stand) {
    let tenant = tenant();
    let check = budget(1_000, long_period());
    let first = seed(tenant, 2_000, &[(check, 300)]);
    stand.ledger.seed(&first).await.unwrap();
    let ask = Ask::of(tenant).exactly(200).with_wallet().under(check);
    stand.granted(&ask).await;
    let mut second = seed(tenant, 9_000, &[(check, 0)]);
    second.wallet_settled = NanoUsd(77);
    stand.ledger.seed(&second).await.unwrap();
    assert_eq!(stand.budget(tenant, check).await, balance(1_000, 300, 200));
    assert_eq!(stand.wallet(tenant).await, Some(balance(2_000, 0, 200)));
    second.wallet_version = 2;
    stand.ledger.seed(&second).await.unwrap();
    assert_eq!(stand.wallet(tenant).await, Some(balance(9_000, 0, 200)));
    assert_eq!(stand.settle(&ask, 50).await, SettleOutcome::Settled);
    stand.ledger.seed(&first).await.unwrap();
    assert_eq!(stand.budget(tenant, check).await, balance(1_000, 350, 0));
    assert_eq!(stand.wallet(tenant).await, Some(balance(9_000, 50, 0)));
}

async fn seeding_a_new_budget_of_a_known_tenant(stand: Stand) {
    let tenant = tenant();
    stand.ledger.seed(&seed(tenant, 2_000, &[])).await.unwrap();
    let check = budget(1_000, long_period());
    assert_eq!(stand.admit(&Ask::of(tenant).exactly(1).under(check)).await, Cold);
    stand.ledger.seed(&seed(tenant, 2_000, &[(check, 600)])).await.unwrap();
    stand.spent(&Ask::of(tenant).exactly(401).under(check)).await;
    stand.granted(&Ask::of(tenant).exactly(400).under(check)).await;
    assert_eq!(stand.budget(tenant, check).await, balance(1_000, 600, 400));
}

async fn wallet_versions(stand: Stand) {
    let tenant = tenant();
    let mut first = seed(tenant, 100, &[]);
    first.wallet_settled = NanoUsd(60);
    first.wallet_version = 4;
    stand.ledger.seed(&first).await.unwrap();
    let cases = [(4, 900, 100), (3, 900, 100), (5, 150, 150), (5, 900, 150), (9, 70, 70), (8, 900, 70)];
    for (version, asked, expected) in cases {
        stand.ledger.set_wallet_limit(tenant, NanoUsd(asked), version).await.unwrap();
        assert_eq!(stand.wallet(tenant).await, Some(balance(expected, 60, 0)), "version {version}");
    }
    stand.granted(&Ask::of(tenant).exactly(10).with_wallet()).await;
    stand.held(&Ask::of(tenant).exactly(1).with_wallet()).await;
}

async fn forgetting_a_tenant(stand: Stand) {
    let (tenant, neighbour) = (tenant(), tenant());
    for one in [tenant, neighbour] {
        stand.ledger.seed(&seed(one, 1_000, &[])).await.unwrap();
    }
    let ask = Ask::of(tenant).exactly(10).with_wallet();
    stand.granted(&ask).await;
    stand.ledger.forget_tenant(tenant).await.unwrap();
    assert_eq!(stand.admit(&ask.again()).await, Cold);
    assert_eq!(stand.settle(&ask, 5).await, SettleOutcome::UnknownHold);
    assert_eq!(stand.ledger.outbox_len().await.unwrap(), 1);
    assert_eq!(stand.wallet(neighbour).await, Some(balance(1_000, 0, 0)));
}
