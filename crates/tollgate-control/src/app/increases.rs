//! Budgets that are raised for a time.

use serde::{Deserialize, Serialize};
use tollgate_domain::{BudgetIncreaseId, NanoUsd};
use tollgate_store::{BudgetIncreaseRecord, NewBudgetIncrease};
use utoipa::ToSchema;

use super::lookup::missing;
use super::{App, List, ListQuery};
use crate::error::Problems;
use crate::parts::{Time, Usd, limit_amount, time};
use crate::{Actor, AppError, Verb};

/// Longest time for which a budget is raised: what is meant for longer is another limit.
const MAX_DAYS: i64 = 366;
const DAY_MS: i64 = 86_400_000;
/// Longest reason, in characters.
const MAX_REASON_CHARS: usize = 500;

/// A budget to be raised for a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateBudgetIncrease {
    /// By how much, in USD; above zero.
    #[schema(example = "50.00")]
    pub amount: String,
    /// Until when (RFC 3339), at most 366 days from now. From then on the budget's own limit holds again; what
    /// was spent by then stays spent.
    #[schema(example = "2027-01-01T00:00:00Z")]
    pub until: String,
    /// Why; it also stands in the audit log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// An amount by which a budget is raised for a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BudgetIncreaseView {
    /// Identity.
    pub id: String,
    /// By how much.
    pub amount: Usd,
    /// Until when.
    pub until: Time,
    /// Whether it holds now.
    pub active: bool,
    /// Why.
    pub reason: Option<String>,
    /// Who raised the budget.
    pub created_by: String,
    /// When it was raised.
    pub created_at: Time,
    /// When it was taken back, or had ended; `null` while it holds.
    pub ended_at: Option<Time>,
}

impl App {
    pub(super) fn increase_view(&self, record: &BudgetIncreaseRecord) -> BudgetIncreaseView {
        let now = self.now();
        let is_over = (record.until <= now).then_some(record.until);
        BudgetIncreaseView {
            id: record.id.to_string(),
            amount: Usd(record.amount),
            until: Time(record.until),
            active: record.is_active(now),
            reason: record.reason.clone(),
            created_by: record.actor.clone(),
            created_at: Time(record.created_at),
            ended_at: record.ended_at.or(is_over).map(Time),
        }
    }

    /// Raises a budget for a time.
    ///
    /// # Errors
    /// Forbidden; not found; invalid fields; conflict on `amount` where the budget would allow more than can be
    /// counted, or has too many increases already.
    pub async fn create_budget_increase(
        &self,
        actor: &Actor,
        budget: &str,
        input: CreateBudgetIncrease,
    ) -> Result<BudgetIncreaseView, AppError> {
        let record = self.permitted_budget(actor, Verb::Update, budget).await?;
        let mut problems = Problems::default();
        let amount = problems.take("amount", limit_amount(&input.amount));
        if amount == Some(NanoUsd::ZERO) {
            problems.add("amount", "must be above zero");
        }
        let until = problems.take("until", time(&input.until));
        let (now, last) = (self.now(), self.now().plus_ms(MAX_DAYS * DAY_MS));
        if until.is_some_and(|until| until <= now || until > last) {
            problems.add("until", format!("must be in the future, at most {MAX_DAYS} days from now"));
        }
        if input.reason.as_ref().is_some_and(|reason| reason.chars().count() > MAX_REASON_CHARS) {
            problems.add("reason", format!("must be at most {MAX_REASON_CHARS} characters"));
        }
        problems.finish()?;
        let (Some(amount), Some(until)) = (amount, until) else {
            return Err(AppError::Internal("a checked increase has no amount or no end".to_owned()));
        };
        let id = self.new_id()?;
        let mut context = self.context(actor);
        context.reason.clone_from(&input.reason);
        let increase = NewBudgetIncrease { id, amount, until, reason: input.reason };
        let raised = self.parts.store.create_budget_increase(&context, record.id, increase).await?;
        let increase = raised.increases.iter().find(|increase| increase.id == id);
        let missing = || AppError::Internal("a stored increase is not there".to_owned());
        increase.map(|increase| self.increase_view(increase)).ok_or_else(missing)
    }

    /// Every increase a budget ever had, the eldest first.
    ///
    /// # Errors
    /// Forbidden; not found; a bad page.
    pub async fn list_budget_increases(
        &self,
        actor: &Actor,
        budget: &str,
        query: &ListQuery,
    ) -> Result<List<BudgetIncreaseView>, AppError> {
        let record = self.permitted_budget(actor, Verb::Read, budget).await?;
        let page = self.parts.store.list_budget_increases(record.id, query.page()?).await?;
        Ok(List::of(page, |increase| self.increase_view(&increase)))
    }

    /// Takes an increase back before its end. What is spent or held above the lower limit stays: the budget is
    /// spent then. One that has ended stays as it is.
    ///
    /// # Errors
    /// Forbidden; not found.
    pub async fn delete_budget_increase(
        &self,
        actor: &Actor,
        budget: &str,
        increase: &str,
    ) -> Result<BudgetIncreaseView, AppError> {
        let record = self.permitted_budget(actor, Verb::Update, budget).await?;
        let not_found = |_| AppError::not_found("budget increase", increase);
        let id: BudgetIncreaseId = increase.parse().map_err(not_found)?;
        let ended = self.parts.store.end_budget_increase(&self.context(actor), record.id, id).await;
        let ended = ended.map_err(|error| missing(error, "budget increase", increase))?;
        Ok(self.increase_view(&ended))
    }
}
