//! Idempotency keys: one run per key, its answer for every repeat, nothing that grows without bound.

use std::time::Duration;

use tollgate_domain::{KeyId, RequestId, TenantId};
use tollgate_ledger::{
    IdempotencyBounds, IdempotencyClaim, IdempotencyEnd, IdempotencyEnded, IdempotencyName, IdempotencyState,
    NoAnswer, StoredAnswer,
};
use tollgate_testkit::wait::eventually;

use crate::stand::{Stand, on_both_backends, tenant, unique};

on_both_backends!(
    one_runs_and_the_others_wait,
    an_answer_is_repeated,
    another_request_is_told_apart,
    keys_and_tenants_do_not_meet,
    what_was_charged_is_not_run_again,
    what_was_released_is_run_again,
    the_owner_alone_renews_and_ends,
    ends_are_repeatable,
    an_ended_lease_frees_the_key,
    an_end_after_the_lease_is_remembered,
    records_end,
    answers_beyond_the_tenants_room_are_not_kept,
    keys_beyond_the_api_keys_number_are_refused,
    a_forgotten_tenant_leaves_nothing,
    a_hundred_claims_at_once_have_one_winner,
);

const BOUNDS: IdempotencyBounds = IdempotencyBounds {
    lease_ms: 60_000,
    lifetime_ms: 3_600_000,
    max_keys: 1_000,
    max_tenant_bytes: 1 << 20,
};
/// Short enough to wait for, long enough not to end between two calls.
const SHORT_MS: u64 = 300;
const PATIENCE: Duration = Duration::from_secs(30);

fn claim(tenant: TenantId) -> IdempotencyClaim {
    IdempotencyClaim {
        name: IdempotencyName { tenant, key: KeyId::from_u128(unique()), hash: unique() },
        fingerprint: [7; 32],
        owner: RequestId::from_u128(unique()),
    }
}

/// The same request by somebody else.
fn again(claim: &IdempotencyClaim) -> IdempotencyClaim {
    IdempotencyClaim { owner: RequestId::from_u128(unique()), ..*claim }
}

fn answer(text: &str) -> StoredAnswer {
    StoredAnswer::new(text.as_bytes())
}

impl Stand {
    async fn claim(&self, claim: &IdempotencyClaim) -> IdempotencyState {
        self.ledger.claim_idempotency(claim, &BOUNDS).await.unwrap()
    }

    async fn claimed(&self, claim: &IdempotencyClaim) {
        assert_eq!(self.claim(claim).await, IdempotencyState::Claimed);
    }

    async fn end(&self, claim: &IdempotencyClaim, end: IdempotencyEnd) -> IdempotencyEnded {
        self.ledger.end_idempotency(claim, &end, &BOUNDS).await.unwrap()
    }

    async fn answered(&self, claim: &IdempotencyClaim, text: &str) {
        let end = IdempotencyEnd::Answered(answer(text));
        assert_eq!(self.end(claim, end).await, IdempotencyEnded::Remembered);
    }

    /// Waits until a claim succeeds; where time is manual it passes here.
    async fn claimed_in_the_end(&self, claim: &IdempotencyClaim) {
        self.advance_ms(i64::try_from(SHORT_MS).unwrap() + 1);
        eventually(PATIENCE, "the key to be free", async || {
            (self.claim(claim).await == IdempotencyState::Claimed).then_some(())
        })
        .await
        .unwrap();
    }
}

async fn one_runs_and_the_others_wait(stand: Stand) {
    let first = claim(tenant());
    stand.claimed(&first).await;
    match stand.claim(&again(&first)).await {
        IdempotencyState::Running { lease_left_ms } => {
            assert!((1..=BOUNDS.lease_ms).contains(&lease_left_ms), "{lease_left_ms}");
        }
        other => panic!("{other:?}"),
    }
}

async fn an_answer_is_repeated(stand: Stand) {
    let first = claim(tenant());
    stand.claimed(&first).await;
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let stored = StoredAnswer::new(bytes);
    let end = IdempotencyEnd::Answered(stored.clone());
    assert_eq!(stand.end(&first, end).await, IdempotencyEnded::Remembered);
    for _ in 0..2 {
        assert_eq!(stand.claim(&again(&first)).await, IdempotencyState::Answered(stored.clone()));
    }
    assert_eq!(stand.claim(&first).await, IdempotencyState::Answered(stored), "the owner too");
}

async fn another_request_is_told_apart(stand: Stand) {
    let first = claim(tenant());
    let other = IdempotencyClaim { fingerprint: [8; 32], ..again(&first) };
    stand.claimed(&first).await;
    assert_eq!(stand.claim(&other).await, IdempotencyState::OtherRequest, "while it runs");
    assert_eq!(stand.end(&other, IdempotencyEnd::Released).await, IdempotencyEnded::TakenOver);
    stand.answered(&first, "yes").await;
    assert_eq!(stand.claim(&other).await, IdempotencyState::OtherRequest, "and later");
    assert_eq!(stand.claim(&again(&first)).await, IdempotencyState::Answered(answer("yes")));
}

async fn keys_and_tenants_do_not_meet(stand: Stand) {
    let first = claim(tenant());
    stand.claimed(&first).await;
    let of_key = IdempotencyName { key: KeyId::from_u128(unique()), ..first.name };
    let of_tenant = IdempotencyName { tenant: tenant(), ..first.name };
    let of_text = IdempotencyName { hash: unique(), ..first.name };
    for name in [of_key, of_tenant, of_text] {
        stand.claimed(&IdempotencyClaim { name, ..again(&first) }).await;
    }
}

async fn what_was_charged_is_not_run_again(stand: Stand) {
    for why in [NoAnswer::TooLarge, NoAnswer::Forbidden, NoAnswer::NoRoom, NoAnswer::Broken] {
        let first = claim(tenant());
        stand.claimed(&first).await;
        assert_eq!(stand.end(&first, IdempotencyEnd::Spent(why)).await, IdempotencyEnded::Remembered);
        assert_eq!(stand.claim(&again(&first)).await, IdempotencyState::Spent(why));
    }
}

async fn what_was_released_is_run_again(stand: Stand) {
    let first = claim(tenant());
    stand.claimed(&first).await;
    assert_eq!(stand.end(&first, IdempotencyEnd::Released).await, IdempotencyEnded::Remembered);
    let other = IdempotencyClaim { fingerprint: [8; 32], ..again(&first) };
    stand.claimed(&other).await;
}

async fn the_owner_alone_renews_and_ends(stand: Stand) {
    let first = claim(tenant());
    stand.claimed(&first).await;
    stand.claimed(&first).await;
    let other = again(&first);
    let end = IdempotencyEnd::Answered(answer("forged"));
    assert_eq!(stand.end(&other, end).await, IdempotencyEnded::TakenOver);
    assert_eq!(stand.end(&other, IdempotencyEnd::Released).await, IdempotencyEnded::TakenOver);
    assert!(matches!(stand.claim(&other).await, IdempotencyState::Running { .. }));
}

async fn ends_are_repeatable(stand: Stand) {
    let first = claim(tenant());
    stand.claimed(&first).await;
    stand.answered(&first, "one").await;
    stand.answered(&first, "one").await;
    assert_eq!(stand.end(&first, IdempotencyEnd::Released).await, IdempotencyEnded::Remembered);
    assert_eq!(stand.claim(&again(&first)).await, IdempotencyState::Answered(answer("one")), "it stays");
}

async fn an_ended_lease_frees_the_key(stand: Stand) {
    let bounds = IdempotencyBounds { lease_ms: SHORT_MS, ..BOUNDS };
    let first = claim(tenant());
    let state = stand.ledger.claim_idempotency(&first, &bounds).await.unwrap();
    assert_eq!(state, IdempotencyState::Claimed);
    let second = again(&first);
    stand.claimed_in_the_end(&second).await;
    // the first was only slow: what the second does stands
    let late = IdempotencyEnd::Answered(answer("late"));
    assert_eq!(stand.end(&first, late).await, IdempotencyEnded::TakenOver);
    assert!(matches!(stand.claim(&first).await, IdempotencyState::Running { .. }));
    stand.answered(&second, "second").await;
    assert_eq!(stand.claim(&first).await, IdempotencyState::Answered(answer("second")));
}

async fn an_end_after_the_lease_is_remembered(stand: Stand) {
    let first = claim(tenant());
    // as after a loss of the ledger: nothing is known of the claim
    stand.answered(&first, "kept").await;
    assert_eq!(stand.claim(&again(&first)).await, IdempotencyState::Answered(answer("kept")));
}

async fn records_end(stand: Stand) {
    let bounds = IdempotencyBounds { lifetime_ms: SHORT_MS, max_keys: 1, ..BOUNDS };
    let first = claim(tenant());
    for end in [IdempotencyEnd::Answered(answer("x")), IdempotencyEnd::Spent(NoAnswer::Broken)] {
        stand.claimed(&first).await;
        let ended = stand.ledger.end_idempotency(&first, &end, &bounds).await.unwrap();
        assert_eq!(ended, IdempotencyEnded::Remembered);
        stand.claimed_in_the_end(&first).await;
    }
    stand.end(&first, IdempotencyEnd::Released).await;
    // what ended does not count any more
    let mut next = again(&first);
    next.name.hash = unique();
    let state = stand.ledger.claim_idempotency(&next, &bounds).await.unwrap();
    assert_eq!(state, IdempotencyState::Claimed);
}

async fn answers_beyond_the_tenants_room_are_not_kept(stand: Stand) {
    let bounds = IdempotencyBounds { max_tenant_bytes: 10, lifetime_ms: SHORT_MS, ..BOUNDS };
    let (tenant, end) = (tenant(), IdempotencyEnd::Answered(answer("sixsix")));
    let ended = async |claim: &IdempotencyClaim| {
        stand.claimed(claim).await;
        stand.ledger.end_idempotency(claim, &end, &bounds).await.unwrap()
    };
    let (first, second, third) = (claim(tenant), claim(tenant), claim(tenant));
    assert_eq!(ended(&first).await, IdempotencyEnded::Remembered);
    assert_eq!(ended(&second).await, IdempotencyEnded::WithoutAnswer);
    assert_eq!(stand.claim(&again(&second)).await, IdempotencyState::Spent(NoAnswer::NoRoom));
    assert_eq!(ended(&claim(crate::stand::tenant())).await, IdempotencyEnded::Remembered, "another tenant");
    stand.claimed_in_the_end(&again(&first)).await;
    assert_eq!(ended(&third).await, IdempotencyEnded::Remembered, "its room is free again");
}

async fn keys_beyond_the_api_keys_number_are_refused(stand: Stand) {
    let bounds = IdempotencyBounds { max_keys: 3, ..BOUNDS };
    let first = claim(tenant());
    let nth = |n: u128| {
        let name = IdempotencyName { hash: n, ..first.name };
        IdempotencyClaim { name, ..again(&first) }
    };
    for n in 0..3 {
        let state = stand.ledger.claim_idempotency(&nth(n), &bounds).await.unwrap();
        assert_eq!(state, IdempotencyState::Claimed);
    }
    let state = stand.ledger.claim_idempotency(&nth(3), &bounds).await.unwrap();
    assert_eq!(state, IdempotencyState::TooManyKeys);
    let known = stand.ledger.claim_idempotency(&nth(2), &bounds).await.unwrap();
    assert!(matches!(known, IdempotencyState::Running { .. }), "what is known is answered: {known:?}");
    let elsewhere = IdempotencyName { key: KeyId::from_u128(unique()), ..first.name };
    let elsewhere = IdempotencyClaim { name: elsewhere, ..first };
    let state = stand.ledger.claim_idempotency(&elsewhere, &bounds).await.unwrap();
    assert_eq!(state, IdempotencyState::Claimed, "another API key");
}

async fn a_forgotten_tenant_leaves_nothing(stand: Stand) {
    let (gone, stays) = (tenant(), claim(tenant()));
    let claims: Vec<IdempotencyClaim> = (0..1_200).map(|_| claim(gone)).collect();
    for claim in &claims {
        stand.claimed(claim).await;
    }
    stand.answered(&claims[0], "private").await;
    stand.claimed(&stays).await;
    stand.ledger.forget_tenant(gone).await.unwrap();
    for claim in [&claims[0], &claims[1], &claims[1_199]] {
        stand.claimed(&again(claim)).await;
    }
    assert!(matches!(stand.claim(&again(&stays)).await, IdempotencyState::Running { .. }));
    if let crate::stand::Time::Real(server) = &stand.time {
        stand.ledger.forget_tenant(gone).await.unwrap();
        stand.end(&stays, IdempotencyEnd::Released).await;
        let left = server.cli(&["KEYS", "*idempotency*"]).await.unwrap();
        assert_eq!(left.trim(), "", "records, names, ends and sums are gone");
    }
}

async fn a_hundred_claims_at_once_have_one_winner(stand: Stand) {
    let first = claim(tenant());
    let mut claims = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (ledger, claim) = (stand.ledger.clone(), again(&first));
        claims.spawn(async move { ledger.claim_idempotency(&claim, &BOUNDS).await.unwrap() });
    }
    let states = claims.join_all().await;
    let n_claimed = states.iter().filter(|state| **state == IdempotencyState::Claimed).count();
    assert_eq!(n_claimed, 1);
    let n_running = states.iter().filter(|state| matches!(state, IdempotencyState::Running { .. })).count();
    assert_eq!(n_running, 99);
}

/// The same questions in the same order, to both: a small world, so that everything meets everything.
#[tokio::test]
async fn both_backends_give_the_same_answers() {
    const N_STEPS: u64 = 3_000;
    let (memory, redis) = (Stand::memory(), Stand::redis().await);
    let tenants = [tenant(), tenant()];
    let bounds = IdempotencyBounds { max_keys: 5, max_tenant_bytes: 300, ..BOUNDS };
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let mut seen = std::collections::BTreeSet::new();
    for step in 0..N_STEPS {
        let key = KeyId::from_u128(u128::from(draw(2)) + 1);
        let tenant = tenants[usize::from(key == KeyId::from_u128(2))];
        let claim = IdempotencyClaim {
            name: IdempotencyName { tenant, key, hash: u128::from(draw(8)) },
            fingerprint: [u8::from(draw(10) == 0); 32],
            owner: RequestId::from_u128(u128::from(draw(3))),
        };
        let end = match draw(8) {
            0 => IdempotencyEnd::Answered(answer(&"x".repeat(usize::try_from(draw(200)).unwrap()))),
            1 => IdempotencyEnd::Spent(NoAnswer::TooLarge),
            2..=4 => IdempotencyEnd::Released,
            _ => {
                let state = async |stand: &Stand| {
                    match stand.ledger.claim_idempotency(&claim, &bounds).await.unwrap() {
                        // two clocks
                        IdempotencyState::Running { .. } => IdempotencyState::Running { lease_left_ms: 0 },
                        state => state,
                    }
                };
                let (one, other) = (state(&memory).await, state(&redis).await);
                assert_eq!(one, other, "step {step}: {claim:?}");
                seen.insert(format!("{one:?}").split(['(', ' ']).next().unwrap().to_owned());
                continue;
            }
        };
        let ended = async |stand: &Stand| stand.ledger.end_idempotency(&claim, &end, &bounds).await.unwrap();
        let (one, other) = (ended(&memory).await, ended(&redis).await);
        assert_eq!(one, other, "step {step}: {claim:?} {end:?}");
        seen.insert(format!("{one:?}"));
        if step % 1_000 == 999 {
            for stand in [&memory, &redis] {
                stand.ledger.forget_tenant(tenants[0]).await.unwrap();
                stand.ledger.forget_tenant(tenants[1]).await.unwrap();
            }
        }
    }
    let all = [
        "Answered",
        "Claimed",
        "OtherRequest",
        "Remembered",
        "Running",
        "Spent",
        "TakenOver",
        "TooManyKeys",
        "WithoutAnswer",
    ];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), all, "every answer was among them");
}

#[tokio::test]
async fn redis_that_is_gone_is_told_in_time() {
    let mut stand = Stand::redis().await;
    let first = claim(tenant());
    stand.claimed(&first).await;
    let crate::stand::Time::Real(server) = &mut stand.time else { unreachable!("a stand on Redis") };
    server.stop().await.unwrap();
    let error = stand.ledger.claim_idempotency(&again(&first), &BOUNDS).await.unwrap_err();
    assert!(matches!(error, tollgate_ledger::LedgerError::Unavailable(_)), "{error:?}");
    let end = IdempotencyEnd::Answered(answer("kept"));
    let error = stand.ledger.end_idempotency(&first, &end, &BOUNDS).await.unwrap_err();
    assert!(matches!(error, tollgate_ledger::LedgerError::Unavailable(_)), "{error:?}");
    let crate::stand::Time::Real(server) = &mut stand.time else { unreachable!("a stand on Redis") };
    server.start_again().await.unwrap();
    eventually(PATIENCE, "the end to be remembered", async || {
        stand.ledger.end_idempotency(&first, &end, &BOUNDS).await.ok()
    })
    .await
    .unwrap();
    assert_eq!(stand.claim(&again(&first)).await, IdempotencyState::Answered(answer("kept")));
}
