//! Credits: given once, summed, posted.

use tollgate_domain::{MAX_LIMIT, NanoUsd, TenantId};
use tollgate_policy::{Billing, TenantPolicy};
use tollgate_store::{CreditKind, CreditTotal, JournalKind, NewCredit, PageRequest};

use crate::fixture::Fixture;
use crate::policy::{conflict, invalid, missing};
use crate::samples::{credit, ctx, event, tenant};

crate::on_both_databases!(
    a_reference_counts_once,
    concurrent_repeats_count_once,
    amounts_are_checked,
    credits_are_posted_and_summed,
    what_is_taken_back_at_once_never_exceeds_what_was_given,
    a_tenant_with_unspent_credit_is_kept,
    totals_of_all_who_pay_in_advance,
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
        (CreditKind::Refund, NanoUsd(-1), true),
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
            Err(error) => assert!(error.to_string().contains("USD is left"), "{error}"),
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
