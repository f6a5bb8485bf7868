//! Providers and their credentials, which are ciphertext here and nothing else.

use std::fmt;

use serde::Serialize;
use tollgate_domain::{CredentialId, ProviderId, TenantId, UnixMillis};
use tollgate_policy::{Dialect, ObjectKind, ResponsesMode, Retention};
use uuid::Uuid;

use crate::db::{Row, Sql};
use crate::models::{self, ModelRecord};
use crate::policy_log::PolicyAggregate;
use crate::store::{Tx, run_tx};
use crate::{Page, PageRequest, Store, StoreError, WriteContext};

/// The columns of a provider, with conditions.
macro_rules! select {
    ($conditions:literal) => {
        concat!(
            "SELECT id, name, dialect, base_url, region, retention_days, trains_on_data,
                 max_concurrent_requests, responses, created_at_ms, updated_at_ms
             FROM providers",
            $conditions
        )
    };
}

/// A provider as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProviderRecord {
    /// Identity.
    pub id: ProviderId,
    /// Unique name.
    pub name: String,
    /// What it speaks.
    pub dialect: Dialect,
    /// Where it is.
    pub base_url: String,
    /// Its credentials, in the order of their names.
    pub credentials: Vec<CredentialRecord>,
    /// Where the data goes.
    pub region: Option<String>,
    /// What the vendor keeps.
    pub retention: Option<Retention>,
    /// Whether the vendor trains on the data.
    pub trains_on_data: Option<bool>,
    /// Requests in flight per pod, at most.
    pub max_concurrent_requests: Option<u32>,
    /// How it is asked for Responses; what the catalogue says where `None`.
    pub responses: Option<ResponsesMode>,
    /// When it was created.
    pub created_at: UnixMillis,
    /// When it was last changed.
    pub updated_at: UnixMillis,
}

/// A credential as stored: its secret is encrypted by the caller, and neither serialised nor printed.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct CredentialRecord {
    /// Identity.
    pub id: CredentialId,
    /// Unique name within the provider.
    pub name: String,
    /// The encrypted secret.
    #[serde(skip)]
    pub ciphertext: Vec<u8>,
    /// Share of the traffic, relative to its siblings; at least 1.
    pub weight: u32,
    /// When the secret was last changed; set by the store.
    pub secret_changed_at: UnixMillis,
}

impl fmt::Debug for CredentialRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CredentialRecord({} `{}`, weight {})", self.id, self.name, self.weight)
    }
}

/// A provider to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewProvider {
    /// Identity.
    pub id: ProviderId,
    /// Unique name.
    pub name: String,
    /// What it speaks.
    pub dialect: Dialect,
    /// Where it is; empty for `demo`.
    pub base_url: String,
    /// Its credentials; may be empty.
    pub credentials: Vec<NewCredential>,
    /// Where the data goes.
    pub region: Option<String>,
    /// What the vendor keeps.
    pub retention: Option<Retention>,
    /// Whether the vendor trains on the data.
    pub trains_on_data: Option<bool>,
    /// Requests in flight per pod, at most.
    pub max_concurrent_requests: Option<u32>,
    /// How it is asked for Responses; what the catalogue says where `None`.
    pub responses: Option<ResponsesMode>,
}

/// A credential to be created.
#[derive(Clone, PartialEq, Eq)]
pub struct NewCredential {
    /// Identity.
    pub id: CredentialId,
    /// Unique name within the provider.
    pub name: String,
    /// The encrypted secret.
    pub ciphertext: Vec<u8>,
    /// Share of the traffic; at least 1.
    pub weight: u32,
}

impl fmt::Debug for NewCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewCredential({} `{}`, weight {})", self.id, self.name, self.weight)
    }
}

impl NewCredential {
    /// The record it becomes, for adding it in [`Store::update_provider`].
    #[must_use]
    pub fn into_record(self, now: UnixMillis) -> CredentialRecord {
        CredentialRecord {
            id: self.id,
            name: self.name,
            ciphertext: self.ciphertext,
            weight: self.weight,
            secret_changed_at: now,
        }
    }
}

impl Store {
    /// Creates a provider with its credentials.
    ///
    /// # Errors
    /// `Conflict` on `name`, or on `credentials` where two share a name.
    pub async fn create_provider(
        &self,
        ctx: &WriteContext,
        provider: NewProvider,
    ) -> Result<ProviderRecord, StoreError> {
        let mut record = ProviderRecord {
            id: provider.id,
            name: provider.name,
            dialect: provider.dialect,
            base_url: provider.base_url,
            credentials: provider.credentials.into_iter().map(|new| new.into_record(ctx.now)).collect(),
            region: provider.region,
            retention: provider.retention,
            trains_on_data: provider.trains_on_data,
            max_concurrent_requests: provider.max_concurrent_requests,
            responses: provider.responses,
            created_at: ctx.now,
            updated_at: ctx.now,
        };
        sort_credentials(&mut record);
        run_tx!(self, "create_provider", |tx| {
            tx.lock_policy().await?;
            insert(tx, &record).await?;
            insert_credentials(tx, &record).await?;
            tx.record_policy(ctx, "create", None, Some(&record)).await
        })?;
        Ok(record)
    }

    /// The provider of that id.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn provider(&self, id: ProviderId) -> Result<ProviderRecord, StoreError> {
        find(&mut self.reader(), id).await?.ok_or_else(|| StoreError::not_found("provider", id))
    }

    /// The provider of that name.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn provider_by_name(&self, name: &str) -> Result<ProviderRecord, StoreError> {
        let mut reader = self.reader();
        let found = reader.sql(select!(" WHERE name = $1")).bind(name).read_optional(read).await?;
        let provider = found.ok_or_else(|| StoreError::not_found("provider", name))?;
        with_credentials(&mut reader, provider).await
    }

    /// Providers by id.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn list_providers(
        &self,
        page: PageRequest<ProviderId>,
    ) -> Result<Page<ProviderRecord, ProviderId>, StoreError> {
        let mut reader = self.reader();
        let query = reader.sql(select!("")).filter(" WHERE id > ", page.after.map(|id| id.as_uuid()));
        let found = query.push(" ORDER BY id LIMIT ").push_bind(page.fetch()).read_all(read).await?;
        let mut page = Page::cut(found, page.rows(), |provider| provider.id);
        add_credentials(&mut reader, &mut page.items).await?;
        Ok(page)
    }

    /// Changes a provider and its credentials as [`Store::update_tenant`] does.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` on `name` or `credentials`.
    pub async fn update_provider(
        &self,
        ctx: &WriteContext,
        id: ProviderId,
        change: impl Fn(&mut ProviderRecord) + Send + Sync,
    ) -> Result<ProviderRecord, StoreError> {
        run_tx!(self, "update_provider", |tx| {
            tx.lock_policy().await?;
            let before = find(tx, id).await?.ok_or_else(|| StoreError::not_found("provider", id))?;
            let mut after = before.clone();
            change(&mut after);
            after.id = before.id;
            after.created_at = before.created_at;
            after.updated_at = before.updated_at;
            date_secrets(&before, &mut after, ctx.now);
            sort_credentials(&mut after);
            if after == before {
                return Ok(before);
            }
            after.updated_at = ctx.now;
            write(tx, &after).await?;
            if after.credentials != before.credentials {
                tx.sql("DELETE FROM provider_credentials WHERE provider_id = $1").id(id).execute().await?;
                insert_credentials(tx, &after).await?;
            }
            tx.record_policy(ctx, "update", Some(&before), Some(&after)).await?;
            Ok(after)
        })
    }

    /// Deletes a provider with its credentials; answers what was deleted.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` on `targets` where a model leads to it, naming the model.
    pub async fn delete_provider(
        &self,
        ctx: &WriteContext,
        id: ProviderId,
    ) -> Result<ProviderRecord, StoreError> {
        run_tx!(self, "delete_provider", |tx| {
            tx.lock_policy().await?;
            let provider = find(tx, id).await?.ok_or_else(|| StoreError::not_found("provider", id))?;
            let leads_here = |model: &ModelRecord| model.targets.iter().any(|target| target.provider == id);
            if let Some(model) = models::all(tx).await?.into_iter().find(leads_here) {
                let message = format!("the model `{}` leads to it: change the model first", model.name);
                return Err(StoreError::conflict("provider", "targets", message));
            }
            tx.sql("DELETE FROM providers WHERE id = $1").id(id).execute_one().await?;
            tx.record_policy(ctx, "delete", Some(&provider), None).await?;
            Ok(provider)
        })
    }
}

fn sort_credentials(provider: &mut ProviderRecord) {
    provider.credentials.sort_by(|left, right| left.name.cmp(&right.name));
}

/// Notes when secrets were changed: the audit log shows that, and never the secret.
fn date_secrets(before: &ProviderRecord, after: &mut ProviderRecord, now: UnixMillis) {
    for credential in &mut after.credentials {
        let old = before.credentials.iter().find(|old| old.id == credential.id);
        let unchanged = old.filter(|old| old.ciphertext == credential.ciphertext);
        credential.secret_changed_at = unchanged.map_or(now, |old| old.secret_changed_at);
    }
}

// === SQL ===

pub(crate) async fn find(db: &mut impl Sql, id: ProviderId) -> Result<Option<ProviderRecord>, StoreError> {
    match db.sql(select!(" WHERE id = $1")).id(id).read_optional(read).await? {
        Some(provider) => with_credentials(db, provider).await.map(Some),
        None => Ok(None),
    }
}

pub(crate) async fn all(db: &mut impl Sql) -> Result<Vec<ProviderRecord>, StoreError> {
    let mut providers = db.sql(select!(" ORDER BY id")).read_all(read).await?;
    add_credentials(db, &mut providers).await?;
    Ok(providers)
}

async fn with_credentials(db: &mut impl Sql, provider: ProviderRecord) -> Result<ProviderRecord, StoreError> {
    let mut providers = [provider];
    add_credentials(db, &mut providers).await?;
    let [provider] = providers;
    Ok(provider)
}

async fn add_credentials(db: &mut impl Sql, providers: &mut [ProviderRecord]) -> Result<(), StoreError> {
    for provider in providers {
        let query = db.sql(
            "SELECT id, name, ciphertext, weight, secret_changed_at_ms FROM provider_credentials
             WHERE provider_id = $1",
        );
        provider.credentials = query.id(provider.id).read_all(read_credential).await?;
        // Sorted here and not there: the databases order letters differently.
        sort_credentials(provider);
    }
    Ok(())
}

async fn insert(tx: &mut Tx, provider: &ProviderRecord) -> Result<(), StoreError> {
    tx.sql(
        "INSERT INTO providers
             (id, name, dialect, base_url, region, retention_days, trains_on_data, max_concurrent_requests,
              responses, created_at_ms, updated_at_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .id(provider.id)
    .bind(&provider.name)
    .bind(provider.dialect.name())
    .bind(&provider.base_url)
    .bind(provider.region.as_deref())
    .bind(provider.retention.map(|retention| i64::from(retention.0)))
    .bind(provider.trains_on_data)
    .bind(provider.max_concurrent_requests.map(i64::from))
    .bind(provider.responses.map(ResponsesMode::name))
    .bind(provider.created_at.0)
    .bind(provider.updated_at.0)
    .execute_one()
    .await
}

async fn insert_credentials(tx: &mut Tx, provider: &ProviderRecord) -> Result<(), StoreError> {
    for credential in &provider.credentials {
        tx.sql(
            "INSERT INTO provider_credentials
                 (id, provider_id, name, ciphertext, weight, secret_changed_at_ms)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .id(credential.id)
        .id(provider.id)
        .bind(&credential.name)
        .bind(credential.ciphertext.as_slice())
        .bind(i64::from(credential.weight))
        .bind(credential.secret_changed_at.0)
        .execute_one()
        .await?;
    }
    Ok(())
}

async fn write(tx: &mut Tx, provider: &ProviderRecord) -> Result<(), StoreError> {
    tx.sql(
        "UPDATE providers SET name = $2, dialect = $3, base_url = $4, region = $5, retention_days = $6,
             trains_on_data = $7, max_concurrent_requests = $8, responses = $9, updated_at_ms = $10
         WHERE id = $1",
    )
    .id(provider.id)
    .bind(&provider.name)
    .bind(provider.dialect.name())
    .bind(&provider.base_url)
    .bind(provider.region.as_deref())
    .bind(provider.retention.map(|retention| i64::from(retention.0)))
    .bind(provider.trains_on_data)
    .bind(provider.max_concurrent_requests.map(i64::from))
    .bind(provider.responses.map(ResponsesMode::name))
    .bind(provider.updated_at.0)
    .execute_one()
    .await
}

/// A provider still without its credentials.
fn read(row: &Row) -> Result<ProviderRecord, StoreError> {
    Ok(ProviderRecord {
        id: row.id("id")?,
        name: row.get("name")?,
        dialect: row.named("dialect")?,
        base_url: row.get("base_url")?,
        credentials: Vec::new(),
        region: row.get("region")?,
        retention: row.optional_u32("retention_days")?.map(Retention),
        trains_on_data: row.get("trains_on_data")?,
        max_concurrent_requests: row.optional_u32("max_concurrent_requests")?,
        responses: row.optional_named("responses")?,
        created_at: row.moment("created_at_ms")?,
        updated_at: row.moment("updated_at_ms")?,
    })
}

fn read_credential(row: &Row) -> Result<CredentialRecord, StoreError> {
    Ok(CredentialRecord {
        id: row.id("id")?,
        name: row.get("name")?,
        ciphertext: row.get("ciphertext")?,
        weight: row.optional_u32("weight")?.unwrap_or(1),
        secret_changed_at: row.moment("secret_changed_at_ms")?,
    })
}

impl PolicyAggregate for ProviderRecord {
    const KIND: ObjectKind = ObjectKind::Provider;

    fn object_id(&self) -> Uuid {
        self.id.as_uuid()
    }

    fn object_name(&self) -> String {
        self.name.clone()
    }

    fn tenant_id(&self) -> Option<TenantId> {
        None
    }
}
