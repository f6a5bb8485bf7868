//! A connection that is established at its first use and again whenever it is lost, and the run of the server
//! at its other end.
//!
//! The run belongs to the connection and to nothing else: a call is built for one connection, with that
//! connection's run, and when it has to go out again on another one it is built again. So no call that was
//! meant for a server that has gone can pass for one that knows its successor.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, Pipeline, RedisResult, Value};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::client::explain;
use super::server::{Server, inspect};
use crate::error::LedgerError;

/// A connection that is lost is made again at once; after an attempt that failed there is a pause, which doubles up
/// to the largest: admission is closed for all of it once the server is back. Less than half a dozen connections of a
/// process ask for it, and only while somebody calls.
const RECONNECT_MIN_DELAY: Duration = Duration::from_millis(5);
const RECONNECT_MAX_DELAY: Duration = Duration::from_millis(40);
/// Calls that may wait in a connection's buffer before callers wait for room.
const PIPELINE_BUFFER: usize = 1_024;
/// A server's run is asked again at most this often: it changes without a broken connection only when an
/// operator takes a server's role away and gives it back.
const VERIFY_EVERY: Duration = Duration::from_millis(250);

/// An established connection.
pub(super) struct Live {
    connection: MultiplexedConnection,
    /// The server's run with a colon before it, as epochs end.
    pub(super) run: String,
    is_dead: AtomicBool,
    is_doubtful: AtomicBool,
    verified_at: Mutex<Instant>,
}

impl Live {
    pub(super) async fn send(&self, command: &Cmd) -> RedisResult<Value> {
        self.connection.clone().send_packed_command(command).await
    }

    pub(super) async fn send_all(&self, pipeline: &Pipeline, n_commands: usize) -> RedisResult<Vec<Value>> {
        self.connection.clone().send_packed_commands(pipeline, 0, n_commands).await
    }

    /// The connection is lost, or leads to the wrong place: the next call gets another one.
    pub(super) fn kill(&self) {
        self.is_dead.store(true, Ordering::Relaxed);
    }

    /// A script found another run than this one's: the next call asks the server for its run first.
    pub(super) fn doubt(&self) {
        self.is_doubtful.store(true, Ordering::Relaxed);
    }

    fn is_alive(&self) -> bool {
        !self.is_dead.load(Ordering::Relaxed)
    }

    async fn verify(&self) {
        let is_due = {
            let mut verified_at = self.verified_at.lock();
            let is_due = verified_at.elapsed() >= VERIFY_EVERY;
            if is_due {
                *verified_at = Instant::now();
            }
            is_due
        };
        if is_due && inspect(&mut self.connection.clone()).await.is_ok_and(|server| server.run != self.run) {
            self.kill();
        }
    }
}

type Attempt = Option<Result<Arc<Live>, LedgerError>>;

/// One lasting connection. Dropping it ends an attempt to connect.
pub(super) struct Link {
    shared: Arc<Shared>,
}

struct Shared {
    redis: redis::Client,
    connect_timeout: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    live: Option<Arc<Live>>,
    attempt: Option<watch::Receiver<Attempt>>,
    task: Option<AbortHandle>,
    delay: Duration,
    /// Not before this, after an attempt that failed.
    retry_at: Option<Instant>,
}

impl Link {
    pub(super) fn new(redis: redis::Client, connect_timeout: Duration) -> Self {
        Self { shared: Arc::new(Shared { redis, connect_timeout, state: Mutex::default() }) }
    }

    /// The present connection; waits for one where there is none. All who wait share one attempt.
    pub(super) async fn live(&self) -> Result<Arc<Live>, LedgerError> {
        if let Some(live) = self.present() {
            if live.is_doubtful.swap(false, Ordering::Relaxed) {
                live.verify().await;
            }
            if live.is_alive() {
                return Ok(live);
            }
        }
        let mut attempt = self.attempt();
        let ended = || LedgerError::Unavailable("the attempt to connect to Redis was given up".to_owned());
        let outcome = attempt.wait_for(Option::is_some).await.map_err(|_| ended())?;
        outcome.clone().unwrap_or_else(|| Err(ended()))
    }

    /// The next call asks the server for its run first.
    pub(super) fn doubt(&self) {
        if let Some(live) = self.present() {
            live.doubt();
        }
    }

    fn present(&self) -> Option<Arc<Live>> {
        self.shared.state.lock().live.clone().filter(|live| live.is_alive())
    }

    /// The attempt under way, or a new one.
    fn attempt(&self) -> watch::Receiver<Attempt> {
        let mut state = self.shared.state.lock();
        if let Some(live) = state.live.clone().filter(|live| live.is_alive()) {
            return watch::channel(Some(Ok(live))).1;
        }
        if let Some(attempt) = state.attempt.as_ref().filter(|attempt| attempt.borrow().is_none())
            && attempt.has_changed().is_ok()
        {
            return attempt.clone();
        }
        let (sender, receiver) = watch::channel(None);
        let (shared, retry_at) = (Arc::clone(&self.shared), state.retry_at);
        let task = tokio::spawn(async move {
            if let Some(retry_at) = retry_at {
                tokio::time::sleep_until(retry_at).await;
            }
            let outcome =
                connect(&shared.redis, shared.connect_timeout).await.map(|(live, _)| Arc::new(live));
            let mut state = shared.state.lock();
            match &outcome {
                Ok(live) => {
                    state.live = Some(Arc::clone(live));
                    (state.delay, state.retry_at) = (Duration::ZERO, None);
                }
                Err(_) => {
                    state.delay = (state.delay * 2).clamp(RECONNECT_MIN_DELAY, RECONNECT_MAX_DELAY);
                    state.retry_at = Some(Instant::now() + jittered(state.delay));
                }
            }
            drop(state);
            sender.send_replace(Some(outcome));
        });
        state.task = Some(task.abort_handle());
        state.attempt = Some(receiver.clone());
        receiver
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(task) = self.shared.state.lock().task.take() {
            task.abort();
        }
    }
}

/// Between half of `delay` and all of it, so that processes do not come back in step.
fn jittered(delay: Duration) -> Duration {
    let random = RandomState::new().hash_one(0_u8) % 512;
    delay / 2 + delay * u32::try_from(random).unwrap_or(0) / 1_024
}

/// Connects and looks at the server: one that money would not be safe in is refused.
pub(super) async fn connect(
    redis: &redis::Client,
    connect_timeout: Duration,
) -> Result<(Live, Server), LedgerError> {
    // Deadlines are the caller's own: they include waiting for a connection.
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(connect_timeout))
        .set_response_timeout(None)
        .set_pipeline_buffer_size(PIPELINE_BUFFER);
    let connecting = async {
        let mut connection = redis
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(|error| explain(&error))?;
        let server = inspect(&mut connection).await?;
        let live = Live {
            connection,
            run: server.run.clone(),
            is_dead: AtomicBool::new(false),
            is_doubtful: AtomicBool::new(false),
            verified_at: Mutex::new(Instant::now()),
        };
        Ok((live, server))
    };
    tokio::time::timeout(connect_timeout, connecting).await.map_err(|_| {
        LedgerError::Unavailable(format!("Redis did not answer within {} ms", connect_timeout.as_millis()))
    })?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_differ_and_are_bounded() {
        let pauses: std::collections::BTreeSet<Duration> =
            (0..64).map(|_| jittered(RECONNECT_MAX_DELAY)).collect();
        assert!(pauses.len() > 8, "{pauses:?}");
        assert!(pauses.iter().all(|pause| (RECONNECT_MAX_DELAY / 2..=RECONNECT_MAX_DELAY).contains(pause)));
    }
}
