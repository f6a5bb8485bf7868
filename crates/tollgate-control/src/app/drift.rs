//! The ledger's counters against the journal, on demand.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::App;
use crate::parts::{Time, Usd};
use crate::{Action, Actor, AppError, Resource, ResourceOwner, Verb, authorize};

/// How a comparison stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DriftState {
    /// There was none since this replica started.
    #[default]
    None,
    /// It is under way.
    Running,
    /// It was finished: `drifts` says what was found.
    Done,
    /// It could not be finished: nothing is known.
    Failed,
}

/// How the comparison is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DriftQuery {
    /// Write what differs anew from the journal and the pods' holds; else it is only told.
    #[serde(default)]
    pub repair: bool,
}

/// A counter of the ledger that is not what the journal says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DriftFindingView {
    /// The tenant's name.
    pub tenant: String,
    /// The tenant's id.
    pub tenant_id: String,
    /// `wallet_limit`, `wallet_settled` or `budget_settled`.
    pub counter: String,
    /// The budget, where it is one's.
    pub budget_id: Option<String>,
    /// What the journal says.
    pub expected: Usd,
    /// What the ledger has.
    pub found: Usd,
    /// Whether the tenant was written anew.
    pub repaired: bool,
}

/// The latest comparison of this replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DriftView {
    /// How it stands.
    pub state: DriftState,
    /// Whether what differs is repaired.
    pub repair: bool,
    /// When it began.
    pub started_at: Option<Time>,
    /// When it ended.
    pub finished_at: Option<Time>,
    /// Why it could not be finished.
    pub error: Option<String>,
    /// Tenants whose counters were compared.
    pub tenants: u64,
    /// Tenants that were not: the ledger does not know them or does not answer, or their charges are on their way.
    pub tenants_not_compared: u64,
    /// What differs; at most a thousand.
    pub drifts: Vec<DriftFindingView>,
    /// How many more differences there are.
    pub more_drifts: u64,
}

impl App {
    /// Begins a comparison, unless one is under way, and answers how it stands.
    ///
    /// # Errors
    /// Forbidden.
    pub fn start_drift(&self, actor: &Actor, query: DriftQuery) -> Result<DriftView, AppError> {
        let verb = if query.repair { Verb::Update } else { Verb::Read };
        authorize(actor, Action::new(verb, Resource::Balance), ResourceOwner::Installation)?;
        Ok(self.parts.drifts.start(self.now(), query.repair))
    }

    /// How the latest comparison stands.
    ///
    /// # Errors
    /// Forbidden.
    pub fn drift(&self, actor: &Actor) -> Result<DriftView, AppError> {
        authorize(actor, Action::new(Verb::Read, Resource::Balance), ResourceOwner::Installation)?;
        Ok(self.parts.drifts.latest())
    }
}
