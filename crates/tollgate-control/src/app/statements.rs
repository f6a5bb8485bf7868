//! A tenant's statement of one month.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tollgate_domain::{BudgetWindow, NanoUsd, Period, TimeZoneName, UnixMillis};
use tollgate_store::{Statement, TenantRecord};
use utoipa::{IntoParams, ToSchema};

use super::App;
use super::credits::CreditReason;
use crate::parts::{Time, Usd};
use crate::{Action, Actor, AppError, Resource, Verb};

/// Which statement. Unknown fields are left to the caller, which may add its own (`format`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
pub struct StatementQuery {
    /// The month in the tenant's time zone; the present one where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(example = "2026-11")]
    pub month: Option<String>,
}

/// What was added to the wallet or taken out, without the charges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatementCreditView {
    /// The credit's id.
    pub id: String,
    /// Why.
    pub kind: CreditReason,
    /// How much; negative where it was taken out.
    pub amount: Usd,
    /// When.
    pub at: Time,
    /// The caller's own name for it.
    pub reference: Option<String>,
}

/// All credits of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatementKindView {
    /// The kind.
    pub kind: CreditReason,
    /// Their sum.
    pub amount: Usd,
}

/// What was charged for a model in a project on a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatementChargeView {
    /// The day in the tenant's time zone.
    #[schema(example = "2026-11-22")]
    pub day: String,
    /// The project's name; `null` where it is gone without a trace.
    pub project: Option<String>,
    /// The project's id.
    pub project_id: String,
    /// The provider that answered.
    pub provider: String,
    /// The model that answered.
    pub model: String,
    /// Finished requests, those that cost nothing as well.
    pub requests: u64,
    /// What they cost.
    pub cost: Usd,
}

/// A sum of charges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatementSumView {
    /// Of what: a project's name (its id where it has none any more), `provider/model`, or a day.
    pub name: String,
    /// Finished requests.
    pub requests: u64,
    /// What they cost.
    pub cost: Usd,
}

/// A month of a tenant: `opening_balance` and all `credits` less all `charges` is `closing_balance`, to the
/// nano-dollar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatementView {
    /// The tenant's name.
    pub tenant: String,
    /// The tenant's id.
    pub tenant_id: String,
    /// The month.
    #[schema(example = "2026-11")]
    pub month: String,
    /// Whose calendar.
    pub time_zone: String,
    /// Its first moment.
    pub from: Time,
    /// The first moment after it.
    pub to: Time,
    /// When the statement was made: a month that has not ended goes on.
    pub made_at: Time,
    /// All credit less all charges before it; below zero where the tenant pays by invoice.
    pub opening_balance: Usd,
    /// What was added and taken out by kind.
    pub credits_by_kind: Vec<StatementKindView>,
    /// The same one by one.
    pub credits: Vec<StatementCreditView>,
    /// What requests admitted in the month were charged in all.
    pub charged: Usd,
    /// By project, the dearest first.
    pub charges_by_project: Vec<StatementSumView>,
    /// By model, the dearest first.
    pub charges_by_model: Vec<StatementSumView>,
    /// By day.
    pub charges_by_day: Vec<StatementSumView>,
    /// One by one.
    pub charges: Vec<StatementChargeView>,
    /// All credit less all charges at its end, or up to now.
    pub closing_balance: Usd,
}

impl App {
    /// A tenant's month, all from the journal.
    ///
    /// # Errors
    /// Forbidden; not found; a month that is none or has not begun.
    pub async fn statement(
        &self,
        actor: &Actor,
        tenant: &str,
        query: &StatementQuery,
    ) -> Result<StatementView, AppError> {
        let read = Action::new(Verb::Read, Resource::Balance);
        let tenant = self.permitted_tenant(actor, read, tenant).await?;
        let now = self.now();
        let middle = match &query.month {
            Some(month) => middle_of(month).ok_or_else(|| {
                AppError::invalid("month", "is no month: write the year and the month, like 2026-11")
            })?,
            None => now,
        };
        let outside = |error| AppError::invalid("month", error);
        let month = tenant.time_zone.periods(BudgetWindow::Month, middle).map_err(outside)?.current;
        if month.starts_at > now {
            return Err(AppError::invalid("month", "has not begun yet"));
        }
        let days = days(&tenant.time_zone, month)?;
        let statement = self.parts.store.statement(tenant.id, &days).await?;
        let name = match &query.month {
            Some(month) => month.clone(),
            None => name_of_month(month),
        };
        Ok(view(tenant, name, month, now, statement))
    }
}

/// A moment inside the month in every time zone.
fn middle_of(month: &str) -> Option<UnixMillis> {
    let is_shaped = month.len() == 7
        && month
            .bytes()
            .enumerate()
            .all(|(at, byte)| if at == 4 { byte == b'-' } else { byte.is_ascii_digit() });
    is_shaped.then(|| UnixMillis::parse_rfc3339(&format!("{month}-15T00:00:00Z")).ok()).flatten()
}

/// The year and month that a moment in the middle of it has everywhere.
fn name_of_month(month: Period) -> String {
    const MIDDLE_MS: i64 = 14 * 86_400_000;
    month.starts_at.plus_ms(MIDDLE_MS).to_string().chars().take(7).collect()
}

fn days(zone: &TimeZoneName, month: Period) -> Result<Vec<Period>, AppError> {
    let (mut days, mut at) = (Vec::with_capacity(31), month.starts_at);
    while at < month.ends_at {
        let day = zone.periods(BudgetWindow::Day, at).map_err(|error| AppError::invalid("month", error))?;
        days.push(day.current);
        at = day.current.ends_at;
    }
    Ok(days)
}

fn view(
    tenant: TenantRecord,
    month: String,
    period: Period,
    now: UnixMillis,
    statement: Statement,
) -> StatementView {
    let charges: Vec<StatementChargeView> = statement
        .charges
        .into_iter()
        .map(|charge| StatementChargeView {
            day: format!("{month}-{:02}", charge.day + 1),
            project: charge.project_name,
            project_id: charge.project.to_string(),
            provider: charge.provider,
            model: charge.model,
            requests: charge.requests,
            cost: Usd(charge.cost),
        })
        .collect();
    let credits: Vec<StatementCreditView> = statement
        .postings
        .into_iter()
        .filter_map(|posting| {
            Some(StatementCreditView {
                id: posting.id.to_string(),
                kind: CreditReason::of_journal(posting.kind)?,
                amount: Usd(posting.amount),
                at: Time(posting.at),
                reference: posting.reference,
            })
        })
        .collect();
    let of_project =
        |charge: &StatementChargeView| charge.project.clone().unwrap_or_else(|| charge.project_id.clone());
    StatementView {
        tenant: tenant.name,
        tenant_id: tenant.id.to_string(),
        month,
        time_zone: tenant.time_zone.name().to_owned(),
        from: Time(period.starts_at),
        to: Time(period.ends_at),
        made_at: Time(now),
        opening_balance: Usd(statement.opening),
        credits_by_kind: by_kind(&credits),
        credits,
        charged: Usd(statement.charged),
        charges_by_project: dearest_first(sums(&charges, of_project)),
        charges_by_model: dearest_first(sums(&charges, |charge| {
            format!("{}/{}", charge.provider, charge.model)
        })),
        charges_by_day: sums(&charges, |charge| charge.day.clone()),
        charges,
        closing_balance: Usd(statement.closing),
    }
}

fn by_kind(credits: &[StatementCreditView]) -> Vec<StatementKindView> {
    let mut kinds = Vec::new();
    for kind in CreditReason::ALL {
        let mut of_kind = credits.iter().filter(|credit| credit.kind == kind).peekable();
        if of_kind.peek().is_some() {
            let amount = of_kind.fold(NanoUsd::ZERO, |sum, credit| sum.saturating_add(credit.amount.0));
            kinds.push(StatementKindView { kind, amount: Usd(amount) });
        }
    }
    kinds
}

fn sums(
    charges: &[StatementChargeView],
    name: impl Fn(&StatementChargeView) -> String,
) -> Vec<StatementSumView> {
    let mut sums = BTreeMap::<String, (u64, NanoUsd)>::new();
    for charge in charges {
        let (requests, cost) = sums.entry(name(charge)).or_default();
        *requests += charge.requests;
        *cost = cost.saturating_add(charge.cost.0);
    }
    let view = |(name, (requests, cost))| StatementSumView { name, requests, cost: Usd(cost) };
    sums.into_iter().map(view).collect()
}

fn dearest_first(mut sums: Vec<StatementSumView>) -> Vec<StatementSumView> {
    sums.sort_by_key(|sum| std::cmp::Reverse(sum.cost));
    sums
}
