//! One control-plane replica: policy channel, admin API, journal writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tollgate_control::{Control, ControlConfig, MasterKey};
use tollgate_telemetry::Metrics;

use super::clock::SystemClock;
use super::data_dir::check_admin_token;
use super::ops::{OpsServer, Readiness};
use super::pod::connect_ledger;
use super::process::{bind, print_ready, stop_on_signal};
use super::single::{apply_configuration, load_configuration, report_journal, serve_admin};
use super::{open_store, required, telemetry};
use crate::cli::{ServerOptions, UsageError};

pub(super) async fn run(options: ServerOptions) -> anyhow::Result<()> {
    let _telemetry = telemetry::start(&options, "control")?;
    let stop = stop_on_signal()?;
    let database_url = required(
        options.database_url.as_ref(),
        "TOLLGATE_DATABASE_URL",
        "the control plane keeps everything in Postgres",
    )?;
    let redis_url = required(
        options.redis_url.as_ref(),
        "TOLLGATE_REDIS_URL",
        "the control plane journals what pods settle in Redis",
    )?;
    let why = "it encrypts provider credentials; make one with `openssl rand -base64 32`";
    required(options.master_key.as_ref(), "TOLLGATE_MASTER_KEY", why)?;
    let master_key =
        options.master_key_bytes().map(MasterKey::new).ok_or_else(|| anyhow::anyhow!("no master key"))?;
    if let Some(token) = &options.admin_token {
        check_admin_token(token.expose())
            .map_err(|error| UsageError::new(format!("TOLLGATE_ADMIN_TOKEN: {error}")))?;
    }
    let document = load_configuration(&options)?;
    let metrics = Metrics::new();
    let is_started = Arc::new(AtomicBool::new(false));
    let started = Arc::clone(&is_started);
    let readiness = Readiness::new(vec![("started", Arc::new(move || started.load(Ordering::Acquire)))]);
    let ops = OpsServer::start(options.ops_listen, metrics.clone(), readiness.clone())?;
    let admin = bind(options.admin_listen, "--admin-listen").await?;
    let grpc = bind(options.grpc_listen, "--grpc-listen").await?;
    let (admin_address, grpc_address) = (admin.local_addr()?, grpc.local_addr()?);
    warn_about_plaintext(&options, grpc_address);
    let store = open_store(&database_url, &stop).await?;
    let ledger = connect_ledger(&redis_url, &options, &stop).await?;
    let config = ControlConfig {
        admin_token: options.admin_token.clone(),
        plane_token: options.plane_token.clone(),
        hold_lease: options.hold_lease(),
        suspect_after: options.suspect_after(),
        webhook_transport: Some(super::webhooks::transport(options.webhooks_allow_private_addresses)?),
        webhooks_may_be_private: options.webhooks_allow_private_addresses,
        drift_hour: options.ledger_drift_hour,
        drift_repair: options.ledger_drift_repair,
    };
    let control =
        Arc::new(Control::start(config, store, ledger.clone(), Arc::new(SystemClock), master_key).await?);
    if let Some(document) = document {
        apply_configuration(&control, document).await?;
    }
    let (tasks, stop_serving) = (TaskTracker::new(), CancellationToken::new());
    tasks.spawn(report_journal(Arc::clone(&control), ledger, metrics, stop_serving.clone()));
    let grpc = tasks.spawn(control.serve_grpc(grpc, stop_serving.clone()));
    tasks.spawn(serve_admin(&control, admin, stop_serving.clone())?);
    is_started.store(true, Ordering::Release);
    print_ready(&[("admin", admin_address), ("grpc", grpc_address), ("ops", ops.address())])?;
    tokio::select! {
        () = stop.cancelled() => {}
        ended = grpc => match ended {
            Ok(Err(error)) => tracing::error!(%error, "the policy channel has ended"),
            _ => tracing::error!("the policy channel has ended"),
        },
    }
    readiness.stop();
    stop_serving.cancel();
    tasks.close();
    tasks.wait().await;
    if let Some(control) = Arc::into_inner(control) {
        control.shutdown().await;
    }
    Ok(())
}

/// The policy channel carries provider credentials.
fn warn_about_plaintext(options: &ServerOptions, grpc: std::net::SocketAddr) {
    if !grpc.ip().is_loopback() {
        tracing::warn!(
            address = %grpc,
            "the policy channel is not encrypted and listens beyond loopback: keep it inside a private network"
        );
    }
    if options.plane_token.is_none() {
        tracing::warn!("TOLLGATE_PLANE_TOKEN is not set: no pod can connect");
    }
}
