//! Everything wired: the store's policy to the feed, the ledger's outbox to the journal, the use cases over
//! both. [`Control`] owns every task it starts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tollgate_catalog::{Catalog, CatalogError};
use tollgate_domain::{Clock, NodeId, Secret, TenantId};
use tollgate_ledger::Ledger;
use tollgate_store::{Store, StoreError};

use crate::app::AppParts;
use crate::compile::Compiler;
use crate::grpc::PolicyService;
use crate::jobs::{
    AlertCounters, AlertJob, CreditExpiry, DriftJob, Drifts, HoldNoter, JournalWriter, ReseedCounters,
    ReseedQueue, Reseeder, Reseeds, RevocationPushes, SuspectCounters, SuspectSettler, Verifications,
    WalletPushes, sweep,
};
use crate::nodes::NodeRegistry;
use crate::policy_feed::{PolicyFeed, PolicyFeedTask};
use crate::roster::PodRoster;
use crate::{
    AdminLogins, AlertStatus, App, AppError, DriftStatus, JournalStatus, MasterKey, PolicyVersion,
    SecretsError, WebhookTransport,
};

/// The name under which a database remembers its master key's fingerprint.
const FINGERPRINT: &str = "master_key_fingerprint";
/// How often what has expired is deleted.
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(600);
/// For how long finished deliveries, and alerts whose period has ended, are kept: 30 days.
const ALERTS_KEPT_MS: i64 = 30 * 24 * 3_600_000;
/// How often the ledger is asked which events of this process are journaled.
const CONFIRM_EVERY: Duration = Duration::from_millis(500);
/// Longer than the journal drains: then the process ends anyway.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(15);

/// What the control plane is told at its start.
#[derive(Clone, Debug)]
pub struct ControlConfig {
    /// The bootstrap platform-admin token; without it nobody can use the admin API.
    pub admin_token: Option<Secret>,
    /// What pods present; without it the policy channel refuses everybody.
    pub plane_token: Option<Secret>,
    /// The pods' lease: a pod that was silent for so long has ended what it could not renew.
    pub hold_lease: Duration,
    /// How long after the end of its lease a hold whose pod died is settled at what is known.
    pub suspect_after: Duration,
    /// How messages reach webhooks; without one they wait for a replica that has it.
    pub webhook_transport: Option<WebhookTransport>,
    /// Whether webhooks may lead to private addresses.
    pub webhooks_may_be_private: bool,
    /// At which full hour (UTC, 0 to 23) the ledger's counters are compared with the journal every night; `None` for
    /// only when asked.
    pub drift_hour: Option<u8>,
    /// Whether what is found then is repaired; else it is only told.
    pub drift_repair: bool,
}

impl Default for ControlConfig {
    fn default() -> Self {
        let (hold_lease, suspect_after) = (Duration::from_secs(60), Duration::from_secs(15 * 60));
        Self {
            admin_token: None,
            plane_token: None,
            hold_lease,
            suspect_after,
            webhook_transport: None,
            webhooks_may_be_private: false,
            drift_hour: None,
            drift_repair: true,
        }
    }
}

/// How reseeds and abandoned holds fare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecoveryStatus {
    /// Tenants reseeded.
    pub reseeded: u64,
    /// Tenants that could not be.
    pub reseeds_failed: u64,
    /// Rounds of reseeds, each of one or many tenants.
    pub reseed_rounds: u64,
    /// Microseconds that all rounds took together.
    pub reseed_microseconds: u64,
    /// Abandoned holds that were settled.
    pub suspects_settled: u64,
    /// What they were settled at, in nano-USD.
    pub suspects_nano_usd: u64,
}

/// Why the control plane does not start or serve.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The master key.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// The embedded catalogue; a defect.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The policy channel's server.
    #[error("the policy channel cannot be served: {0}")]
    Grpc(#[from] tonic::transport::Error),
}

/// A running control plane.
#[derive(Debug)]
pub struct Control {
    app: App,
    feed: PolicyFeed,
    journal: JournalWriter,
    reseeds: Arc<ReseedCounters>,
    suspects: Arc<SuspectCounters>,
    alerts: Arc<AlertCounters>,
    drifts: Drifts,
    service: PolicyService,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Control {
    /// Starts everything over a migrated `store`.
    ///
    /// # Errors
    /// The database cannot be read, or was set up with another master key.
    pub async fn start(
        config: ControlConfig,
        store: Store,
        ledger: Ledger,
        clock: Arc<dyn Clock>,
        master_key: MasterKey,
    ) -> Result<Self, ControlError> {
        prepare_partitions(&store, clock.as_ref()).await;
        let fingerprint = master_key.fingerprint();
        let stored = store.installation_value_or_insert(FINGERPRINT, fingerprint.as_bytes()).await?;
        if stored != fingerprint.as_bytes() {
            return Err(SecretsError::WrongMasterKey.into());
        }
        let (credentials, pepper) = (master_key.credential_box(), master_key.key_pepper());
        let compiler = Compiler::new(credentials.clone(), pepper.clone());
        let (nodes, wallets) = (NodeRegistry::default(), WalletPushes::default());
        let revocations = RevocationPushes::default();
        let catalog = Arc::new(Catalog::embedded()?);
        let feed_task = PolicyFeedTask::start(store.clone(), compiler, Arc::clone(&catalog), nodes.clone());
        let (feed_task, feed) = feed_task.await?;
        let alert_job = AlertJob::new(&store, &clock, credentials.clone(), config.webhook_transport.clone());
        let alerting = alert_job.clone();
        let journal = JournalWriter::new(store.clone(), ledger.clone(), alerting.signals.clone());
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(feed_task.run(stop.clone()));
        tasks.spawn(journal.clone().run(stop.clone()));
        tasks.spawn(alert_job.dispatcher.clone().run(stop.clone()));
        tasks.spawn(alert_job.run(stop.clone()));
        tasks.spawn(wallets.clone().run(store.clone(), ledger.clone(), stop.clone()));
        tasks.spawn(revocations.clone().run(store.clone(), ledger.clone(), stop.clone()));
        tasks.spawn(CreditExpiry::new(&store, &ledger, &clock, &wallets).run(stop.clone()));
        let verifications = Verifications::default();
        let verifying =
            verifications.clone().run(store.clone(), ledger.clone(), Arc::clone(&clock), stop.clone());
        tasks.spawn(verifying);
        tasks.spawn(housekeeping(store.clone(), Arc::clone(&clock), stop.clone()));
        let mut recovery = Recovery::new(&config, &store, &ledger, &clock);
        recovery.start(&journal, &tasks, &stop);
        let Recovery { roster, reseeds, drifts, suspects, .. } = recovery;
        let counters = (Arc::clone(&reseeds.counters), suspects.counters);
        let app = App::new(AppParts {
            store,
            ledger,
            clock: Arc::clone(&clock),
            catalog,
            credentials,
            answers: master_key.answer_box(),
            pepper,
            logins: AdminLogins::new(config.admin_token),
            nodes: nodes.clone(),
            wallets,
            verifications,
            revocations,
            reseeds,
            alerts: alerting.signals,
            dispatcher: alerting.dispatcher,
            drifts: drifts.clone(),
            webhooks_may_be_private: config.webhooks_may_be_private,
        });
        let service = PolicyService {
            app: app.clone(),
            feed: feed.clone(),
            nodes,
            roster,
            clock,
            plane_token: config.plane_token.filter(|token| !token.expose().is_empty()),
            tasks: tasks.clone(),
            stop: stop.clone(),
        };
        let (reseeds, suspects) = counters;
        let alerts = alerting.counters;
        Ok(Self { app, feed, journal, reseeds, suspects, alerts, drifts, service, tasks, stop })
    }

    /// The use cases.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Policy whole, as it changes: for the gateway in the same process.
    #[must_use]
    pub fn policy(&self) -> watch::Receiver<Arc<PolicyVersion>> {
        self.feed.versions()
    }

    /// Writes what the journal knows of a tenant into the ledger, where the ledger does not know it.
    ///
    /// # Errors
    /// Not found; unavailable.
    pub async fn seed_tenant(&self, tenant: TenantId) -> Result<(), AppError> {
        self.app.seed_tenant(tenant).await
    }

    /// The same for counters of end users, which a tenant is seeded without.
    ///
    /// # Errors
    /// Not found; unavailable.
    pub async fn seed_end_users(
        &self,
        tenant: TenantId,
        asked: &[tollgate_policy::EndUserCounter],
    ) -> Result<(), AppError> {
        self.app.seed_end_users(tenant, asked).await
    }

    /// The same for a gateway in this process that holds something of another epoch than the ledger's.
    ///
    /// # Errors
    /// Not found; unavailable.
    pub async fn reseed_tenant(&self, tenant: TenantId) -> Result<(), AppError> {
        self.app.reseed_tenant(tenant, None).await
    }

    /// How reseeds and abandoned holds fare.
    #[must_use]
    pub fn recovery_status(&self) -> RecoveryStatus {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RecoveryStatus {
            reseeded: read(&self.reseeds.reseeded),
            reseeds_failed: read(&self.reseeds.failed),
            reseed_rounds: read(&self.reseeds.batches),
            reseed_microseconds: read(&self.reseeds.microseconds),
            suspects_settled: read(&self.suspects.settled),
            suspects_nano_usd: read(&self.suspects.nano_usd),
        }
    }

    /// How alerts and their messages fare.
    #[must_use]
    pub fn alert_status(&self) -> AlertStatus {
        self.alerts.status()
    }

    /// What the comparisons of the ledger with the journal have found.
    #[must_use]
    pub fn drift_status(&self) -> DriftStatus {
        self.drifts.status()
    }

    /// How the journal writer fares.
    #[must_use]
    pub fn journal_status(&self) -> JournalStatus {
        self.journal.status()
    }

    /// Waits until policy has reached what the database holds at this moment: after a start's own writes.
    /// Where no pod could serve that, the last good version's revision; 0 without one.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn policy_is_current(&self) -> Result<u64, AppError> {
        let revision = self.app.store().policy_revision().await?;
        let mut versions = self.feed.versions();
        tokio::select! {
            reached = versions.wait_for(|version| version.revision >= revision) => {
                let stops = |_| AppError::Unavailable("policy stops".to_owned());
                reached.map(|version| version.revision).map_err(stops)
            }
            () = self.service.nodes.withheld(revision) => Ok(self.feed.versions().borrow().revision),
        }
    }

    /// Lists the gateway of the same process among the pods.
    #[must_use]
    pub fn local_pod(&self, id: NodeId, name: &str) -> LocalPod {
        let (nodes, clock) = (self.service.nodes.clone(), Arc::clone(&self.service.clock));
        nodes.connected(id, name, env!("CARGO_PKG_VERSION"), 0, clock.now());
        LocalPod { id, nodes, clock }
    }

    /// Serves the policy channel on `listener` until `stop`, or until [`Control::shutdown`].
    ///
    /// # Errors
    /// The server fails.
    pub fn serve_grpc(
        &self,
        listener: TcpListener,
        stop: CancellationToken,
    ) -> impl Future<Output = Result<(), ControlError>> + Send + use<> {
        let (service, all) = (self.service.clone(), self.stop.clone());
        async move {
            let both = stop.child_token();
            let guard = both.clone().drop_guard();
            let serve = service.serve(listener, both.clone());
            tokio::pin!(serve);
            tokio::select! {
                served = &mut serve => served?,
                () = all.cancelled() => {
                    both.cancel();
                    serve.await?;
                }
            }
            drop(guard);
            Ok(())
        }
    }

    /// Stops every task; the journal first takes what is in the outbox. Call it when the gateway has ended.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, self.tasks.wait()).await.is_err() {
            tracing::warn!("some tasks of the control plane did not stop in time");
        }
    }
}

/// The gateway of the same process, as the control plane sees it.
#[derive(Debug)]
pub struct LocalPod {
    id: NodeId,
    nodes: NodeRegistry,
    clock: Arc<dyn Clock>,
}

impl LocalPod {
    /// A revision serves.
    pub fn acknowledge(&self, revision: u64) {
        self.nodes.acknowledged(self.id, revision, self.clock.now());
    }

    /// A revision was refused; the one before goes on serving.
    pub fn refuse(&self, revision: u64, reason: &str) {
        self.nodes.refused(self.id, revision, reason, self.clock.now());
    }
}

/// A day without a partition is no reason not to start: its rows go to the default one.
async fn prepare_partitions(store: &Store, clock: &dyn Clock) {
    match store.prepare_partitions(clock.now()).await {
        Ok(0) => {}
        Ok(n_made) => tracing::info!(n_made, "partitions of the journal were made"),
        Err(error) => {
            tracing::warn!(%error, "partitions of the journal were not made; it is tried again");
        }
    }
}

/// What repairs the ledger and settles what nobody settles.
struct Recovery {
    store: Store,
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    roster: PodRoster,
    reseeds: Reseeds,
    queue: Option<ReseedQueue>,
    suspects: SuspectSettler,
    drifts: Drifts,
    /// When and how the ledger is compared every night.
    nightly: Option<(u8, bool)>,
}

impl Recovery {
    fn new(config: &ControlConfig, store: &Store, ledger: &Ledger, clock: &Arc<dyn Clock>) -> Self {
        let (store, ledger, clock) = (store.clone(), ledger.clone(), Arc::clone(clock));
        let (reseeds, queue) = Reseeds::new();
        let suspects = SuspectSettler {
            store: store.clone(),
            ledger: ledger.clone(),
            clock: Arc::clone(&clock),
            after: config.suspect_after,
            counters: Arc::default(),
        };
        let roster = PodRoster::new(config.hold_lease);
        let nightly = config.drift_hour.map(|hour| (hour, config.drift_repair));
        let (queue, drifts) = (Some(queue), Drifts::default());
        Self { store, ledger, clock, roster, reseeds, queue, suspects, drifts, nightly }
    }

    /// Starts its tasks; once.
    fn start(&mut self, journal: &JournalWriter, tasks: &TaskTracker, stop: &CancellationToken) {
        let Some(queue) = self.queue.take() else { return };
        let (store, ledger, clock) = (self.store.clone(), self.ledger.clone(), Arc::clone(&self.clock));
        tasks.spawn(self.roster.clone().run(store.clone(), Arc::clone(&clock), stop.clone()));
        tasks.spawn(self.suspects.clone().run(stop.clone()));
        if !matches!(ledger, Ledger::Memory(_)) {
            tasks.spawn(sweep(self.reseeds.clone(), store.clone(), ledger.clone(), stop.clone()));
            tasks.spawn(confirm(ledger.clone(), stop.clone()));
            let (store, ledger, clock) = (store.clone(), ledger.clone(), Arc::clone(&clock));
            tasks.spawn(HoldNoter { store, ledger, clock, looked_at: None }.run(stop.clone()));
        }
        let drift_job = DriftJob {
            store: store.clone(),
            ledger: ledger.clone(),
            clock: Arc::clone(&clock),
            journal: journal.clone(),
            reseeds: self.reseeds.clone(),
            drifts: self.drifts.clone(),
            nightly: self.nightly,
        };
        tasks.spawn(drift_job.run(stop.clone()));
        let (roster, journal) = (self.roster.clone(), journal.clone());
        let reseeder = Reseeder { store, ledger, clock, roster, journal };
        tasks.spawn(reseeder.run(queue, stop.clone()));
    }
}

/// Forgets the journaled ones of the events that this process settled, as every gateway does of its own.
async fn confirm(ledger: Ledger, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(CONFIRM_EVERY)).await.is_some() {
        if let Err(error) = ledger.confirm_journaled().await {
            tracing::debug!(%error, "the ledger does not tell which events are journaled; they are kept");
        }
    }
}

async fn housekeeping(store: Store, clock: Arc<dyn Clock>, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(HOUSEKEEPING_EVERY)).await.is_some() {
        prepare_partitions(&store, clock.as_ref()).await;
        let pruned = async {
            store.prune_policy_changes().await?;
            store.prune_alerts(clock.now().plus_ms(-ALERTS_KEPT_MS)).await?;
            store.prune_idempotency(clock.now()).await
        };
        if let Err(error) = pruned.await {
            tracing::warn!(%error, "expired rows were not deleted; it is tried again");
        }
    }
}
