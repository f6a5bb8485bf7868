//! Finished requests from the ledger's outbox into the journal: read, write, then acknowledge. The journal
//! takes each event once by its id, so that a batch may be repeated whole after any failure.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tollgate_domain::{EventId, UsageEvent};
use tollgate_ledger::{Ledger, LedgerError, OutboxEntry, OutboxHandle};
use tollgate_store::{Store, StoreError};

use super::AlertSignals;

/// Pause after a batch that was not full, for the next one to gather: a transaction costs the same for one
/// event as for hundreds, and under load one per few events was the dearest part of a request.
const GATHER: Duration = Duration::from_millis(50);
/// Events written in one transaction: large enough to keep up, small enough to be quick to repeat.
const MAX_BATCH: usize = 500;
/// How long a read waits for the first event; also how late a stop is noticed at most, and how long a reseed, while
/// tenants are closed, waits for a read that takes nothing.
const READ_BLOCK_MS: u64 = 10;
/// How soon a ledger that did not tell what is in its outbox is asked again.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(10);
/// First wait after a read that failed, which doubles: a stream that was lost meanwhile is there again at the next.
const MIN_READ_BACKOFF: Duration = Duration::from_millis(10);
/// Longest wait after a read that failed.
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

/// Passes over the outbox: each is a read, and the writing of what was read. A read that failed ends its pass.
#[derive(Debug, Default)]
struct Passes {
    begun: AtomicU64,
    /// The last one that has ended.
    ended: watch::Sender<u64>,
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
                if (1..MAX_BATCH).contains(&n_entries) {
                    tokio::select! {
                        () = tokio::time::sleep(GATHER) => {}
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

    /// Journals everything that is in the outbox now, also what another process took from it, and waits for what this
    /// one took from a ledger that has lost it since. What comes later is left to the writer.
    ///
    /// Tenants are closed meanwhile. So it does not wait for the writer's passes, one transaction after the other,
    /// over an outbox that an older copy of the ledger has filled again: most of that is journaled, which a query
    /// tells. What is left may be written twice at the same time, and is journaled once.
    ///
    /// # Errors
    /// The database's own.
    pub(crate) async fn drained(&self) -> Result<(), StoreError> {
        let mut mark = loop {
            match self.ledger.outbox_mark().await {
                Ok(mark) => break mark,
                Err(error) => self.ask_again_after(&error).await,
            }
        };
        let mut ended = self.passes.ended.subscribe();
        let under_way = self.passes.begun.load(Ordering::Acquire);
        let taken = async {
            // the sender lives as long as this writer
            let _ = ended.wait_for(|pass| *pass >= under_way).await;
            Ok(())
        };
        let there = async {
            while !mark.is_empty() {
                match self.ledger.outbox_look(&mut mark, MAX_BATCH).await {
                    Ok(entries) => {
                        // what is no event is for the writer to set aside
                        let Batch { events, handles, .. } = Batch::of(entries);
                        self.journal_missing(&events).await?;
                        // what is left here keeps every pod from forgetting what it settled since
                        if let Err(error) = self.ledger.outbox_acknowledge(&handles).await {
                            self.failed(&error);
                        }
                    }
                    Err(error) => self.ask_again_after(&error).await,
                }
            }
            Ok(())
        };
        tokio::try_join!(taken, there).map(drop)
    }

    /// Journals those events that are not: most are, and looking is cheaper than writing.
    ///
    /// # Errors
    /// The database's own; some may be journaled.
    pub(crate) async fn journal_missing(&self, events: &[Arc<UsageEvent>]) -> Result<(), StoreError> {
        let ids: Vec<EventId> = events.iter().map(|event| event.event).collect();
        let journaled = self.store.journaled_among(&ids).await?;
        let missing = events.iter().filter(|event| !journaled.contains(&event.event));
        let missing: Vec<_> = missing.map(Arc::clone).collect();
        for part in missing.chunks(MAX_BATCH) {
            self.store.journal_events(part).await?;
        }
        // also for what was there before: whoever wrote it may have died before anybody was told
        self.alerts.journaled(events);
        Ok(())
    }

    async fn ask_again_after(&self, error: &LedgerError) {
        self.failed(error);
        tokio::time::sleep(ASK_AGAIN_AFTER).await;
    }

    /// One pass. Answers how many entries it had.
    async fn pass(&self, block_ms: u64) -> usize {
        let pass = self.passes.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let read = self.ledger.outbox_read(MAX_BATCH, block_ms).await;
        let n_entries = match &read {
            Ok(entries) => entries.len(),
            Err(_) => 0,
        };
        let pause = match read {
            Ok(entries) => {
                self.read_failures.store(0, Ordering::Relaxed);
                self.write_all(entries).await;
                None
            }
            Err(error) => {
                self.failed(&error);
                let n_failures = self.read_failures.fetch_add(1, Ordering::Relaxed);
                let doubled =
                    MIN_READ_BACKOFF * 2_u32.saturating_pow(u32::try_from(n_failures).unwrap_or(u32::MAX));
                Some(jittered(doubled.min(MAX_READ_BACKOFF)))
            }
        };
        self.passes.ended.send_replace(pass);
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
        n_entries
    }

    /// Writes a batch, repeating it until it is written.
    async fn write_all(&self, entries: Vec<OutboxEntry>) {
        if entries.is_empty() {
            return;
        }
        let mut batch = Batch::of(entries);
        let mut backoff = MIN_BACKOFF;
        loop {
            match self.write(&mut batch).await {
                Ok(()) => return,
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
