//! The outbox in this process: events wait for the journal, delivered ones for its acknowledgement.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tollgate_domain::{Clock, EventId, TenantId, UnixMillis, UsageEvent};

use crate::holds::UnjournaledEvent;
use crate::ledger::MAX_SET_ASIDE;
use crate::types::{OutboxEntry, OutboxHandle, OutboxMark, OutboxSpan};

/// After so long without acknowledgement an event is delivered again: far above what a journal batch takes.
pub(super) const REDELIVERY_MS: i64 = 30_000;

#[derive(Default)]
pub(super) struct Outbox {
    queue: Mutex<Queue>,
    /// Kept beside the queue so that every admission can look without its lock.
    n_events: AtomicUsize,
    arrived: Notify,
}

#[derive(Default)]
struct Queue {
    next_id: u64,
    waiting: VecDeque<(u64, UnjournaledEvent)>,
    delivered: BTreeMap<u64, Delivered>,
    set_aside: Vec<Arc<UsageEvent>>,
}

struct Delivered {
    event: UnjournaledEvent,
    at: UnixMillis,
}

impl Outbox {
    pub(super) fn len(&self) -> usize {
        self.n_events.load(Ordering::Relaxed)
    }

    /// Takes everything from another one.
    pub(super) fn replace_with(&self, other: &Self) {
        let theirs = std::mem::take(&mut *other.queue.lock());
        let n_events = other.n_events.swap(0, Ordering::Relaxed);
        *self.queue.lock() = theirs;
        self.n_events.store(n_events, Ordering::Relaxed);
    }

    pub(super) fn push(&self, event: UnjournaledEvent) {
        let mut queue = self.queue.lock();
        let id = queue.next_id;
        queue.next_id += 1;
        queue.waiting.push_back((id, event));
        self.n_events.fetch_add(1, Ordering::Relaxed);
        drop(queue);
        self.arrived.notify_one();
    }

    /// Every event that is not acknowledged and is about one of the tenants.
    pub(super) fn unjournaled(&self, is_asked: impl Fn(TenantId) -> bool) -> Vec<UnjournaledEvent> {
        let queue = self.queue.lock();
        let delivered = queue.delivered.values().map(|delivered| &delivered.event);
        let waiting = queue.waiting.iter().map(|(_, event)| event);
        delivered.chain(waiting).filter(|event| is_asked(event.event.tenant)).cloned().collect()
    }

    pub(super) async fn read(&self, max: usize, block_ms: u64, clock: &dyn Clock) -> Vec<OutboxEntry> {
        let deadline = Instant::now() + Duration::from_millis(block_ms);
        loop {
            let entries = self.queue.lock().take(max, clock.now());
            if !entries.is_empty() {
                return entries;
            }
            // A push between the look and the wait is not missed: `notify_one` leaves a permit.
            if tokio::time::timeout_at(deadline, self.arrived.notified()).await.is_err() {
                return entries;
            }
        }
    }

    /// The events that are waited for no longer.
    pub(super) fn acknowledge(&self, handles: &[OutboxHandle]) -> Vec<EventId> {
        let mut queue = self.queue.lock();
        let mut journaled = Vec::with_capacity(handles.len());
        for id in handles.iter().filter_map(|handle| handle.id.parse().ok()) {
            if let Some(delivered) = queue.delivered.remove(&id) {
                journaled.push(delivered.event.event.event);
            }
        }
        self.n_events.fetch_sub(journaled.len(), Ordering::Relaxed);
        journaled
    }

    /// Every event that is not acknowledged, those that were set aside included.
    pub(super) fn all(&self) -> Vec<Arc<UsageEvent>> {
        let queue = self.queue.lock();
        let delivered = queue.delivered.values().map(|delivered| &delivered.event.event);
        let waiting = queue.waiting.iter().map(|(_, event)| &event.event);
        queue.set_aside.iter().chain(delivered).chain(waiting).cloned().collect()
    }

    pub(super) fn set_aside(&self, handles: &[OutboxHandle]) -> u64 {
        let mut queue = self.queue.lock();
        let n_before = queue.set_aside.len();
        for id in handles.iter().filter_map(|handle| handle.id.parse().ok()) {
            if queue.set_aside.len() >= MAX_SET_ASIDE {
                break;
            }
            if let Some(delivered) = queue.delivered.remove(&id) {
                queue.set_aside.push(delivered.event.event);
                self.n_events.fetch_sub(1, Ordering::Relaxed);
            }
        }
        (queue.set_aside.len() - n_before) as u64
    }

    pub(super) fn mark(&self) -> OutboxMark {
        let queue = self.queue.lock();
        let last = queue.next_id.checked_sub(1).filter(|_| self.len() > 0);
        let span = |id: u64| OutboxSpan { shard: 0, after: None, last: id.to_string() };
        OutboxMark(last.map(span).into_iter().collect())
    }

    /// The next entries of the mark, which is shortened by them.
    pub(super) fn look(&self, mark: &mut OutboxMark, max: usize) -> Vec<OutboxEntry> {
        let Some(OutboxSpan { after, last, .. }) = mark.0.first_mut() else { return Vec::new() };
        let number = |id: &str| id.parse::<u64>().expect("only this outbox makes its marks");
        let (first, last) = (after.as_deref().map_or(0, |id| number(id) + 1), number(last));
        let queue = self.queue.lock();
        let delivered = queue.delivered.iter().map(|(id, delivered)| (*id, &delivered.event));
        let waiting = queue.waiting.iter().map(|(id, event)| (*id, event));
        // whatever was delivered came before all that waits
        let asked = delivered.chain(waiting).filter(|(id, _)| (first..=last).contains(id));
        let entries: Vec<_> = asked.take(max).map(|(id, event)| entry(id, event.event.clone())).collect();
        drop(queue);
        match entries.last().filter(|_| entries.len() >= max) {
            Some(shown) => *after = Some(shown.handle.id.clone()),
            None => mark.0.clear(),
        }
        entries
    }

    pub(super) fn set_aside_len(&self) -> u64 {
        self.queue.lock().set_aside.len() as u64
    }
}

impl Queue {
    /// Abandoned deliveries first, then what waits.
    fn take(&mut self, max: usize, now: UnixMillis) -> Vec<OutboxEntry> {
        let mut entries = self.take_abandoned(max, now);
        while entries.len() < max {
            let Some((id, event)) = self.waiting.pop_front() else { break };
            entries.push(entry(id, event.event.clone()));
            self.delivered.insert(id, Delivered { event, at: now });
        }
        entries
    }

    fn take_abandoned(&mut self, max: usize, now: UnixMillis) -> Vec<OutboxEntry> {
        let abandoned = self.delivered.iter_mut().filter(|(_, one)| now.since(one.at) >= REDELIVERY_MS);
        let mut entries = Vec::new();
        for (id, delivered) in abandoned.take(max) {
            delivered.at = now;
            entries.push(entry(*id, delivered.event.event.clone()));
        }
        entries
    }
}

fn entry(id: u64, event: Arc<UsageEvent>) -> OutboxEntry {
    OutboxEntry { handle: OutboxHandle { shard: 0, id: id.to_string() }, event: Ok(event) }
}
