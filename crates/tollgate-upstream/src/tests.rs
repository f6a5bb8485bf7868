//! The client against a provider that misbehaves in every way it can.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Uri};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tollgate_testkit::mock_provider::{BreakKind, Gate, MockProvider, Script};

use super::*;

/// Far above what anything here takes on a loaded machine.
const AMPLE: Duration = Duration::from_secs(30);
/// For the limit under test, which must pass.
const SHORT: Duration = Duration::from_millis(150);

fn request(url: &str) -> UpstreamRequest {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_static("Bearer sk-canary-123"));
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    UpstreamRequest {
        method: Method::POST,
        url: url.parse().unwrap(),
        headers,
        body: Bytes::from_static(br#"{"model":"m","messages":[{"role":"user","content":"canary"}]}"#).into(),
        connect_timeout: AMPLE,
        first_byte_timeout: AMPLE,
        idle_timeout: AMPLE,
    }
}

fn chat_url(mock: &MockProvider) -> String {
    format!("http://{}/v1/chat/completions", mock.address())
}

fn client() -> UpstreamClient {
    UpstreamClient::new(&UpstreamConfig::default()).unwrap()
}

async fn send(mock: &MockProvider, script: Script) -> Result<http::Response<UpstreamBody>, UpstreamError> {
    mock.push(script);
    client().send(request(&chat_url(mock))).await
}

async fn body_error(mock: &MockProvider, script: Script) -> UpstreamError {
    let response = send(mock, script).await.unwrap();
    response.into_body().collect().await.unwrap_err()
}

#[tokio::test]
async fn an_answer_passes_and_its_connection_is_reused() {
    let mock = MockProvider::start().await.unwrap();
    let client = client();
    for _ in 0..3 {
        let response = client.send(request(&chat_url(&mock))).await.unwrap();
        assert_eq!(response.status(), 200);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(body.starts_with(b"{"));
    }
    assert_eq!(mock.counts().n_connections, 1);
    let received = mock.last_request().unwrap();
    assert_eq!(received.header("accept-encoding"), Some("identity"));
    assert_eq!(received.header("content-length"), Some("61"));
    assert_eq!(received.header("host"), Some(mock.address().to_string().as_str()));
    assert_eq!(received.body().len(), 61);
}

#[tokio::test]
async fn statuses_and_redirects_are_answers() {
    let mock = MockProvider::start().await.unwrap();
    for status in [302, 400, 429, 503] {
        let script = Script::error(status, "no").header("location", "http://127.0.0.1:9/");
        assert_eq!(send(&mock, script).await.unwrap().status(), status);
    }
}

#[tokio::test]
async fn failures_before_the_head() {
    let mock = MockProvider::start().await.unwrap();
    let huge_head = format!("HTTP/1.1 200 OK\r\nx-long: {}\r\n\r\n", "a".repeat(200_000));
    let many_headers = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x-many: 1\r\n".repeat(200));
    for (script, kind) in [
        (Script::close_before_headers(), UpstreamErrorKind::ResetBeforeHeaders),
        (Script::new().break_before_headers(BreakKind::Reset), UpstreamErrorKind::ResetBeforeHeaders),
        (Script::raw("SSH-2.0-OpenSSH_9.2\r\n\r\n"), UpstreamErrorKind::InvalidResponse),
        (Script::raw("HTTP/1.1 200 OK\r\nbad header\r\n\r\n"), UpstreamErrorKind::InvalidResponse),
        (Script::raw(huge_head), UpstreamErrorKind::InvalidResponse),
        (Script::raw(many_headers), UpstreamErrorKind::InvalidResponse),
    ] {
        let error = send(&mock, script).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(!error.kind.is_before_dispatch());
        assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
    }
    // Each was sent once: nothing that may have been seen is repeated.
    assert_eq!(mock.counts().n_received, 6);
}

#[tokio::test]
async fn failures_to_connect() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    // The kernel takes the connection, and nobody shakes hands.
    let silent =
        UpstreamRequest { connect_timeout: SHORT, ..request(&format!("https://{address}/v1/x?key=canary")) };
    let error = client().send(silent).await.unwrap_err();
    assert_eq!(error.kind, UpstreamErrorKind::ConnectTimeout, "{error}");
    assert!(!error.message.contains("canary"), "{error}");
    drop(nobody);

    let error = client().send(request(&format!("http://{address}/"))).await.unwrap_err();
    assert_eq!(error.kind, UpstreamErrorKind::Connect, "{error}");
    assert!(error.kind.is_before_dispatch() && error.message.contains(&address.to_string()));

    // A server that speaks no TLS.
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tls = format!("https://{}/", plain.local_addr().unwrap());
    let answer_in_plain = async {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (mut stream, _) = plain.accept().await.unwrap();
        stream.read_u8().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream
    };
    let to_plain = client();
    let (answer, _stream) = tokio::join!(to_plain.send(request(&tls)), answer_in_plain);
    let error = answer.unwrap_err();
    assert_eq!(error.kind, UpstreamErrorKind::Tls, "{error}");

    let relative = UpstreamRequest { url: Uri::from_static("/v1/x"), ..request("http://x/") };
    assert_eq!(client().send(relative).await.unwrap_err().kind, UpstreamErrorKind::Connect);
}

#[tokio::test]
async fn silence_before_the_head_ends_in_time_and_closes_the_connection() {
    let mock = MockProvider::start().await.unwrap();
    let client = client();
    // On a new connection, then on a pooled one.
    for n_hung in 1..=2 {
        mock.push(Script::hang());
        let impatient = UpstreamRequest { first_byte_timeout: SHORT, ..request(&chat_url(&mock)) };
        let error = client.send(impatient).await.unwrap_err();
        assert_eq!(error.kind, UpstreamErrorKind::FirstByteTimeout, "{error}");
        mock.wait_for_disconnects(n_hung).await.unwrap();
        client.send(request(&chat_url(&mock))).await.unwrap().into_body().collect().await.unwrap();
    }
}

#[tokio::test]
async fn bodies_that_break_off() {
    let mock = MockProvider::start().await.unwrap();
    for script in [
        Script::new().n_chunks(4).break_after_bytes(20, BreakKind::Reset),
        Script::new().break_after_bytes(20, BreakKind::Close),
        Script::new().declared_length(1_000_000),
    ] {
        let error = body_error(&mock, script).await;
        assert_eq!(error.kind, UpstreamErrorKind::BodyBroken, "{error}");
    }
    // A length that is too short cuts the body, and the connection with the garbage on it is not used again.
    let client = client();
    mock.push(Script::new().declared_length(10));
    let cut = client.send(request(&chat_url(&mock))).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(cut.to_bytes().len(), 10);
    let whole = client.send(request(&chat_url(&mock))).await.unwrap();
    assert_eq!(whole.status(), 200);
    whole.into_body().collect().await.unwrap();
}

#[tokio::test]
async fn a_stalled_body_ends_in_time_and_a_dripping_one_does_not() {
    let mock = MockProvider::start().await.unwrap();
    mock.push(Script::new().break_after_bytes(10, BreakKind::Stall));
    let impatient = || UpstreamRequest { idle_timeout: SHORT, ..request(&chat_url(&mock)) };
    let error = client().send(impatient()).await.unwrap().into_body().collect().await.unwrap_err();
    assert_eq!(error.kind, UpstreamErrorKind::IdleTimeout, "{error}");
    mock.wait_for_disconnects(1).await.unwrap();

    // Longer in all than the limit, but never silent for as long.
    mock.push(Script::new().drip(100, Duration::from_millis(20)));
    let patient = UpstreamRequest { idle_timeout: Duration::from_millis(2_000), ..request(&chat_url(&mock)) };
    let response = client().send(patient).await.unwrap();
    assert!(response.into_body().collect().await.is_ok());
}

#[tokio::test]
async fn a_slow_reader_is_not_the_providers_silence() {
    let mock = MockProvider::start().await.unwrap();
    let gate = Gate::new();
    mock.push(Script::new().n_chunks(2).hold_after_chunks(0, &gate));
    let patient = UpstreamRequest { idle_timeout: Duration::from_secs(2), ..request(&chat_url(&mock)) };
    let mut body = client().send(patient).await.unwrap().into_body();
    // Nobody reads for longer than the first wait's limit; the wait begins with the reading.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(60)).await;
    tokio::time::resume();
    gate.open();
    assert!(body.frame().await.unwrap().is_ok());
}

#[tokio::test]
async fn dropping_cancels_at_every_stage() {
    let mock = MockProvider::start().await.unwrap();
    let client = client();
    // While the head is awaited.
    let gate = Gate::new();
    mock.push(Script::new().hold_before_headers(&gate));
    let sending = client.send(request(&chat_url(&mock)));
    tokio::select! {
        answer = sending => panic!("answered while held: {answer:?}"),
        waiting = gate.wait_for_waiting(1) => waiting.unwrap(),
    }
    mock.wait_for_disconnects(1).await.unwrap();
    // In the middle of the body.
    let gate = Gate::new();
    mock.push(Script::new().body("text/event-stream", vec![b'x'; 100]).hold_after_chunks(0, &gate));
    let response = client.send(request(&chat_url(&mock))).await.unwrap();
    drop(response);
    mock.wait_for_disconnects(2).await.unwrap();
}

#[tokio::test]
async fn a_pooled_connection_that_died_is_replaced() {
    let mock = MockProvider::start().await.unwrap();
    let client = client();
    for _ in 0..10 {
        mock.push(Script::new().close_after_answer());
        let response = client.send(request(&chat_url(&mock))).await.unwrap();
        response.into_body().collect().await.unwrap();
        // The close is a packet of its own: wait until the server has done it.
        mock.wait_for_idle().await.unwrap();
        tollgate_testkit::wait::eventually(AMPLE, "the connection to close", async || {
            (mock.counts().n_open_connections == 0).then_some(())
        })
        .await
        .unwrap();
        // And until this side has heard of it: what is told of another connection now was preceded by it.
        drop(tokio::net::TcpStream::connect(mock.address()).await.unwrap());
        tokio::task::yield_now().await;
    }
    assert_eq!(mock.counts().n_complete, 10);
}

#[tokio::test]
async fn ready_bodies() {
    let body =
        UpstreamBody::from_chunks(vec![Bytes::from_static(b"ab"), Bytes::new(), Bytes::from_static(b"c")]);
    assert_eq!(body.size_hint().exact(), Some(3));
    assert_eq!(body.collect().await.unwrap().to_bytes(), "abc");
    assert!(UpstreamBody::from_chunks(Vec::new()).is_end_stream());
}

#[test]
fn debug_shows_no_secret() {
    let shown = format!("{:?}", request("https://host/v1?key=canary"));
    assert_eq!(shown, "UpstreamRequest(POST host, 61 bytes)");
}

#[test]
fn an_unusable_ca_file_is_told() {
    let error = |path: &str| {
        let config = UpstreamConfig { extra_ca_file: Some(path.into()) };
        UpstreamClient::new(&config).unwrap_err().to_string()
    };
    assert!(error("/nowhere/ca.pem").contains("/nowhere/ca.pem"));
    assert!(error(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).contains("no certificate"));
}
