//! Finished requests from the ledger's outbox into the journal: read, write, then acknowledge. The journal
//! takes each event once by its id, so that a batch may be repeated whole after any failure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
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
/// A shard of which fewer were read has no more: the ledger reads at least this share of a batch of each.
const SHARE_OF_A_SHARD: usize = MAX_BATCH / 16;
/// What a process read that died is delivered again within this time.
const REDELIVERED_WITHIN: Duration = Duration::from_secs(40);
/// How often it is looked whether that has happened.
const REDELIVERY_POLL: Duration = Duration::from_millis(50);
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
    started_at: Instant,
    alerts: AlertSignals,
}

/// Passes over the outbox: each begins with a read.
#[derive(Debug, Default)]
struct Passes {
    begun: AtomicU64,
    /// Of the last two in a row that left nothing behind, journaled by now, the first one. Two, because a read
    /// that finds what a dead process left has not looked at what is new.
    exhaustive: watch::Sender<u64>,
    /// The last one that was exhaustive, where the next one was not finished yet.
    last_exhaustive: AtomicU64,
    /// Up to which one no pause is made.
    hurry_until: AtomicU64,
    /// Ends the present pause.
    hurry: Notify,
    /// Whether whatever is delivered and not acknowledged was delivered to this process.
    is_own: AtomicBool,
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
        Self { store, ledger, counters, passes, read_failures, started_at: Instant::now(), alerts }
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
            self.has_inherited().await;
            loop {
                let is_stopping = stop.is_cancelled();
                let waits = !is_stopping && !self.passes.are_hurried();
                let n_entries = self.write_next(if waits { READ_BLOCK_MS } else { 0 }).await;
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

    /// Waits until everything that is in the outbox now is journaled, also what a process took from it that died
    /// a moment ago.
    pub(crate) async fn drained(&self) {
        let next = self.passes.begun.load(Ordering::Acquire) + 1;
        self.passes.hurry_until.fetch_max(next + 1, Ordering::AcqRel);
        self.passes.hurry.notify_one();
        let mut exhaustive = self.passes.exhaustive.subscribe();
        // the sender lives as long as this writer
        let _ = exhaustive.wait_for(|pass| *pass >= next).await;
        while self.has_inherited().await {
            tokio::time::sleep(REDELIVERY_POLL).await;
        }
    }

    /// Whether the outbox may still hold what a process took from it that died before this one began: until it
    /// was seen empty once, or everything was delivered again.
    async fn has_inherited(&self) -> bool {
        if !self.passes.is_own.load(Ordering::Acquire)
            && (self.started_at.elapsed() > REDELIVERED_WITHIN || self.ledger.outbox_len().await == Ok(0))
        {
            self.passes.is_own.store(true, Ordering::Release);
        }
        !self.passes.is_own.load(Ordering::Acquire)
    }

    /// Writes the next batch, repeating it until it is written. Answers how many entries it had.
    async fn write_next(&self, block_ms: u64) -> usize {
        let pass = self.passes.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let entries = match self.ledger.outbox_read(MAX_BATCH, block_ms).await {
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
        let is_exhaustive = left_nothing(&entries);
        if n_entries == 0 {
            self.passes.left_nothing(pass);
            return 0;
        }
        let mut batch = Batch::of(entries);
        let mut backoff = MIN_BACKOFF;
        loop {
            match self.write(&mut batch).await {
                Ok(()) => {
                    if is_exhaustive {
                        self.passes.left_nothing(pass);
                    }
                    return n_entries;
                }
                Err(error) => self.failed(&error),
            }
            tokio::time::sleep(jittered(backoff)).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
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
        self.begun.load(Ordering::Acquire) < self.hurry_until.load(Ordering::Acquire)
    }

    fn left_nothing(&self, pass: u64) {
        if self.last_exhaustive.swap(pass, Ordering::AcqRel) + 1 == pass {
            self.exhaustive.send_replace(pass - 1);
        }
    }
}

/// Whether a read has left nothing in the outbox.
fn left_nothing(entries: &[OutboxEntry]) -> bool {
    let mut of_shards: BTreeMap<u16, usize> = BTreeMap::new();
    entries.iter().for_each(|entry| *of_shards.entry(entry.handle.shard).or_default() += 1);
    of_shards.values().all(|n| *n < SHARE_OF_A_SHARD)
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
