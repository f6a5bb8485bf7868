//! Budgets that are raised for a time.

use std::collections::HashMap;

use serde::Serialize;
use tollgate_domain::{BudgetId, BudgetIncreaseId, MAX_LIMIT, NanoUsd, UnixMillis};
use tollgate_policy::{BudgetIncrease, effective_limit};

use crate::budgets;
use crate::db::{Row, Sql};
use crate::store::{Tx, run_tx};
use crate::{BudgetRecord, Page, PageRequest, Store, StoreError, WriteContext};

/// Increases of one budget that hold at the same time: each travels to every pod.
pub const MAX_ACTIVE_INCREASES: usize = 16;
/// Budgets per query: far below what either database takes as parameters.
const MAX_IDS: usize = 500;

/// The columns of an increase, with conditions.
macro_rules! select {
    ($conditions:literal) => {
        concat!(
            "SELECT id, budget_id, amount_nano_usd, until_ms, reason, actor, created_at_ms, ended_at_ms
             FROM budget_increases",
            $conditions
        )
    };
}

/// An amount by which a budget is raised until a moment, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BudgetIncreaseRecord {
    /// Identity.
    pub id: BudgetIncreaseId,
    /// How much; above zero.
    pub amount: NanoUsd,
    /// The first moment at which it does not hold any more.
    pub until: UnixMillis,
    /// Why, where somebody said so.
    pub reason: Option<String>,
    /// Who raised it.
    pub actor: String,
    /// When.
    pub created_at: UnixMillis,
    /// When it was taken back, or when it ended; `None` while it holds, and until its end is noticed.
    pub ended_at: Option<UnixMillis>,
}

/// A budget to be raised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewBudgetIncrease {
    /// Identity.
    pub id: BudgetIncreaseId,
    /// How much; above zero.
    pub amount: NanoUsd,
    /// The first moment at which it does not hold any more; after the write.
    pub until: UnixMillis,
    /// Why.
    pub reason: Option<String>,
}

impl BudgetIncreaseRecord {
    /// The increase as the pods see it.
    #[must_use]
    pub fn to_policy(&self) -> BudgetIncrease {
        BudgetIncrease { amount: self.amount, until: self.until }
    }

    /// Whether it holds at `now`.
    #[must_use]
    pub fn is_active(&self, now: UnixMillis) -> bool {
        self.ended_at.is_none() && self.until > now
    }
}

impl BudgetRecord {
    /// What it allows at `now`: its limit and every increase that holds then.
    #[must_use]
    pub fn effective_limit(&self, now: UnixMillis) -> NanoUsd {
        let increases: Vec<BudgetIncrease> =
            self.increases.iter().map(BudgetIncreaseRecord::to_policy).collect();
        effective_limit(self.limit, &increases, now)
    }
}

impl Store {
    /// Raises a budget for a time. Answers the budget as it is now.
    ///
    /// # Errors
    /// `NotFound` without the budget; `Conflict` on `amount` where the sum could not be counted, or where the
    /// budget has as many active increases as it may have.
    pub async fn create_budget_increase(
        &self,
        ctx: &WriteContext,
        budget: BudgetId,
        increase: NewBudgetIncrease,
    ) -> Result<BudgetRecord, StoreError> {
        run_tx!(self, "create_budget_increase", |tx| {
            tx.lock_policy().await?;
            let before = require(tx, budget).await?;
            let mut after = before.clone();
            after.increases.retain(|known| known.is_active(ctx.now));
            if after.increases.len() >= MAX_ACTIVE_INCREASES {
                let message = format!(
                    "the budget has {MAX_ACTIVE_INCREASES} increases that are not over: take one back first, \
                     or raise its limit"
                );
                return Err(StoreError::conflict("budget", "amount", message));
            }
            let raised = after.effective_limit(ctx.now).checked_add(increase.amount);
            if raised.is_none_or(|sum| sum > MAX_LIMIT) {
                let message = format!("with it the budget would allow more than {MAX_LIMIT} USD: write less");
                return Err(StoreError::conflict("budget", "amount", message));
            }
            end_what_is_over(tx, budget, ctx.now).await?;
            let record = BudgetIncreaseRecord {
                id: increase.id,
                amount: increase.amount,
                until: increase.until,
                reason: increase.reason.clone(),
                actor: ctx.actor.clone(),
                created_at: ctx.now,
                ended_at: None,
            };
            insert(tx, budget, &record).await?;
            after.increases.push(record);
            touch(tx, ctx, &mut after).await?;
            tx.record_policy(ctx, "increase", Some(&before), Some(&after)).await?;
            Ok(after)
        })
    }

    /// Takes an increase back before its end. Again, or after its end: no change. Answers the increase.
    ///
    /// # Errors
    /// `NotFound` without the budget, or where it never had this increase.
    pub async fn end_budget_increase(
        &self,
        ctx: &WriteContext,
        budget: BudgetId,
        increase: BudgetIncreaseId,
    ) -> Result<BudgetIncreaseRecord, StoreError> {
        run_tx!(self, "end_budget_increase", |tx| {
            tx.lock_policy().await?;
            let before = require(tx, budget).await?;
            let found = tx.sql(select!(" WHERE budget_id = $1 AND id = $2")).id(budget).id(increase);
            let found = found.read_optional(read).await?;
            let (_, mut found) = found.ok_or_else(|| StoreError::not_found("budget increase", increase))?;
            if !found.is_active(ctx.now) {
                return Ok(found);
            }
            end_what_is_over(tx, budget, ctx.now).await?;
            let end = "UPDATE budget_increases SET ended_at_ms = $2 WHERE id = $1";
            tx.sql(end).id(increase).bind(ctx.now.0).execute_one().await?;
            found.ended_at = Some(ctx.now);
            let mut after = before.clone();
            after.increases.retain(|known| known.is_active(ctx.now) && known.id != increase);
            touch(tx, ctx, &mut after).await?;
            tx.record_policy(ctx, "end_increase", Some(&before), Some(&after)).await?;
            Ok(found)
        })
    }

    /// All increases that a budget ever had, the eldest first.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn list_budget_increases(
        &self,
        budget: BudgetId,
        page: PageRequest<BudgetIncreaseId>,
    ) -> Result<Page<BudgetIncreaseRecord, BudgetIncreaseId>, StoreError> {
        let mut reader = self.reader();
        let items = reader
            .sql(select!(" WHERE budget_id = $1"))
            .id(budget)
            .filter(" AND id > ", page.after.map(|id| id.as_uuid()))
            .push(" ORDER BY id LIMIT ")
            .push_bind(page.fetch())
            .read_all(read)
            .await?;
        let items = items.into_iter().map(|(_, increase)| increase).collect();
        Ok(Page::cut(items, page.rows(), |increase| increase.id))
    }
}

async fn require(tx: &mut Tx, budget: BudgetId) -> Result<BudgetRecord, StoreError> {
    budgets::find(tx, budget).await?.ok_or_else(|| StoreError::not_found("budget", budget))
}

// === SQL ===

/// Adds to budgets what they were raised by.
pub(crate) async fn attach(db: &mut impl Sql, budgets: &mut [BudgetRecord]) -> Result<(), StoreError> {
    for part in budgets.chunks_mut(MAX_IDS) {
        let mut query = db.sql(select!(" WHERE ended_at_ms IS NULL AND budget_id IN ("));
        for (index, budget) in part.iter().enumerate() {
            query = query.push(if index == 0 { "" } else { ", " }).push_bind(budget.id.as_uuid());
        }
        let found = query.push(") ORDER BY id").read_all(read).await?;
        give(part, found);
    }
    Ok(())
}

/// The same for all budgets that there are.
pub(crate) async fn attach_all(db: &mut impl Sql, budgets: &mut [BudgetRecord]) -> Result<(), StoreError> {
    let found = db.sql(select!(" WHERE ended_at_ms IS NULL ORDER BY id")).read_all(read).await?;
    give(budgets, found);
    Ok(())
}

fn give(budgets: &mut [BudgetRecord], found: Vec<(BudgetId, BudgetIncreaseRecord)>) {
    let mut of_budgets: HashMap<BudgetId, Vec<BudgetIncreaseRecord>> = HashMap::new();
    for (budget, increase) in found {
        of_budgets.entry(budget).or_default().push(increase);
    }
    for budget in budgets {
        budget.increases = of_budgets.remove(&budget.id).unwrap_or_default();
    }
}

/// What the policy need not know any more.
async fn end_what_is_over(tx: &mut Tx, budget: BudgetId, now: UnixMillis) -> Result<(), StoreError> {
    let end = "UPDATE budget_increases SET ended_at_ms = until_ms
        WHERE budget_id = $1 AND ended_at_ms IS NULL AND until_ms <= $2";
    tx.sql(end).id(budget).bind(now.0).execute().await.map(drop)
}

async fn touch(tx: &mut Tx, ctx: &WriteContext, budget: &mut BudgetRecord) -> Result<(), StoreError> {
    budget.updated_at = ctx.now;
    let touch = "UPDATE budgets SET updated_at_ms = $2 WHERE id = $1";
    tx.sql(touch).id(budget.id).bind(ctx.now.0).execute_one().await
}

async fn insert(tx: &mut Tx, budget: BudgetId, increase: &BudgetIncreaseRecord) -> Result<(), StoreError> {
    tx.sql(
        "INSERT INTO budget_increases
             (id, budget_id, amount_nano_usd, until_ms, reason, actor, created_at_ms, ended_at_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .id(increase.id)
    .id(budget)
    .bind(increase.amount.0)
    .bind(increase.until.0)
    .bind(increase.reason.as_deref())
    .bind(&increase.actor)
    .bind(increase.created_at.0)
    .moment(increase.ended_at)
    .execute_one()
    .await
}

fn read(row: &Row) -> Result<(BudgetId, BudgetIncreaseRecord), StoreError> {
    let increase = BudgetIncreaseRecord {
        id: row.id("id")?,
        amount: row.money("amount_nano_usd")?,
        until: row.moment("until_ms")?,
        reason: row.get("reason")?,
        actor: row.get("actor")?,
        created_at: row.moment("created_at_ms")?,
        ended_at: row.optional_moment("ended_at_ms")?,
    };
    Ok((row.id("budget_id")?, increase))
}
