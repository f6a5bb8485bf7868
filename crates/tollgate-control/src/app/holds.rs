//! Holds: money that is kept for requests under way.

use serde::{Deserialize, Serialize};
use tollgate_ledger::HoldView as LedgerHold;
use utoipa::{IntoParams, ToSchema};

use super::{App, List};
use crate::parts::{Time, Usd};
use crate::{Action, Actor, AppError, Resource, Verb};

/// How many holds a page has when nobody says, and at most.
const DEFAULT_PAGE: u32 = 100;
const MAX_PAGE: u32 = 1_000;

/// Whose holds are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HoldQuery {
    /// The tenant, by id or name.
    pub tenant: String,
    /// About how many at most; 100 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// Money that is kept for one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HoldView {
    /// The request's id.
    pub id: String,
    /// The key's id.
    pub key_id: String,
    /// The pod that serves it.
    pub node_id: String,
    /// What is held.
    pub amount: Usd,
    /// What the request had cost when its pod last said so.
    pub progress: Usd,
    /// When it was admitted.
    pub admitted_at: Time,
    /// Whole seconds since then.
    pub age_seconds: u64,
    /// Until when its pod has renewed it.
    pub lease_until: Time,
    /// Whether that has passed: its pod is gone, and it will be settled at what is known.
    pub suspect: bool,
    /// Whether the tenant's wallet pays.
    pub wallet: bool,
    /// The ids of the budgets that it counts against.
    pub budget_ids: Vec<String>,
}

impl App {
    /// A tenant's holds, in no particular order.
    ///
    /// # Errors
    /// Forbidden; not found; a bad page; the ledger is unavailable.
    pub async fn list_holds(&self, actor: &Actor, query: &HoldQuery) -> Result<List<HoldView>, AppError> {
        let read = Action::new(Verb::Read, Resource::Balance);
        let tenant = self.permitted_tenant(actor, read, &query.tenant).await?;
        let limit = query.limit.unwrap_or(DEFAULT_PAGE);
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(AppError::invalid("limit", format!("must be within 1 and {MAX_PAGE}")));
        }
        let max = usize::try_from(limit).unwrap_or(usize::MAX);
        let page = self.parts.ledger.list_holds(tenant.id, query.after.as_deref(), max).await;
        let page = page.map_err(|error| match error {
            tollgate_ledger::LedgerError::Invalid(_) => {
                AppError::invalid("after", "is no cursor: pass `next` of the page before")
            }
            other => other.into(),
        })?;
        let data = page.holds.iter().map(|hold| self.hold_view(hold)).collect();
        Ok(List { data, next: page.next })
    }

    fn hold_view(&self, hold: &LedgerHold) -> HoldView {
        let age_ms = self.now().since(hold.admitted_at);
        HoldView {
            id: hold.hold.to_string(),
            key_id: hold.key.to_string(),
            node_id: hold.node.to_string(),
            amount: Usd(hold.amount),
            progress: Usd(hold.progress),
            admitted_at: Time(hold.admitted_at),
            age_seconds: u64::try_from(age_ms / 1_000).unwrap_or(0),
            lease_until: Time(hold.lease_until),
            suspect: hold.is_suspect,
            wallet: hold.wallet != tollgate_ledger::WalletRule::None,
            budget_ids: hold.budgets.iter().map(|held| held.budget.to_string()).collect(),
        }
    }
}
