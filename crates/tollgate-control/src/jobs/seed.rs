//! What the journal knows of a tenant, written into a ledger that does not know it.

use tollgate_domain::{MAX_LIMIT, NanoUsd, TenantId, TimeZoneName, UnixMillis};
use tollgate_ledger::{Ledger, Seed, SeedCounter};
use tollgate_policy::BudgetPolicy;
use tollgate_store::{BudgetFilter, PageRequest, Store};

use crate::AppError;

/// How many budgets are read at a time.
const READ_PAGE: u32 = 1_000;

/// Seeds `tenant`; `extra` is a budget that is not stored yet.
pub(crate) async fn seed(
    store: &Store,
    ledger: &Ledger,
    now: UnixMillis,
    tenant: TenantId,
    extra: Option<&BudgetPolicy>,
) -> Result<(), AppError> {
    let record = store.tenant(tenant).await?;
    let mut counters = Vec::new();
    let filter = BudgetFilter { tenant: Some(tenant), owner: None };
    let mut page = PageRequest::first(READ_PAGE);
    loop {
        let part = store.list_budgets(&filter, page).await?;
        for budget in part.items {
            counters.push(counter(store, &record.time_zone, now, &budget.to_policy()).await?);
        }
        let Some(next) = part.next else { break };
        page = PageRequest::after(READ_PAGE, next);
    }
    if let Some(budget) = extra {
        counters.push(counter(store, &record.time_zone, now, budget).await?);
    }
    let credit = store.credit_total(tenant).await?;
    let seed = Seed {
        tenant,
        wallet_limit: credit.sum.max(NanoUsd::ZERO),
        wallet_version: credit.version,
        wallet_settled: countable(store.wallet_settled(tenant).await?),
        counters,
    };
    Ok(ledger.seed(&seed).await?)
}

async fn counter(
    store: &Store,
    zone: &TimeZoneName,
    now: UnixMillis,
    budget: &BudgetPolicy,
) -> Result<SeedCounter, AppError> {
    let periods = zone.periods(budget.window, now).map_err(|error| AppError::Internal(error.to_string()))?;
    let settled = store.spent(budget.owner, periods.current).await?;
    Ok(SeedCounter {
        budget: budget.id,
        period_starts_at: periods.current.starts_at,
        settled: countable(settled),
    })
}

/// The ledger counts up to [`MAX_LIMIT`], which no credit and no budget exceeds: there, nothing is left.
fn countable(settled: NanoUsd) -> NanoUsd {
    settled.min(MAX_LIMIT)
}
