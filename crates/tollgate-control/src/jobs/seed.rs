//! What the journal knows of a tenant, as the ledger is to know it.

use std::collections::BTreeSet;

use tollgate_domain::{BudgetId, KeyId, MAX_LIMIT, NanoUsd, TenantId, TimeZoneName, UnixMillis};
use tollgate_ledger::{OpenHold, Seed, SeedCounter};
use tollgate_policy::{BudgetPolicy, KeyState};
use tollgate_store::{BudgetFilter, KeyFilter, PageRequest, Store};

use super::end_user_seed::held_counters;
use crate::AppError;

/// How many budgets or keys are read at a time.
const READ_PAGE: u32 = 1_000;

/// What the journal knows of `tenant`: its wallet, its budgets in their present periods and in those that
/// `holds` are in; `extra` is a budget that is not stored yet.
pub(crate) async fn seed_of(
    store: &Store,
    now: UnixMillis,
    tenant: TenantId,
    extra: Option<&BudgetPolicy>,
    holds: &[OpenHold],
) -> Result<Seed, AppError> {
    let record = store.tenant(tenant).await?;
    let mut budgets = stored_budgets(store, tenant).await?;
    budgets.extend(extra.cloned());
    // read before the charges: a limit that is a moment old is sent again, with its version
    let credit = store.credit_total(tenant).await?;
    let mut counters = Vec::with_capacity(budgets.len());
    for budget in &budgets {
        let mut moments = BTreeSet::from([now]);
        let held = holds.iter().flat_map(|hold| &hold.budgets).filter(|held| held.budget == budget.id);
        moments.extend(held.map(|held| held.period_starts_at));
        for counter in of_budget(store, &record.time_zone, budget, &moments).await? {
            if !counters.contains(&counter) {
                counters.push(counter);
            }
        }
    }
    counters.extend(held_counters(store, tenant, &record.time_zone, holds).await?);
    add_unknown(&mut counters, holds);
    Ok(Seed {
        tenant,
        wallet_limit: credit.sum.max(NanoUsd::ZERO),
        wallet_version: credit.version,
        wallet_settled: countable(store.wallet_settled(tenant).await?),
        counters,
    })
}

/// The keys of `tenant` that must not be used.
pub(crate) async fn unusable_keys(store: &Store, tenant: TenantId) -> Result<Vec<KeyId>, AppError> {
    let is_blocked = store.tenant(tenant).await?.blocked;
    let filter = KeyFilter { tenant: Some(tenant), include_revoked: true, ..KeyFilter::default() };
    let (mut keys, mut page) = (Vec::new(), PageRequest::first(READ_PAGE));
    loop {
        let part = store.list_keys(&filter, page).await?;
        let unusable = part.items.iter().filter(|key| is_blocked || key.state != KeyState::Active);
        keys.extend(unusable.map(|key| key.id));
        let Some(next) = part.next else { return Ok(keys) };
        page = PageRequest::after(READ_PAGE, next);
    }
}

async fn stored_budgets(store: &Store, tenant: TenantId) -> Result<Vec<BudgetPolicy>, AppError> {
    let filter = BudgetFilter { tenant: Some(tenant), owner: None };
    let (mut budgets, mut page) = (Vec::new(), PageRequest::first(READ_PAGE));
    loop {
        let part = store.list_budgets(&filter, page).await?;
        budgets.extend(part.items.iter().map(tollgate_store::BudgetRecord::to_policy));
        let Some(next) = part.next else { return Ok(budgets) };
        page = PageRequest::after(READ_PAGE, next);
    }
}

/// A budget's counters in the periods around `moments`.
async fn of_budget(
    store: &Store,
    zone: &TimeZoneName,
    budget: &BudgetPolicy,
    moments: &BTreeSet<UnixMillis>,
) -> Result<Vec<SeedCounter>, AppError> {
    let mut counters: Vec<SeedCounter> = Vec::with_capacity(moments.len());
    for moment in moments {
        let periods =
            zone.periods(budget.window, *moment).map_err(|error| AppError::Internal(error.to_string()))?;
        let period = periods.current;
        if counters.iter().any(|counter| counter.period_starts_at == period.starts_at) {
            continue;
        }
        let settled = countable(store.spent(budget.owner, period).await?);
        counters.push(SeedCounter { budget: budget.id, period_starts_at: period.starts_at, settled });
    }
    Ok(counters)
}

/// Budgets that a hold is in and that are not stored any more, or in a period that their calendar no longer has:
/// nobody asks for them, the holds only have to find them.
fn add_unknown(counters: &mut Vec<SeedCounter>, holds: &[OpenHold]) {
    let mut known: BTreeSet<(BudgetId, UnixMillis)> =
        counters.iter().map(|counter| (counter.budget, counter.period_starts_at)).collect();
    for held in holds.iter().flat_map(|hold| &hold.budgets) {
        if known.insert((held.budget, held.period_starts_at)) {
            counters.push(SeedCounter {
                budget: held.budget,
                period_starts_at: held.period_starts_at,
                settled: NanoUsd::ZERO,
            });
        }
    }
}

/// The ledger counts up to [`MAX_LIMIT`], which no credit and no budget exceeds: there, nothing is left.
fn countable(settled: NanoUsd) -> NanoUsd {
    settled.min(MAX_LIMIT)
}
