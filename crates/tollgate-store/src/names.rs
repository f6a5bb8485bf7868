//! Names by id, those of deleted objects included: what is journaled outlives whom it was for.

use tollgate_domain::{Id, KeyId, ProjectId, TenantId};

use crate::db::Sql as _;
use crate::{Store, StoreError};

impl Store {
    /// The name that a tenant has or had; `None` where it is gone without a trace.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn tenant_name(&self, id: TenantId) -> Result<Option<String>, StoreError> {
        self.name("SELECT name FROM tenants WHERE id = $1", id).await
    }

    /// The name that a project has or had; `None` where it is gone without a trace.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn project_name(&self, id: ProjectId) -> Result<Option<String>, StoreError> {
        self.name("SELECT name FROM projects WHERE id = $1", id).await
    }

    /// The name that a key has or had; `None` where it is gone without a trace.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn key_name(&self, id: KeyId) -> Result<Option<String>, StoreError> {
        self.name("SELECT name FROM api_keys WHERE id = $1", id).await
    }

    async fn name<T>(&self, query: &'static str, id: Id<T>) -> Result<Option<String>, StoreError> {
        self.reader().sql(query).id(id).read_optional(|row| row.get("name")).await
    }
}
