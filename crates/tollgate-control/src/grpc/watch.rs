//! One pod's stream: who it is, a snapshot where it needs one, then every change; its acknowledgements go to
//! the register of pods.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tollgate_domain::{Id, NodeId};
use tollgate_proto::v1::watch_request::Message as Asked;
use tollgate_proto::v1::watch_response::Message as Answer;
use tollgate_proto::{MAX_CHUNK_BYTES, delta_bytes, snapshot_chunks, v1};
use tonic::{Status, Streaming};

use super::PolicyService;
use crate::policy_feed::PolicyDelta;

/// Messages waiting for a slow pod; beyond it the sender waits.
const MAX_WAITING_MESSAGES: usize = 8;
/// How long a pod may take to say who it is.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a pod hears that nothing changed.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(10);

pub(super) type ResponseStream = ReceiverStream<Result<v1::WatchResponse, Status>>;
type ResponseSender = mpsc::Sender<Result<v1::WatchResponse, Status>>;

/// Starts the stream's task.
pub(super) fn open(service: &PolicyService, incoming: Streaming<v1::WatchRequest>) -> ResponseStream {
    let (sender, receiver) = mpsc::channel(MAX_WAITING_MESSAGES);
    let service = service.clone();
    let tasks = service.tasks.clone();
    tasks.spawn(async move {
        let stop = service.stop.clone();
        let watched = stop.run_until_cancelled(watch(&service, incoming, &sender)).await;
        let end = match watched {
            None => Some(Status::unavailable("the control plane stops: connect again")),
            Some(Err(Refused(status))) => Some(*status),
            Some(Ok(())) => None,
        };
        if let Some(status) = end {
            // The pod may be gone already.
            let _ = sender.try_send(Err(status));
        }
    });
    ReceiverStream::new(receiver)
}

/// Why a stream ends from this side.
struct Refused(Box<Status>);

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        Self(Box::new(status))
    }
}

/// The pod is gone.
struct Gone;

/// Marks the pod as connected for as long as it lives.
struct Connected<'a> {
    service: &'a PolicyService,
    node: NodeId,
}

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.service.nodes.disconnected(self.node, self.service.clock.now());
    }
}

async fn watch(
    service: &PolicyService,
    mut incoming: Streaming<v1::WatchRequest>,
    sender: &ResponseSender,
) -> Result<(), Refused> {
    let hello = read_hello(&mut incoming).await?;
    let uuid = uuid::Uuid::from_slice(&hello.node_id);
    let uuid = uuid.map_err(|_| Status::invalid_argument("hello.node_id is not 16 bytes"))?;
    let node: NodeId = Id::from_uuid(uuid);
    service.nodes.connected(node, &hello.node_name, &hello.version, hello.have_revision, service.clock.now());
    let _connected = Connected { service, node };
    let _on_roster = service.roster.joined(node, hello.reports_open, sender.clone(), &service.clock);
    if let Err(error) = service.app.store().note_pods(&[node], service.clock.now()).await {
        tracing::warn!(%node, %error, "the database was not told that a pod is alive; it is told soon");
    }
    let mut newest = service.feed.newest();
    let has_policy = hello.have_revision > 0;
    let mut position = Position { service, sender, revision: has_policy.then_some(hello.have_revision) };
    loop {
        newest.mark_unchanged();
        if position.send_newer().await.is_err() {
            return Ok(());
        }
        tokio::select! {
            asked = incoming.message() => match asked {
                Ok(Some(message)) => take(service, node, message)?,
                Ok(None) | Err(_) => return Ok(()),
            },
            changed = newest.changed() => if changed.is_err() {
                return Err(Status::unavailable("the control plane stops: connect again").into());
            },
            () = tokio::time::sleep(HEARTBEAT_EVERY) => {
                let revision = position.revision.unwrap_or(0);
                if position.send(Answer::Heartbeat(v1::Heartbeat { revision })).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

async fn read_hello(incoming: &mut Streaming<v1::WatchRequest>) -> Result<v1::Hello, Refused> {
    let late = |_| Status::deadline_exceeded("the first message must be `hello`, and soon");
    let first = tokio::time::timeout(HELLO_TIMEOUT, incoming.message()).await.map_err(late)??;
    match first.and_then(|message| message.message) {
        Some(Asked::Hello(hello)) => Ok(hello),
        _ => Err(Status::invalid_argument("the first message must be `hello`").into()),
    }
}

fn take(service: &PolicyService, node: NodeId, message: v1::WatchRequest) -> Result<(), Refused> {
    let now = service.clock.now();
    match message.message {
        Some(Asked::Acknowledge(acknowledge)) => service.nodes.acknowledged(node, acknowledge.revision, now),
        Some(Asked::Status(status)) => service.nodes.acknowledged(node, status.revision, now),
        Some(Asked::Refuse(refuse)) => {
            tracing::warn!(%node, revision = refuse.revision, reason = refuse.reason, "a pod refused a policy revision");
            service.nodes.refused(node, refuse.revision, &refuse.reason, now);
        }
        Some(Asked::Hello(_)) => return Err(Status::invalid_argument("`hello` comes once").into()),
        None => return Err(Status::invalid_argument("a message without content").into()),
    }
    Ok(())
}

/// How far a pod was told; `None` before its first policy.
struct Position<'a> {
    service: &'a PolicyService,
    sender: &'a ResponseSender,
    revision: Option<u64>,
}

impl Position<'_> {
    async fn send(&self, message: Answer) -> Result<(), Gone> {
        self.sender.send(Ok(v1::WatchResponse { message: Some(message) })).await.map_err(|_| Gone)
    }

    /// Sends what is newer than the pod has, until there is no more: deltas where all are there and small,
    /// else everything. The whole set may be a moment behind its newest delta, which then follows.
    async fn send_newer(&mut self) -> Result<(), Gone> {
        // What a pod kept from before is better than nothing.
        while self.service.feed.has_policy() {
            let deltas = self.revision.and_then(|revision| self.service.feed.deltas_since(revision));
            let messages: Option<Vec<_>> =
                deltas.map(|deltas| deltas.iter().map(|one| delta_message(one)).collect());
            match messages {
                Some(messages) if messages.is_empty() => return Ok(()),
                Some(messages) if messages.iter().all(|message| delta_bytes(message) <= MAX_CHUNK_BYTES) => {
                    for message in messages {
                        self.revision = Some(message.to_revision);
                        self.send(Answer::Delta(message)).await?;
                    }
                }
                _ => self.send_snapshot().await?,
            }
        }
        Ok(())
    }

    async fn send_snapshot(&mut self) -> Result<(), Gone> {
        let version = self.service.feed.versions().borrow().clone();
        self.revision = Some(version.revision);
        for chunk in snapshot_chunks(version.revision, version.set.iter()) {
            self.send(Answer::SnapshotChunk(chunk)).await?;
        }
        Ok(())
    }
}

fn delta_message(delta: &PolicyDelta) -> v1::Delta {
    v1::Delta {
        from_revision: delta.from_revision,
        to_revision: delta.to_revision,
        changes: delta.changes.iter().map(v1::PolicyChange::from).collect(),
    }
}
