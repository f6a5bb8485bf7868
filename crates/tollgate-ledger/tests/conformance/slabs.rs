//! What slabs do beyond what every ledger does: they save round trips and change no sum.

use tollgate_domain::{HoldId, HoldMemo, Id, Labels, NanoUsd, ProjectId, Surface};
use tollgate_ledger::{
    AdmitOutcome, BudgetCheck, GrowOutcome, Ledger, LedgerError, ReseedOutcome, SettleOutcome, Settlement,
    SlabConfig, SlabLedger,
};

use crate::stand::{
    Ask, LEASE_MS, Stand, Time, balance, budget, long_period, patient_config, reseed_of, seed, tenant,
};

/// For anything that a loaded machine does.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// Both backends, each behind slabs that are as they are by default for one pod.
macro_rules! behind_slabs {
    ($($case:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $case() {
                super::$case(super::one_pod(crate::stand::Stand::memory())).await;
            })*
        }
        mod redis {
            $(#[tokio::test]
            async fn $case() {
                super::$case(super::one_pod(crate::stand::Stand::redis().await)).await;
            })*
        }
    };
}

behind_slabs!(
    requests_are_admitted_without_the_backend,
    what_ends_unannounced_is_charged_once,
    a_void_leaves_nothing,
    a_slab_near_a_limit_is_returned,
    nothing_lies_idle_while_money_is_refused,
    a_revoked_key_loses_its_slab,
    a_dead_pods_slab_is_suspect_at_its_window,
    a_slab_that_was_settled_pays_for_what_was_not_announced,
    a_hold_of_its_own_outlives_its_slab,
    a_slab_of_one_end_user_names_them,
    what_was_given_back_is_told_to_nobody,
    what_ended_before_a_reseed_is_reported_at_its_cost_after_it,
    a_reseed_keeps_what_only_the_pod_knows,
    rate_limits_are_leased_in_blocks,
    an_idle_slab_is_returned,
);

fn one_pod(mut stand: Stand) -> Stand {
    let config = SlabConfig { n_pods: 1, ..SlabConfig::default() };
    stand.ledger = stand.ledger.with_slabs(config);
    stand
}

fn slabs(stand: &Stand) -> &SlabLedger {
    stand.ledger.slabs().unwrap()
}

/// What the backend has, whatever is known here.
async fn wallet(ledger: &Ledger, ask: &Ask) -> tollgate_ledger::Balance {
    ledger.balances(ask.tenant, true, &[]).await.unwrap().wallet.unwrap()
}

/// A prepaid tenant with a slab of 64 × 10 in a wallet of a million.
async fn leased(stand: &Stand) -> Ask {
    let tenant = tenant();
    stand.ledger.seed(&seed(tenant, 1_000_000, &[])).await.unwrap();
    let ask = Ask::of(tenant).exactly(10).with_wallet();
    slabs(stand).lease_for(&ask.admission()).await;
    assert_eq!(wallet(&stand.ledger, &ask).await, balance(1_000_000, 0, 640));
    ask
}

async fn granted(stand: &Stand, ask: &Ask) {
    let outcome = stand.ledger.admit(&ask.admission()).await.unwrap();
    assert!(matches!(outcome, AdmitOutcome::Admitted(grant) if grant.granted == ask.amount), "{outcome:?}");
}

async fn requests_are_admitted_without_the_backend(stand: Stand) {
    let ask = leased(&stand).await;
    let before = slabs(&stand).figures().admitted_locally;
    let asks: Vec<Ask> = (0..8).map(|_| ask.again()).collect();
    for ask in &asks {
        granted(&stand, ask).await;
        granted(&stand, ask).await;
    }
    assert_eq!(slabs(&stand).figures().admitted_locally - before, 8, "a repeat is none");
    // The window of what is unannounced is full: the ninth is asked for.
    let ninth = ask.again();
    granted(&stand, &ninth).await;
    assert_eq!(slabs(&stand).figures().admitted_locally - before, 8);
    assert_eq!(wallet(&stand.ledger, &ask).await, balance(1_000_000, 0, 650));

    slabs(&stand).maintain().await;
    assert_eq!(wallet(&stand.ledger, &ask).await, balance(1_000_000, 0, 650), "announcing moves no sum");
    let listed = stand.ledger.list_holds(ask.tenant, None, 100).await.unwrap().holds;
    for ask in asks.iter().chain([&ninth]) {
        let view = listed.iter().find(|view| view.hold == ask.hold).unwrap();
        assert_eq!((view.amount, &view.memo), (NanoUsd(10), &ask.memo));
    }
    // Announced ones are holds like any other.
    assert_eq!(stand.settle(&asks[0], 7).await, SettleOutcome::Settled);
    assert_eq!(stand.settle(&asks[0], 7).await, SettleOutcome::AlreadySettled);
    slabs(&stand).return_all().await;
    assert_eq!(wallet(&stand.ledger, &ask).await, balance(1_000_000, 7, 80));
    assert_eq!(stand.admit(&asks[0]).await, AdmitOutcome::AlreadySettled);
}

async fn what_ends_unannounced_is_charged_once(stand: Stand) {
    let ask = leased(&stand).await;
    let asks: Vec<Ask> = (0..5).map(|_| ask.again()).collect();
    for ask in &asks {
        granted(&stand, ask).await;
    }
    let settlements: Vec<_> = asks.iter().map(|ask| ask.settlement(4)).collect();
    for expected in [SettleOutcome::Settled, SettleOutcome::AlreadySettled] {
        for outcome in stand.ledger.settle_many(&settlements).await {
            assert_eq!(outcome.unwrap(), expected);
        }
        assert_eq!(wallet(&stand.ledger, &ask).await, balance(1_000_000, 20, 590));
    }
    assert_eq!(stand.ledger.outbox_len().await.unwrap(), 5);
    slabs(&stand).return_all().await;
    assert_eq!(wallet(&stand.ledger, &ask).await, balance(1_000_000, 20, 0));
}

async fn a_void_leaves_nothing(stand: Stand) {
    let ask = leased(&stand).await;
    granted(&stand, &ask).await;
    let mut void = ask.settlement(0);
    void.event = None;
    assert_eq!(stand.ledger.settle(&void).await.unwrap(), SettleOutcome::Settled);
    let view = slabs(&stand).views().pop().unwrap();
    assert_eq!((view.free, view.unannounced), (NanoUsd(640), Vec::new()));
}

async fn a_slab_near_a_limit_is_returned(stand: Stand) {
    let tenant = tenant();
    let check = budget(8_000, long_period());
    stand.ledger.seed(&seed(tenant, 0, &[(check, 0)])).await.unwrap();
    let ask = Ask::of(tenant).exactly(10).under(check);
    slabs(&stand).lease_for(&ask.admission()).await;
    assert_eq!(slabs(&stand).views().len(), 1);
    // Somebody else takes so much that 8 slabs do not fit any more.
    let other = Ask::of(tenant).exactly(2_300).under(check);
    assert!(matches!(
        slabs(&stand).backend().admit(&other.admission()).await.unwrap(),
        AdmitOutcome::Admitted(_)
    ));
    granted(&stand, &ask).await;
    slabs(&stand).maintain().await;
    slabs(&stand).maintain().await;
    assert_eq!(slabs(&stand).views(), []);
    assert_eq!(stand.budget(tenant, check).await, balance(8_000, 0, 2_310));
    slabs(&stand).lease_for(&ask.again().admission()).await;
    assert_eq!(slabs(&stand).views(), [], "nothing is far enough any more");
    assert_eq!(stand.budget(tenant, check).await, balance(8_000, 0, 2_310));
}

async fn nothing_lies_idle_while_money_is_refused(stand: Stand) {
    let tenant = tenant();
    let check = budget(8_000, long_period());
    stand.ledger.seed(&seed(tenant, 0, &[(check, 0)])).await.unwrap();
    let ask = Ask::of(tenant).exactly(10).under(check);
    slabs(&stand).lease_for(&ask.admission()).await;
    let all = Ask::of(tenant).exactly(8_000).under(check);
    granted(&stand, &all).await;
    assert_eq!(stand.budget(tenant, check).await, balance(8_000, 0, 8_000));
}

async fn a_revoked_key_loses_its_slab(stand: Stand) {
    let ask = leased(&stand).await;
    stand.ledger.set_key_revoked(ask.tenant, ask.key, true).await.unwrap();
    granted(&stand, &ask).await;
    slabs(&stand).maintain().await;
    assert_eq!(stand.ledger.admit(&ask.again().admission()).await.unwrap(), AdmitOutcome::Revoked);
}

/// The memo of a gateway's request.
fn memo() -> Vec<u8> {
    let memo = HoldMemo {
        project: ProjectId::from_u128(2),
        end_user: Some("somebody"),
        surface: Surface::Chat,
        requested_model: "fast",
        provider: "openai",
        model: "gpt-5.4-mini",
        streamed: true,
        estimate: NanoUsd(3),
        provider_estimate: NanoUsd(3),
        input_tokens: 5,
        policy_revision: 7,
    };
    memo.to_bytes(&Labels::new())
}

async fn a_dead_pods_slab_is_suspect_at_its_window(stand: Stand) {
    for (memo, has_memo) in [(memo(), true), (vec![9, 9], false)] {
        let tenant = tenant();
        stand.ledger.seed(&seed(tenant, 1_000_000, &[])).await.unwrap();
        let ask = Ask { memo, lease_ms: 1, ..Ask::of(tenant).exactly(10).with_wallet() };
        slabs(&stand).lease_for(&ask.admission()).await;
        stand.advance_ms(2);
        let backend = slabs(&stand).backend();
        let find = async || {
            let suspects = backend.suspect_holds(100, 0).await.unwrap();
            suspects.into_iter().find(|suspect| suspect.tenant == tenant)
        };
        let suspect = tollgate_testkit::wait::eventually(PATIENCE, "a suspect", find).await.unwrap();
        assert_eq!(suspect.amount, NanoUsd(640));
        let known = HoldMemo::from_bytes(&suspect.memo).map_or(NanoUsd::ZERO, |(memo, _)| memo.estimate);
        let expected = if has_memo { (NanoUsd(80), NanoUsd::ZERO) } else { (NanoUsd::ZERO, NanoUsd(80)) };
        assert_eq!((known, suspect.progress), expected);
    }
}

async fn a_slab_that_was_settled_pays_for_what_was_not_announced(stand: Stand) {
    let ask = leased(&stand).await;
    let (announced, sent, ended) = (ask.again(), ask.again(), ask.again());
    granted(&stand, &announced).await;
    slabs(&stand).maintain().await;
    granted(&stand, &sent).await;
    granted(&stand, &ended).await;
    let slab = slabs(&stand).views().pop().unwrap();
    // The control plane took the pod for dead.
    let mut lost = Ask { hold: slab.hold, ..ask.clone() }.settlement(slab.window.0);
    lost.event = None;
    assert_eq!(slabs(&stand).backend().settle(&lost).await.unwrap(), SettleOutcome::Settled);
    assert_eq!(wallet(&stand.ledger, &ask).await, balance(1_000_000, 80, 10));
    assert_eq!(stand.settle(&ended, 6).await, SettleOutcome::UnknownHold);
    assert_eq!(stand.settle(&sent, 5).await, SettleOutcome::UnknownHold);
    assert_eq!(stand.settle(&announced, 9).await, SettleOutcome::Settled);
    assert_eq!(wallet(&stand.ledger, &ask).await, balance(1_000_000, 89, 0));
    let entries = stand.ledger.outbox_read(100, 0).await.unwrap();
    let cost_of = |ask: &Ask| {
        let events = entries.iter().map(|entry| entry.event.clone().unwrap());
        events.filter(|event| event.hold == ask.hold).map(|event| event.cost.0).collect::<Vec<_>>()
    };
    assert_eq!([&ended, &sent, &announced].map(cost_of), [vec![0], vec![0], vec![9]]);
}

/// Everything as the pods report it, but for a slab that was settled at 80.
async fn reseed_without(stand: &Stand, ask: &Ask, slab: HoldId) {
    let expected = stand.ledger.fence(&[ask.tenant]).await.unwrap().remove(0);
    let mut reseed = reseed_of(&seed(ask.tenant, 1_000_000, &[]));
    reseed.holds = stand.ledger.open_report(Some(&[ask.tenant])).holds;
    reseed.holds.retain(|hold| hold.hold != slab);
    (reseed.expected, reseed.wallet_settled, reseed.settled) = (expected, NanoUsd(80), vec![slab]);
    let outcomes = stand.ledger.reseed(&[reseed]).await.unwrap();
    assert!(matches!(outcomes[..], [ReseedOutcome::Reseeded(_)]), "{outcomes:?}");
}

/// The ledger as another process sees it.
async fn control_plane(stand: &Stand) -> Ledger {
    match &stand.time {
        Time::Manual(_) => slabs(stand).backend().clone(),
        Time::Real(server) => Ledger::redis(&patient_config(&server.url())).await.unwrap(),
    }
}

async fn a_hold_of_its_own_outlives_its_slab(stand: Stand) {
    let ask = leased(&stand).await;
    let control = control_plane(&stand).await;
    let (runs, over, later) = (ask.again(), ask.again(), ask.again());
    granted(&stand, &runs).await;
    granted(&stand, &over).await;
    let slab = slabs(&stand).views().pop().unwrap();
    // A reseed makes holds of both. Then the control plane takes the pod for dead, which has heard of neither.
    let expected = stand.ledger.fence(&[ask.tenant]).await.unwrap().remove(0);
    let mut reseed = reseed_of(&seed(ask.tenant, 1_000_000, &[]));
    (reseed.expected, reseed.holds) = (expected, stand.ledger.open_report(Some(&[ask.tenant])).holds);
    stand.ledger.reseed(&[reseed]).await.unwrap();
    granted(&stand, &later).await;
    let mut lost = Ask { hold: slab.hold, ..ask.clone() }.settlement(slab.window.0);
    lost.event = None;
    assert_eq!(control.settle(&lost).await.unwrap(), SettleOutcome::Settled);
    assert_eq!(wallet(&stand.ledger, &ask).await, balance(1_000_000, 80, 20));
    slabs(&stand).maintain().await;
    assert_eq!(slabs(&stand).views(), []);

    let asked = [&runs, &over, &later].map(|ask| (ask.tenant, ask.hold, NanoUsd(1)));
    let renewal = stand.ledger.renew(&asked, LEASE_MS).await.unwrap();
    assert_eq!((renewal.renewed, renewal.gone), (2, vec![(ask.tenant, later.hold)]));
    assert_eq!(stand.grow(&runs, 25).await, GrowOutcome::Grown { granted: NanoUsd(25) });
    assert_eq!(stand.grow(&later, 25).await, GrowOutcome::UnknownHold);
    // They are reported, or the next reseed would forget them.
    reseed_without(&stand, &ask, slab.hold).await;
    assert_eq!(wallet(&stand.ledger, &ask).await, balance(1_000_000, 80, 35));
    for (ask, actual, outcome) in [
        (&runs, 24, SettleOutcome::Settled),
        (&over, 6, SettleOutcome::Settled),
        (&later, 5, SettleOutcome::UnknownHold),
    ] {
        assert_eq!(stand.settle(ask, actual).await, outcome);
    }
    assert_eq!(wallet(&stand.ledger, &ask).await, balance(1_000_000, 110, 0));
    let entries = stand.ledger.outbox_read(100, 0).await.unwrap();
    let mut costs: Vec<i64> = entries.into_iter().map(|entry| entry.event.unwrap().cost.0).collect();
    costs.sort_unstable();
    assert_eq!(costs, [0, 6, 24], "the slab has paid for the one that it was left");
}

async fn a_slab_of_one_end_user_names_them(stand: Stand) {
    let tenant = tenant();
    let rule = tollgate_domain::BudgetId::from_u128(77);
    let of_user = BudgetCheck { budget: Id::derived(rule, "somebody"), ..budget(1_000_000, long_period()) };
    let of_all = budget(1_000_000, long_period());
    stand.ledger.seed(&seed(tenant, 0, &[(of_user, 0), (of_all, 0)])).await.unwrap();
    for (check, end_user) in [(of_user, Some("somebody")), (of_all, None)] {
        let ask = Ask { memo: memo(), ..Ask::of(tenant).exactly(10).under(check) };
        slabs(&stand).lease_for(&ask.admission()).await;
        let slab = slabs(&stand).views().pop().unwrap().hold;
        let listed = stand.ledger.list_holds(tenant, None, 9).await.unwrap().holds;
        let view = listed.into_iter().find(|view| view.hold == slab).unwrap();
        let (memo, _) = HoldMemo::from_bytes(&view.memo).unwrap();
        assert_eq!(memo.end_user.as_deref(), end_user);
        slabs(&stand).return_all().await;
    }
}

async fn what_was_given_back_is_told_to_nobody(stand: Stand) {
    let ask = leased(&stand).await;
    granted(&stand, &ask).await;
    let void = Settlement { event: None, ..ask.settlement(0) };
    assert_eq!(stand.ledger.settle(&void).await.unwrap(), SettleOutcome::Settled);
    let expected = stand.ledger.fence(&[ask.tenant]).await.unwrap().remove(0);
    let report = stand.ledger.open_report(Some(&[ask.tenant]));
    let reported: Vec<_> = report.holds.iter().map(|hold| (hold.hold, hold.amount.0)).collect();
    assert_eq!(reported, [(slabs(&stand).views()[0].hold, 640)], "all of it is the slab's again");
    let mut reseed = reseed_of(&seed(ask.tenant, 1_000_000, &[]));
    (reseed.expected, reseed.holds) = (expected, report.holds);
    stand.ledger.reseed(&[reseed]).await.unwrap();
    for _ in 0..2 {
        assert_eq!(stand.ledger.settle(&void).await.unwrap(), SettleOutcome::AlreadySettled);
    }
    assert_eq!(wallet(&stand.ledger, &ask).await, balance(1_000_000, 0, 640));
}

async fn what_ended_before_a_reseed_is_reported_at_its_cost_after_it(stand: Stand) {
    let ask = leased(&stand).await;
    granted(&stand, &ask).await;
    let expected = stand.ledger.fence(&[ask.tenant]).await.unwrap().remove(0);
    assert_eq!(stand.settle(&ask, 4).await, SettleOutcome::WrongEpoch);
    let amount = || {
        let report = stand.ledger.open_report(Some(&[ask.tenant]));
        let told = report.holds.iter().find(|hold| hold.hold == ask.hold).map(|hold| hold.amount);
        (told, report.holds)
    };
    let (told, holds) = amount();
    assert_eq!(told, Some(NanoUsd(4)));
    let mut reseed = reseed_of(&seed(ask.tenant, 1_000_000, &[]));
    (reseed.expected, reseed.holds) = (expected, holds);
    stand.ledger.reseed(&[reseed]).await.unwrap();
    slabs(&stand).maintain().await;
    assert_eq!(amount().0, Some(NanoUsd(4)), "it is a hold of its own by now");
    assert_eq!(stand.settle(&ask, 4).await, SettleOutcome::Settled);
    assert_eq!(amount().0, None);
}

async fn a_reseed_keeps_what_only_the_pod_knows(stand: Stand) {
    let ask = leased(&stand).await;
    let asks: Vec<Ask> = (0..4).map(|_| ask.again()).collect();
    granted(&stand, &asks[0]).await;
    slabs(&stand).maintain().await;
    granted(&stand, &asks[1]).await;
    granted(&stand, &asks[2]).await;
    let epochs = stand.ledger.fence(&[ask.tenant]).await.unwrap();
    let report = stand.ledger.open_report(Some(&[ask.tenant]));
    let mut amounts: Vec<i64> = report.holds.iter().map(|hold| hold.amount.0).collect();
    amounts.sort_unstable();
    assert_eq!(amounts, [10, 10, 10, 610]);
    let slab = slabs(&stand).views()[0].hold;
    let in_slab = report.holds.iter().filter(|hold| hold.slab == Some(slab)).map(|hold| hold.hold);
    let unannounced: std::collections::BTreeSet<_> = in_slab.collect();
    assert_eq!(unannounced, [asks[1].hold, asks[2].hold].into(), "the first is a hold of its own");
    // Admitted after the report, and settled before the reseed: both are told later.
    granted(&stand, &asks[3]).await;
    assert_eq!(stand.settle(&asks[1], 4).await, SettleOutcome::WrongEpoch);
    let mut reseed = reseed_of(&seed(ask.tenant, 1_000_000, &[]));
    (reseed.expected, reseed.holds) = (epochs.into_iter().next().unwrap(), report.holds);
    stand.ledger.reseed(&[reseed]).await.unwrap();
    assert_eq!(wallet(&stand.ledger, &ask).await, balance(1_000_000, 0, 640));
    for (ask, actual) in asks.iter().zip([1, 4, 2, 3]) {
        assert_eq!(stand.settle(ask, actual).await, SettleOutcome::Settled);
    }
    slabs(&stand).return_all().await;
    assert_eq!(wallet(&stand.ledger, &ask).await, balance(1_000_000, 10, 0));
    assert_eq!(stand.ledger.outbox_len().await.unwrap(), 4);
}

async fn rate_limits_are_leased_in_blocks(stand: Stand) {
    use tollgate_ledger::{LimitCheck, LimitOwner};
    use tollgate_policy::RateLimits;

    let tenant = tenant();
    stand.ledger.seed(&seed(tenant, 1_000_000, &[])).await.unwrap();
    let limits = RateLimits {
        requests_per_minute: Some(2_000),
        tokens_per_minute: Some(40_000),
        concurrent_requests: Some(400),
    };
    let limit = LimitCheck { owner: LimitOwner::Tenant(tenant), limits };
    let ask = Ask::of(tenant).exactly(10).with_wallet().limited(limit).tokens(100, 50);
    slabs(&stand).lease_for(&ask.admission()).await;
    // A twentieth: 100 requests would be had, 64 are wanted; 2,000 tokens are 20 requests; 20 places.
    let before = slabs(&stand).figures().admitted_locally;
    let (first, second, third) = (ask.again(), ask.again(), ask.again());
    for ask in [&first, &second, &third] {
        granted(&stand, ask).await;
    }
    assert_eq!(slabs(&stand).figures().admitted_locally - before, 3);
    assert_eq!(stand.settle(&first, 5).await, SettleOutcome::Settled);
    assert_eq!(stand.settle(&second, 5).await, SettleOutcome::Settled);
    slabs(&stand).return_all().await;
    // What is left of a minute: 64 requests were leased; three times 100 tokens were reserved and two of them used
    // half; one place is taken.
    let probe = Ask { amount: NanoUsd::ZERO, minimum: NanoUsd::ZERO, ..ask.again() };
    let AdmitOutcome::Admitted(grant) = stand.ledger.admit(&probe.admission()).await.unwrap() else {
        panic!("a probe is admitted")
    };
    let (requests, tokens) = (grant.requests.unwrap(), grant.tokens.unwrap());
    assert!((1_935..=1_945).contains(&requests.remaining), "{requests:?}");
    assert!((39_690..=39_800).contains(&tokens.remaining), "{tokens:?}");
    // Of 400 places two are taken, and all others can be had.
    for _ in 0..398 {
        granted(&stand, &Ask { amount: NanoUsd::ZERO, minimum: NanoUsd::ZERO, tokens: 0, ..ask.again() })
            .await;
    }
    let last = Ask { amount: NanoUsd::ZERO, minimum: NanoUsd::ZERO, tokens: 0, ..ask.again() };
    assert!(matches!(stand.ledger.admit(&last.admission()).await.unwrap(), AdmitOutcome::RateLimited(_)));
}

async fn an_idle_slab_is_returned(stand: Stand) {
    if !matches!(stand.time, crate::stand::Time::Manual(_)) {
        return;
    }
    let ask = leased(&stand).await;
    stand.advance_ms(1_999);
    slabs(&stand).maintain().await;
    assert_eq!(slabs(&stand).views().len(), 1);
    stand.advance_ms(1);
    slabs(&stand).maintain().await;
    assert_eq!(slabs(&stand).views(), []);
    // And one whose lease runs out admits nothing more, wherever the backend is.
    slabs(&stand).lease_for(&ask.admission()).await;
    stand.advance_ms(i64::try_from(LEASE_MS).unwrap() * 5 / 6);
    let before = slabs(&stand).figures().admitted_locally;
    granted(&stand, &ask.again()).await;
    assert_eq!(slabs(&stand).figures().admitted_locally, before);
}

/// Redis is lost with everything in it: what is in the slab's window is admitted all the same, what is beyond is
/// refused, and in the end every request is charged once.
#[tokio::test]
async fn an_outage_is_bridged_within_the_window() {
    let mut stand = one_pod(Stand::redis().await);
    let ask = leased(&stand).await;
    let crate::stand::Time::Real(server) = &mut stand.time else { panic!("time is real in Redis") };
    server.stop().await.unwrap();
    let asks: Vec<Ask> = (0..8).map(|_| ask.again()).collect();
    for ask in &asks {
        granted(&stand, ask).await;
        slabs(&stand).maintain().await;
    }
    let ninth = ask.again();
    let refused = stand.ledger.admit(&ninth.admission()).await;
    assert!(matches!(refused, Err(LedgerError::Unavailable(_))), "{refused:?}");
    let waits = stand.ledger.settle(&asks[0].settlement(3)).await;
    assert!(matches!(waits, Err(LedgerError::Unavailable(_))), "{waits:?}");

    let crate::stand::Time::Real(server) = &mut stand.time else { panic!("time is real in Redis") };
    server.start_again().await.unwrap();
    let closed = async || stand.ledger.fence(&[ask.tenant]).await.ok();
    let closed = tollgate_testkit::wait::eventually(PATIENCE, "Redis to answer", closed).await.unwrap();
    let report = stand.ledger.open_report(Some(&[ask.tenant]));
    let mut reseed = reseed_of(&seed(ask.tenant, 1_000_000, &[]));
    (reseed.expected, reseed.holds) = (closed.into_iter().next().unwrap(), report.holds);
    stand.ledger.reseed(&[reseed]).await.unwrap();
    for ask in &asks {
        assert_eq!(stand.settle(ask, 3).await, SettleOutcome::Settled);
    }
    slabs(&stand).return_all().await;
    // The refused one may have been written, for all its caller knows: it is voided.
    let mut void = ninth.settlement(0);
    void.event = None;
    stand.ledger.settle(&void).await.unwrap();
    assert_eq!(wallet(&stand.ledger, &ask).await, balance(1_000_000, 24, 0));
    assert_eq!(stand.ledger.outbox_len().await.unwrap(), 8);
}
