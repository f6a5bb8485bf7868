//! The operator's price rows: immutable.

use serde::Serialize;
use tollgate_catalog::PriceRow;
use tollgate_domain::{PriceId, TenantId, UnixMillis};

use crate::{Page, PageRequest, Store, StoreError, WriteContext};

/// A price row as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PriceRecord {
    /// Identity.
    pub id: PriceId,
    /// The row; its `id` is set to the same identity.
    pub row: PriceRow,
    /// When it was created.
    pub created_at: UnixMillis,
}

/// Which price rows; an empty filter means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PriceFilter {
    /// Of this provider's name.
    pub provider: Option<String>,
    /// Of exactly this model's name (`*` finds the rows for any model).
    pub model: Option<String>,
    /// Only for this tenant.
    pub tenant: Option<TenantId>,
}

impl Store {
    /// Creates a price row under `id`; `row.id` is overwritten with it.
    ///
    /// # Errors
    /// `NotFound` without its tenant; `Conflict` on `effective_from` where a row for the same meter, tier
    /// and context of that model begins at the same moment.
    pub async fn create_price(
        &self,
        ctx: &WriteContext,
        id: PriceId,
        row: PriceRow,
    ) -> Result<PriceRecord, StoreError> {
        todo!()
    }

    /// The price row of that id.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn price(&self, id: PriceId) -> Result<PriceRecord, StoreError> {
        todo!()
    }

    /// Price rows by id.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn list_prices(
        &self,
        filter: &PriceFilter,
        page: PageRequest<PriceId>,
    ) -> Result<Page<PriceRecord, PriceId>, StoreError> {
        todo!()
    }

    /// Deletes a price row that is not in force yet; answers what was deleted.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` on `effective_from` where it is or was in force.
    pub async fn delete_price(&self, ctx: &WriteContext, id: PriceId) -> Result<PriceRecord, StoreError> {
        todo!()
    }
}
