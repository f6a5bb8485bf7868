//! What the journal knows of a tenant, as the ledger is to know it.

use std::collections::BTreeSet;

use tollgate_domain::{BudgetId, KeyId, MAX_LIMIT, NanoUsd, Period, TenantId, TimeZoneName, UnixMillis};
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
    zone: &TimeZoneName,
    extra: Option<&BudgetPolicy>,
    holds: &[OpenHold],
) -> Result<Seed, AppError> {
    let mut budgets = stored_budgets(store, tenant).await?;
    budgets.extend(extra.cloned());
    // read before the charges: a limit that is a moment old is sent again, with its version
    let credit = store.credit_total(tenant).await?;
    let (mut names, mut spans) = (Vec::new(), Vec::new());
    for budget in &budgets {
        let mut moments = BTreeSet::from([now]);
        let held = holds.iter().flat_map(|hold| &hold.budgets).filter(|held| held.budget == budget.id);
        moments.extend(held.map(|held| held.period_starts_at));
        for period in periods_around(zone, budget, &moments)? {
            if !names.contains(&(budget.id, period.starts_at)) {
                names.push((budget.id, period.starts_at));
                spans.push((budget.owner, period));
            }
        }
    }
    let spent = store.spent_each(&spans).await?;
    let counter = |((budget, period_starts_at), settled)| SeedCounter {
        budget,
        period_starts_at,
        settled: countable(settled),
    };
    let mut counters: Vec<SeedCounter> = names.into_iter().zip(spent).map(counter).collect();
    counters.extend(held_counters(store, tenant, zone, holds).await?);
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
    let is_blocked = store.calendar_of(tenant).await?.is_some_and(|calendar| calendar.is_blocked);
    let filter = KeyFilter { tenant: Some(tenant), include_revoked: true, ..KeyFilter::default() };
    let (mut keys, mut page) = (store.deleted_keys(tenant).await?, PageRequest::first(READ_PAGE));
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

/// A budget's periods around `moments`.
fn periods_around(
    zone: &TimeZoneName,
    budget: &BudgetPolicy,
    moments: &BTreeSet<UnixMillis>,
) -> Result<Vec<Period>, AppError> {
    let period = |moment: &UnixMillis| Ok(zone.periods(budget.window, *moment)?.current);
    let periods: Result<Vec<Period>, tollgate_domain::WindowError> = moments.iter().map(period).collect();
    periods.map_err(|error| AppError::Internal(error.to_string()))
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
