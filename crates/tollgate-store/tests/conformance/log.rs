//! The policy log: revisions in order, nothing missed, and the hints that there is something new.

use std::collections::BTreeMap;
use std::time::Duration;

use tollgate_domain::TenantId;
use tollgate_policy::{ObjectKind, ObjectRef};
use tollgate_store::{CHANGES_RETAINED, PolicyRecord, Store};

use crate::fixture::Fixture;
use crate::policy::seed;
use crate::samples::{ctx, tenant};

crate::on_both_databases!(
    a_reader_sees_concurrent_changes_in_order_and_misses_none,
    everything_is_loaded_at_one_revision,
    a_reader_too_far_behind_is_told,
    listeners_hear_of_changes,
);

/// Long enough for a loaded machine; only a defect waits that long.
const PATIENCE: Duration = Duration::from_secs(30);

async fn a_reader_sees_concurrent_changes_in_order_and_misses_none(fixture: &Fixture) {
    const N_WRITERS: u128 = 6;
    const N_WRITES: u128 = 15;
    let writers = (0..N_WRITERS).map(|writer| {
        let store = fixture.store.clone();
        tokio::spawn(async move {
            for n in 1..=N_WRITES {
                store.create_tenant(&ctx(), tenant(writer * 100 + n)).await.unwrap();
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    // Reads while they write: a revision that appeared after a higher one had been read would be missed.
    let mut seen = Vec::new();
    let mut revision = 0;
    while (seen.len() as u128) < N_WRITERS * N_WRITES {
        let is_done = writers.iter().all(tokio::task::JoinHandle::is_finished);
        let changes = fixture.store.policy_changes_since(revision, 7).await.unwrap().unwrap();
        assert!(!(is_done && changes.is_empty()), "missed some: only {} seen", seen.len());
        for (at, reference) in changes {
            assert_eq!(at, revision + 1);
            revision = at;
            seen.push(reference);
            let loaded = fixture.store.load_policy_object(reference).await.unwrap();
            assert!(
                matches!(loaded, Some(PolicyRecord::Tenant(_))),
                "{reference:?} is announced but not there"
            );
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len() as u128, N_WRITERS * N_WRITES);
    assert_eq!(fixture.store.policy_revision().await.unwrap(), revision);
}

fn reference(record: &PolicyRecord) -> ObjectRef {
    let (kind, id) = match record {
        PolicyRecord::Settings(_) => (ObjectKind::Settings, uuid::Uuid::nil()),
        PolicyRecord::Provider(provider) => (ObjectKind::Provider, provider.id.as_uuid()),
        PolicyRecord::Price(price) => (ObjectKind::Price, price.id.as_uuid()),
        PolicyRecord::Margin(margin) => (ObjectKind::Margin, margin.rule.id.as_uuid()),
        PolicyRecord::Model(model) => (ObjectKind::Model, model.id.as_uuid()),
        PolicyRecord::Tenant(tenant) => (ObjectKind::Tenant, tenant.id.as_uuid()),
        PolicyRecord::Project(project) => (ObjectKind::Project, project.id.as_uuid()),
        PolicyRecord::Key(key) => (ObjectKind::Key, key.id.as_uuid()),
        PolicyRecord::Budget(budget) => (ObjectKind::Budget, budget.id.as_uuid()),
    };
    ObjectRef { kind, id }
}

/// Replays the log from the beginning.
async fn replay(store: &Store) -> BTreeMap<ObjectRef, PolicyRecord> {
    let mut objects = BTreeMap::new();
    for (_, reference) in store.policy_changes_since(0, 1_000).await.unwrap().unwrap() {
        match store.load_policy_object(reference).await.unwrap() {
            Some(record) => objects.insert(reference, record),
            None => objects.remove(&reference),
        };
    }
    objects
}

async fn everything_is_loaded_at_one_revision(fixture: &Fixture) {
    let store = &fixture.store;
    let empty = store.load_policy().await.unwrap();
    assert_eq!((empty.revision, empty.records.len()), (0, 1));

    seed(store).await;
    store.create_tenant(&ctx(), tenant(2)).await.unwrap();
    store.delete_tenant(&ctx(), TenantId::from_u128(2)).await.unwrap();
    let loaded = store.load_policy().await.unwrap();
    assert_eq!(loaded.revision, store.policy_revision().await.unwrap());
    let mut by_reference: BTreeMap<_, _> =
        loaded.records.iter().map(|record| (reference(record), record.clone())).collect();
    assert_eq!(by_reference.len(), loaded.records.len());
    let settings = ObjectRef { kind: ObjectKind::Settings, id: uuid::Uuid::nil() };
    assert!(by_reference.remove(&settings).is_some());
    assert_eq!(by_reference, replay(store).await);
    assert_eq!(by_reference.len(), 9);
}

async fn a_reader_too_far_behind_is_told(fixture: &Fixture) {
    let store = &fixture.store;
    for n in 1..=3 {
        store.create_tenant(&ctx(), tenant(n)).await.unwrap();
    }
    assert_eq!(store.policy_changes_since(4, 9).await.unwrap(), None);
    assert_eq!(store.policy_changes_since(3, 9).await.unwrap(), Some(vec![]));
    assert_eq!(store.prune_policy_changes().await.unwrap(), 0);
    let head = CHANGES_RETAINED + 2;
    fixture.raw(&format!("UPDATE policy_head SET revision = {}", head - 1)).await.unwrap();
    store.create_tenant(&ctx(), tenant(4)).await.unwrap();
    assert_eq!(store.prune_policy_changes().await.unwrap(), 2);
    assert_eq!(store.policy_changes_since(1, 9).await.unwrap(), None);
    let kept = store.policy_changes_since(2, 9).await.unwrap().unwrap();
    assert_eq!(kept.iter().map(|(revision, _)| *revision).collect::<Vec<_>>(), [3, head]);
}

async fn hear(listener: &mut tollgate_store::PolicyListener, revision: u64) {
    let heard = async { while listener.changed().await.unwrap() < revision {} };
    tokio::time::timeout(PATIENCE, heard).await.expect("nothing was heard");
    assert_eq!(listener.revision(), revision);
}

async fn listeners_hear_of_changes(fixture: &Fixture) {
    let store = &fixture.store;
    store.create_tenant(&ctx(), tenant(1)).await.unwrap();
    let mut listener = store.listen().await.unwrap();
    assert_eq!(listener.revision(), 1);
    // On PostgreSQL the writer may be another process.
    let writer =
        if fixture.is_postgres() { Store::connect(&fixture.url).await.unwrap() } else { store.clone() };
    writer.create_tenant(&ctx(), tenant(2)).await.unwrap();
    hear(&mut listener, 2).await;
    let failed = writer.create_tenant(&ctx(), tenant(2)).await;
    assert!(failed.is_err());
    for n in 3..=20 {
        writer.create_tenant(&ctx(), tenant(n)).await.unwrap();
    }
    hear(&mut listener, 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_listener_survives_the_loss_of_its_connection() {
    let fixture = Fixture::postgres().await;
    let mut listener = fixture.store.listen().await.unwrap();
    let mut server = fixture.server.as_ref().unwrap().lock().await;
    server.stop().await.unwrap();
    let unavailable = fixture.store.create_tenant(&ctx(), tenant(1)).await.unwrap_err();
    assert!(unavailable.is_unavailable(), "{unavailable:?}");
    server.start_again().await.unwrap();
    // Notified while the listener may still be away: it reads the revision when it is back.
    fixture.store.create_tenant(&ctx(), tenant(1)).await.unwrap();
    hear(&mut listener, 1).await;
    fixture.store.create_tenant(&ctx(), tenant(2)).await.unwrap();
    hear(&mut listener, 2).await;
}
