//! Credit given to wallets.

use serde::{Deserialize, Serialize};
use tollgate_domain::{CreditId, NanoUsd, TenantId, UnixMillis};
use tollgate_policy::Billing;
use tollgate_store::{CreditKind, CreditRecord, JournalKind, NewCredit};
use utoipa::ToSchema;

use super::{App, List, ListQuery};
use crate::error::Problems;
use crate::jobs::{Reserved, WalletReservation};
use crate::parts::{Time, Usd, time};
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

/// Why a wallet's credit has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CreditReason {
    /// Given without payment.
    Grant,
    /// Paid in.
    Topup,
    /// Given back (positive) or paid out (negative).
    Refund,
    /// A correction, either way.
    Adjustment,
    /// What was left of a credit at its end, taken back.
    Expire,
}

impl CreditReason {
    /// Every reason, in the order of declaration.
    pub const ALL: [Self; 5] = [Self::Grant, Self::Topup, Self::Refund, Self::Adjustment, Self::Expire];

    /// The reason of a posting; `None` for a charge.
    pub(crate) fn of_journal(kind: JournalKind) -> Option<Self> {
        Some(match kind {
            JournalKind::Grant => Self::Grant,
            JournalKind::Topup => Self::Topup,
            JournalKind::Refund => Self::Refund,
            JournalKind::Adjustment => Self::Adjustment,
            JournalKind::Expire => Self::Expire,
            JournalKind::Charge => return None,
        })
    }

    /// Its name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Grant => "grant",
            Self::Topup => "topup",
            Self::Refund => "refund",
            Self::Adjustment => "adjustment",
            Self::Expire => "expire",
        }
    }
}

impl From<CreditKind> for CreditReason {
    fn from(kind: CreditKind) -> Self {
        match kind {
            CreditKind::Expire => Self::Expire,
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
    /// Only `USD`, which is meant where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "USD")]
    pub currency: Option<String>,
    /// From when on what is left of it is void; only for grants and top-ups. What expires soonest is spent first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<String>,
    /// The id of the credit that this refund or adjustment corrects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrects: Option<String>,
}

/// A credit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreditView {
    /// Identity.
    pub id: String,
    /// The tenant's id.
    pub tenant_id: String,
    /// Why.
    pub kind: CreditReason,
    /// How much.
    pub amount: Usd,
    /// The caller's own name for it.
    pub reference: Option<String>,
    /// From when on what is left of it is void.
    pub expires_at: Option<Time>,
    /// The id of the credit that it corrects, or takes back because it expired.
    pub corrects: Option<String>,
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
            corrects: record.corrects.map(|id| id.to_string()),
            actor: record.actor,
            created_at: Time(record.created_at),
        }
    }
}

/// The currencies that amounts may be in.
const CURRENCY: &str = "USD";

/// What a body says, checked as far as that goes without the wallet.
struct CheckedCredit {
    amount: NanoUsd,
    expires_at: Option<UnixMillis>,
    corrects: Option<CreditId>,
}

fn check(input: &CreateCredit) -> Result<CheckedCredit, AppError> {
    let mut problems = Problems::default();
    let parsed = problems.take("amount", input.amount.parse::<NanoUsd>());
    let amount = parsed.unwrap_or_default();
    let may_be_negative = matches!(input.kind, CreditKindName::Refund | CreditKindName::Adjustment);
    if amount < NanoUsd::ZERO && !may_be_negative {
        problems.add("amount", "is negative: only refunds and adjustments may be");
    }
    if amount > NanoUsd::ZERO && matches!(input.kind, CreditKindName::Refund) {
        problems.add("amount", format!("pays in: a refund pays out, write -{amount}"));
    }
    if parsed == Some(NanoUsd::ZERO) {
        problems.add("amount", "must not be zero");
    }
    if input.currency.as_deref().is_some_and(|currency| currency != CURRENCY) {
        problems.add("currency", "is not supported: amounts are in USD");
    }
    if input
        .reference
        .as_ref()
        .is_some_and(|text| text.is_empty() || text.chars().count() > MAX_REFERENCE_CHARS)
    {
        problems.add("reference", format!("must be 1 to {MAX_REFERENCE_CHARS} characters"));
    }
    let expires_at = input.expires_at.as_deref().and_then(|text| problems.take("expires_at", time(text)));
    let corrects = input.corrects.as_deref().and_then(|text| problems.take("corrects", text.parse()));
    problems.finish()?;
    Ok(CheckedCredit { amount, expires_at, corrects })
}

fn not_refundable(refundable: NanoUsd) -> AppError {
    let message = format!(
        "pays out more than is refundable: at most {} USD of what was paid in is unspent",
        refundable.max(NanoUsd::ZERO)
    );
    AppError::invalid("amount", message)
}

impl App {
    /// Gives a credit to a tenant's wallet: in the journal first, then in the ledger. A refund is first reserved
    /// in the ledger, so that it takes nothing that requests in flight may use.
    ///
    /// # Errors
    /// Forbidden; not found; invalid fields; conflict on `reference`, and where only requests in flight are in
    /// the way of a refund; unavailable where a refund cannot be reserved.
    pub async fn create_credit(
        &self,
        actor: &Actor,
        tenant: &str,
        input: CreateCredit,
    ) -> Result<CreditView, AppError> {
        let create = Action::new(Verb::Create, Resource::Credit);
        let tenant = self.permitted_tenant(actor, create, tenant).await?;
        let CheckedCredit { amount, expires_at, corrects } = check(&input)?;
        let credit = NewCredit {
            id: self.new_id()?,
            tenant: tenant.id,
            kind: input.kind.into(),
            amount,
            reference: input.reference,
            expires_at,
            corrects,
        };
        let pays_out = credit.kind == CreditKind::Refund && amount < NanoUsd::ZERO;
        let record = if pays_out && tenant.billing == Billing::Prepaid {
            self.pay_out(actor, credit).await?
        } else {
            let (record, _) = self.parts.store.grant_credit(&self.context(actor), credit).await?;
            self.parts.alerts.wallet_changed(tenant.id);
            self.parts.wallets.push(&self.parts.store, &self.parts.ledger, tenant.id).await;
            record
        };
        Ok(record.into())
    }

    async fn pay_out(&self, actor: &Actor, credit: NewCredit) -> Result<CreditRecord, AppError> {
        let (store, ledger, tenant) = (&self.parts.store, &self.parts.ledger, credit.tenant);
        let is_repeat = match &credit.reference {
            Some(reference) => store.has_credit(tenant, reference).await?,
            None => false,
        };
        if is_repeat {
            // Answered, or refused, as it was: nothing is paid out again.
            return Ok(store.grant_credit(&self.context(actor), credit).await?.0);
        }
        let refundable = store.credit_lots(tenant, NanoUsd::ZERO).await?.refundable();
        let wanted = NanoUsd::ZERO.saturating_sub(credit.amount);
        if wanted > refundable {
            return Err(not_refundable(refundable));
        }
        let reservation = self.reserve(tenant, wanted).await?;
        let used = reservation.used;
        let given = store.grant_credit_beside(&self.context(actor), credit, used).await;
        // also after a failure: what was to be written may have been. Where the ledger does not have the new limit
        // the reservation stays in its place, and ends as the hold of a dead pod does
        self.parts.alerts.wallet_changed(tenant);
        if self.parts.wallets.push(store, ledger, tenant).await {
            reservation.release(ledger).await;
        }
        Ok(given?.0)
    }

    /// Reserves all of `amount`, in a ledger that may have to hear of the tenant first.
    async fn reserve(&self, tenant: TenantId, amount: NanoUsd) -> Result<WalletReservation, AppError> {
        let ledger = &self.parts.ledger;
        for attempt in 0..2 {
            match WalletReservation::ask(ledger, self.now(), tenant, amount, amount).await? {
                Reserved::Granted(reservation) => return Ok(reservation),
                Reserved::HeldByOthers => {
                    let message = "requests in flight hold some of it: try again when they have ended";
                    return Err(AppError::conflict("amount", message));
                }
                Reserved::Spent => {
                    let lots = self.parts.store.credit_lots(tenant, NanoUsd::ZERO).await?;
                    return Err(not_refundable(lots.refundable().min(lots.balance())));
                }
                Reserved::Cold if attempt == 0 => self.seed_tenant(tenant).await?,
                Reserved::Cold => {}
            }
        }
        Err(AppError::Unavailable("the ledger does not know the wallet yet: try again".to_owned()))
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
