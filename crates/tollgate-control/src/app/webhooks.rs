//! Webhooks: where events are sent. Their signing secrets go in, or out once when they are made here.

mod bodies;

use std::time::Instant;

use tollgate_domain::{AlertId, Secret, WebhookId};
use tollgate_store::{AlertKind, DeliveryState, NewWebhook, WebhookRecord};

pub use bodies::{
    CreateWebhook, CreatedWebhook, DeliveryQuery, DeliveryStateName, DeliveryView, UpdateWebhook,
    WebhookEventName, WebhookTest, WebhookView,
};

use super::lookup::{Names, missing};
use super::{App, List, ListQuery};
use crate::error::Problems;
use crate::jobs::alert_messages;
use crate::parts::{SecretText, Time, name};
use crate::webhooks::{SigningKey, checked_url, secret_binding};
use crate::{Action, Actor, AppError, Resource, ResourceOwner, Verb, authorize};

/// The type of the message that a test sends.
const TEST_EVENT: &str = "webhook.test";

impl CreateWebhook {
    /// Notes every problem; the address in its normal form where it is one.
    pub(crate) fn check(&self, path: &str, may_be_private: bool, problems: &mut Problems) -> Option<String> {
        problems.take(format!("{path}name"), name(&self.name));
        check_events(&self.events, &format!("{path}events"), problems);
        if let Some(secret) = &self.secret {
            problems.take(format!("{path}secret"), SigningKey::parse(secret.0.expose()).map(drop));
        }
        problems.take(format!("{path}url"), checked_url(&self.url, may_be_private))
    }
}

fn check_events(events: &[WebhookEventName], path: &str, problems: &mut Problems) {
    if events.is_empty() {
        problems.add(path, "is empty: name at least one event");
    }
}

impl App {
    fn may_webhooks(actor: &Actor, verb: Verb) -> Result<(), AppError> {
        // Who sets an address makes this process call it.
        authorize(actor, Action::new(verb, Resource::Webhook), ResourceOwner::Installation)
    }

    async fn find_webhook(&self, reference: &str) -> Result<WebhookRecord, AppError> {
        let found = match reference.parse() {
            Ok(id) => self.parts.store.webhook(id).await,
            Err(_) => self.parts.store.webhook_by_name(reference).await,
        };
        found.map_err(|error| missing(error, "webhook", reference))
    }

    /// Creates a webhook. Without a secret one is made, and shown this once.
    ///
    /// # Errors
    /// Forbidden; no such tenant; invalid fields; conflict on `name`.
    pub async fn create_webhook(
        &self,
        actor: &Actor,
        input: CreateWebhook,
    ) -> Result<CreatedWebhook, AppError> {
        Self::may_webhooks(actor, Verb::Create)?;
        let mut problems = Problems::default();
        let url = input.check("", self.parts.webhooks_may_be_private, &mut problems);
        if input.secret_file.is_some() {
            problems.add("secret_file", "is read by the command line only: send `secret`");
        }
        problems.finish()?;
        let url = url.ok_or_else(|| AppError::Internal("a checked webhook has no address".to_owned()))?;
        let tenant = match &input.tenant {
            Some(tenant) => {
                let read = Action::new(Verb::Read, Resource::Tenant);
                Some(self.permitted_tenant(actor, read, tenant).await?.id)
            }
            None => None,
        };
        let id: WebhookId = self.new_id()?;
        let (secret, made) = match input.secret {
            Some(secret) => (secret.0, None),
            None => {
                let secret = SigningKey::generate()?;
                (secret.clone(), Some(SecretText(secret)))
            }
        };
        let webhook = NewWebhook {
            id,
            name: input.name,
            url,
            secret_ciphertext: self.seal_webhook_secret(id, &secret)?,
            tenant,
            events: input.events.into_iter().map(AlertKind::from).collect(),
        };
        let record = self.parts.store.create_webhook(&self.context(actor), webhook).await?;
        let webhook = webhook_view(record, &mut self.names()).await?;
        Ok(CreatedWebhook { webhook, secret: made })
    }

    fn seal_webhook_secret(&self, id: WebhookId, secret: &Secret) -> Result<Vec<u8>, AppError> {
        let text = secret.expose().trim();
        Ok(self.parts.credentials.seal_bound(&secret_binding(id), text.as_bytes())?)
    }

    /// The webhook of that id or name.
    ///
    /// # Errors
    /// Forbidden; not found.
    pub async fn webhook(&self, actor: &Actor, webhook: &str) -> Result<WebhookView, AppError> {
        Self::may_webhooks(actor, Verb::Read)?;
        webhook_view(self.find_webhook(webhook).await?, &mut self.names()).await
    }

    /// Webhooks in the order of their creation.
    ///
    /// # Errors
    /// Forbidden; a bad page.
    pub async fn list_webhooks(
        &self,
        actor: &Actor,
        query: &ListQuery,
    ) -> Result<List<WebhookView>, AppError> {
        Self::may_webhooks(actor, Verb::Read)?;
        let page = self.parts.store.list_webhooks(query.page()?).await?;
        let (mut names, mut data) = (self.names(), Vec::with_capacity(page.items.len()));
        for record in page.items {
            data.push(webhook_view(record, &mut names).await?);
        }
        Ok(List { data, next: page.next.map(|next| next.to_string()) })
    }

    /// Changes a webhook. Enabling it forgets why it was disabled.
    ///
    /// # Errors
    /// Forbidden; not found; invalid fields; conflict on `name`.
    pub async fn update_webhook(
        &self,
        actor: &Actor,
        webhook: &str,
        input: UpdateWebhook,
    ) -> Result<WebhookView, AppError> {
        Self::may_webhooks(actor, Verb::Update)?;
        let record = self.find_webhook(webhook).await?;
        let mut problems = Problems::default();
        if let Some(new_name) = &input.name {
            problems.take("name", name(new_name));
        }
        let may_be_private = self.parts.webhooks_may_be_private;
        let url = input.url.and_then(|url| problems.take("url", checked_url(&url, may_be_private)));
        if let Some(events) = &input.events {
            check_events(events, "events", &mut problems);
        }
        if let Some(secret) = &input.secret {
            problems.take("secret", SigningKey::parse(secret.0.expose()).map(drop));
        }
        problems.finish()?;
        let sealed = input.secret.map(|secret| self.seal_webhook_secret(record.id, &secret.0)).transpose()?;
        let (name, events, enabled) = (input.name, input.events, input.enabled);
        let change = move |record: &mut WebhookRecord| {
            if let Some(name) = &name {
                record.name.clone_from(name);
            }
            if let Some(url) = &url {
                record.url.clone_from(url);
            }
            if let Some(events) = &events {
                record.events = events.iter().copied().map(AlertKind::from).collect();
            }
            if let Some(sealed) = &sealed {
                record.secret_ciphertext.clone_from(sealed);
            }
            if let Some(enabled) = enabled {
                record.enabled = enabled;
                record.disabled_reason = None;
            }
        };
        let record = self.parts.store.update_webhook(&self.context(actor), record.id, change).await?;
        webhook_view(record, &mut self.names()).await
    }

    /// Deletes a webhook with its deliveries.
    ///
    /// # Errors
    /// Forbidden; not found.
    pub async fn delete_webhook(&self, actor: &Actor, webhook: &str) -> Result<WebhookView, AppError> {
        Self::may_webhooks(actor, Verb::Delete)?;
        let record = self.find_webhook(webhook).await?;
        let view = webhook_view(record.clone(), &mut self.names()).await?;
        self.parts.store.delete_webhook(&self.context(actor), record.id).await?;
        Ok(view)
    }

    /// Sends a signed test message at once, also where the webhook is disabled; it is not repeated.
    ///
    /// # Errors
    /// Forbidden; not found; unavailable where this process sends none.
    pub async fn test_webhook(&self, actor: &Actor, webhook: &str) -> Result<WebhookTest, AppError> {
        Self::may_webhooks(actor, Verb::Update)?;
        let record = self.find_webhook(webhook).await?;
        if self.parts.dispatcher.transport.is_none() {
            return Err(AppError::Unavailable("this process sends no webhooks".to_owned()));
        }
        let message: AlertId = self.new_id()?;
        let data = serde_json::json!({ "webhook": record.name });
        let body = alert_messages::envelope(TEST_EVENT, self.now(), &data);
        let began = Instant::now();
        let answer = self.parts.dispatcher.send(&record, message, &body).await;
        let latency_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(match answer {
            Ok(status @ 200..=299) => {
                WebhookTest { ok: true, status: Some(status), latency_ms, message: String::new() }
            }
            Ok(status) => WebhookTest {
                ok: false,
                status: Some(status),
                latency_ms,
                message: format!("status {status}"),
            },
            Err(message) => WebhookTest { ok: false, status: None, latency_ms, message },
        })
    }

    /// A webhook's deliveries, newest first. Finished ones are kept for 30 days.
    ///
    /// # Errors
    /// Forbidden; not found; a bad page.
    pub async fn list_deliveries(
        &self,
        actor: &Actor,
        webhook: &str,
        query: &DeliveryQuery,
    ) -> Result<List<DeliveryView>, AppError> {
        Self::may_webhooks(actor, Verb::Read)?;
        let record = self.find_webhook(webhook).await?;
        let list = ListQuery { limit: query.limit, after: query.after.clone() };
        let state = query.state.map(DeliveryState::from);
        let page = self.parts.store.list_deliveries(record.id, state, list.page()?).await?;
        Ok(List::of(page, DeliveryView::from))
    }

    /// Whether the stored secret of a webhook is this one.
    pub(crate) async fn has_webhook_secret(
        &self,
        webhook: &str,
        secret: &SecretText,
    ) -> Result<bool, AppError> {
        let record = self.find_webhook(webhook).await?;
        let stored = self.parts.credentials.open_bound(&secret_binding(record.id), &record.secret_ciphertext);
        let wanted = Secret::new(secret.0.expose().trim());
        Ok(stored.is_ok_and(|stored| {
            std::str::from_utf8(&stored).is_ok_and(|stored| Secret::new(stored) == wanted)
        }))
    }
}

async fn webhook_view(record: WebhookRecord, names: &mut Names) -> Result<WebhookView, AppError> {
    let tenant = match record.tenant {
        Some(id) => Some(names.tenant(id).await?),
        None => None,
    };
    Ok(WebhookView {
        id: record.id.to_string(),
        name: record.name,
        url: record.url,
        tenant,
        tenant_id: record.tenant.map(|id| id.to_string()),
        events: record.events.into_iter().map(WebhookEventName::from).collect(),
        enabled: record.enabled,
        disabled_reason: record.disabled_reason,
        created_at: Time(record.created_at),
        updated_at: Time(record.updated_at),
    })
}
