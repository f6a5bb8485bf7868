//! Tenants: whoever pays.

use serde::Serialize;
use tollgate_domain::{TenantId, TimeZoneName, UnixMillis};
use tollgate_policy::{Billing, DataPolicy, RateLimits, TenantPolicy};

use crate::{Page, PageRequest, Store, StoreError, WriteContext};

/// A tenant as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TenantRecord {
    /// Identity.
    pub id: TenantId,
    /// Unique name.
    pub name: String,
    /// How it pays.
    pub billing: Billing,
    /// Whose calendar its budgets follow.
    #[serde(serialize_with = "zone_name")]
    pub time_zone: TimeZoneName,
    /// A blocked tenant's keys are refused.
    pub blocked: bool,
    /// Rate limits over all its keys.
    pub limits: RateLimits,
    /// Where its data may go.
    pub data_policy: DataPolicy,
    /// When it was created.
    pub created_at: UnixMillis,
    /// When it was last changed.
    pub updated_at: UnixMillis,
}

fn zone_name<S: serde::Serializer>(zone: &TimeZoneName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(zone.name())
}

impl TenantRecord {
    /// The tenant as the pods see it.
    #[must_use]
    pub fn to_policy(&self) -> TenantPolicy {
        TenantPolicy {
            id: self.id,
            name: self.name.clone(),
            billing: self.billing,
            time_zone: self.time_zone.clone(),
            blocked: self.blocked,
            limits: self.limits,
            data_policy: self.data_policy.clone(),
        }
    }
}

impl Store {
    /// Creates a tenant.
    ///
    /// # Errors
    /// `Conflict` on `name` where a tenant of that name exists.
    pub async fn create_tenant(
        &self,
        ctx: &WriteContext,
        tenant: TenantPolicy,
    ) -> Result<TenantRecord, StoreError> {
        todo!()
    }

    /// The tenant of that id.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn tenant(&self, id: TenantId) -> Result<TenantRecord, StoreError> {
        todo!()
    }

    /// The tenant of that name.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn tenant_by_name(&self, name: &str) -> Result<TenantRecord, StoreError> {
        todo!()
    }

    /// Tenants by id, which is the order of their creation.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn list_tenants(
        &self,
        page: PageRequest<TenantId>,
    ) -> Result<Page<TenantRecord, TenantId>, StoreError> {
        todo!()
    }

    /// Changes a tenant: `change` edits the stored record inside the transaction and may be called again
    /// when that is retried. Changes of id and times are ignored; no difference writes nothing.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` on `name`.
    pub async fn update_tenant(
        &self,
        ctx: &WriteContext,
        id: TenantId,
        change: impl Fn(&mut TenantRecord) + Send + Sync,
    ) -> Result<TenantRecord, StoreError> {
        todo!()
    }

    /// Deletes a tenant with its projects, keys and budgets; answers what was deleted. Its journal stays:
    /// the rows are kept, marked as deleted, where there is any, and its name is free again.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_tenant(&self, ctx: &WriteContext, id: TenantId) -> Result<TenantRecord, StoreError> {
        todo!()
    }
}
