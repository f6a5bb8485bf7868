//! What the mock provider keeps and counts.

use std::time::Duration;

use tokio::task::JoinSet;
use tollgate_testkit::http::{HttpClient, exchange_bytes};
use tollgate_testkit::mock_provider::{Counts, Gate, MockProvider, RECORDED_REQUESTS_MAX, Script};

const BODY: &str = r#"{"model":"m","messages":[{"role":"user","content":"hello"}]}"#;

#[tokio::test]
async fn keeps_what_it_received() -> anyhow::Result<()> {
    let mock = MockProvider::start().await?;
    let client = HttpClient::new().with_bearer("secret-key");
    let url = format!("{}/chat/completions?x=1", mock.base_url());
    for _ in 0..2 {
        client.post_bytes(&url, BODY).await?;
    }
    let requests = mock.requests();
    assert_eq!(requests.len(), 2);
    let request = &requests[1];
    assert_eq!((request.method(), request.path()), ("POST", "/v1/chat/completions?x=1"));
    assert_eq!((request.body().as_ref(), request.sequence()), (BODY.as_bytes(), 2));
    assert_eq!(request.bearer(), Some("secret-key"));
    assert!(request.headers().contains(&("authorization".to_owned(), "Bearer secret-key".to_owned())));
    assert_eq!(request.connection(), requests[0].connection(), "the connection is kept");
    let debug = format!("{request:?}");
    assert!(!debug.contains("secret-key") && !debug.contains("hello"), "{debug}");

    mock.clear_requests();
    mock.record(false);
    client.post_bytes(&url, BODY).await?;
    assert!(mock.last_request().is_err());
    mock.wait_for_complete(3).await?;
    assert_eq!(mock.counts().n_received, 3);
    Ok(())
}

#[tokio::test]
async fn understands_chunked_bodies_and_continue() -> anyhow::Result<()> {
    let mock = MockProvider::start().await?;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nexpect: 100-continue\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    let (start, rest) = BODY.split_at(10);
    let bytes =
        format!("{head}a;note=1\r\n{start}\r\n{:X}\r\n{rest}\r\n0\r\nx-trailer: 1\r\n\r\n", rest.len());
    let received = exchange_bytes(mock.address(), bytes.as_bytes(), Duration::from_secs(5)).await?;
    let received = String::from_utf8(received)?;
    assert!(received.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"), "{received}");
    assert_eq!(mock.last_request()?.body().as_ref(), BODY.as_bytes());
    Ok(())
}

#[tokio::test]
async fn counts_requests_that_make_no_sense() -> anyhow::Result<()> {
    let mock = MockProvider::start().await?;
    for bytes in [
        "POST / HTTP/1.1\r\ncontent-length: many\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc\r\n",
    ] {
        let received = exchange_bytes(mock.address(), bytes.as_bytes(), Duration::from_secs(5)).await?;
        assert_eq!(received, b"", "{bytes}");
    }
    assert_eq!((mock.counts().n_bad_requests, mock.counts().n_received), (3, 0));
    Ok(())
}

#[tokio::test]
async fn a_responder_chooses_by_request() -> anyhow::Result<()> {
    let mock = MockProvider::start().await?;
    mock.set_responder(|request| (request.bearer() == Some("bad")).then(|| Script::error(401, "no")));
    mock.push(Script::new().status(503));
    let url = format!("{}/chat/completions", mock.base_url());
    let (good, bad) = (HttpClient::new().with_bearer("good"), HttpClient::new().with_bearer("bad"));
    bad.post_bytes(&url, BODY).await?.expect_status(401)?;
    good.post_bytes(&url, BODY).await?.expect_status(503)?;
    good.post_bytes(&url, BODY).await?.expect_status(200)?;
    bad.get(&format!("{}/models", mock.base_url())).await?.expect_status(401)?;
    Ok(())
}

#[tokio::test]
async fn sees_how_many_are_in_flight() -> anyhow::Result<()> {
    let mock = MockProvider::start().await?;
    let gate = Gate::new();
    mock.set_default(Script::new().hold_before_headers(&gate));
    let client = HttpClient::new();
    let mut tasks = JoinSet::new();
    for _ in 0..50 {
        let (client, url) = (client.clone(), format!("{}/chat/completions", mock.base_url()));
        tasks.spawn(async move { client.post_bytes(&url, BODY).await.unwrap().status });
    }
    gate.wait_for_waiting(50).await?;
    assert_eq!(mock.counts().n_in_flight, 50);
    gate.open();
    assert!(tasks.join_all().await.iter().all(|status| *status == 200));
    mock.wait_for_idle().await?;
    assert_eq!(mock.counts().n_in_flight_max, 50);
    Ok(())
}

#[tokio::test]
async fn counts_stay_right_beyond_the_bound_of_the_record() -> anyhow::Result<()> {
    const N_CLIENTS: usize = 16;
    let n_each = RECORDED_REQUESTS_MAX / N_CLIENTS + 100;
    let mock = MockProvider::start().await?;
    mock.set_default(Script::new().body("text/plain", "ok"));
    let client = HttpClient::new();
    let mut tasks = JoinSet::new();
    for _ in 0..N_CLIENTS {
        let (client, url) = (client.clone(), format!("{}/chat/completions", mock.base_url()));
        tasks.spawn(async move {
            for _ in 0..n_each {
                assert_eq!(client.post_bytes(&url, BODY).await.unwrap().status, 200);
            }
        });
    }
    tasks.join_all().await;
    let n_total = (N_CLIENTS * n_each) as u64;
    mock.wait_for_complete(n_total).await?;
    mock.wait_for_idle().await?;
    let counts = mock.counts();
    let Counts { n_received, n_complete, n_disconnects, n_broken_off, n_bad_requests, .. } = counts;
    assert_eq!([n_received, n_complete], [n_total; 2]);
    assert_eq!([n_disconnects, n_broken_off, n_bad_requests], [0; 3]);
    assert!(counts.n_in_flight_max <= N_CLIENTS as u64, "{counts:?}");
    let requests = mock.requests();
    assert_eq!(requests.len(), RECORDED_REQUESTS_MAX);
    let mut sequences = requests.iter().map(|request| request.sequence()).collect::<Vec<_>>();
    sequences.sort_unstable();
    sequences.dedup();
    assert_eq!(sequences.len(), RECORDED_REQUESTS_MAX, "every request has a number of its own");
    Ok(())
}
