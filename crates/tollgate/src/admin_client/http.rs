//! One request to the admin API at a time, over plain HTTP.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tollgate_domain::Secret;
use url::Url;

use super::output::explain_refusal;
use crate::cli::UsageError;

/// Applying a large configuration takes a while; nothing takes longer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// A local or near control plane accepts at once or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A page of requests with receipts is far below; a broken server must not fill the memory.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
const API_PREFIX: &str = "/api/v1";

/// A client of one admin API.
pub(crate) struct AdminClient {
    base: Url,
    token: Option<Secret>,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// A call below `/api/v1`.
#[derive(Debug)]
pub(crate) struct AdminRequest {
    pub(crate) method: Method,
    /// Starts with `/`; its parts are percent-encoded already.
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) body: Option<Value>,
}

impl AdminRequest {
    pub(crate) fn get(path: &str) -> Self {
        Self { method: Method::GET, path: path.to_owned(), query: Vec::new(), body: None }
    }

    pub(crate) fn post(path: &str, body: Value) -> Self {
        Self { method: Method::POST, path: path.to_owned(), query: Vec::new(), body: Some(body) }
    }
}

/// A successful answer, as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) is_json: bool,
}

impl Answer {
    pub(crate) fn json(&self) -> anyhow::Result<Value> {
        if self.text.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&self.text).context("the admin API answered something that is not JSON")
    }
}

impl AdminClient {
    pub(crate) fn new(url: &str, token: Option<Secret>) -> Result<Self, UsageError> {
        let base =
            Url::parse(url).map_err(|error| UsageError::new(format!("the admin URL `{url}`: {error}")))?;
        match base.scheme() {
            "http" if base.has_host() => {}
            "https" => {
                let message = "the admin URL is https, which these commands do not speak yet; \
                               use http on a private network or through a tunnel";
                return Err(UsageError::new(message));
            }
            _ => return Err(UsageError::new(format!("the admin URL `{url}` must start with http://"))),
        }
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        Ok(Self { base, token, client: Client::builder(TokioExecutor::new()).build(connector) })
    }

    /// Sends the request and reads the whole answer.
    ///
    /// # Errors
    /// One sentence: nothing listens, the API refused (with its field paths), or the answer is no answer.
    pub(crate) async fn send(&self, request: &AdminRequest) -> anyhow::Result<Answer> {
        let sent = self.exchange(self.build(request)?);
        let (status, is_json, body) = tokio::time::timeout(REQUEST_TIMEOUT, sent)
            .await
            .map_err(|_| anyhow::anyhow!("the admin API did not answer within {REQUEST_TIMEOUT:?}"))??;
        let text =
            String::from_utf8(body.to_vec()).context("the admin API answered something that is not text")?;
        if status.is_success() {
            return Ok(Answer { text, is_json });
        }
        let mut message = explain_refusal(status, &text);
        if status == StatusCode::UNAUTHORIZED {
            message.push_str(
                "\nset TOLLGATE_ADMIN_TOKEN, or point --data-dir at the data directory of the running `tollgate dev`",
            );
        }
        Err(anyhow::anyhow!(message))
    }

    fn build(&self, request: &AdminRequest) -> anyhow::Result<Request<Full<Bytes>>> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{API_PREFIX}{}", self.base.path().trim_end_matches('/'), request.path));
        url.set_query(None);
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&request.query);
        }
        let mut builder = Request::builder().method(&request.method).uri(url.as_str());
        if let Some(token) = &self.token {
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose()))
                .map_err(|_| UsageError::new("the admin token has characters that no header can hold"))?;
            value.set_sensitive(true);
            builder = builder.header(AUTHORIZATION, value);
        }
        if request.method != Method::GET {
            builder = builder.header("idempotency-key", idempotency_key()?);
        }
        let body = match &request.body {
            Some(json) => {
                builder = builder.header(CONTENT_TYPE, "application/json");
                Bytes::from(json.to_string())
            }
            None => Bytes::new(),
        };
        Ok(builder.body(Full::new(body))?)
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> anyhow::Result<(StatusCode, bool, Bytes)> {
        let response = self.client.request(request).await.map_err(|error| self.unreachable(error))?;
        let status = response.status();
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_json = content_type.is_none_or(|value| value.starts_with("application/json"));
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES);
        let body = body
            .collect()
            .await
            .map_err(|error| anyhow::anyhow!("the admin API's answer broke off: {error}"))?;
        Ok((status, is_json, body.to_bytes()))
    }

    fn unreachable(&self, error: hyper_util::client::legacy::Error) -> anyhow::Error {
        let base = self.base.as_str().trim_end_matches('/').to_owned();
        if error.is_connect() {
            anyhow::Error::new(error).context(format!(
                "nothing answers at {base}; start `tollgate dev` or a control plane, or set TOLLGATE_ADMIN_URL"
            ))
        } else {
            anyhow::Error::new(error).context(format!("the request to {base} failed"))
        }
    }
}

/// A fresh key per command, so that a write that is sent twice on the way happens once.
fn idempotency_key() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    Ok(uuid::Uuid::from_bytes(bytes).to_string())
}
