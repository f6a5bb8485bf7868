//! Credits: what fills a tenant's wallet.

use serde::{Deserialize, Serialize};
use tollgate_domain::{CreditId, NanoUsd, TenantId, UnixMillis};

use crate::{Page, PageRequest, Store, StoreError, WriteContext};

/// Why a wallet's credit changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CreditKind {
    /// Given without payment.
    Grant,
    /// Paid in.
    Topup,
    /// Given back (positive) or paid out (negative).
    Refund,
    /// A correction, either way.
    Adjustment,
}

/// A credit as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CreditRecord {
    /// Identity; also that of its journal entry.
    pub id: CreditId,
    /// Whose wallet.
    pub tenant: TenantId,
    /// Why.
    pub kind: CreditKind,
    /// How much; negative only for refunds and adjustments.
    pub amount: NanoUsd,
    /// The caller's own name for it, unique per tenant.
    pub reference: Option<String>,
    /// From when on what is left of it is void.
    pub expires_at: Option<UnixMillis>,
    /// Who gave it.
    pub actor: String,
    /// When it was given.
    pub created_at: UnixMillis,
}

/// A credit to be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCredit {
    /// Identity.
    pub id: CreditId,
    /// Whose wallet.
    pub tenant: TenantId,
    /// Why.
    pub kind: CreditKind,
    /// How much; not zero, negative only for refunds and adjustments.
    pub amount: NanoUsd,
    /// The caller's own name for it: repeating it with the same kind and amount changes nothing.
    pub reference: Option<String>,
    /// From when on what is left of it is void.
    pub expires_at: Option<UnixMillis>,
}

/// All credit ever given to a tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CreditTotal {
    /// The sum.
    pub sum: NanoUsd,
    /// The number of credits: it only grows, and names the sum's version.
    pub version: u64,
}

impl Store {
    /// Gives a credit, with its journal entry. Answers the record, and whether it is new: a repeated
    /// reference with the same kind and amount answers the first one.
    ///
    /// # Errors
    /// `NotFound` without the tenant; `Invalid` on `amount`; `Conflict` on `reference` where it was used
    /// for something else.
    pub async fn grant_credit(
        &self,
        ctx: &WriteContext,
        credit: NewCredit,
    ) -> Result<(CreditRecord, bool), StoreError> {
        todo!()
    }

    /// A tenant's credits by id.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn list_credits(
        &self,
        tenant: TenantId,
        page: PageRequest<CreditId>,
    ) -> Result<Page<CreditRecord, CreditId>, StoreError> {
        todo!()
    }

    /// All credit ever given to a tenant, negative ones subtracted.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn credit_total(&self, tenant: TenantId) -> Result<CreditTotal, StoreError> {
        todo!()
    }
}
