//! The journal writer while its database goes and comes.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use tollgate_domain::{
    Attempt, AttemptBill, AttemptOutcome, Id, Meter, NanoUsd, SettlementBasis, TenantId, Usage,
};
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

/// Each attempt of a receipt has its share, and the shares are the request's cost, also where the hold did not pay for all.
#[tokio::test]
async fn a_receipt_tells_what_each_attempt_was_charged() {
    let world = World::new().await;
    let (tenant, key, _) = prepaid(&world).await;
    for (number, cost, expected) in
        [(1, 100, [Some(30), None, Some(20), Some(50)]), (2, 40, [Some(30), None, Some(10), Some(0)])]
    {
        let mut event = event(tenant, &key, Id::from_u128(number), number);
        let told = Usage::ZERO.with(Meter::Input, 7);
        (event.cost, event.provider_cost, event.usage) =
            (NanoUsd(cost), NanoUsd(90), told.plus(&told).plus(&told));
        let main = event.attempts.remove(0);
        let lost = |provider: &str, bill: Option<i64>| Attempt {
            provider: provider.into(),
            outcome: AttemptOutcome::Timeout,
            bill: bill.map(|cost| {
                Box::new(AttemptBill {
                    cost: NanoUsd(cost),
                    provider_cost: NanoUsd(cost),
                    usage: told,
                    basis: SettlementBasis::Estimated,
                    charge: Vec::new(),
                    margin: None,
                    provider_charge: None,
                })
            }),
            ..main.clone()
        };
        event.attempts = vec![lost("a", Some(30)), lost("b", None), lost("openai", Some(20)), main.clone()];
        (event.provider, event.model) = (main.provider.clone(), main.model.clone());
        let request = event.request.to_string();
        world.store.journal_events(&[event]).await.unwrap();
        let receipt = world.app().request(&world.admin, &request).await.unwrap();
        let shares: Vec<Option<i64>> =
            receipt.attempts.iter().map(|attempt| attempt.cost.map(|cost| cost.0.0)).collect();
        assert_eq!(shares, expected, "of {cost}");
        let usage = |n: usize| receipt.attempts[n].usage.clone().unwrap_or_default().get("input").copied();
        assert_eq!([usage(0), usage(1), usage(2), usage(3)], [Some(7), None, Some(7), Some(7)]);
    }
}
