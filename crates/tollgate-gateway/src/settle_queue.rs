//! The queue between reservations that end and the ledger: whoever has a place in it can settle at any time,
//! and what the ledger does not take now is kept until it does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant as Moment;
use tokio_util::sync::CancellationToken;
use tollgate_domain::{HoldId, NanoUsd, TenantId};
use tollgate_ledger::{Ledger, LedgerError, SettleOutcome, Settlement};
use tollgate_telemetry::Metrics;
use tollgate_telemetry::metrics::{LedgerCall, LedgerResult};

use crate::leases::OpenHolds;
use crate::seeder::{SeedReason, Seeder};

/// Settlements sent to the ledger in one round trip.
const MAX_BATCH: usize = 64;
/// Waits between tries while the ledger is away.
const RETRY_FIRST: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// The way into the settlement queue.
#[derive(Clone, Debug)]
pub(crate) struct Settler {
    sender: mpsc::Sender<Settlement>,
    closing: CancellationToken,
}

/// One place in the queue.
#[derive(Debug)]
pub(crate) struct SettlePlace(mpsc::OwnedPermit<Settlement>);

impl SettlePlace {
    /// Uses the place.
    pub(crate) fn settle(self, settlement: Settlement) {
        self.0.send(settlement);
    }

    /// Uses the place to end a hold that may or may not exist, without a charge.
    pub(crate) fn void(self, tenant: TenantId, hold: HoldId) {
        self.0.send(Settlement { tenant, hold, actual: NanoUsd::ZERO, tokens: 0, event: None });
    }
}

impl Settler {
    pub(crate) fn new(sender: mpsc::Sender<Settlement>, closing: CancellationToken) -> Self {
        Self { sender, closing }
    }

    /// A place, or `None` where all are taken or the pod is ending.
    pub(crate) fn place(&self) -> Option<SettlePlace> {
        self.sender.clone().try_reserve_owned().ok().map(SettlePlace)
    }

    /// Lets the worker end once every place was used or given back.
    pub(crate) fn close(&self) {
        self.closing.cancel();
    }
}

/// How the worker has tenants reseeded.
#[derive(Clone, Debug)]
pub(crate) struct Reseeder {
    pub(crate) seeder: Seeder,
    pub(crate) timeout: Duration,
}

/// Settlements of tenants whose epoch does not answer: kept until they are reseeded, while those of others go
/// on. There are at most as many as requests were in flight then, because nothing more is admitted.
#[derive(Debug, Default)]
struct Parked {
    settlements: Vec<Settlement>,
    /// Asks for the reseeds.
    asking: JoinSet<()>,
    /// When they are tried again after having been tried in vain.
    wait: Duration,
    retry_at: Option<Moment>,
}

/// Carries settlements to the ledger until all are there.
#[derive(Debug)]
pub(crate) struct SettleWorker {
    ledger: Ledger,
    metrics: Metrics,
    holds: Arc<OpenHolds>,
    reseeder: Reseeder,
    receiver: mpsc::Receiver<Settlement>,
    closing: CancellationToken,
}

impl SettleWorker {
    pub(crate) fn new(
        ledger: Ledger,
        metrics: Metrics,
        holds: Arc<OpenHolds>,
        reseeder: Reseeder,
        receiver: mpsc::Receiver<Settlement>,
        closing: CancellationToken,
    ) -> Self {
        Self { ledger, metrics, holds, reseeder, receiver, closing }
    }

    pub(crate) async fn run(mut self) {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        let mut parked = Parked::default();
        let (mut is_closing, mut has_ended) = (false, false);
        while !has_ended || !parked.settlements.is_empty() {
            tokio::select! {
                biased;
                // first: a queue that is never empty must not keep them waiting
                () = parked.is_due() => {
                    let mut again = std::mem::take(&mut parked.settlements);
                    parked.tried_again(self.settle(&mut again).await, &self.reseeder);
                }
                n = self.receiver.recv_many(&mut batch, MAX_BATCH), if !has_ended => {
                    has_ended = n == 0;
                    self.gather(&mut batch).await;
                    self.metrics.set_settlement_queue_length(u64::try_from(self.receiver.len()).unwrap_or(0));
                    parked.add(self.settle(&mut batch).await, &self.reseeder);
                }
                () = self.closing.cancelled(), if !is_closing => {
                    is_closing = true;
                    self.receiver.close();
                }
            }
        }
    }

    /// Requests that end together are settled together: after the first one the others get their turn, instead of
    /// this task after each of them.
    async fn gather(&mut self, batch: &mut Vec<Settlement>) {
        tokio::task::yield_now().await;
        while batch.len() < MAX_BATCH
            && let Ok(settlement) = self.receiver.try_recv()
        {
            batch.push(settlement);
        }
    }

    /// Repeats what failed until it is settled: settling twice is harmless, not settling is not. Gives back
    /// what waits for a reseed.
    async fn settle(&self, batch: &mut Vec<Settlement>) -> Vec<Settlement> {
        let mut wait = RETRY_FIRST;
        let mut wrong_epoch = Vec::new();
        while !batch.is_empty() {
            let started = Instant::now();
            let mut outcomes = Vec::with_capacity(batch.len());
            for part in batch.chunks(MAX_BATCH) {
                outcomes.extend(self.ledger.settle_many(part).await);
            }
            let mut outcomes = outcomes.into_iter();
            for settlement in std::mem::take(batch) {
                match self.judge(&settlement, outcomes.next()) {
                    Judged::Settled => self.holds.close(settlement.hold),
                    Judged::WrongEpoch => wrong_epoch.push(settlement),
                    Judged::Unknown => batch.push(settlement),
                }
            }
            let result = if batch.is_empty() { LedgerResult::Ok } else { LedgerResult::Error };
            self.metrics.ledger_call(LedgerCall::SettleMany, result, started.elapsed());
            if !batch.is_empty() {
                tracing::warn!(waiting = batch.len(), "settlements wait for the ledger");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(RETRY_MAX);
            }
        }
        wrong_epoch
    }

    fn judge(&self, settlement: &Settlement, outcome: Option<Result<SettleOutcome, LedgerError>>) -> Judged {
        match outcome {
            Some(Ok(SettleOutcome::Settled | SettleOutcome::AlreadySettled)) => {}
            // an admission without an answer is voided whether it was written or not
            Some(Ok(SettleOutcome::UnknownHold)) if settlement.event.is_none() => {}
            Some(Ok(SettleOutcome::UnknownHold)) => {
                tracing::warn!(hold = %settlement.hold, "the ledger had lost a hold; its event was recorded");
            }
            // what the ledger will never take must not hold up the rest; the log keeps it
            Some(Err(error @ LedgerError::Invalid(_))) => {
                tracing::error!(%error, settlement = ?settlement, "a settlement was refused for good");
            }
            Some(Ok(SettleOutcome::WrongEpoch) | Err(LedgerError::WrongEpoch)) => return Judged::WrongEpoch,
            Some(Err(_)) | None => return Judged::Unknown,
        }
        Judged::Settled
    }
}

/// What a settlement's answer means for it.
enum Judged {
    /// It is done with.
    Settled,
    /// It waits for a reseed.
    WrongEpoch,
    /// It is to be repeated.
    Unknown,
}

// === impl Parked ===

impl Parked {
    fn add(&mut self, settlements: Vec<Settlement>, reseeder: &Reseeder) {
        if settlements.is_empty() {
            return;
        }
        if self.settlements.is_empty() {
            self.wait = RETRY_FIRST;
        }
        let mut tenants: Vec<TenantId> = settlements.iter().map(|settlement| settlement.tenant).collect();
        tenants.sort_unstable();
        tenants.dedup();
        tenants.retain(|tenant| !self.settlements.iter().any(|parked| parked.tenant == *tenant));
        self.settlements.extend(settlements);
        self.ask(&tenants, reseeder);
    }

    fn tried_again(&mut self, still_wrong: Vec<Settlement>, reseeder: &Reseeder) {
        if still_wrong.is_empty() {
            return;
        }
        tracing::warn!(waiting = still_wrong.len(), "settlements wait for the ledger to be reseeded");
        let wait = (self.wait * 2).min(RETRY_MAX);
        self.add(still_wrong, reseeder);
        self.wait = wait;
        self.retry_at = Some(Moment::now() + wait);
    }

    fn ask(&mut self, tenants: &[TenantId], reseeder: &Reseeder) {
        for tenant in tenants.iter().copied() {
            let Reseeder { seeder, timeout } = reseeder.clone();
            self.asking.spawn(async move {
                if let Err(reason) = seeder.seed(tenant, SeedReason::WrongEpoch, timeout).await {
                    tracing::warn!(%tenant, reason, "settlements wait: a tenant was not reseeded");
                }
            });
        }
    }

    /// Waits until what is parked is to be tried again: when all that was asked for is answered, and not too
    /// soon after it was tried in vain.
    async fn is_due(&mut self) {
        if self.settlements.is_empty() {
            return std::future::pending().await;
        }
        while self.asking.join_next().await.is_some() {}
        if let Some(retry_at) = self.retry_at {
            tokio::time::sleep_until(retry_at).await;
            self.retry_at = None;
        }
    }
}
