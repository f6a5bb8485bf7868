//! Credits: what fills a tenant's wallet.

use serde::{Deserialize, Serialize};
use tollgate_domain::{CreditId, NanoUsd, TenantId, UnixMillis};
use uuid::Uuid;

use crate::audit::AuditEntry;
use crate::db::{Row, Sql, name_of, to_i64};
use crate::store::{Tx, run_snapshot, run_tx};
use crate::tenants;
use crate::{CreditLots, Page, PageRequest, Store, StoreError, WriteContext};

/// The columns of a credit, with conditions.
macro_rules! select {
    ($conditions:literal) => {
        concat!(
            "SELECT id, tenant_id, kind, amount_nano_usd, reference, expires_at_ms, corrects, sequence,
                 settled_before_nano_usd, actor, created_at_ms
             FROM credits",
            $conditions
        )
    };
}

mod giving;

pub(crate) use giving::grant;
use giving::{Wallet, check, write};

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
    /// What was left of a credit at its end, taken back; only [`Store::expire_credit`] makes these.
    Expire,
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
    /// How much; negative only for refunds, adjustments and what expired.
    pub amount: NanoUsd,
    /// The caller's own name for it, unique per tenant.
    pub reference: Option<String>,
    /// From when on what is left of it is void.
    pub expires_at: Option<UnixMillis>,
    /// The credit that this one corrects, or takes back because it expired.
    pub corrects: Option<CreditId>,
    /// Its number among the tenant's credits, from 1: the version of the wallet's limit that it makes.
    pub sequence: u64,
    /// What the tenant had been charged in all when it was given, by the journal.
    pub settled_before: NanoUsd,
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
    /// The caller's own name for it: repeating it with the same kind, amount, expiry and correction changes
    /// nothing.
    pub reference: Option<String>,
    /// From when on what is left of it is void; only grants and top-ups expire.
    pub expires_at: Option<UnixMillis>,
    /// The credit that a refund or adjustment corrects: what it takes back is taken from there first.
    pub corrects: Option<CreditId>,
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
    /// reference with the same content answers the first one.
    ///
    /// # Errors
    /// `NotFound` without the tenant; `Invalid` on `amount`, also where it takes away more than was ever given
    /// or pays out more than was paid in and is unspent; on `expires_at` and `corrects`; `Conflict` on
    /// `reference` where it was used for something else.
    pub async fn grant_credit(
        &self,
        ctx: &WriteContext,
        credit: NewCredit,
    ) -> Result<(CreditRecord, bool), StoreError> {
        self.grant_credit_beside(ctx, credit, NanoUsd::ZERO).await
    }

    /// The same where the ledger knows of more than the journal: `used` is what it has charged and held in all,
    /// which is not paid out.
    ///
    /// # Errors
    /// As [`Store::grant_credit`].
    pub async fn grant_credit_beside(
        &self,
        ctx: &WriteContext,
        credit: NewCredit,
        used: NanoUsd,
    ) -> Result<(CreditRecord, bool), StoreError> {
        check(&credit, ctx)?;
        run_tx!(self, "grant_credit", |tx| {
            // Also keeps the tenant from being deleted meanwhile, and other credits out.
            tx.lock_policy().await?;
            tenants::require(tx, credit.tenant).await?;
            grant(tx, ctx, &credit, used).await
        })
    }

    /// Takes back what is left of a credit at its end, `at_most` of it. `used` is what the ledger has charged
    /// and held in all: what it has and the journal does not have yet counts as spent. `None` where nothing is
    /// to be taken back.
    ///
    /// # Errors
    /// `NotFound` without the credit.
    pub async fn expire_credit(
        &self,
        ctx: &WriteContext,
        credit: CreditId,
        id: CreditId,
        used: NanoUsd,
        at_most: NanoUsd,
    ) -> Result<Option<CreditRecord>, StoreError> {
        run_tx!(self, "expire_credit", |tx| {
            tx.lock_policy().await?;
            let found = tx.sql(select!(" WHERE id = $1")).id(credit).read_optional(read).await?;
            let lapsed = found.ok_or_else(|| StoreError::not_found("credit", credit))?;
            if lapsed.expires_at.is_none_or(|at| at > ctx.now) {
                return Ok(None);
            }
            let wallet = Wallet::load(tx, lapsed.tenant).await?;
            let left = wallet.lots(used).remaining(credit).min(at_most);
            if left <= NanoUsd::ZERO {
                return Ok(None);
            }
            let expiry = NewCredit {
                id,
                tenant: lapsed.tenant,
                kind: CreditKind::Expire,
                amount: NanoUsd::ZERO.saturating_sub(left),
                reference: None,
                expires_at: None,
                corrects: Some(credit),
            };
            write(tx, ctx, &expiry, &wallet).await.map(Some)
        })
    }

    /// Credits whose end has come and that may have something left, the earliest first.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn list_expired_credits(
        &self,
        now: UnixMillis,
        page: PageRequest<(UnixMillis, CreditId)>,
    ) -> Result<Page<CreditRecord, (UnixMillis, CreditId)>, StoreError> {
        let mut reader = self.reader();
        let query = reader.sql(select!(
            " WHERE NOT EXISTS (SELECT 1 FROM expired_credits WHERE credit_id = credits.id)
                 AND expires_at_ms <= $1"
        ));
        let mut query = query.bind(now.0);
        if let Some((at, id)) = page.after {
            query = query.push(" AND (expires_at_ms, id) > (").push_bind(at.0);
            query = query.push(", ").push_bind(id.as_uuid()).push(")");
        }
        let query = query.push(" ORDER BY expires_at_ms, id LIMIT ").push_bind(page.fetch());
        let items = query.read_all(read).await?;
        Ok(Page::cut(items, page.rows(), |credit| (credit.expires_at.unwrap_or_default(), credit.id)))
    }

    /// Marks an expired credit of which nothing is left: [`Store::list_expired_credits`] leaves it out.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn close_expired_credit(&self, credit: CreditId) -> Result<(), StoreError> {
        run_tx!(self, "close_expired_credit", |tx| {
            let close =
                "INSERT INTO expired_credits (credit_id) VALUES ($1) ON CONFLICT (credit_id) DO NOTHING";
            tx.sql(close).id(credit).execute().await.map(drop)
        })
    }

    /// What is left of each credit of a tenant, by the journal; `used` as in [`Store::expire_credit`].
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn credit_lots(&self, tenant: TenantId, used: NanoUsd) -> Result<CreditLots, StoreError> {
        run_snapshot!(self, |tx| { Ok(Wallet::load(tx, tenant).await?.lots(used)) })
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

    /// Whether a reference was used for one of a tenant's credits.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn has_credit(&self, tenant: TenantId, reference: &str) -> Result<bool, StoreError> {
        let mut reader = self.reader();
        let query = reader.sql("SELECT 1 AS found FROM credits WHERE tenant_id = $1 AND reference = $2");
        Ok(query.id(tenant).bind(reference).fetch_optional().await?.is_some())
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

fn audit_entry(credit: &CreditRecord) -> Result<AuditEntry, StoreError> {
    Ok(AuditEntry {
        action: if credit.kind == CreditKind::Expire { "expire" } else { "grant" },
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
             (id, tenant_id, kind, amount_nano_usd, reference, expires_at_ms, corrects, sequence,
              settled_before_nano_usd, actor, created_at_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .id(credit.id)
    .id(credit.tenant)
    .bind(name_of(&credit.kind))
    .bind(credit.amount.0)
    .bind(credit.reference.as_deref())
    .moment(credit.expires_at)
    .bind(credit.corrects.map(|id| id.as_uuid()))
    .bind(to_i64(credit.sequence))
    .bind(credit.settled_before.0)
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
        corrects: row.get::<Option<Uuid>>("corrects")?.map(CreditId::from_uuid),
        sequence: row.count("sequence")?,
        settled_before: row.money("settled_before_nano_usd")?,
        actor: row.get("actor")?,
        created_at: row.moment("created_at_ms")?,
    })
}
