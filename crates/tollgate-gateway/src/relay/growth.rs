//! Asking the ledger for more, for as long as somebody waits for it.

use std::pin::Pin;
use std::time::{Duration, Instant};

use tollgate_domain::{HoldId, NanoUsd, TenantId};
use tollgate_ledger::{GrowOutcome, MoneyDenied};
use tollgate_telemetry::metrics::{LedgerCall, LedgerResult};

use crate::gateway::Pod;
use crate::seeder::SeedReason;
use crate::settle::Reservation;

/// Between two questions while the ledger does not answer or is being reseeded: at first, and at most. Whoever
/// waits gives up sooner than many of these are over.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const MAX_PAUSE: Duration = Duration::from_millis(100);

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Growth {
    /// So much is held in all.
    Grown(NanoUsd),
    /// It holds what it held before.
    Denied(MoneyDenied),
}

/// A question under way. Dropping it is harmless: what it may have added is given back by the settlement.
pub(crate) type Growing = Pin<Box<dyn Future<Output = Growth> + Send>>;

/// Asks for `total` to be held in all. Repeats the question while there is no answer to it.
pub(crate) fn grow(reservation: &Reservation, total: NanoUsd) -> Growing {
    let pod = Pod::clone(reservation.gateway());
    let tenant = reservation.priced.caller.context.tenant.id;
    let hold = HoldId::from_uuid(reservation.priced.request.as_uuid());
    Box::pin(async move {
        let mut pause = FIRST_PAUSE;
        loop {
            match ask(&pod, tenant, hold, total).await {
                Some(GrowOutcome::Grown { granted }) => return Growth::Grown(granted),
                Some(GrowOutcome::Refused(denied)) => return Growth::Denied(denied),
                Some(GrowOutcome::WrongEpoch) => {
                    let timeout = pod.config.seed_timeout;
                    if let Err(error) = pod.seeder.seed(tenant, SeedReason::WrongEpoch, timeout).await {
                        tracing::debug!(%tenant, error, "a stream waits for the ledger to be reseeded");
                    }
                }
                // in the middle of a reseed it may be back in a moment; else its lease tells
                Some(GrowOutcome::UnknownHold) | None => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    })
}

async fn ask(pod: &Pod, tenant: TenantId, hold: HoldId, total: NanoUsd) -> Option<GrowOutcome> {
    let began = Instant::now();
    let outcome = pod.ledger.grow(tenant, hold, total).await;
    let result = match &outcome {
        Ok(GrowOutcome::Grown { .. }) => LedgerResult::Ok,
        Ok(GrowOutcome::Refused(_)) => LedgerResult::Refused,
        Ok(GrowOutcome::WrongEpoch | GrowOutcome::UnknownHold) => LedgerResult::Unseeded,
        Err(_) => LedgerResult::Error,
    };
    pod.metrics.ledger_call(LedgerCall::Grow, result, began.elapsed());
    outcome.inspect_err(|error| tracing::debug!(%error, "the ledger did not let a hold grow")).ok()
}
