//! Keeping settled events until they are journaled: a ledger that is lost meanwhile gets them again.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tollgate_ledger::{Ledger, SlabLedger};
use tollgate_telemetry::Metrics;
use tollgate_telemetry::metrics::SlabCounts;

use crate::leases::OpenHolds;

/// How often the ledger is asked which events are journaled: the journal takes them within a tenth of that,
/// and every event that waits costs memory.
const CONFIRM_EVERY: Duration = Duration::from_millis(500);
/// How often at the end, when the process waits for nothing else.
const CONFIRM_AT_END_EVERY: Duration = Duration::from_millis(50);

/// Confirms until `stop`, then until nothing is left. The caller bounds the wait.
pub(crate) async fn confirm_journaled(ledger: Ledger, stop: CancellationToken) {
    // in process what is settled and what is journaled is one memory; its log may have something to write
    if let Ledger::Memory(_) = &ledger {
        while ledger.outlives_this_process() && !stop.is_cancelled() {
            let _ = ledger.confirm_journaled().await;
            let _ = stop.run_until_cancelled(tokio::time::sleep(CONFIRM_EVERY)).await;
        }
        return;
    }
    let mut is_failing = false;
    loop {
        let is_stopping = stop.is_cancelled();
        match ledger.confirm_journaled().await {
            Ok(confirmation) => {
                if confirmation.republished > 0 {
                    let events = confirmation.republished;
                    tracing::warn!(
                        events,
                        "the ledger had lost events that were not journaled; it has them again"
                    );
                }
                is_failing = false;
                if is_stopping && confirmation.waiting == 0 {
                    return;
                }
            }
            Err(error) if !is_failing => {
                tracing::warn!(%error, "the ledger does not tell which events are journaled; they are kept");
                is_failing = true;
            }
            Err(_) => {}
        }
        if is_stopping {
            tokio::time::sleep(CONFIRM_AT_END_EVERY).await;
        } else {
            let _ = stop.run_until_cancelled(tokio::time::sleep(CONFIRM_EVERY)).await;
        }
    }
}

/// Keeps the number of open holds in the metrics until `stop`.
pub(crate) async fn count_open_holds(holds: Arc<OpenHolds>, metrics: Metrics, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(CONFIRM_EVERY)).await.is_some() {
        metrics.set_open_holds(u64::try_from(holds.len()).unwrap_or(u64::MAX));
    }
}

/// Keeps what became of requests and slabs in the metrics until `stop`.
pub(crate) async fn count_slabs(slabs: SlabLedger, metrics: Metrics, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(CONFIRM_EVERY)).await.is_some() {
        let figures = slabs.figures();
        metrics.set_slabs(&SlabCounts {
            admitted_locally: figures.admitted_locally,
            asked: figures.asked,
            leased: figures.leased,
            returned: figures.returned,
        });
    }
}
