//! Webhooks: where events are sent. Their signing secrets are ciphertext here and nothing else.

use std::fmt;

use serde::Serialize;
use tollgate_domain::{TenantId, UnixMillis, WebhookId};
use uuid::Uuid;

use crate::audit::AuditEntry;
use crate::db::{Row, Sql};
use crate::store::{Tx, run_tx};
use crate::{AlertKind, Page, PageRequest, Store, StoreError, WriteContext, tenants, webhook_deliveries};

/// The columns of a webhook, with conditions.
macro_rules! select {
    ($conditions:literal) => {
        concat!(
            "SELECT id, name, url, secret_ciphertext, tenant_id, events, enabled, disabled_reason,
                 created_at_ms, updated_at_ms
             FROM webhooks",
            $conditions
        )
    };
}

/// A webhook as stored.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct WebhookRecord {
    /// Identity.
    pub id: WebhookId,
    /// Unique name.
    pub name: String,
    /// Where to.
    pub url: String,
    /// The encrypted signing secret.
    #[serde(skip)]
    pub secret_ciphertext: Vec<u8>,
    /// Whose events; `None` for all.
    pub tenant: Option<TenantId>,
    /// Which events, in the order of [`AlertKind::ALL`].
    pub events: Vec<AlertKind>,
    /// Whether anything is sent.
    pub enabled: bool,
    /// Why nothing is sent, where nobody asked for that.
    pub disabled_reason: Option<String>,
    /// When it was created.
    pub created_at: UnixMillis,
    /// When it was last changed.
    pub updated_at: UnixMillis,
}

/// Without the address, which may carry a token, and without the secret.
impl fmt::Debug for WebhookRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebhookRecord({} `{}`)", self.id, self.name)
    }
}

/// A webhook to be created; it is enabled.
#[derive(Clone, PartialEq, Eq)]
pub struct NewWebhook {
    /// Identity.
    pub id: WebhookId,
    /// Unique name.
    pub name: String,
    /// Where to.
    pub url: String,
    /// The encrypted signing secret.
    pub secret_ciphertext: Vec<u8>,
    /// Whose events; `None` for all.
    pub tenant: Option<TenantId>,
    /// Which events.
    pub events: Vec<AlertKind>,
}

impl fmt::Debug for NewWebhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewWebhook({} `{}`)", self.id, self.name)
    }
}

impl Store {
    /// Creates a webhook.
    ///
    /// # Errors
    /// `Conflict` on `name`; `NotFound` without its tenant.
    pub async fn create_webhook(
        &self,
        ctx: &WriteContext,
        webhook: NewWebhook,
    ) -> Result<WebhookRecord, StoreError> {
        let mut record = WebhookRecord {
            id: webhook.id,
            name: webhook.name,
            url: webhook.url,
            secret_ciphertext: webhook.secret_ciphertext,
            tenant: webhook.tenant,
            events: webhook.events,
            enabled: true,
            disabled_reason: None,
            created_at: ctx.now,
            updated_at: ctx.now,
        };
        sort_events(&mut record);
        run_tx!(self, "create_webhook", |tx| {
            if let Some(tenant) = record.tenant {
                // also keeps the tenant from being deleted meanwhile
                tx.lock_policy().await?;
                tenants::require(tx, tenant).await?;
            }
            insert(tx, &record).await?;
            audit(tx, ctx, "create", None, Some(&record)).await
        })?;
        Ok(record)
    }

    /// The webhook of that id.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn webhook(&self, id: WebhookId) -> Result<WebhookRecord, StoreError> {
        find(&mut self.reader(), id).await?.ok_or_else(|| StoreError::not_found("webhook", id))
    }

    /// The webhook of that name.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn webhook_by_name(&self, name: &str) -> Result<WebhookRecord, StoreError> {
        let found = self.reader().sql(select!(" WHERE name = $1")).bind(name).read_optional(read).await?;
        found.ok_or_else(|| StoreError::not_found("webhook", name))
    }

    /// Webhooks by id.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn list_webhooks(
        &self,
        page: PageRequest<WebhookId>,
    ) -> Result<Page<WebhookRecord, WebhookId>, StoreError> {
        let mut reader = self.reader();
        let query = reader.sql(select!("")).filter(" WHERE id > ", page.after.map(|id| id.as_uuid()));
        let items = query.push(" ORDER BY id LIMIT ").push_bind(page.fetch()).read_all(read).await?;
        Ok(Page::cut(items, page.rows(), |webhook| webhook.id))
    }

    /// Changes a webhook as [`Store::update_tenant`] does; its tenant stays. What was to be delivered to one that
    /// becomes disabled has failed.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` on `name`.
    pub async fn update_webhook(
        &self,
        ctx: &WriteContext,
        id: WebhookId,
        change: impl Fn(&mut WebhookRecord) + Send + Sync,
    ) -> Result<WebhookRecord, StoreError> {
        run_tx!(self, "update_webhook", |tx| {
            let before = find(tx, id).await?.ok_or_else(|| StoreError::not_found("webhook", id))?;
            let mut after = before.clone();
            change(&mut after);
            after.id = before.id;
            after.tenant = before.tenant;
            after.created_at = before.created_at;
            after.updated_at = before.updated_at;
            sort_events(&mut after);
            if after == before {
                return Ok(before);
            }
            after.updated_at = ctx.now;
            write(tx, &after).await?;
            if before.enabled && !after.enabled {
                webhook_deliveries::give_up(tx, id, ctx.now).await?;
            }
            audit(tx, ctx, "update", Some(&before), Some(&after)).await?;
            Ok(after)
        })
    }

    /// Deletes a webhook with what was to be delivered to it; answers what was deleted.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_webhook(
        &self,
        ctx: &WriteContext,
        id: WebhookId,
    ) -> Result<WebhookRecord, StoreError> {
        run_tx!(self, "delete_webhook", |tx| {
            let webhook = find(tx, id).await?.ok_or_else(|| StoreError::not_found("webhook", id))?;
            delete(tx, ctx, &webhook).await?;
            Ok(webhook)
        })
    }
}

fn sort_events(webhook: &mut WebhookRecord) {
    webhook.events.sort();
    webhook.events.dedup();
}

// === SQL ===

pub(crate) async fn find(db: &mut impl Sql, id: WebhookId) -> Result<Option<WebhookRecord>, StoreError> {
    db.sql(select!(" WHERE id = $1")).id(id).read_optional(read).await
}

/// The enabled webhooks that want an event of a tenant.
pub(crate) async fn that_want(
    tx: &mut Tx,
    kind: AlertKind,
    tenant: TenantId,
) -> Result<Vec<WebhookId>, StoreError> {
    let query = tx.sql(select!(" WHERE enabled = $1 AND (tenant_id IS NULL OR tenant_id = $2) ORDER BY id"));
    let enabled = query.bind(true).id(tenant).read_all(read).await?;
    Ok(enabled
        .into_iter()
        .filter(|webhook| webhook.events.contains(&kind))
        .map(|webhook| webhook.id)
        .collect())
}

/// Deletes the webhooks of a tenant's own events.
pub(crate) async fn delete_of_tenant(
    tx: &mut Tx,
    ctx: &WriteContext,
    tenant: TenantId,
) -> Result<(), StoreError> {
    for webhook in tx.sql(select!(" WHERE tenant_id = $1 ORDER BY id")).id(tenant).read_all(read).await? {
        delete(tx, ctx, &webhook).await?;
    }
    Ok(())
}

async fn delete(tx: &mut Tx, ctx: &WriteContext, webhook: &WebhookRecord) -> Result<(), StoreError> {
    tx.sql("DELETE FROM webhooks WHERE id = $1").id(webhook.id).execute_one().await?;
    audit(tx, ctx, "delete", Some(webhook), None).await
}

async fn insert(tx: &mut Tx, webhook: &WebhookRecord) -> Result<(), StoreError> {
    tx.sql(
        "INSERT INTO webhooks (id, name, url, secret_ciphertext, tenant_id, events, enabled, disabled_reason,
             created_at_ms, updated_at_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .id(webhook.id)
    .bind(&webhook.name)
    .bind(&webhook.url)
    .bind(webhook.secret_ciphertext.as_slice())
    .bind(webhook.tenant.map(|id| id.as_uuid()))
    .json(&webhook.events)
    .bind(webhook.enabled)
    .bind(webhook.disabled_reason.as_deref())
    .bind(webhook.created_at.0)
    .bind(webhook.updated_at.0)
    .execute_one()
    .await
}

async fn write(tx: &mut Tx, webhook: &WebhookRecord) -> Result<(), StoreError> {
    tx.sql(
        "UPDATE webhooks SET name = $2, url = $3, secret_ciphertext = $4, events = $5, enabled = $6,
             disabled_reason = $7, updated_at_ms = $8
         WHERE id = $1",
    )
    .id(webhook.id)
    .bind(&webhook.name)
    .bind(&webhook.url)
    .bind(webhook.secret_ciphertext.as_slice())
    .json(&webhook.events)
    .bind(webhook.enabled)
    .bind(webhook.disabled_reason.as_deref())
    .bind(webhook.updated_at.0)
    .execute_one()
    .await
}

/// Webhooks are no policy: pods know nothing of them, and their changes have no revision.
async fn audit(
    tx: &mut Tx,
    ctx: &WriteContext,
    action: &'static str,
    before: Option<&WebhookRecord>,
    after: Option<&WebhookRecord>,
) -> Result<(), StoreError> {
    let Some(subject) = after.or(before) else { return Ok(()) };
    let document = |record: &WebhookRecord| {
        serde_json::to_value(record).map_err(|error| StoreError::corrupt(action, error))
    };
    let entry = AuditEntry {
        action,
        object_kind: "webhook",
        object_id: subject.id.as_uuid(),
        object_name: subject.name.clone(),
        tenant: subject.tenant,
        before: before.map(document).transpose()?,
        after: after.map(document).transpose()?,
    };
    tx.audit(ctx, entry).await
}

pub(crate) fn read(row: &Row) -> Result<WebhookRecord, StoreError> {
    Ok(WebhookRecord {
        id: row.id("id")?,
        name: row.get("name")?,
        url: row.get("url")?,
        secret_ciphertext: row.get("secret_ciphertext")?,
        tenant: row.get::<Option<Uuid>>("tenant_id")?.map(TenantId::from_uuid),
        events: row.json("events")?,
        enabled: row.get("enabled")?,
        disabled_reason: row.get("disabled_reason")?,
        created_at: row.moment("created_at_ms")?,
        updated_at: row.moment("updated_at_ms")?,
    })
}
