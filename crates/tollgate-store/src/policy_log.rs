//! The numbered changes of policy, and policy itself as records.

use tollgate_policy::ObjectRef;

use crate::{
    BudgetRecord, KeyRecord, ModelRecord, PriceRecord, ProjectRecord, ProviderRecord, SettingsRecord, Store,
    StoreError, TenantRecord,
};

/// How many changes are kept: a reader that is further behind loads everything anew.
pub const CHANGES_RETAINED: u64 = 100_000;

/// Any policy object as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyRecord {
    /// The installation's settings.
    Settings(SettingsRecord),
    /// A provider with its encrypted credentials.
    Provider(ProviderRecord),
    /// A price row.
    Price(PriceRecord),
    /// A virtual model.
    Model(ModelRecord),
    /// A tenant.
    Tenant(TenantRecord),
    /// A project.
    Project(ProjectRecord),
    /// A key.
    Key(KeyRecord),
    /// A budget.
    Budget(BudgetRecord),
}

/// All policy at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedPolicy {
    /// The revision all objects are at.
    pub revision: u64,
    /// Every object, parents before children; settings first.
    pub records: Vec<PolicyRecord>,
}

impl Store {
    /// The newest revision; 0 before the first change.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn policy_revision(&self) -> Result<u64, StoreError> {
        todo!()
    }

    /// The changes after `revision` in order, at most `max`. `None` where some of them are no longer kept:
    /// load everything. A change says which object, not how: load it, and take `None` for deleted.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn policy_changes_since(
        &self,
        revision: u64,
        max: u32,
    ) -> Result<Option<Vec<(u64, ObjectRef)>>, StoreError> {
        todo!()
    }

    /// The object as it is now; `None` where it is deleted or never was.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn load_policy_object(&self, reference: ObjectRef) -> Result<Option<PolicyRecord>, StoreError> {
        todo!()
    }

    /// All policy objects at one revision, read in one transaction.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn load_policy(&self) -> Result<LoadedPolicy, StoreError> {
        todo!()
    }

    /// Forgets changes older than the last [`CHANGES_RETAINED`]; answers how many.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn prune_policy_changes(&self) -> Result<u64, StoreError> {
        todo!()
    }
}
