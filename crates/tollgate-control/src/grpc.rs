//! The policy channel's server: one stream per pod, and seeding on demand.

mod watch;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tollgate_domain::{Clock, Id, Secret, TenantId};
use tollgate_policy::EndUserCounter;
use tollgate_proto::v1;
use tollgate_proto::v1::control_plane_server::{ControlPlane, ControlPlaneServer};
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

use crate::nodes::NodeRegistry;
use crate::policy_feed::PolicyFeed;
use crate::roster::{PodRoster, node_id};
use crate::{App, AppError};

/// How often a silent connection is asked whether it still lives.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How long the answer may take.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// What a pod may say in one message: ids, revisions, a reason, some hundred holds.
const MAX_REQUEST_BYTES: usize = 1024 * 1024;

/// What the service works on. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct PolicyService {
    pub(crate) app: App,
    pub(crate) feed: PolicyFeed,
    pub(crate) nodes: NodeRegistry,
    pub(crate) roster: PodRoster,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) plane_token: Option<Secret>,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl PolicyService {
    /// Serves `listener` until `stop`; streams end then as well.
    pub(crate) async fn serve(
        mut self,
        listener: TcpListener,
        stop: CancellationToken,
    ) -> Result<(), tonic::transport::Error> {
        self.stop = stop.clone();
        let service = ControlPlaneServer::new(self).max_decoding_message_size(MAX_REQUEST_BYTES);
        tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .add_service(service)
            .serve_with_incoming_shutdown(
                TcpIncoming::from(listener).with_nodelay(Some(true)),
                stop.cancelled_owned(),
            )
            .await
    }

    fn authenticate<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let Some(expected) = &self.plane_token else {
            return Err(Status::unauthenticated(
                "this control plane has no plane token: set TOLLGATE_PLANE_TOKEN",
            ));
        };
        let header = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let token = header.and_then(|header| header.strip_prefix("Bearer "));
        match token {
            Some(token) if Secret::new(token) == *expected => Ok(()),
            _ => Err(Status::unauthenticated("the plane token is missing or wrong")),
        }
    }
}

/// Counters that one call may ask for: of one request, with a budget per window on each of three levels.
const MAX_END_USER_COUNTERS: usize = 32;

fn end_user_counters(asked: Vec<v1::EndUserCounter>) -> Result<Vec<EndUserCounter>, Status> {
    if asked.len() > MAX_END_USER_COUNTERS {
        return Err(Status::invalid_argument("too many end users at once"));
    }
    let read = asked.into_iter().map(EndUserCounter::try_from).collect::<Result<_, _>>();
    read.map_err(|error| Status::invalid_argument(error.to_string()))
}

#[tonic::async_trait]
impl ControlPlane for PolicyService {
    type WatchStream = watch::ResponseStream;

    async fn watch(
        &self,
        request: Request<Streaming<v1::WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        self.authenticate(&request)?;
        Ok(Response::new(watch::open(self, request.into_inner())))
    }

    async fn seed_tenant(
        &self,
        request: Request<v1::SeedTenantRequest>,
    ) -> Result<Response<v1::SeedTenantResponse>, Status> {
        self.authenticate(&request)?;
        let uuid = uuid::Uuid::from_slice(&request.get_ref().tenant_id);
        let uuid = uuid.map_err(|_| Status::invalid_argument("tenant_id is not 16 bytes"))?;
        let tenant: TenantId = Id::from_uuid(uuid);
        let request = request.into_inner();
        let seeded = if !request.end_users.is_empty() {
            let asked = end_user_counters(request.end_users)?;
            self.app.seed_end_users(tenant, &asked).await
        } else if request.wrong_epoch {
            self.app.reseed_tenant(tenant, node_id(&request.node_id)).await
        } else {
            self.app.seed_tenant(tenant).await
        };
        match seeded {
            Ok(()) => Ok(Response::new(v1::SeedTenantResponse {})),
            Err(AppError::NotFound { .. }) => Err(Status::not_found("there is no such tenant")),
            Err(error) => {
                tracing::warn!(%error, "a pod's tenant was not seeded");
                Err(Status::unavailable("the tenant cannot be seeded now"))
            }
        }
    }

    async fn report_open(
        &self,
        request: Request<v1::OpenReportChunk>,
    ) -> Result<Response<v1::OpenReportReceipt>, Status> {
        self.authenticate(&request)?;
        if self.roster.take_chunk(request.into_inner()).await {
            Ok(Response::new(v1::OpenReportReceipt {}))
        } else {
            Err(Status::not_found("nobody waits for this report any more"))
        }
    }

    async fn leave(&self, request: Request<v1::LeaveRequest>) -> Result<Response<v1::LeaveResponse>, Status> {
        self.authenticate(&request)?;
        let pod = node_id(&request.get_ref().node_id);
        let pod = pod.ok_or_else(|| Status::invalid_argument("node_id is not 16 bytes"))?;
        self.roster.left(pod);
        if let Err(error) = self.app.store().forget_pods(&[pod]).await {
            tracing::warn!(%pod, %error, "the database was not told that a pod has ended");
        }
        Ok(Response::new(v1::LeaveResponse {}))
    }
}
