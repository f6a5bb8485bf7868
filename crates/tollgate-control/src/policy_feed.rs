//! Policy as it is now: compiled from the store, kept current by its notifications with a poll behind them,
//! handed to the in-process gateway whole and to watching pods as changes. What pods would refuse is withheld:
//! the last good version stays.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tollgate_catalog::Catalog;
use tollgate_policy::{ObjectKind, ObjectRef, PolicyChange, PolicySet, Snapshot};
use tollgate_store::{PolicyListener, PolicyRecord, SettingsRecord, Store, StoreError};

use crate::compile::Compiler;
use crate::nodes::NodeRegistry;

/// Behind notifications, for those that get lost.
const POLL_EVERY: Duration = Duration::from_millis(500);
/// Most changes read at a time; more are read in the next round.
const MAX_CHANGES: u32 = 5_000;
/// How often changes that arrive during a read are read along, so that what is handed on fits together.
const MAX_ROUNDS: usize = 8;
/// Deltas kept for pods that reconnect or are slow; one that is further behind gets everything anew.
const MAX_DELTAS: usize = 1_024;

/// All policy at one revision; without any object until there is a version that pods can serve.
#[derive(Clone, Debug, Default)]
pub struct PolicyVersion {
    /// Which.
    pub revision: u64,
    /// Its objects.
    pub set: Arc<PolicySet>,
}

/// The changes from one revision to another.
#[derive(Debug)]
pub(crate) struct PolicyDelta {
    pub(crate) from_revision: u64,
    pub(crate) to_revision: u64,
    pub(crate) changes: Vec<PolicyChange>,
}

/// What readers hold. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct PolicyFeed {
    versions: watch::Receiver<Arc<PolicyVersion>>,
    newest: watch::Receiver<u64>,
    deltas: Arc<Mutex<VecDeque<Arc<PolicyDelta>>>>,
}

impl PolicyFeed {
    /// Policy whole, as it changes.
    pub(crate) fn versions(&self) -> watch::Receiver<Arc<PolicyVersion>> {
        self.versions.clone()
    }

    /// The newest revision of which the delta is there; told before the whole set is.
    pub(crate) fn newest(&self) -> watch::Receiver<u64> {
        self.newest.clone()
    }

    /// Whether there is a version that pods can serve.
    pub(crate) fn has_policy(&self) -> bool {
        !self.versions.borrow().set.is_empty()
    }

    /// The deltas that lead from `revision` to the newest one; `None` where some are no longer kept.
    pub(crate) fn deltas_since(&self, revision: u64) -> Option<Vec<Arc<PolicyDelta>>> {
        let newest = *self.newest.borrow();
        if revision == newest {
            return Some(Vec::new());
        }
        let deltas = self.deltas.lock();
        let first = deltas.iter().position(|delta| delta.from_revision == revision)?;
        let told = deltas.iter().skip(first).take_while(|delta| delta.to_revision <= newest);
        Some(told.cloned().collect())
    }
}

/// The one writer of a [`PolicyFeed`].
#[derive(Debug)]
pub(crate) struct PolicyFeedTask {
    store: Store,
    compiler: Compiler,
    catalog: Arc<Catalog>,
    nodes: NodeRegistry,
    listener: PolicyListener,
    versions: watch::Sender<Arc<PolicyVersion>>,
    newest: watch::Sender<u64>,
    deltas: Arc<Mutex<VecDeque<Arc<PolicyDelta>>>>,
    /// The revision that pods would refuse, where the newest one is such.
    withheld: Option<u64>,
    is_failing: bool,
}

impl PolicyFeedTask {
    /// Reads policy once and begins to listen.
    pub(crate) async fn start(
        store: Store,
        compiler: Compiler,
        catalog: Arc<Catalog>,
        nodes: NodeRegistry,
    ) -> Result<(Self, PolicyFeed), StoreError> {
        let (versions, newest) = (watch::Sender::default(), watch::Sender::default());
        let deltas = Arc::default();
        let feed = PolicyFeed {
            versions: versions.subscribe(),
            newest: newest.subscribe(),
            deltas: Arc::clone(&deltas),
        };
        let listener = store.listen().await?;
        let (withheld, is_failing) = (None, false);
        let mut task = Self {
            store,
            compiler,
            catalog,
            nodes,
            listener,
            versions,
            newest,
            deltas,
            withheld,
            is_failing,
        };
        task.reload().await?;
        Ok((task, feed))
    }

    /// Follows the store until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                heard = self.listener.changed() => if heard.is_err() {
                    // The store is closed; the poll would fail as well.
                    tokio::time::sleep(POLL_EVERY).await;
                },
                () = tokio::time::sleep(POLL_EVERY) => {}
            }
            match self.catch_up().await {
                Ok(()) => {
                    if std::mem::take(&mut self.is_failing) {
                        tracing::info!("policy is read from the database again");
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.is_failing, true) {
                        tracing::warn!(%error, "policy cannot be read from the database; the last one stays");
                    }
                }
            }
        }
    }

    async fn catch_up(&mut self) -> Result<(), StoreError> {
        if let Some(withheld) = self.withheld {
            if self.store.policy_revision().await? == withheld {
                return Ok(());
            }
            self.release();
        }
        if self.versions.borrow().set.is_empty() {
            return self.reload().await;
        }
        let current = *self.newest.borrow();
        let mut revision = current;
        let mut changed: BTreeSet<ObjectRef> = BTreeSet::new();
        let mut changes = Vec::new();
        for _ in 0..MAX_ROUNDS {
            let Some(newer) = self.store.policy_changes_since(revision, MAX_CHANGES).await? else {
                return self.reload().await;
            };
            let Some((last, _)) = newer.last() else { break };
            revision = *last;
            let references: BTreeSet<ObjectRef> = newer.into_iter().map(|(_, reference)| reference).collect();
            for reference in &references {
                changes.push(self.change(*reference).await?);
            }
            changed.extend(references);
        }
        if changed.is_empty() {
            // A database that was put back in time has a smaller revision than this replica.
            if self.store.policy_revision().await? < current {
                return self.reload().await;
            }
            return Ok(());
        }
        let mut set = PolicySet::clone(&self.versions.borrow().set);
        for change in &changes {
            set.apply(change.clone());
        }
        let version = PolicyVersion { revision, set: Arc::new(set) };
        if let Err(reason) = self.check(&version).await {
            // Objects that were read one by one while others were written need not fit together; all of them
            // at one revision must.
            tracing::debug!(revision, reason, "changes do not fit together; policy is read anew");
            return self.reload().await;
        }
        self.publish(PolicyDelta { from_revision: current, to_revision: revision, changes }, version);
        Ok(())
    }

    /// Whether pods can serve it, by the very check they make.
    async fn check(&self, version: &PolicyVersion) -> Result<(), String> {
        let (catalog, version) = (Arc::clone(&self.catalog), version.clone());
        let compile = move || {
            Snapshot::compile(&version.set, version.revision, &catalog).map(drop).map_err(|e| e.to_string())
        };
        let compiled = tokio::task::spawn_blocking(compile).await;
        compiled.unwrap_or_else(|error| Err(format!("it could not be compiled: {error}")))
    }

    fn withhold(&mut self, revision: u64, reason: String) {
        tracing::error!(
            revision,
            reason,
            "policy is not published, because no pod could serve it; the last good one stays in force"
        );
        self.withheld = Some(revision);
        self.nodes.withhold(revision, reason);
    }

    fn release(&mut self) {
        self.withheld = None;
        self.nodes.release();
    }

    async fn change(&self, reference: ObjectRef) -> Result<PolicyChange, StoreError> {
        let record = self.store.load_policy_object(reference).await?;
        Ok(match record {
            Some(record) => PolicyChange::Put(self.compiler.object(record)),
            None if reference.kind == ObjectKind::Settings => {
                let settings = PolicyRecord::Settings(SettingsRecord::default());
                PolicyChange::Put(self.compiler.object(settings))
            }
            None => PolicyChange::Delete(reference),
        })
    }

    /// The delta first: pods need no more than it.
    fn publish(&self, delta: PolicyDelta, version: PolicyVersion) {
        let delta = Arc::new(delta);
        {
            let mut deltas = self.deltas.lock();
            deltas.push_back(Arc::clone(&delta));
            while deltas.len() > MAX_DELTAS {
                deltas.pop_front();
            }
        }
        self.newest.send_replace(delta.to_revision);
        self.versions.send_replace(Arc::new(version));
    }

    async fn reload(&mut self) -> Result<(), StoreError> {
        let version = load(&self.store, &self.compiler).await?;
        if let Err(reason) = self.check(&version).await {
            self.withhold(version.revision, reason);
            return Ok(());
        }
        tracing::info!(revision = version.revision, "policy was read");
        let revision = version.revision;
        self.deltas.lock().clear();
        self.versions.send_replace(Arc::new(version));
        self.newest.send_replace(revision);
        Ok(())
    }
}

async fn load(store: &Store, compiler: &Compiler) -> Result<PolicyVersion, StoreError> {
    let loaded = store.load_policy().await?;
    let has_settings = loaded.records.iter().any(|record| matches!(record, PolicyRecord::Settings(_)));
    let mut set: PolicySet = loaded.records.into_iter().map(|record| compiler.object(record)).collect();
    if !has_settings {
        let settings = PolicyRecord::Settings(SettingsRecord::default());
        set.apply(PolicyChange::Put(compiler.object(settings)));
    }
    Ok(PolicyVersion { revision: loaded.revision, set: Arc::new(set) })
}
