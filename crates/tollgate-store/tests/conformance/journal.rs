//! The journal: each event once, whoever brings it how often, and every sum equal to the events.

use std::collections::BTreeMap;

use tollgate_domain::{HoldId, KeyId, NanoUsd, Period, ProjectId, TenantId, UnixMillis, UsageEvent};
use tollgate_policy::BudgetOwner;
use tollgate_store::{JournalKind, NotedHold, PageRequest};

use crate::fixture::Fixture;
use crate::samples::{NEW_YEAR, cost_of, event, events};

crate::on_both_databases!(
    noted_holds_are_kept_until_they_are_forgotten,
    concurrent_writers_journal_each_event_once,
    repeats_within_and_across_batches_count_once,
    spent_follows_admission_and_owner,
    charges_are_posted,
    texts_of_clients_cannot_stop_the_journal,
);

const TENANT: TenantId = TenantId::from_u128(1);

async fn concurrent_writers_journal_each_event_once(fixture: &Fixture) {
    let all: Vec<UsageEvent> = (1..=3)
        .flat_map(|tenant| (0..200).map(move |n| event(u64::try_from(tenant).unwrap() * 1_000 + n, tenant)))
        .collect();
    let tasks = (0..8_usize).map(|n| {
        let store = fixture.store.clone();
        let mut mine = all.clone();
        // Each writer has the events in another order and cut differently.
        mine.rotate_left(n * 70);
        if n % 2 == 1 {
            mine.reverse();
        }
        tokio::spawn(async move {
            let mut n_new = 0;
            for batch in mine.chunks(37 + n) {
                n_new += store.journal_events(batch).await.unwrap();
            }
            n_new
        })
    });
    let mut n_new = 0;
    for task in tasks.collect::<Vec<_>>() {
        n_new += task.await.unwrap();
    }
    assert_eq!(n_new, 600);
    for tenant in (1..=3).map(TenantId::from_u128) {
        let expected = cost_of(all.iter().filter(|event| event.tenant == tenant));
        assert_eq!(fixture.store.wallet_settled(tenant).await.unwrap(), expected);
        assert_eq!(fixture.store.spent(BudgetOwner::Tenant(tenant), Period::TOTAL).await.unwrap(), expected);
        let entries = fixture.store.list_journal(tenant, PageRequest::first(1_000)).await.unwrap().items;
        assert_eq!(NanoUsd(entries.iter().map(|entry| entry.amount.0).sum()), expected);
    }
}

async fn repeats_within_and_across_batches_count_once(fixture: &Fixture) {
    let store = &fixture.store;
    assert_eq!(store.journal_events::<UsageEvent>(&[]).await.unwrap(), 0);
    let batch = events(700, 1);
    let doubled: Vec<_> = batch[..300].iter().chain(&batch[..200]).cloned().collect();
    assert_eq!(store.journal_events(&doubled).await.unwrap(), 300);
    assert_eq!(store.journal_events(&batch).await.unwrap(), 400);
    assert_eq!(store.journal_events(&batch).await.unwrap(), 0);
    assert_eq!(store.wallet_settled(TENANT).await.unwrap(), cost_of(&batch));
    assert_eq!(store.wallet_settled(TenantId::from_u128(2)).await.unwrap(), NanoUsd::ZERO);
}

async fn spent_follows_admission_and_owner(fixture: &Fixture) {
    let store = &fixture.store;
    let batch = events(60, 1);
    store.journal_events(&batch).await.unwrap();
    let day = |n: i64| NEW_YEAR.plus_ms(n * 24 * 3_600_000);
    let first_ms = Period { starts_at: NEW_YEAR, ends_at: UnixMillis(NEW_YEAR.0 + 1) };
    let admitted_at_edge = Period { starts_at: event(3, 1).admitted_at, ends_at: event(6, 1).admitted_at };
    for period in [
        Period::TOTAL,
        Period { starts_at: day(0), ends_at: day(1) },
        Period { starts_at: day(3), ends_at: day(9) },
        first_ms,
        admitted_at_edge,
        Period { starts_at: day(400), ends_at: day(401) },
    ] {
        let owners = [
            BudgetOwner::Tenant(TENANT),
            BudgetOwner::Project(ProjectId::from_u128(101)),
            BudgetOwner::Key(KeyId::from_u128(1_002)),
            BudgetOwner::Tenant(TenantId::from_u128(2)),
        ];
        for owner in owners {
            let is_owners = |event: &&UsageEvent| match owner {
                BudgetOwner::Tenant(id) => event.tenant == id,
                BudgetOwner::Project(id) => event.project == id,
                BudgetOwner::Key(id) => event.key == id,
            };
            let inside = batch.iter().filter(|event| period.contains(event.admitted_at)).filter(is_owners);
            assert_eq!(store.spent(owner, period).await.unwrap(), cost_of(inside), "{owner:?} {period:?}");
        }
    }
    // Three events lie in it, the one at its end does not: the case above is not empty.
    assert_eq!(batch.iter().filter(|event| admitted_at_edge.contains(event.admitted_at)).count(), 3);
}

async fn charges_are_posted(fixture: &Fixture) {
    let store = &fixture.store;
    let batch = events(40, 1);
    store.journal_events(&batch).await.unwrap();
    let expected: BTreeMap<_, _> = batch
        .iter()
        .filter(|event| event.cost > NanoUsd::ZERO)
        .map(|event| (event.event.as_uuid(), event))
        .collect();
    let mut seen = Vec::new();
    let mut request = PageRequest::first(7);
    loop {
        let page = store.list_journal(TENANT, request).await.unwrap();
        seen.extend(page.items);
        let Some(next) = page.next else { break };
        request = PageRequest::after(7, next);
    }
    assert!(seen.is_sorted_by(|left, right| (left.at, left.id) > (right.at, right.id)));
    assert_eq!(seen.len(), expected.len());
    for entry in seen {
        let event = expected[&entry.id];
        assert_eq!(
            (entry.kind, entry.amount, entry.at),
            (JournalKind::Charge, event.cost, event.finished_at)
        );
        assert_eq!(entry.request, Some(event.request));
        assert_eq!((entry.debit, entry.credit), (format!("wallet:{TENANT}"), format!("usage:{TENANT}")));
    }
}

async fn texts_of_clients_cannot_stop_the_journal(fixture: &Fixture) {
    let store = &fixture.store;
    let names = ["quote\"'$.", "$.a", "[0]", "0", "a.b", "back\\slash", "ключ", "tab\t", ""];
    let nasty = UsageEvent {
        end_user: Some("a\0b".to_owned()),
        labels: names
            .iter()
            .map(|name| ((*name).to_owned(), format!("𝄞 \\ \u{202e} {name}")))
            .chain([("na\0me".to_owned(), "va\0lue".to_owned())])
            .collect(),
        requested_model: "\0".to_owned(),
        model: "'; DROP TABLE requests; --".to_owned(),
        ..event(1, 1)
    };
    assert_eq!(store.journal_events(std::slice::from_ref(&nasty)).await.unwrap(), 1);
    assert_eq!(store.request(nasty.request).await.unwrap(), nasty);
    for name in names {
        let label = tollgate_store::UsageDimension::Label(name.to_owned());
        let query = tollgate_store::UsageQuery { group_by: vec![label], ..Default::default() };
        let report = store.usage(&query).await.unwrap();
        assert_eq!(report[0].groups[0].name.as_ref(), nasty.labels.get(name), "{name}");
    }
}

async fn noted_holds_are_kept_until_they_are_forgotten(fixture: &Fixture) {
    let store = &fixture.store;
    let note = |hold: u128, tenant: u128, body: &str| NotedHold {
        hold: HoldId::from_u128(hold),
        tenant: TenantId::from_u128(tenant),
        body: body.to_owned(),
    };
    let (first, second, third) = (note(1, 1, "{}"), note(2, 1, "{\"a\":1}"), note(3, 2, "{}"));
    store.note_holds(&[], NEW_YEAR).await.unwrap();
    store.note_holds(std::slice::from_ref(&third), NEW_YEAR.plus_ms(5)).await.unwrap();
    store.note_holds(&[first.clone(), second.clone()], NEW_YEAR).await.unwrap();
    store.note_holds(&[note(1, 9, "again")], NEW_YEAR.plus_ms(9)).await.unwrap();
    assert_eq!(store.list_noted_holds(9).await.unwrap(), [first.clone(), second.clone(), third.clone()]);
    assert_eq!(store.list_noted_holds(1).await.unwrap(), std::slice::from_ref(&first));
    let of = async |tenants: &[u128]| {
        let tenants: Vec<TenantId> = tenants.iter().map(|tenant| TenantId::from_u128(*tenant)).collect();
        let mut found = store.noted_holds_of(&tenants).await.unwrap();
        found.sort_by_key(|noted| noted.hold);
        found
    };
    assert_eq!((of(&[]).await, of(&[2, 7]).await), (Vec::new(), vec![third.clone()]));
    assert_eq!(of(&[1, 2]).await, [first.clone(), second, third]);
    store.forget_noted_holds(&[HoldId::from_u128(2), HoldId::from_u128(8)]).await.unwrap();
    assert_eq!(of(&[1]).await, [first]);
}
