//! End users: what each has spent, and the rules that hold for each.

use serde::{Deserialize, Serialize};
use tollgate_domain::{BudgetWindow, Id, NanoUsd, Period, PeriodPair, TenantId, TimeZoneName};
use tollgate_ledger::{Balance, BudgetCheck, Epoch, LedgerError, Seed, SeedCounter};
use tollgate_policy::{BudgetOwner, EndUserBudget, EndUserCounter, OwnerRules};
use tollgate_store::EndUserSpend;
use utoipa::{IntoParams, ToSchema};

use super::balances::{BalanceSource, SEED_TRIES};
use super::{App, BudgetWindowName, List, ListQuery};
use crate::jobs;
use crate::parts::{RulesChange, Time, Usd};
use crate::{Action, Actor, AppError, Resource, ResourceOwner, Verb, authorize};

/// Longest name of an end user, in characters, as the gateways take it.
const MAX_USER_CHARS: usize = 256;

/// Whose end users are listed: of exactly one of `tenant`, `project`, `key`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EndUserQuery {
    /// Of all requests of this tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Of the requests of this project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Of the requests with this key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Over which span, the present one; `month` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub window: Option<BudgetWindowName>,
    /// Only this end user, also where it had no request yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// How many at most; 100 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// An end user's state in the present period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EndUserView {
    /// As requests name the user.
    pub user: String,
    /// Over which span.
    pub window: BudgetWindowName,
    /// Finished requests.
    pub requests: u64,
    /// Spent.
    pub spent: Usd,
    /// Held for requests in flight; 0 where no budget counts it.
    pub held: Usd,
    /// How much each end user may spend here; `null` where no rule of exactly this owner and window says so.
    pub limit: Option<Usd>,
    /// What is left of it, at least zero.
    pub remaining: Option<Usd>,
    /// When the present period ends; `null` for `total`.
    pub resets_at: Option<Time>,
    /// Where `spent` and `held` come from.
    pub source: BalanceSource,
}

struct Owner {
    tenant: TenantId,
    owner: BudgetOwner,
    rules: OwnerRules,
}

impl App {
    /// End users by name, with what they spent in the present period.
    ///
    /// # Errors
    /// Forbidden; no such owner, or none or several named; a bad page.
    pub async fn list_end_users(
        &self,
        actor: &Actor,
        query: &EndUserQuery,
    ) -> Result<List<EndUserView>, AppError> {
        let Owner { tenant, owner, rules } = self.end_users_of(actor, query).await?;
        let page = ListQuery { limit: query.limit, after: query.after.clone() }.page::<String>()?;
        let window = query.window.map_or(BudgetWindow::Month, BudgetWindow::from);
        let zone = self.parts.store.tenant(tenant).await?.time_zone;
        let periods =
            zone.periods(window, self.now()).map_err(|error| AppError::Internal(error.to_string()))?;
        let store = &self.parts.store;
        let (spends, next) = match query.user.as_deref() {
            None => {
                let page = store.end_users_spending(tenant, owner, periods.current, page).await?;
                (page.items, page.next)
            }
            Some(user) if user.is_empty() || user.chars().count() > MAX_USER_CHARS => {
                return Err(AppError::invalid("user", format!("must be 1 to {MAX_USER_CHARS} characters")));
            }
            Some(user) => {
                let spend = store.end_user_spending(tenant, owner, periods.current, user).await?;
                (vec![spend], None)
            }
        };
        let rule = rules.end_users.budgets.iter().find(|rule| rule.window == window);
        let balances = self.end_user_balances(tenant, owner, rule, periods, &spends).await;
        let views = spends.into_iter().zip(balances);
        let data =
            views.map(|(spend, balance)| view(spend, window, periods.current, rule, balance)).collect();
        Ok(List { data, next })
    }

    async fn end_users_of(&self, actor: &Actor, query: &EndUserQuery) -> Result<Owner, AppError> {
        let read = Action::new(Verb::Read, Resource::Budget);
        match (query.tenant.as_deref(), query.project.as_deref(), query.key.as_deref()) {
            (Some(tenant), None, None) => {
                let tenant = self.permitted_tenant(actor, read, tenant).await?;
                let owner = BudgetOwner::Tenant(tenant.id);
                Ok(Owner { tenant: tenant.id, owner, rules: tenant.rules })
            }
            (None, Some(project), None) => {
                let project = self.permitted_project(actor, read, project).await?;
                let owner = BudgetOwner::Project(project.id);
                Ok(Owner { tenant: project.tenant, owner, rules: project.rules })
            }
            (None, None, Some(key)) => {
                let key = self.permitted_key(actor, Verb::Read, key).await?;
                authorize(actor, read, ResourceOwner::Tenant(key.tenant))?;
                Ok(Owner { tenant: key.tenant, owner: BudgetOwner::Key(key.id), rules: key.rules })
            }
            _ => Err(AppError::invalid("tenant", "name exactly one of `tenant`, `project` and `key`")),
        }
    }

    /// The ledger's counters of these users under `rule`; `None` each where there is no rule, or no ledger.
    async fn end_user_balances(
        &self,
        tenant: TenantId,
        owner: BudgetOwner,
        rule: Option<&EndUserBudget>,
        periods: PeriodPair,
        spends: &[EndUserSpend],
    ) -> Vec<Option<Balance>> {
        let nothing = || vec![None; spends.len()];
        let Some(rule) = rule else { return nothing() };
        let check = |spend: &EndUserSpend| BudgetCheck {
            budget: Id::derived(rule.id, &spend.user),
            limit: rule.limit,
            periods,
        };
        let checks: Vec<BudgetCheck> = spends.iter().map(check).collect();
        for attempt in 0..2 {
            match self.parts.ledger.balances(tenant, true, &checks).await {
                Ok(balances) if !balances.is_cold => return balances.budgets.into_iter().map(Some).collect(),
                Ok(_) if attempt == 0 => {
                    let asked = spends.iter().map(|spend| EndUserCounter {
                        rule: rule.id,
                        owner,
                        window: rule.window,
                        user: spend.user.clone(),
                    });
                    // read anew: what was read before may be older than the ledger's epoch
                    if let Err(error) = self.seed_end_users(tenant, &asked.collect::<Vec<_>>()).await {
                        tracing::warn!(%tenant, %error, "end users' counters were not seeded");
                        return nothing();
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "the ledger gave no balances; the journal's are shown");
                    return nothing();
                }
            }
        }
        nothing()
    }

    /// Gives the budgets of new rules their identities.
    pub(super) fn with_new_ids(&self, mut rules: OwnerRules) -> Result<OwnerRules, AppError> {
        for budget in &mut rules.end_users.budgets {
            budget.id = self.new_id()?;
        }
        Ok(rules)
    }

    /// The change with identities for its new budgets. The ledger learns what every end user spent before any
    /// pod can charge them.
    pub(super) async fn prepare_rules(
        &self,
        tenant: TenantId,
        owner: BudgetOwner,
        known: &OwnerRules,
        mut change: RulesChange,
    ) -> Result<RulesChange, AppError> {
        let Some(wanted) = &mut change.end_users else { return Ok(change) };
        let zone = self.parts.store.tenant(tenant).await?.time_zone;
        for budget in &mut wanted.budgets {
            budget.id = self.new_id()?;
            if known.end_users.budgets.iter().any(|known| known.window == budget.window) {
                continue;
            }
            let (mut after, rule) = (None, *budget);
            loop {
                after = self.seed_users_of_rule(tenant, &zone, (owner, &rule), after).await?;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(change)
    }

    /// Writes what a page of the end users of a new rule spent, and answers where the next page begins.
    async fn seed_users_of_rule(
        &self,
        tenant: TenantId,
        zone: &TimeZoneName,
        rule: (BudgetOwner, &EndUserBudget),
        after: Option<String>,
    ) -> Result<Option<String>, AppError> {
        let (store, now) = (&self.parts.store, self.now());
        let read = async || jobs::counters_of_rule(store, now, tenant, zone, rule, after.clone()).await;
        // the ledger is asked for nothing where there is nothing to tell
        if read().await?.0.is_empty() {
            return Ok(None);
        }
        for _ in 0..SEED_TRIES {
            let epoch = self.seeded_epoch(tenant).await?;
            let (counters, next) = read().await?;
            if self.write_counters(tenant, epoch.as_ref(), counters).await? {
                return Ok(next);
            }
        }
        Err(waits_for_reseed())
    }

    /// Writes what the journal knows of end users into the ledger, where the ledger does not know it.
    ///
    /// # Errors
    /// Not found; unavailable.
    pub async fn seed_end_users(&self, tenant: TenantId, asked: &[EndUserCounter]) -> Result<(), AppError> {
        let store = &self.parts.store;
        for _ in 0..SEED_TRIES {
            let epoch = self.seeded_epoch(tenant).await?;
            let zone = store.tenant(tenant).await?.time_zone;
            let counters = jobs::named_counters(store, self.now(), tenant, &zone, asked).await?;
            if self.write_counters(tenant, epoch.as_ref(), counters).await? {
                return Ok(());
            }
        }
        Err(waits_for_reseed())
    }

    /// Has the ledger know the tenant, and answers under which epoch it does: what its pods settled before that is
    /// journaled, so that what is read from now on is right as long as the epoch is this one.
    async fn seeded_epoch(&self, tenant: TenantId) -> Result<Option<Epoch>, AppError> {
        if self.parts.ledger.balances(tenant, true, &[]).await?.is_cold {
            self.seed_tenant(tenant).await?;
        }
        self.live_epoch(tenant).await
    }

    /// Writes counters that the ledger does not have. `false` where its epoch is not the one that was seen before they
    /// were read: then nothing is written, as they may lack what was journaled since.
    pub(crate) async fn write_counters(
        &self,
        tenant: TenantId,
        seen: Option<&Epoch>,
        counters: Vec<SeedCounter>,
    ) -> Result<bool, AppError> {
        let (store, ledger) = (&self.parts.store, &self.parts.ledger);
        // read before the charges: a limit that is a moment old is sent again, with its version
        let credit = store.credit_total(tenant).await?;
        let seed = Seed {
            tenant,
            wallet_limit: credit.sum.max(NanoUsd::ZERO),
            wallet_version: credit.version,
            wallet_settled: store.wallet_settled(tenant).await?.min(tollgate_domain::MAX_LIMIT),
            counters,
        };
        let written = match seen {
            Some(epoch) => ledger.seed_within(&seed, epoch).await,
            None => ledger.seed(&seed).await,
        };
        match written {
            Err(LedgerError::WrongEpoch) => Ok(false),
            written => Ok(written.map(|()| true)?),
        }
    }
}

fn waits_for_reseed() -> AppError {
    AppError::Unavailable("the ledger waits for a reseed of this tenant: try again".to_owned())
}

fn view(
    spend: EndUserSpend,
    window: BudgetWindow,
    period: Period,
    rule: Option<&EndUserBudget>,
    balance: Option<Balance>,
) -> EndUserView {
    let (spent, held) = balance.map_or((spend.spent, NanoUsd::ZERO), |live| (live.settled, live.held));
    let remaining = rule.map(|rule| rule.limit.saturating_sub(spent).saturating_sub(held));
    EndUserView {
        user: spend.user,
        window: window.into(),
        requests: spend.requests,
        spent: Usd(spent),
        held: Usd(held),
        limit: rule.map(|rule| Usd(rule.limit)),
        remaining: remaining.map(|remaining| Usd(remaining.max(NanoUsd::ZERO))),
        resets_at: (period != Period::TOTAL).then_some(Time(period.ends_at)),
        source: if balance.is_some() { BalanceSource::Ledger } else { BalanceSource::Journal },
    }
}
