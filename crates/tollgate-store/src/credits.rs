//! Credits: what fills a tenant's wallet.

use serde::{Deserialize, Serialize};
use tollgate_domain::{CreditId, MAX_LIMIT, NanoUsd, TenantId, UnixMillis};

use crate::audit::AuditEntry;
use crate::db::{Row, Sql, name_of};
use crate::store::{Tx, run_tx};
use crate::{Page, PageRequest, Store, StoreError, WriteContext};
use crate::{journal, tenants};

/// The columns of a credit, with conditions.
macro_rules! select {
    ($conditions:literal) => {
        concat!(
            "SELECT id, tenant_id, kind, amount_nano_usd, reference, expires_at_ms, actor, created_at_ms
             FROM credits",
            $conditions
        )
    };
}

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
    /// `NotFound` without the tenant; `Invalid` on `amount`, also where it takes away more than was ever given;
    /// `Conflict` on `reference` where it was used
    /// for something else.
    pub async fn grant_credit(
        &self,
        ctx: &WriteContext,
        credit: NewCredit,
    ) -> Result<(CreditRecord, bool), StoreError> {
        let may_be_negative = matches!(credit.kind, CreditKind::Refund | CreditKind::Adjustment);
        if credit.amount == NanoUsd::ZERO || (credit.amount < NanoUsd::ZERO && !may_be_negative) {
            let message = "a grant or top-up is more than zero, a refund or adjustment is not zero";
            return Err(StoreError::invalid("credit", "amount", message));
        }
        run_tx!(self, "grant_credit", |tx| {
            // Also keeps the tenant from being deleted meanwhile, and other credits out.
            tx.lock_policy().await?;
            tenants::require(tx, credit.tenant).await?;
            if let Some(first) = repeated(tx, &credit).await? {
                return Ok((first, false));
            }
            let before = total(tx, credit.tenant).await?.sum;
            let sum = before.checked_add(credit.amount);
            if credit.amount < NanoUsd::ZERO && sum.is_none_or(|sum| sum < NanoUsd::ZERO) {
                let message =
                    format!("takes more than the wallet was given: {before} USD is left of its credit");
                return Err(StoreError::invalid("credit", "amount", message));
            }
            if sum.is_none_or(|sum| sum > MAX_LIMIT) {
                let message = "the wallet would hold more than 9007199.254740991 USD";
                return Err(StoreError::invalid("credit", "amount", message));
            }
            let record = new_record(&credit, ctx);
            insert(tx, &record).await?;
            journal::post_credit(tx, &record).await?;
            tx.audit(ctx, audit_entry(&record)?).await?;
            Ok((record, true))
        })
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
        let mut reader = self.reader();
        let query = reader.sql(select!(" WHERE tenant_id = $1")).id(tenant);
        let query = query.filter(" AND id > ", page.after.map(|id| id.as_uuid()));
        let items = query.push(" ORDER BY id LIMIT ").push_bind(page.fetch()).read_all(read).await?;
        Ok(Page::cut(items, page.rows(), |credit| credit.id))
    }

    /// All credit ever given to a tenant, negative ones subtracted.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn credit_total(&self, tenant: TenantId) -> Result<CreditTotal, StoreError> {
        total(&mut self.reader(), tenant).await
    }

    /// The same of every prepaid tenant that was ever given any, by tenant.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn list_prepaid_credit_totals(
        &self,
        page: PageRequest<TenantId>,
    ) -> Result<Page<(TenantId, CreditTotal), TenantId>, StoreError> {
        let mut reader = self.reader();
        let query = reader.sql(PREPAID_TOTALS);
        let query = query.filter(" AND credits.tenant_id > ", page.after.map(|id| id.as_uuid()));
        let query = query.push(" GROUP BY credits.tenant_id ORDER BY credits.tenant_id LIMIT ");
        let read = |row: &Row| {
            let total = CreditTotal { sum: row.money("sum")?, version: row.count("version")? };
            Ok((row.id("tenant_id")?, total))
        };
        let items = query.push_bind(page.fetch()).read_all(read).await?;
        Ok(Page::cut(items, page.rows(), |(tenant, _)| *tenant))
    }
}

/// The totals of tenants that pay in advance, with conditions.
const PREPAID_TOTALS: &str = "SELECT credits.tenant_id AS tenant_id,
        CAST(SUM(credits.amount_nano_usd) AS BIGINT) AS sum, COUNT(*) AS version
    FROM credits JOIN tenants ON tenants.id = credits.tenant_id
    WHERE tenants.billing = 'prepaid' AND tenants.deleted_at_ms IS NULL";

/// The credit that was given under the same reference before, if it is the same.
async fn repeated(tx: &mut Tx, credit: &NewCredit) -> Result<Option<CreditRecord>, StoreError> {
    let Some(reference) = &credit.reference else { return Ok(None) };
    let query = tx.sql(select!(" WHERE tenant_id = $1 AND reference = $2"));
    let Some(first) = query.id(credit.tenant).bind(reference).read_optional(read).await? else {
        return Ok(None);
    };
    if (first.kind, first.amount) != (credit.kind, credit.amount) {
        let message =
            format!("the reference `{reference}` was used for another kind or amount: choose a new one");
        return Err(StoreError::conflict("credit", "reference", message));
    }
    Ok(Some(first))
}

fn new_record(credit: &NewCredit, ctx: &WriteContext) -> CreditRecord {
    CreditRecord {
        id: credit.id,
        tenant: credit.tenant,
        kind: credit.kind,
        amount: credit.amount,
        reference: credit.reference.clone(),
        expires_at: credit.expires_at,
        actor: ctx.actor.clone(),
        created_at: ctx.now,
    }
}

fn audit_entry(credit: &CreditRecord) -> Result<AuditEntry, StoreError> {
    Ok(AuditEntry {
        action: "grant",
        object_kind: "credit",
        object_id: credit.id.as_uuid(),
        object_name: credit.reference.clone().unwrap_or_default(),
        tenant: Some(credit.tenant),
        before: None,
        after: Some(serde_json::to_value(credit).map_err(|error| StoreError::corrupt("credit", error))?),
    })
}

// === SQL ===

pub(crate) async fn total(db: &mut impl Sql, tenant: TenantId) -> Result<CreditTotal, StoreError> {
    let query = db.sql(
        "SELECT CAST(COALESCE(SUM(amount_nano_usd), 0) AS BIGINT) AS sum, COUNT(*) AS version
         FROM credits WHERE tenant_id = $1",
    );
    let row = query.id(tenant).fetch_one().await?;
    Ok(CreditTotal { sum: row.money("sum")?, version: row.count("version")? })
}

async fn insert(tx: &mut Tx, credit: &CreditRecord) -> Result<(), StoreError> {
    tx.sql(
        "INSERT INTO credits
             (id, tenant_id, kind, amount_nano_usd, reference, expires_at_ms, actor, created_at_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .id(credit.id)
    .id(credit.tenant)
    .bind(name_of(&credit.kind))
    .bind(credit.amount.0)
    .bind(credit.reference.as_deref())
    .moment(credit.expires_at)
    .bind(&credit.actor)
    .bind(credit.created_at.0)
    .execute_one()
    .await
}

fn read(row: &Row) -> Result<CreditRecord, StoreError> {
    Ok(CreditRecord {
        id: row.id("id")?,
        tenant: row.id("tenant_id")?,
        kind: row.named("kind")?,
        amount: row.money("amount_nano_usd")?,
        reference: row.get("reference")?,
        expires_at: row.optional_moment("expires_at_ms")?,
        actor: row.get("actor")?,
        created_at: row.moment("created_at_ms")?,
    })
}
