//! `tollgate all` killed at any moment, again and again on the same data: every request that reached the provider has
//! one journal row, nothing stays held, and no budget is passed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tollgate_testkit::http::HttpClient;
use tollgate_testkit::mock_provider::Script;
use tollgate_testkit::wait::eventually;

use crate::installation::{Installation, SETTLE_TIMEOUT, nano_usd};
use crate::recovery::{
    Bill, CHUNK_DELAY, LOAD, NOTHING_HELD_WITHIN, STREAM_CHUNKS, journaled_users, mixed_calls, page, rounds,
    tell,
};

/// `N_AFFORDED` × `PAGE_PRICE`, per round: the load asks for more than that.
const USD_PER_ROUND: u64 = 2;
const N_AFFORDED_PER_ROUND: u64 = 200;
const N_CLIENTS: usize = 4;
const SPENDER: &str = "spender";
/// What a client waits after a refusal.
const PAUSE: Duration = Duration::from_millis(5);

/// Calls that spend a budget, until told to stop.
fn spend(url: &str, secret: &str, stop: &Arc<AtomicBool>) -> tokio::task::JoinSet<()> {
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..N_CLIENTS {
        let (url, stop) = (url.to_owned(), Arc::clone(stop));
        let http = HttpClient::new().with_bearer(secret);
        clients.spawn(async move {
            while !stop.load(Ordering::Acquire) {
                // the process is killed under it
                let answer = http.post_json(&url, &page(SPENDER)).await;
                if answer.is_err() || answer.is_ok_and(|answer| answer.status != 200) {
                    tokio::time::sleep(PAUSE).await;
                }
            }
        });
    }
    clients
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_loses_no_request_and_doubles_none() -> anyhow::Result<()> {
    let mut installation = Installation::single().await?;
    let bill = Bill::of(&installation.mock, |body| {
        let is_stream = body["stream"] == true;
        let script = Script::new().n_chunks(STREAM_CHUNKS);
        if is_stream { script.delay_between_chunks(CHUNK_DELAY) } else { script }
    });
    let n_rounds = rounds();
    let limit = (USD_PER_ROUND * n_rounds as u64).to_string() + ".00";
    let key = installation.admin.key_with_budget(SPENDER, &limit).await?;
    let secret = key["secret"].as_str().context("a secret")?.to_owned();
    let mut starts = Vec::new();
    for round in 0..n_rounds {
        let (url, stop) = (installation.chat_url(0), Arc::new(AtomicBool::new(false)));
        let load = tokio::spawn(mixed_calls(vec![url.clone()], round));
        let spending = spend(&url, &secret, &stop);
        // at a time of its own in each round, between a fifth and four fifths of the load
        let share = 20 + u32::try_from(round * 37 % 61)?;
        tokio::time::sleep(LOAD * share / 100).await;
        starts.push(installation.kill_and_start_again().await?);
        stop.store(true, Ordering::Release);
        spending.join_all().await;
        load.await?;
    }
    eventually(NOTHING_HELD_WITHIN, "nothing to be held", async || {
        let holds = installation.admin.get("/holds?tenant=acme").await.ok()?;
        holds["data"].as_array()?.is_empty().then_some(())
    })
    .await
    .with_context(|| installation.logs())?;
    let dispatched = bill.all();
    let mut journaled = std::collections::HashMap::new();
    eventually(SETTLE_TIMEOUT, "every dispatched request in the journal", async || {
        journaled = journaled_users(&installation).await.ok()?;
        let of = |user: &str| journaled.get(user).map_or(0, |(n, _)| *n);
        dispatched.iter().all(|(user, n)| of(user) >= *n).then_some(())
    })
    .await
    .with_context(|| {
        let of = |user: &str| journaled.get(user).map_or(0, |(n, _)| *n);
        let missing: Vec<_> = dispatched.iter().filter(|(user, n)| of(user) < **n).collect();
        format!("{missing:?} of {} are missing:\n{}", dispatched.len(), installation.logs())
    })?;
    let others = journaled.iter().filter(|(user, _)| *user != SPENDER);
    let doubled: Vec<_> = others.clone().filter(|(_, (n, _))| *n != 1).collect();
    assert!(doubled.is_empty(), "journaled more than once: {doubled:?}");
    // a process that dies between an admission and its call leaves a hold that nothing was sent for
    let not_sent: Vec<_> = others.filter(|(user, _)| !dispatched.contains_key(*user)).collect();
    assert!(not_sent.iter().all(|(_, (_, is_lost))| *is_lost), "journaled and never sent: {not_sent:?}");
    let n_spent = bill.count(SPENDER);
    assert!(n_spent <= N_AFFORDED_PER_ROUND * n_rounds as u64, "{n_spent} calls were sent for {limit} USD");
    let budget = installation.admin.budget_of_key(&key).await?;
    let of = |name: &str| nano_usd(budget[name].as_str().unwrap_or_default());
    assert!(of("spent")? <= nano_usd(&limit)? && of("held")? == 0, "{budget}");
    let n_lost = journaled.values().filter(|(_, is_lost)| *is_lost).count();
    starts.sort_unstable();
    tell(format_args!(
        "{n_rounds} kills: {} dispatched with {n_spent} of the budget, {} journaled, {n_lost} of them lost, {} never sent; \
         start to ready p50 {:?} max {:?}",
        dispatched.values().sum::<u64>(),
        journaled.values().map(|(n, _)| n).sum::<u64>(),
        not_sent.len(),
        starts[starts.len() / 2],
        starts[starts.len() - 1],
    ));
    Ok(())
}
