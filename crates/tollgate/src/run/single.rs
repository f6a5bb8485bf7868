//! Everything in one process: the same parts as the split set-up, with the two channels between the planes
//! connected directly.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tollgate_admin::AdminState;
use tollgate_catalog::Catalog;
use tollgate_control::{
    Actor, AppError, ApplyOptions, ConfigDocument, Control, ControlConfig, LocalPod, MasterKey,
    PolicyVersion, RecoveredReport, journal_recovered,
};
use tollgate_domain::{Clock, Secret};
use tollgate_gateway::{PolicyState, SeedReason, Seeder, serve};
use tollgate_ledger::Ledger;
use tollgate_store::Store;
use tollgate_telemetry::Metrics;
use tollgate_telemetry::metrics::{Alerting, Recovery};

use super::clock::SystemClock;
use super::data_dir::{DataDir, check_admin_token, node_id};
use super::demo;
use super::ops::OpsServer;
use super::pod::{LocalParts, config, connect_ledger, readiness, start_local};
use super::probe::probe;
use super::process::{bind, patiently, print_ready, stop_on_signal};
use super::{open_store, telemetry};
use crate::cli::{ServerOptions, UsageError};
use crate::config::Environment;

/// How often the journal's backlog is measured.
const MEASURE_JOURNAL_EVERY: Duration = Duration::from_secs(1);

/// For whom the single process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flavour {
    /// For a first try: a demo tenant, key and provider, and one provider per vendor key found.
    Dev,
    /// For a small installation: only what the configuration says.
    All,
}

pub(super) async fn run(options: ServerOptions, flavour: Flavour) -> anyhow::Result<()> {
    let telemetry = telemetry::start(&options, "single")?;
    let stop = stop_on_signal()?;
    let document = load_configuration(&options)?;
    let data_dir = DataDir::open(&options.data_dir)?;
    let _lock = data_dir.lock()?;
    let metrics = Metrics::new();
    let policy = PolicyState::new(Arc::new(Catalog::embedded()?), metrics.clone());
    let readiness = readiness(&policy);
    let ops = OpsServer::start(options.ops_listen, metrics.clone(), readiness.clone())?;
    let traffic = bind(options.listen, "--listen").await?;
    let admin = bind(options.admin_listen, "--admin-listen").await?;
    let (traffic_address, admin_address) = (traffic.local_addr()?, admin.local_addr()?);

    let admin_token = admin_token(&options, &data_dir)?;
    let parts = Parts::open(&options, &data_dir, &admin_token, &stop).await?;
    let control = Arc::new(parts.control);
    let is_configured = document.is_some();
    let document = match document {
        None if flavour == Flavour::Dev => Some(demo::configuration(&data_dir.demo_key()?)?),
        document => document,
    };
    if let Some(document) = document {
        let url = options.database_url.clone().unwrap_or_else(|| data_dir.database_url());
        apply_unless_applied(&control, &data_dir, &url, document).await?;
    }
    let tasks = TaskTracker::new();
    let stop_rest = CancellationToken::new();
    control.policy_is_current().await.context("policy cannot be read back")?;
    let node = node_id()?;
    let pod = control.local_pod(node, &traffic_address.to_string());
    tasks.spawn(follow_policy(control.policy(), pod, policy.clone(), stop_rest.clone()));
    let gateway = start_local(LocalParts {
        node,
        policy: policy.clone(),
        ledger: parts.ledger.clone(),
        seeder: local_seeder(&control),
        config: config(&options),
        metrics: metrics.clone(),
        tracer: telemetry.tracer(),
    })?;
    policy.subscribe().wait_for(Option::is_some).await.context("no policy came")?;
    let ledger = parts.ledger.clone();
    tasks.spawn(report_journal(Arc::clone(&control), parts.ledger, metrics, stop_rest.clone()));
    tasks.spawn(serve_admin(&control, admin, stop_rest.clone())?);
    if flavour == Flavour::Dev {
        let key = if is_configured { None } else { Some(data_dir.demo_key()?) };
        demo::print_banner(traffic_address, admin_address, &admin_token, key.as_ref(), &options.data_dir)?;
    }
    print_ready(&[("traffic", traffic_address), ("admin", admin_address), ("ops", ops.address())])?;

    let draining = stop.clone();
    let not_ready = async move {
        draining.cancelled().await;
        readiness.stop();
    };
    tasks.spawn(not_ready);
    serve(gateway.clone(), traffic, stop).await;
    gateway.drain().await;
    stop_rest.cancel();
    tasks.close();
    tasks.wait().await;
    drop(gateway);
    // the journal takes what is left in the outbox
    match Arc::into_inner(control) {
        Some(control) => control.shutdown().await,
        None => tracing::warn!(
            "something still uses the control plane; its last events may be journaled at the next start"
        ),
    }
    ledger.shorten_log().await;
    Ok(())
}

struct Parts {
    control: Control,
    ledger: Ledger,
}

impl Parts {
    async fn open(
        options: &ServerOptions,
        data_dir: &DataDir,
        admin_token: &Secret,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let url = options.database_url.clone().unwrap_or_else(|| data_dir.database_url());
        let store: Store = open_store(&url, stop).await?;
        let ledger = match &options.redis_url {
            Some(url) => connect_ledger(url, options, stop).await?,
            None => logged_ledger(&store, &clock, data_dir, stop).await?,
        };
        let master_key = match options.master_key_bytes() {
            Some(bytes) => bytes,
            None => data_dir.master_key()?,
        };
        let config = ControlConfig {
            admin_token: Some(admin_token.clone()),
            plane_token: options.plane_token.clone(),
            hold_lease: options.hold_lease(),
            suspect_after: options.suspect_after(),
            webhook_transport: Some(super::webhooks::transport(options.webhooks_allow_private_addresses)?),
            webhooks_may_be_private: options.webhooks_allow_private_addresses,
            drift_hour: options.ledger_drift_hour,
            drift_repair: options.ledger_drift_repair,
        };
        let control =
            Control::start(config, store, ledger.clone(), clock, MasterKey::new(master_key)).await?;
        Ok(Self { control, ledger })
    }
}

/// The ledger in this process. What the process before left behind is journaled first: then the journal, from which
/// the ledger is seeded, knows all that was ever sent.
async fn logged_ledger(
    store: &Store,
    clock: &Arc<dyn Clock>,
    data_dir: &DataDir,
    stop: &CancellationToken,
) -> anyhow::Result<Ledger> {
    let (ledger, recovered) = Ledger::memory_with_log(Arc::clone(clock), &data_dir.ledger_log())?;
    let is_passing = |error: &AppError| matches!(error, AppError::Unavailable(_));
    let journal = || journal_recovered(store, clock, &recovered);
    let report = patiently("the journal of a process that was killed", stop, is_passing, journal).await?;
    if !recovered.is_empty() {
        let RecoveredReport { journaled, lost, refused } = report;
        tracing::warn!(
            journaled,
            lost,
            refused,
            "the process before this one was killed: what it left behind is journaled"
        );
    }
    if let Err(error) = ledger.forget_recovered(report.refused == 0) {
        tracing::warn!(%error, "what was left behind is journaled, and will be read again at the next start");
    }
    Ok(ledger)
}

/// The given token, else the kept one; either way the admin subcommands on this machine find it.
fn admin_token(options: &ServerOptions, data_dir: &DataDir) -> anyhow::Result<Secret> {
    match &options.admin_token {
        Some(token) => {
            check_admin_token(token.expose())
                .map_err(|error| UsageError::new(format!("TOLLGATE_ADMIN_TOKEN: {error}")))?;
            data_dir.keep_admin_token(token)?;
            Ok(token.clone())
        }
        None => data_dir.admin_token(),
    }
}

/// The configuration file, where one is given.
pub(super) fn load_configuration(options: &ServerOptions) -> anyhow::Result<Option<ConfigDocument>> {
    let Some(path) = &options.config else { return Ok(None) };
    let loaded = crate::config::load(path, &Environment::of_process())?;
    Ok(Some(loaded.document))
}

/// Applies the document unless it is the one that was applied last, by this program to this database, and
/// nothing was changed since: comparing a thousand keys one by one is most of a start.
async fn apply_unless_applied(
    control: &Control,
    data_dir: &DataDir,
    database_url: &Secret,
    document: ConfigDocument,
) -> anyhow::Result<()> {
    let mut digest = Sha256::new();
    digest.update(database_url.expose());
    digest.update([0]);
    digest.update(serde_json::to_vec(&document).context("the configuration cannot be compared")?);
    let document_hash = URL_SAFE_NO_PAD.encode(digest.finalize());
    let note = |revision: u64| format!("{} {document_hash} {revision}", env!("CARGO_PKG_VERSION"));
    let revision = control.policy_is_current().await.context("policy cannot be read back")?;
    if data_dir.applied_configuration().is_some_and(|applied| applied.trim_end() == note(revision)) {
        tracing::info!(revision, "the configuration is the one applied last");
        return Ok(());
    }
    apply_configuration(control, document).await?;
    let revision = control.policy_is_current().await.context("policy cannot be read back")?;
    data_dir.note_applied_configuration(&note(revision));
    Ok(())
}

/// Makes the installation match the document; what the document does not name stays.
pub(super) async fn apply_configuration(control: &Control, document: ConfigDocument) -> anyhow::Result<()> {
    let options = ApplyOptions { dry_run: false, prune: false };
    let report = control.app().apply_config(&Actor::system(), document, options).await;
    let report = report.context("the configuration cannot be applied")?;
    let n_changes = report.n_changed();
    tracing::info!(changes = n_changes, "the configuration is applied");
    for generated in &report.generated_secrets {
        tracing::warn!(key = %generated.key, "a key without a secret was made: rotate it to learn its secret");
    }
    Ok(())
}

fn local_seeder(control: &Arc<Control>) -> Seeder {
    let control = Arc::downgrade(control);
    let for_users = control.clone();
    let seeder = Seeder::new(move |tenant, reason| {
        let control = control.upgrade();
        Box::pin(async move {
            let control = control.ok_or_else(|| "the process is stopping".to_owned())?;
            let seeded = match reason {
                SeedReason::Unknown => control.seed_tenant(tenant).await,
                SeedReason::WrongEpoch => control.reseed_tenant(tenant).await,
            };
            seeded.map_err(|error| error.to_string())
        })
    });
    seeder.with_end_users(move |tenant, counters| {
        let control = for_users.upgrade();
        Box::pin(async move {
            let control = control.ok_or_else(|| "the process is stopping".to_owned())?;
            control.seed_end_users(tenant, &counters).await.map_err(|error| error.to_string())
        })
    })
}

/// Hands every policy version to the gateway beside.
async fn follow_policy(
    mut versions: watch::Receiver<Arc<PolicyVersion>>,
    pod: LocalPod,
    policy: PolicyState,
    stop: CancellationToken,
) {
    loop {
        let version = Arc::clone(&versions.borrow_and_update());
        match policy.offer(&version.set, version.revision) {
            Ok(()) => {
                pod.acknowledge(version.revision);
                tracing::info!(
                    revision = version.revision,
                    objects = version.set.len(),
                    "policy is in force"
                );
            }
            Err(refused) => {
                pod.refuse(version.revision, &refused.to_string());
                tracing::error!(revision = version.revision, %refused, "policy refused; the last good one stays in force");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = versions.changed() => if changed.is_err() {
                return;
            }
        }
    }
}

/// Keeps the journal's metrics current.
pub(super) async fn report_journal(
    control: Arc<Control>,
    ledger: Ledger,
    metrics: Metrics,
    stop: CancellationToken,
) {
    let mut journaled = 0;
    while stop.run_until_cancelled(tokio::time::sleep(MEASURE_JOURNAL_EVERY)).await.is_some() {
        let status = control.journal_status();
        metrics.journal_events_written(status.journaled.saturating_sub(journaled));
        journaled = status.journaled;
        metrics.set_recovery(&recovery_of(&control));
        metrics.set_alerting(&alerting_of(&control));
        if let Ok(waiting) = ledger.outbox_len().await {
            metrics.set_journal_lag_events(waiting);
        }
    }
}

fn recovery_of(control: &Control) -> Recovery {
    let status = control.recovery_status();
    Recovery {
        reseeded: status.reseeded,
        reseeds_failed: status.reseeds_failed,
        reseed_rounds: status.reseed_rounds,
        reseed_microseconds: status.reseed_microseconds,
        suspects_settled: status.suspects_settled,
        suspects_nano_usd: status.suspects_nano_usd,
    }
}

fn alerting_of(control: &Control) -> Alerting {
    let (alerts, drift) = (control.alert_status(), control.drift_status());
    Alerting {
        budget_thresholds: alerts.budget_thresholds,
        wallets_low: alerts.wallets_low,
        delivered: alerts.delivered,
        retried: alerts.retried,
        failed: alerts.failed,
        drift_runs: drift.runs,
        drifts: drift.drifts,
        drift_nano_usd: drift.drift_nano_usd,
        drift_repairs: drift.repaired,
    }
}

/// Serves the admin API until `stop`.
pub(super) fn serve_admin(
    control: &Control,
    listener: TcpListener,
    stop: CancellationToken,
) -> anyhow::Result<impl Future<Output = ()> + Send + use<>> {
    let probe = probe(control.policy())?;
    let router = tollgate_admin::router(AdminState::new(control.app().clone(), Some(probe)));
    Ok(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(%error, "the admin API is not served any more");
        }
    })
}
