//! A tenant's account over some days: what there was, what came in, what was charged for, what is left. All of
//! it from the journal.

use serde::Serialize;
use tollgate_domain::{NanoUsd, Period, ProjectId, TenantId, UnixMillis};
use uuid::Uuid;

use crate::db::{Row, Sql as _};
use crate::journal::JournalKind;
use crate::store::{Tx, run_snapshot};
use crate::{Store, StoreError};

/// The most lines of charges: beyond it nobody reads and memory is at stake.
const MAX_LINES: usize = 100_000;
/// Requests end after they were admitted, by other clocks that are no further apart than this.
const MAX_CLOCK_SKEW_MS: i64 = 24 * 3_600_000;

/// A posting that is no charge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StatementPosting {
    /// Its id: the credit's.
    pub id: Uuid,
    /// What for; never a charge.
    pub kind: JournalKind,
    /// What it added to the wallet; negative where it took out.
    pub amount: NanoUsd,
    /// When.
    pub at: UnixMillis,
    /// The credit's reference.
    pub reference: Option<String>,
}

/// What was charged for one model in one project on one day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StatementCharge {
    /// Which of the days that were asked for, from 0.
    pub day: usize,
    /// The project.
    pub project: ProjectId,
    /// Its name; `None` where it is gone without a trace.
    pub project_name: Option<String>,
    /// The provider that answered.
    pub provider: String,
    /// The model that answered.
    pub model: String,
    /// Finished requests, those that cost nothing as well.
    pub requests: u64,
    /// What they cost.
    pub cost: NanoUsd,
}

/// A tenant's account over some days. `opening + postings − charges = closing`, to the nano-dollar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Statement {
    /// All credit less all charges before the first day; less than zero where the tenant pays by invoice.
    pub opening: NanoUsd,
    /// What was added and taken out, in order.
    pub postings: Vec<StatementPosting>,
    /// What was charged for requests admitted on these days, by day, project and model.
    pub charges: Vec<StatementCharge>,
    /// The sum of the charges.
    pub charged: NanoUsd,
    /// All credit less all charges after the last day.
    pub closing: NanoUsd,
}

impl Store {
    /// A tenant's account over `days`, which follow each other and are in the tenant's time zone.
    ///
    /// # Errors
    /// `Invalid` without days, and for more than 100,000 lines; `Corrupt` where the journal's sums are not those
    /// of its rows: [`Store::verify_journal`] tells which.
    pub async fn statement(&self, tenant: TenantId, days: &[Period]) -> Result<Statement, StoreError> {
        let (Some(first), Some(last)) = (days.first(), days.last()) else {
            return Err(StoreError::invalid("statement", "month", "has no days"));
        };
        let all = Period { starts_at: first.starts_at, ends_at: last.ends_at };
        run_snapshot!(self, |tx| {
            let opening = balance_at(tx, tenant, all.starts_at).await?;
            let closing = balance_at(tx, tenant, all.ends_at).await?;
            let postings = postings(tx, tenant, all).await?;
            let charges = charges(tx, tenant, days, all).await?;
            let charged = sum(charges.iter().map(|charge| charge.cost));
            let added = sum(postings.iter().map(|posting| posting.amount));
            if opening.saturating_add(added).saturating_sub(charged) != closing {
                let detail = format!("the sums over {tenant}'s requests are not those of its rows");
                return Err(StoreError::corrupt("spend_quarters", detail));
            }
            Ok(Statement { opening, postings, charges, charged, closing })
        })
    }
}

fn sum(amounts: impl Iterator<Item = NanoUsd>) -> NanoUsd {
    amounts.fold(NanoUsd::ZERO, NanoUsd::saturating_add)
}

/// All postings and charges before a moment that begins a day.
async fn balance_at(tx: &mut Tx, tenant: TenantId, before: UnixMillis) -> Result<NanoUsd, StoreError> {
    let query = tx.sql(
        "SELECT CAST(COALESCE(SUM(CASE WHEN credit_account = $1 THEN amount_nano_usd ELSE -amount_nano_usd END),
             0) AS BIGINT) AS added
         FROM journal_entries WHERE tenant_id = $2 AND at_ms < $3",
    );
    let query = query.bind(format!("wallet:{tenant}")).id(tenant).bind(before.0);
    let added = query.fetch_one().await?.money("added")?;
    let query = tx.sql(
        "SELECT CAST(COALESCE(SUM(cost_nano_usd), 0) AS BIGINT) AS charged FROM spend_quarters
         WHERE owner_id = $1 AND quarter_starts_at_ms < $2",
    );
    let charged = query.id(tenant).bind(before.0).fetch_one().await?.money("charged")?;
    Ok(added.saturating_sub(charged))
}

async fn postings(
    tx: &mut Tx,
    tenant: TenantId,
    period: Period,
) -> Result<Vec<StatementPosting>, StoreError> {
    let query = tx.sql(
        "SELECT id, kind, amount_nano_usd, at_ms, reference, credit_account FROM journal_entries
         WHERE tenant_id = $1 AND at_ms >= $2 AND at_ms < $3 ORDER BY at_ms, id",
    );
    let wallet = format!("wallet:{tenant}");
    let read = |row: &Row| {
        let amount = row.money("amount_nano_usd")?;
        let is_added = row.get::<String>("credit_account")? == wallet;
        Ok(StatementPosting {
            id: row.get("id")?,
            kind: row.named("kind")?,
            amount: if is_added { amount } else { NanoUsd::ZERO.saturating_sub(amount) },
            at: row.moment("at_ms")?,
            reference: row.get("reference")?,
        })
    };
    query.id(tenant).bind(period.starts_at.0).bind(period.ends_at.0).read_all(read).await
}

async fn charges(
    tx: &mut Tx,
    tenant: TenantId,
    days: &[Period],
    all: Period,
) -> Result<Vec<StatementCharge>, StoreError> {
    // The days' ends stand in the text, so that the same expression groups: they are numbers of ours. Days have
    // no fixed length, clocks are put forward and back.
    let mut day = "CASE".to_owned();
    for (index, period) in days.iter().enumerate() {
        day.push_str(&format!(" WHEN admitted_at_ms < {} THEN {index}", period.ends_at.0));
    }
    day.push_str(" END");
    let text = format!(
        "SELECT totals.*, projects.name AS project_name
         FROM (SELECT CAST({day} AS BIGINT) AS day, project_id, provider, model, COUNT(*) AS requests,
                   CAST(SUM(cost_nano_usd) AS BIGINT) AS cost
               FROM request_details
               WHERE tenant_id = $1 AND admitted_at_ms >= $2 AND admitted_at_ms < $3 AND finished_at_ms >= $4
               GROUP BY 1, 2, 3, 4) AS totals
             LEFT JOIN projects ON projects.id = totals.project_id
         ORDER BY day, project_id, provider, model LIMIT {}",
        MAX_LINES + 1
    );
    let query = tx.sql(text).id(tenant).bind(all.starts_at.0).bind(all.ends_at.0);
    let rows = query.bind(all.starts_at.plus_ms(-MAX_CLOCK_SKEW_MS).0).read_all(read_charge).await?;
    if rows.len() > MAX_LINES {
        let message = format!("the statement has more than {MAX_LINES} lines: use the usage report");
        return Err(StoreError::invalid("statement", "month", message));
    }
    Ok(rows)
}

fn read_charge(row: &Row) -> Result<StatementCharge, StoreError> {
    let day = usize::try_from(row.count("day")?).map_err(|error| StoreError::corrupt("day", error))?;
    Ok(StatementCharge {
        day,
        project: row.id("project_id")?,
        project_name: row.get("project_name")?,
        provider: row.get("provider")?,
        model: row.get("model")?,
        requests: row.count("requests")?,
        cost: row.money("cost")?,
    })
}
