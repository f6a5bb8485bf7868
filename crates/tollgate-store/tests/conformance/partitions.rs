//! The table of requests by days, and the role that may only add to the journal.

use tollgate_domain::{EventId, NanoUsd, RequestId, TenantId, UnixMillis, UsageEvent};
use tollgate_store::{DAYS_AHEAD, RequestFilter, Store};

use crate::fixture::Fixture;
use crate::policy::invalid;
use crate::samples::{NEW_YEAR, credit, ctx, ctx_at, event, tenant};

crate::on_both_databases!(partitions_are_made_once);

const DAY_MS: i64 = 86_400_000;

/// An event of a request that began then.
fn event_at(n: u64, at: UnixMillis) -> UsageEvent {
    let id = (u128::try_from(at.0).unwrap() << 80) | (7 << 76) | u128::from(n);
    UsageEvent { event: EventId::from_u128(id), request: RequestId::from_u128(id), ..event(n, 1) }
}

async fn partitions_are_made_once(fixture: &Fixture) {
    let made = if fixture.is_postgres() { DAYS_AHEAD + 2 } else { 0 };
    assert_eq!(fixture.store.prepare_partitions(NEW_YEAR).await.unwrap(), made);
    assert_eq!(fixture.store.prepare_partitions(NEW_YEAR).await.unwrap(), 0);
    let next_day = NEW_YEAR.plus_ms(DAY_MS + 5);
    assert_eq!(fixture.store.prepare_partitions(next_day).await.unwrap(), u32::from(fixture.is_postgres()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_make_partitions_at_once() {
    let fixture = Fixture::postgres().await;
    let tasks = (0..4).map(|_| {
        let store = fixture.store.clone();
        tokio::spawn(async move { store.prepare_partitions(NEW_YEAR).await.unwrap() })
    });
    let mut n_made = 0;
    for task in tasks.collect::<Vec<_>>() {
        n_made += task.await.unwrap();
    }
    assert_eq!(n_made, DAYS_AHEAD + 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_row_lies_in_its_day_and_is_append_only_there() {
    let fixture = Fixture::postgres().await;
    let store = &fixture.store;
    // before its day has a partition
    let straggler = event_at(1, NEW_YEAR.plus_ms(3 * DAY_MS));
    store.journal_events(std::slice::from_ref(&straggler)).await.unwrap();
    // that day stays in the default partition, the others get their own
    assert_eq!(store.prepare_partitions(NEW_YEAR).await.unwrap(), DAYS_AHEAD + 1);
    let all = [
        straggler,
        event_at(2, NEW_YEAR.plus_ms(-1)),
        event_at(3, NEW_YEAR),
        event_at(4, NEW_YEAR.plus_ms(DAY_MS - 1)),
        event_at(5, NEW_YEAR.plus_ms(DAY_MS)),
        event_at(6, NEW_YEAR.plus_ms(3 * DAY_MS + 9)),
        event(7, 1),
    ];
    assert_eq!(store.journal_events(&all).await.unwrap(), 6);
    assert_eq!(store.journal_events(&all).await.unwrap(), 0);
    let server = fixture.server.as_ref().unwrap().lock().await;
    let by_partition =
        "SELECT tableoid::regclass::text COLLATE \"C\", COUNT(*) FROM requests GROUP BY 1 ORDER BY 1";
    let expected = "requests_20251231|1\nrequests_20260101|2\nrequests_20260102|1\nrequests_default|3";
    assert_eq!(server.query("tollgate", by_partition).await.unwrap(), expected);
    drop(server);
    for table in ["requests", "requests_20260101", "requests_20260107", "requests_default"] {
        for sql in [
            format!("UPDATE {table} SET cost_nano_usd = 0"),
            format!("DELETE FROM {table}"),
            format!("TRUNCATE {table}"),
        ] {
            let error = fixture.raw(&sql).await.unwrap_err().to_string();
            assert!(error.contains("is append-only"), "{sql}: {error}");
        }
    }
    let found = store.list_requests(&RequestFilter::default(), tollgate_store::PageRequest::first(9)).await;
    assert_eq!(found.unwrap().items.len(), 7);
    assert_eq!(store.request(all[3].request).await.unwrap(), all[3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_application_s_role_adds_to_the_journal_and_changes_nothing_of_it() {
    let fixture = Fixture::postgres().await;
    fixture.store.prepare_partitions(NEW_YEAR).await.unwrap();
    for _ in 0..2 {
        fixture.store.grant_application_role("tollgate_app").await.unwrap();
    }
    fixture.raw("ALTER ROLE tollgate_app LOGIN").await.unwrap();
    let url = fixture.url.replace("postgres@", "tollgate_app@");
    let store = Store::connect(&url).await.unwrap();
    store.migrate().await.unwrap();
    // everything that a control plane does
    store.create_tenant(&ctx(), tenant(1)).await.unwrap();
    store.grant_credit(&ctx(), credit(1, 1, NanoUsd(500), None)).await.unwrap();
    assert_eq!(store.prepare_partitions(NEW_YEAR.plus_ms(2 * DAY_MS)).await.unwrap(), 2);
    let events = [event_at(1, NEW_YEAR), event_at(2, NEW_YEAR.plus_ms(15 * DAY_MS)), event(3, 1)];
    assert_eq!(store.journal_events(&events).await.unwrap(), 3);
    let settled = store.wallet_settled(TenantId::from_u128(1)).await.unwrap();
    assert_eq!(settled, crate::samples::cost_of(&events));
    store
        .update_tenant(&ctx_at(NEW_YEAR), TenantId::from_u128(1), |tenant| tenant.blocked = true)
        .await
        .unwrap();
    store.close().await;
    // and what nobody is to do with its login
    let pool = sqlx::PgPool::connect(&url).await.unwrap();
    for table in ["requests", "requests_20260101", "requests_default", "journal_entries", "credits", "audit"]
    {
        for sql in [
            format!("DELETE FROM {table}"),
            format!("TRUNCATE {table}"),
            format!("DROP TABLE {table}"),
            format!("ALTER TABLE {table} DISABLE TRIGGER ALL"),
        ] {
            let error = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.clone())).execute(&pool).await.unwrap_err();
            let error = error.to_string();
            assert!(error.contains("permission denied") || error.contains("must be owner"), "{sql}: {error}");
        }
    }
    for sql in [
        "UPDATE requests SET cost_nano_usd = 0",
        "UPDATE request_details SET cost_nano_usd = 0",
        "DELETE FROM request_details",
        "UPDATE journal_entries SET amount_nano_usd = 1",
        "UPDATE credits SET amount_nano_usd = 1",
        "UPDATE audit SET actor = 'eve'",
        "UPDATE schema_compatibility SET required_migration = 9",
        "CREATE TABLE mine (id INT)",
    ] {
        let error = sqlx::raw_sql(sql).execute(&pool).await.unwrap_err().to_string();
        assert!(error.contains("permission denied"), "{sql}: {error}");
    }
    pool.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_are_checked() {
    let sqlite = Fixture::sqlite().await;
    assert_eq!(invalid(sqlite.store.grant_application_role("tollgate_app").await), ("role", "role"));
    let postgres = Fixture::postgres().await;
    for name in ["", "1st", "a b", "a;drop table requests", "Upper", "a\"b", &"a".repeat(64)] {
        assert_eq!(invalid(postgres.store.grant_application_role(name).await), ("role", "role"), "{name}");
    }
}
