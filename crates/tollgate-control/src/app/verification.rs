//! The proof that the books are right, on demand.

use serde::{Deserialize, Serialize};
use tollgate_store::Finding;
use utoipa::ToSchema;

use super::App;
use crate::parts::Time;
use crate::{Action, Actor, AppError, Resource, ResourceOwner, Verb, authorize};

/// What findings about the ledger name as their table.
pub(crate) const LEDGER_TABLE: &str = "ledger";

/// How a verification stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum VerificationState {
    /// None was asked for since this replica started.
    #[default]
    None,
    /// It is under way.
    Running,
    /// Everything is as it follows from the rows.
    Green,
    /// Something is not.
    Red,
    /// It could not be finished: nothing is known.
    Failed,
}

/// A stored value that is not what it follows from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FindingView {
    /// The table, or `ledger`.
    pub table: String,
    /// The row: its id, or for a sum what it is of.
    pub id: String,
    /// Which value.
    pub what: String,
    /// What it follows to be.
    pub expected: String,
    /// What is stored.
    pub found: String,
}

impl From<Finding> for FindingView {
    fn from(finding: Finding) -> Self {
        let Finding { table, id, what, expected, found } = finding;
        Self { table, id, what, expected, found }
    }
}

/// The latest verification of this replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VerificationView {
    /// How it stands.
    pub state: VerificationState,
    /// When it began.
    pub started_at: Option<Time>,
    /// When it ended.
    pub finished_at: Option<Time>,
    /// Why it could not be finished.
    pub error: Option<String>,
    /// Finished requests that were looked at.
    pub requests: u64,
    /// Credits that were looked at.
    pub credits: u64,
    /// Double entries that were looked at, without the charges, which are the requests.
    pub entries: u64,
    /// Tenants' totals that were looked at.
    pub wallet_totals: u64,
    /// Sums per owner and quarter of an hour that were looked at.
    pub spend_quarters: u64,
    /// Sums per end user, key and quarter of an hour that were looked at.
    pub end_user_quarters: u64,
    /// Wallets in the ledger that were compared with the journal.
    pub wallets: u64,
    /// Wallets that were not: the ledger does not know them or does not answer, or their charges did not come to
    /// rest in time.
    pub wallets_not_compared: u64,
    /// What is wrong; at most a thousand.
    pub findings: Vec<FindingView>,
    /// How many more differences there are.
    pub more_findings: u64,
}

impl App {
    /// Begins a verification, unless one is under way, and answers how it stands.
    ///
    /// # Errors
    /// Forbidden.
    pub fn start_verification(&self, actor: &Actor) -> Result<VerificationView, AppError> {
        self.may_verify(actor)?;
        Ok(self.parts.verifications.start(self.now()))
    }

    /// How the latest verification stands.
    ///
    /// # Errors
    /// Forbidden.
    pub fn verification(&self, actor: &Actor) -> Result<VerificationView, AppError> {
        self.may_verify(actor)?;
        Ok(self.parts.verifications.latest())
    }

    /// It is about everybody's money.
    #[expect(clippy::unused_self, reason = "permissions are a matter of the use cases")]
    fn may_verify(&self, actor: &Actor) -> Result<(), AppError> {
        authorize(actor, Action::new(Verb::Read, Resource::Balance), ResourceOwner::Installation)
    }
}
