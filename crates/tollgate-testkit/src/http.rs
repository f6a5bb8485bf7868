//! A small HTTP client for tests: JSON, raw bytes, and server-sent events that can be read one by one.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long an answer, or the next event of a stream, may take: beyond what any test awaits on purpose.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A client over HTTP/1.1 with a connection pool of its own; clones share it.
#[derive(Clone)]
pub struct HttpClient {
    client: Client<HttpConnector, Full<Bytes>>,
    bearer: Option<String>,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body's bytes.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON; the error shows the status and the start of the body.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("{} with a body that is not JSON: {:.500}", self.status, self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The answer itself when its status is `expected`; else an error that shows the body.
    pub fn expect_status(self, expected: u16) -> anyhow::Result<Self> {
        ensure!(
            self.status.as_u16() == expected,
            "expected {expected}, got {}: {}",
            self.status,
            self.text()
        );
        Ok(self)
    }
}

impl HttpClient {
    /// A client without a credential.
    pub fn new() -> Self {
        let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build_http();
        Self { client, bearer: None }
    }

    /// The same client (and pool) with `Authorization: Bearer <credential>` on every request.
    #[must_use]
    pub fn with_bearer(&self, credential: &str) -> Self {
        Self { client: self.client.clone(), bearer: Some(credential.to_owned()) }
    }

    /// Sends a GET.
    pub async fn get(&self, url: &str) -> anyhow::Result<Answer> {
        self.send(self.request(Method::GET, url, Bytes::new())?).await
    }

    /// Sends a DELETE.
    pub async fn delete(&self, url: &str) -> anyhow::Result<Answer> {
        self.send(self.request(Method::DELETE, url, Bytes::new())?).await
    }

    /// Posts JSON.
    pub async fn post_json(&self, url: &str, body: &Value) -> anyhow::Result<Answer> {
        self.send_json(Method::POST, url, body).await
    }

    /// Sends JSON with any method.
    pub async fn send_json(&self, method: Method, url: &str, body: &Value) -> anyhow::Result<Answer> {
        self.send(self.request(method, url, body.to_string())?).await
    }

    /// Posts bytes that are called JSON, whatever they are.
    pub async fn post_bytes(&self, url: &str, body: impl Into<Bytes>) -> anyhow::Result<Answer> {
        self.send(self.request(Method::POST, url, body)?).await
    }

    /// A request with this client's credential, to add headers to before [`HttpClient::send`].
    pub fn request(
        &self,
        method: Method,
        url: &str,
        body: impl Into<Bytes>,
    ) -> anyhow::Result<Request<Full<Bytes>>> {
        let body = body.into();
        let mut request = Request::builder().method(method).uri(url);
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        if let Some(credential) = &self.bearer {
            request = request.header("authorization", format!("Bearer {credential}"));
        }
        Ok(request.body(Full::new(body))?)
    }

    /// Sends a request as it is and reads the whole answer.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> anyhow::Result<Answer> {
        let url = request.uri().to_string();
        let answering = async {
            let (parts, body) = self.client.request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            anyhow::Ok(Answer { status: parts.status, headers: parts.headers, body })
        };
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, answering).await;
        answer.with_context(|| format!("no answer from {url} in {ANSWER_TIMEOUT:?}"))?.context(url)
    }

    /// Posts JSON and returns as soon as the head of the answer is there. Dropping the stream closes its
    /// connection: a client that goes away.
    pub async fn post_stream(&self, url: &str, body: &Value) -> anyhow::Result<EventStream> {
        self.send_stream(self.request(Method::POST, url, body.to_string())?).await
    }

    /// Sends a request as it is and returns as soon as the head of the answer is there.
    pub async fn send_stream(&self, request: Request<Full<Bytes>>) -> anyhow::Result<EventStream> {
        let url = request.uri().to_string();
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, self.client.request(request)).await;
        let answer = answer.with_context(|| format!("no answer from {url} in {ANSWER_TIMEOUT:?}"))?;
        let (parts, body) = answer.with_context(|| url)?.into_parts();
        Ok(EventStream {
            status: parts.status,
            headers: parts.headers,
            body,
            unparsed: Vec::new(),
            events: VecDeque::new(),
        })
    }
}

impl Default for HttpClient {
    fn default() -> Self {
        Self::new()
    }
}

/// An answer that is read while it comes.
pub struct EventStream {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    body: Incoming,
    unparsed: Vec<u8>,
    events: VecDeque<String>,
}

impl EventStream {
    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The data of the next event (lines joined by a line break), `[DONE]` included; `None` at the clean
    /// end of the body. Comments and events without data are passed over. Fails when the connection
    /// breaks.
    pub async fn next_data(&mut self) -> anyhow::Result<Option<String>> {
        loop {
            if let Some(data) = self.events.pop_front() {
                return Ok(Some(data));
            }
            let Some(bytes) = self.next_bytes().await? else { return Ok(None) };
            self.unparsed.extend_from_slice(&bytes);
            self.parse();
        }
    }

    /// The data of all further events, to the clean end of the body.
    pub async fn collect_data(&mut self) -> anyhow::Result<Vec<String>> {
        let mut all = Vec::new();
        while let Some(data) = self.next_data().await? {
            all.push(data);
        }
        Ok(all)
    }

    /// The next raw bytes of the body, not parsed; `None` at the clean end.
    pub async fn next_bytes(&mut self) -> anyhow::Result<Option<Bytes>> {
        loop {
            let frame = tokio::time::timeout(ANSWER_TIMEOUT, self.body.frame()).await;
            let frame = frame.with_context(|| format!("no further bytes in {ANSWER_TIMEOUT:?}"))?;
            let Some(frame) = frame else { return Ok(None) };
            if let Ok(bytes) = frame.context("the stream broke")?.into_data() {
                return Ok(Some(bytes));
            }
        }
    }

    fn parse(&mut self) {
        while let Some((end, separator_length)) = event_end(&self.unparsed) {
            let event = self.unparsed.drain(..end + separator_length).collect::<Vec<_>>();
            let event = String::from_utf8_lossy(&event[..end]);
            let data = event.lines().filter_map(|line| line.strip_prefix("data:"));
            let data = data.map(|value| value.strip_prefix(' ').unwrap_or(value)).collect::<Vec<_>>();
            if !data.is_empty() {
                self.events.push_back(data.join("\n"));
            }
        }
    }
}

/// Where the first event ends, and how long the empty line after it is.
fn event_end(bytes: &[u8]) -> Option<(usize, usize)> {
    let plain = memchr::memmem::find(bytes, b"\n\n").map(|end| (end, 2));
    let carriage = memchr::memmem::find(bytes, b"\r\n\r\n").map(|end| (end, 4));
    [plain, carriage].into_iter().flatten().min()
}

/// Sends bytes over a connection of their own and returns everything that comes back until the peer
/// closes or `quiet` passes without a byte. A reset counts as an end.
pub async fn exchange_bytes(address: SocketAddr, bytes: &[u8], quiet: Duration) -> anyhow::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    // A peer that has heard enough may close before everything is written.
    let _ = stream.write_all(bytes).await;
    let mut received = Vec::new();
    while let Ok(Ok(1..)) = tokio::time::timeout(quiet, stream.read_buf(&mut received)).await {}
    Ok(received)
}
