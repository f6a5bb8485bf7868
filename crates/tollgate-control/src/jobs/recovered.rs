//! What a single process left behind that was killed: journaled before the next one admits anything, so that every
//! budget and wallet knows it from the first request on. Nobody else can settle these holds, so nothing is waited for.

use std::sync::Arc;
use std::time::Duration;

use tollgate_domain::{Clock, UsageEvent};
use tollgate_ledger::{Ledger, Recovered};
use tollgate_store::{Store, StoreError};

use super::suspects::SuspectSettler;
use super::{SuspectCounters, WalletReservation};
use crate::AppError;

/// Events written in one transaction, as the journal writer does.
const EVENTS_PER_WRITE: usize = 500;

/// What became of what a killed process left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecoveredReport {
    /// Settled events that the journal did not have yet.
    pub journaled: u64,
    /// Requests whose end is not known, journaled as lost at what is known of them.
    pub lost: u64,
    /// Events that the journal refused for good; the log has them.
    pub refused: u64,
}

/// Journals what was left behind. To be called before [`crate::Control::start`], and again with the same where it
/// could not be done; [`Ledger::forget_recovered`] comes after it.
///
/// # Errors
/// The database is unavailable: some may have been journaled, which is harmless.
pub async fn journal_recovered(
    store: &Store,
    clock: &Arc<dyn Clock>,
    recovered: &Recovered,
) -> Result<RecoveredReport, AppError> {
    let mut report = RecoveredReport::default();
    if recovered.is_empty() {
        return Ok(report);
    }
    if let Err(error) = store.prepare_partitions(clock.now()).await {
        tracing::warn!(%error, "partitions of the journal were not made; it is tried again");
    }
    for events in recovered.events.chunks(EVENTS_PER_WRITE) {
        report.journaled += write(store, events, &mut report.refused).await?;
    }
    let settler = SuspectSettler {
        store: store.clone(),
        // asked for nothing: what became of a hold is told by its record alone
        ledger: Ledger::memory(Arc::clone(clock)),
        clock: Arc::clone(clock),
        after: Duration::ZERO,
        counters: Arc::<SuspectCounters>::default(),
    };
    // a reservation of a wallet's part was no request
    let holds = recovered.holds.iter().filter(|hold| !WalletReservation::is_one(hold.key));
    let mut lost = Vec::with_capacity(recovered.holds.len());
    for hold in holds {
        match settler.event(hold).await {
            Ok(event) => lost.push(Arc::new(event)),
            Err(error @ AppError::Unavailable(_)) => return Err(error),
            Err(error) => {
                let (hold, tenant, amount) = (hold.hold, hold.tenant, hold.amount);
                tracing::error!(%hold, %tenant, %amount, %error, "a lost request cannot be journaled");
                report.refused += 1;
            }
        }
    }
    for events in lost.chunks(EVENTS_PER_WRITE) {
        report.lost += write(store, events, &mut report.refused).await?;
    }
    Ok(report)
}

/// Writes events together, or one by one where the journal refuses some. Answers how many it did not have.
async fn write(store: &Store, events: &[Arc<UsageEvent>], refused: &mut u64) -> Result<u64, AppError> {
    match store.journal_events(events).await {
        Ok(n) => return Ok(n),
        Err(error) if error.is_unavailable() => return Err(error.into()),
        Err(error) => tracing::warn!(%error, "the journal refuses some of what was left behind"),
    }
    let mut journaled = 0;
    for event in events {
        match store.journal_events(std::slice::from_ref(event)).await {
            Ok(n) => journaled += n,
            Err(error) if error.is_unavailable() => return Err(error.into()),
            Err(error) => refuse(event, &error, refused),
        }
    }
    Ok(journaled)
}

fn refuse(event: &UsageEvent, error: &StoreError, refused: &mut u64) {
    let (request, tenant, cost) = (event.request, event.tenant, event.cost);
    tracing::error!(%request, %tenant, %cost, %error, "the journal refuses a request that was left behind");
    *refused += 1;
}
