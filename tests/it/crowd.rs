//! The promise under a crowd: many client processes on three pods, a budget worth less than half of what they
//! ask for, and not a call more is answered, sent or billed.

use anyhow::Context as _;
use serde_json::Value;
use tollgate_testkit::http::HttpClient;
use tollgate_testkit::process::ChildProcess;
use tollgate_testkit::wait::eventually;

use crate::installation::{Installation, SETTLE_TIMEOUT, STOP_TIMEOUT};

const N_CLIENTS: u64 = 8;
const N_CALLS: u64 = 12_000;
const N_AFFORDED: u64 = 5_000;
/// 5,000 × `PAGE_PRICE`.
const LIMIT: &str = "50.00";
/// Calls under way per client process.
const AT_ONCE: &str = "16";

/// Answers how many requests were admitted out of slabs.
async fn nothing_is_billed_beyond_the_budget(installation: Installation) -> anyhow::Result<u64> {
    let key = installation.admin.key_with_budget("crowd", LIMIT).await?;
    let secret = key["secret"].as_str().context("a secret")?;
    let http = HttpClient::new().with_bearer(secret);
    for gateway in &installation.traffic {
        eventually(SETTLE_TIMEOUT, "the new key on every pod", async || {
            http.get(&format!("{gateway}/v1/models")).await.ok().filter(|answer| answer.status == 200)
        })
        .await?;
    }
    let calls = (N_CALLS / N_CLIENTS).to_string();
    let mut clients = Vec::new();
    for _ in 0..N_CLIENTS {
        let builder = ChildProcess::builder(env!("CARGO_BIN_EXE_tollgate-crowd"))
            .args(["--key", secret, "--model", "mock/page", "--calls", &calls, "--at-once", AT_ONCE])
            .args(&installation.traffic);
        clients.push(builder.start()?);
    }
    let (mut n_answered, mut n_refused) = (0, 0);
    for client in &mut clients {
        let status = client.wait_exit(5 * STOP_TIMEOUT).await?;
        anyhow::ensure!(status.success(), "a client ended with {status}: {}", client.stderr_text());
        let counts: Value = serde_json::from_str(client.stdout_text().trim())?;
        assert_eq!(counts["others"], serde_json::json!({}), "neither answered nor refused for money");
        n_answered += counts["answered"].as_u64().context("a count")?;
        n_refused += counts["refused"].as_u64().context("a count")?;
    }
    assert_eq!((n_answered, n_refused), (N_AFFORDED, N_CALLS - N_AFFORDED));
    let n_local = installation.admitted_out_of_slabs().await?;
    installation.exactly_this_was_spent(&key, N_AFFORDED, LIMIT).await?;
    Ok(n_local)
}

#[tokio::test(flavor = "multi_thread")]
async fn three_pods_bill_a_crowd_exactly_what_a_budget_is_worth() -> anyhow::Result<()> {
    nothing_is_billed_beyond_the_budget(Installation::split_into(3).await?).await.map(drop)
}

/// The same out of slabs: near the limit they are returned, so that nothing is left over either.
#[tokio::test(flavor = "multi_thread")]
async fn three_pods_with_slabs_bill_a_crowd_exactly_what_a_budget_is_worth() -> anyhow::Result<()> {
    let slabs = [("TOLLGATE_SLABS", "on"), ("TOLLGATE_SLAB_PODS", "3")];
    let installation = Installation::split_with(3, &slabs).await?;
    let n_local = nothing_is_billed_beyond_the_budget(installation).await?;
    // how many depends on how soon the limit is near: all three pods lease far from it only
    assert!(n_local > 0, "no request was admitted out of slabs");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_bills_a_crowd_exactly_what_a_budget_is_worth() -> anyhow::Result<()> {
    nothing_is_billed_beyond_the_budget(Installation::single().await?).await.map(drop)
}
