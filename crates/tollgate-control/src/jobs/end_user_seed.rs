//! What the journal knows of end users, as the ledger is to know it.
//!
//! An owner may have millions of end users, so a tenant is seeded without them: a counter that the ledger does
//! not know is asked for by the pod that needs it, by the user's name. Only holds that are open at a reseed
//! bring their users along.

use std::collections::{BTreeMap, HashMap};

use tollgate_domain::{
    BudgetId, HoldMemo, Id, KeyId, MAX_LIMIT, NanoUsd, TenantId, TimeZoneName, UnixMillis,
};
use tollgate_ledger::{HeldBudget, OpenHold, SeedCounter};
use tollgate_policy::{BudgetOwner, EndUserBudget, EndUserCounter, OwnerRules};
use tollgate_store::{PageRequest, Store, StoreError};

use crate::AppError;

/// End users read at a time where all are needed.
const READ_PAGE: u32 = 1_000;

/// The counters of named end users in their present periods.
pub(crate) async fn named_counters(
    store: &Store,
    now: UnixMillis,
    tenant: TenantId,
    zone: &TimeZoneName,
    asked: &[EndUserCounter],
) -> Result<Vec<SeedCounter>, AppError> {
    let mut counters = Vec::with_capacity(asked.len());
    for EndUserCounter { rule, owner, window, user } in asked {
        let period = periods_of(zone, *window, now)?;
        let settled = store.spent_by_end_user(tenant, *owner, user, period).await?.min(MAX_LIMIT);
        let budget = Id::derived(*rule, user);
        counters.push(SeedCounter { budget, period_starts_at: period.starts_at, settled });
    }
    Ok(counters)
}

/// The counters of all end users that had requests in the present period of a rule, page by page: for a rule
/// that is about to hold.
pub(crate) async fn counters_of_rule(
    store: &Store,
    now: UnixMillis,
    tenant: TenantId,
    zone: &TimeZoneName,
    (owner, rule): (BudgetOwner, &EndUserBudget),
    after: Option<String>,
) -> Result<(Vec<SeedCounter>, Option<String>), AppError> {
    let period = periods_of(zone, rule.window, now)?;
    let page =
        store.end_users_spending(tenant, owner, period, PageRequest { limit: READ_PAGE, after }).await?;
    let counter = |spend: &tollgate_store::EndUserSpend| SeedCounter {
        budget: Id::derived(rule.id, &spend.user),
        period_starts_at: period.starts_at,
        settled: spend.spent.min(MAX_LIMIT),
    };
    Ok((page.items.iter().map(counter).collect(), page.next))
}

/// The counters of end users that open holds are in. One that cannot be told any more is full: what is not known
/// is never taken for nothing.
pub(super) async fn held_counters(
    store: &Store,
    tenant: TenantId,
    zone: &TimeZoneName,
    holds: &[OpenHold],
) -> Result<Vec<SeedCounter>, AppError> {
    let mut counters: BTreeMap<(BudgetId, UnixMillis), NanoUsd> = BTreeMap::new();
    let mut rules_of_keys: HashMap<KeyId, Vec<(BudgetOwner, EndUserBudget)>> = HashMap::new();
    for hold in holds {
        let held = held_of_end_users(hold);
        if held.is_empty() {
            continue;
        }
        let user = HoldMemo::from_bytes(&hold.memo).ok().and_then(|(memo, _)| memo.end_user);
        if let std::collections::hash_map::Entry::Vacant(e) = rules_of_keys.entry(hold.key) {
            e.insert(rules_of(store, hold.key).await?);
        }
        for held in held {
            let name = (held.budget, held.period_starts_at);
            if counters.contains_key(&name) {
                continue;
            }
            let rules = rules_of_keys.get(&hold.key).map_or(&[][..], Vec::as_slice);
            let found = user.as_deref().and_then(|user| Some((rule_of(rules, held.budget, user)?, user)));
            let settled = match found {
                Some(((owner, rule), user)) => {
                    let period = periods_of(zone, rule.window, held.period_starts_at)?;
                    store.spent_by_end_user(tenant, owner, user, period).await?.min(MAX_LIMIT)
                }
                None => MAX_LIMIT,
            };
            counters.insert(name, settled);
        }
    }
    let counter = |((budget, period_starts_at), settled)| SeedCounter { budget, period_starts_at, settled };
    Ok(counters.into_iter().map(counter).collect())
}

fn held_of_end_users(hold: &OpenHold) -> Vec<HeldBudget> {
    hold.budgets.iter().filter(|held| held.budget.is_derived()).copied().collect()
}

/// The rule by which `budget` is that of `user`.
fn rule_of(
    rules: &[(BudgetOwner, EndUserBudget)],
    budget: BudgetId,
    user: &str,
) -> Option<(BudgetOwner, EndUserBudget)> {
    rules.iter().find(|(_, rule)| BudgetId::derived(rule.id, user) == budget).copied()
}

/// The budgets of end users that a request with this key is in.
async fn rules_of(store: &Store, key: KeyId) -> Result<Vec<(BudgetOwner, EndUserBudget)>, AppError> {
    let Some(key) = present(store.key(key).await)? else { return Ok(Vec::new()) };
    let mut all = of_owner(BudgetOwner::Key(key.id), &key.rules);
    if let Some(project) = present(store.project(key.project).await)? {
        all.extend(of_owner(BudgetOwner::Project(project.id), &project.rules));
    }
    if let Some(tenant) = present(store.tenant(key.tenant).await)? {
        all.extend(of_owner(BudgetOwner::Tenant(tenant.id), &tenant.rules));
    }
    Ok(all)
}

fn of_owner(owner: BudgetOwner, rules: &OwnerRules) -> Vec<(BudgetOwner, EndUserBudget)> {
    rules.end_users.budgets.iter().map(|rule| (owner, *rule)).collect()
}

fn present<T>(found: Result<T, StoreError>) -> Result<Option<T>, AppError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn periods_of(
    zone: &TimeZoneName,
    window: tollgate_domain::BudgetWindow,
    moment: UnixMillis,
) -> Result<tollgate_domain::Period, AppError> {
    let periods = zone.periods(window, moment).map_err(|error| AppError::Internal(error.to_string()))?;
    Ok(periods.current)
}
