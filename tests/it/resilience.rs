//! Parts that stop while others go on: the control plane, the database, pods, clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::json;
use tollgate_testkit::http::HttpClient;
use tollgate_testkit::mock_provider::{Gate, Script};
use tollgate_testkit::process::Signal;
use tollgate_testkit::wait::eventually;

use crate::installation::{Installation, KEY, SETTLE_TIMEOUT, STOP_TIMEOUT, chat};

/// Calls without a pause from a few connections until told to stop; gives how many were answered.
fn load(
    installation: &Installation,
    stop: &Arc<AtomicBool>,
) -> (tokio::task::JoinSet<Vec<String>>, Arc<AtomicU64>) {
    const N_CLIENTS: usize = 8;
    let answered = Arc::new(AtomicU64::new(0));
    let mut clients = tokio::task::JoinSet::new();
    for n in 0..N_CLIENTS {
        let (url, stop, answered) = (installation.chat_url(n), Arc::clone(stop), Arc::clone(&answered));
        clients.spawn(async move {
            let http = HttpClient::new().with_bearer(KEY);
            let mut failures = Vec::new();
            while !stop.load(Ordering::Acquire) {
                match http.post_json(&url, &chat("mock/m")).await {
                    Ok(answer) if answer.status == 200 => {
                        answered.fetch_add(1, Ordering::AcqRel);
                    }
                    Ok(answer) => failures.push(format!("{} {}", answer.status, answer.text())),
                    Err(error) => failures.push(format!("{error:#}")),
                }
            }
            failures
        });
    }
    (clients, answered)
}

/// Waits until `n` more calls were answered.
async fn more(answered: &AtomicU64, n: u64) -> anyhow::Result<()> {
    let goal = answered.load(Ordering::Acquire) + n;
    eventually(Duration::from_secs(30), "more answers", async || {
        (answered.load(Ordering::Acquire) >= goal).then_some(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_does_not_notice_that_control_plane_and_database_are_gone() -> anyhow::Result<()> {
    let mut installation = Installation::split().await?;
    let stop = Arc::new(AtomicBool::new(false));
    let (clients, answered) = load(&installation, &stop);
    more(&answered, 100).await?;
    installation.stop_control_and_postgres().await?;
    more(&answered, 300).await?;
    installation.start_control_and_postgres().await?;
    more(&answered, 100).await?;
    stop.store(true, Ordering::Release);
    let failures: Vec<String> = clients.join_all().await.into_iter().flatten().collect();
    assert!(failures.is_empty(), "{} failures, the first: {:?}", failures.len(), failures.first());
    let n = answered.load(Ordering::Acquire);
    let journaled = eventually(SETTLE_TIMEOUT, "a complete journal", async || {
        let report = installation.admin.get("/usage?group_by=tenant").await.ok()?;
        (report["data"][0]["requests"].as_u64()? == n).then_some(report)
    })
    .await?;
    assert_eq!(journaled["data"][0]["errors"], 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_refused_everywhere_within_a_second() -> anyhow::Result<()> {
    let installation = Installation::split().await?;
    let key = installation.admin.post("/projects/bot/keys", &json!({ "name": "short-lived" })).await?;
    let http = HttpClient::new().with_bearer(key["secret"].as_str().unwrap_or_default());
    for n in 0..2 {
        eventually(SETTLE_TIMEOUT, "the key to be accepted", async || {
            http.post_json(&installation.chat_url(n), &chat("mock/m"))
                .await
                .ok()
                .filter(|answer| answer.status == 200)
        })
        .await?;
    }
    installation.admin.delete(&format!("/keys/{}", key["id"].as_str().unwrap_or_default())).await?;
    let revoked = Instant::now();
    for n in 0..2 {
        eventually(Duration::from_secs(10), "the key to be refused", async || {
            http.post_json(&installation.chat_url(n), &chat("mock/m"))
                .await
                .ok()
                .filter(|answer| answer.status == 401)
        })
        .await?;
    }
    // a bound of the product, with a wide margin to what is usual: a few milliseconds
    assert!(revoked.elapsed() < Duration::from_secs(1), "{:?}", revoked.elapsed());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_finished_before_a_pod_ends() -> anyhow::Result<()> {
    const N_STREAMS: usize = 50;
    let mut installation = Installation::single().await?;
    let gate = Gate::new();
    installation.mock.set_default(Script::new().n_chunks(20).hold_after_chunks(5, &gate));
    let http = HttpClient::new().with_bearer(KEY);
    let mut body = chat("mock/m");
    body["stream"] = json!(true);
    let mut streams = Vec::new();
    for _ in 0..N_STREAMS {
        let mut stream = http.post_stream(&installation.chat_url(0), &body).await?;
        assert_eq!(stream.status, 200);
        stream.next_data().await?;
        streams.push(stream);
    }
    gate.wait_for_waiting(N_STREAMS).await?;
    installation.gateways[0].signal(Signal::Terminate)?;
    let address = installation.traffic[0].trim_start_matches("http://").to_owned();
    eventually(STOP_TIMEOUT, "new connections to be refused", async || {
        tokio::net::TcpStream::connect(&address).await.is_err().then_some(())
    })
    .await?;
    gate.open();
    for mut stream in streams {
        let data = stream.collect_data().await?;
        assert_eq!(data.last().map(String::as_str), Some("[DONE]"));
        let n_text = data.iter().filter(|data| data.contains("\"content\":")).count();
        assert!(n_text >= 19, "{n_text}");
    }
    let status = installation.gateways[0].wait_exit(STOP_TIMEOUT).await?;
    assert_eq!(status.code(), Some(0), "{}", installation.gateways[0].stderr_text());
    Ok(())
}

/// Clients that leave at random places; the generator is seeded so that a failure can be repeated.
async fn clients_that_leave(installation: &Installation) -> anyhow::Result<u64> {
    const N_ABORTS: u64 = 500;
    const N_AT_ONCE: usize = 25;
    let places = Arc::new(tokio::sync::Semaphore::new(N_AT_ONCE));
    let mut clients = tokio::task::JoinSet::new();
    for n in 0..N_ABORTS {
        let (url, places) = (installation.chat_url(n as usize), Arc::clone(&places));
        clients.spawn(async move {
            let _place = places.acquire_owned().await;
            let random = n.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(17);
            let mut body = chat("mock/m");
            body["stream"] = json!(random % 4 != 0);
            let http = HttpClient::new().with_bearer(KEY);
            let calling = async {
                let mut stream = http.post_stream(&url, &body).await?;
                for _ in 0..random % 7 {
                    stream.next_data().await?;
                }
                anyhow::Ok(())
            };
            // some leave before the head, some in the middle of the body
            let _ = tokio::time::timeout(Duration::from_micros(200 + random % 9_000), calling).await;
        });
    }
    clients.join_all().await;
    Ok(N_ABORTS)
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_leave_hold_nothing() -> anyhow::Result<()> {
    let installation = Installation::split().await?;
    let script = Script::new().n_chunks(6).delay_between_chunks(Duration::from_millis(2));
    installation.mock.set_default(script);
    let body = json!({ "tenant": "acme", "limit": "1000", "window": "total" });
    let budget = installation.admin.post("/budgets", &body).await?;
    for url in &installation.traffic {
        // what begins with the first request is there; a cold and loaded machine may refuse some
        let (http, url) = (HttpClient::new().with_bearer(KEY), format!("{url}/v1/chat/completions"));
        eventually(SETTLE_TIMEOUT, "an answer", async || {
            let answer = http.post_json(&url, &chat("mock/m")).await.ok()?;
            (answer.status == 200).then_some(())
        })
        .await?;
    }
    let before = installation.metric("tollgate_tasks").await?;
    assert!(before.iter().all(|n_tasks| *n_tasks > 5), "{before:?}");
    clients_that_leave(&installation).await?;
    let path = format!("/budgets/{}", budget["id"].as_str().unwrap_or_default());
    let settled = eventually(SETTLE_TIMEOUT, "nothing to be held", async || {
        let budget = installation.admin.get(&path).await.ok()?;
        let in_flight = installation.redis(&["EVAL", COUNT_HOLDS, "0"]).await.ok()?;
        (budget["held"] == "0" && in_flight.trim() == "0").then_some(budget)
    })
    .await?;
    assert_ne!(settled["spent"], "0", "those that came to the first byte were charged: {settled}");
    installation.mock.wait_for_idle().await?;
    let mut after = Vec::new();
    let none_left = eventually(SETTLE_TIMEOUT, "as many tasks as before", async || {
        after = installation.metric("tollgate_tasks").await.ok()?;
        after.iter().zip(&before).all(|(after, before)| *after <= before + FEW_TASKS).then_some(())
    });
    none_left.await.with_context(|| format!("{before:?} tasks before, {after:?} after"))?;
    Ok(())
}

/// Tasks that come and go by themselves: reports to the control plane, the connection that asks for the metrics.
const FEW_TASKS: u64 = 4;
/// The number of holds in Redis, whichever tenant's.
const COUNT_HOLDS: &str = "local n = 0 for _, key in ipairs(redis.call('KEYS', 'tg:*:holds')) do n = n + redis.call('HLEN', key) end return n";
