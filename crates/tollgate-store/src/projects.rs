//! Projects of tenants.

use serde::Serialize;
use tollgate_domain::{Labels, ProjectId, TenantId, UnixMillis};
use tollgate_policy::{BudgetOwner, ObjectKind, OwnerRules, ProjectPolicy, RateLimits};
use uuid::Uuid;

use crate::db::{Row, Sql};
use crate::journal::HAS_REQUESTS;
use crate::policy_log::PolicyAggregate;
use crate::store::{Tx, run_tx};
use crate::{Page, PageRequest, Store, StoreError, WriteContext};
use crate::{budgets, keys, tenants};

/// The columns of a project that is not deleted, with further conditions.
macro_rules! select {
    ($conditions:literal) => {
        concat!(
            "SELECT id, tenant_id, name, labels, limits, rules, created_at_ms, updated_at_ms
             FROM projects WHERE deleted_at_ms IS NULL",
            $conditions
        )
    };
}

/// A project as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProjectRecord {
    /// Identity.
    pub id: ProjectId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Unique name within the tenant.
    pub name: String,
    /// Labels that every request carries.
    pub labels: Labels,
    /// Rate limits over all its keys.
    pub limits: RateLimits,
    /// What holds for each end user and each model.
    pub rules: OwnerRules,
    /// When it was created.
    pub created_at: UnixMillis,
    /// When it was last changed.
    pub updated_at: UnixMillis,
}

/// Which projects; an empty filter means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProjectFilter {
    /// Of this tenant.
    pub tenant: Option<TenantId>,
    /// Of this name.
    pub name: Option<String>,
}

impl ProjectRecord {
    /// The project as the pods see it.
    #[must_use]
    pub fn to_policy(&self) -> ProjectPolicy {
        ProjectPolicy {
            id: self.id,
            tenant: self.tenant,
            name: self.name.clone(),
            labels: self.labels.clone(),
            limits: self.limits,
            rules: self.rules.clone(),
        }
    }
}

impl Store {
    /// Creates a project.
    ///
    /// # Errors
    /// `NotFound` without its tenant; `Conflict` on `name`.
    pub async fn create_project(
        &self,
        ctx: &WriteContext,
        project: ProjectPolicy,
    ) -> Result<ProjectRecord, StoreError> {
        let record = ProjectRecord {
            id: project.id,
            tenant: project.tenant,
            name: project.name,
            labels: project.labels,
            limits: project.limits,
            rules: project.rules,
            created_at: ctx.now,
            updated_at: ctx.now,
        };
        run_tx!(self, "create_project", |tx| {
            tx.lock_policy().await?;
            tenants::require(tx, record.tenant).await?;
            insert(tx, &record).await?;
            tx.record_policy(ctx, "create", None, Some(&record)).await
        })?;
        Ok(record)
    }

    /// The project of that id.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn project(&self, id: ProjectId) -> Result<ProjectRecord, StoreError> {
        find(&mut self.reader(), id).await?.ok_or_else(|| StoreError::not_found("project", id))
    }

    /// The tenant's project of that name.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn project_by_name(&self, tenant: TenantId, name: &str) -> Result<ProjectRecord, StoreError> {
        let mut reader = self.reader();
        let query = reader.sql(select!(" AND tenant_id = $1 AND name = $2")).id(tenant).bind(name);
        query.read_optional(read).await?.ok_or_else(|| StoreError::not_found("project", name))
    }

    /// Projects by id.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn list_projects(
        &self,
        filter: &ProjectFilter,
        page: PageRequest<ProjectId>,
    ) -> Result<Page<ProjectRecord, ProjectId>, StoreError> {
        let mut reader = self.reader();
        let items = reader
            .sql(select!(""))
            .filter(" AND tenant_id = ", filter.tenant.map(|id| id.as_uuid()))
            .filter(" AND name = ", filter.name.as_deref())
            .filter(" AND id > ", page.after.map(|id| id.as_uuid()))
            .push(" ORDER BY id LIMIT ")
            .push_bind(page.fetch())
            .read_all(read)
            .await?;
        Ok(Page::cut(items, page.rows(), |project| project.id))
    }

    /// Changes a project as [`Store::update_tenant`] does; its tenant stays.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` on `name`.
    pub async fn update_project(
        &self,
        ctx: &WriteContext,
        id: ProjectId,
        change: impl Fn(&mut ProjectRecord) + Send + Sync,
    ) -> Result<ProjectRecord, StoreError> {
        run_tx!(self, "update_project", |tx| {
            tx.lock_policy().await?;
            let before = find(tx, id).await?.ok_or_else(|| StoreError::not_found("project", id))?;
            let mut after = before.clone();
            change(&mut after);
            after.id = before.id;
            after.tenant = before.tenant;
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

    /// Deletes a project with its keys and budgets, as [`Store::delete_tenant`] does.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_project(
        &self,
        ctx: &WriteContext,
        id: ProjectId,
    ) -> Result<ProjectRecord, StoreError> {
        run_tx!(self, "delete_project", |tx| {
            tx.lock_policy().await?;
            let project = find(tx, id).await?.ok_or_else(|| StoreError::not_found("project", id))?;
            delete_with_keys(tx, ctx, &project).await?;
            Ok(project)
        })
    }
}

// === SQL ===

pub(crate) async fn find(db: &mut impl Sql, id: ProjectId) -> Result<Option<ProjectRecord>, StoreError> {
    db.sql(select!(" AND id = $1")).id(id).read_optional(read).await
}

pub(crate) async fn all(db: &mut impl Sql) -> Result<Vec<ProjectRecord>, StoreError> {
    db.sql(select!(" ORDER BY id")).read_all(read).await
}

pub(crate) async fn of_tenant(db: &mut impl Sql, tenant: TenantId) -> Result<Vec<ProjectRecord>, StoreError> {
    db.sql(select!(" AND tenant_id = $1 ORDER BY id")).id(tenant).read_all(read).await
}

/// Deletes a project with its keys and their budgets: marks it where it had requests, else for good.
pub(crate) async fn delete_with_keys(
    tx: &mut Tx,
    ctx: &WriteContext,
    project: &ProjectRecord,
) -> Result<(), StoreError> {
    let id = project.id;
    for key in keys::of_project(tx, id).await? {
        budgets::delete_of_owner(tx, ctx, BudgetOwner::Key(key.id)).await?;
        tx.record_policy(ctx, "delete", Some(&key), None).await?;
    }
    budgets::delete_of_owner(tx, ctx, BudgetOwner::Project(id)).await?;
    if tx.sql(HAS_REQUESTS).id(id).fetch_optional().await?.is_some() {
        keys::mark_deleted(tx, ctx, id).await?;
        let mark = "UPDATE projects SET deleted_at_ms = $2 WHERE id = $1";
        tx.sql(mark).id(id).bind(ctx.now.0).execute_one().await?;
    } else {
        tx.sql("DELETE FROM projects WHERE id = $1").id(id).execute_one().await?;
    }
    tx.record_policy(ctx, "delete", Some(project), None).await
}

async fn insert(tx: &mut Tx, project: &ProjectRecord) -> Result<(), StoreError> {
    tx.sql(
        "INSERT INTO projects (id, tenant_id, name, labels, limits, created_at_ms, updated_at_ms, rules)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .id(project.id)
    .id(project.tenant)
    .bind(&project.name)
    .json(&project.labels)
    .json(&project.limits)
    .bind(project.created_at.0)
    .bind(project.updated_at.0)
    .json(&project.rules)
    .execute_one()
    .await
}

async fn write(tx: &mut Tx, project: &ProjectRecord) -> Result<(), StoreError> {
    tx.sql(
        "UPDATE projects SET name = $2, labels = $3, limits = $4, updated_at_ms = $5, rules = $6 WHERE id = $1",
    )
    .id(project.id)
    .bind(&project.name)
    .json(&project.labels)
    .json(&project.limits)
    .bind(project.updated_at.0)
    .json(&project.rules)
    .execute_one()
    .await
}

fn read(row: &Row) -> Result<ProjectRecord, StoreError> {
    Ok(ProjectRecord {
        id: row.id("id")?,
        tenant: row.id("tenant_id")?,
        name: row.get("name")?,
        labels: row.json("labels")?,
        limits: row.json("limits")?,
        rules: row.json("rules")?,
        created_at: row.moment("created_at_ms")?,
        updated_at: row.moment("updated_at_ms")?,
    })
}

impl PolicyAggregate for ProjectRecord {
    const KIND: ObjectKind = ObjectKind::Project;

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
