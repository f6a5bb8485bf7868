//! What each end user was charged, and which rules about end users there are.

use std::collections::BTreeMap;

use tollgate_domain::{BudgetWindow, NanoUsd, Period, TenantId};
use tollgate_policy::{BudgetOwner, OwnerRules};
use uuid::Uuid;

use crate::db::{Row, Sql, to_i64};
use crate::journal::{QUARTER_MS, parts, push_rows};
use crate::requests::{RequestRow, storable};
use crate::store::Tx;
use crate::{Page, PageRequest, Store, StoreError, TenantRecord};

/// What an end user was charged in a period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndUserSpend {
    /// As requests name the user.
    pub user: String,
    /// How much.
    pub spent: NanoUsd,
    /// How many requests.
    pub requests: u64,
}

impl Store {
    /// What one end user was charged for requests of `owner` admitted within `period`, as [`Store::spent`]
    /// counts.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn spent_by_end_user(
        &self,
        tenant: TenantId,
        owner: BudgetOwner,
        user: &str,
        period: Period,
    ) -> Result<NanoUsd, StoreError> {
        Ok(self.end_user_spending(tenant, owner, period, user).await?.spent)
    }

    /// The same with the number of requests.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn end_user_spending(
        &self,
        tenant: TenantId,
        owner: BudgetOwner,
        period: Period,
        user: &str,
    ) -> Result<EndUserSpend, StoreError> {
        let (project, key) = columns(owner);
        let mut reader = self.reader();
        let found = reader
            .sql(
                "SELECT end_user, CAST(SUM(cost_nano_usd) AS BIGINT) AS spent,
                     CAST(SUM(requests) AS BIGINT) AS n_requests FROM end_user_quarters
                 WHERE tenant_id = $1 AND end_user = $2
                     AND quarter_starts_at_ms >= $3 AND quarter_starts_at_ms < $4",
            )
            .id(tenant)
            .bind(storable(user).as_ref())
            .bind(period.starts_at.0)
            .bind(period.ends_at.0)
            .filter(" AND project_id = ", project)
            .filter(" AND key_id = ", key)
            .push(" GROUP BY end_user")
            .read_optional(read)
            .await?;
        Ok(found.unwrap_or(EndUserSpend { user: user.to_owned(), spent: NanoUsd::ZERO, requests: 0 }))
    }

    /// The end users that had requests of `owner` within `period`, by name, with what they were charged.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn end_users_spending(
        &self,
        tenant: TenantId,
        owner: BudgetOwner,
        period: Period,
        page: PageRequest<String>,
    ) -> Result<Page<EndUserSpend, String>, StoreError> {
        let (project, key) = columns(owner);
        let mut reader = self.reader();
        let items = reader
            .sql(
                "SELECT end_user, CAST(SUM(cost_nano_usd) AS BIGINT) AS spent,
                     CAST(SUM(requests) AS BIGINT) AS n_requests FROM end_user_quarters
                 WHERE tenant_id = $1 AND quarter_starts_at_ms >= $2 AND quarter_starts_at_ms < $3",
            )
            .id(tenant)
            .bind(period.starts_at.0)
            .bind(period.ends_at.0)
            .filter(" AND project_id = ", project)
            .filter(" AND key_id = ", key)
            .filter(" AND end_user > ", page.after.as_deref())
            .push(" GROUP BY end_user ORDER BY end_user LIMIT ")
            .push_bind(page.fetch())
            .read_all(read)
            .await?;
        Ok(Page::cut(items, page.rows(), |spend| spend.user.clone()))
    }
}

/// Which project or key rows must be of.
fn columns(owner: BudgetOwner) -> (Option<Uuid>, Option<Uuid>) {
    match owner {
        BudgetOwner::Tenant(_) => (None, None),
        BudgetOwner::Project(id) => (Some(id.as_uuid()), None),
        BudgetOwner::Key(id) => (None, Some(id.as_uuid())),
    }
}

fn read(row: &Row) -> Result<EndUserSpend, StoreError> {
    Ok(EndUserSpend {
        user: row.get("end_user")?,
        spent: row.money("spent")?,
        requests: row.count("n_requests")?,
    })
}

/// What a batch adds to one end user's quarter of an hour with one key.
#[derive(Clone)]
pub(crate) struct EndUserStep {
    tenant: Uuid,
    user: String,
    starts_at: i64,
    key: Uuid,
    project: Uuid,
    amount: i64,
    requests: u64,
}

/// The steps of a batch's new rows, in an order that two batches share.
pub(crate) fn steps<'r>(rows: impl Iterator<Item = &'r RequestRow<'r>>) -> Vec<EndUserStep> {
    let mut steps = BTreeMap::<(Uuid, String, i64, Uuid), EndUserStep>::new();
    for event in rows.map(|row| row.event) {
        let Some(user) = event.end_user.as_deref() else { continue };
        let starts_at = event.admitted_at.0.div_euclid(QUARTER_MS) * QUARTER_MS;
        let (tenant, key, user) = (event.tenant.as_uuid(), event.key.as_uuid(), storable(user).into_owned());
        let step = steps.entry((tenant, user.clone(), starts_at, key)).or_insert_with(|| EndUserStep {
            tenant,
            user,
            starts_at,
            key,
            project: event.project.as_uuid(),
            amount: 0,
            requests: 0,
        });
        step.amount = step.amount.saturating_add(event.cost.0);
        step.requests += 1;
    }
    steps.into_values().collect()
}

const INSERT: &str = "INSERT INTO end_user_quarters (tenant_id, end_user, quarter_starts_at_ms, key_id,
        project_id, cost_nano_usd, requests)";
const ADDED: &str = " ON CONFLICT (tenant_id, end_user, quarter_starts_at_ms, key_id) DO UPDATE SET
    cost_nano_usd = end_user_quarters.cost_nano_usd + excluded.cost_nano_usd,
    requests = end_user_quarters.requests + excluded.requests";

/// Adds the steps of a batch.
pub(crate) async fn add(tx: &mut Tx, steps: &[EndUserStep]) -> Result<(), StoreError> {
    if steps.is_empty() {
        return Ok(());
    }
    if tx.is_postgres() {
        let statement = tx
            .sql(INSERT)
            .push(
                " SELECT * FROM UNNEST($1::uuid[], $2::text[], $3::bigint[], $4::uuid[], $5::uuid[],
                    $6::bigint[], $7::bigint[])",
            )
            .push(ADDED)
            .bind_postgres(steps.iter().map(|step| step.tenant).collect::<Vec<_>>())
            .bind_postgres(steps.iter().map(|step| step.user.as_str()).collect::<Vec<_>>())
            .bind_postgres(steps.iter().map(|step| step.starts_at).collect::<Vec<_>>())
            .bind_postgres(steps.iter().map(|step| step.key).collect::<Vec<_>>())
            .bind_postgres(steps.iter().map(|step| step.project).collect::<Vec<_>>())
            .bind_postgres(steps.iter().map(|step| step.amount).collect::<Vec<_>>())
            .bind_postgres(steps.iter().map(|step| to_i64(step.requests)).collect::<Vec<_>>());
        return statement.execute().await.map(drop);
    }
    for part in parts(steps) {
        let statement = push_rows(tx.sql(INSERT), part, |tuple, step| {
            tuple
                .value(step.tenant)
                .value(step.user.as_str())
                .value(step.starts_at)
                .value(step.key)
                .value(step.project)
                .value(step.amount)
                .value(to_i64(step.requests));
        });
        statement.push(ADDED).execute().await?;
    }
    Ok(())
}

/// Whether a tenant, or anything below it, has a budget of end users that follows the tenant's calendar.
pub(crate) async fn has_windowed_rules(tx: &mut Tx, tenant: &TenantRecord) -> Result<bool, StoreError> {
    let is_windowed = |rules: &OwnerRules| {
        rules.end_users.budgets.iter().any(|budget| budget.window != BudgetWindow::Total)
    };
    if is_windowed(&tenant.rules) {
        return Ok(true);
    }
    for text in [
        "SELECT rules FROM projects WHERE tenant_id = $1 AND deleted_at_ms IS NULL",
        "SELECT rules FROM api_keys WHERE tenant_id = $1 AND deleted_at_ms IS NULL AND state <> 'revoked'",
    ] {
        let rules = tx.sql(text).id(tenant.id).read_all(|row| row.json::<OwnerRules>("rules")).await?;
        if rules.iter().any(is_windowed) {
            return Ok(true);
        }
    }
    Ok(false)
}
