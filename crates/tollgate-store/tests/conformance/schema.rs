//! Migrations and the check of the schema.

use tollgate_store::{Store, StoreError};
use tollgate_testkit::postgres::PostgresServer;

use crate::fixture::Fixture;
use crate::samples::{ctx, tenant};

crate::on_both_databases!(migrating_again_changes_nothing, a_schema_that_needs_a_newer_program_is_refused);

async fn migrating_again_changes_nothing(fixture: &Fixture) {
    fixture.store.create_tenant(&ctx(), tenant(1)).await.unwrap();
    fixture.store.migrate().await.unwrap();
    let again = Store::connect(&fixture.url).await.unwrap();
    again.migrate().await.unwrap();
    again.ping().await.unwrap();
    assert_eq!(again.tenant_by_name("tenant-1").await.unwrap().to_policy(), tenant(1));
    again.close().await;
    assert!(again.ping().await.unwrap_err().is_unavailable());
}

async fn a_schema_that_needs_a_newer_program_is_refused(fixture: &Fixture) {
    // A later step that only adds something leaves this program in work.
    let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
        VALUES (900, 'expand something', true, '', 1)";
    fixture.raw(later).await.unwrap();
    Store::connect(&fixture.url).await.unwrap().migrate().await.unwrap();
    // One that takes something away says so.
    fixture.raw("UPDATE schema_compatibility SET required_migration = 900").await.unwrap();
    for result in [Store::connect(&fixture.url).await.map(drop), fixture.store.migrate().await] {
        let error = result.unwrap_err();
        assert!(matches!(error, StoreError::SchemaTooNew { required: 900, known: 1.. }), "{error:?}");
        assert!(error.to_string().contains("run a newer release"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_migrate_an_empty_postgres_at_once() {
    let server = PostgresServer::start().await.unwrap();
    let url = server.create_database("tollgate").await.unwrap();
    let replicas = (0..4).map(|_| {
        let url = url.clone();
        tokio::spawn(async move {
            let store = Store::connect(&url).await.unwrap();
            store.migrate().await.unwrap();
            store.policy_revision().await.unwrap()
        })
    });
    for replica in replicas.collect::<Vec<_>>() {
        assert_eq!(replica.await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_database_in_memory_serves_calls_at_once() {
    let store = Store::connect("sqlite::memory:").await.unwrap();
    assert!(matches!(store.policy_revision().await, Err(StoreError::SchemaMissing)));
    store.migrate().await.unwrap();
    let tasks = (1..=8).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            store.create_tenant(&ctx(), tenant(n)).await.unwrap();
            store.load_policy().await.unwrap().records.len()
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        assert!(task.await.unwrap() >= 2);
    }
    assert_eq!(store.policy_revision().await.unwrap(), 8);
}

#[tokio::test]
async fn unusable_addresses_are_refused_without_their_password() {
    for url in ["mysql://root:hunter2@localhost/x", "tollgate.db", "postgres://u:hunter2@[", ""] {
        let error = Store::connect(url).await.unwrap_err();
        assert!(matches!(error, StoreError::InvalidUrl(_)), "{url}: {error:?}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
}

#[tokio::test]
async fn a_postgres_that_is_not_there_is_unavailable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let error = Store::connect(&format!("postgres://postgres@127.0.0.1:{port}/x")).await.unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
}
