//! The way of webhook messages out of the process.

use bytes::Bytes;
use hyper::Uri;
use hyper::header::{HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use tollgate_control::{WebhookMessage, WebhookTransport};
use tollgate_upstream::{OutboundClient, UpstreamConfig};

/// How receivers see us.
const AGENT: &str = concat!("tollgate/", env!("CARGO_PKG_VERSION"));

/// Sends messages to public addresses and this machine; to private ones if `may_be_private`.
pub(super) fn transport(may_be_private: bool) -> anyhow::Result<WebhookTransport> {
    let client = OutboundClient::new(&UpstreamConfig::default(), may_be_private)?;
    Ok(WebhookTransport::new(move |message| {
        let client = client.clone();
        async move { send(&client, message).await }
    }))
}

async fn send(client: &OutboundClient, message: WebhookMessage) -> Result<u16, String> {
    let url: Uri = message.url.parse().map_err(|_| "its address cannot be requested".to_owned())?;
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    for (name, value) in message.headers {
        let value = HeaderValue::from_str(&value).map_err(|_| format!("its header {name} cannot be sent"))?;
        headers.insert(HeaderName::from_static(name), value);
    }
    client.post(url, headers, Bytes::from(message.body)).await
}

#[cfg(test)]
mod tests;
