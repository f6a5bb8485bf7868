//! `POST /providers/{provider}/test`: one cheap request, for the list of models, with the first credential.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Limited};
use hyper::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Uri};
use tokio::sync::watch;
use tollgate_admin::{ProviderProbe, ProviderTest};
use tollgate_control::PolicyVersion;
use tollgate_policy::{Dialect, PolicyObject, ProviderPolicy};
use tollgate_upstream::{RequestBody, UpstreamClient, UpstreamConfig, UpstreamRequest};

/// An operator is waiting: a provider that takes longer has failed the test.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// A model list is small.
const MAX_PROBE_BYTES: usize = 4 << 20;

/// Tests providers as policy knows them now.
pub(super) fn probe(policy: watch::Receiver<Arc<PolicyVersion>>) -> anyhow::Result<ProviderProbe> {
    let client = UpstreamClient::new(&UpstreamConfig::default())?;
    Ok(Arc::new(move |view| {
        let version = Arc::clone(&policy.borrow());
        let client = client.clone();
        Box::pin(async move {
            let provider = version.set.iter().find_map(|object| match object {
                PolicyObject::Provider(provider) if provider.id.to_string() == view.id => Some(provider),
                _ => None,
            });
            match provider {
                Some(provider) => test(&client, provider).await,
                None => failed("policy does not have this provider yet: try again", Duration::ZERO),
            }
        })
    }))
}

async fn test(client: &UpstreamClient, provider: &ProviderPolicy) -> ProviderTest {
    if provider.dialect == Dialect::Demo {
        return ProviderTest { ok: true, status: None, latency_ms: 0, message: "built in".to_owned() };
    }
    let Some(address) = models_address(provider) else {
        // its credential is not for sending, and nothing it answers is free of charge
        let message = "this dialect has no list of models to test with: send the provider a request instead";
        return failed(message, Duration::ZERO);
    };
    let started = Instant::now();
    let Ok(url) = Uri::try_from(address) else {
        return failed("the base URL is not a URL", started.elapsed());
    };
    let request = UpstreamRequest {
        method: Method::GET,
        url,
        headers: headers(provider),
        body: RequestBody::default(),
        connect_timeout: PROBE_TIMEOUT,
        first_byte_timeout: PROBE_TIMEOUT,
        idle_timeout: PROBE_TIMEOUT,
    };
    let response = match client.send(request).await {
        Ok(response) => response,
        Err(error) => return failed(&error.to_string(), started.elapsed()),
    };
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_PROBE_BYTES).collect();
    let body = tokio::time::timeout(PROBE_TIMEOUT, body).await;
    let listed = body.ok().and_then(Result::ok).and_then(|body| n_models(&body.to_bytes()));
    let message = match (status.is_success(), listed) {
        (true, Some(n)) => format!("{n} models"),
        (true, None) => "the answer is no model list".to_owned(),
        (false, _) => format!("status {}", status.as_u16()),
    };
    ProviderTest {
        ok: status.is_success(),
        status: Some(status.as_u16()),
        latency_ms: ms(started.elapsed()),
        message,
    }
}

fn headers(provider: &ProviderPolicy) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    if provider.dialect == Dialect::Anthropic {
        headers.insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
    }
    let Some(credential) = provider.credentials.first() else { return headers };
    let secret = credential.secret.expose();
    let (name, text) = match provider.dialect {
        Dialect::Anthropic => (HeaderName::from_static("x-api-key"), secret.to_owned()),
        Dialect::Gemini => (HeaderName::from_static("x-goog-api-key"), secret.to_owned()),
        Dialect::AzureOpenai => (HeaderName::from_static("api-key"), secret.to_owned()),
        _ => (AUTHORIZATION, format!("Bearer {secret}")),
    };
    if let Ok(mut value) = HeaderValue::from_str(&text) {
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    headers
}

/// Where a provider lists its models; `None` where its dialect has no such place.
fn models_address(provider: &ProviderPolicy) -> Option<String> {
    let base = provider.base_url.trim_end_matches('/');
    let without = |version: &str| base.strip_suffix(version).unwrap_or(base);
    match provider.dialect {
        Dialect::Openai => Some(format!("{base}/models")),
        Dialect::AzureOpenai if base.contains("/openai") => Some(format!("{base}/models")),
        Dialect::AzureOpenai => Some(format!("{base}/openai/v1/models")),
        Dialect::Anthropic => Some(format!("{}/v1/models", without("/v1"))),
        Dialect::Gemini => Some(format!("{}/v1beta/models", without("/v1beta"))),
        Dialect::Cohere => Some(format!("{}/v1/models", without("/v2"))),
        Dialect::Bedrock | Dialect::Vertex | Dialect::Demo => None,
    }
}

fn n_models(body: &[u8]) -> Option<usize> {
    let list: serde_json::Value = serde_json::from_slice(body).ok()?;
    // Google and Cohere call it `models`
    list["data"].as_array().or_else(|| list["models"].as_array()).map(Vec::len)
}

fn failed(message: &str, elapsed: Duration) -> ProviderTest {
    ProviderTest { ok: false, status: None, latency_ms: ms(elapsed), message: message.to_owned() }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
