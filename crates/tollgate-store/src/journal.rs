//! The journal: every finished request once, and double-entry postings that are never changed.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};
use tollgate_domain::{NanoUsd, Period, RequestId, TenantId, UnixMillis, UsageEvent};
use tollgate_policy::BudgetOwner;
use uuid::Uuid;

use crate::db::{Row, Sql, Statement, name_of, to_i64};
use crate::requests::{self, RequestRow};
use crate::store::{Tx, run_tx};
use crate::{CreditKind, CreditRecord, Page, PageRequest, Store, StoreError};

/// Rows per statement, a power of two: of the powers below it every part of a batch is made, so that each
/// database connection prepares nine texts and no more.
const MAX_ROWS: usize = 256;

/// What was charged to one owner in a span of time.
macro_rules! spent {
    ($column:literal) => {
        concat!(
            "SELECT CAST(COALESCE(SUM(cost_nano_usd), 0) AS BIGINT) AS spent FROM requests WHERE ",
            $column,
            " = $1 AND admitted_at_ms >= $2 AND admitted_at_ms < $3"
        )
    };
}

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
    pub async fn journal_events<E>(&self, events: &[E]) -> Result<u64, StoreError>
    where
        E: Borrow<UsageEvent> + Sync,
    {
        let rows = requests::rows(events)?;
        run_tx!(self, "journal_events", |tx| {
            let inserted = requests::insert(tx, &rows).await?;
            let charges = charges(&rows, &inserted);
            for part in parts(&charges) {
                insert_charges(tx, part).await?;
            }
            let totals = totals(&charges);
            for part in parts(&totals) {
                add_to_totals(tx, part).await?;
            }
            Ok(inserted.len() as u64)
        })
    }

    /// What an owner was charged for requests admitted within `period`.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn spent(&self, owner: BudgetOwner, period: Period) -> Result<NanoUsd, StoreError> {
        let query = match owner {
            BudgetOwner::Tenant(_) => spent!("tenant_id"),
            BudgetOwner::Project(_) => spent!("project_id"),
            BudgetOwner::Key(_) => spent!("key_id"),
        };
        let id = match owner {
            BudgetOwner::Tenant(id) => id.as_uuid(),
            BudgetOwner::Project(id) => id.as_uuid(),
            BudgetOwner::Key(id) => id.as_uuid(),
        };
        let mut reader = self.reader();
        let query = reader.sql(query).bind(id).bind(period.starts_at.0).bind(period.ends_at.0);
        query.fetch_one().await?.money("spent")
    }

    /// All charges ever made against a tenant's wallet.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn wallet_settled(&self, tenant: TenantId) -> Result<NanoUsd, StoreError> {
        settled(&mut self.reader(), tenant).await
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
        let mut reader = self.reader();
        let mut query = reader.sql(SELECT).id(tenant);
        if let Some((at, id)) = page.after {
            query = query.push(" AND (at_ms, id) < (").push_bind(at.0).push(", ").push_bind(id).push(")");
        }
        let query = query.push(" ORDER BY at_ms DESC, id DESC LIMIT ").push_bind(page.fetch());
        let items = query.read_all(read).await?;
        Ok(Page::cut(items, page.rows(), |entry| (entry.at, entry.id)))
    }
}

/// A charge to be posted.
struct Charge {
    event: Uuid,
    request: Uuid,
    tenant: Uuid,
    amount: i64,
    at: i64,
}

/// What a batch adds to one tenant's total.
struct TotalStep {
    tenant: Uuid,
    amount: i64,
    charges: u64,
}

/// The charges of the requests that are new and cost something.
fn charges(rows: &[RequestRow<'_>], inserted: &HashSet<Uuid>) -> Vec<Charge> {
    let is_charge = |row: &&RequestRow<'_>| row.event.cost > NanoUsd::ZERO && inserted.contains(&row.id());
    let charge = |row: &RequestRow<'_>| Charge {
        event: row.id(),
        request: row.event.request.as_uuid(),
        tenant: row.event.tenant.as_uuid(),
        amount: row.event.cost.0,
        at: row.event.finished_at.0,
    };
    rows.iter().filter(is_charge).map(charge).collect()
}

/// One step per tenant, in the order of tenants: two batches lock the totals in the same order.
fn totals(charges: &[Charge]) -> Vec<TotalStep> {
    let mut steps = BTreeMap::<Uuid, TotalStep>::new();
    for charge in charges {
        let empty = TotalStep { tenant: charge.tenant, amount: 0, charges: 0 };
        let step = steps.entry(charge.tenant).or_insert(empty);
        step.amount = step.amount.saturating_add(charge.amount);
        step.charges += 1;
    }
    steps.into_values().collect()
}

/// Cuts rows into parts whose lengths are powers of two, at most [`MAX_ROWS`].
pub(crate) fn parts<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let largest = rows.len().min(MAX_ROWS).checked_ilog2()?;
        let (part, rest) = rows.split_at(1 << largest);
        rows = rest;
        Some(part)
    })
}

/// Appends `VALUES (…), (…)`, one tuple per row.
pub(crate) fn push_rows<'t, T>(
    mut statement: Statement<'t>,
    rows: &[T],
    mut bind: impl FnMut(Tuple<'t>, &T) -> Tuple<'t>,
) -> Statement<'t> {
    for (index, row) in rows.iter().enumerate() {
        let opened = statement.push(if index == 0 { " VALUES (" } else { ", (" });
        statement = bind(Tuple { statement: opened, is_empty: true }, row).statement.push(")");
    }
    statement
}

/// One row's values being put together.
pub(crate) struct Tuple<'t> {
    statement: Statement<'t>,
    is_empty: bool,
}

impl<'t> Tuple<'t> {
    /// Adds the next value.
    pub(crate) fn value<'q>(self, value: impl crate::db::Bind<'q>) -> Self {
        let statement = if self.is_empty { self.statement } else { self.statement.push(", ") };
        Self { statement: statement.push_bind(value), is_empty: false }
    }
}

// === SQL ===

/// All that a tenant was charged.
pub(crate) async fn settled(db: &mut impl Sql, tenant: TenantId) -> Result<NanoUsd, StoreError> {
    let query = db.sql("SELECT charged_nano_usd FROM wallet_totals WHERE tenant_id = $1").id(tenant);
    Ok(query.read_optional(|row| row.money("charged_nano_usd")).await?.unwrap_or_default())
}

/// Posts a credit: into the wallet from `grants`, `topups` or `adjustments`; out of it where negative.
pub(crate) async fn post_credit(tx: &mut Tx, credit: &CreditRecord) -> Result<(), StoreError> {
    let (kind, source) = match credit.kind {
        CreditKind::Grant => (JournalKind::Grant, "grants"),
        CreditKind::Topup => (JournalKind::Topup, "topups"),
        CreditKind::Refund => (JournalKind::Refund, "adjustments"),
        CreditKind::Adjustment => (JournalKind::Adjustment, "adjustments"),
    };
    let wallet = format!("wallet:{}", credit.tenant);
    let (debit, credited) =
        if credit.amount > NanoUsd::ZERO { (source, wallet.as_str()) } else { (wallet.as_str(), source) };
    tx.sql(
        "INSERT INTO journal_entries
             (id, tenant_id, kind, debit_account, credit_account, amount_nano_usd, at_ms, reference)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .id(credit.id)
    .id(credit.tenant)
    .bind(name_of(&kind))
    .bind(debit)
    .bind(credited)
    .bind(credit.amount.0.saturating_abs())
    .bind(credit.created_at.0)
    .bind(credit.reference.as_deref())
    .execute_one()
    .await
}

/// Posts charges: out of the wallet into `usage`, also where the tenant pays by invoice: its wallet then
/// counts what it owes.
async fn insert_charges(tx: &mut Tx, charges: &[Charge]) -> Result<(), StoreError> {
    let statement = tx.sql(
        "INSERT INTO journal_entries
             (id, tenant_id, kind, debit_account, credit_account, amount_nano_usd, at_ms, request_id)",
    );
    let statement = push_rows(statement, charges, |tuple, charge| {
        tuple
            .value(charge.event)
            .value(charge.tenant)
            .value("charge")
            .value(format!("wallet:{}", charge.tenant))
            .value(format!("usage:{}", charge.tenant))
            .value(charge.amount)
            .value(charge.at)
            .value(charge.request)
    });
    statement.execute().await.map(drop)
}

async fn add_to_totals(tx: &mut Tx, steps: &[TotalStep]) -> Result<(), StoreError> {
    let statement = tx.sql("INSERT INTO wallet_totals (tenant_id, charged_nano_usd, charges)");
    let statement = push_rows(statement, steps, |tuple, step| {
        tuple.value(step.tenant).value(step.amount).value(to_i64(step.charges))
    });
    statement
        .push(
            " ON CONFLICT (tenant_id) DO UPDATE SET
                 charged_nano_usd = wallet_totals.charged_nano_usd + excluded.charged_nano_usd,
                 charges = wallet_totals.charges + excluded.charges",
        )
        .execute()
        .await
        .map(drop)
}

const SELECT: &str = "SELECT id, tenant_id, kind, debit_account, credit_account, amount_nano_usd, at_ms,
        reference, request_id
    FROM journal_entries WHERE tenant_id = $1";

fn read(row: &Row) -> Result<JournalEntry, StoreError> {
    Ok(JournalEntry {
        id: row.get("id")?,
        tenant: row.id("tenant_id")?,
        kind: row.named("kind")?,
        debit: row.get("debit_account")?,
        credit: row.get("credit_account")?,
        amount: row.money("amount_nano_usd")?,
        at: row.moment("at_ms")?,
        reference: row.get("reference")?,
        request: row.get::<Option<Uuid>>("request_id")?.map(RequestId::from_uuid),
    })
}
