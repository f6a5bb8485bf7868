//! Migrations and the check of the schema.

use tollgate_policy::{ProjectPolicy, TenantPolicy};
use tollgate_store::{Store, StoreError};
use tollgate_testkit::postgres::PostgresServer;

use crate::fixture::Fixture;
use crate::policy::{invalid, missing};
use crate::samples::{ctx, labels, project, tenant};

crate::on_both_databases!(
    migrating_again_changes_nothing,
    a_schema_that_needs_a_newer_program_is_refused,
    a_text_with_nul_is_the_caller_s_fault,
);

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

/// SQLite stores NUL; PostgreSQL refuses it, which is no fault of the database.
async fn a_text_with_nul_is_the_caller_s_fault(fixture: &Fixture) {
    let store = &fixture.store;
    let found = store.tenant_by_name("a\0").await;
    let made = store.create_tenant(&ctx(), TenantPolicy { name: "a\0".to_owned(), ..tenant(1) }).await;
    let labels = labels(&[("team", "a\0")]);
    if fixture.is_postgres() {
        assert_eq!(invalid(found), ("text", ""));
        assert_eq!(invalid(made), ("text", ""));
        store.create_tenant(&ctx(), tenant(1)).await.unwrap();
        let made = store.create_project(&ctx(), ProjectPolicy { labels, ..project(1, 1) }).await;
        assert_eq!(invalid(made), ("text", ""));
    } else {
        assert_eq!(missing(found), "tenant");
        made.unwrap();
        store.create_project(&ctx(), ProjectPolicy { labels, ..project(1, 1) }).await.unwrap();
    }
}

/// What no waiting mends is not called unavailable, and says what to do.
#[tokio::test]
async fn files_that_are_no_database_are_refused_for_good() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let url = |name: &str| format!("sqlite://{}", path(name).display());
    let whole = Store::connect(&url("whole.db")).await.unwrap();
    whole.migrate().await.unwrap();
    whole.close().await;
    let mut damaged = std::fs::read(path("whole.db")).unwrap();
    damaged[100..].fill(0xff);
    std::fs::write(path("damaged.db"), damaged).unwrap();
    std::fs::write(path("foreign.db"), vec![b'x'; 4_096]).unwrap();
    std::fs::create_dir(path("directory.db")).unwrap();
    // not in WAL mode, so that opening it wants to write
    std::fs::write(path("empty.db"), "").unwrap();
    for (url, advice) in [
        (url("foreign.db"), "it is no SQLite database"),
        (url("damaged.db"), "restore it from a backup"),
        (url("directory.db"), "check that its path is a file"),
        (url("missing/tollgate.db"), "its directory is there"),
        (format!("{}?mode=ro", url("empty.db")), "make it and its directory writable"),
    ] {
        let error = Store::connect(&url).await.map(drop).unwrap_err();
        assert!(matches!(error, StoreError::Unusable { .. }), "{url}: {error:?}");
        assert!(!error.is_unavailable());
        assert!(error.to_string().contains(advice), "{url}: {error}");
    }
}

#[tokio::test]
async fn the_files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("tollgate.db").display());
    let store = Store::connect(&url).await.unwrap();
    store.migrate().await.unwrap();
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        names.push(name);
    }
    names.sort();
    assert_eq!(names, ["tollgate.db", "tollgate.db-shm", "tollgate.db-wal"]);
    store.close().await;
}
