//! The pods and the policy each of them serves.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{App, List};
use crate::parts::Time;
use crate::{Action, Actor, AppError, Resource, ResourceOwner, Verb, authorize};

/// Pods take a change within milliseconds; one that is slow or gone must not hold up its administrator longer.
const ROLLOUT_TIMEOUT: Duration = Duration::from_secs(1);

/// A revision that a pod refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeRefusalView {
    /// Which one.
    pub revision: u64,
    /// Why.
    pub reason: String,
}

/// A pod, as this replica of the control plane knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeView {
    /// Identity.
    pub id: String,
    /// Its name, for people.
    pub name: String,
    /// Version of its program.
    pub version: String,
    /// Whether its stream is open.
    pub connected: bool,
    /// The revision it serves; 0 for none.
    pub revision: u64,
    /// How many revisions it is behind.
    pub lag: u64,
    /// The last revision it refused, or that was kept from it because no pod could serve it, where it has not
    /// taken a later one since.
    pub refused: Option<NodeRefusalView>,
    /// When it was last heard of.
    pub last_seen_at: Time,
}

impl App {
    /// The pods, by name.
    ///
    /// # Errors
    /// Forbidden; the database is unavailable.
    pub async fn list_nodes(&self, actor: &Actor) -> Result<List<NodeView>, AppError> {
        authorize(actor, Action::new(Verb::Read, Resource::Node), ResourceOwner::Installation)?;
        let newest = self.parts.store.policy_revision().await?;
        let mut nodes: Vec<NodeView> =
            self.parts.nodes.all().into_iter().map(|node| node.view(newest)).collect();
        nodes.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        Ok(List { data: nodes, next: None })
    }

    /// Waits until every pod that watches this replica serves what is stored now, at most
    /// a second: who changes policy and is answered can count on it.
    pub async fn rolled_out(&self) {
        let Ok(revision) = self.parts.store.policy_revision().await else { return };
        if tokio::time::timeout(ROLLOUT_TIMEOUT, self.parts.nodes.reached(revision)).await.is_err() {
            tracing::warn!(revision, "not every pod has the newest policy yet; GET /nodes tells which");
        }
    }
}
