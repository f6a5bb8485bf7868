//! Fetching a price map: from a file or over HTTP, within a bound.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use http_body_util::{BodyExt, Limited};
use hyper::{HeaderMap, Method, Uri};
use tollgate_catalog::{PriceMap, PriceMapError};
use tollgate_upstream::{RequestBody, UpstreamClient, UpstreamConfig, UpstreamRequest};

use crate::cli::UsageError;
use crate::config::read_bounded_text;

/// The largest public map has 3 MiB; what is far above is something else.
const MAX_MAP_BYTES: u64 = 64 * 1024 * 1024;
/// A map's server accepts within seconds or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Files that are made on demand take a while.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two pieces of it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The map in that file or behind that URL.
///
/// # Errors
/// A [`UsageError`] where there is no readable file or it is no map; else the server's failure.
pub(super) async fn price_map(place: &str) -> anyhow::Result<PriceMap> {
    let is_url = ["http://", "https://"].iter().any(|scheme| place.starts_with(scheme));
    let text = if is_url {
        let url = parse_url(place)?;
        fetch(url)
            .await
            .with_context(|| format!("the price map at {} cannot be had", without_query(place)))?
    } else {
        read_bounded_text(Path::new(place), MAX_MAP_BYTES)
            .map_err(|error| UsageError::new(format!("{place}: {error}")))?
    };
    let told = |error: PriceMapError| UsageError::new(format!("{}: {error}", without_query(place)));
    Ok(PriceMap::from_json(&text).map_err(told)?)
}

/// What may be repeated: a query can hold a secret.
fn without_query(place: &str) -> &str {
    place.split(['?', '#']).next().unwrap_or(place)
}

/// The URL, unless it carries a password: then nothing repeats it.
fn parse_url(text: &str) -> Result<Uri, UsageError> {
    if text.split(['?', '#']).next().is_some_and(|place| place.contains('@')) {
        return Err(UsageError::new("--map must not carry a password"));
    }
    text.parse().map_err(|error| UsageError::new(format!("--map is no URL: {error}")))
}

async fn fetch(url: Uri) -> anyhow::Result<String> {
    let client = UpstreamClient::new(&UpstreamConfig::default())?;
    let request = UpstreamRequest {
        method: Method::GET,
        url,
        headers: HeaderMap::new(),
        body: RequestBody::default(),
        connect_timeout: CONNECT_TIMEOUT,
        first_byte_timeout: ANSWER_TIMEOUT,
        idle_timeout: IDLE_TIMEOUT,
    };
    let response = client.send(request).await?;
    let status = response.status();
    if !status.is_success() {
        anyhow::bail!("the server answered {status}");
    }
    let most = usize::try_from(MAX_MAP_BYTES).unwrap_or(usize::MAX);
    let body = Limited::new(response.into_body(), most).collect().await;
    let body = body.map_err(|_| anyhow::anyhow!("the answer broke off, or is far too long"))?;
    String::from_utf8(body.to_bytes().to_vec()).context("the answer is not text")
}
