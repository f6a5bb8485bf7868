//! The policy channel over a real socket.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tollgate_policy::{KeyState, PolicyChange, PolicyObject, PolicySet};
use tollgate_proto::v1::control_plane_client::ControlPlaneClient;
use tollgate_proto::v1::watch_request::Message as Asked;
use tollgate_proto::v1::watch_response::Message as Answer;
use tollgate_proto::{SnapshotAssembler, v1};
use tollgate_store::WriteContext;
use tollgate_testkit::wait::eventually;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Streaming};

use super::feed::provider_with_a_slash;
use super::harness::{NOW, PATIENCE, PLANE_TOKEN, World};

/// A served world.
pub(super) struct Served {
    pub(super) world: World,
    pub(super) channel: Channel,
    stop: CancellationToken,
    server: tokio::task::JoinHandle<Result<(), crate::ControlError>>,
}

async fn serve() -> Served {
    serve_world(World::new().await).await
}

pub(super) async fn serve_world(world: World) -> Served {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let server = tokio::spawn(world.control.serve_grpc(listener, stop.clone()));
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    Served { world, channel, stop, server }
}

pub(super) fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

/// A pod's end of a stream.
struct Pod {
    asks: mpsc::Sender<v1::WatchRequest>,
    answers: Streaming<v1::WatchResponse>,
}

impl Pod {
    async fn connect(channel: &Channel, have_revision: u64) -> Self {
        let (asks, receiver) = mpsc::channel(8);
        let pod_id = uuid::Uuid::from_u128(77).as_bytes().to_vec();
        let hello =
            v1::Hello { node_id: pod_id, node_name: "pod-1".into(), have_revision, ..v1::Hello::default() };
        asks.send(v1::WatchRequest { message: Some(Asked::Hello(hello)) }).await.unwrap();
        let request = with_token(ReceiverStream::new(receiver), PLANE_TOKEN);
        let answers = ControlPlaneClient::new(channel.clone()).watch(request).await.unwrap().into_inner();
        Self { asks, answers }
    }

    async fn next(&mut self) -> Answer {
        loop {
            let answer =
                tokio::time::timeout(PATIENCE, self.answers.message()).await.expect("an answer in time");
            match answer.unwrap().expect("the stream is open").message.unwrap() {
                Answer::Heartbeat(_) => {}
                answer => return answer,
            }
        }
    }

    async fn snapshot(&mut self) -> (u64, PolicySet) {
        let mut assembler = SnapshotAssembler::default();
        loop {
            let Answer::SnapshotChunk(chunk) = self.next().await else { panic!("not a snapshot") };
            if let Some(whole) = assembler.push(chunk).unwrap() {
                return whole;
            }
        }
    }

    /// Follows deltas on top of `set` until `revision`.
    async fn follow(&mut self, at: &mut u64, set: &mut PolicySet, revision: u64) {
        while *at < revision {
            let Answer::Delta(delta) = self.next().await else { panic!("not a delta") };
            assert_eq!(delta.from_revision, *at);
            *at = delta.to_revision;
            for change in delta.changes {
                set.apply(PolicyChange::try_from(change).unwrap());
            }
        }
    }

    async fn say(&self, message: Asked) {
        self.asks.send(v1::WatchRequest { message: Some(message) }).await.unwrap();
    }
}

fn key_states(set: &PolicySet) -> Vec<KeyState> {
    let keys = set.iter().filter_map(|object| match object {
        PolicyObject::Key(key) => Some(key.state),
        _ => None,
    });
    keys.collect()
}

#[tokio::test]
async fn a_pod_gets_a_snapshot_then_deltas_and_goes_on_after_a_reconnect() {
    let Served { world, channel, stop, server } = serve().await;
    world.tenant("acme").await;
    let revision = world.control.policy_is_current().await.unwrap();
    let mut pod = Pod::connect(&channel, 0).await;
    let (mut at, mut set) = pod.snapshot().await;
    assert_eq!(at, revision);
    assert!(set.iter().any(|object| matches!(object, PolicyObject::Settings(_))));
    world.key("acme", "bot", "prod").await;
    pod.follow(&mut at, &mut set, world.store.policy_revision().await.unwrap()).await;
    assert_eq!(key_states(&set), [KeyState::Active]);
    let before = std::time::Instant::now();
    world.app().block_key(&world.admin, "prod").await.unwrap();
    pod.follow(&mut at, &mut set, world.store.policy_revision().await.unwrap()).await;
    assert_eq!(key_states(&set), [KeyState::Blocked]);
    assert!(before.elapsed() < Duration::from_secs(1), "a change took {:?}", before.elapsed());
    drop(pod);
    world.app().unblock_key(&world.admin, "prod").await.unwrap();
    let mut pod = Pod::connect(&channel, at).await;
    pod.follow(&mut at, &mut set, world.store.policy_revision().await.unwrap()).await;
    assert_eq!(key_states(&set), [KeyState::Active]);
    world.control.policy_is_current().await.unwrap();
    assert_eq!(set, *world.control.policy().borrow().set);
    let mut ahead = Pod::connect(&channel, at + 1_000).await;
    assert_eq!(ahead.snapshot().await.0, at, "a revision nobody knows gets everything");
    stop.cancel();
    server.await.unwrap().unwrap();
    world.control.shutdown().await;
}

#[tokio::test]
async fn an_empty_installation_has_policy_and_a_pod_that_has_it_gets_nothing_again() {
    let Served { world, channel, .. } = serve().await;
    let mut pod = Pod::connect(&channel, 0).await;
    let (at, set) = pod.snapshot().await;
    assert_eq!((at, set.len()), (world.store.policy_revision().await.unwrap(), 1));
    world.tenant("acme").await;
    let (mut at, mut set) = (at, set);
    pod.follow(&mut at, &mut set, world.store.policy_revision().await.unwrap()).await;
    assert_eq!(set.len(), 2);
}

/// A replica that starts over policy it cannot publish must not replace what a pod has by nothing.
#[tokio::test]
async fn a_pod_keeps_what_it_has_while_there_is_nothing_to_serve() {
    let first = World::new().await;
    first.provider("openai").await;
    first.tenant("acme").await;
    let have = first.control.policy_is_current().await.unwrap();
    let (context, bad) = (WriteContext::system("test", NOW), tollgate_domain::Id::from_u128(9));
    first.store.create_provider(&context, provider_with_a_slash(bad)).await.unwrap();
    let Served { world, channel, .. } = serve_world(World::over(first.store.clone()).await).await;
    let mut pod = Pod::connect(&channel, have).await;
    let connected = async || world.app().list_nodes(&world.admin).await.unwrap().data.pop();
    let node = eventually(PATIENCE, "the pod's stream", connected).await.unwrap();
    assert_eq!((node.revision, node.refused.map(|refused| refused.revision)), (have, Some(have + 1)));
    world.app().delete_provider(&world.admin, &bad.to_string()).await.unwrap();
    // The first message it gets is the repaired policy.
    let (at, set) = pod.snapshot().await;
    assert_eq!((at, set.len()), (have + 2, 3));
}

#[tokio::test]
async fn pods_are_listed_with_what_they_serve_and_refuse() {
    let Served { world, channel, .. } = serve().await;
    world.tenant("acme").await;
    let revision = world.control.policy_is_current().await.unwrap();
    let mut pod = Pod::connect(&channel, 0).await;
    pod.snapshot().await;
    let nodes = async || world.app().list_nodes(&world.admin).await.unwrap().data;
    let node = nodes().await.remove(0);
    assert_eq!((node.name.as_str(), node.connected, node.lag), ("pod-1", true, revision));
    pod.say(Asked::Refuse(v1::Refuse { revision, reason: "blank name".into() })).await;
    let refused = async || nodes().await.remove(0).refused;
    let refused = eventually(PATIENCE, "the refusal", refused).await.unwrap();
    assert_eq!((refused.revision, refused.reason.as_str()), (revision, "blank name"));
    pod.say(Asked::Acknowledge(v1::Acknowledge { revision })).await;
    let current = async || nodes().await.into_iter().find(|node| node.lag == 0 && node.refused.is_none());
    eventually(PATIENCE, "the acknowledgement", current).await.unwrap();
    drop(pod);
    let gone = async || nodes().await.into_iter().find(|node| !node.connected);
    eventually(PATIENCE, "the disconnection", gone).await.unwrap();
}

#[tokio::test]
async fn strangers_and_nonsense_are_refused() {
    let Served { world, channel, .. } = serve().await;
    let tenant = world.tenant("acme").await;
    let id: tollgate_domain::TenantId = tenant.id.parse().unwrap();
    let seed = |id: Vec<u8>| v1::SeedTenantRequest { tenant_id: id, ..v1::SeedTenantRequest::default() };
    let mut client = ControlPlaneClient::new(channel.clone());
    let uuid = id.as_uuid().as_bytes().to_vec();
    for token in ["", "wrong", "plane-token-for-test"] {
        let refused = client.seed_tenant(with_token(seed(uuid.clone()), token)).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unauthenticated, "{token}");
    }
    let refused = client.seed_tenant(seed(uuid.clone())).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
    let refused = client.seed_tenant(with_token(seed(vec![1]), PLANE_TOKEN)).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    let refused = client.seed_tenant(with_token(seed(vec![1; 16]), PLANE_TOKEN)).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::NotFound);
    world.ledger.forget_tenant(id).await.unwrap();
    client.seed_tenant(with_token(seed(uuid), PLANE_TOKEN)).await.unwrap();
    assert!(world.ledger.balances(id, true, &[]).await.unwrap().wallet.is_some());
    let status = Asked::Status(v1::Status { revision: 1 });
    let first = tokio_stream::iter([v1::WatchRequest { message: Some(status) }]);
    let mut answers = client.watch(with_token(first, PLANE_TOKEN)).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap_err().code(), tonic::Code::InvalidArgument);
}
