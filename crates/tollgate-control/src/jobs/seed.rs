//! What the journal knows of a tenant, as the ledger is to know it.

use std::collections::BTreeSet;

use tollgate_domain::{BudgetId, MAX_LIMIT, NanoUsd, Period, TenantId, TimeZoneName, UnixMillis};
use tollgate_ledger::{OpenHold, Seed, SeedCounter};
use tollgate_policy::{BudgetOwner, BudgetPolicy};
use tollgate_store::{BudgetFilter, CreditTotal, PageRequest, Store};

use super::end_user_seed::held_counters;
use crate::AppError;

/// How many budgets are read at a time.
const READ_PAGE: u32 = 1_000;

/// A tenant to be seeded, as far as it is read already.
pub(crate) struct ToSeed<'a> {
    pub(crate) tenant: TenantId,
    pub(crate) zone: TimeZoneName,
    pub(crate) budgets: Vec<BudgetPolicy>,
    /// Read before the charges: a limit that is a moment old is sent again, with its version.
    pub(crate) credit: CreditTotal,
    /// What is under way of it.
    pub(crate) holds: &'a [OpenHold],
}

/// The spans of one tenant's counters.
#[derive(Default)]
struct Spans {
    names: Vec<(BudgetId, UnixMillis)>,
    spans: Vec<(BudgetOwner, Period)>,
}

/// What the journal knows of `tenant`: its wallet, its budgets in their present periods; `extra` is a budget that is
/// not stored yet.
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
    let credit = store.credit_total(tenant).await?;
    let to_seed = ToSeed { tenant, zone: zone.clone(), budgets, credit, holds };
    let seed = seeds_of(store, now, &[to_seed]).await?.pop();
    seed.ok_or_else(|| AppError::Internal("a tenant has no seed".to_owned()))
}

/// What the journal knows of many tenants, in the order asked, in few queries for all of them: their wallets, their
/// budgets in their present periods and in those that their holds are in.
pub(crate) async fn seeds_of(
    store: &Store,
    now: UnixMillis,
    all: &[ToSeed<'_>],
) -> Result<Vec<Seed>, AppError> {
    let spans = all.iter().map(|one| spans_of(one, now)).collect::<Result<Vec<Spans>, AppError>>()?;
    let asked: Vec<(BudgetOwner, Period)> = spans.iter().flat_map(|spans| &spans.spans).copied().collect();
    let mut spent = store.spent_each(&asked).await?.into_iter();
    let tenants: Vec<TenantId> = all.iter().map(|one| one.tenant).collect();
    let wallets = store.wallets_settled(&tenants).await?;
    let mut seeds = Vec::with_capacity(all.len());
    for ((one, Spans { names, .. }), wallet_settled) in all.iter().zip(spans).zip(wallets) {
        let counter = |((budget, period_starts_at), settled)| SeedCounter {
            budget,
            period_starts_at,
            settled: countable(settled),
        };
        // the names first: they say how many of the sums are this tenant's
        let mut counters: Vec<SeedCounter> = names.into_iter().zip(spent.by_ref()).map(counter).collect();
        counters.extend(held_counters(store, one.tenant, &one.zone, one.holds).await?);
        add_unknown(&mut counters, one.holds);
        seeds.push(Seed {
            tenant: one.tenant,
            wallet_limit: one.credit.sum.max(NanoUsd::ZERO),
            wallet_version: one.credit.version,
            wallet_settled: countable(wallet_settled),
            counters,
        });
    }
    Ok(seeds)
}

fn spans_of(one: &ToSeed<'_>, now: UnixMillis) -> Result<Spans, AppError> {
    let mut found = Spans::default();
    for budget in &one.budgets {
        let mut moments = BTreeSet::from([now]);
        let held = one.holds.iter().flat_map(|hold| &hold.budgets).filter(|held| held.budget == budget.id);
        moments.extend(held.map(|held| held.period_starts_at));
        for period in periods_around(&one.zone, budget, &moments)? {
            if !found.names.contains(&(budget.id, period.starts_at)) {
                found.names.push((budget.id, period.starts_at));
                found.spans.push((budget.owner, period));
            }
        }
    }
    Ok(found)
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
