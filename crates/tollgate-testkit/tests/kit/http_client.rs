//! The HTTP client of the tests.

use std::time::Duration;

use serde_json::json;
use tollgate_testkit::http::{HttpClient, exchange_bytes};
use tollgate_testkit::mock_provider::{MockProvider, Script};

#[tokio::test]
async fn sends_json_with_a_credential_and_shows_the_body_of_a_wrong_status() -> anyhow::Result<()> {
    let mock = MockProvider::start().await?;
    let url = format!("{}/chat/completions", mock.base_url());
    let client = HttpClient::new().with_bearer("key-1");
    client.post_json(&url, &json!({ "messages": [] })).await?.expect_status(200)?;
    let request = mock.last_request()?;
    assert_eq!(request.bearer(), Some("key-1"));
    assert_eq!(request.header("Content-Type"), Some("application/json"));
    assert_eq!(request.json()?, json!({ "messages": [] }));

    let error = client.post_bytes(&url, "{").await?.expect_status(200).unwrap_err();
    assert!(error.to_string().contains("not understood"), "{error}");
    Ok(())
}

#[tokio::test]
async fn reads_events_of_every_line_ending() -> anyhow::Result<()> {
    let mock = MockProvider::start().await?;
    let body =
        ": comment\n\ndata: one\n\nevent: x\r\ndata:two\r\ndata:  three\r\n\r\nid: 1\n\ndata: [DONE]\n\n";
    // In drops of three bytes every event is split somewhere.
    let script = Script::new().body("text/event-stream", body).drip(3, Duration::from_micros(10));
    mock.push(script);
    let url = format!("{}/chat/completions", mock.base_url());
    let mut stream = HttpClient::new().post_stream(&url, &json!({ "stream": true })).await?;
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    assert_eq!(stream.collect_data().await?, ["one", "two\n three", "[DONE]"]);
    Ok(())
}

#[tokio::test]
async fn exchanges_raw_bytes_on_one_connection() -> anyhow::Result<()> {
    let mock = MockProvider::start().await?;
    let bytes =
        b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\nGET /v1/models HTTP/1.1\r\nconnection: close\r\n\r\n";
    let received = exchange_bytes(mock.address(), bytes, Duration::from_secs(5)).await?;
    let received = String::from_utf8(received)?;
    assert_eq!(received.matches("HTTP/1.1 200 OK\r\n").count(), 2, "{received}");
    assert_eq!(mock.counts().n_connections, 1);
    Ok(())
}
