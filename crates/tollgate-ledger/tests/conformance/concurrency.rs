//! Many at once: exactly what fits is admitted.

use tollgate_domain::NanoUsd;
use tollgate_ledger::AdmitOutcome;

use crate::stand::{Ask, Stand, balance, budget, long_period, on_both_backends, seed, tenant};

on_both_backends!(a_budget_for_one_hundred, repeats_race);

async fn a_budget_for_one_hundred(stand: Stand) {
    let tenant = tenant();
    let check = budget(1_000, long_period());
    stand.ledger.seed(&seed(tenant, 5_000, &[(check, 0)])).await.unwrap();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..400 {
        let ledger = stand.ledger.clone();
        let ask = Ask::of(tenant).exactly(10).with_wallet().under(check);
        calls.spawn(async move { ledger.admit(&ask.admission()).await.unwrap() });
    }
    let outcomes = calls.join_all().await;
    let n_admitted = outcomes.iter().filter(|one| matches!(one, AdmitOutcome::Admitted(_))).count();
    let n_held = outcomes.iter().filter(|one| matches!(one, AdmitOutcome::Held(_))).count();
    assert_eq!((n_admitted, n_held), (100, 300));
    assert_eq!(stand.budget(tenant, check).await, balance(1_000, 0, 1_000));
}

async fn repeats_race(stand: Stand) {
    let tenant = tenant();
    let check = budget(1_000, long_period());
    stand.ledger.seed(&seed(tenant, 0, &[(check, 0)])).await.unwrap();
    let ask = Ask::of(tenant).exactly(10).under(check);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (ledger, ask) = (stand.ledger.clone(), ask.clone());
        calls.spawn(async move { ledger.admit(&ask.admission()).await.unwrap() });
    }
    for outcome in calls.join_all().await {
        assert!(matches!(outcome, AdmitOutcome::Admitted(grant) if grant.granted == NanoUsd(10)));
    }
    assert_eq!(stand.budget(tenant, check).await, balance(1_000, 0, 10));
}
