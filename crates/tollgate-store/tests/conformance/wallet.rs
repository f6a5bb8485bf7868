//! Credits: given once, summed, posted.

use tollgate_domain::{MAX_LIMIT, NanoUsd, TenantId};
use tollgate_store::{CreditKind, CreditTotal, JournalKind, NewCredit, PageRequest};

use crate::fixture::Fixture;
use crate::policy::{conflict, invalid, missing};
use crate::samples::{credit, ctx, tenant};

crate::on_both_databases!(
    a_reference_counts_once,
    concurrent_repeats_count_once,
    amounts_are_checked,
    credits_are_posted_and_summed,
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
        (CreditKind::Adjustment, NanoUsd(-1), true),
        (CreditKind::Adjustment, NanoUsd(0), false),
        (CreditKind::Topup, MAX_LIMIT, true),
        (CreditKind::Topup, NanoUsd(2), false),
        (CreditKind::Topup, NanoUsd(1), true),
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
