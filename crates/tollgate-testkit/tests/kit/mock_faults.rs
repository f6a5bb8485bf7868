//! The mock provider's broken and held answers, seen as bytes on the wire.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tollgate_testkit::http::HttpClient;
use tollgate_testkit::mock_provider::{AnswerEnd, BreakKind, Gate, MockProvider, Script};

/// Long enough for a byte to come on a loaded machine, short enough to wait for in vain.
const QUIET: Duration = Duration::from_millis(150);
const PATIENCE: Duration = Duration::from_secs(10);

/// What a client sees of one answer.
struct Seen {
    bytes: String,
    /// `None` while the connection stays open.
    end: Option<Result<(), ErrorKind>>,
}

impl Seen {
    fn head(&self) -> &str {
        self.bytes.split_once("\r\n\r\n").map_or("", |(head, _)| head)
    }

    fn body(&self) -> &str {
        self.bytes.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }
}

async fn connect_and_ask(mock: &MockProvider, is_stream: bool) -> anyhow::Result<TcpStream> {
    let body = format!(r#"{{"model":"m","stream":{is_stream},"messages":[]}}"#);
    let mut stream = TcpStream::connect(mock.address()).await?;
    let head =
        format!("POST /v1/chat/completions HTTP/1.1\r\nhost: mock\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    Ok(stream)
}

/// Reads until the connection ends or nothing comes for [`QUIET`].
async fn read(stream: &mut TcpStream) -> Seen {
    let mut bytes = Vec::new();
    let end = loop {
        match timeout(QUIET, stream.read_buf(&mut bytes)).await {
            Err(_) => break None,
            Ok(Ok(0)) => break Some(Ok(())),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => break Some(Err(error.kind())),
        }
    };
    Seen { bytes: String::from_utf8_lossy(&bytes).into_owned(), end }
}

async fn see(script: Script, is_stream: bool) -> anyhow::Result<(Seen, MockProvider)> {
    let mock = MockProvider::start().await?;
    mock.push(script);
    let mut stream = connect_and_ask(&mock, is_stream).await?;
    let seen = read(&mut stream).await;
    Ok((seen, mock))
}

const RESET: Option<Result<(), ErrorKind>> = Some(Err(ErrorKind::ConnectionReset));
const CLOSED: Option<Result<(), ErrorKind>> = Some(Ok(()));

#[tokio::test]
async fn a_whole_answer_keeps_the_connection() -> anyhow::Result<()> {
    for is_stream in [false, true] {
        let (seen, mock) = see(Script::new(), is_stream).await?;
        assert_eq!(seen.end, None);
        assert_eq!(seen.bytes.ends_with("data: [DONE]\n\n\r\n0\r\n\r\n"), is_stream);
        mock.wait_for_complete(1).await?;
    }
    Ok(())
}

#[tokio::test]
async fn breaks_before_the_head() -> anyhow::Result<()> {
    for (kind, end) in [(BreakKind::Reset, RESET), (BreakKind::Close, CLOSED), (BreakKind::Stall, None)] {
        let (seen, mock) = see(Script::new().break_before_headers(kind), false).await?;
        assert_eq!((seen.bytes.as_str(), seen.end), ("", end), "{kind:?}");
        // A stalled answer ends when the client goes, which it did with `see`.
        mock.wait_for_idle().await?;
        let expected =
            if kind == BreakKind::Stall { AnswerEnd::ClientDisconnected } else { AnswerEnd::BrokenOff };
        assert_eq!(mock.last_request()?.end(), expected);
    }
    assert_eq!(see(Script::close_before_headers(), true).await?.0.end, CLOSED);
    assert_eq!(see(Script::hang(), true).await?.0.end, None);
    Ok(())
}

#[tokio::test]
async fn breaks_after_chunks() -> anyhow::Result<()> {
    for (kind, end) in [(BreakKind::Reset, RESET), (BreakKind::Close, CLOSED), (BreakKind::Stall, None)] {
        for n in [0, 1, 5] {
            let (seen, _mock) = see(Script::new().n_chunks(9).break_after_chunks(n, kind), true).await?;
            assert!(seen.head().starts_with("HTTP/1.1 200 OK"), "{}", seen.bytes);
            assert_eq!(seen.body().matches("token ").count(), n, "{kind:?} after {n}");
            assert!(!seen.body().contains("[DONE]"));
            assert_eq!(seen.end, end, "{kind:?} after {n}");
        }
    }
    let (seen, _mock) = see(Script::new().n_chunks(3).break_after_chunks(4, BreakKind::Reset), true).await?;
    assert!(seen.body().contains("[DONE]"), "a short answer ends well");
    Ok(())
}

#[tokio::test]
async fn breaks_after_bytes() -> anyhow::Result<()> {
    let body = "0123456789";
    for n in [0, 1, 9] {
        let script = Script::new().body("text/plain", body).break_after_bytes(n, BreakKind::Close);
        let (seen, _mock) = see(script, false).await?;
        assert!(seen.head().contains("content-length: 10"));
        assert_eq!((seen.body(), seen.end), (&body[..n], CLOSED));
    }
    let script = Script::new().body("text/plain", body).break_after_bytes(10, BreakKind::Close);
    assert_eq!(see(script, false).await?.0.end, None);

    // In a stream the framing does not count, and the event is cut in its middle.
    let script = Script::new().sse_payloads(["abc", "defgh"]).break_after_bytes(20, BreakKind::Reset);
    let (seen, _mock) = see(script, true).await?;
    assert_eq!((seen.body(), seen.end), ("b\r\ndata: abc\n\n\r\nd\r\ndata: def", RESET));
    Ok(())
}

#[tokio::test]
async fn lies_about_its_length() -> anyhow::Result<()> {
    let (seen, _mock) =
        see(Script::new().body("text/plain", "0123456789").declared_length(15), false).await?;
    assert!(seen.head().contains("content-length: 15"));
    assert_eq!((seen.body(), seen.end), ("0123456789", CLOSED));
    let (seen, _mock) = see(Script::new().body("text/plain", "0123456789").declared_length(4), false).await?;
    assert!(seen.head().contains("content-length: 4"));
    assert_eq!((seen.body(), seen.end), ("0123456789", None));
    Ok(())
}

#[tokio::test]
async fn ends_bodies_and_connections_without_a_word() -> anyhow::Result<()> {
    let (seen, _mock) = see(Script::new().close_delimited(), true).await?;
    assert!(!seen.head().contains("transfer-encoding") && !seen.head().contains("content-length"));
    assert!(seen.body().ends_with("data: [DONE]\n\n"));
    assert_eq!(seen.end, CLOSED);

    let (seen, _mock) = see(Script::new().close_after_answer(), false).await?;
    assert!(!seen.head().contains("connection: close"));
    assert_eq!(seen.end, CLOSED);

    let (seen, _mock) = see(Script::raw("not http at all\r\n"), false).await?;
    assert_eq!((seen.bytes.as_str(), seen.end), ("not http at all\r\n", CLOSED));
    Ok(())
}

#[tokio::test]
async fn gates_hold_answers_where_they_should() -> anyhow::Result<()> {
    let mock = MockProvider::start().await?;
    let (before, middle) = (Gate::new(), Gate::new());
    let script = Script::new().n_chunks(5).hold_before_headers(&before).hold_after_chunks(2, &middle);
    mock.push_times(2, script);
    let mut first = connect_and_ask(&mock, true).await?;
    let mut second = connect_and_ask(&mock, true).await?;
    before.wait_for_waiting(2).await?;
    assert_eq!(read(&mut first).await.bytes, "");

    before.release(1);
    middle.wait_for_waiting(1).await?;
    assert_eq!(before.n_waiting(), 1);
    before.open();
    middle.wait_for_waiting(2).await?;
    assert_eq!(read(&mut first).await.body().matches("token ").count(), 2);

    middle.open();
    assert_eq!(read(&mut first).await.bytes.matches("token ").count(), 3);
    assert!(read(&mut second).await.bytes.ends_with("0\r\n\r\n"));
    Ok(())
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_at_every_stage() -> anyhow::Result<()> {
    let mock = MockProvider::start().await?;
    let gate = Gate::new();
    let scripts = [
        Script::hang(),
        Script::new().hold_before_headers(&gate),
        Script::new().hold_after_chunks(0, &gate),
        Script::new().hold_after_chunks(3, &gate),
        Script::new().delay_before_headers(Duration::from_secs(600)),
        Script::new().delay_between_chunks(Duration::from_secs(600)),
        Script::new().break_after_chunks(1, BreakKind::Stall),
        Script::new().n_chunks(100_000).text(&"x".repeat(10_000_000)),
    ];
    for (n_before, script) in scripts.into_iter().enumerate() {
        mock.push(script);
        let stream = connect_and_ask(&mock, true).await?;
        mock.wait_for_requests(n_before as u64 + 1).await?;
        drop(stream);
        mock.wait_for_disconnects(n_before as u64 + 1).await?;
        assert!(mock.last_request()?.client_disconnected());
    }
    assert_eq!(gate.n_waiting(), 0);
    assert_eq!(mock.counts().n_in_flight, 0);
    Ok(())
}

#[tokio::test]
async fn waits_as_long_as_scripted() -> anyhow::Result<()> {
    let ms = Duration::from_millis;
    for (script, at_least) in [
        (Script::new().delay_before_headers(ms(60)), ms(60)),
        (Script::new().delay_before_first_chunk(ms(60)), ms(60)),
        (Script::new().n_chunks(4).delay_between_chunks(ms(20)), ms(60)),
        (Script::new().sse_payloads(["x"]).drip(20, ms(5)), ms(30)),
    ] {
        let mock = MockProvider::start().await?;
        mock.push(script.clone());
        let started = Instant::now();
        let url = format!("{}/chat/completions", mock.base_url());
        let body = serde_json::json!({ "stream": true, "messages": [] });
        HttpClient::new().post_stream(&url, &body).await?.collect_data().await?;
        assert!(started.elapsed() >= at_least, "{:?} for {script:?}", started.elapsed());
    }
    Ok(())
}

#[tokio::test]
async fn refuses_while_stopped_and_comes_back_at_the_same_port() -> anyhow::Result<()> {
    let mut mock = MockProvider::start().await?;
    let address = mock.address();
    mock.push(Script::hang());
    let mut hanging = connect_and_ask(&mock, false).await?;
    mock.wait_for_requests(1).await?;
    mock.stop().await?;
    assert!(timeout(PATIENCE, hanging.read_u8()).await?.is_err());
    assert_eq!(TcpStream::connect(address).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    mock.start_again().await?;
    assert_eq!(mock.address(), address);
    let mut stream = connect_and_ask(&mock, false).await?;
    assert!(read(&mut stream).await.bytes.starts_with("HTTP/1.1 200 OK"));
    assert_eq!(mock.counts().n_received, 2);
    Ok(())
}
