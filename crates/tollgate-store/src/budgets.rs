//! Budgets of tenants, projects and keys.

use serde::Serialize;
use tollgate_domain::{BudgetId, BudgetShare, BudgetWindow, NanoUsd, TenantId, UnixMillis};
use tollgate_policy::{BudgetOwner, BudgetPolicy, ObjectKind};
use uuid::Uuid;

use crate::db::{Row, Sql};
use crate::journal::parts;
use crate::policy_log::PolicyAggregate;
use crate::store::{Tx, run_tx};
use crate::{BudgetIncreaseRecord, Page, PageRequest, Store, StoreError, WriteContext};
use crate::{budget_increases, keys, projects, tenant_accounts, tenants};

/// The columns of a budget, with conditions.
macro_rules! select {
    ($conditions:literal) => {
        concat!(
            "SELECT id, tenant_id, owner_scope, owner_id, time_window, limit_nano_usd, alert_at,
                 created_at_ms, updated_at_ms
             FROM budgets",
            $conditions
        )
    };
}

/// A budget as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BudgetRecord {
    /// Identity; also the ledger's node.
    pub id: BudgetId,
    /// The tenant its owner belongs to, or is.
    pub tenant: TenantId,
    /// What it limits.
    pub owner: BudgetOwner,
    /// Over which span. An owner has one budget per window.
    pub window: BudgetWindow,
    /// How much.
    pub limit: NanoUsd,
    /// At which shares of the limit somebody wants to be told, ascending; a pod does not need to know.
    pub alert_at: Vec<BudgetShare>,
    /// What is added to it for a time, the eldest first; some may be over.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub increases: Vec<BudgetIncreaseRecord>,
    /// When it was created.
    pub created_at: UnixMillis,
    /// When it was last changed.
    pub updated_at: UnixMillis,
}

/// Which budgets; an empty filter means all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BudgetFilter {
    /// Of this tenant and all below it.
    pub tenant: Option<TenantId>,
    /// Of exactly this owner.
    pub owner: Option<BudgetOwner>,
}

impl BudgetRecord {
    /// The budget as the pods see it.
    #[must_use]
    pub fn to_policy(&self) -> BudgetPolicy {
        BudgetPolicy {
            id: self.id,
            owner: self.owner,
            window: self.window,
            limit: self.limit,
            increases: self.increases.iter().map(BudgetIncreaseRecord::to_policy).collect(),
        }
    }
}

impl Store {
    /// Creates a budget.
    ///
    /// # Errors
    /// `NotFound` without its owner; `Conflict` on `window` where the owner has a budget for it.
    pub async fn create_budget(
        &self,
        ctx: &WriteContext,
        budget: BudgetPolicy,
    ) -> Result<BudgetRecord, StoreError> {
        self.create_alerting_budget(ctx, budget, Vec::new()).await
    }

    /// The same with the shares of its limit at which somebody wants to be told, ascending.
    ///
    /// # Errors
    /// As [`Store::create_budget`].
    pub async fn create_alerting_budget(
        &self,
        ctx: &WriteContext,
        budget: BudgetPolicy,
        alert_at: Vec<BudgetShare>,
    ) -> Result<BudgetRecord, StoreError> {
        run_tx!(self, "create_budget", |tx| {
            tx.lock_policy().await?;
            let record = BudgetRecord {
                id: budget.id,
                tenant: tenant_of(tx, budget.owner).await?,
                owner: budget.owner,
                window: budget.window,
                limit: budget.limit,
                alert_at: alert_at.clone(),
                increases: Vec::new(),
                created_at: ctx.now,
                updated_at: ctx.now,
            };
            insert(tx, &record).await?;
            tx.record_policy(ctx, "create", None, Some(&record)).await?;
            Ok(record)
        })
    }

    /// The budget of that id.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn budget(&self, id: BudgetId) -> Result<BudgetRecord, StoreError> {
        find(&mut self.reader(), id).await?.ok_or_else(|| StoreError::not_found("budget", id))
    }

    /// Budgets by id.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn list_budgets(
        &self,
        filter: &BudgetFilter,
        page: PageRequest<BudgetId>,
    ) -> Result<Page<BudgetRecord, BudgetId>, StoreError> {
        let owner = filter.owner.map(owner_columns);
        let mut reader = self.reader();
        let mut items = reader
            .sql(select!(" WHERE id > $1"))
            .bind(page.after.map_or(Uuid::nil(), |id| id.as_uuid()))
            .filter(" AND tenant_id = ", filter.tenant.map(|id| id.as_uuid()))
            .filter(" AND owner_scope = ", owner.map(|(scope, _)| scope))
            .filter(" AND owner_id = ", owner.map(|(_, id)| id))
            .push(" ORDER BY id LIMIT ")
            .push_bind(page.fetch())
            .read_all(read)
            .await?;
        budget_increases::attach(&mut reader, &mut items).await?;
        Ok(Page::cut(items, page.rows(), |budget| budget.id))
    }

    /// The budgets of these owners (tenants, projects, keys) that somebody wants to be told about.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn alerting_budgets_of(&self, owners: &[Uuid]) -> Result<Vec<BudgetRecord>, StoreError> {
        let mut found = Vec::new();
        for part in parts(owners) {
            let mut reader = self.reader();
            let mut query = reader.sql(select!(" WHERE alert_at <> '[]' AND owner_id IN ("));
            for (index, owner) in part.iter().enumerate() {
                query = if index == 0 { query } else { query.push(", ") }.push_bind(*owner);
            }
            found.extend(query.push(")").read_all(read).await?);
        }
        budget_increases::attach(&mut self.reader(), &mut found).await?;
        Ok(found)
    }

    /// All budgets that somebody wants to be told about, by id.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn list_alerting_budgets(
        &self,
        page: PageRequest<BudgetId>,
    ) -> Result<Page<BudgetRecord, BudgetId>, StoreError> {
        let mut reader = self.reader();
        let query = reader.sql(select!(" WHERE alert_at <> '[]' AND id > $1"));
        let query = query.bind(page.after.map_or(Uuid::nil(), |id| id.as_uuid()));
        let mut items = query.push(" ORDER BY id LIMIT ").push_bind(page.fetch()).read_all(read).await?;
        budget_increases::attach(&mut reader, &mut items).await?;
        Ok(Page::cut(items, page.rows(), |budget| budget.id))
    }

    /// Changes a budget's window, limit or alerts as [`Store::update_tenant`] does; its owner stays.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` on `window`.
    pub async fn update_budget(
        &self,
        ctx: &WriteContext,
        id: BudgetId,
        change: impl Fn(&mut BudgetRecord) + Send + Sync,
    ) -> Result<BudgetRecord, StoreError> {
        run_tx!(self, "update_budget", |tx| {
            tx.lock_policy().await?;
            let before = find(tx, id).await?.ok_or_else(|| StoreError::not_found("budget", id))?;
            let mut after = before.clone();
            change(&mut after);
            after.id = before.id;
            after.tenant = before.tenant;
            after.owner = before.owner;
            after.increases.clone_from(&before.increases);
            after.created_at = before.created_at;
            after.updated_at = before.updated_at;
            if after == before {
                return Ok(before);
            }
            after.updated_at = ctx.now;
            write(tx, &after).await?;
            tx.record_policy(ctx, "update", Some(&before), Some(&after)).await?;
            Ok(after)
        })
    }

    /// Deletes a budget; answers what was deleted.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_budget(&self, ctx: &WriteContext, id: BudgetId) -> Result<BudgetRecord, StoreError> {
        run_tx!(self, "delete_budget", |tx| {
            tx.lock_policy().await?;
            let budget = find(tx, id).await?.ok_or_else(|| StoreError::not_found("budget", id))?;
            delete(tx, ctx, &budget).await?;
            Ok(budget)
        })
    }
}

/// An owner as it is stored.
fn owner_columns(owner: BudgetOwner) -> (&'static str, Uuid) {
    match owner {
        BudgetOwner::Tenant(id) => ("tenant", id.as_uuid()),
        BudgetOwner::Project(id) => ("project", id.as_uuid()),
        BudgetOwner::Key(id) => ("key", id.as_uuid()),
    }
}

/// The tenant an owner belongs to; refuses to go on without the owner.
async fn tenant_of(tx: &mut Tx, owner: BudgetOwner) -> Result<TenantId, StoreError> {
    match owner {
        BudgetOwner::Tenant(id) => tenants::require(tx, id).await.map(|()| id),
        BudgetOwner::Project(id) => match projects::find(tx, id).await? {
            Some(project) => Ok(project.tenant),
            None => Err(StoreError::not_found("project", id)),
        },
        BudgetOwner::Key(id) => match keys::find(tx, id).await? {
            Some(key) => Ok(key.tenant),
            None => Err(StoreError::not_found("key", id)),
        },
    }
}

// === SQL ===

pub(crate) async fn find(db: &mut impl Sql, id: BudgetId) -> Result<Option<BudgetRecord>, StoreError> {
    let mut found: Vec<_> =
        db.sql(select!(" WHERE id = $1")).id(id).read_optional(read).await?.into_iter().collect();
    budget_increases::attach(db, &mut found).await?;
    Ok(found.pop())
}

pub(crate) async fn all(db: &mut impl Sql) -> Result<Vec<BudgetRecord>, StoreError> {
    let mut all = db.sql(select!(" ORDER BY id")).read_all(read).await?;
    budget_increases::attach_all(db, &mut all).await?;
    Ok(all)
}

/// Whether a tenant, or anything below it, has a budget that follows the tenant's calendar.
pub(crate) async fn has_windowed(tx: &mut Tx, tenant: TenantId) -> Result<bool, StoreError> {
    let query = tx.sql("SELECT 1 AS found FROM budgets WHERE tenant_id = $1 AND time_window <> $2 LIMIT 1");
    let found = query.id(tenant).bind(BudgetWindow::Total.name()).fetch_optional().await?;
    Ok(found.is_some())
}

/// Deletes the budgets of a tenant and of all below it.
pub(crate) async fn delete_of_tenant(
    tx: &mut Tx,
    ctx: &WriteContext,
    tenant: TenantId,
) -> Result<(), StoreError> {
    for budget in tx.sql(select!(" WHERE tenant_id = $1 ORDER BY id")).id(tenant).read_all(read).await? {
        delete(tx, ctx, &budget).await?;
    }
    Ok(())
}

/// Deletes the budgets of exactly this owner.
pub(crate) async fn delete_of_owner(
    tx: &mut Tx,
    ctx: &WriteContext,
    owner: BudgetOwner,
) -> Result<(), StoreError> {
    let (scope, id) = owner_columns(owner);
    let query = tx.sql(select!(" WHERE owner_scope = $1 AND owner_id = $2 ORDER BY id"));
    for budget in query.bind(scope).bind(id).read_all(read).await? {
        delete(tx, ctx, &budget).await?;
    }
    Ok(())
}

async fn delete(tx: &mut Tx, ctx: &WriteContext, budget: &BudgetRecord) -> Result<(), StoreError> {
    tx.sql("DELETE FROM budgets WHERE id = $1").id(budget.id).execute_one().await?;
    tx.record_policy(ctx, "delete", Some(budget), None).await
}

async fn insert(tx: &mut Tx, budget: &BudgetRecord) -> Result<(), StoreError> {
    let (scope, owner_id) = owner_columns(budget.owner);
    tx.sql(
        "INSERT INTO budgets
             (id, tenant_id, owner_scope, owner_id, time_window, limit_nano_usd, created_at_ms, updated_at_ms,
              alert_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .id(budget.id)
    .id(budget.tenant)
    .bind(scope)
    .bind(owner_id)
    .bind(budget.window.name())
    .bind(budget.limit.0)
    .bind(budget.created_at.0)
    .bind(budget.updated_at.0)
    .json(&budget.alert_at)
    .execute_one()
    .await
}

async fn write(tx: &mut Tx, budget: &BudgetRecord) -> Result<(), StoreError> {
    tx.sql(
        "UPDATE budgets SET time_window = $2, limit_nano_usd = $3, updated_at_ms = $4, alert_at = $5
         WHERE id = $1",
    )
    .id(budget.id)
    .bind(budget.window.name())
    .bind(budget.limit.0)
    .bind(budget.updated_at.0)
    .json(&budget.alert_at)
    .execute_one()
    .await
}

/// The budgets of `tenants` and of all below them, by id, without what they were raised by.
pub(crate) async fn of_tenants(
    db: &mut impl Sql,
    tenants: &[TenantId],
) -> Result<Vec<BudgetRecord>, StoreError> {
    tenant_accounts::among(db, select!(" WHERE tenant_id IN ("), tenants, ") ORDER BY id", read).await
}

fn read(row: &Row) -> Result<BudgetRecord, StoreError> {
    let scope: String = row.get("owner_scope")?;
    let owner = match scope.as_str() {
        "tenant" => BudgetOwner::Tenant(row.id("owner_id")?),
        "project" => BudgetOwner::Project(row.id("owner_id")?),
        "key" => BudgetOwner::Key(row.id("owner_id")?),
        _ => return Err(StoreError::corrupt("owner_scope", scope)),
    };
    Ok(BudgetRecord {
        id: row.id("id")?,
        tenant: row.id("tenant_id")?,
        owner,
        window: row.named("time_window")?,
        limit: row.money("limit_nano_usd")?,
        alert_at: row.json("alert_at")?,
        increases: Vec::new(),
        created_at: row.moment("created_at_ms")?,
        updated_at: row.moment("updated_at_ms")?,
    })
}

impl PolicyAggregate for BudgetRecord {
    const KIND: ObjectKind = ObjectKind::Budget;

    fn object_id(&self) -> Uuid {
        self.id.as_uuid()
    }

    fn object_name(&self) -> String {
        self.window.name().to_owned()
    }

    fn tenant_id(&self) -> Option<TenantId> {
        Some(self.tenant)
    }
}
