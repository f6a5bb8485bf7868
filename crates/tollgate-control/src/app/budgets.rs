//! Budgets of tenants, projects and keys, with what is left of them now.

use serde::{Deserialize, Serialize};
use tollgate_domain::{BudgetWindow, Period, TenantId};
use tollgate_ledger::BudgetCheck;
use tollgate_policy::{BudgetOwner, BudgetPolicy};
use tollgate_store::{BudgetFilter, BudgetRecord};
use utoipa::{IntoParams, ToSchema};

use super::balances::BalanceSource;
use super::increases::BudgetIncreaseView;
use super::lookup::{Names, missing};
use super::{App, List, ListQuery};
use crate::error::Problems;
use crate::parts::{ShareNumber, Time, Usd, alert_shares, limit_amount};
use crate::{Action, Actor, AppError, Resource, ResourceOwner, Verb, authorize, authorize_some};

/// Over which span a budget counts, by the tenant's calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BudgetWindowName {
    /// From one full hour to the next.
    Hour,
    /// From midnight to midnight.
    Day,
    /// From Monday to Monday.
    Week,
    /// From the first to the first.
    Month,
    /// For ever.
    Total,
}

impl From<BudgetWindowName> for BudgetWindow {
    fn from(name: BudgetWindowName) -> Self {
        match name {
            BudgetWindowName::Hour => Self::Hour,
            BudgetWindowName::Day => Self::Day,
            BudgetWindowName::Week => Self::Week,
            BudgetWindowName::Month => Self::Month,
            BudgetWindowName::Total => Self::Total,
        }
    }
}

impl From<BudgetWindow> for BudgetWindowName {
    fn from(window: BudgetWindow) -> Self {
        match window {
            BudgetWindow::Hour => Self::Hour,
            BudgetWindow::Day => Self::Day,
            BudgetWindow::Week => Self::Week,
            BudgetWindow::Month => Self::Month,
            BudgetWindow::Total => Self::Total,
        }
    }
}

/// What a budget limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BudgetScopeName {
    /// Everything a tenant spends.
    Tenant,
    /// Everything a project spends.
    Project,
    /// Everything a key spends.
    Key,
}

/// A budget to be created: for exactly one of `tenant`, `project`, `key`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateBudget {
    /// Id or name of the tenant it limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Id or unambiguous name of the project it limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Id or unambiguous name of the key it limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Over which span. An owner has one budget per window.
    pub window: BudgetWindowName,
    /// How much, in USD.
    #[schema(example = "100.00")]
    pub limit: String,
    /// At which shares of the limit an alert is raised, once per period each: 0.8 is 80 % of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alert_at: Vec<ShareNumber>,
}

/// Changes to a budget.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateBudget {
    /// How much, in USD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// Over which span: only the one it has. Another span takes another budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<BudgetWindowName>,
    /// At which shares of the limit an alert is raised, all of them anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert_at: Option<Vec<ShareNumber>>,
}

/// Which budgets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct BudgetQuery {
    /// Of this tenant and all below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Of exactly this project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Of exactly this key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// How many at most; 100 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// A budget and its state in the present period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BudgetView {
    /// Identity.
    pub id: String,
    /// What it limits.
    pub scope: BudgetScopeName,
    /// Name of what it limits.
    pub owner: String,
    /// Id of what it limits.
    pub owner_id: String,
    /// Name of the tenant that is or has it.
    pub tenant: String,
    /// Id of that tenant.
    pub tenant_id: String,
    /// Over which span.
    pub window: BudgetWindowName,
    /// How much, in USD, without what is added for a time.
    pub limit: Usd,
    /// How much now: the limit and every increase that holds.
    pub effective_limit: Usd,
    /// The increases that hold now.
    pub increases: Vec<BudgetIncreaseView>,
    /// Spent in the present period.
    pub spent: Usd,
    /// Held for requests in flight.
    pub held: Usd,
    /// What is left: effective limit − spent − held, at least zero.
    pub remaining: Usd,
    /// At which shares of the limit an alert is raised.
    pub alert_at: Vec<ShareNumber>,
    /// When the present period ends; `null` for `total`.
    pub resets_at: Option<Time>,
    /// Where `spent` and `held` come from.
    pub source: BalanceSource,
    /// When it was created.
    pub created_at: Time,
    /// When it was last changed.
    pub updated_at: Time,
}

fn owner_parts(owner: BudgetOwner) -> (BudgetScopeName, String) {
    match owner {
        BudgetOwner::Tenant(id) => (BudgetScopeName::Tenant, id.to_string()),
        BudgetOwner::Project(id) => (BudgetScopeName::Project, id.to_string()),
        BudgetOwner::Key(id) => (BudgetScopeName::Key, id.to_string()),
    }
}

impl App {
    async fn budget_owner(
        &self,
        actor: &Actor,
        verb: Verb,
        named: (Option<&str>, Option<&str>, Option<&str>),
    ) -> Result<Option<(TenantId, BudgetOwner)>, AppError> {
        let action = Action::new(verb, Resource::Budget);
        authorize_some(actor, action)?;
        match named {
            (None, None, None) => Ok(None),
            (Some(tenant), None, None) => {
                let id = self.permitted_tenant(actor, action, tenant).await?.id;
                Ok(Some((id, BudgetOwner::Tenant(id))))
            }
            (None, Some(project), None) => {
                let project = self.permitted_project(actor, action, project).await?;
                Ok(Some((project.tenant, BudgetOwner::Project(project.id))))
            }
            (None, None, Some(key)) => {
                let key = self.permitted_key(actor, Verb::Read, key).await?;
                authorize(actor, action, ResourceOwner::Tenant(key.tenant))?;
                Ok(Some((key.tenant, BudgetOwner::Key(key.id))))
            }
            _ => Err(AppError::invalid("", "name only one of `tenant`, `project` and `key`")),
        }
    }

    pub(super) async fn permitted_budget(
        &self,
        actor: &Actor,
        verb: Verb,
        budget: &str,
    ) -> Result<BudgetRecord, AppError> {
        let action = Action::new(verb, Resource::Budget);
        authorize_some(actor, action)?;
        let not_found = || AppError::not_found("budget", budget);
        let id = budget.parse().map_err(|_| not_found())?;
        let record = self.parts.store.budget(id).await.map_err(|error| missing(error, "budget", budget))?;
        match authorize(actor, action, ResourceOwner::Tenant(record.tenant)) {
            Err(AppError::NotFound { .. }) => Err(not_found()),
            other => other.map(|()| record),
        }
    }

    /// Creates a budget. What its owner spent so far in the present period counts.
    ///
    /// # Errors
    /// Forbidden; no such owner; invalid fields; conflict on `window`.
    pub async fn create_budget(&self, actor: &Actor, input: CreateBudget) -> Result<BudgetView, AppError> {
        let named = (input.tenant.as_deref(), input.project.as_deref(), input.key.as_deref());
        let Some((tenant, owner)) = self.budget_owner(actor, Verb::Create, named).await? else {
            return Err(AppError::invalid("", "name one of `tenant`, `project` and `key`"));
        };
        let mut problems = Problems::default();
        let limit = problems.take("limit", limit_amount(&input.limit)).unwrap_or_default();
        let alert_at = problems.take_list("alert_at", alert_shares(&input.alert_at)).unwrap_or_default();
        problems.finish()?;
        let (id, window) = (self.new_id()?, input.window.into());
        let policy = BudgetPolicy { id, owner, window, limit, increases: Vec::new() };
        // The ledger learns what was spent before any pod can charge the new budget.
        self.seed_budget(tenant, &policy).await?;
        let record = self.parts.store.create_alerting_budget(&self.context(actor), policy, alert_at).await?;
        self.parts.alerts.budget_changed(&record);
        self.budget_view(record, &mut self.names()).await
    }

    /// The budget of that id.
    ///
    /// # Errors
    /// Forbidden; not found.
    pub async fn budget(&self, actor: &Actor, budget: &str) -> Result<BudgetView, AppError> {
        let record = self.permitted_budget(actor, Verb::Read, budget).await?;
        self.budget_view(record, &mut self.names()).await
    }

    /// Budgets in the order of their creation.
    ///
    /// # Errors
    /// Forbidden; no such owner; a bad page.
    pub async fn list_budgets(
        &self,
        actor: &Actor,
        query: &BudgetQuery,
    ) -> Result<List<BudgetView>, AppError> {
        let named = (query.tenant.as_deref(), query.project.as_deref(), query.key.as_deref());
        let filter = match self.budget_owner(actor, Verb::Read, named).await? {
            Some((_, BudgetOwner::Tenant(tenant))) => BudgetFilter { tenant: Some(tenant), owner: None },
            Some((_, owner)) => BudgetFilter { tenant: None, owner: Some(owner) },
            None => {
                let tenant = self.tenant_filter(actor, Resource::Budget, None).await?;
                BudgetFilter { tenant, owner: None }
            }
        };
        let list = ListQuery { limit: query.limit, after: query.after.clone() };
        let page = self.parts.store.list_budgets(&filter, list.page()?).await?;
        let mut names = self.names();
        let mut data = Vec::with_capacity(page.items.len());
        for record in page.items {
            data.push(self.budget_view(record, &mut names).await?);
        }
        Ok(List { data, next: page.next.map(|next| next.to_string()) })
    }

    /// Changes a budget's limit.
    ///
    /// # Errors
    /// Forbidden; not found; invalid fields; another `window`.
    pub async fn update_budget(
        &self,
        actor: &Actor,
        budget: &str,
        input: UpdateBudget,
    ) -> Result<BudgetView, AppError> {
        let record = self.permitted_budget(actor, Verb::Update, budget).await?;
        let mut problems = Problems::default();
        let limit = input.limit.and_then(|limit| problems.take("limit", limit_amount(&limit)));
        let alert_at =
            input.alert_at.and_then(|alert_at| problems.take_list("alert_at", alert_shares(&alert_at)));
        if input.window.is_some_and(|window| BudgetWindow::from(window) != record.window) {
            // The ledger counts by budget and period: in other periods, what was spent would count as nothing.
            let text =
                "cannot be changed: create a new budget with this window instead, then delete this one";
            problems.add("window", text);
        }
        problems.finish()?;
        let change = move |record: &mut BudgetRecord| {
            record.limit = limit.unwrap_or(record.limit);
            if let Some(alert_at) = &alert_at {
                record.alert_at.clone_from(alert_at);
            }
        };
        let record = self.parts.store.update_budget(&self.context(actor), record.id, change).await?;
        self.parts.alerts.budget_changed(&record);
        self.budget_view(record, &mut self.names()).await
    }

    /// Deletes a budget.
    ///
    /// # Errors
    /// Forbidden; not found.
    pub async fn delete_budget(&self, actor: &Actor, budget: &str) -> Result<BudgetView, AppError> {
        let record = self.permitted_budget(actor, Verb::Delete, budget).await?;
        let view = self.budget_view(record.clone(), &mut self.names()).await?;
        self.parts.store.delete_budget(&self.context(actor), record.id).await?;
        Ok(view)
    }

    async fn budget_view(&self, record: BudgetRecord, names: &mut Names) -> Result<BudgetView, AppError> {
        let tenant = self.parts.store.tenant(record.tenant).await?;
        let periods = tenant
            .time_zone
            .periods(record.window, self.now())
            .map_err(|error| AppError::Internal(error.to_string()))?;
        let now = self.now();
        let effective = record.effective_limit(now);
        let check = BudgetCheck { budget: record.id, limit: effective, periods };
        let (balance, source) = self.budget_balance(record.tenant, record.owner, check).await?;
        let increases = record.increases.iter().filter(|increase| increase.is_active(now));
        let increases = increases.map(|increase| self.increase_view(increase)).collect();
        let remaining = effective.saturating_sub(balance.settled).saturating_sub(balance.held);
        let (scope, owner_id) = owner_parts(record.owner);
        let is_endless = periods.current == Period::TOTAL;
        Ok(BudgetView {
            id: record.id.to_string(),
            scope,
            owner: names.owner(record.owner).await?,
            owner_id,
            tenant: tenant.name,
            tenant_id: record.tenant.to_string(),
            window: record.window.into(),
            limit: Usd(record.limit),
            effective_limit: Usd(effective),
            increases,
            spent: Usd(balance.settled),
            held: Usd(balance.held),
            remaining: Usd(remaining.max(tollgate_domain::NanoUsd::ZERO)),
            alert_at: record.alert_at.into_iter().map(ShareNumber::from).collect(),
            resets_at: (!is_endless).then_some(Time(periods.current.ends_at)),
            source,
            created_at: Time(record.created_at),
            updated_at: Time(record.updated_at),
        })
    }
}
