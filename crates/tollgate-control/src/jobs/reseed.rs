//! Reseeds: what the ledger has of a tenant is replaced by what is true, when the ledger was lost, restarted,
//! failed over, or does not have what a pod holds.
//!
//! In this order, so that nothing can happen in between (money.md §5 in the design, and the ledger's `Reseed`):
//! the old epoch is closed, also where there is none; every pod tells what it has under way; what they settled
//! and what is left in the outbox is journaled; then the journal's sums and the pods' holds are written under a
//! new epoch. Tenants that are asked for at the same time are done together.

mod sweep;
mod work;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tollgate_domain::{Clock, EventId, HoldId, NodeId, TenantId};
use tollgate_ledger::{Epoch, Ledger, LedgerError, ReseedOutcome, TenantEpoch, UnjournaledEvent};
use tollgate_store::{Store, StoreError};

pub(crate) use self::sweep::sweep;
use self::work::{TenantWork, compare_all, read_all, works_of};
use crate::AppError;
use crate::jobs::JournalWriter;
use crate::jobs::noted_holds::noted_report;
use crate::roster::{PodReports, PodRoster};

/// Tenants done together: their pods are asked once, and a request that comes now waits for no more than these.
const MAX_BATCH: usize = 128;
/// Requests waiting; beyond it callers wait for room.
const MAX_WAITING: usize = 10_000;
/// How long the outbox may take to be drained: it holds what fits between two passes of the journal writer.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// After a reseed that heard a pod, the same pod's older request is answered by it.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// How the reseeds fare.
#[derive(Debug, Default)]
pub(crate) struct ReseedCounters {
    pub(crate) reseeded: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) microseconds: AtomicU64,
    pub(crate) batches: AtomicU64,
}

struct Asked {
    tenant: TenantId,
    /// The pod that holds something of another epoch.
    wrong_epoch_of: Option<Option<NodeId>>,
    asked_at: Instant,
    reply: Option<oneshot::Sender<Result<(), String>>>,
}

/// The way to have tenants reseeded. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Reseeds {
    queue: mpsc::Sender<Asked>,
    sweep_now: Arc<Notify>,
    pub(crate) counters: Arc<ReseedCounters>,
}

impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asked").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

impl Reseeds {
    /// A queue and its end for [`Reseeder`].
    pub(crate) fn new() -> (Self, ReseedQueue) {
        let (queue, receiver) = mpsc::channel(MAX_WAITING);
        let this = Self { queue, sweep_now: Arc::default(), counters: Arc::default() };
        (this.clone(), ReseedQueue { receiver, counters: this.counters, sweep_now: this.sweep_now })
    }

    /// Has `tenant` reseeded unless its epoch answers by now. `wrong_epoch_of` says that a pod holds something
    /// of another epoch: then it is reseeded also where the epoch answers.
    ///
    /// # Errors
    /// Unavailable, with the reason.
    pub(crate) async fn reseed(
        &self,
        tenant: TenantId,
        wrong_epoch_of: Option<Option<NodeId>>,
    ) -> Result<(), AppError> {
        let (reply, answer) = oneshot::channel();
        let asked = Asked { tenant, wrong_epoch_of, asked_at: Instant::now(), reply: Some(reply) };
        let stopped = || AppError::Unavailable("the control plane stops: try again".to_owned());
        self.queue.send(asked).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?.map_err(AppError::Unavailable)
    }
}

/// The end of the queue that [`Reseeder`] works off.
#[derive(Debug)]
pub(crate) struct ReseedQueue {
    receiver: mpsc::Receiver<Asked>,
    counters: Arc<ReseedCounters>,
    sweep_now: Arc<Notify>,
}

/// A reseed that was done.
struct Fresh {
    done_at: Instant,
    heard: BTreeSet<NodeId>,
}

/// The task that reseeds.
pub(crate) struct Reseeder {
    pub(crate) store: Store,
    pub(crate) ledger: Ledger,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) roster: PodRoster,
    pub(crate) journal: JournalWriter,
}

type Outcomes = HashMap<TenantId, Result<(), String>>;

/// What became of a batch.
struct Done {
    outcomes: Outcomes,
    /// Where something was reseeded: what, and which pods were heard.
    heard: Option<Heard>,
    /// Whether the ledger had lost something.
    is_lost: bool,
}

struct Heard {
    tenants: BTreeSet<TenantId>,
    pods: BTreeSet<NodeId>,
}

/// A tenant that waits for its reseed.
struct Closed {
    /// Under which it was closed, before anything was gathered.
    epoch: Epoch,
    /// Whether the ledger had lost all of it.
    was_lost: bool,
}

impl Reseeder {
    /// Works off the queue until `stop`.
    pub(crate) async fn run(self, mut queue: ReseedQueue, stop: CancellationToken) {
        let mut fresh: HashMap<TenantId, Fresh> = HashMap::new();
        while let Some(Some(first)) = stop.run_until_cancelled(queue.receiver.recv()).await {
            let mut asked: BTreeMap<TenantId, Vec<Asked>> = BTreeMap::new();
            let mut next = Some(first);
            while let Some(one) = next {
                asked.entry(one.tenant).or_default().push(one);
                next = (asked.len() < MAX_BATCH).then(|| queue.receiver.try_recv().ok()).flatten();
            }
            fresh.retain(|_, fresh| fresh.done_at.elapsed() < FRESH_FOR);
            let began = Instant::now();
            let Done { mut outcomes, heard, is_lost } = self.batch(&asked, &fresh).await;
            queue.counters.batches.fetch_add(1, Ordering::Relaxed);
            let elapsed = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            queue.counters.microseconds.fetch_add(elapsed, Ordering::Relaxed);
            if is_lost {
                // what was lost of one tenant was lost of many
                queue.sweep_now.notify_one();
            }
            for (tenant, asked) in asked {
                let outcome = outcomes.remove(&tenant).unwrap_or_else(|| Err("it was left out".to_owned()));
                let counter = if outcome.is_ok() { &queue.counters.reseeded } else { &queue.counters.failed };
                counter.fetch_add(1, Ordering::Relaxed);
                if let Some(heard) = heard.as_ref().filter(|heard| heard.tenants.contains(&tenant)) {
                    fresh.insert(tenant, Fresh { done_at: Instant::now(), heard: heard.pods.clone() });
                }
                for reply in asked.into_iter().filter_map(|one| one.reply) {
                    // who asked may have given up
                    let _ = reply.send(outcome.clone());
                }
            }
        }
    }

    /// Reseeds what needs it.
    async fn batch(&self, asked: &BTreeMap<TenantId, Vec<Asked>>, fresh: &HashMap<TenantId, Fresh>) -> Done {
        let tenants: Vec<TenantId> = asked.keys().copied().collect();
        let mut outcomes = Outcomes::new();
        let done = async {
            let mut is_lost = false;
            let closed = self.close(&tenants, asked, fresh, &mut outcomes, &mut is_lost).await?;
            if closed.is_empty() {
                return Ok((None, is_lost));
            }
            let tenants = closed.keys().copied().collect();
            let pods = self.reseed(closed, &mut outcomes).await?;
            Ok((Some(Heard { tenants, pods }), is_lost))
        };
        match done.await {
            Ok((heard, is_lost)) => Done { outcomes, heard, is_lost },
            Err(Failure(reason)) => {
                tracing::warn!(
                    tenants = tenants.len(),
                    reason,
                    "tenants are closed: they cannot be reseeded yet"
                );
                for tenant in tenants {
                    outcomes.entry(tenant).or_insert_with(|| Err(reason.clone()));
                }
                Done { outcomes, heard: None, is_lost: true }
            }
        }
    }

    /// The tenants whose epoch does not answer, closed by now in this run of the server. The others are done. Notes
    /// whether something was lost.
    async fn close(
        &self,
        tenants: &[TenantId],
        asked: &BTreeMap<TenantId, Vec<Asked>>,
        fresh: &HashMap<TenantId, Fresh>,
        outcomes: &mut Outcomes,
        is_lost: &mut bool,
    ) -> Result<BTreeMap<TenantId, Closed>, Failure> {
        let (mut to_close, mut seen) = (Vec::new(), Vec::new());
        for (tenant, epoch) in tenants.iter().zip(self.ledger.epochs(tenants).await?) {
            match epoch {
                Some(TenantEpoch { is_live: true, .. })
                    if !needs_fence(&asked[tenant], fresh.get(tenant)) =>
                {
                    drop(outcomes.insert(*tenant, Ok(())));
                }
                epoch => {
                    *is_lost |= epoch.as_ref().is_none_or(|epoch| !epoch.is_live && !epoch.epoch.is_fenced());
                    to_close.push(*tenant);
                    seen.push(epoch.map(|epoch| epoch.epoch));
                }
            }
        }
        if to_close.is_empty() {
            return Ok(BTreeMap::new());
        }
        // Also what is lost, and what is closed: it may be a copy of the time when somebody else closed it, and
        // has replaced it since. A pod's older connection may still be answered under an older epoch.
        let epochs = self.ledger.fence(&to_close).await?;
        let n_closed = seen.iter().zip(&epochs).filter(|(seen, epoch)| seen.as_ref() != Some(epoch)).count();
        if n_closed > 0 {
            tracing::warn!(
                tenants = n_closed,
                "the ledger was lost, or does not have what pods hold: tenants are closed"
            );
        }
        let closed =
            epochs.into_iter().zip(seen).map(|(epoch, seen)| Closed { epoch, was_lost: seen.is_none() });
        Ok(to_close.into_iter().zip(closed).collect())
    }

    async fn reseed(
        &self,
        closed: BTreeMap<TenantId, Closed>,
        outcomes: &mut Outcomes,
    ) -> Result<BTreeSet<NodeId>, Failure> {
        let tenants: Vec<TenantId> = closed.keys().copied().collect();
        let began = Instant::now();
        // where the tenants are lost the outbox is, too: what the pods still keep of it they have told
        let has_outbox = closed.values().any(|closed| !closed.was_lost);
        let drain = async {
            if has_outbox {
                tokio::time::timeout(DRAIN_TIMEOUT, self.journal.drained())
                    .await
                    .map_err(|_| Failure("the journal does not take what is in the outbox".to_owned()))??;
            }
            Ok(began.elapsed().as_millis())
        };
        let gather = async {
            let gathered = self.roster.gather(&tenants, &self.store, self.clock.now());
            let (gathered, noted) = tokio::join!(gathered, noted_report(&self.store, &tenants));
            let PodReports { answered, mut reports } = gathered.map_err(Failure)?;
            // what this process itself settled of holds that were abandoned, and what a gateway beside it holds
            reports.push(self.ledger.open_report(Some(&tenants)));
            // last: what a pod tells of its own is newer
            reports.push(noted?);
            let told_ms = began.elapsed().as_millis();
            let told = reports.iter().flat_map(|report| &report.events);
            let told: Vec<_> = told.map(|UnjournaledEvent { event, .. }| Arc::clone(event)).collect();
            self.journal.journal_missing(&told).await?;
            Ok::<_, Failure>((answered, reports, told_ms, began.elapsed().as_millis()))
        };
        // both after the tenants were closed: nothing is added to either
        let ((answered, reports, told_ms, gathered_ms), drained_ms) = tokio::try_join!(gather, drain)?;
        let above = reports.iter().map(|report| report.highest_epoch).max().unwrap_or(0);
        let mut works = compare_all(&self.ledger, works_of(closed, reports), &answered).await?;
        self.leave_out_what_is_journaled(&mut works).await?;
        let mut reseeds = Vec::with_capacity(works.len());
        for (tenant, read) in read_all(&self.store, self.clock.now(), works, above).await {
            match read {
                Ok(reseed) => reseeds.push(reseed),
                // it is left out
                Err(error) => drop(outcomes.insert(tenant, Err(error.to_string()))),
            }
        }
        let read_ms = began.elapsed().as_millis();
        let written = self.ledger.reseed(&reseeds).await?;
        let (tenants, took_ms) = (reseeds.len(), began.elapsed().as_millis());
        tracing::info!(tenants, told_ms, gathered_ms, drained_ms, read_ms, took_ms, "tenants were reseeded");
        for (reseed, outcome) in reseeds.iter().zip(written) {
            let done = match outcome {
                ReseedOutcome::Reseeded(epoch) => {
                    let (holds, tenant) = (reseed.holds.len(), reseed.tenant);
                    tracing::debug!(%tenant, %epoch, holds, "a tenant was reseeded");
                    Ok(())
                }
                ReseedOutcome::Changed(Some(epoch)) if !epoch.is_fenced() => {
                    tracing::debug!(%epoch, "somebody else was faster");
                    Ok(())
                }
                ReseedOutcome::Changed(_) => Err("the ledger was lost again meanwhile".to_owned()),
                ReseedOutcome::Live(_) => Err("its epoch answers again".to_owned()),
            };
            outcomes.insert(reseed.tenant, done);
        }
        Ok(answered)
    }

    /// A pod may not have heard yet that a hold of its was settled, or the slab that it was admitted out of, which
    /// pays for it.
    async fn leave_out_what_is_journaled(&self, works: &mut [TenantWork]) -> Result<(), Failure> {
        let event_of = |hold: HoldId| EventId::from_uuid(hold.as_uuid());
        let holds = works.iter().flat_map(|work| &work.holds);
        let mut asked: Vec<EventId> =
            holds.flat_map(|hold| [Some(hold.hold), hold.slab]).flatten().map(event_of).collect();
        asked.sort_unstable();
        asked.dedup();
        let journaled = self.store.journaled_among(&asked).await?;
        for work in works {
            for hold in std::mem::take(&mut work.holds) {
                let is_paid = hold.slab.is_some_and(|slab| journaled.contains(&event_of(slab)));
                if journaled.contains(&event_of(hold.hold)) {
                    work.settled.insert(hold.hold);
                } else if !is_paid && !work.settled.contains(&hold.hold) {
                    work.holds.push(hold);
                }
            }
        }
        Ok(())
    }
}

/// Whether an epoch that answers is to be closed: a pod holds something that is not in it, and was not heard
/// when it was made.
fn needs_fence(asked: &[Asked], fresh: Option<&Fresh>) -> bool {
    let is_answered = |one: &Asked, pod: Option<NodeId>| {
        fresh.is_some_and(|fresh| match pod {
            Some(pod) => fresh.heard.contains(&pod),
            None => fresh.done_at >= one.asked_at,
        })
    };
    asked.iter().any(|one| one.wrong_epoch_of.is_some_and(|pod| !is_answered(one, pod)))
}

/// Why a whole batch failed.
struct Failure(String);

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        Self(error.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self(error.to_string())
    }
}
