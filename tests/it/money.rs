//! A budget is never passed: exactly what it affords is answered, whatever comes at once.

use serde_json::json;
use tollgate_testkit::http::HttpClient;
use tollgate_testkit::mock_provider::Script;
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
    installation.exactly_this_was_spent(&key, N_AFFORDED, LIMIT).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pods_answer_exactly_what_a_budget_affords() -> anyhow::Result<()> {
    exactly_what_the_budget_affords(Installation::split().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_answers_exactly_what_a_budget_affords() -> anyhow::Result<()> {
    exactly_what_the_budget_affords(Installation::single().await?).await
}

/// Answer tokens that the provider would give if nothing stopped it.
const LONG_ANSWER: usize = 20_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_of_five_cents_is_answered_within_its_money() -> anyhow::Result<()> {
    let installation = Installation::single().await?;
    let admin = &installation.admin;
    for (meter, price) in [("input", "3.00"), ("output", "15.00")] {
        let row = json!({ "provider": "mock", "model": "dear", "meter": meter, "price": price });
        admin.post("/prices", &row).await?;
    }
    admin.post("/tenants", &json!({ "name": "small", "billing": "prepaid" })).await?;
    let credit = json!({ "amount": "0.05", "kind": "topup", "reference": "first" });
    admin.post("/tenants/small/credits", &credit).await?;
    let project = admin.post("/tenants/small/projects", &json!({ "name": "only" })).await?;
    let keys = format!("/projects/{}/keys", project["id"].as_str().unwrap_or_default());
    let key = admin.post(&keys, &json!({ "name": "k" })).await?;
    let http = HttpClient::new().with_bearer(key["secret"].as_str().unwrap_or_default());
    installation.mock.set_default(Script::new().text(&"x ".repeat(LONG_ANSWER)));

    // no `max_tokens`: what the money affords is written into the request, and the client is told
    let ask = json!({ "model": "mock/dear", "messages": [{ "role": "user", "content": "tell me all" }] });
    let answer = eventually(SETTLE_TIMEOUT, "the new key", async || {
        http.post_json(&installation.chat_url(0), &ask).await.ok().filter(|answer| answer.status != 401)
    })
    .await?
    .expect_status(200)?;
    let cap: u64 = answer.header("x-tollgate-max-tokens").unwrap_or_default().parse()?;
    // 0.05 USD buys 3,333 tokens at 15 USD per million, less what the prompt may cost
    assert!((2_000..=3_333).contains(&cap), "{cap}");
    let body = answer.json()?;
    assert_eq!(body["usage"]["completion_tokens"], cap, "the provider was told the cap");
    assert_eq!(body["choices"][0]["finish_reason"], "length");
    let cost = nano_usd(answer.header("x-tollgate-cost-usd").unwrap_or_default())?;
    assert!(cost <= nano_usd("0.05")?, "{cost}");

    // what is left does not buy another answer, and nothing is sent
    http.post_json(&installation.chat_url(0), &ask).await?.expect_status(402)?;
    assert_eq!(installation.mock.counts().n_received, 1);
    assert_eq!(admin.wait_for_journal(&key, 1).await?, cost);
    Ok(())
}
