//! `Idempotency-Key` over all pods: one call, one charge, one row in the journal, and the same answer for all.

use anyhow::Context as _;
use serde_json::Value;
use tollgate_testkit::http::{Answer, HttpClient};
use tollgate_testkit::mock_provider::{Gate, Script, Usage};
use tollgate_testkit::wait::eventually;

use crate::installation::{INPUT_PRICE, Installation, OUTPUT_PRICE, SETTLE_TIMEOUT, chat};

const N_DUPLICATES: usize = 100;
const USAGE: Usage = Usage { prompt_tokens: 21, completion_tokens: 9, cached_tokens: 0, reasoning_tokens: 0 };
const COST: u64 = USAGE.prompt_tokens * INPUT_PRICE + USAGE.completion_tokens * OUTPUT_PRICE;
const REPLAY: &str = "x-tollgate-idempotent-replay";

async fn send(http: HttpClient, url: String, key: String, body: Value) -> anyhow::Result<Answer> {
    let mut request = http.request(hyper::Method::POST, &url, body.to_string())?;
    request.headers_mut().insert("idempotency-key", key.parse()?);
    http.send(request).await
}

/// A key of its own that every pod knows, and a client with it.
async fn client(installation: &Installation, name: &str) -> anyhow::Result<(Value, HttpClient)> {
    let key = installation.admin.key_with_budget(name, "1.00").await?;
    let http = HttpClient::new().with_bearer(key["secret"].as_str().context("a secret")?);
    for gateway in &installation.traffic {
        eventually(SETTLE_TIMEOUT, "the new key on every pod", async || {
            http.get(&format!("{gateway}/v1/models")).await.ok().filter(|answer| answer.status == 200)
        })
        .await?;
    }
    Ok((key, http))
}

async fn duplicates_are_one_request(installation: Installation) -> anyhow::Result<()> {
    let (key, http) = client(&installation, "once").await?;
    let mut streamed = chat("mock/m");
    streamed["stream"] = Value::Bool(true);
    for (n, (name, body)) in [("whole", chat("mock/m")), ("streamed", streamed)].into_iter().enumerate() {
        let gate = Gate::new();
        installation
            .mock
            .set_default(Script::new().text("one two three").usage(USAGE).hold_before_headers(&gate));
        let mut calls = tokio::task::JoinSet::new();
        for pod in 0..N_DUPLICATES {
            calls.spawn(send(http.clone(), installation.chat_url(pod), name.to_owned(), body.clone()));
        }
        gate.wait_for_waiting(1).await?;
        gate.open();
        let answers = calls.join_all().await.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
        let n_calls = n as u64 + 1;
        assert_eq!(installation.mock.counts().n_received, n_calls, "{name}: one call");
        let first = answers.iter().find(|answer| answer.header(REPLAY).is_none()).context("the first")?;
        assert!(first.text().contains("three"), "{name}: {}", first.text());
        for answer in &answers {
            assert_eq!(answer.status.as_u16(), 200, "{name}: {}", answer.text());
            assert_eq!(answer.body, first.body, "{name}");
            let header = |name| (answer.header(name), first.header(name));
            for (its, the_firsts) in
                ["x-tollgate-request-id", "x-tollgate-cost-usd", "content-type"].map(header)
            {
                assert_eq!(its, the_firsts, "{name}");
            }
        }
        assert_eq!(answers.iter().filter(|answer| answer.header(REPLAY).is_none()).count(), 1, "{name}");
        assert_eq!(installation.admin.wait_for_journal(&key, n_calls).await?, n_calls * COST, "{name}");
        for pod in 0..installation.traffic.len() {
            let again = send(http.clone(), installation.chat_url(pod), name.to_owned(), body.clone()).await?;
            assert_eq!((again.header(REPLAY), &again.body), (Some("true"), &first.body), "{name}");
            let other =
                send(http.clone(), installation.chat_url(pod), name.to_owned(), chat("mock/page")).await?;
            assert_eq!(other.status.as_u16(), 422, "{name}: {}", other.text());
        }
        // a receipt of the one request, under the id that all were told
        let id = first.header("x-tollgate-request-id").context("an id")?;
        let receipt = installation.admin.get(&format!("/requests/{id}")).await?;
        assert_eq!(receipt["usage"]["output"], USAGE.completion_tokens, "{receipt}");
    }
    assert_eq!(installation.mock.counts().n_received, 2);
    // another request, journaled after all of the above, shows that nothing else was
    installation.mock.set_default(Script::new().usage(USAGE));
    http.post_json(&installation.chat_url(0), &chat("mock/m")).await?.expect_status(200)?;
    assert_eq!(installation.admin.wait_for_journal(&key, 3).await?, 3 * COST);
    let kept = installation.redis(&["KEYS", "*:idempotency:*"]).await?;
    assert!(!kept.contains("whole") && !kept.contains("streamed"), "only hashes of keys: {kept}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_over_two_pods_are_one_request() -> anyhow::Result<()> {
    duplicates_are_one_request(Installation::split().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_in_one_process_are_one_request() -> anyhow::Result<()> {
    duplicates_are_one_request(Installation::single().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_runs_once_the_dead_pods_lease_has_ended() -> anyhow::Result<()> {
    let lease = [("TOLLGATE_HOLD_LEASE_SECONDS", "3"), ("TOLLGATE_SUSPECT_AFTER_SECONDS", "3")];
    let mut installation = Installation::split_with(2, &lease).await?;
    let (key, http) = client(&installation, "crash").await?;
    let gate = Gate::new();
    installation.mock.push(Script::new().hold_before_headers(&gate));
    installation.mock.set_default(Script::new().usage(USAGE));
    let first = tokio::spawn(send(http.clone(), installation.chat_url(0), "k".to_owned(), chat("mock/m")));
    gate.wait_for_waiting(1).await?;
    let second = tokio::spawn(send(http.clone(), installation.chat_url(1), "k".to_owned(), chat("mock/m")));
    installation.replace_gateway(0).await?;
    assert!(first.await?.is_err(), "its pod is gone");
    let second = second.await??.expect_status(200)?;
    assert_eq!(second.header(REPLAY), None, "it ran");
    assert_eq!(installation.mock.counts().n_received, 2);
    let again = send(http, installation.chat_url(0), "k".to_owned(), chat("mock/m")).await?;
    assert_eq!((again.header(REPLAY), &again.body), (Some("true"), &second.body));
    // the first is journaled as lost, at what its prompt cost at most; the second as what it was
    let cost = installation.admin.wait_for_journal(&key, 2).await?;
    assert!(cost > COST, "{cost}");
    let id = second.header("x-tollgate-request-id").context("an id")?;
    assert_eq!(installation.admin.get(&format!("/requests/{id}")).await?["basis"], "provider");
    Ok(())
}
