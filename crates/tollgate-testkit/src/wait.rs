//! The only place where a test may poll.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::time::{Instant, sleep};

/// Pause between two probes: short against any deadline a test sets, long enough to leave the CPU alone.
pub const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// How long the kit's own `wait_for_*` methods wait before they call it a failure: far above what any of
/// the awaited events takes on a loaded machine.
pub const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

/// Calls `probe` until it returns `Some`, at least once and for at most `timeout`.
///
/// `what` names the awaited state for the error: "the journal to hold 100 rows". The deadline also ends
/// a probe that hangs.
pub async fn eventually<T>(
    timeout: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> anyhow::Result<T> {
    let started = Instant::now();
    let mut n_probes = 0_u64;
    loop {
        n_probes += 1;
        let remaining = timeout.saturating_sub(started.elapsed()).max(POLL_INTERVAL);
        match tokio::time::timeout(remaining, probe()).await {
            Ok(Some(value)) => return Ok(value),
            Ok(None) if started.elapsed() < timeout => sleep(POLL_INTERVAL).await,
            Ok(None) => bail!("waited {timeout:?} in vain for {what} ({n_probes} probes)"),
            Err(_) => bail!("waited {timeout:?} in vain for {what} (probe {n_probes} did not return)"),
        }
    }
}

/// Awaits `future` for at most [`WAIT_TIMEOUT`]; `what` names the awaited event for the error.
pub(crate) async fn within_wait_timeout<T>(what: &str, future: impl Future<Output = T>) -> anyhow::Result<T> {
    tokio::time::timeout(WAIT_TIMEOUT, future)
        .await
        .with_context(|| format!("waited {WAIT_TIMEOUT:?} in vain for {what}"))
}
