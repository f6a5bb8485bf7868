//! Budgets of tenants, projects and keys.

use serde::Serialize;
use tollgate_domain::{BudgetId, BudgetWindow, NanoUsd, TenantId, UnixMillis};
use tollgate_policy::{BudgetOwner, BudgetPolicy};

use crate::{Page, PageRequest, Store, StoreError, WriteContext};

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
        BudgetPolicy { id: self.id, owner: self.owner, window: self.window, limit: self.limit }
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
        todo!()
    }

    /// The budget of that id.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn budget(&self, id: BudgetId) -> Result<BudgetRecord, StoreError> {
        todo!()
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
        todo!()
    }

    /// Changes a budget's window or limit as [`Store::update_tenant`] does; its owner stays.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` on `window`.
    pub async fn update_budget(
        &self,
        ctx: &WriteContext,
        id: BudgetId,
        change: impl Fn(&mut BudgetRecord) + Send + Sync,
    ) -> Result<BudgetRecord, StoreError> {
        todo!()
    }

    /// Deletes a budget; answers what was deleted.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_budget(&self, ctx: &WriteContext, id: BudgetId) -> Result<BudgetRecord, StoreError> {
        todo!()
    }
}
