//! Finished requests from the ledger's outbox into the journal: read, write, then acknowledge. The journal
//! takes each event once by its id, so that a batch may be repeated whole after any failure.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tollgate_domain::UsageEvent;
use tollgate_ledger::{Ledger, LedgerError, OutboxEntry, OutboxHandle};
use tollgate_store::{Store, StoreError};

use super::AlertSignals;

/// Pause after a batch that was not full, for the next one to gather: a transaction costs the same for one
/// event as for hundreds, and under load one per few events was the dearest part of a request.
const GATHER: Duration = Duration::from_millis(50);
/// Events written in one transaction: large enough to keep up, small enough to be quick to repeat.
const MAX_BATCH: usize = 500;
/// How long a read waits for the first event; also how late a stop, or the wish to have all of it journaled, is
/// noticed at most: tenants are closed meanwhile.
const READ_BLOCK_MS: u64 = 10;
/// While somebody waits for the journal to be complete, what another process has taken for so long is journaled here
/// as well: far more than writing a batch takes.
const RECLAIM_AFTER_MS: u64 = 50;
/// How soon a ledger that did not tell what is in its outbox is asked again.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(10);
/// First wait after a read that failed, which doubles: a stream that was lost meanwhile is there again at the next.
const MIN_READ_BACKOFF: Duration = Duration::from_millis(10);
/// Longest wait after a read that failed, unless somebody waits for the journal to be complete.
const MAX_READ_BACKOFF: Duration = Duration::from_secs(1);
/// First wait after a failure; it doubles.
const MIN_BACKOFF: Duration = Duration::from_millis(100);
/// Longest wait after a failure: a database that comes back is used within this.
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// How long a stop waits for what is left in the outbox.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How the journal writer fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalStatus {
    /// Events that this process journaled.
    pub journaled: u64,
    /// Events that had been journaled before.
    pub repeated: u64,
    /// Outbox entries that were no events; each was logged and set aside in the ledger.
    pub malformed: u64,
    /// Whether the last attempt failed: events wait in the outbox.
    pub is_failing: bool,
}

#[derive(Debug, Default)]
struct Counters {
    journaled: AtomicU64,
    repeated: AtomicU64,
    malformed: AtomicU64,
    is_failing: AtomicBool,
}

/// The writer. Cheap to clone; one task runs it.
#[derive(Clone, Debug)]
pub(crate) struct JournalWriter {
    store: Store,
    ledger: Ledger,
    counters: Arc<Counters>,
    passes: Arc<Passes>,
    /// Reads in a row that failed.
    read_failures: Arc<AtomicU64>,
    alerts: AlertSignals,
}

/// Passes over the outbox: each is a read, and the writing of what was read.
#[derive(Debug, Default)]
struct Passes {
    begun: AtomicU64,
    /// The last one that has ended.
    ended: watch::Sender<u64>,
    /// How many wait for the journal to be complete: no pause is made.
    waiting: AtomicUsize,
    /// Ends the present pause.
    hurry: Notify,
}

/// Somebody waits for the journal to be complete.
struct Waiting<'a>(&'a Passes);

impl<'a> Waiting<'a> {
    fn begin(passes: &'a Passes) -> Self {
        passes.waiting.fetch_add(1, Ordering::AcqRel);
        passes.hurry.notify_one();
        Self(passes)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

#[derive(Debug, thiserror::Error)]
enum JournalError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl JournalWriter {
    pub(crate) fn new(store: Store, ledger: Ledger, alerts: AlertSignals) -> Self {
        let (counters, passes, read_failures) = (Arc::default(), Arc::default(), Arc::default());
        Self { store, ledger, counters, passes, read_failures, alerts }
    }

    /// Journals events that came by another way than the outbox.
    pub(crate) async fn journal(&self, events: &[Arc<UsageEvent>]) -> Result<(), StoreError> {
        self.store.journal_events(events).await?;
        self.alerts.journaled(events);
        Ok(())
    }

    pub(crate) fn status(&self) -> JournalStatus {
        JournalStatus {
            journaled: self.counters.journaled.load(Ordering::Relaxed),
            repeated: self.counters.repeated.load(Ordering::Relaxed),
            malformed: self.counters.malformed.load(Ordering::Relaxed),
            is_failing: self.counters.is_failing.load(Ordering::Relaxed),
        }
    }

    /// Writes until `stop`, then what is left, for [`DRAIN_TIMEOUT`] at most.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let work = async {
            loop {
                let is_stopping = stop.is_cancelled();
                let n_entries = self.pass(if is_stopping { 0 } else { READ_BLOCK_MS }).await;
                if is_stopping && n_entries == 0 {
                    break;
                }
                if (1..MAX_BATCH).contains(&n_entries) && !self.passes.are_hurried() {
                    tokio::select! {
                        () = tokio::time::sleep(GATHER) => {}
                        () = self.passes.hurry.notified() => {}
                        () = stop.cancelled() => {}
                    }
                }
            }
        };
        let too_late = async {
            stop.cancelled().await;
            tokio::time::sleep(DRAIN_TIMEOUT).await;
        };
        tokio::select! {
            () = work => {}
            () = too_late => {
                tracing::warn!("the journal did not take everything before the stop; the rest stays in the outbox");
            }
        }
    }

    /// Waits until everything that is in the outbox now is journaled, also what another process took from it, and
    /// what this one took from a ledger that has lost it since. What comes later is not waited for.
    pub(crate) async fn drained(&self) {
        let passes = &self.passes;
        let _waiting = Waiting::begin(passes);
        let mark = loop {
            match self.ledger.outbox_mark().await {
                Ok(mark) => break mark,
                Err(error) => self.ask_again_after(&error).await,
            }
        };
        let mut ended = passes.ended.subscribe();
        let under_way = passes.begun.load(Ordering::Acquire);
        // the sender lives as long as this writer
        let _ = ended.wait_for(|pass| *pass >= under_way).await;
        loop {
            match self.ledger.outbox_holds(&mark).await {
                Ok(false) => return,
                // what another process has taken is seen gone at the end of one of our passes
                Ok(true) => drop(ended.changed().await),
                Err(error) => self.ask_again_after(&error).await,
            }
        }
    }

    async fn ask_again_after(&self, error: &LedgerError) {
        self.failed(error);
        tokio::time::sleep(ASK_AGAIN_AFTER).await;
    }

    /// One pass. Answers how many entries it had.
    async fn pass(&self, block_ms: u64) -> usize {
        let pass = self.passes.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let n_entries = self.write_next(block_ms).await;
        self.passes.ended.send_replace(pass);
        n_entries
    }

    /// Writes the next batch, repeating it until it is written. Answers how many entries it had.
    async fn write_next(&self, block_ms: u64) -> usize {
        let entries = match self.read(block_ms).await {
            Ok(entries) => entries,
            Err(error) => {
                self.failed(&error);
                let n_failures = self.read_failures.fetch_add(1, Ordering::Relaxed);
                let pause =
                    MIN_READ_BACKOFF * 2_u32.saturating_pow(u32::try_from(n_failures).unwrap_or(u32::MAX));
                tokio::select! {
                    () = tokio::time::sleep(jittered(pause.min(MAX_READ_BACKOFF))) => {}
                    // a tenant is closed until what is in the outbox is journaled: the ledger is back, or is about to be
                    () = self.passes.hurry.notified() => self.read_failures.store(0, Ordering::Relaxed),
                }
                return 0;
            }
        };
        self.read_failures.store(0, Ordering::Relaxed);
        let n_entries = entries.len();
        if n_entries == 0 {
            return 0;
        }
        let mut batch = Batch::of(entries);
        let mut backoff = MIN_BACKOFF;
        loop {
            match self.write(&mut batch).await {
                Ok(()) => return n_entries,
                Err(error) => self.failed(&error),
            }
            tokio::time::sleep(jittered(backoff)).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
    }

    /// What is new; where there is nothing and somebody waits for the journal to be complete, what somebody else took
    /// and has not journaled: another process, one that died, or this one before the ledger was replaced by an
    /// older copy of itself.
    async fn read(&self, block_ms: u64) -> Result<Vec<OutboxEntry>, LedgerError> {
        let entries = self.ledger.outbox_read(MAX_BATCH, block_ms).await?;
        if !entries.is_empty() || !self.passes.are_hurried() {
            return Ok(entries);
        }
        self.ledger.outbox_reclaim(MAX_BATCH, RECLAIM_AFTER_MS).await
    }

    async fn write(&self, batch: &mut Batch) -> Result<(), JournalError> {
        let Batch { events, handles, malformed } = batch;
        if !malformed.is_empty() {
            let moved = self.ledger.outbox_set_aside(malformed).await?;
            self.counters.malformed.fetch_add(moved, Ordering::Relaxed);
            // What found no room stays in the outbox and comes again.
            malformed.clear();
        }
        if !events.is_empty() {
            let inserted = self.store.journal_events(events).await?;
            self.counters.journaled.fetch_add(inserted, Ordering::Relaxed);
            // also for what was there before: whoever wrote it may have died before anybody was told
            self.alerts.journaled(events);
            let repeated = (events.len() as u64).saturating_sub(inserted);
            self.counters.repeated.fetch_add(repeated, Ordering::Relaxed);
        }
        self.ledger.outbox_acknowledge(handles).await?;
        if self.counters.is_failing.swap(false, Ordering::Relaxed) {
            tracing::info!("the journal takes events again");
        }
        Ok(())
    }

    /// Logs the first failure of a series.
    fn failed(&self, error: &(dyn std::error::Error + 'static)) {
        if !self.counters.is_failing.swap(true, Ordering::Relaxed) {
            tracing::warn!(error, "the journal does not take events; they wait in the outbox");
        }
    }
}

impl Passes {
    fn are_hurried(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }
}

/// What was read at once: what goes into the journal, and what cannot.
struct Batch {
    events: Vec<Arc<UsageEvent>>,
    handles: Vec<OutboxHandle>,
    malformed: Vec<OutboxHandle>,
}

impl Batch {
    fn of(entries: Vec<OutboxEntry>) -> Self {
        let (events, handles) = (Vec::with_capacity(entries.len()), Vec::with_capacity(entries.len()));
        let mut batch = Self { events, handles, malformed: Vec::new() };
        for entry in entries {
            match entry.event {
                Ok(event) => {
                    batch.events.push(event);
                    batch.handles.push(entry.handle);
                }
                Err(reason) => {
                    let OutboxHandle { shard, id } = &entry.handle;
                    tracing::error!(shard, id, reason, "an outbox entry is no event: it is set aside");
                    batch.malformed.push(entry.handle);
                }
            }
        }
        batch
    }
}

/// Between half of `base` and all of it, so that replicas do not try in step.
fn jittered(base: Duration) -> Duration {
    let random = crate::secrets::random_bytes::<1>().map_or(0, |[byte]| byte);
    base / 2 + base * u32::from(random) / 510
}
