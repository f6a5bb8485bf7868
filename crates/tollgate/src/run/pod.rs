//! One data-plane pod: policy over gRPC, money in Redis, nothing on disk.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tollgate_catalog::Catalog;
use tollgate_domain::{NodeId, Secret};
use tollgate_gateway::{
    ControlLink, Gateway, GatewayConfig, GatewayParts, IdempotencyConfig, PolicyFeedConfig, PolicyState,
    run_policy_feed, serve,
};
use tollgate_ledger::{Ledger, LedgerError, RedisConfig, SlabConfig};
use tollgate_telemetry::{Metrics, RequestTracer};
use tollgate_upstream::{UpstreamClient, UpstreamConfig};

use super::clock::SystemClock;
use super::data_dir::node_id;
use super::ops::{OpsServer, Readiness};
use super::process::{bind, patiently, stop_on_signal};
use super::{required, telemetry};
use crate::cli::{ServerOptions, Slabs};

/// Two renewals in a row may fail.
const RENEWALS_PER_LEASE: u32 = 3;

pub(super) async fn run(options: ServerOptions) -> anyhow::Result<()> {
    let telemetry = telemetry::start(&options, "gateway")?;
    let stop = stop_on_signal()?;
    let redis_url = required(
        options.redis_url.as_ref(),
        "TOLLGATE_REDIS_URL",
        "pods share their counters through Redis",
    )?;
    let control_url = required(
        options.control_url.as_ref(),
        "TOLLGATE_CONTROL_URL",
        "a pod takes its policy from the control plane",
    )?;
    let metrics = Metrics::new();
    let policy = PolicyState::new(Arc::new(Catalog::embedded()?), metrics.clone());
    let readiness = readiness(&policy);
    let ops = OpsServer::start(options.ops_listen, metrics.clone(), readiness.clone())?;
    let listener = bind(options.listen, "--listen").await?;
    let address = listener.local_addr()?;
    let node = node_id()?;
    let link = ControlLink::new(&PolicyFeedConfig {
        control_url,
        plane_token: options.plane_token.clone(),
        node,
        node_name: node_name(&address),
    })?;
    let tasks = TaskTracker::new();
    let stop_feed = CancellationToken::new();
    tasks.spawn(run_policy_feed(link.clone(), policy.clone(), stop_feed.clone()));
    let ledger = connect_ledger(&redis_url, &options, &stop).await?;
    let ledger = match options.slabs {
        Slabs::Off => ledger,
        Slabs::On => ledger.with_slabs(SlabConfig { n_pods: options.slab_pods, ..SlabConfig::default() }),
    };
    link.set_ledger(ledger.clone());
    let gateway = Gateway::start(GatewayParts {
        config: config(&options),
        clock: Arc::new(SystemClock),
        node,
        policy: policy.clone(),
        ledger,
        seeder: link.seeder(),
        upstream: UpstreamClient::new(&UpstreamConfig::default())?,
        metrics,
        tracer: telemetry.tracer(),
    });
    // until then requests get 503 `policy_unavailable`
    let announce = announce_when_ready(policy, [("traffic", address), ("ops", ops.address())], stop.clone());
    tasks.spawn(announce);
    let draining = stop.clone();
    let not_ready = async move {
        draining.cancelled().await;
        readiness.stop();
    };
    tasks.spawn(not_ready);
    serve(gateway.clone(), listener, stop).await;
    if gateway.drain().await {
        link.leave().await;
    }
    stop_feed.cancel();
    tasks.close();
    tasks.wait().await;
    Ok(())
}

/// The gateway of a single process, with its parts at hand.
pub(super) struct LocalParts {
    pub(super) node: NodeId,
    pub(super) policy: PolicyState,
    pub(super) ledger: Ledger,
    pub(super) seeder: tollgate_gateway::Seeder,
    pub(super) config: GatewayConfig,
    pub(super) metrics: Metrics,
    pub(super) tracer: RequestTracer,
}

/// The bounds of a pod, with those that an operator chooses.
pub(super) fn config(options: &ServerOptions) -> GatewayConfig {
    let lease = options.hold_lease();
    let lifetime = options.idempotency_lifetime();
    let idempotency = IdempotencyConfig { lifetime, ..IdempotencyConfig::default() };
    GatewayConfig { lease, renew_every: lease / RENEWALS_PER_LEASE, idempotency, ..GatewayConfig::default() }
}

/// Starts a pod that shares its process with the control plane.
pub(super) fn start_local(parts: LocalParts) -> anyhow::Result<Gateway> {
    Ok(Gateway::start(GatewayParts {
        config: parts.config,
        clock: Arc::new(SystemClock),
        node: parts.node,
        policy: parts.policy,
        ledger: parts.ledger,
        seeder: parts.seeder,
        upstream: UpstreamClient::new(&UpstreamConfig::default())?,
        metrics: parts.metrics,
        tracer: parts.tracer,
    }))
}

/// Ready is a pod that has a policy, whoever else is up.
pub(super) fn readiness(policy: &PolicyState) -> Readiness {
    let policy = policy.clone();
    Readiness::new(vec![("policy", Arc::new(move || policy.is_ready()))])
}

/// Connects to Redis, waiting for one that is not there yet.
pub(super) async fn connect_ledger(
    url: &Secret,
    options: &ServerOptions,
    stop: &CancellationToken,
) -> anyhow::Result<Ledger> {
    let config =
        RedisConfig { response_timeout_ms: options.redis_timeout_ms, ..RedisConfig::new(url.clone()) };
    let is_passing = |error: &LedgerError| matches!(error, LedgerError::Unavailable(_));
    patiently("Redis", stop, is_passing, || Ledger::redis(&config)).await
}

/// Prints the ready line once there is a policy to serve under.
async fn announce_when_ready(
    policy: PolicyState,
    addresses: [(&'static str, SocketAddr); 2],
    stop: CancellationToken,
) {
    let mut revision = policy.subscribe();
    tokio::select! {
        () = stop.cancelled() => return,
        _ = revision.wait_for(Option::is_some) => {}
    }
    if let Err(error) = super::process::print_ready(&addresses) {
        tracing::warn!(%error, "the ready line could not be printed");
    }
}

fn node_name(address: &SocketAddr) -> String {
    let host = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
    host.map_or_else(|| address.to_string(), |host| format!("{host}:{}", address.port()))
}
