//! Webhooks: how a message is signed (after the Standard Webhooks specification), to which addresses it may go, and
//! the way out, which the caller of [`crate::Control::start`] provides.

mod signing;
mod target;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tollgate_domain::{AlertId, UnixMillis, WebhookId};

pub(crate) use signing::SigningKey;
pub(crate) use target::checked_url;

/// A signed message on its way out. `Debug` shows neither address nor content.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookMessage {
    /// Where to.
    pub url: String,
    /// The headers that the specification names, and the content's type.
    pub headers: Vec<(&'static str, String)>,
    /// JSON.
    pub body: String,
}

impl fmt::Debug for WebhookMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebhookMessage({} bytes)", self.body.len())
    }
}

type Sending = Pin<Box<dyn Future<Output = Result<u16, String>> + Send>>;

/// Sends one message by POST and answers the receiver's status, or why there was none. It follows no redirect,
/// bounds time and answer, and connects to no address that must not be reached.
#[derive(Clone)]
pub struct WebhookTransport(Arc<dyn Fn(WebhookMessage) -> Sending + Send + Sync>);

impl fmt::Debug for WebhookTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookTransport")
    }
}

impl WebhookTransport {
    /// The way out that `send` is.
    pub fn new<F>(send: impl Fn(WebhookMessage) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<u16, String>> + Send + 'static,
    {
        Self(Arc::new(move |message| Box::pin(send(message))))
    }

    pub(crate) async fn send(&self, message: WebhookMessage) -> Result<u16, String> {
        self.0(message).await
    }
}

/// The message to `url`, signed at `now`: an attempt is signed anew, its id stays.
pub(crate) fn signed(
    key: &SigningKey,
    url: &str,
    id: AlertId,
    now: UnixMillis,
    body: &str,
) -> WebhookMessage {
    let id = format!("msg_{id}");
    let timestamp = now.0.div_euclid(1_000);
    let headers = vec![
        ("content-type", "application/json".to_owned()),
        ("webhook-signature", key.sign(&id, timestamp, body)),
        ("webhook-timestamp", timestamp.to_string()),
        ("webhook-id", id),
    ];
    WebhookMessage { url: url.to_owned(), headers, body: body.to_owned() }
}

/// What a webhook's encrypted secret is bound to.
pub(crate) fn secret_binding(webhook: WebhookId) -> Vec<u8> {
    let mut binding = b"tollgate:webhook:v1:".to_vec();
    binding.extend_from_slice(webhook.as_uuid().as_bytes());
    binding
}
