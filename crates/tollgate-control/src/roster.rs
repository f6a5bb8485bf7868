//! The pods that may hold money, and asking all of them what they have under way.
//!
//! A pod is on the roster from its hello until its goodbye, or until it was silent for longer than a lease: by
//! then it has ended what it could not renew. Who is on it is also in the database, so that neither a restart
//! of the control plane nor another replica forgets a pod. A pod that does not answer keeps its tenants closed,
//! because nobody else knows its holds.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tollgate_domain::{Clock, NodeId, TenantId, UnixMillis};
use tollgate_ledger::OpenReport;
use tollgate_proto::v1;
use tollgate_proto::v1::watch_response::Message as Answer;
use tollgate_store::Store;
use tonic::Status;

/// How often the database is told which pods are alive: three times per lease.
const NOTES_PER_LEASE: u32 = 3;
/// How long pods may be silent while they tell what they have under way: a request waits at most half a second.
const REPORT_SILENCE: Duration = Duration::from_millis(300);
/// And how long they may take in all: what is long must arrive too, or its tenants would never open again.
const REPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// Parts of reports waiting to be read.
const MAX_WAITING_CHUNKS: usize = 64;
/// Up to so many tenants are asked for by name; of more a pod tells everything of all of them at once.
const MAX_NAMED_TENANTS: usize = 1_000;

/// The way to a pod.
pub(crate) type PodSender = mpsc::Sender<Result<v1::WatchResponse, Status>>;

#[derive(Debug)]
struct Pod {
    streams: Vec<(u64, PodSender)>,
    /// An older release does not answer; what it holds cannot be known.
    reports_open: bool,
    last_heard: UnixMillis,
}

/// The roster. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct PodRoster {
    pods: Arc<Mutex<HashMap<NodeId, Pod>>>,
    questions: Arc<Mutex<HashMap<u64, mpsc::Sender<v1::OpenReportChunk>>>>,
    next_number: Arc<AtomicU64>,
    lease_ms: i64,
}

/// A pod's stream is open while this lives.
#[derive(Debug)]
pub(crate) struct OnRoster {
    roster: PodRoster,
    clock: Arc<dyn Clock>,
    pod: NodeId,
    stream: u64,
}

impl Drop for OnRoster {
    fn drop(&mut self) {
        if let Some(pod) = self.roster.pods.lock().get_mut(&self.pod) {
            pod.streams.retain(|(stream, _)| *stream != self.stream);
            pod.last_heard = self.clock.now();
        }
    }
}

/// What pods told, and who they are.
#[derive(Debug, Default)]
pub(crate) struct PodReports {
    pub(crate) answered: BTreeSet<NodeId>,
    pub(crate) reports: Vec<OpenReport>,
}

impl PodRoster {
    pub(crate) fn new(lease: Duration) -> Self {
        let lease_ms = i64::try_from(lease.as_millis()).unwrap_or(i64::MAX);
        let (pods, questions, next_number) = (Arc::default(), Arc::default(), Arc::new(AtomicU64::new(1)));
        Self { pods, questions, next_number, lease_ms }
    }

    /// A pod opened a stream.
    pub(crate) fn joined(
        &self,
        pod: NodeId,
        reports_open: bool,
        sender: PodSender,
        clock: &Arc<dyn Clock>,
    ) -> OnRoster {
        let stream = self.next_number.fetch_add(1, Ordering::Relaxed);
        let now = clock.now();
        let mut pods = self.pods.lock();
        let entry =
            pods.entry(pod).or_insert_with(|| Pod { streams: Vec::new(), reports_open, last_heard: now });
        entry.streams.push((stream, sender));
        entry.reports_open = reports_open;
        entry.last_heard = now;
        OnRoster { roster: self.clone(), clock: Arc::clone(clock), pod, stream }
    }

    /// A pod said goodbye: nothing is known to it alone.
    pub(crate) fn left(&self, pod: NodeId) {
        self.pods.lock().remove(&pod);
    }

    /// Those whose stream is open here.
    fn connected(&self) -> Vec<NodeId> {
        self.pods.lock().iter().filter(|(_, pod)| !pod.streams.is_empty()).map(|(id, _)| *id).collect()
    }

    /// Keeps the database's copy current until `stop`, and forgets who has been silent for long.
    pub(crate) async fn run(self, store: Store, clock: Arc<dyn Clock>, stop: CancellationToken) {
        let every = self.note_every();
        while stop.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
            let noted = async {
                store.note_pods(&self.connected(), clock.now()).await?;
                let now = clock.now();
                let is_over = |seen_at: UnixMillis| now.since(seen_at) > 2 * self.patience_ms();
                let over: Vec<NodeId> = store
                    .noted_pods()
                    .await?
                    .into_iter()
                    .filter(|(_, seen_at)| is_over(*seen_at))
                    .map(|(pod, _)| pod)
                    .collect();
                if over.is_empty() { Ok(()) } else { store.forget_pods(&over).await }
            };
            if let Err(error) = noted.await {
                tracing::warn!(%error, "the database was not told which pods are alive; it is tried again");
            }
            let now = clock.now();
            let is_here = |pod: &Pod| !pod.streams.is_empty() || now.since(pod.last_heard) <= self.lease_ms;
            self.pods.lock().retain(|_, pod| is_here(pod));
        }
    }

    fn note_every(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.lease_ms).unwrap_or(0)) / NOTES_PER_LEASE
    }

    /// Silence in the database after which a pod is off the roster: a lease, and what a note may be late.
    fn patience_ms(&self) -> i64 {
        self.lease_ms + i64::try_from(self.note_every().as_millis()).unwrap_or(0)
    }

    /// Asks every pod on the roster what it has under way of `tenants`.
    ///
    /// # Errors
    /// A sentence for the log where one of them does not tell.
    pub(crate) async fn gather(
        &self,
        tenants: &[TenantId],
        store: &Store,
        now: UnixMillis,
    ) -> Result<PodReports, String> {
        let noted = store.noted_pods().await.map_err(|error| error.to_string())?;
        let ways = self.ways(&noted, now)?;
        if ways.is_empty() {
            return Ok(PodReports::default());
        }
        let nonce = self.next_number.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = mpsc::channel(MAX_WAITING_CHUNKS);
        self.questions.lock().insert(nonce, sender);
        let gathered = self.ask(nonce, tenants, ways, receiver).await;
        self.questions.lock().remove(&nonce);
        gathered
    }

    /// How each pod on the roster is reached.
    fn ways(
        &self,
        noted: &[(NodeId, UnixMillis)],
        now: UnixMillis,
    ) -> Result<HashMap<NodeId, PodSender>, String> {
        let pods = self.pods.lock();
        let mut ways = HashMap::with_capacity(pods.len());
        for (id, pod) in pods.iter() {
            match pod.streams.last() {
                Some((_, sender)) if pod.reports_open => {
                    ways.insert(*id, sender.clone());
                }
                Some(_) => {
                    return Err(format!("the pod {id} is of a release that does not tell what it holds"));
                }
                None if now.since(pod.last_heard) > self.lease_ms => {}
                None => return Err(format!("the pod {id} is not connected, and not silent for a lease yet")),
            }
        }
        for (id, seen_at) in noted {
            if !pods.contains_key(id) && now.since(*seen_at) <= self.patience_ms() {
                return Err(format!("the pod {id} was alive a moment ago and is not connected here"));
            }
        }
        Ok(ways)
    }

    async fn ask(
        &self,
        nonce: u64,
        tenants: &[TenantId],
        ways: HashMap<NodeId, PodSender>,
        mut receiver: mpsc::Receiver<v1::OpenReportChunk>,
    ) -> Result<PodReports, String> {
        let named = if tenants.len() <= MAX_NAMED_TENANTS { tenants } else { &[] };
        let tenant_ids: Vec<_> = named.iter().map(|tenant| tenant.as_uuid().into_bytes().to_vec()).collect();
        let mut waiting: BTreeSet<NodeId> = ways.keys().copied().collect();
        let mut asking = JoinSet::new();
        for (_, sender) in ways {
            let asked = v1::OpenReportRequest { nonce, tenant_ids: tenant_ids.clone() };
            let message = v1::WatchResponse { message: Some(Answer::OpenReportRequest(asked)) };
            // where the stream has ended the answer does not come
            asking.spawn(async move { sender.send(Ok(message)).await.is_ok() });
        }
        let mut gathered = PodReports::default();
        let mut parts: HashMap<NodeId, (u32, OpenReport)> = HashMap::new();
        let all = async {
            while !waiting.is_empty() {
                let Ok(chunk) = tokio::time::timeout(REPORT_SILENCE, receiver.recv()).await else {
                    return Err(format!("pods do not tell what they hold: {waiting:?}"));
                };
                let Some(chunk) = chunk else { return Err("the question ended".to_owned()) };
                let Some(pod) = node_id(&chunk.node_id).filter(|pod| waiting.contains(pod)) else { continue };
                let (n_parts, report) = parts.entry(pod).or_default();
                if chunk.index != *n_parts {
                    return Err(format!("the report of the pod {pod} came in parts out of order"));
                }
                *n_parts += 1;
                take(report, &chunk)
                    .map_err(|error| format!("the pod {pod} tells what cannot be read: {error}"))?;
                if chunk.last {
                    waiting.remove(&pod);
                }
            }
            Ok(())
        };
        match tokio::time::timeout(REPORT_TIMEOUT, all).await {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => return Err(reason),
            Err(_) => return Err(format!("pods tell for too long what they hold: {waiting:?}")),
        }
        for (pod, (_, report)) in parts {
            gathered.answered.insert(pod);
            gathered.reports.push(report);
        }
        Ok(gathered)
    }

    /// A part of an answer; `false` where nobody waits for it any more.
    pub(crate) async fn take_chunk(&self, chunk: v1::OpenReportChunk) -> bool {
        let question = self.questions.lock().get(&chunk.nonce).cloned();
        match question {
            Some(question) => question.send(chunk).await.is_ok(),
            None => false,
        }
    }
}

fn take(report: &mut OpenReport, chunk: &v1::OpenReportChunk) -> Result<(), serde_json::Error> {
    report.highest_epoch = report.highest_epoch.max(chunk.highest_epoch);
    for json in &chunk.holds {
        report.holds.push(serde_json::from_slice(json)?);
    }
    for json in &chunk.events {
        report.events.push(serde_json::from_slice(json)?);
    }
    Ok(())
}

/// The id in 16 bytes.
pub(crate) fn node_id(bytes: &[u8]) -> Option<NodeId> {
    uuid::Uuid::from_slice(bytes).ok().filter(|uuid| !uuid.is_nil()).map(NodeId::from_uuid)
}
