//! Margin rules: immutable.

use serde::Serialize;
use tollgate_domain::{BasisPoints, MarginId, TenantId, UnixMillis};
use tollgate_policy::{MarginRule, ObjectKind};
use uuid::Uuid;

use crate::db::{Row, Sql};
use crate::policy_log::PolicyAggregate;
use crate::store::{Tx, run_tx};
use crate::tenants;
use crate::{Page, PageRequest, Store, StoreError, WriteContext};

/// The columns of a margin rule that is not deleted, with further conditions.
macro_rules! select {
    ($conditions:literal) => {
        concat!(
            "SELECT id, tenant_id, provider, model, basis_points, effective_from_ms, created_at_ms
             FROM margins WHERE deleted_at_ms IS NULL",
            $conditions
        )
    };
}

/// A margin rule as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MarginRecord {
    /// The rule.
    pub rule: MarginRule,
    /// When it was created.
    pub created_at: UnixMillis,
}

/// Which margin rules; an empty filter means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MarginFilter {
    /// Only for this tenant.
    pub tenant: Option<TenantId>,
    /// That name this provider.
    pub provider: Option<String>,
    /// That name this model.
    pub model: Option<String>,
}

impl Store {
    /// Creates margin rules, all of them or none. Each gets a revision of its own.
    ///
    /// # Errors
    /// `NotFound` without its tenant; `Conflict` on `effective_from` where a rule for the same begins at the
    /// same moment.
    pub async fn create_margins(
        &self,
        ctx: &WriteContext,
        rules: Vec<MarginRule>,
    ) -> Result<Vec<MarginRecord>, StoreError> {
        let records: Vec<_> =
            rules.into_iter().map(|rule| MarginRecord { rule, created_at: ctx.now }).collect();
        run_tx!(self, "create_margins", |tx| {
            tx.lock_policy().await?;
            for record in &records {
                if let Some(tenant) = record.rule.tenant {
                    tenants::require(tx, tenant).await?;
                }
                insert(tx, record).await?;
                tx.record_policy(ctx, "create", None, Some(record)).await?;
            }
            Ok(())
        })?;
        Ok(records)
    }

    /// The margin rule of that id.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn margin(&self, id: MarginId) -> Result<MarginRecord, StoreError> {
        find(&mut self.reader(), id).await?.ok_or_else(|| StoreError::not_found("margin", id))
    }

    /// Margin rules by id.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn list_margins(
        &self,
        filter: &MarginFilter,
        page: PageRequest<MarginId>,
    ) -> Result<Page<MarginRecord, MarginId>, StoreError> {
        let mut reader = self.reader();
        let items = reader
            .sql(select!(""))
            .filter(" AND tenant_id = ", filter.tenant.map(|id| id.as_uuid()))
            .filter(" AND provider = ", filter.provider.as_deref())
            .filter(" AND model = ", filter.model.as_deref())
            .filter(" AND id > ", page.after.map(|id| id.as_uuid()))
            .push(" ORDER BY id LIMIT ")
            .push_bind(page.fetch())
            .read_all(read)
            .await?;
        Ok(Page::cut(items, page.rows(), |margin| margin.rule.id))
    }

    /// Deletes a margin rule that is not in force yet; answers what was deleted.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` on `effective_from` where it is or was in force.
    pub async fn delete_margin(&self, ctx: &WriteContext, id: MarginId) -> Result<MarginRecord, StoreError> {
        run_tx!(self, "delete_margin", |tx| {
            tx.lock_policy().await?;
            let margin = find(tx, id).await?.ok_or_else(|| StoreError::not_found("margin", id))?;
            if margin.rule.effective_from <= ctx.now {
                return Err(StoreError::conflict("margin", "effective_from", IN_FORCE));
            }
            tx.sql("DELETE FROM margins WHERE id = $1").id(id).execute_one().await?;
            tx.record_policy(ctx, "delete", Some(&margin), None).await?;
            Ok(margin)
        })
    }

    /// Whether any request ended at or after `from`; of one tenant, or of anybody where `None`. What is priced
    /// anew from then on would tell of those otherwise than they were charged.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn has_requests_since(
        &self,
        tenant: Option<TenantId>,
        from: UnixMillis,
    ) -> Result<bool, StoreError> {
        let mut reader = self.reader();
        let query = reader
            .sql("SELECT 1 AS found FROM requests WHERE finished_at_ms >= ")
            .push_bind(from.0)
            .filter(" AND tenant_id = ", tenant.map(|id| id.as_uuid()));
        Ok(query.push(" LIMIT 1").fetch_optional().await?.is_some())
    }
}

const IN_FORCE: &str = "the margin is or was in force and stays on record: add a rule that replaces it";

// === SQL ===

pub(crate) async fn find(db: &mut impl Sql, id: MarginId) -> Result<Option<MarginRecord>, StoreError> {
    db.sql(select!(" AND id = $1")).id(id).read_optional(read).await
}

pub(crate) async fn all(db: &mut impl Sql) -> Result<Vec<MarginRecord>, StoreError> {
    db.sql(select!(" ORDER BY id")).read_all(read).await
}

/// Marks a tenant's own margins as deleted.
pub(crate) async fn delete_of_tenant(
    tx: &mut Tx,
    ctx: &WriteContext,
    tenant: TenantId,
) -> Result<(), StoreError> {
    for margin in tx.sql(select!(" AND tenant_id = $1 ORDER BY id")).id(tenant).read_all(read).await? {
        let mark = "UPDATE margins SET deleted_at_ms = $2 WHERE id = $1";
        tx.sql(mark).id(margin.rule.id).bind(ctx.now.0).execute_one().await?;
        tx.record_policy(ctx, "delete", Some(&margin), None).await?;
    }
    Ok(())
}

async fn insert(tx: &mut Tx, margin: &MarginRecord) -> Result<(), StoreError> {
    let rule = &margin.rule;
    tx.sql(
        "INSERT INTO margins (id, tenant_id, provider, model, basis_points, effective_from_ms, created_at_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .id(rule.id)
    .bind(rule.tenant.map(|id| id.as_uuid()))
    .bind(rule.provider.as_deref())
    .bind(rule.model.as_deref())
    .bind(i64::from(rule.basis_points.get()))
    .bind(rule.effective_from.0)
    .bind(margin.created_at.0)
    .execute_one()
    .await
}

fn read(row: &Row) -> Result<MarginRecord, StoreError> {
    let tenant: Option<Uuid> = row.get("tenant_id")?;
    let points: i64 = row.get("basis_points")?;
    let basis_points = i32::try_from(points).ok().and_then(BasisPoints::new);
    let rule = MarginRule {
        id: row.id("id")?,
        tenant: tenant.map(TenantId::from_uuid),
        provider: row.get("provider")?,
        model: row.get("model")?,
        basis_points: basis_points
            .ok_or_else(|| StoreError::corrupt("basis_points", format!("{points} is out of range")))?,
        effective_from: row.moment("effective_from_ms")?,
    };
    Ok(MarginRecord { rule, created_at: row.moment("created_at_ms")? })
}

impl PolicyAggregate for MarginRecord {
    const KIND: ObjectKind = ObjectKind::Margin;

    fn object_id(&self) -> Uuid {
        self.rule.id.as_uuid()
    }

    fn object_name(&self) -> String {
        let named = |part: &Option<String>| part.clone().unwrap_or_else(|| "*".to_owned());
        format!("{}/{}", named(&self.rule.provider), named(&self.rule.model))
    }

    fn tenant_id(&self) -> Option<TenantId> {
        self.rule.tenant
    }
}
