//! The journal writer while its database goes and comes.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use tollgate_domain::{Id, NanoUsd, TenantId};
use tollgate_ledger::Settlement;
use tollgate_store::Store;
use tollgate_testkit::postgres::PostgresServer;
use tollgate_testkit::wait::eventually;

use super::harness::{PATIENCE, World};
use super::money::{event, prepaid};
use crate::{CreatedKey, ListQuery, RequestQuery};

const DATABASE: &str = "tollgate";

/// Puts finished requests into the outbox.
async fn settle(world: &World, tenant: TenantId, key: &CreatedKey, numbers: RangeInclusive<u128>) {
    for number in numbers {
        let hold = Id::from_u128(number);
        let event = Some(std::sync::Arc::new(event(tenant, key, hold, number)));
        let settlement = Settlement { tenant, hold, actual: NanoUsd::ZERO, tokens: 0, event };
        world.ledger.settle(&settlement).await.unwrap();
    }
}

async fn outbox_is_empty(world: &World) {
    let emptied = async || (world.ledger.outbox_len().await.unwrap() == 0).then_some(());
    eventually(PATIENCE, "an empty outbox", emptied).await.unwrap();
}

async fn writer_fails(world: &World) {
    let failing = async || world.control.journal_status().is_failing.then_some(());
    eventually(PATIENCE, "a batch that fails", failing).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_event_is_journaled_once_while_postgres_stops_crashes_and_comes_back() {
    let mut server = PostgresServer::start().await.unwrap();
    let url = server.create_database(DATABASE).await.unwrap();
    // A crash must not lose what was acknowledged: the server of the tests would.
    let durable = format!("ALTER DATABASE {DATABASE} SET synchronous_commit = on");
    server.query(DATABASE, &durable).await.unwrap();
    let store = Store::connect(&url).await.unwrap();
    store.migrate().await.unwrap();
    let world = World::over(store).await;
    let (tenant, key, _) = prepaid(&world).await;

    settle(&world, tenant, &key, 1..=20).await;
    server.stop().await.unwrap();
    settle(&world, tenant, &key, 21..=40).await;
    writer_fails(&world).await;
    server.start_again().await.unwrap();
    outbox_is_empty(&world).await;

    settle(&world, tenant, &key, 41..=60).await;
    server.crash().await.unwrap();
    settle(&world, tenant, &key, 61..=80).await;
    writer_fails(&world).await;
    assert!(world.ledger.outbox_len().await.unwrap() >= 20, "events wait while the database is away");
    server.start_again().await.unwrap();
    outbox_is_empty(&world).await;

    let (app, admin) = (world.app(), &world.admin);
    let query = RequestQuery { limit: Some(1_000), ..RequestQuery::default() };
    let requests = app.list_requests(admin, &query).await.unwrap().data;
    let ids: BTreeSet<&str> = requests.iter().map(|request| request.id.as_str()).collect();
    assert_eq!((requests.len(), ids.len()), (80, 80));
    let list = ListQuery { limit: Some(1_000), after: None };
    let postings = app.list_ledger(admin, "acme", &list).await.unwrap().data;
    assert_eq!(postings.iter().filter(|posting| posting.kind == "charge").count(), 80);
    assert_eq!(world.store.wallet_settled(tenant).await.unwrap(), NanoUsd(80 * 250_000_000));
    let status = world.control.journal_status();
    assert_eq!((status.journaled + status.repeated, status.malformed, status.is_failing), (80, 0, false));
}
