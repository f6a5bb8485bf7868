//! Rate limits: what fits into a minute, when a repeat can succeed, what settling gives back.

use std::time::Duration;

use tollgate_domain::{KeyId, ProjectId, TenantId};
use tollgate_ledger::{AdmitOutcome, LimitCheck, LimitKind, LimitOwner};
use tollgate_policy::RateLimits;
use tollgate_testkit::wait::eventually;

use crate::stand::{Ask, Stand, balance, budget, long_period, on_both_backends, seed, tenant};

on_both_backends!(
    requests_per_minute,
    tokens_per_minute_are_corrected,
    tokens_are_clamped_to_one_minute,
    used_more_than_reserved,
    concurrency,
    kinds_and_owners_in_order,
    a_refused_request_takes_nothing,
    a_limit_of_zero,
    refills_with_time,
    repeats_take_nothing,
);

/// No request of the suite takes so long that a slow limit refills by one.
const SLOW: u64 = 3;

fn requests(owner: LimitOwner, limit: u64) -> LimitCheck {
    LimitCheck { owner, limits: RateLimits { requests_per_minute: Some(limit), ..RateLimits::default() } }
}

fn tokens(owner: LimitOwner, limit: u64) -> LimitCheck {
    LimitCheck { owner, limits: RateLimits { tokens_per_minute: Some(limit), ..RateLimits::default() } }
}

fn concurrent(owner: LimitOwner, limit: u64) -> LimitCheck {
    LimitCheck { owner, limits: RateLimits { concurrent_requests: Some(limit), ..RateLimits::default() } }
}

fn owners(tenant: TenantId) -> [LimitOwner; 3] {
    [
        LimitOwner::Tenant(tenant),
        LimitOwner::Project(ProjectId::from_uuid(tenant.as_uuid())),
        LimitOwner::Key(KeyId::from_uuid(tenant.as_uuid())),
    ]
}

async fn requests_per_minute(stand: Stand) {
    let tenant = tenant();
    let [tenant_owner, _, key_owner] = owners(tenant);
    let ask = Ask::of(tenant).limited(requests(tenant_owner, 1_000_000)).limited(requests(key_owner, SLOW));
    for remaining in (0..SLOW).rev() {
        let status = stand.granted(&ask.again()).await.requests.unwrap();
        assert_eq!((status.limit, status.remaining), (SLOW, remaining), "the tightest is reported");
        let full_ms = (SLOW - remaining) * 20_000;
        assert!((full_ms - 10_000..=full_ms).contains(&status.reset_ms), "{status:?}");
    }
    let refusal = stand.rate_limited(&ask.again()).await;
    assert_eq!((refusal.owner, refusal.kind, refusal.limit), (key_owner, LimitKind::Requests, SLOW));
    assert!((10_000..=20_000).contains(&refusal.retry_after_ms), "{refusal:?}");
    // Another key of the tenant is not concerned.
    stand.granted(&Ask::of(tenant).limited(requests(LimitOwner::Key(KeyId::from_u128(77)), SLOW))).await;
}

async fn tokens_per_minute_are_corrected(stand: Stand) {
    let tenant = tenant();
    let owner = owners(tenant)[1];
    let ask = Ask::of(tenant).limited(tokens(owner, 60)).tokens(60, 20);
    let status = stand.granted(&ask).await.tokens.unwrap();
    assert_eq!((status.limit, status.remaining), (60, 0));
    let refusal = stand.rate_limited(&ask.again().tokens(30, 0)).await;
    assert_eq!((refusal.owner, refusal.kind, refusal.limit), (owner, LimitKind::Tokens, 60));
    assert!((20_000..=30_000).contains(&refusal.retry_after_ms), "{refusal:?}");
    stand.settle(&ask, 0).await;
    // 40 came back; time may have added a few.
    let remaining = stand.granted(&ask.again().tokens(30, 0)).await.tokens.unwrap().remaining;
    assert!((10..=20).contains(&remaining), "{remaining}");
}

async fn tokens_are_clamped_to_one_minute(stand: Stand) {
    let tenant = tenant();
    let ask = Ask::of(tenant).limited(tokens(owners(tenant)[0], 10)).tokens(1_000_000, 10);
    assert_eq!(stand.granted(&ask).await.tokens.unwrap().remaining, 0);
    stand.settle(&ask, 0).await;
    stand.rate_limited(&ask.again().tokens(9, 0)).await;
}

async fn used_more_than_reserved(stand: Stand) {
    let tenant = tenant();
    let ask = Ask::of(tenant).limited(tokens(owners(tenant)[0], 60)).tokens(10, 180);
    stand.granted(&ask).await;
    stand.settle(&ask, 0).await;
    // Three minutes' worth was used: one minute's worth fits again in two minutes and a little.
    let refusal = stand.rate_limited(&ask.again().tokens(10, 0)).await;
    assert!((120_000..=130_000).contains(&refusal.retry_after_ms), "{refusal:?}");
}

async fn concurrency(stand: Stand) {
    let tenant = tenant();
    let owner = owners(tenant)[2];
    let ask = Ask::of(tenant).limited(concurrent(owner, 2));
    let (first, second) = (ask.again(), ask.again());
    stand.granted(&first).await;
    stand.granted(&second).await;
    let refusal = stand.rate_limited(&ask.again()).await;
    assert_eq!((refusal.owner, refusal.kind, refusal.limit), (owner, LimitKind::Concurrency, 2));
    assert_eq!(refusal.retry_after_ms, 1_000);
    stand.settle(&first, 0).await;
    stand.settle(&first, 0).await;
    stand.granted(&ask.again()).await;
    stand.rate_limited(&ask.again()).await;
    // A limit that policy sets while requests are in flight counts those that come after.
    let other = Ask::of(tenant);
    stand.granted(&other).await;
    stand.settle(&other, 0).await;
    stand.rate_limited(&ask.again()).await;
}

async fn kinds_and_owners_in_order(stand: Stand) {
    let tenant = tenant();
    let [a, b, c] = owners(tenant);
    let everything = |owner, limit| LimitCheck {
        owner,
        limits: RateLimits {
            requests_per_minute: Some(limit),
            tokens_per_minute: Some(limit),
            concurrent_requests: Some(limit),
        },
    };
    let ask = Ask::of(tenant)
        .limited(everything(a, 2))
        .limited(everything(b, 1))
        .limited(everything(c, 2))
        .tokens(1, 1);
    stand.granted(&ask).await;
    let refusal = stand.rate_limited(&ask.again()).await;
    assert_eq!((refusal.owner, refusal.kind), (b, LimitKind::Requests));
    let mut ask = ask.again();
    ask.limits[1].limits.requests_per_minute = None;
    let refusal = stand.rate_limited(&ask).await;
    assert_eq!((refusal.owner, refusal.kind), (b, LimitKind::Tokens));
    ask.limits[1].limits.tokens_per_minute = None;
    let refusal = stand.rate_limited(&ask).await;
    assert_eq!((refusal.owner, refusal.kind), (b, LimitKind::Concurrency));
    // Where several refuse, the longest wait is the one to tell.
    ask.limits = vec![requests(a, 1), requests(b, 1), tokens(c, 1)];
    ask.limits[0].limits.requests_per_minute = Some(2);
    let both = ask.again();
    stand.granted(&Ask { limits: vec![requests(a, 2)], ..ask.again() }).await;
    let refusal = stand.rate_limited(&both).await;
    assert_eq!((refusal.owner, refusal.limit), (b, 1));
}

async fn a_refused_request_takes_nothing(stand: Stand) {
    let tenant = tenant();
    let [a, b, _] = owners(tenant);
    let check = budget(100, long_period());
    stand.ledger.seed(&seed(tenant, 0, &[(check, 0)])).await.unwrap();
    let limited = Ask::of(tenant).limited(requests(a, SLOW)).limited(concurrent(b, 1)).under(check);
    for _ in 0..20 {
        assert!(matches!(stand.admit(&limited.again().exactly(101)).await, AdmitOutcome::Spent(_)));
    }
    let first = limited.again().exactly(10);
    let status = stand.granted(&first).await.requests.unwrap();
    assert_eq!(status.remaining, SLOW - 1, "refused for money: no request was counted");
    for _ in 0..20 {
        let refusal = stand.rate_limited(&limited.again().exactly(10)).await;
        assert_eq!(refusal.kind, LimitKind::Concurrency);
    }
    assert_eq!(stand.budget(tenant, check).await, balance(100, 0, 10));
    stand.settle(&first, 10).await;
    let status = stand.granted(&limited.again().exactly(10)).await.requests.unwrap();
    assert_eq!(status.remaining, SLOW - 2, "refused for concurrency: no request was counted");
}

async fn a_limit_of_zero(stand: Stand) {
    let tenant = tenant();
    let owner = owners(tenant)[0];
    let refusal = stand.rate_limited(&Ask::of(tenant).limited(requests(owner, 0))).await;
    assert_eq!((refusal.kind, refusal.retry_after_ms), (LimitKind::Requests, 60_000));
    let refusal = stand.rate_limited(&Ask::of(tenant).limited(tokens(owner, 0))).await;
    assert_eq!((refusal.kind, refusal.retry_after_ms), (LimitKind::Tokens, 60_000));
    let refusal = stand.rate_limited(&Ask::of(tenant).limited(concurrent(owner, 0))).await;
    assert_eq!(refusal.kind, LimitKind::Concurrency);
}

async fn refills_with_time(stand: Stand) {
    let tenant = tenant();
    // 60,000 tokens per minute are one per millisecond.
    let ask = Ask::of(tenant).limited(tokens(owners(tenant)[0], 60_000));
    stand.granted(&ask.again().tokens(60_000, 0)).await;
    let refusal = stand.rate_limited(&ask.again().tokens(500, 0)).await;
    assert!((1..=500).contains(&refusal.retry_after_ms), "{refusal:?}");
    stand.advance_ms(i64::try_from(refusal.retry_after_ms).unwrap() - 1);
    if matches!(stand.time, crate::stand::Time::Manual(_)) {
        assert_eq!(stand.rate_limited(&ask.again().tokens(500, 0)).await.retry_after_ms, 1);
    }
    stand.advance_ms(1);
    let admitted = async || {
        let outcome = stand.admit(&ask.again().tokens(500, 0)).await;
        matches!(outcome, AdmitOutcome::Admitted(_)).then_some(())
    };
    eventually(Duration::from_secs(20), "500 tokens to come back", admitted).await.unwrap();
}

async fn repeats_take_nothing(stand: Stand) {
    let tenant = tenant();
    let [a, b, c] = owners(tenant);
    let ask = Ask::of(tenant)
        .limited(requests(a, SLOW))
        .limited(tokens(b, 100))
        .limited(concurrent(c, 2))
        .tokens(40, 40);
    let first = stand.granted(&ask).await;
    for _ in 0..10 {
        assert_eq!(stand.granted(&ask).await, first, "the state is the one of the first answer");
    }
    assert_eq!(stand.granted(&ask.again()).await.requests.unwrap().remaining, SLOW - 2);
}
