//! What all requests of a pod share.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tollgate_domain::{Clock, NodeId};
use tollgate_ledger::Ledger;
use tollgate_telemetry::{Metrics, RequestTracer};
use tollgate_upstream::{GoogleTokens, UpstreamClient};

use crate::confirm::{confirm_journaled, count_open_holds, count_slabs};
use crate::cutoff::Cutoff;
use crate::gates::ProviderGates;
use crate::idempotency::{self, Idempotency};
use crate::leases::{OpenHolds, Renewer};
use crate::objects::{WatchedBatches, watch_batches};
use crate::settle_queue::{Reseeder, SettleWorker, Settler};
use crate::{GatewayConfig, PolicyState, Seeder};

/// How long the last settlements may wait for a ledger that is away: then the process ends all the same.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the last events may wait for the journal: they are in the ledger's outbox by then, and only its loss
/// within this time would take them.
const JOURNAL_DRAIN_TIMEOUT: Duration = Duration::from_secs(3);

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
    pub(crate) google_tokens: GoogleTokens,
    pub(crate) metrics: Metrics,
    pub(crate) tracer: RequestTracer,
    pub(crate) settler: Settler,
    pub(crate) holds: Arc<OpenHolds>,
    pub(crate) gates: ProviderGates,
    pub(crate) idempotency: Idempotency,
    pub(crate) batches: WatchedBatches,
    /// Comes when the grace period has ended: streams still open end with an error event.
    pub(crate) out_of_grace: Cutoff,
    tasks: TaskTracker,
    stop_renewing: CancellationToken,
    confirming: TaskTracker,
    stop_confirming: CancellationToken,
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
        let reseeder = Reseeder { seeder: parts.seeder.clone(), timeout: parts.config.seed_timeout };
        let worker = SettleWorker::new(ledger, metrics, Arc::clone(&holds), reseeder, receiver, closing);
        tasks.spawn(worker.run());
        let stop_renewing = CancellationToken::new();
        let renewer = Renewer {
            holds: Arc::clone(&holds),
            ledger: parts.ledger.clone(),
            metrics: parts.metrics.clone(),
            seeder: parts.seeder.clone(),
            every: parts.config.renew_every,
            lease: parts.config.lease,
            seed_timeout: parts.config.seed_timeout,
        };
        tasks.spawn(renewer.run(stop_renewing.clone()));
        let counting = count_open_holds(Arc::clone(&holds), parts.metrics.clone(), stop_renewing.clone());
        tasks.spawn(counting);
        if let Some(slabs) = parts.ledger.slabs() {
            tasks.spawn(slabs.clone().run(stop_renewing.clone().cancelled_owned()));
            tasks.spawn(count_slabs(slabs.clone(), parts.metrics.clone(), stop_renewing.clone()));
        }
        let (confirming, stop_confirming) = (TaskTracker::new(), CancellationToken::new());
        confirming.spawn(confirm_journaled(parts.ledger.clone(), stop_confirming.clone()));
        let shared = Arc::new(Shared {
            config: parts.config,
            clock: parts.clock,
            node: parts.node,
            policy: parts.policy,
            ledger: parts.ledger,
            seeder: parts.seeder,
            google_tokens: GoogleTokens::new(parts.upstream.clone()),
            upstream: parts.upstream,
            metrics: parts.metrics,
            tracer: parts.tracer,
            settler,
            holds,
            gates: ProviderGates::default(),
            idempotency: Idempotency::default(),
            batches: WatchedBatches::default(),
            out_of_grace: Cutoff::default(),
            tasks,
            stop_renewing,
            confirming,
            stop_confirming,
        });
        let every = shared.config.look_at_batches_every;
        let watching = watch_batches(Arc::downgrade(&shared), every, shared.stop_renewing.clone());
        shared.tasks.spawn(watching);
        Self(shared)
    }

    /// Holds that are open on this pod now.
    #[must_use]
    pub fn open_holds(&self) -> usize {
        self.0.holds.len()
    }

    /// Waits until every settlement has reached the ledger, and the journal where that is elsewhere, then ends
    /// the pod's tasks. To be called when no request is in flight any more. Answers whether all that this pod
    /// knew is known elsewhere.
    pub async fn drain(&self) -> bool {
        let shared = &self.0;
        idempotency::drain(shared).await;
        shared.settler.close();
        shared.stop_renewing.cancel();
        shared.tasks.close();
        let is_settled = tokio::time::timeout(DRAIN_TIMEOUT, shared.tasks.wait()).await.is_ok();
        if !is_settled {
            tracing::error!(
                holds = shared.holds.len(),
                "the ledger did not take the last settlements in time"
            );
        }
        shared.stop_confirming.cancel();
        shared.confirming.close();
        let is_journaled =
            tokio::time::timeout(JOURNAL_DRAIN_TIMEOUT, shared.confirming.wait()).await.is_ok();
        if !is_journaled {
            tracing::warn!(
                "the journal did not take the last events in time; they wait in the ledger's outbox"
            );
        }
        is_settled && is_journaled
    }
}
