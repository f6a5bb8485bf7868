//! Holds as records: what is kept with them, how they grow, who lost his lease.

use std::time::Duration;

use tollgate_domain::{NanoUsd, NodeId};
use tollgate_ledger::{
    GrowOutcome, HeldBudget, LedgerError, LimitCheck, LimitOwner, MAX_MEMO_BYTES, MoneyDenied, MoneyNode,
    SettleOutcome, WalletRule,
};
use tollgate_policy::RateLimits;
use tollgate_testkit::wait::eventually;

use crate::stand::{Ask, LEASE_MS, Stand, balance, budget, long_period, on_both_backends, seed, tenant};

on_both_backends!(
    what_is_kept_with_a_hold,
    pages_of_holds,
    memos_have_a_bound,
    progress_only_grows,
    suspects_of_all_tenants,
    a_suspect_is_held_and_can_be_settled,
    places_come_back_when_a_lease_ends,
    the_place_of_a_hold_without_a_lease_comes_back_at_once,
    growing,
    growing_says_who_refuses,
    growing_is_idempotent_and_never_shrinks,
    what_cannot_grow,
    end_users_and_models_have_limits_of_their_own,
);

const PATIENCE: Duration = Duration::from_secs(20);

async fn what_is_kept_with_a_hold(stand: Stand) {
    let tenant = tenant();
    let check = budget(1_000, long_period());
    stand.ledger.seed(&seed(tenant, 5_000, &[(check, 0)])).await.unwrap();
    let mut ask = Ask::of(tenant).between(10, 2_000).with_wallet().under(check);
    ask.memo = br#"{"model":"fast","bytes":"\u0000"}"#.to_vec();
    let grant = stand.granted(&ask).await;
    let page = stand.ledger.list_holds(tenant, None, 10).await.unwrap();
    assert!(page.next.is_none() && page.holds.len() == 1, "{page:?}");
    let hold = &page.holds[0];
    assert_eq!((hold.hold, hold.key, hold.node), (ask.hold, ask.key, NodeId::from_u128(9)));
    assert_eq!((hold.amount, hold.progress), (NanoUsd(1_000), NanoUsd::ZERO));
    assert_eq!((hold.wallet, hold.is_suspect), (WalletRule::Enforced, false));
    let period_starts_at = long_period().current.starts_at;
    assert_eq!(hold.budgets, [HeldBudget { budget: check.budget, period_starts_at, limit: check.limit }]);
    assert_eq!(hold.admitted_at, grant.admitted_at);
    assert_eq!(hold.lease_until.since(grant.admitted_at), i64::try_from(LEASE_MS).unwrap());
    assert_eq!((hold.memo.as_slice(), hold.lease_ms), (ask.memo.as_slice(), LEASE_MS));
    stand.settle(&ask, 0).await;
    assert_eq!(stand.ledger.list_holds(tenant, None, 10).await.unwrap().holds, []);
}

async fn pages_of_holds(stand: Stand) {
    let tenant = tenant();
    let mut asked = std::collections::BTreeSet::new();
    for _ in 0..25 {
        let ask = Ask::of(tenant);
        stand.granted(&ask).await;
        asked.insert(ask.hold);
    }
    stand.granted(&Ask::of(crate::stand::tenant())).await;
    let (mut seen, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let page = stand.ledger.list_holds(tenant, cursor.as_deref(), 7).await.unwrap();
        assert!(page.holds.len() <= 7);
        seen.extend(page.holds.iter().map(|hold| hold.hold));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 25, "each once");
    assert_eq!(seen.into_iter().collect::<std::collections::BTreeSet<_>>(), asked);
    let answer = stand.ledger.list_holds(tenant, Some("rubbish"), 7).await;
    assert!(matches!(answer, Err(LedgerError::Invalid(_))), "{answer:?}");
}

async fn memos_have_a_bound(stand: Stand) {
    let mut ask = Ask::of(tenant());
    ask.memo = vec![7; MAX_MEMO_BYTES];
    stand.granted(&ask).await;
    let kept = stand.ledger.list_holds(ask.tenant, None, 1).await.unwrap();
    assert_eq!(kept.holds[0].memo, ask.memo);
    let mut ask = ask.again();
    ask.memo.push(7);
    let answer = stand.ledger.admit(&ask.admission()).await;
    assert!(matches!(answer, Err(LedgerError::Invalid(_))), "{answer:?}");
}

async fn progress_only_grows(stand: Stand) {
    let tenant = tenant();
    let (ask, other) = (Ask::of(tenant).exactly(0), Ask::of(tenant));
    stand.granted(&ask).await;
    let progress = async || stand.ledger.list_holds(tenant, None, 1).await.unwrap().holds[0].progress;
    for (cost, expected) in [(30, 30), (10, 30), (31, 31)] {
        let renewal = stand.ledger.renew(&[(tenant, ask.hold, NanoUsd(cost))], LEASE_MS).await.unwrap();
        assert_eq!((renewal.renewed, renewal.gone.len(), renewal.wrong_epoch.len()), (1, 0, 0));
        assert_eq!(progress().await, NanoUsd(expected));
    }
    let both = [(tenant, ask.hold, NanoUsd(0)), (tenant, other.hold, NanoUsd(0))];
    let renewal = stand.ledger.renew(&both, LEASE_MS).await.unwrap();
    assert_eq!((renewal.renewed, renewal.gone), (1, vec![(tenant, other.hold)]));
    let answer = stand.ledger.renew(&[(tenant, ask.hold, NanoUsd(-1))], LEASE_MS).await;
    assert!(matches!(answer, Err(LedgerError::Invalid(_))), "{answer:?}");
}

async fn suspects_of_all_tenants(stand: Stand) {
    let mut asks = Vec::new();
    for index in 0..20 {
        let mut ask = Ask::of(tenant());
        ask.memo = vec![index];
        ask.lease_ms = 1;
        stand.granted(&ask).await;
        asks.push(ask);
    }
    let alive = Ask::of(asks[0].tenant);
    stand.granted(&alive).await;
    stand.ledger.renew(&[(asks[7].tenant, asks[7].hold, NanoUsd(5))], 1).await.unwrap();
    stand.advance_ms(2);
    let all = async || {
        let suspects = stand.ledger.suspect_holds(100, 1).await.unwrap();
        (suspects.len() == asks.len()).then_some(suspects)
    };
    let suspects = eventually(PATIENCE, "twenty leases to end", all).await.unwrap();
    for ask in &asks {
        let suspect = suspects.iter().find(|one| one.hold == ask.hold).unwrap();
        assert_eq!((suspect.tenant, &suspect.memo), (ask.tenant, &ask.memo));
        assert_eq!(suspect.progress, NanoUsd(if ask.hold == asks[7].hold { 5 } else { 0 }));
    }
    assert_eq!(stand.ledger.suspect_holds(3, 1).await.unwrap().len(), 3);
    assert_eq!(stand.ledger.suspect_holds(100, 3_600_000).await.unwrap(), []);
    // Renewed after all, and settled: neither is a suspect any more; looking does not lose the others.
    let renewed = [(asks[0].tenant, asks[0].hold, NanoUsd(0))];
    assert_eq!(stand.ledger.renew(&renewed, LEASE_MS).await.unwrap().renewed, 1);
    for ask in &asks[1..] {
        assert_eq!(stand.settle(ask, 0).await, SettleOutcome::Settled);
    }
    assert_eq!(stand.ledger.suspect_holds(100, 0).await.unwrap(), []);
    let mut late = Ask::of(asks[1].tenant);
    late.lease_ms = 1;
    stand.granted(&late).await;
    stand.advance_ms(2);
    let found = async || stand.ledger.suspect_holds(100, 1).await.unwrap().pop();
    assert_eq!(eventually(PATIENCE, "one more lease to end", found).await.unwrap().hold, late.hold);
}

async fn a_suspect_is_held_and_can_be_settled(stand: Stand) {
    let tenant = tenant();
    let check = budget(1_000, long_period());
    stand.ledger.seed(&seed(tenant, 0, &[(check, 0)])).await.unwrap();
    let mut ask = Ask::of(tenant).exactly(600).under(check);
    ask.lease_ms = 1;
    stand.granted(&ask).await;
    stand.advance_ms(2);
    let suspect = async || stand.ledger.suspect_holds(10, 0).await.unwrap().pop();
    let suspect = eventually(PATIENCE, "a lease to end", suspect).await.unwrap();
    assert_eq!((suspect.hold, suspect.amount), (ask.hold, NanoUsd(600)));
    assert!(stand.ledger.list_holds(tenant, None, 1).await.unwrap().holds[0].is_suspect);
    stand.held(&Ask::of(tenant).exactly(401).under(check)).await;
    assert_eq!(stand.settle(&ask, 250).await, SettleOutcome::Settled);
    assert_eq!(stand.budget(tenant, check).await, balance(1_000, 250, 0));
}

async fn places_come_back_when_a_lease_ends(stand: Stand) {
    let tenant = tenant();
    let check = budget(1_000, long_period());
    stand.ledger.seed(&seed(tenant, 0, &[(check, 0)])).await.unwrap();
    let limits = RateLimits { concurrent_requests: Some(2), ..RateLimits::default() };
    let ask = Ask::of(tenant)
        .exactly(10)
        .under(check)
        .limited(LimitCheck { owner: LimitOwner::Tenant(tenant), limits });
    let (mut dead, alive) = (ask.again(), ask.again());
    dead.lease_ms = 1;
    stand.granted(&dead).await;
    stand.granted(&alive).await;
    stand.advance_ms(2);
    let admitted = async || {
        let next = ask.again();
        let outcome = stand.admit(&next).await;
        matches!(outcome, tollgate_ledger::AdmitOutcome::Admitted(_)).then_some(next)
    };
    let next = eventually(PATIENCE, "a place to come back", admitted).await.unwrap();
    stand.rate_limited(&ask.again()).await;
    assert_eq!(stand.budget(tenant, check).await, balance(1_000, 0, 30), "the money does not");
    // The pod was only slow: its request takes its place again, and gives it back once.
    let renewed = stand.ledger.renew(&[(tenant, dead.hold, NanoUsd(1))], LEASE_MS).await.unwrap();
    assert_eq!(renewed.renewed, 1);
    stand.settle(&next, 1).await;
    stand.rate_limited(&ask.again()).await;
    stand.settle(&dead, 1).await;
    stand.granted(&ask.again()).await;
    stand.rate_limited(&ask.again()).await;
}

async fn the_place_of_a_hold_without_a_lease_comes_back_at_once(stand: Stand) {
    let tenant = tenant();
    let limits = RateLimits { concurrent_requests: Some(1), ..RateLimits::default() };
    let mut ask = Ask::of(tenant).limited(LimitCheck { owner: LimitOwner::Tenant(tenant), limits });
    ask.lease_ms = 0;
    // Several within a millisecond, where time is real.
    for _ in 0..200 {
        stand.granted(&ask.again()).await;
    }
}

async fn growing(stand: Stand) {
    let tenant = tenant();
    let (wide, tight) = (budget(1_000, long_period()), budget(500, long_period()));
    stand.ledger.seed(&seed(tenant, 2_000, &[(wide, 0), (tight, 100)])).await.unwrap();
    let ask = Ask::of(tenant).exactly(50).with_wallet().under(wide).under(tight);
    stand.granted(&ask).await;
    assert_eq!(stand.grow(&ask, 400).await, GrowOutcome::Grown { granted: NanoUsd(400) });
    assert_eq!(stand.wallet(tenant).await, Some(balance(2_000, 0, 400)));
    assert_eq!(stand.budget(tenant, wide).await, balance(1_000, 0, 400));
    assert_eq!(stand.budget(tenant, tight).await, balance(500, 100, 400));
    assert_eq!(stand.granted(&ask).await.granted, NanoUsd(400), "a repeat is told what is held now");
    stand.settle(&ask, 390).await;
    assert_eq!(stand.budget(tenant, tight).await, balance(500, 490, 0));
    assert_eq!(stand.wallet(tenant).await, Some(balance(2_000, 390, 0)));
}

async fn growing_says_who_refuses(stand: Stand) {
    let tenant = tenant();
    let (wide, tight) = (budget(1_000, long_period()), budget(500, long_period()));
    stand.ledger.seed(&seed(tenant, 2_000, &[(wide, 0), (tight, 100)])).await.unwrap();
    let ask = Ask::of(tenant).exactly(50).with_wallet().under(wide).under(tight);
    stand.granted(&ask).await;
    match stand.grow(&ask, 401).await {
        GrowOutcome::Refused(MoneyDenied::Spent(refusal)) => {
            assert_eq!(refusal.node, MoneyNode::Budget(tight.budget));
            assert_eq!((refusal.settled, refusal.held), (NanoUsd(100), NanoUsd(50)));
        }
        other => panic!("expected spent, got {other:?}"),
    }
    stand.granted(&ask.again().exactly(100)).await;
    match stand.grow(&ask, 301).await {
        GrowOutcome::Refused(MoneyDenied::Held(refusal)) => {
            assert_eq!(refusal.node, MoneyNode::Budget(tight.budget));
        }
        other => panic!("expected held, got {other:?}"),
    }
    assert_eq!(stand.budget(tenant, wide).await, balance(1_000, 0, 150), "all levels or none");
    assert_eq!(stand.grow(&ask, 300).await, GrowOutcome::Grown { granted: NanoUsd(300) });
    // The wallet may be what refuses; one that is only counted never is.
    let paid = Ask::of(tenant).exactly(1).with_wallet();
    stand.granted(&paid).await;
    match stand.grow(&paid, 2_001).await {
        GrowOutcome::Refused(MoneyDenied::Spent(refusal)) => assert_eq!(refusal.node, MoneyNode::Wallet),
        other => panic!("expected spent, got {other:?}"),
    }
    let invoiced = Ask::of(tenant).exactly(1).by_invoice();
    stand.granted(&invoiced).await;
    assert_eq!(stand.grow(&invoiced, 9_000).await, GrowOutcome::Grown { granted: NanoUsd(9_000) });
}

async fn growing_is_idempotent_and_never_shrinks(stand: Stand) {
    let tenant = tenant();
    let check = budget(1_000, long_period());
    stand.ledger.seed(&seed(tenant, 0, &[(check, 0)])).await.unwrap();
    let ask = Ask::of(tenant).exactly(100).under(check);
    stand.granted(&ask).await;
    for (asked, held) in [(300, 300), (300, 300), (200, 300), (0, 300), (1_000, 1_000), (1_000, 1_000)] {
        assert_eq!(stand.grow(&ask, asked).await, GrowOutcome::Grown { granted: NanoUsd(held) });
        assert_eq!(stand.budget(tenant, check).await, balance(1_000, 0, held));
    }
}

async fn what_cannot_grow(stand: Stand) {
    let tenant = tenant();
    stand.ledger.seed(&seed(tenant, 100, &[])).await.unwrap();
    let ask = Ask::of(tenant).exactly(1).with_wallet();
    assert_eq!(stand.grow(&ask, 5).await, GrowOutcome::UnknownHold);
    stand.granted(&ask).await;
    let answer = stand.ledger.grow(tenant, ask.hold, NanoUsd(-1)).await;
    assert!(matches!(answer, Err(LedgerError::Invalid(_))), "{answer:?}");
    stand.settle(&ask, 1).await;
    assert_eq!(stand.grow(&ask, 5).await, GrowOutcome::UnknownHold);
    assert_eq!(stand.wallet(tenant).await, Some(balance(100, 1, 0)));
}

async fn end_users_and_models_have_limits_of_their_own(stand: Stand) {
    let tenant = tenant();
    let limits = RateLimits { requests_per_minute: Some(1), ..RateLimits::default() };
    let owners = [
        LimitOwner::EndUser { tenant, hash: 7 },
        LimitOwner::EndUser { tenant, hash: 8 },
        LimitOwner::Model { tenant: Some(tenant), hash: 7 },
        LimitOwner::Model { tenant: None, hash: 7 },
        LimitOwner::Model { tenant: None, hash: u64::MAX },
    ];
    for owner in owners {
        let ask = Ask::of(tenant).limited(LimitCheck { owner, limits });
        stand.granted(&ask).await;
        assert_eq!(stand.rate_limited(&ask.again()).await.owner, owner);
    }
}
