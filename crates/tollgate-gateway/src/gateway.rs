//! What all requests of a pod share.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tollgate_domain::{Clock, NodeId};
use tollgate_ledger::Ledger;
use tollgate_telemetry::{Metrics, RequestTracer};
use tollgate_upstream::UpstreamClient;

use crate::gates::ProviderGates;
use crate::leases::{OpenHolds, renew_leases};
use crate::settle::{SettleWorker, Settler};
use crate::{GatewayConfig, PolicyState, Seeder};

/// How long the last settlements may wait for a ledger that is away: then the process ends all the same.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// What a gateway is made of; the binary makes the parts.
#[derive(Debug)]
pub struct GatewayParts {
    /// Its bounds.
    pub config: GatewayConfig,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// This process's identity towards the ledger and the control plane.
    pub node: NodeId,
    /// The snapshot in force.
    pub policy: PolicyState,
    /// Money and rate limits.
    pub ledger: Ledger,
    /// How unknown tenants become known to the ledger.
    pub seeder: Seeder,
    /// The way to providers.
    pub upstream: UpstreamClient,
    /// Counters.
    pub metrics: Metrics,
    /// Traces.
    pub tracer: RequestTracer,
}

/// One data-plane pod. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Gateway(pub(crate) Pod);

/// The same, as the request path passes it on.
pub(crate) type Pod = Arc<Shared>;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: GatewayConfig,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) node: NodeId,
    pub(crate) policy: PolicyState,
    pub(crate) ledger: Ledger,
    pub(crate) seeder: Seeder,
    pub(crate) upstream: UpstreamClient,
    pub(crate) metrics: Metrics,
    pub(crate) tracer: RequestTracer,
    pub(crate) settler: Settler,
    pub(crate) holds: Arc<OpenHolds>,
    pub(crate) gates: ProviderGates,
    /// Cancelled when the grace period has ended: streams still open end with an error event.
    pub(crate) out_of_grace: CancellationToken,
    tasks: TaskTracker,
    stop_renewing: CancellationToken,
}

impl Gateway {
    /// Starts the pod's own tasks (settlement, leases); [`crate::serve`] takes requests.
    #[must_use]
    pub fn start(parts: GatewayParts) -> Self {
        let (sender, receiver) = mpsc::channel(parts.config.max_unsettled);
        let closing = CancellationToken::new();
        let settler = Settler::new(sender, closing.clone());
        let tasks = TaskTracker::new();
        let holds = Arc::new(OpenHolds::default());
        let (ledger, metrics) = (parts.ledger.clone(), parts.metrics.clone());
        let worker = SettleWorker::new(ledger, metrics, Arc::clone(&holds), receiver, closing);
        tasks.spawn(worker.run());
        let stop_renewing = CancellationToken::new();
        let renewing = {
            let (holds, ledger, stop) = (Arc::clone(&holds), parts.ledger.clone(), stop_renewing.clone());
            let (every, lease) = (parts.config.renew_every, parts.config.lease);
            async move { renew_leases(&holds, &ledger, every, lease, stop).await }
        };
        tasks.spawn(renewing);
        Self(Arc::new(Shared {
            config: parts.config,
            clock: parts.clock,
            node: parts.node,
            policy: parts.policy,
            ledger: parts.ledger,
            seeder: parts.seeder,
            upstream: parts.upstream,
            metrics: parts.metrics,
            tracer: parts.tracer,
            settler,
            holds,
            gates: ProviderGates::default(),
            out_of_grace: CancellationToken::new(),
            tasks,
            stop_renewing,
        }))
    }

    /// Holds that are open on this pod now.
    #[must_use]
    pub fn open_holds(&self) -> usize {
        self.0.holds.len()
    }

    /// Waits until every settlement has reached the ledger, then ends the pod's tasks. To be called when no
    /// request is in flight any more.
    pub async fn drain(&self) {
        self.0.settler.close();
        self.0.stop_renewing.cancel();
        self.0.tasks.close();
        if tokio::time::timeout(DRAIN_TIMEOUT, self.0.tasks.wait()).await.is_err() {
            tracing::error!(
                holds = self.0.holds.len(),
                "the ledger did not take the last settlements in time"
            );
        }
    }
}
