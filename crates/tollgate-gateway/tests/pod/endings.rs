//! Endings that nobody asked for: clients that leave, pods that stop.

use std::time::Duration;

use tollgate_domain::{NanoUsd, RequestOutcome, SettlementBasis};
use tollgate_testkit::mock_provider::{Gate, Script};
use tollgate_testkit::wait::eventually;

use crate::harness::{Pod, Setup, hello, streamed};

#[tokio::test]
async fn a_client_that_leaves_a_stream_cancels_it_and_pays_for_what_was_produced() {
    let pod = Pod::start(Setup::default()).await;
    let gate = Gate::new();
    pod.mock.push(Script::new().n_chunks(50).hold_after_chunks(5, &gate));
    let mut stream = pod.stream(&streamed("one")).await;
    for _ in 0..4 {
        stream.next_data().await.unwrap();
    }
    gate.wait_for_waiting(1).await.unwrap();
    drop(stream);
    pod.mock.wait_for_disconnects(1).await.unwrap();
    let event = pod.next_event().await;
    assert_eq!((event.outcome, event.status), (RequestOutcome::ClientClosed, 499));
    assert_eq!(event.basis, SettlementBasis::Counted);
    assert!(event.cost > NanoUsd::ZERO && event.usage.output_tokens() <= 10, "{:?}", event.usage);
    pod.wait_until_nothing_is_held().await;
}

#[tokio::test]
async fn a_client_that_leaves_while_waiting_cancels_the_provider() {
    let pod = Pod::start(Setup::default()).await;
    let gate = Gate::new();
    pod.mock.push(Script::new().hold_before_headers(&gate));
    let (http, url) = (pod.http.clone(), pod.url("/v1/chat/completions"));
    let call = tokio::spawn(async move { http.post_json(&url, &hello("one")).await });
    gate.wait_for_waiting(1).await.unwrap();
    call.abort();
    pod.mock.wait_for_disconnects(1).await.unwrap();
    let event = pod.next_event().await;
    assert_eq!((event.outcome, event.basis), (RequestOutcome::ClientClosed, SettlementBasis::Estimated));
    pod.wait_until_nothing_is_held().await;
}

#[tokio::test]
async fn streams_finish_when_the_pod_is_told_to_stop() {
    let mut pod = Pod::start(Setup::default()).await;
    let gate = Gate::new();
    pod.mock.set_default(Script::new().n_chunks(8).hold_after_chunks(3, &gate));
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = pod.stream(&streamed("one")).await;
        stream.next_data().await.unwrap();
        streams.push(stream);
    }
    gate.wait_for_waiting(20).await.unwrap();
    pod.stop.cancel();
    eventually(Duration::from_secs(10), "new connections to be refused", async || {
        tokio::net::TcpStream::connect(pod.url.trim_start_matches("http://")).await.is_err().then_some(())
    })
    .await
    .unwrap();
    gate.open();
    for mut stream in streams {
        assert_eq!(stream.collect_data().await.unwrap().last().map(String::as_str), Some("[DONE]"));
    }
    tokio::time::timeout(Duration::from_secs(10), &mut pod.server).await.unwrap().unwrap();
    pod.gateway.drain().await;
    assert_eq!(pod.gateway.open_holds(), 0);
}

#[tokio::test]
async fn after_the_grace_period_streams_end_with_an_error_event() {
    let mut setup = Setup::default();
    setup.config.grace = Duration::from_millis(100);
    let mut pod = Pod::start(setup).await;
    let gate = Gate::new();
    pod.mock.set_default(Script::new().n_chunks(8).hold_after_chunks(3, &gate));
    let mut stream = pod.stream(&streamed("one")).await;
    stream.next_data().await.unwrap();
    gate.wait_for_waiting(1).await.unwrap();
    pod.stop.cancel();
    let data = stream.collect_data().await.unwrap();
    assert!(data.last().unwrap().contains("overloaded"), "{data:?}");
    tokio::time::timeout(Duration::from_secs(10), &mut pod.server).await.unwrap().unwrap();
    pod.gateway.drain().await;
    assert_eq!(pod.spent_and_held().await.1, NanoUsd::ZERO);
}

#[tokio::test]
async fn a_request_that_outlasts_the_grace_period_is_ended_and_settled() {
    let mut setup = Setup::default();
    setup.config.grace = Duration::from_millis(100);
    let mut pod = Pod::start(setup).await;
    let gate = Gate::new();
    pod.mock.push(Script::new().hold_before_headers(&gate));
    let (http, url) = (pod.http.clone(), pod.url("/v1/chat/completions"));
    let call = tokio::spawn(async move { http.post_json(&url, &hello("one")).await });
    gate.wait_for_waiting(1).await.unwrap();
    pod.stop.cancel();
    assert_eq!(call.await.unwrap().unwrap().status.as_u16(), 503);
    tokio::time::timeout(Duration::from_secs(10), &mut pod.server).await.unwrap().unwrap();
    pod.gateway.drain().await;
    assert_eq!(pod.next_event().await.basis, SettlementBasis::Estimated);
    assert_eq!(pod.spent_and_held().await.1, NanoUsd::ZERO);
}

/// A client that asks for a stream and never reads it: its connection is cut at the end of the drain.
#[tokio::test]
async fn a_client_that_does_not_read_cannot_hold_up_the_end() {
    use tokio::io::AsyncWriteExt;
    let mut setup = Setup::default();
    setup.config.grace = Duration::from_millis(100);
    let mut pod = Pod::start(setup).await;
    pod.mock.push(Script::new().text(&"word ".repeat(400_000)));
    let address = pod.url.trim_start_matches("http://").to_owned();
    let mut socket = tokio::net::TcpStream::connect(&address).await.unwrap();
    let body = streamed("one").to_string();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n",
        crate::harness::KEY,
        body.len()
    );
    socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    eventually(Duration::from_secs(10), "the stream to be under way", async || {
        (pod.gateway.open_holds() == 1).then_some(())
    })
    .await
    .unwrap();
    socket.readable().await.unwrap();
    pod.stop.cancel();
    tokio::time::timeout(Duration::from_secs(15), &mut pod.server).await.unwrap().unwrap();
    pod.gateway.drain().await;
    assert_eq!(pod.gateway.open_holds(), 0);
}

#[tokio::test]
async fn connections_that_say_nothing_are_closed() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut setup = Setup::default();
    setup.config.header_timeout = Duration::from_millis(200);
    let pod = Pod::start(setup).await;
    for first_words in ["", "P", "PRI * HT", "POST /v1/chat/comp"] {
        let address = pod.url.trim_start_matches("http://").to_owned();
        let mut socket = tokio::net::TcpStream::connect(&address).await.unwrap();
        socket.write_all(first_words.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(10), socket.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "{first_words:?} is still open");
    }
}
