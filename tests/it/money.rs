//! A budget is never passed: exactly what it affords is answered, whatever comes at once.

use tollgate_testkit::http::HttpClient;
use tollgate_testkit::wait::eventually;

use crate::installation::{Installation, SETTLE_TIMEOUT, chat, nano_usd};

const N_CALLS: usize = 400;
const N_AFFORDED: u64 = 100;
/// Tries per call while the ledger does not answer in time: nothing was sent then, and every SDK tries again.
const MAX_TRIES: usize = 20;
/// 100 × `PAGE_PRICE`.
const LIMIT: &str = "1.00";

async fn exactly_what_the_budget_affords(installation: Installation) -> anyhow::Result<()> {
    let key = installation.admin.key_with_budget("bounded", LIMIT).await?;
    let http = HttpClient::new().with_bearer(key["secret"].as_str().unwrap_or_default());
    // the key must have reached every pod before all call at once
    for n in 0..installation.traffic.len() {
        let models = format!("{}/v1/models", installation.traffic[n]);
        eventually(SETTLE_TIMEOUT, "the new key on every pod", async || {
            http.get(&models).await.ok().filter(|answer| answer.status == 200)
        })
        .await?;
    }
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..N_CALLS {
        let (http, url) = (http.clone(), installation.chat_url(n));
        calls.spawn(async move {
            for _ in 0..MAX_TRIES {
                let answer = http.post_json(&url, &chat("mock/page")).await?;
                if answer.status != 503 {
                    return Ok(answer);
                }
            }
            anyhow::bail!("the ledger did not answer in time {MAX_TRIES} times")
        });
    }
    let mut n_answered = 0;
    let mut n_refused = 0;
    for answer in calls.join_all().await {
        let answer = answer?;
        match answer.status.as_u16() {
            200 => n_answered += 1,
            402 => n_refused += 1,
            other => anyhow::bail!("status {other}: {}", answer.text()),
        }
    }
    assert_eq!((n_answered, n_refused), (N_AFFORDED, N_CALLS as u64 - N_AFFORDED));
    assert_eq!(installation.mock.counts().n_received, N_AFFORDED, "what is refused is not sent");
    let cost = installation.admin.wait_for_journal(&key, N_AFFORDED).await?;
    assert_eq!(cost, nano_usd(LIMIT)?, "the journal's sum");
    let budget = eventually(SETTLE_TIMEOUT, "nothing to be held", async || {
        let budget = installation.admin.budget_of_key(&key).await.ok()?;
        (nano_usd(budget["held"].as_str()?).ok()? == 0).then_some(budget)
    })
    .await?;
    assert_eq!(nano_usd(budget["spent"].as_str().unwrap_or_default())?, cost, "{budget}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pods_answer_exactly_what_a_budget_affords() -> anyhow::Result<()> {
    exactly_what_the_budget_affords(Installation::split().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_answers_exactly_what_a_budget_affords() -> anyhow::Result<()> {
    exactly_what_the_budget_affords(Installation::single().await?).await
}
