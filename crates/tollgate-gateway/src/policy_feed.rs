//! Policy over gRPC: a snapshot in chunks, then deltas, each acknowledged or refused.
//!
//! A pod that loses its control plane goes on serving what it has, and comes back with jitter.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tollgate_domain::{NodeId, Secret};
use tollgate_ledger::{Ledger, OpenReport};
use tollgate_policy::{PolicyChange, PolicySet};
use tollgate_proto::v1::control_plane_client::ControlPlaneClient;
use tollgate_proto::{SnapshotAssembler, v1};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status, Streaming};

use crate::open_report;
use crate::{PolicyState, SeedFuture, SeedReason, Seeder};

/// Acknowledgements waiting to be sent: the control plane needs only the newest.
const MAX_QUEUED_REPLIES: usize = 16;
/// Waits between tries, doubled each time, with jitter.
const RECONNECT_FIRST: Duration = Duration::from_millis(100);
const RECONNECT_MAX: Duration = Duration::from_secs(5);
/// To connect to the control plane.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Without a sign of life (the control plane sends heartbeats) for this long the stream is dead.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);
/// Answers under way to what the control plane asks; it asks again for what gets no answer.
const MAX_REPORTS: usize = 16;
/// For one part of an answer; the control plane waits less.
const REPORT_TIMEOUT: Duration = Duration::from_secs(2);
/// For the goodbye: the process ends all the same.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// How a pod reaches its control plane.
#[derive(Clone, Debug)]
pub struct PolicyFeedConfig {
    /// `http://…` (loopback) or `https://…`.
    pub control_url: String,
    /// What authenticates pods to the control plane.
    pub plane_token: Option<Secret>,
    /// This pod's identity.
    pub node: NodeId,
    /// This pod's name, for people.
    pub node_name: String,
}

/// Why a feed cannot even start.
#[derive(Debug, thiserror::Error)]
pub enum FeedConfigError {
    /// The URL is none.
    #[error("TOLLGATE_CONTROL_URL `{0}` is not a URL like http://127.0.0.1:8082")]
    BadUrl(String),
    /// The token cannot stand in a header.
    #[error("TOLLGATE_PLANE_TOKEN must be visible ASCII characters")]
    BadToken,
}

/// A connection to the control plane that is made when it is first used.
#[derive(Clone, Debug)]
pub struct ControlLink {
    client: ControlPlaneClient<Channel>,
    authorization: Option<MetadataValue<Ascii>>,
    node: NodeId,
    node_name: String,
    /// What this pod has under way is asked of it; nothing is, before there is one.
    ledger: Arc<OnceLock<Ledger>>,
}

impl ControlLink {
    /// Prepares the connection; nothing is contacted yet.
    ///
    /// # Errors
    /// [`FeedConfigError`].
    pub fn new(config: &PolicyFeedConfig) -> Result<Self, FeedConfigError> {
        let bad_url = || FeedConfigError::BadUrl(config.control_url.clone());
        let mut endpoint = Endpoint::from_shared(config.control_url.clone())
            .map_err(|_| bad_url())?
            .connect_timeout(CONNECT_TIMEOUT);
        if config.control_url.starts_with("https://") {
            let tls = ClientTlsConfig::new().with_webpki_roots();
            endpoint = endpoint.tls_config(tls).map_err(|_| bad_url())?;
        }
        let authorization = match &config.plane_token {
            None => None,
            Some(token) => {
                let text = format!("Bearer {}", token.expose());
                let mut value: MetadataValue<Ascii> = text.parse().map_err(|_| FeedConfigError::BadToken)?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Ok(Self {
            client: ControlPlaneClient::new(endpoint.connect_lazy()),
            authorization,
            node: config.node,
            node_name: config.node_name.clone(),
            ledger: Arc::default(),
        })
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(value) = &self.authorization {
            request.metadata_mut().insert("authorization", value.clone());
        }
        request
    }

    fn node_id(&self) -> Vec<u8> {
        self.node.as_uuid().into_bytes().to_vec()
    }

    /// The ledger that this pod holds money in: from now on it tells what is under way there when it is asked.
    pub fn set_ledger(&self, ledger: Ledger) {
        // a second one would be a defect of the caller; the first one stays
        let _ = self.ledger.set(ledger);
    }

    /// Says that this pod ends and knows nothing that is not known elsewhere. Without it the control plane
    /// waits for a lease before it reseeds a ledger without this pod.
    pub async fn leave(&self) {
        let request = self.request(v1::LeaveRequest { node_id: self.node_id() });
        let mut client = self.client.clone();
        match tokio::time::timeout(LEAVE_TIMEOUT, client.leave(request)).await {
            Ok(Ok(_)) => {}
            Ok(Err(status)) => {
                tracing::warn!(reason = describe(&status), "the control plane did not hear the goodbye");
            }
            Err(_) => tracing::warn!("the control plane did not hear the goodbye in time"),
        }
    }

    /// Tells the control plane what is under way here.
    async fn report(self, asked: v1::OpenReportRequest) {
        // a process that has no ledger yet has never held anything: its answer is that, and not silence, which would
        // keep everybody's tenants closed
        let report = match self.ledger.get() {
            Some(ledger) => open_report::of(ledger, &asked.tenant_ids),
            None => OpenReport::default(),
        };
        for chunk in open_report::chunks(&report, &self.node_id(), asked.nonce) {
            let mut client = self.client.clone();
            let sending = client.report_open(self.request(chunk));
            match tokio::time::timeout(REPORT_TIMEOUT, sending).await {
                Ok(Ok(_)) => {}
                Ok(Err(status)) => {
                    return tracing::warn!(reason = describe(&status), "a report did not arrive");
                }
                Err(_) => return tracing::warn!("a report did not arrive in time"),
            }
        }
    }

    /// Seeds tenants by asking the control plane.
    #[must_use]
    pub fn seeder(&self) -> Seeder {
        let (link, for_users) = (self.clone(), self.clone());
        Seeder::new(move |tenant, reason| {
            link.clone().seed(v1::SeedTenantRequest {
                tenant_id: tenant.as_uuid().into_bytes().to_vec(),
                wrong_epoch: reason == SeedReason::WrongEpoch,
                node_id: link.node_id(),
                end_users: Vec::new(),
            })
        })
        .with_end_users(move |tenant, counters| {
            for_users.clone().seed(v1::SeedTenantRequest {
                tenant_id: tenant.as_uuid().into_bytes().to_vec(),
                wrong_epoch: false,
                node_id: for_users.node_id(),
                end_users: counters.iter().map(v1::EndUserCounter::from).collect(),
            })
        })
    }

    fn seed(self, message: v1::SeedTenantRequest) -> SeedFuture {
        Box::pin(async move {
            let mut client = self.client.clone();
            client
                .seed_tenant(self.request(message))
                .await
                .map(|_| ())
                .map_err(|status| status.message().to_owned())
        })
    }
}

/// Keeps `state` current until `stop`.
pub async fn run_policy_feed(link: ControlLink, state: PolicyState, stop: CancellationToken) {
    let mut feed = Feed { link, state, set: PolicySet::default(), revision: None, reports: JoinSet::new() };
    let mut wait = RECONNECT_FIRST;
    loop {
        let had = feed.revision;
        let ended = tokio::select! {
            () = stop.cancelled() => return,
            ended = feed.watch() => ended,
        };
        if feed.revision != had {
            wait = RECONNECT_FIRST;
        }
        tracing::warn!(reason = %ended, retry_ms = wait.as_millis(), "no policy stream from the control plane");
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(jittered(wait)) => {}
        }
        wait = (wait * 2).min(RECONNECT_MAX);
    }
}

/// Between half of `wait` and all of it, so that pods do not come back in step.
fn jittered(wait: Duration) -> Duration {
    let mut byte = [0_u8; 1];
    let share = getrandom::fill(&mut byte).map_or(128, |()| u32::from(byte[0]));
    wait / 2 + wait * share / 512
}

struct Feed {
    link: ControlLink,
    state: PolicyState,
    set: PolicySet,
    revision: Option<u64>,
    reports: JoinSet<()>,
}

type Replies = mpsc::Sender<v1::WatchRequest>;

impl Feed {
    /// One stream from its beginning to its end; gives the reason for the end.
    async fn watch(&mut self) -> String {
        let (replies, queue) = mpsc::channel(MAX_QUEUED_REPLIES);
        if replies.try_send(self.hello()).is_err() {
            return "the reply queue is closed".to_owned();
        }
        let request = self.link.request(ReceiverStream::new(queue));
        let mut client = self.link.client.clone();
        let opening = tokio::time::timeout(SILENCE_TIMEOUT, client.watch(request)).await;
        match opening {
            Err(_) => "the control plane does not answer".to_owned(),
            Ok(Err(status)) => describe(&status),
            Ok(Ok(response)) => self.follow(response.into_inner(), &replies).await,
        }
    }

    fn hello(&self) -> v1::WatchRequest {
        let hello = v1::Hello {
            node_id: self.link.node.as_uuid().into_bytes().to_vec(),
            node_name: self.link.node_name.clone(),
            have_revision: self.revision.unwrap_or(0),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            reports_open: true,
        };
        reply(v1::watch_request::Message::Hello(hello))
    }

    async fn follow(&mut self, mut stream: Streaming<v1::WatchResponse>, replies: &Replies) -> String {
        let mut assembler = SnapshotAssembler::default();
        loop {
            let message = match tokio::time::timeout(SILENCE_TIMEOUT, stream.message()).await {
                Err(_) => return format!("silent for {} s", SILENCE_TIMEOUT.as_secs()),
                Ok(Err(status)) => return describe(&status),
                Ok(Ok(None)) => return "the control plane ended the stream".to_owned(),
                Ok(Ok(Some(message))) => message,
            };
            let Some(message) = message.message else { continue };
            match message {
                v1::watch_response::Message::SnapshotChunk(chunk) => match assembler.push(chunk) {
                    Ok(None) => {}
                    Ok(Some((revision, set))) => self.offer(set, revision, replies),
                    Err(error) => return self.refuse(0, &error.to_string(), replies),
                },
                v1::watch_response::Message::Delta(delta) => {
                    if let Err(reason) = self.apply(delta, replies) {
                        return reason;
                    }
                }
                v1::watch_response::Message::Heartbeat(_) => self.report(replies),
                v1::watch_response::Message::OpenReportRequest(asked) => self.report_open(asked),
            }
        }
    }

    /// A delta on top of what is in force; anything else ends the stream, and the next one begins with a
    /// snapshot.
    fn apply(&mut self, delta: v1::Delta, replies: &Replies) -> Result<(), String> {
        if self.revision != Some(delta.from_revision) {
            self.revision = None;
            return Err(format!("a delta from revision {} does not fit", delta.from_revision));
        }
        let mut set = self.set.clone();
        for change in delta.changes {
            match PolicyChange::try_from(change) {
                Ok(change) => set.apply(change),
                Err(error) => {
                    self.revision = None;
                    return Err(self.refuse(delta.to_revision, &error.to_string(), replies));
                }
            }
        }
        self.offer(set, delta.to_revision, replies);
        Ok(())
    }

    fn offer(&mut self, set: PolicySet, revision: u64, replies: &Replies) {
        match self.state.offer(&set, revision) {
            Ok(()) => {
                tracing::info!(revision, objects = set.len(), "policy is in force");
                let acknowledge = v1::Acknowledge { revision };
                send(replies, v1::watch_request::Message::Acknowledge(acknowledge));
            }
            Err(refused) => {
                let _ = self.refuse(revision, &refused.to_string(), replies);
            }
        }
        // what was refused is still what the next delta builds on
        self.set = set;
        self.revision = Some(revision);
    }

    fn refuse(&self, revision: u64, reason: &str, replies: &Replies) -> String {
        tracing::error!(revision, reason, "policy refused; the last good one stays in force");
        let refuse = v1::Refuse { revision, reason: reason.to_owned() };
        send(replies, v1::watch_request::Message::Refuse(refuse));
        format!("policy refused: {reason}")
    }

    fn report_open(&mut self, asked: v1::OpenReportRequest) {
        while self.reports.try_join_next().is_some() {}
        if self.reports.len() >= MAX_REPORTS {
            tracing::warn!("the control plane asks faster than it takes answers");
            return;
        }
        self.reports.spawn(self.link.clone().report(asked));
    }

    fn report(&self, replies: &Replies) {
        let revision = self.state.current().map_or(0, |snapshot| snapshot.revision());
        let status = v1::Status { revision };
        send(replies, v1::watch_request::Message::Status(status));
    }
}

/// A full queue means the control plane is not reading: the newest word will follow.
fn send(replies: &Replies, message: v1::watch_request::Message) {
    if replies.try_send(reply(message)).is_err() {
        tracing::debug!("the control plane does not read replies");
    }
}

fn reply(message: v1::watch_request::Message) -> v1::WatchRequest {
    v1::WatchRequest { message: Some(message) }
}

fn describe(status: &Status) -> String {
    format!("{}: {}", status.code(), status.message())
}
