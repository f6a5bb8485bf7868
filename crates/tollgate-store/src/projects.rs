//! Projects of tenants.

use serde::Serialize;
use tollgate_domain::{Labels, ProjectId, TenantId, UnixMillis};
use tollgate_policy::{ProjectPolicy, RateLimits};

use crate::{Page, PageRequest, Store, StoreError, WriteContext};

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
        todo!()
    }

    /// The project of that id.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn project(&self, id: ProjectId) -> Result<ProjectRecord, StoreError> {
        todo!()
    }

    /// The tenant's project of that name.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn project_by_name(&self, tenant: TenantId, name: &str) -> Result<ProjectRecord, StoreError> {
        todo!()
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
        todo!()
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
        todo!()
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
        todo!()
    }
}
