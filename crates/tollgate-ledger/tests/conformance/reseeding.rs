//! What was gathered for a reseed is of one run of the server, and what was seen before a seed is of one epoch.

use std::time::Duration;

use tollgate_domain::NanoUsd;
use tollgate_ledger::{AdmitOutcome, Epoch, GrowOutcome, Ledger, LedgerError, ReseedOutcome, SettleOutcome};
use tollgate_testkit::wait::eventually;

use crate::fencing::{Fleet, begin};
use crate::stand::{Ask, Stand, balance, budget, long_period, on_both_backends, reseed_of, seed, tenant};

const PATIENCE: Duration = Duration::from_secs(30);

on_both_backends!(a_seed_of_another_epoch_writes_nothing);

async fn epoch_of(ledger: &Ledger, tenant: tollgate_domain::TenantId) -> Option<Epoch> {
    ledger.epochs(&[tenant]).await.unwrap().remove(0).map(|stored| stored.epoch)
}

async fn a_seed_of_another_epoch_writes_nothing(stand: Stand) {
    let tenant = tenant();
    let check = budget(1_000, long_period());
    let with_budget = seed(tenant, 500, &[(check, 40)]);
    let unheard: Epoch = "7:elsewhere".parse().unwrap();
    assert_eq!(stand.ledger.seed_within(&with_budget, &unheard).await, Err(LedgerError::WrongEpoch));
    assert_eq!(epoch_of(&stand.ledger, tenant).await, None, "nothing was written");
    stand.ledger.seed(&seed(tenant, 500, &[])).await.unwrap();
    let seen = epoch_of(&stand.ledger, tenant).await.unwrap();
    assert_eq!(stand.ledger.seed_within(&with_budget, &unheard).await, Err(LedgerError::WrongEpoch));
    let closed = stand.ledger.fence(&[tenant]).await.unwrap().remove(0);
    for epoch in [&seen, &closed] {
        assert_eq!(stand.ledger.seed_within(&with_budget, epoch).await, Err(LedgerError::WrongEpoch));
    }
    let mut reseed = reseed_of(&seed(tenant, 500, &[]));
    reseed.expected = closed;
    stand.ledger.reseed(&[reseed]).await.unwrap();
    assert_eq!(stand.ledger.seed_within(&with_budget, &seen).await, Err(LedgerError::WrongEpoch));
    let ask = Ask::of(tenant).exactly(1).under(check);
    assert_eq!(stand.admit(&ask).await, AdmitOutcome::Cold, "the budget is not known yet");
    let present = epoch_of(&stand.ledger, tenant).await.unwrap();
    stand.ledger.seed_within(&with_budget, &present).await.unwrap();
    assert_eq!(stand.budget(tenant, check).await, balance(1_000, 40, 0));
}

#[tokio::test]
async fn a_seed_that_races_with_the_loss_of_everything_writes_nothing() {
    let fleet = Fleet::of(2).await;
    let tenant = tenant();
    fleet.pods[0].seed(&seed(tenant, 100, &[])).await.unwrap();
    let ask = Ask::of(tenant).exactly(60).with_wallet();
    fleet.pods[0].admit(&ask.admission()).await.unwrap();
    let seen = epoch_of(&fleet.pods[1], tenant).await.unwrap();
    fleet.server.flush_all().await.unwrap();
    let seeded = fleet.pods[1].seed_within(&seed(tenant, 100, &[]), &seen).await;
    assert_eq!(seeded, Err(LedgerError::WrongEpoch));
    // Somebody else would be given what is held.
    let other = Ask::of(tenant).exactly(100).with_wallet();
    assert_eq!(fleet.pods[1].admit(&other.admission()).await, Ok(AdmitOutcome::Cold));
}

#[tokio::test]
async fn what_was_gathered_before_a_failover_is_refused_after_it() {
    let mut fleet = Fleet::of(3).await;
    let tenant = tenant();
    fleet.pods[0].seed(&seed(tenant, 100, &[])).await.unwrap();
    let ask = Ask::of(tenant).exactly(60).with_wallet();
    fleet.pods[0].admit(&ask.admission()).await.unwrap();
    // Two control planes close the tenant and gather; a replica copies that.
    let closed = fleet.pods[1].fence(&[tenant]).await.unwrap().remove(0);
    assert_eq!(fleet.pods[2].fence(&[tenant]).await.unwrap().remove(0), closed);
    let mut gathered = reseed_of(&seed(tenant, 100, &[]));
    (gathered.expected, gathered.holds) = (closed.clone(), fleet.pods[0].open_report(Some(&[tenant])).holds);
    fleet.server.cli(&["SAVE"]).await.unwrap();
    // One of them is faster, and a pod settles.
    let faster = fleet.pods[2].reseed(std::slice::from_ref(&gathered)).await.unwrap().remove(0);
    assert!(matches!(faster, ReseedOutcome::Reseeded(_)), "{faster:?}");
    assert_eq!(fleet.pods[0].settle(&ask.settlement(50)).await, Ok(SettleOutcome::Settled));
    // The replica takes over. What the other one gathered does not know the settlement.
    fleet.restart_empty().await;
    let stored = async || fleet.pods[1].epochs(&[tenant]).await.ok();
    let stored = eventually(PATIENCE, "Redis to answer", stored).await.unwrap().remove(0).unwrap();
    assert_eq!((&stored.epoch, stored.is_live), (&closed, false), "the same closed epoch is back");
    let slower = fleet.pods[1].reseed(&[gathered]).await.unwrap().remove(0);
    assert_eq!(slower, ReseedOutcome::Changed(Some(closed.clone())));
    let outcome = fleet.repair(reseed_of(&seed(tenant, 100, &[]))).await;
    let ReseedOutcome::Reseeded(epoch) = outcome else { panic!("{outcome:?}") };
    assert!(epoch.n > closed.n + 1, "it was closed anew in this run: {epoch} after {closed}");
    let wallet = fleet.pods[1].balances(tenant, true, &[]).await.unwrap().wallet;
    assert_eq!(wallet, Some(balance(100, 50, 0)));
}

#[tokio::test]
async fn a_settlement_that_is_answered_after_a_report_is_asked_for_again() {
    let fleet = Fleet::of(1).await;
    let (tenant, pod) = (tenant(), &fleet.pods[0]);
    pod.seed(&seed(tenant, 100, &[])).await.unwrap();
    let (alone, in_a_batch) =
        (Ask::of(tenant).exactly(10).with_wallet(), Ask::of(tenant).exactly(20).with_wallet());
    for ask in [&alone, &in_a_batch] {
        assert!(matches!(pod.admit(&ask.admission()).await, Ok(AdmitOutcome::Admitted(_))));
    }
    fleet.server.freeze().unwrap();
    let (settlement, settlements) = (alone.settlement(7), [in_a_batch.settlement(8)]);
    let mut settling = Box::pin(pod.settle(&settlement));
    let mut settling_many = Box::pin(pod.settle_many(&settlements));
    assert!(begin(&mut settling).await.is_none() && begin(&mut settling_many).await.is_none());
    let report = pod.open_report(None);
    assert_eq!((report.holds.len(), report.events.len()), (2, 0), "what is reported is open");
    fleet.server.thaw().unwrap();
    // The first answers may be of a state that is lost since. The second ones are of the same here.
    assert_eq!(settling.await, Ok(SettleOutcome::AlreadySettled));
    assert_eq!(settling_many.await, [Ok(SettleOutcome::AlreadySettled)]);
    let report = pod.open_report(None);
    assert_eq!((report.holds.len(), report.events.len()), (0, 2));
    assert_eq!(pod.outbox_len().await, Ok(2), "each event once");
    let wallet = pod.balances(tenant, true, &[]).await.unwrap().wallet;
    assert_eq!(wallet, Some(balance(100, 15, 0)));
}

#[tokio::test]
async fn a_settlement_that_a_failover_lost_is_made_again() {
    let mut fleet = Fleet::of(2).await;
    let tenant = tenant();
    fleet.pods[0].seed(&seed(tenant, 100, &[])).await.unwrap();
    let ask = Ask::of(tenant).exactly(60).with_wallet();
    fleet.pods[0].admit(&ask.admission()).await.unwrap();
    let settlement = ask.settlement(50);
    fleet.server.freeze().unwrap();
    let mut settling = Box::pin(fleet.pods[0].settle(&settlement));
    assert!(begin(&mut settling).await.is_none());
    let reported = fleet.pods[0].open_report(Some(&[tenant]));
    assert_eq!(reported.holds[0].amount, NanoUsd(50), "it needs what it cost");
    fleet.server.thaw().unwrap();
    drop(settling);
    fleet.restart_empty().await;
    let close = async || fleet.pods[1].fence(&[tenant]).await.ok();
    let mut reseed = reseed_of(&seed(tenant, 100, &[]));
    reseed.expected = eventually(PATIENCE, "Redis to answer", close).await.unwrap().remove(0);
    reseed.holds = reported.holds;
    fleet.pods[1].reseed(&[reseed]).await.unwrap();
    assert_eq!(fleet.pods[0].settle(&settlement).await, Ok(SettleOutcome::Settled));
    let wallet = fleet.pods[1].balances(tenant, true, &[]).await.unwrap().wallet;
    assert_eq!(wallet, Some(balance(100, 50, 0)));
}

#[tokio::test]
async fn what_a_hold_is_to_grow_to_is_not_reported_before_it_is_granted() {
    let mut fleet = Fleet::of(2).await;
    let tenant = tenant();
    fleet.pods[0].seed(&seed(tenant, 100, &[])).await.unwrap();
    let (grows, other) =
        (Ask::of(tenant).exactly(50).with_wallet(), Ask::of(tenant).exactly(50).with_wallet());
    for (pod, ask) in fleet.pods.iter().zip([&grows, &other]) {
        assert!(matches!(pod.admit(&ask.admission()).await, Ok(AdmitOutcome::Admitted(_))));
    }
    fleet.server.stop().await.unwrap();
    let unanswered = fleet.pods[0].grow(tenant, grows.hold, NanoUsd(100)).await;
    assert!(matches!(unanswered, Err(LedgerError::Unavailable(_))), "{unanswered:?}");
    fleet.server.start_again().await.unwrap();
    let outcome = fleet.repair(reseed_of(&seed(tenant, 100, &[]))).await;
    assert!(matches!(outcome, ReseedOutcome::Reseeded(_)), "{outcome:?}");
    // All of the limit is held, and nobody has more than was granted.
    let wallet = fleet.pods[1].balances(tenant, true, &[]).await.unwrap().wallet;
    assert_eq!(wallet, Some(balance(100, 0, 100)));
    let grow = async || fleet.pods[0].grow(tenant, grows.hold, NanoUsd(100)).await.ok();
    let asked_again = eventually(PATIENCE, "an answer", grow).await.unwrap();
    assert!(matches!(asked_again, GrowOutcome::Refused(_)), "{asked_again:?}");
}

#[tokio::test]
async fn a_growth_that_is_answered_after_a_report_is_asked_for_again() {
    let fleet = Fleet::of(1).await;
    let (tenant, pod) = (tenant(), &fleet.pods[0]);
    pod.seed(&seed(tenant, 100, &[])).await.unwrap();
    let ask = Ask::of(tenant).exactly(50).with_wallet();
    assert!(matches!(pod.admit(&ask.admission()).await, Ok(AdmitOutcome::Admitted(_))));
    fleet.server.freeze().unwrap();
    let mut growing = Box::pin(pod.grow(tenant, ask.hold, NanoUsd(80)));
    assert!(begin(&mut growing).await.is_none());
    let expected = Epoch::clone(&epoch_of_frozen(&fleet, tenant).await);
    let mut reseed = reseed_of(&seed(tenant, 100, &[]));
    (reseed.expected, reseed.holds) = (expected, pod.open_report(None).holds);
    assert_eq!(reseed.holds[0].amount, NanoUsd(50));
    assert!(matches!(pod.reseed(&[reseed]).await.unwrap()[..], [ReseedOutcome::Reseeded(_)]));
    let other = Ask::of(tenant).exactly(50).with_wallet();
    assert!(matches!(pod.admit(&other.admission()).await, Ok(AdmitOutcome::Admitted(_))));
    // It was granted by the state that is no more.
    let outcome = growing.await.unwrap();
    assert!(matches!(outcome, GrowOutcome::Refused(_)), "{outcome:?}");
}

/// Lets the server go on, and closes the tenant.
async fn epoch_of_frozen(fleet: &Fleet, tenant: tollgate_domain::TenantId) -> Epoch {
    fleet.server.thaw().unwrap();
    fleet.pods[0].fence(&[tenant]).await.unwrap().remove(0)
}

#[tokio::test]
async fn a_hold_that_is_granted_again_is_reported_whole() {
    let fleet = Fleet::of(2).await;
    let tenant = tenant();
    let [pod, control] = &fleet.pods[..] else { panic!("there are two") };
    pod.seed(&seed(tenant, 100, &[])).await.unwrap();
    let ask = Ask::of(tenant).exactly(60).with_wallet();
    assert!(matches!(pod.admit(&ask.admission()).await, Ok(AdmitOutcome::Admitted(_))));
    let mut reseed = reseed_of(&seed(tenant, 100, &[]));
    reseed.expected = control.fence(&[tenant]).await.unwrap().remove(0);
    reseed.holds = pod.open_report(Some(&[tenant])).holds;
    assert_eq!(
        pod.settle(&ask.settlement(0)).await,
        Ok(SettleOutcome::WrongEpoch),
        "it is given up, but not yet"
    );
    control.reseed(&[reseed]).await.unwrap();
    assert_eq!(pod.open_report(None).holds[0].amount, NanoUsd(0));
    assert!(matches!(pod.admit(&ask.admission()).await, Ok(AdmitOutcome::Admitted(_))));
    assert_eq!(pod.open_report(None).holds[0].amount, NanoUsd(60));
}
