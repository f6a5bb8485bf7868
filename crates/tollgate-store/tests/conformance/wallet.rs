//! Credits: given once, summed, posted.

use tollgate_domain::{CreditId, MAX_LIMIT, NanoUsd, TenantId, UnixMillis};
use tollgate_policy::{Billing, TenantPolicy};
use tollgate_store::{CreditKind, CreditTotal, JournalKind, NewCredit, PageRequest};

use crate::fixture::Fixture;
use crate::policy::{conflict, invalid, missing};
use crate::samples::{NEW_YEAR, credit, ctx, ctx_at, event, tenant};

crate::on_both_databases!(
    a_reference_counts_once,
    concurrent_repeats_count_once,
    amounts_are_checked,
    credits_are_posted_and_summed,
    what_is_taken_back_at_once_never_exceeds_what_was_given,
    a_tenant_with_unspent_credit_is_kept,
    totals_of_all_who_pay_in_advance,
    what_is_left_of_a_credit_expires_once,
    what_the_ledger_has_charged_or_held_does_not_expire,
    refunds_corrections_and_expiries_are_checked,
    a_tenant_begins_with_its_trial_or_not_at_all,
);

const TENANT: TenantId = TenantId::from_u128(1);

async fn a_reference_counts_once(fixture: &Fixture) {
    let store = &fixture.store;
    store.create_tenant(&ctx(), tenant(1)).await.unwrap();
    let five = NanoUsd::from_usd(5);
    let (first, is_new) = store.grant_credit(&ctx(), credit(1, 1, five, Some("invoice-7"))).await.unwrap();
    assert!(is_new);
    let (again, is_new) = store.grant_credit(&ctx(), credit(2, 1, five, Some("invoice-7"))).await.unwrap();
    assert_eq!((again, is_new), (first, false));
    let other = store.grant_credit(&ctx(), credit(3, 1, NanoUsd(6), Some("invoice-7"))).await;
    assert_eq!(conflict(other), ("credit", "reference"));
    let kind = NewCredit { kind: CreditKind::Grant, ..credit(3, 1, five, Some("invoice-7")) };
    assert_eq!(conflict(store.grant_credit(&ctx(), kind).await), ("credit", "reference"));
    assert_eq!(missing(store.grant_credit(&ctx(), credit(4, 404, five, None)).await), "tenant");

    store.create_tenant(&ctx(), tenant(2)).await.unwrap();
    assert!(store.grant_credit(&ctx(), credit(5, 2, NanoUsd(1), Some("invoice-7"))).await.unwrap().1);
    assert_eq!(store.credit_total(TENANT).await.unwrap(), CreditTotal { sum: five, version: 1 });
}

async fn concurrent_repeats_count_once(fixture: &Fixture) {
    fixture.store.create_tenant(&ctx(), tenant(1)).await.unwrap();
    let tasks = (1..=8).map(|n| {
        let store = fixture.store.clone();
        let credit = credit(n, 1, NanoUsd::from_usd(5), Some("once"));
        tokio::spawn(async move { store.grant_credit(&ctx(), credit).await.unwrap().1 })
    });
    let mut n_new = 0;
    for task in tasks.collect::<Vec<_>>() {
        n_new += u32::from(task.await.unwrap());
    }
    assert_eq!(n_new, 1);
    assert_eq!(fixture.store.credit_total(TENANT).await.unwrap().sum, NanoUsd::from_usd(5));
}

async fn amounts_are_checked(fixture: &Fixture) {
    let store = &fixture.store;
    store.create_tenant(&ctx(), tenant(1)).await.unwrap();
    for (kind, amount, is_fine) in [
        (CreditKind::Topup, NanoUsd(0), false),
        (CreditKind::Topup, NanoUsd(-1), false),
        (CreditKind::Grant, NanoUsd(-1), false),
        (CreditKind::Grant, NanoUsd(1), true),
        // A grant was never paid for: it can be corrected, not paid out.
        (CreditKind::Refund, NanoUsd(-1), false),
        (CreditKind::Adjustment, NanoUsd(-1), true),
        (CreditKind::Topup, NanoUsd(2), true),
        (CreditKind::Refund, NanoUsd(-3), false),
        (CreditKind::Refund, NanoUsd(-2), true),
        (CreditKind::Adjustment, NanoUsd(-1), false),
        (CreditKind::Adjustment, NanoUsd(3), true),
        (CreditKind::Adjustment, NanoUsd(-4), false),
        (CreditKind::Refund, NanoUsd(-4), false),
        (CreditKind::Refund, NanoUsd(i64::MIN), false),
        (CreditKind::Adjustment, NanoUsd(-3), true),
        (CreditKind::Adjustment, NanoUsd(0), false),
        (CreditKind::Topup, MAX_LIMIT, true),
        (CreditKind::Topup, NanoUsd(1), false),
    ] {
        let id = u128::from(is_fine) + 2 * store.credit_total(TENANT).await.unwrap().version as u128;
        let given = store.grant_credit(&ctx(), NewCredit { kind, ..credit(id, 1, amount, None) }).await;
        if is_fine {
            given.unwrap();
        } else {
            assert_eq!(invalid(given), ("credit", "amount"), "{kind:?} {amount:?}");
        }
    }
}

async fn credits_are_posted_and_summed(fixture: &Fixture) {
    let store = &fixture.store;
    store.create_tenant(&ctx(), tenant(1)).await.unwrap();
    let given = [
        (CreditKind::Grant, 500, JournalKind::Grant, "grants", true),
        (CreditKind::Topup, 70, JournalKind::Topup, "topups", true),
        (CreditKind::Refund, -30, JournalKind::Refund, "adjustments", false),
        (CreditKind::Adjustment, 8, JournalKind::Adjustment, "adjustments", true),
    ];
    for (n, (kind, amount, ..)) in (1..).zip(given) {
        let credit = NewCredit { kind, ..credit(n, 1, NanoUsd(amount), None) };
        store.grant_credit(&ctx(), credit).await.unwrap();
    }
    assert_eq!(store.credit_total(TENANT).await.unwrap(), CreditTotal { sum: NanoUsd(548), version: 4 });
    let page = store.list_credits(TENANT, PageRequest::first(3)).await.unwrap();
    let rest = store.list_credits(TENANT, PageRequest::after(3, page.next.unwrap())).await.unwrap();
    assert_eq!((page.items.len(), rest.items.len(), rest.next), (3, 1, None));
    assert_eq!(rest.items[0].amount, NanoUsd(8));

    let mut entries = store.list_journal(TENANT, PageRequest::first(9)).await.unwrap().items;
    entries.reverse();
    let wallet = format!("wallet:{TENANT}");
    for (entry, (_, amount, kind, account, goes_in)) in entries.iter().zip(given) {
        let (debit, credit) = if goes_in { (account, wallet.as_str()) } else { (wallet.as_str(), account) };
        assert_eq!((entry.debit.as_str(), entry.credit.as_str()), (debit, credit));
        assert_eq!((entry.kind, entry.amount), (kind, NanoUsd(i64::abs(amount))));
    }
    assert_eq!(entries.len(), 4);
}

async fn what_is_taken_back_at_once_never_exceeds_what_was_given(fixture: &Fixture) {
    let store = &fixture.store;
    store.create_tenant(&ctx(), tenant(1)).await.unwrap();
    store.grant_credit(&ctx(), credit(1, 1, NanoUsd::from_usd(5), None)).await.unwrap();
    let tasks = (2..=9).map(|n| {
        let store = fixture.store.clone();
        let refund = NewCredit { kind: CreditKind::Refund, ..credit(n, 1, NanoUsd::from_usd(-2), None) };
        tokio::spawn(async move { store.grant_credit(&ctx(), refund).await })
    });
    let mut n_taken = 0;
    for task in tasks.collect::<Vec<_>>() {
        match task.await.unwrap() {
            Ok(_) => n_taken += 1,
            Err(error) => assert!(error.to_string().contains("1 USD of what was paid in"), "{error}"),
        }
    }
    assert_eq!(n_taken, 2);
    assert_eq!(store.credit_total(TENANT).await.unwrap().sum, NanoUsd::from_usd(1));
}

async fn a_tenant_with_unspent_credit_is_kept(fixture: &Fixture) {
    let store = &fixture.store;
    let with_billing = |n, billing| TenantPolicy { billing, ..tenant(n) };
    store.create_tenant(&ctx(), with_billing(1, Billing::Prepaid)).await.unwrap();
    store.grant_credit(&ctx(), credit(1, 1, NanoUsd(700), None)).await.unwrap();
    let refused = store.delete_spent_tenant(&ctx(), TENANT).await;
    assert!(refused.as_ref().unwrap_err().to_string().contains("0.0000007 USD"), "{refused:?}");
    assert_eq!(conflict(refused), ("tenant", "credit"));
    assert_eq!(store.tenant(TENANT).await.unwrap().id, TENANT);
    let taken = NewCredit { kind: CreditKind::Adjustment, ..credit(2, 1, NanoUsd(-700), None) };
    store.grant_credit(&ctx(), taken).await.unwrap();
    store.delete_spent_tenant(&ctx(), TENANT).await.unwrap();

    store.create_tenant(&ctx(), with_billing(2, Billing::Postpaid)).await.unwrap();
    store.grant_credit(&ctx(), credit(3, 2, NanoUsd(700), None)).await.unwrap();
    store.delete_spent_tenant(&ctx(), TenantId::from_u128(2)).await.unwrap();

    store.create_tenant(&ctx(), with_billing(3, Billing::Prepaid)).await.unwrap();
    let event = event(1, 3);
    store.grant_credit(&ctx(), credit(4, 3, event.cost, None)).await.unwrap();
    store.journal_events(&[event]).await.unwrap();
    store.delete_spent_tenant(&ctx(), TenantId::from_u128(3)).await.unwrap();
}

async fn totals_of_all_who_pay_in_advance(fixture: &Fixture) {
    let store = &fixture.store;
    let billings =
        [Billing::Prepaid, Billing::Postpaid, Billing::Prepaid, Billing::Prepaid, Billing::Prepaid];
    for (n, billing) in (1..).zip(billings) {
        store.create_tenant(&ctx(), TenantPolicy { billing, ..tenant(n) }).await.unwrap();
    }
    for (n, (tenant, amount)) in (1..).zip([(1, 500), (1, 70), (2, 9), (3, 8), (4, 7)]) {
        store.grant_credit(&ctx(), credit(n, tenant, NanoUsd(amount), None)).await.unwrap();
    }
    store.delete_tenant(&ctx(), TenantId::from_u128(4)).await.unwrap();
    let total = |n, sum, version| (TenantId::from_u128(n), CreditTotal { sum: NanoUsd(sum), version });
    let first = store.list_prepaid_credit_totals(PageRequest::first(1)).await.unwrap();
    assert_eq!(first.items, [total(1, 570, 2)]);
    let rest = store.list_prepaid_credit_totals(PageRequest::after(9, first.next.unwrap())).await.unwrap();
    assert_eq!((rest.items.as_slice(), rest.next), ([total(3, 8, 1)].as_slice(), None));
}

const LATER: UnixMillis = UnixMillis(NEW_YEAR.0 + 1_000);

/// A grant of 500 that ends at [`LATER`], and 800 paid in.
async fn with_trial(fixture: &Fixture) {
    let store = &fixture.store;
    store.create_tenant(&ctx(), tenant(1)).await.unwrap();
    let trial = NewCredit {
        kind: CreditKind::Grant,
        expires_at: Some(LATER),
        ..credit(1, 1, NanoUsd(500), Some("trial"))
    };
    store.grant_credit(&ctx(), trial).await.unwrap();
    store.grant_credit(&ctx(), credit(2, 1, NanoUsd(800), None)).await.unwrap();
}

/// Takes back what is left of the trial, with as many credits as there are before it.
async fn expire(fixture: &Fixture, n: u128, now: UnixMillis, used: i64, at_most: i64) -> Option<NanoUsd> {
    let (trial, id) = (CreditId::from_u128(1), CreditId::from_u128(n));
    let taken =
        fixture.store.expire_credit(&ctx_at(now), trial, id, NanoUsd(used), NanoUsd(at_most)).await.unwrap();
    taken.map(|credit| credit.amount)
}

async fn what_is_left_of_a_credit_expires_once(fixture: &Fixture) {
    let store = &fixture.store;
    with_trial(fixture).await;
    let charged = tollgate_domain::UsageEvent { cost: NanoUsd(120), ..event(1, 1) };
    store.journal_events(&[charged]).await.unwrap();
    assert_eq!(store.list_expired_credits(NEW_YEAR, PageRequest::first(9)).await.unwrap().items, []);
    assert_eq!(expire(fixture, 10, NEW_YEAR, 0, i64::MAX).await, None);
    let due = store.list_expired_credits(LATER, PageRequest::first(9)).await.unwrap();
    assert_eq!(due.items.iter().map(|credit| credit.id).collect::<Vec<_>>(), [CreditId::from_u128(1)]);
    let next = PageRequest::after(9, (LATER, CreditId::from_u128(1)));
    assert_eq!(store.list_expired_credits(LATER, next).await.unwrap().items, []);
    let tasks = (10..14).map(|n| {
        let store = store.clone();
        let (trial, id) = (CreditId::from_u128(1), CreditId::from_u128(n));
        tokio::spawn(async move {
            store.expire_credit(&ctx_at(LATER), trial, id, NanoUsd::ZERO, NanoUsd(i64::MAX)).await.unwrap()
        })
    });
    let mut taken = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        taken.extend(task.await.unwrap());
    }
    assert_eq!(taken.len(), 1, "{taken:?}");
    let expiry = &taken[0];
    assert_eq!((expiry.kind, expiry.amount), (CreditKind::Expire, NanoUsd(-380)));
    assert_eq!((expiry.corrects, expiry.sequence), (Some(CreditId::from_u128(1)), 3));
    assert_eq!(expiry.settled_before, NanoUsd(120));
    assert_eq!(store.credit_total(TENANT).await.unwrap(), CreditTotal { sum: NanoUsd(920), version: 3 });
    let lots = store.credit_lots(TENANT, NanoUsd::ZERO).await.unwrap();
    assert_eq!((lots.balance(), lots.refundable()), (NanoUsd(800), NanoUsd(800)));
    let entry = &store.list_journal(TENANT, PageRequest::first(9)).await.unwrap().items;
    let entry = entry.iter().find(|entry| entry.kind == JournalKind::Expire).unwrap();
    assert_eq!((entry.debit.clone(), entry.credit.as_str()), (format!("wallet:{TENANT}"), "grants"));
    assert_eq!(entry.corrects, Some(CreditId::from_u128(1).as_uuid()));
    for _ in 0..2 {
        store.close_expired_credit(CreditId::from_u128(1)).await.unwrap();
    }
    assert_eq!(store.list_expired_credits(LATER, PageRequest::first(9)).await.unwrap().items, []);
}

async fn what_the_ledger_has_charged_or_held_does_not_expire(fixture: &Fixture) {
    with_trial(fixture).await;
    assert_eq!(expire(fixture, 10, LATER, 500, i64::MAX).await, None);
    assert_eq!(expire(fixture, 10, LATER, 499, i64::MAX).await, Some(NanoUsd(-1)));
    // some more is free now, but the ledger gives no more than 40 of it
    assert_eq!(expire(fixture, 11, LATER, 300, 40).await, Some(NanoUsd(-40)));
    assert_eq!(expire(fixture, 12, LATER, 300, i64::MAX).await, Some(NanoUsd(-159)));
    assert_eq!(expire(fixture, 13, LATER, 0, i64::MAX).await, Some(NanoUsd(-300)));
    assert_eq!(expire(fixture, 14, LATER, 0, i64::MAX).await, None);
    assert_eq!(fixture.store.credit_total(TENANT).await.unwrap().sum, NanoUsd(800));
}

async fn refunds_corrections_and_expiries_are_checked(fixture: &Fixture) {
    let store = &fixture.store;
    with_trial(fixture).await;
    let new = |n, kind, amount| NewCredit { kind, ..credit(n, 1, NanoUsd(amount), None) };
    let refused = store.grant_credit(&ctx(), new(5, CreditKind::Refund, -801)).await;
    assert_eq!(invalid(refused), ("credit", "amount"));
    // of 1,300 in all the ledger has used 700: 200 of what was paid in
    let refused = store.grant_credit_beside(&ctx(), new(5, CreditKind::Refund, -601), NanoUsd(700)).await;
    assert!(refused.as_ref().unwrap_err().to_string().contains("0.0000006 USD"), "{refused:?}");
    let of_grant = Some(CreditId::from_u128(1));
    for (field, wrong) in [
        ("expires_at", NewCredit { expires_at: Some(NEW_YEAR), ..new(5, CreditKind::Grant, 5) }),
        ("expires_at", NewCredit { expires_at: Some(LATER), ..new(5, CreditKind::Adjustment, 5) }),
        ("corrects", NewCredit { corrects: of_grant, ..new(5, CreditKind::Topup, 5) }),
        ("corrects", NewCredit { corrects: Some(CreditId::from_u128(99)), ..new(5, CreditKind::Refund, -5) }),
        ("kind", new(5, CreditKind::Expire, -5)),
        ("kind", new(5, CreditKind::Expire, 5)),
    ] {
        let refused = store.grant_credit(&ctx(), wrong.clone()).await;
        let found = match refused {
            Err(tollgate_store::StoreError::Invalid { field, .. }) => field,
            other => panic!("{wrong:?}: {other:?}"),
        };
        assert!(found == field || (field == "kind" && found == "amount"), "{wrong:?}: {found}");
    }
    let correction = NewCredit { corrects: of_grant, ..new(5, CreditKind::Adjustment, -100) };
    let (record, _) = store.grant_credit(&ctx(), correction).await.unwrap();
    assert_eq!((record.corrects, record.sequence), (of_grant, 3));
    let lots = store.credit_lots(TENANT, NanoUsd::ZERO).await.unwrap();
    assert_eq!(lots.remaining(CreditId::from_u128(1)), NanoUsd(400));
    let same = NewCredit { kind: CreditKind::Grant, ..credit(8, 1, NanoUsd(500), Some("trial")) };
    assert_eq!(conflict(store.grant_credit(&ctx(), same.clone()).await), ("credit", "reference"));
    let same = NewCredit { expires_at: Some(LATER), ..same };
    assert!(!store.grant_credit(&ctx(), same).await.unwrap().1);
}

async fn a_tenant_begins_with_its_trial_or_not_at_all(fixture: &Fixture) {
    let store = &fixture.store;
    let trial = |n, tenant| NewCredit {
        kind: CreditKind::Grant,
        expires_at: Some(LATER),
        ..credit(n, tenant, NanoUsd(500), Some("trial"))
    };
    store.create_tenant_with_credit(&ctx(), tenant(1), Some(trial(1, 1))).await.unwrap();
    assert_eq!(store.credit_total(TENANT).await.unwrap(), CreditTotal { sum: NanoUsd(500), version: 1 });
    let refused = store.create_tenant_with_credit(&ctx_at(LATER), tenant(2), Some(trial(2, 2))).await;
    assert_eq!(invalid(refused), ("credit", "expires_at"));
    assert_eq!(missing(store.tenant(TenantId::from_u128(2)).await), "tenant");
}
