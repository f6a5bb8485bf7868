//! API keys of projects: hashes only.

use serde::Serialize;
use tollgate_domain::{KeyHash, KeyId, Labels, ProjectId, TenantId, UnixMillis};
use tollgate_policy::{KeyPolicy, KeyState, ObjectKind, OwnerRules, RateLimits};
use uuid::Uuid;

use crate::db::{Row, Sql, name_of};
use crate::policy_log::PolicyAggregate;
use crate::projects;
use crate::store::{Tx, run_tx};
use crate::{Page, PageRequest, Store, StoreError, WriteContext};

/// The columns of a key that is not deleted, with further conditions.
macro_rules! select {
    ($conditions:literal) => {
        concat!(
            "SELECT id, tenant_id, project_id, name, public_prefix, hash, previous_hash, previous_until_ms,
                 models, limits, rules, labels, expires_at_ms, state, rotated_at_ms, created_at_ms,
                 updated_at_ms
             FROM api_keys WHERE deleted_at_ms IS NULL",
            $conditions
        )
    };
}

/// A key as stored. Its hashes are never serialised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyRecord {
    /// Identity.
    pub id: KeyId,
    /// Its project's tenant.
    pub tenant: TenantId,
    /// Its project.
    pub project: ProjectId,
    /// Unique name within the project, among keys that are not revoked.
    pub name: String,
    /// What of its text may be shown.
    pub public_prefix: String,
    /// Hash of its text.
    #[serde(skip)]
    pub hash: KeyHash,
    /// Hash of the text before the last rotation.
    #[serde(skip)]
    pub previous_hash: Option<KeyHash>,
    /// Until when the previous text is accepted.
    pub previous_until: Option<UnixMillis>,
    /// Model patterns it may ask for; empty allows all.
    pub models: Vec<String>,
    /// Rate limits.
    pub limits: RateLimits,
    /// What holds for each end user and each model.
    pub rules: OwnerRules,
    /// Labels that every request carries, over the project's.
    pub labels: Labels,
    /// Refused from this time on.
    pub expires_at: Option<UnixMillis>,
    /// Whether it may be used.
    pub state: KeyState,
    /// When its text was last rotated.
    pub rotated_at: Option<UnixMillis>,
    /// When it was created.
    pub created_at: UnixMillis,
    /// When it was last changed.
    pub updated_at: UnixMillis,
}

/// Which keys; the default means all that are not revoked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFilter {
    /// Of this tenant.
    pub tenant: Option<TenantId>,
    /// Of this project.
    pub project: Option<ProjectId>,
    /// Of this name.
    pub name: Option<String>,
    /// Revoked ones too.
    pub include_revoked: bool,
}

impl KeyRecord {
    /// The key as the pods see it.
    #[must_use]
    pub fn to_policy(&self) -> KeyPolicy {
        KeyPolicy {
            id: self.id,
            project: self.project,
            name: self.name.clone(),
            hash: self.hash,
            previous_hash: self.previous_hash.zip(self.previous_until),
            models: self.models.clone(),
            limits: self.limits,
            rules: self.rules.clone(),
            expires_at: self.expires_at,
            state: self.state,
            labels: self.labels.clone(),
        }
    }
}

impl Store {
    /// Creates a key. `public_prefix` is what of its text may be shown again.
    ///
    /// # Errors
    /// `NotFound` without its project; `Conflict` on `name`, or on `secret` where another key has or had
    /// the same text.
    pub async fn create_key(
        &self,
        ctx: &WriteContext,
        key: KeyPolicy,
        public_prefix: &str,
    ) -> Result<KeyRecord, StoreError> {
        run_tx!(self, "create_key", |tx| {
            tx.lock_policy().await?;
            let project = projects::find(tx, key.project).await?;
            let project = project.ok_or_else(|| StoreError::not_found("project", key.project))?;
            refuse_known_hash(tx, key.hash, ctx.now).await?;
            let record = new_record(&key, project.tenant, public_prefix, ctx.now);
            insert(tx, &record).await?;
            tx.record_policy(ctx, "create", None, Some(&record)).await?;
            Ok(record)
        })
    }

    /// The key of that id, revoked ones included.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn key(&self, id: KeyId) -> Result<KeyRecord, StoreError> {
        find(&mut self.reader(), id).await?.ok_or_else(|| StoreError::not_found("key", id))
    }

    /// The project's key of that name that is not revoked.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn key_by_name(&self, project: ProjectId, name: &str) -> Result<KeyRecord, StoreError> {
        let mut reader = self.reader();
        let query = reader.sql(select!(" AND project_id = $1 AND name = $2 AND state <> 'revoked'"));
        let found = query.id(project).bind(name).read_optional(read).await?;
        found.ok_or_else(|| StoreError::not_found("key", name))
    }

    /// Keys by id.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn list_keys(
        &self,
        filter: &KeyFilter,
        page: PageRequest<KeyId>,
    ) -> Result<Page<KeyRecord, KeyId>, StoreError> {
        let mut reader = self.reader();
        let query = reader
            .sql(select!(""))
            .filter(" AND tenant_id = ", filter.tenant.map(|id| id.as_uuid()))
            .filter(" AND project_id = ", filter.project.map(|id| id.as_uuid()))
            .filter(" AND name = ", filter.name.as_deref())
            .filter(" AND id > ", page.after.map(|id| id.as_uuid()))
            .filter(" AND state <> ", (!filter.include_revoked).then_some("revoked"));
        let items = query.push(" ORDER BY id LIMIT ").push_bind(page.fetch()).read_all(read).await?;
        Ok(Page::cut(items, page.rows(), |key| key.id))
    }

    /// Changes a key as [`Store::update_tenant`] does: also blocks, unblocks and revokes it (`state`).
    /// Its project and its hashes stay: [`Store::rotate_key`] changes those.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` on `name`, or on `state` where a revoked key is to be used again.
    pub async fn update_key(
        &self,
        ctx: &WriteContext,
        id: KeyId,
        change: impl Fn(&mut KeyRecord) + Send + Sync,
    ) -> Result<KeyRecord, StoreError> {
        run_tx!(self, "update_key", |tx| {
            tx.lock_policy().await?;
            let before = find(tx, id).await?.ok_or_else(|| StoreError::not_found("key", id))?;
            let mut after = before.clone();
            change(&mut after);
            after = KeyRecord {
                name: after.name,
                models: after.models,
                limits: after.limits,
                rules: after.rules,
                labels: after.labels,
                expires_at: after.expires_at,
                state: after.state,
                ..before.clone()
            };
            store_change(tx, ctx, "update", before, after).await
        })
    }

    /// Gives a key a new text. The present one is accepted until `previous_until`.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` on `secret` where the text is in use, on `state` where the key is revoked.
    pub async fn rotate_key(
        &self,
        ctx: &WriteContext,
        id: KeyId,
        hash: KeyHash,
        public_prefix: &str,
        previous_until: UnixMillis,
    ) -> Result<KeyRecord, StoreError> {
        run_tx!(self, "rotate_key", |tx| {
            tx.lock_policy().await?;
            let before = find(tx, id).await?.ok_or_else(|| StoreError::not_found("key", id))?;
            if before.state == KeyState::Revoked {
                return Err(StoreError::conflict("key", "state", REVOKED));
            }
            refuse_known_hash(tx, hash, ctx.now).await?;
            let after = KeyRecord {
                hash,
                public_prefix: public_prefix.to_owned(),
                previous_hash: Some(before.hash),
                previous_until: Some(previous_until),
                rotated_at: Some(ctx.now),
                ..before.clone()
            };
            store_change(tx, ctx, "rotate", before, after).await
        })
    }

    /// Revokes a key for ever; its row stays and its name is free again. Again: no change.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn revoke_key(&self, ctx: &WriteContext, id: KeyId) -> Result<KeyRecord, StoreError> {
        run_tx!(self, "revoke_key", |tx| {
            tx.lock_policy().await?;
            let before = find(tx, id).await?.ok_or_else(|| StoreError::not_found("key", id))?;
            let after = KeyRecord { state: KeyState::Revoked, ..before.clone() };
            store_change(tx, ctx, "revoke", before, after).await
        })
    }
}

const REVOKED: &str = "the key is revoked for ever: create another one";

fn new_record(key: &KeyPolicy, tenant: TenantId, public_prefix: &str, now: UnixMillis) -> KeyRecord {
    KeyRecord {
        id: key.id,
        tenant,
        project: key.project,
        name: key.name.clone(),
        public_prefix: public_prefix.to_owned(),
        hash: key.hash,
        previous_hash: key.previous_hash.map(|(hash, _)| hash),
        previous_until: key.previous_hash.map(|(_, until)| until),
        models: key.models.clone(),
        limits: key.limits,
        rules: key.rules.clone(),
        labels: key.labels.clone(),
        expires_at: key.expires_at,
        state: key.state,
        rotated_at: None,
        created_at: now,
        updated_at: now,
    }
}

async fn store_change(
    tx: &mut Tx,
    ctx: &WriteContext,
    action: &'static str,
    before: KeyRecord,
    mut after: KeyRecord,
) -> Result<KeyRecord, StoreError> {
    if after == before {
        return Ok(before);
    }
    if before.state == KeyState::Revoked && after.state != KeyState::Revoked {
        return Err(StoreError::conflict("key", "state", REVOKED));
    }
    after.updated_at = ctx.now;
    write(tx, &after).await?;
    tx.record_policy(ctx, action, Some(&before), Some(&after)).await?;
    Ok(after)
}

// === SQL ===

pub(crate) async fn find(db: &mut impl Sql, id: KeyId) -> Result<Option<KeyRecord>, StoreError> {
    db.sql(select!(" AND id = $1")).id(id).read_optional(read).await
}

pub(crate) async fn all(db: &mut impl Sql) -> Result<Vec<KeyRecord>, StoreError> {
    db.sql(select!(" ORDER BY id")).read_all(read).await
}

pub(crate) async fn of_project(db: &mut impl Sql, project: ProjectId) -> Result<Vec<KeyRecord>, StoreError> {
    db.sql(select!(" AND project_id = $1 ORDER BY id")).id(project).read_all(read).await
}

/// Marks a project's keys as deleted and forgets their hashes.
pub(crate) async fn mark_deleted(
    tx: &mut Tx,
    ctx: &WriteContext,
    project: ProjectId,
) -> Result<(), StoreError> {
    tx.sql(
        "UPDATE api_keys SET deleted_at_ms = $2, hash = NULL, previous_hash = NULL, previous_until_ms = NULL
         WHERE project_id = $1 AND deleted_at_ms IS NULL",
    )
    .id(project)
    .bind(ctx.now.0)
    .execute()
    .await
    .map(drop)
}

/// A text that opened another key before its rotation, and still does, cannot open a second one.
async fn refuse_known_hash(tx: &mut Tx, hash: KeyHash, now: UnixMillis) -> Result<(), StoreError> {
    let query = tx.sql("SELECT id FROM api_keys WHERE previous_hash = $1 AND previous_until_ms > $2");
    match query.bind(hash.0.as_slice()).bind(now.0).fetch_optional().await? {
        None => Ok(()),
        Some(_) => Err(StoreError::conflict("key", "secret", "the secret is in use: choose another")),
    }
}

async fn insert(tx: &mut Tx, key: &KeyRecord) -> Result<(), StoreError> {
    tx.sql(
        "INSERT INTO api_keys
             (id, tenant_id, project_id, name, public_prefix, hash, previous_hash, previous_until_ms, models,
              limits, labels, expires_at_ms, state, rotated_at_ms, created_at_ms, updated_at_ms, rules)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
    )
    .id(key.id)
    .id(key.tenant)
    .id(key.project)
    .bind(&key.name)
    .bind(&key.public_prefix)
    .bind(key.hash.0.as_slice())
    .bind(key.previous_hash.map(|hash| hash.0.to_vec()))
    .moment(key.previous_until)
    .json(&key.models)
    .json(&key.limits)
    .json(&key.labels)
    .moment(key.expires_at)
    .bind(name_of(&key.state))
    .moment(key.rotated_at)
    .bind(key.created_at.0)
    .bind(key.updated_at.0)
    .json(&key.rules)
    .execute_one()
    .await
}

async fn write(tx: &mut Tx, key: &KeyRecord) -> Result<(), StoreError> {
    tx.sql(
        "UPDATE api_keys SET name = $2, public_prefix = $3, hash = $4, previous_hash = $5,
             previous_until_ms = $6, models = $7, limits = $8, labels = $9, expires_at_ms = $10, state = $11,
             rotated_at_ms = $12, updated_at_ms = $13, rules = $14
         WHERE id = $1",
    )
    .id(key.id)
    .bind(&key.name)
    .bind(&key.public_prefix)
    .bind(key.hash.0.as_slice())
    .bind(key.previous_hash.map(|hash| hash.0.to_vec()))
    .moment(key.previous_until)
    .json(&key.models)
    .json(&key.limits)
    .json(&key.labels)
    .moment(key.expires_at)
    .bind(name_of(&key.state))
    .moment(key.rotated_at)
    .bind(key.updated_at.0)
    .json(&key.rules)
    .execute_one()
    .await
}

fn read(row: &Row) -> Result<KeyRecord, StoreError> {
    let previous_hash: Option<Vec<u8>> = row.get("previous_hash")?;
    Ok(KeyRecord {
        id: row.id("id")?,
        tenant: row.id("tenant_id")?,
        project: row.id("project_id")?,
        name: row.get("name")?,
        public_prefix: row.get("public_prefix")?,
        hash: to_hash("hash", &row.get::<Vec<u8>>("hash")?)?,
        previous_hash: previous_hash.map(|bytes| to_hash("previous_hash", &bytes)).transpose()?,
        previous_until: row.optional_moment("previous_until_ms")?,
        models: row.json("models")?,
        limits: row.json("limits")?,
        rules: row.json("rules")?,
        labels: row.json("labels")?,
        expires_at: row.optional_moment("expires_at_ms")?,
        state: row.named("state")?,
        rotated_at: row.optional_moment("rotated_at_ms")?,
        created_at: row.moment("created_at_ms")?,
        updated_at: row.moment("updated_at_ms")?,
    })
}

fn to_hash(column: &str, bytes: &[u8]) -> Result<KeyHash, StoreError> {
    let wrong_length = |_| StoreError::corrupt(column, format!("{} bytes instead of 32", bytes.len()));
    bytes.try_into().map(KeyHash).map_err(wrong_length)
}

impl PolicyAggregate for KeyRecord {
    const KIND: ObjectKind = ObjectKind::Key;

    fn object_id(&self) -> Uuid {
        self.id.as_uuid()
    }

    fn object_name(&self) -> String {
        self.name.clone()
    }

    fn tenant_id(&self) -> Option<TenantId> {
        Some(self.tenant)
    }
}
