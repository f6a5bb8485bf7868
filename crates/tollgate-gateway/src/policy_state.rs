//! The snapshot in force. A candidate replaces it only after it was validated whole; reading is lock-free.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::sync::watch;
use tollgate_catalog::Catalog;
use tollgate_policy::{PolicySet, Snapshot, SnapshotError};
use tollgate_telemetry::Metrics;

/// A candidate this many times larger than the policy in force is taken for a mistake.
const MAX_GROWTH_FACTOR: usize = 10;
/// Below this many objects growth is never a mistake: an empty installation is being filled.
const GROWTH_FREE_OBJECTS: usize = 10_000;

/// Why a candidate was refused; the policy in force stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyRefused {
    /// It does not validate.
    #[error(transparent)]
    Invalid(#[from] SnapshotError),
    /// It is absurdly larger than the policy in force.
    #[error("the policy grew from {from} to {to} objects at once: refused as a mistake")]
    TooLarge {
        /// Objects in force.
        from: usize,
        /// Objects offered.
        to: usize,
    },
}

/// The snapshot in force, shared by all requests.
#[derive(Clone, Debug)]
pub struct PolicyState {
    current: Arc<ArcSwapOption<Snapshot>>,
    revision: Arc<watch::Sender<Option<u64>>>,
    catalog: Arc<Catalog>,
    metrics: Metrics,
}

impl PolicyState {
    /// No policy yet.
    #[must_use]
    pub fn new(catalog: Arc<Catalog>, metrics: Metrics) -> Self {
        let revision = Arc::new(watch::Sender::new(None));
        Self { current: Arc::new(ArcSwapOption::empty()), revision, catalog, metrics }
    }

    /// Validates a candidate and puts it in force.
    ///
    /// # Errors
    /// [`PolicyRefused`]; nothing changed then.
    pub fn offer(&self, set: &PolicySet, revision: u64) -> Result<(), PolicyRefused> {
        let outcome = self.validate(set, revision);
        match outcome {
            Ok(snapshot) => {
                self.current.store(Some(Arc::new(snapshot)));
                self.metrics.set_policy_revision(revision);
                self.revision.send_replace(Some(revision));
                Ok(())
            }
            Err(refused) => {
                self.metrics.policy_rejected();
                Err(refused)
            }
        }
    }

    fn validate(&self, set: &PolicySet, revision: u64) -> Result<Snapshot, PolicyRefused> {
        if let Some(current) = self.current.load().as_ref() {
            let (from, to) = (current.n_objects(), set.len());
            if to > GROWTH_FREE_OBJECTS && to > from.saturating_mul(MAX_GROWTH_FACTOR) {
                return Err(PolicyRefused::TooLarge { from, to });
            }
        }
        Ok(Snapshot::compile(set, revision, &self.catalog)?)
    }

    /// The snapshot in force, pinned; `None` before the first.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Snapshot>> {
        self.current.load_full()
    }

    /// The revision in force as it changes; `None` before the first.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Option<u64>> {
        self.revision.subscribe()
    }

    /// Whether there is a policy to serve under.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.current.load().is_some()
    }
}
