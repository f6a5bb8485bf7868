//! One request to the admin API at a time, over HTTP or HTTPS.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};
use serde_json::Value;
use tollgate_domain::Secret;
use tollgate_upstream::{UpstreamClient, UpstreamConfig, UpstreamError, UpstreamErrorKind, UpstreamRequest};
use url::Url;

use super::output::explain_refusal;
use crate::cli::UsageError;

/// Applying a large configuration takes a while; nothing takes longer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two pieces of an answer.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// A local or near control plane accepts at once or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A page of requests with receipts is far below; a broken server must not fill the memory.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
const API_PREFIX: &str = "/api/v1";

/// A client of one admin API.
pub(crate) struct AdminClient {
    base: Url,
    token: Option<Secret>,
    client: UpstreamClient,
}

/// A call below `/api/v1`. No `Debug`: its body may hold secrets.
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

/// A successful answer, as it came. No `Debug`: it may hold a new key's secret.
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
    /// A client of the admin API at `url`. `ca_file` is a PEM file of authorities beside the public ones.
    pub(crate) fn new(
        url: &str,
        token: Option<Secret>,
        ca_file: Option<PathBuf>,
    ) -> Result<Self, UsageError> {
        let refused = |reason: String| UsageError::new(format!("the admin URL is not usable: {reason}"));
        let base = Url::parse(url).map_err(|error| refused(error.to_string()))?;
        if !["http", "https"].contains(&base.scheme()) || !base.has_host() {
            return Err(refused("it must start with http:// or https://".to_owned()));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(refused("it must not carry a password; set TOLLGATE_ADMIN_TOKEN".to_owned()));
        }
        let client = UpstreamClient::new(&UpstreamConfig { extra_ca_file: ca_file })
            .map_err(|error| UsageError::new(error.to_string()))?;
        Ok(Self { base, token, client })
    }

    /// Sends the request and reads the whole answer.
    ///
    /// # Errors
    /// One sentence: nothing listens, the API refused (with its field paths), or the answer is no answer.
    pub(crate) async fn send(&self, request: &AdminRequest) -> anyhow::Result<Answer> {
        let response = self.client.send(self.build(request)?).await.map_err(|error| self.explain(&error))?;
        let status = response.status();
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_json = content_type.is_none_or(|value| value.starts_with("application/json"));
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
        let body =
            body.map_err(|_| anyhow::anyhow!("the admin API's answer broke off, or is far too long"))?;
        let text = String::from_utf8(body.to_bytes().to_vec())
            .context("the admin API answered something that is not text")?;
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

    fn build(&self, request: &AdminRequest) -> anyhow::Result<UpstreamRequest> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{API_PREFIX}{}", self.base.path().trim_end_matches('/'), request.path));
        url.set_query(None);
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&request.query);
        }
        let mut headers = HeaderMap::new();
        if let Some(token) = &self.token {
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose())).map_err(|_| {
                UsageError::new(
                    "TOLLGATE_ADMIN_TOKEN has characters that no header can carry, such as a line break",
                )
            })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        if request.method != Method::GET {
            headers.insert("idempotency-key", HeaderValue::try_from(idempotency_key()?)?);
        }
        if request.body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        Ok(UpstreamRequest {
            method: request.method.clone(),
            url: url.as_str().parse()?,
            headers,
            body: request.body.as_ref().map_or_else(Bytes::new, |json| Bytes::from(json.to_string())).into(),
            connect_timeout: CONNECT_TIMEOUT,
            first_byte_timeout: ANSWER_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
        })
    }

    /// The failure in the words of somebody at a shell.
    fn explain(&self, error: &UpstreamError) -> anyhow::Error {
        let base = self.base.as_str().trim_end_matches('/');
        match error.kind {
            UpstreamErrorKind::Connect | UpstreamErrorKind::ConnectTimeout => anyhow::anyhow!(
                "nothing answers at {base}; start `tollgate dev` or a control plane, or set TOLLGATE_ADMIN_URL"
            ),
            UpstreamErrorKind::Tls => anyhow::anyhow!(
                "no TLS with {base}: {error}; name its authority with --admin-ca-file, or use http://"
            ),
            UpstreamErrorKind::FirstByteTimeout => {
                anyhow::anyhow!("{base} did not answer within {} s", ANSWER_TIMEOUT.as_secs())
            }
            UpstreamErrorKind::InvalidResponse => {
                anyhow::anyhow!("{base} answered something that is not HTTP")
            }
            UpstreamErrorKind::ResetBeforeHeaders
            | UpstreamErrorKind::IdleTimeout
            | UpstreamErrorKind::BodyBroken => {
                anyhow::anyhow!("{base} closed the connection without an answer")
            }
        }
    }
}

/// A fresh key per command, so that a write that is sent twice on the way happens once.
fn idempotency_key() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    Ok(uuid::Uuid::from_bytes(bytes).to_string())
}
