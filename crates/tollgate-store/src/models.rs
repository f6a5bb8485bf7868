//! Virtual models: what applications ask for.

use serde::Serialize;
use tollgate_domain::{ModelId, TenantId, UnixMillis};
use tollgate_policy::{ModelPolicy, ObjectKind, RetryPolicy, Strategy, Target, Timeouts};
use uuid::Uuid;

use crate::db::{Row, Sql, name_of};
use crate::policy_log::PolicyAggregate;
use crate::providers;
use crate::store::{Tx, run_tx};
use crate::{Page, PageRequest, Store, StoreError, WriteContext};

/// The columns of a model, with conditions.
macro_rules! select {
    ($conditions:literal) => {
        concat!(
            "SELECT id, name, strategy, targets, fallbacks, retry, timeouts, hold_slice_tokens, drop_unsupported,
             created_at_ms, updated_at_ms FROM models",
            $conditions
        )
    };
}

/// A virtual model as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelRecord {
    /// Identity.
    pub id: ModelId,
    /// Unique name.
    pub name: String,
    /// Order of the targets.
    pub strategy: Strategy,
    /// Where it leads.
    pub targets: Vec<Target>,
    /// Virtual models whose targets follow after its own.
    pub fallbacks: Vec<String>,
    /// Retries.
    pub retry: RetryPolicy,
    /// Time limits.
    pub timeouts: Timeouts,
    /// Answer tokens that a stream holds for at a time; zero for the whole answer, `None` for the settings'.
    pub hold_slice_tokens: Option<u32>,
    /// What a target lacks is left out where that is harmless, rather than refused.
    pub drop_unsupported: bool,
    /// When it was created.
    pub created_at: UnixMillis,
    /// When it was last changed.
    pub updated_at: UnixMillis,
}

impl ModelRecord {
    /// The model as the pods see it.
    #[must_use]
    pub fn to_policy(&self) -> ModelPolicy {
        ModelPolicy {
            id: self.id,
            name: self.name.clone(),
            strategy: self.strategy,
            targets: self.targets.clone(),
            fallbacks: self.fallbacks.clone(),
            retry: self.retry.clone(),
            timeouts: self.timeouts,
            hold_slice_tokens: self.hold_slice_tokens,
            drop_unsupported: self.drop_unsupported,
        }
    }
}

impl Store {
    /// Creates a virtual model.
    ///
    /// # Errors
    /// `NotFound` without a target's provider; `Conflict` on `name`.
    pub async fn create_model(
        &self,
        ctx: &WriteContext,
        model: ModelPolicy,
    ) -> Result<ModelRecord, StoreError> {
        let record = ModelRecord {
            id: model.id,
            name: model.name,
            strategy: model.strategy,
            targets: model.targets,
            fallbacks: model.fallbacks,
            retry: model.retry,
            timeouts: model.timeouts,
            hold_slice_tokens: model.hold_slice_tokens,
            drop_unsupported: model.drop_unsupported,
            created_at: ctx.now,
            updated_at: ctx.now,
        };
        run_tx!(self, "create_model", |tx| {
            tx.lock_policy().await?;
            require_targets(tx, &record).await?;
            insert(tx, &record).await?;
            tx.record_policy(ctx, "create", None, Some(&record)).await
        })?;
        Ok(record)
    }

    /// The model of that id.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn model(&self, id: ModelId) -> Result<ModelRecord, StoreError> {
        find(&mut self.reader(), id).await?.ok_or_else(|| StoreError::not_found("model", id))
    }

    /// The model of that name.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn model_by_name(&self, name: &str) -> Result<ModelRecord, StoreError> {
        let found = self.reader().sql(select!(" WHERE name = $1")).bind(name).read_optional(read).await?;
        found.ok_or_else(|| StoreError::not_found("model", name))
    }

    /// Models by id.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn list_models(
        &self,
        page: PageRequest<ModelId>,
    ) -> Result<Page<ModelRecord, ModelId>, StoreError> {
        let mut reader = self.reader();
        let query = reader.sql(select!("")).filter(" WHERE id > ", page.after.map(|id| id.as_uuid()));
        let items = query.push(" ORDER BY id LIMIT ").push_bind(page.fetch()).read_all(read).await?;
        Ok(Page::cut(items, page.rows(), |model| model.id))
    }

    /// Changes a model as [`Store::update_tenant`] does.
    ///
    /// # Errors
    /// `NotFound` (the model, or a target's provider); `Conflict` on `name`.
    pub async fn update_model(
        &self,
        ctx: &WriteContext,
        id: ModelId,
        change: impl Fn(&mut ModelRecord) + Send + Sync,
    ) -> Result<ModelRecord, StoreError> {
        run_tx!(self, "update_model", |tx| {
            tx.lock_policy().await?;
            let before = find(tx, id).await?.ok_or_else(|| StoreError::not_found("model", id))?;
            let mut after = before.clone();
            change(&mut after);
            after.id = before.id;
            after.created_at = before.created_at;
            after.updated_at = before.updated_at;
            if after == before {
                return Ok(before);
            }
            after.updated_at = ctx.now;
            require_targets(tx, &after).await?;
            write(tx, &after).await?;
            tx.record_policy(ctx, "update", Some(&before), Some(&after)).await?;
            Ok(after)
        })
    }

    /// Deletes a model; answers what was deleted. Fallbacks and defaults that name it are the caller's.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_model(&self, ctx: &WriteContext, id: ModelId) -> Result<ModelRecord, StoreError> {
        run_tx!(self, "delete_model", |tx| {
            tx.lock_policy().await?;
            let model = find(tx, id).await?.ok_or_else(|| StoreError::not_found("model", id))?;
            tx.sql("DELETE FROM models WHERE id = $1").id(id).execute_one().await?;
            tx.record_policy(ctx, "delete", Some(&model), None).await?;
            Ok(model)
        })
    }
}

/// Refuses targets whose provider is not there: the policy lock keeps it there until the commit.
async fn require_targets(tx: &mut Tx, model: &ModelRecord) -> Result<(), StoreError> {
    for target in &model.targets {
        if providers::find(tx, target.provider).await?.is_none() {
            return Err(StoreError::not_found("provider", target.provider));
        }
    }
    Ok(())
}

// === SQL ===

pub(crate) async fn find(db: &mut impl Sql, id: ModelId) -> Result<Option<ModelRecord>, StoreError> {
    db.sql(select!(" WHERE id = $1")).id(id).read_optional(read).await
}

pub(crate) async fn all(db: &mut impl Sql) -> Result<Vec<ModelRecord>, StoreError> {
    db.sql(select!(" ORDER BY id")).read_all(read).await
}

async fn insert(tx: &mut Tx, model: &ModelRecord) -> Result<(), StoreError> {
    tx.sql(
        "INSERT INTO models
             (id, name, strategy, targets, fallbacks, retry, timeouts, hold_slice_tokens, drop_unsupported,
             created_at_ms, updated_at_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .id(model.id)
    .bind(&model.name)
    .bind(name_of(&model.strategy))
    .json(&model.targets)
    .json(&model.fallbacks)
    .json(&model.retry)
    .json(&model.timeouts)
    .bind(model.hold_slice_tokens.map(i64::from))
    .bind(model.drop_unsupported)
    .bind(model.created_at.0)
    .bind(model.updated_at.0)
    .execute_one()
    .await
}

async fn write(tx: &mut Tx, model: &ModelRecord) -> Result<(), StoreError> {
    tx.sql(
        "UPDATE models SET name = $2, strategy = $3, targets = $4, fallbacks = $5, retry = $6, timeouts = $7,
             hold_slice_tokens = $8, drop_unsupported = $9, updated_at_ms = $10
         WHERE id = $1",
    )
    .id(model.id)
    .bind(&model.name)
    .bind(name_of(&model.strategy))
    .json(&model.targets)
    .json(&model.fallbacks)
    .json(&model.retry)
    .json(&model.timeouts)
    .bind(model.hold_slice_tokens.map(i64::from))
    .bind(model.drop_unsupported)
    .bind(model.updated_at.0)
    .execute_one()
    .await
}

fn read(row: &Row) -> Result<ModelRecord, StoreError> {
    Ok(ModelRecord {
        id: row.id("id")?,
        name: row.get("name")?,
        strategy: row.named("strategy")?,
        targets: row.json("targets")?,
        fallbacks: row.json("fallbacks")?,
        retry: row.json("retry")?,
        timeouts: row.json("timeouts")?,
        hold_slice_tokens: row.optional_u32("hold_slice_tokens")?,
        drop_unsupported: row.get("drop_unsupported")?,
        created_at: row.moment("created_at_ms")?,
        updated_at: row.moment("updated_at_ms")?,
    })
}

impl PolicyAggregate for ModelRecord {
    const KIND: ObjectKind = ObjectKind::Model;

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
