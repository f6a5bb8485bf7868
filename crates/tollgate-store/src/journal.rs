//! The journal: every finished request once, and double-entry postings that are never changed.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tollgate_domain::{NanoUsd, Period, RequestId, TenantId, UnixMillis, UsageEvent};
use tollgate_policy::BudgetOwner;
use uuid::Uuid;

use crate::db::{Row, Sql, Statement, name_of, to_i64};
use crate::end_users::{self, EndUserStep};
use crate::requests::{self, RequestRow};
use crate::store::{Tx, run_tx};
use crate::{CreditKind, CreditRecord, Page, PageRequest, Store, StoreError};

/// Rows per statement, a power of two: of the powers below it every part of a batch is made, so that each
/// database connection prepares nine texts and no more.
const MAX_ROWS: usize = 256;

/// Charges are added up by the quarter of an hour in which their request was admitted: the periods of every
/// time zone begin with one.
pub(crate) const QUARTER_MS: i64 = 15 * 60_000;

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
    /// What was left of a credit at its end, taken back.
    Expire,
    /// A request's cost.
    Charge,
}

/// One posting: `amount` moves from the account `debit` to the account `credit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JournalEntry {
    /// Identity: the credit's or the request's.
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
    /// The entry that this one corrects, or takes back because it expired.
    pub corrects: Option<Uuid>,
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
        let rows = requests::rows(events);
        run_tx!(self, "journal_events", |tx| {
            let inserted = requests::insert(tx, &rows).await?;
            let sums = Sums::of(rows.iter().filter(|row| inserted.contains(row)));
            add_to_totals(tx, &sums.tenants).await?;
            add_to_quarters(tx, &sums.quarters).await?;
            end_users::add(tx, &sums.end_users).await?;
            Ok(inserted.len() as u64)
        })
    }

    /// What an owner was charged for requests admitted within `period`, whose ends lie on quarters of an hour
    /// as those of every time zone's days do: a quarter counts where it begins within.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn spent(&self, owner: BudgetOwner, period: Period) -> Result<NanoUsd, StoreError> {
        let id = match owner {
            BudgetOwner::Tenant(id) => id.as_uuid(),
            BudgetOwner::Project(id) => id.as_uuid(),
            BudgetOwner::Key(id) => id.as_uuid(),
        };
        let mut reader = self.reader();
        let query = reader.sql(
            "SELECT CAST(COALESCE(SUM(cost_nano_usd), 0) AS BIGINT) AS spent FROM spend_quarters
             WHERE owner_id = $1 AND quarter_starts_at_ms >= $2 AND quarter_starts_at_ms < $3",
        );
        query.bind(id).bind(period.starts_at.0).bind(period.ends_at.0).fetch_one().await?.money("spent")
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
        let mut query = reader.sql(ENTRIES).id(tenant);
        let after = page.after.map(|(at, id)| (at.0, id));
        if let Some((at, id)) = after {
            query = query.push(" AND (at_ms, id) < (").push_bind(at).push(", ").push_bind(id).push(")");
        }
        query = query.push(CHARGES);
        if let Some((at, id)) = after {
            query = query.push(" AND (finished_at_ms, event_id) < (").push_bind(at);
            query = query.push(", ").push_bind(id).push(")");
        }
        let query = query.push(" ORDER BY at_ms DESC, id DESC LIMIT ").push_bind(page.fetch());
        let read = |row: &Row| read(row, tenant);
        let items = query.read_all(read).await?;
        Ok(Page::cut(items, page.rows(), |entry| (entry.at, entry.id)))
    }
}

/// What a batch adds to one tenant's total.
struct TotalStep {
    tenant: Uuid,
    amount: i64,
    charges: u64,
}

/// What a batch adds to one owner's quarter of an hour.
struct QuarterStep {
    owner: Uuid,
    starts_at: i64,
    amount: i64,
    requests: u64,
}

/// What a batch adds, in the order of tenants, owners and quarters: two batches lock rows in the same order.
struct Sums {
    tenants: Vec<TotalStep>,
    quarters: Vec<QuarterStep>,
    end_users: Vec<EndUserStep>,
}

impl Sums {
    fn of<'r>(rows: impl Iterator<Item = &'r RequestRow<'r>> + Clone) -> Self {
        let end_users = end_users::steps(rows.clone());
        let mut tenants = BTreeMap::<Uuid, TotalStep>::new();
        let mut quarters = BTreeMap::<(Uuid, i64), QuarterStep>::new();
        for row in rows {
            let event = row.event;
            let amount = event.cost.0;
            let tenant = event.tenant.as_uuid();
            if event.cost > NanoUsd::ZERO {
                let empty = TotalStep { tenant, amount: 0, charges: 0 };
                let step = tenants.entry(tenant).or_insert(empty);
                step.amount = step.amount.saturating_add(amount);
                step.charges += 1;
            }
            let starts_at = event.admitted_at.0.div_euclid(QUARTER_MS) * QUARTER_MS;
            for owner in [tenant, event.project.as_uuid(), event.key.as_uuid()] {
                let empty = QuarterStep { owner, starts_at, amount: 0, requests: 0 };
                let step = quarters.entry((owner, starts_at)).or_insert(empty);
                step.amount = step.amount.saturating_add(amount);
                step.requests += 1;
            }
        }
        Self {
            tenants: tenants.into_values().collect(),
            quarters: quarters.into_values().collect(),
            end_users,
        }
    }
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
    mut bind: impl FnMut(&mut Tuple<'_, 't>, &T),
) -> Statement<'t> {
    for (index, row) in rows.iter().enumerate() {
        statement.append(if index == 0 { " VALUES (" } else { ", (" });
        bind(&mut Tuple { statement: &mut statement, is_empty: true }, row);
        statement.append(")");
    }
    statement
}

/// One row's values being put together. By reference: moving a statement for every value of a batch is dear.
pub(crate) struct Tuple<'s, 't> {
    statement: &'s mut Statement<'t>,
    is_empty: bool,
}

impl Tuple<'_, '_> {
    /// Adds the next value.
    pub(crate) fn value<'q>(&mut self, value: impl crate::db::Bind<'q>) -> &mut Self {
        if !std::mem::replace(&mut self.is_empty, false) {
            self.statement.append(", ");
        }
        self.statement.append_bind(value);
        self
    }
}

// === SQL ===

/// All that a tenant was charged.
pub(crate) async fn settled(db: &mut impl Sql, tenant: TenantId) -> Result<NanoUsd, StoreError> {
    let query = db.sql("SELECT charged_nano_usd FROM wallet_totals WHERE tenant_id = $1").id(tenant);
    Ok(query.read_optional(|row| row.money("charged_nano_usd")).await?.unwrap_or_default())
}

/// From which account a credit moves to which: into the wallet from `grants`, `topups` or `adjustments`; out of
/// it where negative.
pub(crate) fn accounts(kind: CreditKind, tenant: TenantId, amount: NanoUsd) -> (String, String) {
    let source = match kind {
        CreditKind::Grant | CreditKind::Expire => "grants",
        CreditKind::Topup => "topups",
        CreditKind::Refund | CreditKind::Adjustment => "adjustments",
    };
    let (source, wallet) = (source.to_owned(), format!("wallet:{tenant}"));
    if amount > NanoUsd::ZERO { (source, wallet) } else { (wallet, source) }
}

/// Posts a credit.
pub(crate) async fn post_credit(tx: &mut Tx, credit: &CreditRecord) -> Result<(), StoreError> {
    let (debit, credited) = accounts(credit.kind, credit.tenant, credit.amount);
    tx.sql(
        "INSERT INTO journal_entries
             (id, tenant_id, kind, debit_account, credit_account, amount_nano_usd, at_ms, reference,
              corrects)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .id(credit.id)
    .id(credit.tenant)
    .bind(name_of(&credit.kind))
    .bind(debit)
    .bind(credited)
    .bind(credit.amount.0.saturating_abs())
    .bind(credit.created_at.0)
    .bind(credit.reference.as_deref())
    .bind(credit.corrects.map(|id| id.as_uuid()))
    .execute_one()
    .await
}

const TOTALS: &str = "INSERT INTO wallet_totals (tenant_id, charged_nano_usd, charges)";
const TOTALS_ADDED: &str = " ON CONFLICT (tenant_id) DO UPDATE SET
    charged_nano_usd = wallet_totals.charged_nano_usd + excluded.charged_nano_usd,
    charges = wallet_totals.charges + excluded.charges";
const QUARTERS: &str = "INSERT INTO spend_quarters (owner_id, quarter_starts_at_ms, cost_nano_usd, requests)";
const QUARTERS_ADDED: &str = " ON CONFLICT (owner_id, quarter_starts_at_ms) DO UPDATE SET
    cost_nano_usd = spend_quarters.cost_nano_usd + excluded.cost_nano_usd,
    requests = spend_quarters.requests + excluded.requests";

async fn add_to_totals(tx: &mut Tx, steps: &[TotalStep]) -> Result<(), StoreError> {
    if tx.is_postgres() {
        let statement = tx
            .sql(TOTALS)
            .push(" SELECT * FROM UNNEST($1::uuid[], $2::bigint[], $3::bigint[])")
            .push(TOTALS_ADDED)
            .bind_postgres(steps.iter().map(|step| step.tenant).collect::<Vec<_>>())
            .bind_postgres(steps.iter().map(|step| step.amount).collect::<Vec<_>>())
            .bind_postgres(steps.iter().map(|step| to_i64(step.charges)).collect::<Vec<_>>());
        return statement.execute().await.map(drop);
    }
    for part in parts(steps) {
        let statement = push_rows(tx.sql(TOTALS), part, |tuple, step| {
            tuple.value(step.tenant).value(step.amount).value(to_i64(step.charges));
        });
        statement.push(TOTALS_ADDED).execute().await?;
    }
    Ok(())
}

async fn add_to_quarters(tx: &mut Tx, steps: &[QuarterStep]) -> Result<(), StoreError> {
    if tx.is_postgres() {
        let statement = tx
            .sql(QUARTERS)
            .push(" SELECT * FROM UNNEST($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[])")
            .push(QUARTERS_ADDED)
            .bind_postgres(steps.iter().map(|step| step.owner).collect::<Vec<_>>())
            .bind_postgres(steps.iter().map(|step| step.starts_at).collect::<Vec<_>>())
            .bind_postgres(steps.iter().map(|step| step.amount).collect::<Vec<_>>())
            .bind_postgres(steps.iter().map(|step| to_i64(step.requests)).collect::<Vec<_>>());
        return statement.execute().await.map(drop);
    }
    for part in parts(steps) {
        let statement = push_rows(tx.sql(QUARTERS), part, |tuple, step| {
            tuple.value(step.owner).value(step.starts_at).value(step.amount).value(to_i64(step.requests));
        });
        statement.push(QUARTERS_ADDED).execute().await?;
    }
    Ok(())
}

/// A row where an owner (tenant, project or key) ever had a request.
pub(crate) const HAS_REQUESTS: &str = "SELECT 1 AS found FROM spend_quarters WHERE owner_id = $1 LIMIT 1";

const ENTRIES: &str = "SELECT id, kind, debit_account, credit_account, amount_nano_usd, at_ms, reference,
        corrects
    FROM journal_entries WHERE tenant_id = $1";
/// Each request is its own charge, also where the tenant pays by invoice: its wallet then counts what it owes.
const CHARGES: &str =
    " UNION ALL SELECT event_id, 'charge', NULL, NULL, cost_nano_usd, finished_at_ms, NULL, NULL
    FROM requests WHERE tenant_id = $1 AND cost_nano_usd > 0";

fn read(row: &Row, tenant: TenantId) -> Result<JournalEntry, StoreError> {
    let id: Uuid = row.get("id")?;
    let kind = row.named("kind")?;
    let (debit, credit, request) = match kind {
        JournalKind::Charge => {
            (format!("wallet:{tenant}"), format!("usage:{tenant}"), Some(RequestId::from_uuid(id)))
        }
        _ => (row.get("debit_account")?, row.get("credit_account")?, None),
    };
    Ok(JournalEntry {
        id,
        tenant,
        kind,
        debit,
        credit,
        amount: row.money("amount_nano_usd")?,
        at: row.moment("at_ms")?,
        reference: row.get("reference")?,
        request,
        corrects: row.get("corrects")?,
    })
}
