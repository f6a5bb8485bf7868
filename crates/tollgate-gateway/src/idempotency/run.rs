//! The one run under a key: its task, its lease, and its end, which is told exactly once.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use http::Response;
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tollgate_domain::{ErrorKind, RequestId, RequestOutcome, Usage};
use tollgate_ledger::{
    IdempotencyClaim, IdempotencyEnd, IdempotencyEnded, IdempotencyState, NoAnswer, StoredAnswer,
};

use super::record::{RecordedBody, encode_head};
use super::{Ended, bounds};
use crate::answer::GatewayBody;
use crate::error::Refusal;
use crate::gateway::Pod;
use crate::pipeline::{self, Received};
use crate::settle::Ending;

/// How long an answer waits to be kept before the client has it all the same: the run goes on trying.
const KEEP_PATIENCE: Duration = Duration::from_secs(1);
/// Between two attempts to tell the ledger of an end: at first, and at most.
const FIRST_RETRY: Duration = Duration::from_millis(50);
const MAX_RETRY: Duration = Duration::from_secs(2);
/// How long runs whose clients have left may go on once the pod takes no more requests.
const ABANDONED_GRACE: Duration = Duration::from_secs(5);
/// How long the ledger may take for the last ends.
const LAST_ENDS: Duration = Duration::from_secs(5);

const NOT_CHARGED: u8 = 0;
const CHARGED: u8 = 1;
const ANSWERED: u8 = 2;

/// A run under a key. When it is dropped without an end, it ends by what was charged.
#[derive(Debug)]
pub(crate) struct OnceRun {
    gateway: Pod,
    request: RequestId,
    /// Whether the tenant's data policy lets answers be kept.
    may_keep: bool,
    charged: AtomicU8,
    end: Mutex<Option<oneshot::Sender<RunEnd>>>,
}

/// An end on its way to the ledger.
#[derive(Debug)]
struct RunEnd {
    end: IdempotencyEnd,
    /// Told when the ledger has it, or will not have it.
    done: oneshot::Sender<()>,
}

// === impl OnceRun ===

impl OnceRun {
    /// Begins to renew the claim; those who wait on this pod find it from here on.
    pub(super) fn begin(gateway: &Pod, claim: IdempotencyClaim, may_keep: bool) -> Arc<Self> {
        let (sender, receiver) = oneshot::channel();
        let (ended, waiting) = watch::channel(None);
        gateway.idempotency.running.lock().insert(claim.name, waiting);
        let keeper = Keeper { gateway: Pod::clone(gateway), claim, ended };
        gateway.idempotency.tasks.spawn(keeper.keep(receiver));
        Arc::new(Self {
            gateway: Pod::clone(gateway),
            request: claim.owner,
            may_keep,
            charged: AtomicU8::new(NOT_CHARGED),
            end: Mutex::new(Some(sender)),
        })
    }

    /// The reservation was settled like this.
    pub(crate) fn settled(&self, ending: &Ending) {
        let charged = match ending.outcome {
            RequestOutcome::Ok => ANSWERED,
            _ if ending.usage == Usage::ZERO => NOT_CHARGED,
            _ => CHARGED,
        };
        self.charged.store(charged, Ordering::Release);
    }

    /// What it began goes on: a repeat would begin it twice.
    pub(crate) fn went_on(&self) {
        self.charged.store(CHARGED, Ordering::Release);
    }

    /// Whether the answer is whole and settled as such.
    pub(super) fn is_answered(&self) -> bool {
        self.charged.load(Ordering::Acquire) == ANSWERED
    }

    pub(super) fn may_keep(&self) -> bool {
        self.may_keep
    }

    pub(super) fn gateway(&self) -> &Pod {
        &self.gateway
    }

    /// Keeps a whole answer before it is settled: should this pod die in between, the answer can be repeated and
    /// its hold is charged once, as lost.
    pub(crate) fn keep_whole(
        &self,
        response: &Response<GatewayBody>,
        body: &[u8],
    ) -> Option<impl Future<Output = ()> + Send + use<>> {
        let max = self.gateway.config.idempotency.max_answer_bytes;
        let end = if !self.may_keep {
            IdempotencyEnd::Spent(NoAnswer::Forbidden)
        } else if body.len() > max {
            IdempotencyEnd::Spent(NoAnswer::TooLarge)
        } else {
            let mut bytes = self.head(response);
            bytes.extend_from_slice(body);
            IdempotencyEnd::Answered(StoredAnswer::new(bytes))
        };
        self.end(end)
    }

    pub(super) fn head(&self, response: &Response<GatewayBody>) -> Vec<u8> {
        encode_head(response, self.request)
    }

    /// Ends it, where it has not ended; what comes back waits until that is known elsewhere, but not long.
    pub(super) fn end(&self, end: IdempotencyEnd) -> Option<impl Future<Output = ()> + Send + use<>> {
        let sender = self.end.lock().take()?;
        let (done, known) = oneshot::channel();
        sender.send(RunEnd { end, done }).ok()?;
        Some(async {
            if tokio::time::timeout(KEEP_PATIENCE, known).await.is_err() {
                tracing::warn!("an answer is given before it could be kept for its idempotency key");
            }
        })
    }
}

impl Drop for OnceRun {
    fn drop(&mut self) {
        let end = match self.charged.load(Ordering::Acquire) {
            NOT_CHARGED => IdempotencyEnd::Released,
            _ => IdempotencyEnd::Spent(NoAnswer::Broken),
        };
        drop(self.end(end));
    }
}

/// Runs the request in a task of the pod, so that a client that leaves does not take a whole answer with it. A
/// stream is the client's: it ends with it. There are at most as many of these as places in the settlement queue.
pub(super) async fn run(
    gateway: &Pod,
    received: Received,
    once: Arc<OnceRun>,
) -> Result<Response<GatewayBody>, Refusal> {
    let (mut client, answer) = oneshot::channel();
    let pod = Pod::clone(gateway);
    gateway.idempotency.tasks.spawn(async move {
        if let Some(outcome) = outcome(&pod, received, once, &mut client).await {
            // a stream that nobody takes any more is dropped here, and ends
            drop(client.send(outcome));
        }
    });
    answer.await.unwrap_or_else(|_| Err(Refusal::new(ErrorKind::Internal, "a run ended without an answer")))
}

/// Gives back a claim whose answer never came: it may have been written. Where this fails too its lease ends it.
pub(super) fn release(gateway: &Pod, claim: IdempotencyClaim) {
    let pod = Pod::clone(gateway);
    gateway.idempotency.tasks.spawn(async move {
        let end = IdempotencyEnd::Released;
        if let Err(error) = pod.ledger.end_idempotency(&claim, &end, &bounds(&pod)).await {
            tracing::debug!(%error, "an idempotency key waits for the end of its lease");
        }
    });
}

type Outcome = Result<Response<GatewayBody>, Refusal>;

async fn outcome(
    pod: &Pod,
    received: Received,
    once: Arc<OnceRun>,
    client: &mut oneshot::Sender<Outcome>,
) -> Option<Outcome> {
    let mut priced = match pipeline::price(pod, received) {
        Ok(priced) => priced,
        Err(refusal) => return Some(Err(refusal)),
    };
    let is_stream = priced.skim.stream;
    priced.once = Some(Arc::clone(&once));
    let answering = pin!(pipeline::pay_and_send(pod, priced));
    tokio::select! {
        // dropping the pipeline settles what it had reserved
        answer = pod.out_of_grace.before(answering) => {
            let answer = answer.unwrap_or_else(|| Err(crate::error::shutting_down()));
            Some(answer.map(|response| RecordedBody::record(response, once)))
        }
        () = client.closed(), if is_stream => None,
    }
}

/// Waits for what runs on without a client, cuts it off in the end, and has the ledger told. To be called when no
/// request is in flight any more.
pub(crate) async fn drain(gateway: &Pod) {
    let tasks = &gateway.idempotency.tasks;
    tasks.close();
    let abandoned = ABANDONED_GRACE.min(gateway.config.grace);
    if tokio::time::timeout(abandoned, tasks.wait()).await.is_ok() {
        return;
    }
    gateway.out_of_grace.come();
    if tokio::time::timeout(LAST_ENDS, tasks.wait()).await.is_err() {
        tracing::warn!(tasks = tasks.len(), "the ledger did not learn of the last idempotency keys in time");
    }
}

/// Looks after a claim until its run has ended and the ledger knows.
struct Keeper {
    gateway: Pod,
    claim: IdempotencyClaim,
    ended: watch::Sender<Option<Ended>>,
}

// === impl Keeper ===

impl Keeper {
    async fn keep(self, mut run: oneshot::Receiver<RunEnd>) {
        let end = loop {
            tokio::select! {
                biased;
                end = &mut run => break end.ok(),
                () = tokio::time::sleep(self.gateway.config.renew_every) => self.renew().await,
            }
        };
        // a run always ends: its drop tells how
        let Some(RunEnd { end, done }) = end else { return self.forget(None) };
        if let IdempotencyEnd::Answered(answer) = &end {
            self.ended.send_replace(Some(Ended::Answered(answer.clone())));
        }
        self.tell(&end).await;
        self.forget(Some(done));
    }

    async fn renew(&self) {
        match self.gateway.ledger.claim_idempotency(&self.claim, &bounds(&self.gateway)).await {
            Ok(IdempotencyState::Claimed) => {}
            Ok(state) => {
                tracing::warn!(request = %self.claim.owner, ?state, "the lease of an idempotency key was lost");
            }
            Err(error) => tracing::warn!(%error, "the lease of an idempotency key could not be renewed"),
        }
    }

    /// Tries for as long as the lease lasts: whoever comes after that runs.
    async fn tell(&self, end: &IdempotencyEnd) {
        let give_up_at = Instant::now() + self.gateway.config.lease;
        let mut pause = FIRST_RETRY;
        loop {
            match self.gateway.ledger.end_idempotency(&self.claim, end, &bounds(&self.gateway)).await {
                Ok(IdempotencyEnded::Remembered | IdempotencyEnded::WithoutAnswer) => return,
                Ok(IdempotencyEnded::TakenOver) => {
                    if *end != IdempotencyEnd::Released {
                        let request = self.claim.owner;
                        tracing::warn!(%request, "an idempotency key was run again before its first run ended");
                    }
                    return;
                }
                Err(error) if Instant::now() >= give_up_at => {
                    tracing::error!(%error, "the end of an idempotency key is lost: a repeat runs again");
                    return;
                }
                Err(_) => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_RETRY);
        }
    }

    /// Those who wait go on, and nobody else finds it.
    fn forget(&self, done: Option<oneshot::Sender<()>>) {
        self.gateway.idempotency.running.lock().remove(&self.claim.name);
        self.ended.send_if_modified(|ended| {
            let is_new = ended.is_none();
            ended.get_or_insert(Ended::Otherwise);
            is_new
        });
        if let Some(done) = done {
            // nobody may be waiting for it
            let _ = done.send(());
        }
    }
}
