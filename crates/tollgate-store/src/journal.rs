//! The journal: every finished request once, and double-entry postings that are never changed.

use serde::{Deserialize, Serialize};
use tollgate_domain::{NanoUsd, Period, RequestId, TenantId, UnixMillis, UsageEvent};
use tollgate_policy::BudgetOwner;
use uuid::Uuid;

use crate::{Page, PageRequest, Store, StoreError};

/// What a posting is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JournalKind {
    /// A credit given without payment.
    Grant,
    /// A credit paid in.
    Topup,
    /// A credit given back or paid out.
    Refund,
    /// A correction.
    Adjustment,
    /// A request's cost.
    Charge,
}

/// One posting: `amount` moves from the account `debit` to the account `credit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JournalEntry {
    /// Identity: the credit's or the usage event's.
    pub id: Uuid,
    /// Whose wallet it concerns.
    pub tenant: TenantId,
    /// What for.
    pub kind: JournalKind,
    /// Where it comes from: `wallet:<tenant>`, `usage:<tenant>`, `grants`, `topups` or `adjustments`.
    pub debit: String,
    /// Where it goes.
    pub credit: String,
    /// How much; more than zero.
    pub amount: NanoUsd,
    /// When: of a charge, when its request ended.
    pub at: UnixMillis,
    /// The credit's reference.
    pub reference: Option<String>,
    /// The request that was charged.
    pub request: Option<RequestId>,
}

impl Store {
    /// Journals finished requests, each exactly once by its event id, all or none in one transaction.
    /// Answers how many were new. Events of deleted tenants are journaled too.
    ///
    /// # Errors
    /// Only the database's own; after `Unavailable` the call is to be repeated as it was.
    pub async fn journal_events(&self, events: &[UsageEvent]) -> Result<u64, StoreError> {
        todo!()
    }

    /// What an owner was charged for requests admitted within `period`.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn spent(&self, owner: BudgetOwner, period: Period) -> Result<NanoUsd, StoreError> {
        todo!()
    }

    /// All charges ever made against a tenant's wallet.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn wallet_settled(&self, tenant: TenantId) -> Result<NanoUsd, StoreError> {
        todo!()
    }

    /// A tenant's postings, newest first.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn list_journal(
        &self,
        tenant: TenantId,
        page: PageRequest<(UnixMillis, Uuid)>,
    ) -> Result<Page<JournalEntry, (UnixMillis, Uuid)>, StoreError> {
        todo!()
    }
}
