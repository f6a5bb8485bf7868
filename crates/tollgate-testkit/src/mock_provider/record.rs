//! What the mock has seen: every request up to a bound, and counts without one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use tokio::sync::Notify;

use super::lock;
use super::request::ReceivedRequest;
use crate::wait::within_wait_timeout;

/// Requests kept in memory; older ones are dropped. With 1 KiB bodies this is some 50 MiB.
pub const RECORDED_REQUESTS_MAX: usize = 30_000;

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerEnd {
    /// Being answered, or held.
    InFlight,
    /// Written to the end (into the kernel's buffers; whether the client read it is not known here).
    Complete,
    /// Broken off because the script says so, or because the mock was stopped.
    BrokenOff,
    /// The client closed its connection before the end.
    ClientDisconnected,
}

/// Counts since the mock's start; they never forget, whatever is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections accepted.
    pub n_connections: u64,
    /// Connections open now.
    pub n_open_connections: u64,
    /// Requests read completely.
    pub n_received: u64,
    /// Requests being answered now.
    pub n_in_flight: u64,
    /// The most requests that were being answered at one time.
    pub n_in_flight_max: u64,
    /// Answers written to the end.
    pub n_complete: u64,
    /// Answers broken off by their script or by a stop of the mock.
    pub n_broken_off: u64,
    /// Answers whose client went away first.
    pub n_disconnects: u64,
    /// Connections that ended with half a request or one that is not HTTP/1.1.
    pub n_bad_requests: u64,
}

#[derive(Default)]
pub(super) struct Recorder {
    requests: Mutex<VecDeque<Arc<ReceivedRequest>>>,
    is_off: AtomicBool,
    changed: Notify,
    n_connections: AtomicU64,
    n_connections_closed: AtomicU64,
    n_numbered: AtomicU64,
    n_received: AtomicU64,
    n_in_flight: AtomicU64,
    n_in_flight_max: AtomicU64,
    n_complete: AtomicU64,
    n_broken_off: AtomicU64,
    n_disconnects: AtomicU64,
    n_bad_requests: AtomicU64,
}

impl Recorder {
    pub(super) fn set_recording(&self, record: bool) {
        self.is_off.store(!record, SeqCst);
    }

    pub(super) fn requests(&self) -> Vec<Arc<ReceivedRequest>> {
        lock(&self.requests).iter().cloned().collect()
    }

    pub(super) fn clear(&self) {
        lock(&self.requests).clear();
    }

    pub(super) fn connection_opened(&self) {
        self.n_connections.fetch_add(1, SeqCst);
        self.changed.notify_waiters();
    }

    pub(super) fn connection_closed(&self) {
        self.n_connections_closed.fetch_add(1, SeqCst);
        self.changed.notify_waiters();
    }

    pub(super) fn bad_request(&self) {
        self.n_bad_requests.fetch_add(1, SeqCst);
        self.changed.notify_waiters();
    }

    /// The number of the next request, counting from 1.
    pub(super) fn next_sequence(&self) -> u64 {
        self.n_numbered.fetch_add(1, SeqCst) + 1
    }

    pub(super) fn request_received(&self, request: &Arc<ReceivedRequest>) {
        if !self.is_off.load(SeqCst) {
            let mut requests = lock(&self.requests);
            if requests.len() >= RECORDED_REQUESTS_MAX {
                requests.pop_front();
            }
            requests.push_back(Arc::clone(request));
        }
        let in_flight = self.n_in_flight.fetch_add(1, SeqCst) + 1;
        self.n_in_flight_max.fetch_max(in_flight, SeqCst);
        self.n_received.fetch_add(1, SeqCst);
        self.changed.notify_waiters();
    }

    pub(super) fn answer_ended(&self, request: &ReceivedRequest, end: AnswerEnd) {
        request.set_end(end);
        let counter = match end {
            AnswerEnd::Complete => &self.n_complete,
            AnswerEnd::BrokenOff => &self.n_broken_off,
            AnswerEnd::ClientDisconnected | AnswerEnd::InFlight => &self.n_disconnects,
        };
        counter.fetch_add(1, SeqCst);
        self.n_in_flight.fetch_sub(1, SeqCst);
        self.changed.notify_waiters();
    }

    pub(super) fn counts(&self) -> Counts {
        // Closed before opened: the difference is never negative.
        let n_closed = self.n_connections_closed.load(SeqCst);
        let n_connections = self.n_connections.load(SeqCst);
        Counts {
            n_connections,
            n_open_connections: n_connections.saturating_sub(n_closed),
            n_received: self.n_received.load(SeqCst),
            n_in_flight: self.n_in_flight.load(SeqCst),
            n_in_flight_max: self.n_in_flight_max.load(SeqCst),
            n_complete: self.n_complete.load(SeqCst),
            n_broken_off: self.n_broken_off.load(SeqCst),
            n_disconnects: self.n_disconnects.load(SeqCst),
            n_bad_requests: self.n_bad_requests.load(SeqCst),
        }
    }

    pub(super) async fn wait_for(
        &self,
        what: &str,
        is_reached: impl Fn(&Counts) -> bool,
    ) -> anyhow::Result<()> {
        within_wait_timeout(what, async {
            loop {
                let mut changed = std::pin::pin!(self.changed.notified());
                // Listens before it looks, so that no change is missed in between.
                changed.as_mut().enable();
                if is_reached(&self.counts()) {
                    return;
                }
                changed.await;
            }
        })
        .await
        .map_err(|error| error.context(format!("{:?}", self.counts())))
    }
}
