//! Credit given to wallets.

use serde::{Deserialize, Serialize};
use tollgate_domain::{MAX_LIMIT, NanoUsd};
use tollgate_store::{CreditKind, CreditRecord, NewCredit};
use utoipa::ToSchema;

use super::{App, List, ListQuery};
use crate::error::Problems;
use crate::parts::{Time, Usd};
use crate::{Action, Actor, AppError, Resource, Verb};

/// Longest reference of a credit.
const MAX_REFERENCE_CHARS: usize = 200;

/// Why a wallet's credit changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CreditKindName {
    /// Given without payment.
    Grant,
    /// Paid in.
    Topup,
    /// Given back (positive) or paid out (negative).
    Refund,
    /// A correction, either way.
    Adjustment,
}

impl From<CreditKindName> for CreditKind {
    fn from(name: CreditKindName) -> Self {
        match name {
            CreditKindName::Grant => Self::Grant,
            CreditKindName::Topup => Self::Topup,
            CreditKindName::Refund => Self::Refund,
            CreditKindName::Adjustment => Self::Adjustment,
        }
    }
}

impl From<CreditKind> for CreditKindName {
    fn from(kind: CreditKind) -> Self {
        match kind {
            CreditKind::Grant => Self::Grant,
            CreditKind::Topup => Self::Topup,
            CreditKind::Refund => Self::Refund,
            CreditKind::Adjustment => Self::Adjustment,
        }
    }
}

/// A credit to be given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateCredit {
    /// How much, in USD; negative only for refunds and adjustments.
    #[schema(example = "25.00")]
    pub amount: String,
    /// Why.
    pub kind: CreditKindName,
    /// Your own name for it, unique per tenant: repeating it with the same kind and amount changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Not supported yet: from when on what is left of it is void.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// A credit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreditView {
    /// Identity.
    pub id: String,
    /// The tenant's id.
    pub tenant_id: String,
    /// Why.
    pub kind: CreditKindName,
    /// How much.
    pub amount: Usd,
    /// The caller's own name for it.
    pub reference: Option<String>,
    /// From when on what is left of it is void.
    pub expires_at: Option<Time>,
    /// Who gave it.
    pub actor: String,
    /// When it was given.
    pub created_at: Time,
}

impl From<CreditRecord> for CreditView {
    fn from(record: CreditRecord) -> Self {
        Self {
            id: record.id.to_string(),
            tenant_id: record.tenant.to_string(),
            kind: record.kind.into(),
            amount: Usd(record.amount),
            reference: record.reference,
            expires_at: record.expires_at.map(Time),
            actor: record.actor,
            created_at: Time(record.created_at),
        }
    }
}

fn check(input: &CreateCredit) -> Result<NanoUsd, AppError> {
    let mut problems = Problems::default();
    let parsed = problems.take("amount", input.amount.parse::<NanoUsd>());
    let amount = parsed.unwrap_or_default();
    let may_be_negative = matches!(input.kind, CreditKindName::Refund | CreditKindName::Adjustment);
    if amount < NanoUsd::ZERO && !may_be_negative {
        problems.add("amount", "is negative: only refunds and adjustments may be");
    }
    if parsed == Some(NanoUsd::ZERO) {
        problems.add("amount", "must not be zero");
    }
    if input
        .reference
        .as_ref()
        .is_some_and(|text| text.is_empty() || text.chars().count() > MAX_REFERENCE_CHARS)
    {
        problems.add("reference", format!("must be 1 to {MAX_REFERENCE_CHARS} characters"));
    }
    if input.expires_at.is_some() {
        problems.add("expires_at", "not supported yet: credit that expires");
    }
    problems.finish()?;
    Ok(amount)
}

impl App {
    /// Gives a credit to a tenant's wallet: in the journal first, then in the ledger.
    ///
    /// # Errors
    /// Forbidden; not found; invalid fields; conflict on `reference`.
    pub async fn create_credit(
        &self,
        actor: &Actor,
        tenant: &str,
        input: CreateCredit,
    ) -> Result<CreditView, AppError> {
        let create = Action::new(Verb::Create, Resource::Credit);
        let tenant = self.permitted_tenant(actor, create, tenant).await?;
        let amount = check(&input)?;
        let total = self.parts.store.credit_total(tenant.id).await?.sum;
        if total.checked_add(amount).is_none_or(|sum| sum > MAX_LIMIT) {
            return Err(AppError::invalid("amount", format!("would bring the wallet above {MAX_LIMIT} USD")));
        }
        let credit = NewCredit {
            id: self.new_id()?,
            tenant: tenant.id,
            kind: input.kind.into(),
            amount,
            reference: input.reference,
            expires_at: None,
        };
        let (record, _) = self.parts.store.grant_credit(&self.context(actor), credit).await?;
        self.parts.wallets.push(&self.parts.store, &self.parts.ledger, tenant.id).await;
        Ok(record.into())
    }

    /// A tenant's credits in the order they were given.
    ///
    /// # Errors
    /// Forbidden; not found; a bad page.
    pub async fn list_credits(
        &self,
        actor: &Actor,
        tenant: &str,
        query: &ListQuery,
    ) -> Result<List<CreditView>, AppError> {
        let read = Action::new(Verb::Read, Resource::Credit);
        let tenant = self.permitted_tenant(actor, read, tenant).await?;
        let page = self.parts.store.list_credits(tenant.id, query.page()?).await?;
        Ok(List::of(page, CreditView::from))
    }
}
