//! Audit, idempotency keys, and tables that only grow.

use tollgate_domain::{KeyId, ProviderId, TenantId};
use tollgate_store::{
    ActorKind, AuditFilter, AuditRecord, IDEMPOTENCY_LIFETIME_MS, IdempotencyKey, IdempotencyState,
    PageRequest, Store, StoredResponse,
};

use crate::fixture::Fixture;
use crate::policy::seed;
use crate::samples::{NEW_YEAR, credit, ctx, ctx_at, events, hash, tenant};

crate::on_both_databases!(
    every_write_is_audited_with_before_and_after,
    the_audit_log_holds_no_secret,
    audit_pages_and_filters,
    a_failed_write_leaves_no_trace,
    written_once_is_never_changed,
    idempotency_keys_answer_once,
    one_of_many_gets_the_reservation,
);

async fn log(store: &Store) -> Vec<AuditRecord> {
    let page = store.list_audit(&AuditFilter::default(), PageRequest::first(1_000)).await.unwrap();
    assert_eq!(page.next, None);
    page.items
}

async fn every_write_is_audited_with_before_and_after(fixture: &Fixture) {
    let store = &fixture.store;
    store.create_tenant(&ctx(), tenant(1)).await.unwrap();
    let later = ctx_at(NEW_YEAR.plus_ms(1));
    let id = TenantId::from_u128(1);
    store.update_tenant(&later, id, |tenant| tenant.name = "new".to_owned()).await.unwrap();
    let (credit, _) =
        store.grant_credit(&ctx(), credit(9, 1, tollgate_domain::NanoUsd(5), None)).await.unwrap();
    store.delete_tenant(&ctx(), id).await.unwrap();

    let log = log(store).await;
    let actions: Vec<_> = log.iter().map(|row| (row.action.as_str(), row.object_kind.as_str())).collect();
    assert_eq!(
        actions,
        [("delete", "tenant"), ("grant", "credit"), ("update", "tenant"), ("create", "tenant")]
    );
    let [deleted, granted, updated, created] = &log[..] else { unreachable!() };
    assert_eq!((&created.before, &deleted.after, &granted.before), (&None, &None, &None));
    assert_eq!(created.after, updated.before);
    assert_eq!(updated.after, deleted.before);
    assert_eq!(updated.before.as_ref().unwrap()["name"], "tenant-1");
    assert_eq!(updated.after.as_ref().unwrap()["name"], "new");
    assert_eq!((updated.at, updated.object_name.as_str()), (later.now, "new"));
    assert_eq!(granted.object_id, credit.id.as_uuid());
    for row in &log {
        assert_eq!((row.actor.as_str(), row.actor_kind, row.tenant), ("ada", ActorKind::Token, Some(id)));
        assert_eq!(row.reason.as_deref(), Some("because of the test"));
    }
}

async fn the_audit_log_holds_no_secret(fixture: &Fixture) {
    let store = &fixture.store;
    seed(store).await;
    let key = KeyId::from_u128(100);
    store.rotate_key(&ctx(), key, hash(55), "tgk_new", NEW_YEAR.plus_ms(9)).await.unwrap();
    let provider = ProviderId::from_u128(1);
    let replace = |provider: &mut tollgate_store::ProviderRecord| {
        provider.credentials[0].ciphertext = b"CIPHERTEXT-NEW".to_vec();
    };
    store.update_provider(&ctx(), provider, replace).await.unwrap();
    store.delete_model(&ctx(), tollgate_domain::ModelId::from_u128(1)).await.unwrap();
    store.delete_provider(&ctx(), provider).await.unwrap();
    store.delete_tenant(&ctx(), TenantId::from_u128(1)).await.unwrap();

    let log = log(store).await;
    assert!(log.iter().any(|row| row.action == "rotate"));
    let text = format!("{log:?}").to_lowercase();
    assert!(text.contains("tgk_shown") && text.contains("credential-11"));
    for secret in ["ciphertext", "hash", "171, 171", "abab"] {
        assert!(!text.contains(secret), "{secret}");
    }
    assert!(
        !format!("{:?}", tollgate_store::NewProvider { ..crate::samples::provider(1) }).contains("CIPHER")
    );
}

async fn audit_pages_and_filters(fixture: &Fixture) {
    let store = &fixture.store;
    for n in 1..=9 {
        store.create_tenant(&ctx_at(NEW_YEAR.plus_ms(n)), tenant(n.unsigned_abs().into())).await.unwrap();
    }
    let mut seen = Vec::new();
    let mut request = PageRequest::first(4);
    loop {
        let page = store.list_audit(&AuditFilter::default(), request).await.unwrap();
        seen.extend(page.items.iter().map(|row| row.at.0 - NEW_YEAR.0));
        let Some(next) = page.next else { break };
        request = PageRequest::after(4, next);
    }
    assert_eq!(seen, [9, 8, 7, 6, 5, 4, 3, 2, 1]);
    let tenant = Some(TenantId::from_u128(3));
    for (filter, n_found) in [
        (AuditFilter { actor: Some("ada".to_owned()), ..AuditFilter::default() }, 9),
        (AuditFilter { actor: Some("eve".to_owned()), ..AuditFilter::default() }, 0),
        (AuditFilter { action: Some("delete".to_owned()), ..AuditFilter::default() }, 0),
        (AuditFilter { object_kind: Some("tenant".to_owned()), ..AuditFilter::default() }, 9),
        (AuditFilter { object_id: Some(uuid::Uuid::from_u128(3)), ..AuditFilter::default() }, 1),
        (AuditFilter { tenant, ..AuditFilter::default() }, 1),
        (
            AuditFilter {
                from: Some(NEW_YEAR.plus_ms(3)),
                to: Some(NEW_YEAR.plus_ms(5)),
                ..AuditFilter::default()
            },
            2,
        ),
    ] {
        let found = store.list_audit(&filter, PageRequest::first(100)).await.unwrap().items;
        assert_eq!(found.len(), n_found, "{filter:?}");
    }
}

async fn a_failed_write_leaves_no_trace(fixture: &Fixture) {
    let store = &fixture.store;
    seed(store).await;
    let before = (log(store).await, store.policy_revision().await.unwrap());
    assert!(store.create_key(&ctx(), crate::samples::key(100, 10), "x").await.is_err());
    let mut twins = crate::samples::provider(2);
    twins.credentials[1].name = twins.credentials[0].name.clone();
    assert!(store.create_provider(&ctx(), twins).await.is_err());
    assert!(store.delete_provider(&ctx(), ProviderId::from_u128(1)).await.is_err());
    assert_eq!((log(store).await, store.policy_revision().await.unwrap()), before);
}

async fn written_once_is_never_changed(fixture: &Fixture) {
    let store = &fixture.store;
    store.create_tenant(&ctx(), tenant(1)).await.unwrap();
    store.grant_credit(&ctx(), credit(9, 1, tollgate_domain::NanoUsd(5), None)).await.unwrap();
    store.journal_events(&events(5, 1)).await.unwrap();
    for (table, column) in [
        ("requests", "cost_nano_usd = 0"),
        ("journal_entries", "amount_nano_usd = 1"),
        ("credits", "amount_nano_usd = 1"),
        ("audit", "actor = 'eve'"),
    ] {
        for sql in [format!("UPDATE {table} SET {column}"), format!("DELETE FROM {table}")] {
            let error = fixture.raw(&sql).await.unwrap_err().to_string();
            assert!(error.contains(&format!("{table} is append-only")), "{sql}: {error}");
        }
        if fixture.is_postgres() {
            let error = fixture.raw(&format!("TRUNCATE {table} CASCADE")).await.unwrap_err().to_string();
            assert!(error.contains("is append-only"), "{error}");
        }
    }
}

async fn idempotency_keys_answer_once(fixture: &Fixture) {
    let store = &fixture.store;
    let key = IdempotencyKey { actor: "ada", key: "k1", request_hash: b"create tenant" };
    let other = IdempotencyKey { request_hash: b"delete tenant", ..key };
    let stranger = IdempotencyKey { actor: "eve", ..other };
    let state = async |key, now| store.begin_idempotent(key, now).await.unwrap();

    assert_eq!(state(key, NEW_YEAR).await, IdempotencyState::Reserved);
    assert_eq!(state(key, NEW_YEAR).await, IdempotencyState::InProgress);
    assert_eq!(state(other, NEW_YEAR).await, IdempotencyState::Mismatch);
    assert_eq!(state(stranger, NEW_YEAR).await, IdempotencyState::Reserved);
    store.abandon_idempotent(key).await.unwrap();
    assert_eq!(state(key, NEW_YEAR).await, IdempotencyState::Reserved);

    let response = StoredResponse { status: 201, body: b"{}".to_vec() };
    store.finish_idempotent(key, &response, NEW_YEAR).await.unwrap();
    store.abandon_idempotent(key).await.unwrap();
    let almost = NEW_YEAR.plus_ms(IDEMPOTENCY_LIFETIME_MS - 1);
    assert_eq!(state(key, almost).await, IdempotencyState::Done(response));
    assert_eq!(state(other, almost).await, IdempotencyState::Mismatch);
    // The stranger never finished: its reservation is void by now.
    assert_eq!(state(stranger, almost).await, IdempotencyState::Reserved);
    assert_eq!(store.prune_idempotency(almost).await.unwrap(), 0);
    assert_eq!(state(other, NEW_YEAR.plus_ms(IDEMPOTENCY_LIFETIME_MS)).await, IdempotencyState::Reserved);
    assert_eq!(store.prune_idempotency(NEW_YEAR.plus_ms(2 * IDEMPOTENCY_LIFETIME_MS)).await.unwrap(), 2);
}

async fn one_of_many_gets_the_reservation(fixture: &Fixture) {
    let tasks = (0..8).map(|_| {
        let store = fixture.store.clone();
        tokio::spawn(async move {
            let key = IdempotencyKey { actor: "ada", key: "k", request_hash: b"h" };
            store.begin_idempotent(key, NEW_YEAR).await.unwrap()
        })
    });
    let mut n_reserved = 0;
    for task in tasks.collect::<Vec<_>>() {
        match task.await.unwrap() {
            IdempotencyState::Reserved => n_reserved += 1,
            state => assert_eq!(state, IdempotencyState::InProgress),
        }
    }
    assert_eq!(n_reserved, 1);
}
