//! Closing a tenant, replacing everything of it, and who may do so.

use tollgate_domain::{HoldId, KeyId, NanoUsd};
use tollgate_ledger::{
    AdmitOutcome, GrowOutcome, LedgerError, Reseed, ReseedOutcome, SeedCounter, SettleOutcome,
};

use crate::stand::{
    Ask, LEASE_MS, Stand, balance, budget, long_period, on_both_backends, reseed_of, seed, tenant,
};

on_both_backends!(
    a_closed_tenant_answers_nothing,
    a_reseed_replaces_everything,
    reported_holds_may_exceed_the_limit,
    reported_holds_go_on_living,
    two_reseeds_race,
    a_live_tenant_is_not_replaced,
    a_later_wallet_limit_stays,
    impossible_reseeds,
    reports_name_what_is_open,
);

async fn reseeded(stand: &Stand, reseed: Reseed) -> tollgate_ledger::Epoch {
    match stand.ledger.reseed(&[reseed]).await.unwrap().remove(0) {
        ReseedOutcome::Reseeded(epoch) => epoch,
        other => panic!("expected a reseed, got {other:?}"),
    }
}

async fn a_closed_tenant_answers_nothing(stand: Stand) {
    let tenant = tenant();
    let check = budget(1_000, long_period());
    let known = seed(tenant, 500, &[(check, 0)]);
    stand.ledger.seed(&known).await.unwrap();
    let ask = Ask::of(tenant).exactly(100).with_wallet().under(check);
    stand.granted(&ask).await;
    let closed = stand.ledger.fence(&[tenant]).await.unwrap().remove(0);
    assert!(closed.is_fenced());
    assert_eq!(
        stand.ledger.fence(&[tenant]).await.unwrap(),
        std::slice::from_ref(&closed),
        "closed is closed"
    );
    let epochs = stand.ledger.epochs(&[tenant]).await.unwrap();
    let stored = epochs[0].as_ref().unwrap();
    assert_eq!((&stored.epoch, stored.is_live), (&closed, false));

    assert_eq!(stand.admit(&ask).await, AdmitOutcome::WrongEpoch);
    assert_eq!(stand.admit(&ask.again()).await, AdmitOutcome::WrongEpoch);
    assert_eq!(stand.admit(&Ask::of(tenant)).await, AdmitOutcome::WrongEpoch, "free ones, too");
    assert_eq!(stand.settle(&ask, 5).await, SettleOutcome::WrongEpoch);
    assert_eq!(stand.grow(&ask, 200).await, GrowOutcome::WrongEpoch);
    let renewal = stand.ledger.renew(&[(tenant, ask.hold, NanoUsd(1))], LEASE_MS).await.unwrap();
    assert_eq!((renewal.renewed, renewal.wrong_epoch), (0, vec![tenant]));
    assert_eq!(stand.ledger.seed(&known).await, Err(LedgerError::WrongEpoch));
    assert!(stand.ledger.balances(tenant, true, &[check]).await.unwrap().is_cold);
    assert_eq!(stand.ledger.outbox_len().await, Ok(0));
    let holds = stand.ledger.list_holds(tenant, None, 9).await.unwrap().holds;
    assert_eq!((holds.len(), holds[0].progress), (1, NanoUsd::ZERO), "nothing was written");

    let mut reseed = reseed_of(&known);
    reseed.expected = closed.clone();
    reseed.holds = holds.iter().map(|hold| hold.to_open(tenant)).collect();
    let epoch = reseeded(&stand, reseed).await;
    assert!(epoch.n > closed.n && !epoch.is_fenced());
    assert_eq!(stand.settle(&ask, 5).await, SettleOutcome::Settled);
    assert_eq!(stand.budget(tenant, check).await, balance(1_000, 5, 0));
}

async fn a_reseed_replaces_everything(stand: Stand) {
    let tenant = tenant();
    let (old, new) = (budget(1_000, long_period()), budget(1_000, long_period()));
    stand.ledger.seed(&seed(tenant, 500, &[(old, 7)])).await.unwrap();
    let before = Ask::of(tenant).exactly(100).with_wallet().under(old);
    stand.granted(&before).await;
    stand.settle(&before, 40).await;
    let settled = Ask::of(tenant).exactly(1).with_wallet();
    stand.ledger.set_key_revoked(tenant, KeyId::from_u128(5), true).await.unwrap();
    let closed = stand.ledger.fence(&[tenant]).await.unwrap().remove(0);

    let mut reseed = reseed_of(&seed(tenant, 800, &[(new, 30)]));
    reseed.wallet_version = 2;
    reseed.wallet_settled = NanoUsd(60);
    reseed.expected = closed.clone();
    reseed.above = closed.n + 1_000_000_000_000;
    reseed.settled = vec![settled.hold];
    reseed.revoked = vec![KeyId::from_u128(6)];
    let above = reseed.above;
    let epoch = reseeded(&stand, reseed).await;
    assert!(epoch.n > above, "{epoch} is above what the pods knew");
    assert_eq!(stand.wallet(tenant).await, Some(balance(800, 60, 0)));
    assert_eq!(stand.budget(tenant, new).await, balance(1_000, 30, 0));
    assert_eq!(stand.ledger.list_holds(tenant, None, 9).await.unwrap().holds, []);
    assert_eq!(stand.settle(&settled, 1).await, SettleOutcome::AlreadySettled);
    assert_eq!(stand.wallet(tenant).await, Some(balance(800, 60, 0)));
    let revoked = |key| Ask { key: KeyId::from_u128(key), ..Ask::of(tenant) };
    assert_eq!(stand.admit(&revoked(6)).await, AdmitOutcome::Revoked);
}

async fn reported_holds_may_exceed_the_limit(stand: Stand) {
    let tenant = tenant();
    let check = budget(100, long_period());
    stand.ledger.seed(&seed(tenant, 100, &[(check, 0)])).await.unwrap();
    let ask = Ask::of(tenant).exactly(80).with_wallet().under(check);
    stand.granted(&ask).await;
    let closed = stand.ledger.fence(&[tenant]).await.unwrap().remove(0);
    let report = stand.ledger.open_report(Some(&[tenant]));
    assert_eq!(report.holds.len(), 1);
    let mut reseed = reseed_of(&seed(tenant, 100, &[(check, 50)]));
    (reseed.expected, reseed.above) = (closed, report.highest_epoch);
    (reseed.wallet_settled, reseed.holds) = (NanoUsd(50), report.holds);
    reseeded(&stand, reseed).await;
    assert_eq!(stand.budget(tenant, check).await, balance(100, 50, 80), "its request is under way");
    assert_eq!(stand.wallet(tenant).await, Some(balance(100, 50, 80)));
    stand.held(&Ask::of(tenant).exactly(1).under(check)).await;
    stand.settle(&ask, 10).await;
    assert_eq!(stand.budget(tenant, check).await, balance(100, 60, 0));
    stand.granted(&Ask::of(tenant).exactly(40).with_wallet().under(check)).await;
}

async fn reported_holds_go_on_living(stand: Stand) {
    let tenant = tenant();
    let check = budget(1_000, long_period());
    stand.ledger.seed(&seed(tenant, 500, &[(check, 0)])).await.unwrap();
    let mut ask = Ask::of(tenant).exactly(80).with_wallet().under(check);
    ask.memo = b"memo".to_vec();
    stand.granted(&ask).await;
    stand.ledger.renew(&[(tenant, ask.hold, NanoUsd(17))], LEASE_MS).await.unwrap();
    let before = stand.ledger.list_holds(tenant, None, 9).await.unwrap().holds.remove(0);
    let closed = stand.ledger.fence(&[tenant]).await.unwrap().remove(0);
    let mut reseed = reseed_of(&seed(tenant, 500, &[(check, 0)]));
    (reseed.expected, reseed.holds) = (closed, stand.ledger.open_report(None).holds);
    reseeded(&stand, reseed).await;
    let after = stand.ledger.list_holds(tenant, None, 9).await.unwrap().holds.remove(0);
    assert_eq!(after.to_open(tenant), before.to_open(tenant));
    // This process goes on under the new epoch with all that it holds there.
    assert_eq!(stand.granted(&ask).await.granted, NanoUsd(80));
    let next = ask.again();
    stand.granted(&next).await;
    assert_eq!(stand.grow(&ask, 100).await, GrowOutcome::Grown { granted: NanoUsd(100) });
    let renewal = stand.ledger.renew(&[(tenant, ask.hold, NanoUsd(18))], LEASE_MS).await.unwrap();
    assert_eq!(renewal.renewed, 1);
    assert_eq!(stand.settle(&ask, 90).await, SettleOutcome::Settled);
    assert_eq!(stand.settle(&next, 1).await, SettleOutcome::Settled);
    assert_eq!(stand.budget(tenant, check).await, balance(1_000, 91, 0));
}

async fn two_reseeds_race(stand: Stand) {
    let tenant = tenant();
    let known = seed(tenant, 500, &[]);
    let (mut first, mut second) = (reseed_of(&known), reseed_of(&known));
    let closed = stand.ledger.fence(&[tenant]).await.unwrap().remove(0);
    (first.expected, second.expected) = (closed.clone(), closed);
    second.wallet_settled = NanoUsd(400);
    let epoch = reseeded(&stand, first.clone()).await;
    let outcomes = stand.ledger.reseed(&[second, first]).await.unwrap();
    let changed = ReseedOutcome::Changed(Some(epoch));
    assert_eq!(outcomes, [changed.clone(), changed]);
    assert_eq!(stand.wallet(tenant).await, Some(balance(500, 0, 0)));
    // Never heard of, and expected so.
    let unknown = crate::stand::tenant();
    assert_eq!(stand.ledger.epochs(&[unknown]).await.unwrap(), [None]);
    let mut reseed = reseed_of(&seed(unknown, 5, &[]));
    reseed.expected = "7:elsewhere".parse().unwrap();
    let outcomes = stand.ledger.reseed(&[reseed.clone()]).await.unwrap();
    assert_eq!(outcomes, [ReseedOutcome::Changed(None)]);
    assert_eq!(stand.admit(&Ask::of(unknown).exactly(1).with_wallet()).await, AdmitOutcome::Cold);
    reseed.expected = stand.ledger.fence(&[unknown]).await.unwrap().remove(0);
    reseeded(&stand, reseed).await;
    stand.granted(&Ask::of(unknown).exactly(1).with_wallet()).await;
}

async fn a_live_tenant_is_not_replaced(stand: Stand) {
    let tenant = tenant();
    let known = seed(tenant, 500, &[]);
    stand.ledger.seed(&known).await.unwrap();
    let ask = Ask::of(tenant).exactly(100).with_wallet();
    stand.granted(&ask).await;
    let live = stand.ledger.epochs(&[tenant]).await.unwrap().remove(0).unwrap();
    assert!(live.is_live);
    let mut reseed = reseed_of(&known);
    reseed.expected = live.epoch.clone();
    assert_eq!(stand.ledger.reseed(&[reseed]).await.unwrap(), [ReseedOutcome::Live(live.epoch)]);
    assert_eq!(stand.wallet(tenant).await, Some(balance(500, 0, 100)));
}

async fn a_later_wallet_limit_stays(stand: Stand) {
    let tenant = tenant();
    let closed = stand.ledger.fence(&[tenant]).await.unwrap().remove(0);
    stand.ledger.set_wallet_limit(tenant, NanoUsd(900), 4).await.unwrap();
    let mut reseed = reseed_of(&seed(tenant, 500, &[]));
    (reseed.wallet_version, reseed.expected) = (3, closed);
    reseeded(&stand, reseed).await;
    assert_eq!(stand.wallet(tenant).await, Some(balance(900, 0, 0)));
    stand.ledger.set_wallet_limit(tenant, NanoUsd(1), 4).await.unwrap();
    assert_eq!(stand.wallet(tenant).await, Some(balance(900, 0, 0)));
}

async fn impossible_reseeds(stand: Stand) {
    let tenant = tenant();
    let check = budget(100, long_period());
    stand.ledger.seed(&seed(tenant, 100, &[(check, 0)])).await.unwrap();
    let ask = Ask::of(tenant).exactly(80).under(check);
    stand.granted(&ask).await;
    let holds = stand.ledger.open_report(Some(&[tenant])).holds;
    let whole = Reseed { holds, ..reseed_of(&seed(tenant, 100, &[(check, 0)])) };
    let cases = [
        Reseed { wallet_settled: NanoUsd(-1), ..whole.clone() },
        Reseed { counters: Vec::new(), ..whole.clone() },
        Reseed { settled: vec![ask.hold], ..whole.clone() },
        Reseed { tenant: crate::stand::tenant(), ..whole.clone() },
        Reseed {
            counters: vec![SeedCounter { settled: NanoUsd(i64::MAX), ..whole.counters[0] }],
            ..whole.clone()
        },
    ];
    for case in cases {
        let answer = stand.ledger.reseed(&[case]).await;
        assert!(matches!(answer, Err(LedgerError::Invalid(_))), "{answer:?}");
    }
    assert_eq!(stand.budget(tenant, check).await, balance(100, 0, 80));
}

async fn reports_name_what_is_open(stand: Stand) {
    let (tenant, other) = (tenant(), crate::stand::tenant());
    let check = budget(1_000, long_period());
    stand.ledger.seed(&seed(tenant, 500, &[(check, 0)])).await.unwrap();
    let (open, settled) = (Ask::of(tenant).exactly(80).with_wallet().under(check), Ask::of(other));
    stand.granted(&open).await;
    stand.granted(&settled).await;
    stand.settle(&settled, 0).await;
    let report = stand.ledger.open_report(None);
    let holds: Vec<HoldId> = report.holds.iter().map(|hold| hold.hold).collect();
    assert_eq!(holds, [open.hold]);
    let events: Vec<_> = report.events.iter().map(|one| one.event.hold).collect();
    assert_eq!(events, [settled.hold]);
    assert!(report.highest_epoch > 0);
    let report = stand.ledger.open_report(Some(&[other]));
    assert_eq!((report.holds.len(), report.events.len()), (0, 1));

    let charged = open.again();
    stand.granted(&charged).await;
    stand.settle(&charged, 3).await;
    let report = stand.ledger.open_report(Some(&[tenant]));
    assert_eq!(report.events[0].budgets, report.holds[0].budgets);
    assert_eq!(report.events[0].wallet, report.holds[0].wallet);
    let entries = stand.ledger.outbox_read(100, 0).await.unwrap();
    let handles: Vec<_> = entries.into_iter().map(|entry| entry.handle).collect();
    stand.ledger.outbox_acknowledge(&handles).await.unwrap();
    let confirmation = stand.ledger.confirm_journaled().await.unwrap();
    assert_eq!((confirmation.republished, confirmation.waiting), (0, 0));
    assert_eq!(stand.ledger.open_report(None).events, []);
    assert_eq!(stand.ledger.open_report(None).holds.len(), 1);
}
