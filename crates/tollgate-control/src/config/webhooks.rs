//! Webhooks of a document.

use super::apply::{Applying, ChangeAction, below};
use super::document::{ConfigDocument, ConfigWebhook};
use super::export::webhook_secret_reference;
use super::{diff, validate};
use crate::app::{ListQuery, UpdateWebhook, WebhookView};
use crate::error::Problems;
use crate::webhooks::checked_url;
use crate::{Actor, App, AppError};

/// A file is checked without the installation's options: whether a private address may be called is known when the
/// webhook is written.
const MAY_BE_PRIVATE: bool = true;

pub(super) fn check(webhooks: &[ConfigWebhook], problems: &mut Problems) {
    validate::check_unique(webhooks.iter().map(|webhook| &webhook.name), "webhooks", problems);
    for (index, webhook) in webhooks.iter().enumerate() {
        let path = format!("webhooks[{index}].");
        webhook.check(&path, MAY_BE_PRIVATE, problems);
        if webhook.secret_file.is_some() {
            problems.add(format!("{path}secret_file"), "is read by the command line only: send `secret`");
        } else if webhook.secret.is_none() {
            let text = "is missing: `echo whsec_$(openssl rand -base64 32)` makes one";
            problems.add(format!("{path}secret"), text);
        }
    }
}

impl Applying<'_> {
    /// After tenants, which they may be for.
    pub(super) async fn webhooks(&mut self, document: &ConfigDocument) -> Result<(), AppError> {
        for (index, wanted) in document.webhooks.iter().enumerate() {
            let path = format!("webhooks[{index}]");
            self.webhook(wanted).await.map_err(|error| below(error, &path))?;
        }
        if !self.options.prune {
            return Ok(());
        }
        let is_named = |name: &String| document.webhooks.iter().any(|webhook| webhook.name == *name);
        let all = self.app.every_webhook(self.actor).await?;
        for webhook in all.into_iter().filter(|webhook| !is_named(&webhook.name)) {
            if self.is_real() {
                self.app.delete_webhook(self.actor, &webhook.id).await?;
            }
            self.report.note(ChangeAction::Delete, "webhook", webhook.name, "");
        }
        Ok(())
    }

    async fn webhook(&mut self, wanted: &ConfigWebhook) -> Result<(), AppError> {
        let is = match self.app.webhook(self.actor, &wanted.name).await {
            Ok(is) => is,
            Err(AppError::NotFound { .. }) => {
                if self.is_real() {
                    self.app.create_webhook(self.actor, wanted.clone()).await?;
                }
                self.report.note(ChangeAction::Create, "webhook", &wanted.name, "");
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if wanted.tenant != is.tenant && wanted.tenant != is.tenant_id {
            let text = "cannot be changed: take another name for a webhook of another tenant";
            return Err(AppError::conflict("tenant", text));
        }
        let mut fields = diff::Fields::default();
        let mut events = wanted.events.clone();
        events.sort();
        events.dedup();
        fields.note("url", checked_url(&wanted.url, MAY_BE_PRIVATE).as_ref() != Ok(&is.url));
        fields.note("events", events != is.events);
        if let Some(secret) = &wanted.secret
            && !self.app.has_webhook_secret(&is.id, secret).await?
        {
            fields.note("secret", true);
        }
        if self.is_real() && !fields.is_empty() {
            let update = UpdateWebhook {
                url: fields.has("url").then(|| wanted.url.clone()),
                secret: wanted.secret.clone().filter(|_| fields.has("secret")),
                events: fields.has("events").then(|| wanted.events.clone()),
                ..UpdateWebhook::default()
            };
            self.app.update_webhook(self.actor, &is.id, update).await?;
        }
        self.report.note_existing("webhook", &wanted.name, &fields);
        Ok(())
    }
}

impl App {
    async fn every_webhook(&self, actor: &Actor) -> Result<Vec<WebhookView>, AppError> {
        let (mut all, mut query) = (Vec::new(), ListQuery { limit: Some(1_000), after: None });
        loop {
            let page = self.list_webhooks(actor, &query).await?;
            all.extend(page.data);
            query.after = page.next;
            if query.after.is_none() {
                return Ok(all);
            }
        }
    }

    /// By name, so that two exports can be compared line by line.
    pub(super) async fn export_webhooks(&self, actor: &Actor) -> Result<Vec<ConfigWebhook>, AppError> {
        let mut all = self.every_webhook(actor).await?;
        all.sort_by(|a, b| a.name.cmp(&b.name));
        let entry = |webhook: WebhookView| ConfigWebhook {
            secret: Some(webhook_secret_reference(&webhook.name)),
            name: webhook.name,
            url: webhook.url,
            secret_file: None,
            tenant: webhook.tenant,
            events: webhook.events,
        };
        Ok(all.into_iter().map(entry).collect())
    }
}
