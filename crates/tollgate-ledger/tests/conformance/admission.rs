//! Money: what is granted, what is refused and why, and that repeats change nothing.

use tollgate_domain::{KeyId, MAX_LIMIT, NanoUsd, UnixMillis};
use tollgate_ledger::{AdmitOutcome, LedgerError, MAX_CLOCK_LEAD_MS, MoneyNode, MoneyRefusal, SettleOutcome};

use crate::stand::{
    Ask, LEASE_MS, Stand, balance, budget, ended_period, long_period, on_both_backends, seed, tenant,
};

on_both_backends!(
    holds_and_charges_every_level,
    the_tightest_level_clamps,
    refusals_name_the_level,
    spent_wins_over_held,
    one_refusing_level_leaves_the_others_alone,
    repeats_of_an_admission,
    repeats_of_a_settlement,
    unknown_holds,
    free_requests_skip_money,
    invoices_are_counted_for_the_day_they_end,
    an_invoice_clamped_by_a_budget_holds_the_same_in_the_wallet,
    the_ledgers_clock_chooses_the_period,
    a_period_that_has_not_begun_is_not_spent,
    old_periods_go,
    a_period_that_was_forgotten_is_not_taken_for_a_new_one,
    revoked_keys,
    leases,
    large_amounts_stay_exact,
    impossible_amounts,
    many_settlements_at_once,
);

async fn holds_and_charges_every_level(stand: Stand) {
    let tenant = tenant();
    let (day, month) = (budget(1_000, long_period()), budget(5_000, long_period()));
    stand.ledger.seed(&seed(tenant, 10_000, &[(day, 0), (month, 100)])).await.unwrap();
    let ask = Ask::of(tenant).exactly(300).with_wallet().under(day).under(month);

    let grant = stand.granted(&ask).await;
    assert_eq!((grant.granted, grant.requests, grant.tokens), (NanoUsd(300), None, None));
    assert!(grant.admitted_at > UnixMillis(1_700_000_000_000), "{grant:?}");
    assert_eq!(stand.wallet(tenant).await, Some(balance(10_000, 0, 300)));
    assert_eq!(stand.budget(tenant, day).await, balance(1_000, 0, 300));
    assert_eq!(stand.budget(tenant, month).await, balance(5_000, 100, 300));

    assert_eq!(stand.settle(&ask, 120).await, SettleOutcome::Settled);
    assert_eq!(stand.wallet(tenant).await, Some(balance(10_000, 120, 0)));
    assert_eq!(stand.budget(tenant, day).await, balance(1_000, 120, 0));
    assert_eq!(stand.budget(tenant, month).await, balance(5_000, 220, 0));
}

async fn the_tightest_level_clamps(stand: Stand) {
    let tenant = tenant();
    let (wide, tight) = (budget(1_000, long_period()), budget(500, long_period()));
    stand.ledger.seed(&seed(tenant, 10_000, &[(wide, 0), (tight, 150)])).await.unwrap();
    let ask = Ask::of(tenant).between(50, 800).with_wallet().under(wide).under(tight);

    assert_eq!(stand.granted(&ask).await.granted, NanoUsd(350));
    assert_eq!(stand.budget(tenant, wide).await, balance(1_000, 0, 350));
    assert_eq!(stand.budget(tenant, tight).await, balance(500, 150, 350));
    stand.settle(&ask, 0).await;
    assert_eq!(stand.budget(tenant, tight).await, balance(500, 150, 0));
    assert_eq!(stand.granted(&ask.again().between(350, 350)).await.granted, NanoUsd(350));
}

async fn refusals_name_the_level(stand: Stand) {
    let tenant = tenant();
    let (wide, tight) = (budget(1_000, long_period()), budget(500, long_period()));
    stand.ledger.seed(&seed(tenant, 600, &[(wide, 0), (tight, 150)])).await.unwrap();
    let ask = Ask::of(tenant).exactly(351).with_wallet().under(wide).under(tight);

    let resets_at = Some(long_period().current.ends_at);
    let node = MoneyNode::Budget(tight.budget);
    let (limit, settled, held) = (NanoUsd(500), NanoUsd(150), NanoUsd::ZERO);
    assert_eq!(stand.spent(&ask).await, MoneyRefusal { node, limit, settled, held, resets_at });

    let wallet_only = Ask::of(tenant).exactly(601).with_wallet();
    let node = MoneyNode::Wallet;
    let (limit, settled) = (NanoUsd(600), NanoUsd::ZERO);
    assert_eq!(stand.spent(&wallet_only).await, MoneyRefusal { node, limit, settled, held, resets_at: None });

    stand.granted(&ask.again().exactly(300)).await;
    let refusal = stand.held(&ask.again().exactly(100)).await;
    assert_eq!(refusal.node, MoneyNode::Budget(tight.budget));
    assert_eq!((refusal.settled, refusal.held), (NanoUsd(150), NanoUsd(300)));
}

async fn spent_wins_over_held(stand: Stand) {
    let tenant = tenant();
    let (busy, spent) = (budget(1_000, long_period()), budget(1_000, long_period()));
    stand.ledger.seed(&seed(tenant, 0, &[(busy, 0), (spent, 950)])).await.unwrap();
    stand.granted(&Ask::of(tenant).exactly(990).under(busy)).await;
    // `busy` has less available, but waiting for it would not help.
    let refusal = stand.spent(&Ask::of(tenant).exactly(60).under(busy).under(spent)).await;
    assert_eq!(refusal.node, MoneyNode::Budget(spent.budget));
}

async fn one_refusing_level_leaves_the_others_alone(stand: Stand) {
    let tenant = tenant();
    let (wide, tight) = (budget(1_000, long_period()), budget(10, long_period()));
    stand.ledger.seed(&seed(tenant, 1_000, &[(wide, 0), (tight, 0)])).await.unwrap();
    stand.spent(&Ask::of(tenant).exactly(11).with_wallet().under(wide).under(tight)).await;
    assert_eq!(stand.wallet(tenant).await, Some(balance(1_000, 0, 0)));
    assert_eq!(stand.budget(tenant, wide).await, balance(1_000, 0, 0));
}

async fn repeats_of_an_admission(stand: Stand) {
    let tenant = tenant();
    let check = budget(1_000, long_period());
    stand.ledger.seed(&seed(tenant, 0, &[(check, 0)])).await.unwrap();
    let ask = Ask::of(tenant).between(1, 700).under(check);
    let first = stand.granted(&ask).await;
    stand.advance_ms(5);
    assert_eq!(stand.granted(&ask).await, first);
    assert_eq!(stand.budget(tenant, check).await, balance(1_000, 0, 700));
    stand.settle(&ask, 10).await;
    assert_eq!(stand.admit(&ask).await, AdmitOutcome::AlreadySettled);
    assert_eq!(stand.budget(tenant, check).await, balance(1_000, 10, 0));
}

async fn repeats_of_a_settlement(stand: Stand) {
    let tenant = tenant();
    let check = budget(1_000, long_period());
    stand.ledger.seed(&seed(tenant, 0, &[(check, 0)])).await.unwrap();
    let ask = Ask::of(tenant).exactly(700).under(check);
    stand.granted(&ask).await;
    assert_eq!(stand.settle(&ask, 400).await, SettleOutcome::Settled);
    assert_eq!(stand.settle(&ask, 400).await, SettleOutcome::AlreadySettled);
    assert_eq!(stand.budget(tenant, check).await, balance(1_000, 400, 0));
    assert_eq!(stand.ledger.outbox_len().await.unwrap(), 1);
}

async fn unknown_holds(stand: Stand) {
    let tenant = tenant();
    let check = budget(1_000, long_period());
    stand.ledger.seed(&seed(tenant, 0, &[(check, 0)])).await.unwrap();
    let ask = Ask::of(tenant).exactly(700).under(check);
    assert_eq!(stand.settle(&ask, 400).await, SettleOutcome::UnknownHold);
    assert_eq!(stand.settle(&ask, 400).await, SettleOutcome::AlreadySettled);
    assert_eq!(stand.ledger.outbox_len().await.unwrap(), 1, "the event is recorded once");
    assert_eq!(stand.budget(tenant, check).await, balance(1_000, 0, 0));
    // A late admission whose caller has given it up holds nothing.
    assert_eq!(stand.admit(&ask).await, AdmitOutcome::AlreadySettled);
}

async fn free_requests_skip_money(stand: Stand) {
    let tenant = tenant();
    let check = budget(0, long_period());
    // Not even seeded.
    let ask = Ask::of(tenant).exactly(0).with_wallet().under(check);
    assert_eq!(stand.granted(&ask).await.granted, NanoUsd::ZERO);
    assert_eq!(stand.settle(&ask, 0).await, SettleOutcome::Settled);
    assert_eq!(stand.ledger.outbox_len().await.unwrap(), 1);
    assert_eq!(stand.admit(&ask.again().exactly(1)).await, AdmitOutcome::Cold);
    // Postpaid without budgets: nothing holds the amount, so nothing can be cold about it.
    assert_eq!(stand.granted(&Ask::of(tenant).exactly(5_000)).await.granted, NanoUsd(5_000));
}

async fn invoices_are_counted_for_the_day_they_end(stand: Stand) {
    let tenant = tenant();
    let invoiced = Ask::of(tenant).exactly(1_000).by_invoice();
    assert_eq!(stand.admit(&invoiced).await, AdmitOutcome::Cold, "uncounted spending would be forgotten");
    stand.ledger.seed(&seed(tenant, 0, &[])).await.unwrap();
    // No credit at all, and no limit either.
    stand.granted(&invoiced).await;
    assert_eq!(stand.settle(&invoiced, 1_000).await, SettleOutcome::Settled);
    let in_flight = invoiced.again().exactly(300);
    stand.granted(&in_flight).await;
    assert_eq!(stand.wallet(tenant).await, Some(balance(0, 1_000, 300)));

    // Topped up with as much as was spent, and paying in advance from now on: nothing is available.
    stand.ledger.set_wallet_limit(tenant, NanoUsd(1_000), 2).await.unwrap();
    let paid_first = Ask::of(tenant).exactly(1).with_wallet();
    assert_eq!(stand.spent(&paid_first).await.settled, NanoUsd(1_000));
    // What was admitted by invoice and ends later reaches the wallet, too.
    stand.ledger.set_wallet_limit(tenant, NanoUsd(1_350), 3).await.unwrap();
    stand.held(&Ask::of(tenant).exactly(51).with_wallet()).await;
    assert_eq!(stand.settle(&in_flight, 200).await, SettleOutcome::Settled);
    assert_eq!(stand.wallet(tenant).await, Some(balance(1_350, 1_200, 0)));
    stand.spent(&Ask::of(tenant).exactly(151).with_wallet()).await;
    stand.granted(&Ask::of(tenant).exactly(150).with_wallet()).await;
}

async fn an_invoice_clamped_by_a_budget_holds_the_same_in_the_wallet(stand: Stand) {
    let tenant = tenant();
    let check = budget(500, long_period());
    stand.ledger.seed(&seed(tenant, 0, &[(check, 150)])).await.unwrap();
    let ask = Ask::of(tenant).between(50, 800).by_invoice().under(check);
    assert_eq!(stand.granted(&ask).await.granted, NanoUsd(350));
    assert_eq!(stand.wallet(tenant).await, Some(balance(0, 0, 350)));
    assert_eq!(stand.held(&ask.again().exactly(1)).await.node, MoneyNode::Budget(check.budget));
    stand.settle(&ask, 20).await;
    assert_eq!(stand.wallet(tenant).await, Some(balance(0, 20, 0)));
    assert_eq!(stand.budget(tenant, check).await, balance(500, 170, 0));
}

async fn the_ledgers_clock_chooses_the_period(stand: Stand) {
    let tenant = tenant();
    let present = budget(1_000, long_period());
    let late_caller = tollgate_ledger::BudgetCheck { periods: ended_period(), ..present };
    stand.ledger.seed(&seed(tenant, 0, &[(present, 40)])).await.unwrap();
    let ask = Ask::of(tenant).exactly(100).under(late_caller);
    stand.granted(&ask).await;
    assert_eq!(stand.budget(tenant, present).await, balance(1_000, 40, 100));
    assert_eq!(stand.budget(tenant, late_caller).await, balance(1_000, 40, 100));
    let refusal = stand.held(&ask.again().exactly(900)).await;
    assert_eq!(refusal.resets_at, Some(long_period().current.ends_at));
    stand.settle(&ask, 60).await;
    assert_eq!(stand.budget(tenant, present).await, balance(1_000, 100, 0));
}

async fn a_period_that_has_not_begun_is_not_spent(stand: Stand) {
    let tenant = tenant();
    let present = budget(1_000, long_period());
    let soon = budget(1_000, stand.fresh_period());
    // A minute: no machine is so slow that it begins meanwhile.
    let later = budget(1_000, stand.period_in(MAX_CLOCK_LEAD_MS + 60_000));
    stand.ledger.seed(&seed(tenant, 500, &[(present, 0), (later, 0)])).await.unwrap();
    stand.granted(&Ask::of(tenant).exactly(1).under(present).under(soon)).await;
    let ask = Ask::of(tenant).exactly(1).with_wallet().under(present).under(later);
    assert_eq!(stand.admit(&ask).await, AdmitOutcome::NotBegun(later.budget));
    let unknown = budget(1_000, later.periods);
    let ask = Ask::of(tenant).exactly(1).under(unknown);
    assert_eq!(stand.admit(&ask).await, AdmitOutcome::NotBegun(unknown.budget));
    assert_eq!(stand.budget(tenant, present).await, balance(1_000, 0, 1), "all or nothing");
    stand.granted(&Ask::of(tenant).under(later)).await;
}

async fn old_periods_go(stand: Stand) {
    let tenant = tenant();
    let oldest = budget(1_000, long_period());
    let mut middle = tollgate_ledger::BudgetCheck { periods: stand.fresh_period(), ..oldest };
    stand.ledger.seed(&seed(tenant, 0, &[(oldest, 70)])).await.unwrap();
    stand.settle_one(&Ask::of(tenant).exactly(10).under(middle), 10).await;
    assert_eq!(stand.budget(tenant, oldest).await, balance(1_000, 70, 0), "the one before stays");
    let busy = Ask::of(tenant).exactly(5).under(middle);
    stand.granted(&busy).await;

    let mut newest = middle;
    newest.periods.current.starts_at = middle.periods.current.starts_at.plus_ms(1);
    stand.settle_one(&Ask::of(tenant).exactly(20).under(newest), 20).await;
    assert_eq!(stand.budget(tenant, oldest).await, balance(1_000, 0, 0), "the one before that is gone");
    assert_eq!(stand.budget(tenant, middle).await, balance(1_000, 10, 5));
    assert_eq!(stand.budget(tenant, newest).await, balance(1_000, 20, 0));
    // What is held is never forgotten.
    newest.periods.current.starts_at = middle.periods.current.starts_at.plus_ms(2);
    stand.granted(&Ask::of(tenant).exactly(1).under(newest)).await;
    stand.settle(&busy, 5).await;
    middle.limit = NanoUsd(1_000);
    assert_eq!(stand.budget(tenant, middle).await, balance(1_000, 15, 0));
}

async fn a_period_that_was_forgotten_is_not_taken_for_a_new_one(stand: Stand) {
    let tenant = tenant();
    let oldest = budget(1_000, stand.fresh_period());
    let after = |ms: i64| {
        let mut check = oldest;
        check.periods.current.starts_at = oldest.periods.current.starts_at.plus_ms(ms);
        check
    };
    let (middle, skipped, newest) = (after(1), after(2), after(3));
    stand.ledger.seed(&seed(tenant, 0, &[])).await.unwrap();
    for (check, spent) in [(oldest, 900), (middle, 800), (newest, 700)] {
        stand.settle_one(&Ask::of(tenant).exactly(spent).under(check), spent).await;
    }
    // A caller whose clock is two periods behind; what was settled there may not even be journaled.
    let late = Ask::of(tenant).exactly(200).under(oldest);
    assert_eq!(stand.admit(&late).await, AdmitOutcome::Cold);
    stand.ledger.seed(&seed(tenant, 0, &[(oldest, 0)])).await.unwrap();
    assert_eq!(stand.admit(&late.again()).await, AdmitOutcome::Cold);
    // One period behind there is still its counter, and one that nobody asked for before is new.
    stand.spent(&Ask::of(tenant).exactly(201).under(middle)).await;
    stand.granted(&Ask::of(tenant).exactly(200).under(middle)).await;
    stand.granted(&Ask::of(tenant).exactly(1_000).under(skipped)).await;
}

async fn revoked_keys(stand: Stand) {
    let tenant = tenant();
    let ask = Ask::of(tenant);
    stand.ledger.set_key_revoked(tenant, ask.key, true).await.unwrap();
    assert_eq!(stand.admit(&ask).await, AdmitOutcome::Revoked);
    let other = Ask { key: KeyId::from_u128(2), ..ask.again() };
    stand.granted(&other).await;
    // Before everything else: a revoked key learns nothing of the money.
    assert_eq!(stand.admit(&ask.again().exactly(5).with_wallet()).await, AdmitOutcome::Revoked);
    stand.ledger.set_key_revoked(tenant, ask.key, false).await.unwrap();
    stand.granted(&ask).await;
    // A call in flight is still answered and settled.
    stand.ledger.set_key_revoked(tenant, ask.key, true).await.unwrap();
    stand.granted(&ask).await;
    assert_eq!(stand.settle(&ask, 0).await, SettleOutcome::Settled);
}

async fn leases(stand: Stand) {
    let tenant = tenant();
    let check = budget(1_000, long_period());
    stand.ledger.seed(&seed(tenant, 0, &[(check, 0)])).await.unwrap();
    let (first, second) = (Ask::of(tenant).exactly(600).under(check), Ask::of(tenant));
    stand.granted(&first).await;
    stand.granted(&second).await;
    let holds = [first.hold, second.hold, Ask::of(tenant).hold].map(|hold| (tenant, hold, NanoUsd::ZERO));
    assert_eq!(stand.ledger.renew(&holds, LEASE_MS).await.unwrap().renewed, 2);
    // An expired hold is not free: its request may have been billed.
    stand.advance_ms(10 * i64::try_from(LEASE_MS).unwrap());
    stand.held(&Ask::of(tenant).exactly(600).under(check)).await;
    stand.settle(&second, 0).await;
    assert_eq!(stand.ledger.renew(&holds, LEASE_MS).await.unwrap().renewed, 1);
}

async fn large_amounts_stay_exact(stand: Stand) {
    let tenant = tenant();
    let max = MAX_LIMIT.0;
    let check = budget(max, long_period());
    stand.ledger.seed(&seed(tenant, max, &[(check, max - 10)])).await.unwrap();
    let ask = Ask::of(tenant).between(1, max).with_wallet().under(check);
    assert_eq!(stand.granted(&ask).await.granted, NanoUsd(10));
    stand.settle(&ask, 9).await;
    assert_eq!(stand.budget(tenant, check).await, balance(max, max - 1, 0));
    let ask = Ask::of(tenant).exactly(max - 9).with_wallet();
    assert_eq!(stand.granted(&ask).await.granted, NanoUsd(max - 9));
    assert_eq!(stand.wallet(tenant).await, Some(balance(max, 9, max - 9)));
    stand.settle(&ask, max - 10).await;
    assert_eq!(stand.wallet(tenant).await, Some(balance(max, max - 1, 0)));
    let refusal = stand.spent(&Ask::of(tenant).exactly(2).with_wallet()).await;
    assert_eq!((refusal.limit, refusal.settled), (NanoUsd(max), NanoUsd(max - 1)));
}

async fn impossible_amounts(stand: Stand) {
    let ask = Ask::of(tenant());
    let cases = [
        ask.clone().exactly(-1),
        ask.clone().exactly(MAX_LIMIT.0 + 1),
        ask.clone().between(2, 1),
        ask.clone().exactly(1).under(budget(MAX_LIMIT.0 + 1, long_period())),
    ];
    for case in cases {
        let answer = stand.ledger.admit(&case.admission()).await;
        assert!(matches!(answer, Err(LedgerError::Invalid(_))), "{case:?} got {answer:?}");
    }
    let answer = stand.ledger.settle(&ask.settlement(-1)).await;
    assert!(matches!(answer, Err(LedgerError::Invalid(_))), "{answer:?}");
}

async fn many_settlements_at_once(stand: Stand) {
    let tenant = tenant();
    let check = budget(100_000, long_period());
    stand.ledger.seed(&seed(tenant, 0, &[(check, 0)])).await.unwrap();
    let mut settlements = Vec::new();
    for _ in 0..300 {
        let ask = Ask::of(tenant).exactly(7).under(check);
        stand.granted(&ask).await;
        settlements.push(ask.settlement(3));
    }
    settlements.push(settlements[0].clone());
    settlements.push(Ask::of(tenant).settlement(-5));
    settlements.push(Ask::of(tenant).settlement(5));
    let outcomes = stand.ledger.settle_many(&settlements).await;
    assert!(outcomes[..300].iter().all(|outcome| *outcome == Ok(SettleOutcome::Settled)));
    assert_eq!(outcomes[300], Ok(SettleOutcome::AlreadySettled));
    assert!(matches!(outcomes[301], Err(LedgerError::Invalid(_))));
    assert_eq!(outcomes[302], Ok(SettleOutcome::UnknownHold));
    assert_eq!(outcomes.len(), 303);
    assert_eq!(stand.budget(tenant, check).await, balance(100_000, 900, 0));
    assert_eq!(stand.ledger.outbox_len().await.unwrap(), 301);
}

impl Stand {
    async fn settle_one(&self, ask: &Ask, actual: i64) {
        self.granted(ask).await;
        assert_eq!(self.settle(ask, actual).await, SettleOutcome::Settled);
    }
}
