//! Holds of pods that died: what their requests cost is not known, and nobody will tell. After a while they are
//! settled at what is known, so that no money stays held and the journal names every request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tollgate_domain::{
    Clock, EventId, HoldMemo, Labels, Meter, NanoUsd, RequestId, RequestOutcome, SettlementBasis, Surface,
    UnixMillis, Usage, UsageEvent,
};
use tollgate_ledger::{Ledger, SettleOutcome, Settlement, SuspectHold};
use tollgate_store::Store;

use super::WalletReservation;
use crate::AppError;

/// Holds looked at per call.
const MAX_SUSPECTS: usize = 256;
/// How often suspects are looked for, at most: a part of the time that they wait for.
const LOOKS_PER_WAIT: u32 = 15;
/// How often at least: a look without suspects is one small call per shard.
const MAX_LOOK_EVERY: Duration = Duration::from_secs(10);
/// The status of a request whose client saw its pod die.
const LOST_STATUS: u16 = 502;

/// What became of abandoned holds.
#[derive(Debug, Default)]
pub(crate) struct SuspectCounters {
    pub(crate) settled: AtomicU64,
    pub(crate) nano_usd: AtomicU64,
}

/// The job.
#[derive(Clone, Debug)]
pub(crate) struct SuspectSettler {
    pub(crate) store: Store,
    pub(crate) ledger: Ledger,
    pub(crate) clock: Arc<dyn Clock>,
    /// How long after the end of its lease a hold is settled.
    pub(crate) after: Duration,
    pub(crate) counters: Arc<SuspectCounters>,
}

impl SuspectSettler {
    /// Settles until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let every = (self.after / LOOKS_PER_WAIT).min(MAX_LOOK_EVERY);
        while stop.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
            if let Err(error) = self.settle_all().await {
                tracing::warn!(%error, "abandoned holds were not settled; it is tried again");
            }
        }
    }

    /// Settles all that are due.
    pub(crate) async fn settle_all(&self) -> Result<(), AppError> {
        let after_ms = u64::try_from(self.after.as_millis()).unwrap_or(u64::MAX);
        loop {
            let suspects = self.ledger.suspect_holds(MAX_SUSPECTS, after_ms).await?;
            let n_suspects = suspects.len();
            let mut n_settled = 0_usize;
            for suspect in suspects {
                n_settled += usize::from(self.settle(suspect).await?);
            }
            // those of a tenant that waits for a reseed come again later
            if n_suspects < MAX_SUSPECTS || n_settled == 0 {
                return Ok(());
            }
        }
    }

    async fn settle(&self, suspect: SuspectHold) -> Result<bool, AppError> {
        if WalletReservation::is_one(suspect.key) {
            // No request: a replica has died while it took money out of a wallet.
            let (tenant, hold) = (suspect.tenant, suspect.hold);
            let void = Settlement { tenant, hold, actual: NanoUsd::ZERO, tokens: 0, event: None };
            return Ok(self.ledger.settle(&void).await? != SettleOutcome::WrongEpoch);
        }
        let event = Arc::new(self.event(&suspect).await?);
        let settlement = Settlement {
            tenant: suspect.tenant,
            hold: suspect.hold,
            actual: event.cost,
            tokens: event.usage.total_tokens(),
            event: Some(Arc::clone(&event)),
        };
        match self.ledger.settle(&settlement).await? {
            SettleOutcome::Settled | SettleOutcome::UnknownHold => {}
            SettleOutcome::AlreadySettled => return Ok(true),
            SettleOutcome::WrongEpoch => return Ok(false),
        }
        // it is in the outbox as well; at once, so that a reseed by another replica sees it
        self.store.journal_events(&[Arc::clone(&event)]).await?;
        let (tenant, hold, node, cost) = (suspect.tenant, suspect.hold, suspect.node, event.cost);
        tracing::warn!(%tenant, %hold, %node, %cost, "an abandoned hold was settled at what is known of its request");
        self.counters.settled.fetch_add(1, Ordering::Relaxed);
        self.counters.nano_usd.fetch_add(u64::try_from(cost.0).unwrap_or(0), Ordering::Relaxed);
        Ok(true)
    }

    /// What is known of the request: its memo, and how far it had come.
    pub(super) async fn event(&self, suspect: &SuspectHold) -> Result<UsageEvent, AppError> {
        let uuid = suspect.hold.as_uuid();
        let (memo, labels) = match HoldMemo::from_bytes(&suspect.memo) {
            Ok(read) => read,
            Err(error) => {
                tracing::warn!(hold = %suspect.hold, %error, "an abandoned hold tells only what it holds");
                (self.without_memo(suspect).await?, Labels::new())
            }
        };
        let cost = suspect.progress.max(memo.estimate).min(suspect.amount);
        let provider_cost = provider_cost(&memo, cost);
        let now: UnixMillis = self.clock.now();
        let lasted_ms = suspect.lease_until.since(suspect.admitted_at);
        Ok(UsageEvent {
            event: EventId::from_uuid(uuid),
            request: RequestId::from_uuid(uuid),
            hold: suspect.hold,
            tenant: suspect.tenant,
            project: memo.project,
            key: suspect.key,
            end_user: memo.end_user,
            labels,
            surface: memo.surface,
            requested_model: memo.requested_model,
            provider: memo.provider,
            model: memo.model,
            streamed: memo.streamed,
            admitted_at: suspect.admitted_at,
            finished_at: now,
            held: suspect.amount,
            cost,
            provider_cost,
            margin: None,
            provider_charge: None,
            usage: Usage::ZERO.with(Meter::Input, memo.input_tokens).with(Meter::Request, 1),
            charge: Vec::new(),
            basis: SettlementBasis::Estimated,
            outcome: RequestOutcome::Lost,
            status: LOST_STATUS,
            attempts: Vec::new(),
            duration_ms: u64::try_from(lasted_ms).unwrap_or(0),
            first_byte_ms: None,
            overhead_us: 0,
            policy_revision: memo.policy_revision,
        })
    }

    async fn without_memo(&self, suspect: &SuspectHold) -> Result<HoldMemo<String>, AppError> {
        Ok(HoldMemo {
            project: self.store.key(suspect.key).await?.project,
            end_user: None,
            surface: Surface::Chat,
            requested_model: String::new(),
            provider: String::new(),
            model: String::new(),
            streamed: false,
            estimate: NanoUsd::ZERO,
            provider_estimate: NanoUsd::ZERO,
            input_tokens: 0,
            policy_revision: 0,
        })
    }
}

/// What the provider is expected to bill for a request of which only the customer's cost is known: in the
/// proportion of the prompt's two estimates, rounded up.
fn provider_cost(memo: &HoldMemo<String>, cost: NanoUsd) -> NanoUsd {
    let (customer, provider) = (i128::from(memo.estimate.0), i128::from(memo.provider_estimate.0));
    if customer <= 0 {
        return memo.provider_estimate;
    }
    let billed = (i128::from(cost.0) * provider + customer - 1) / customer;
    NanoUsd(i64::try_from(billed).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_provider_bills_in_the_proportion_of_the_estimates() {
        let cases = [
            ((100, 100), 1_234, 1_234),
            ((110, 100), 1_100, 1_000),
            ((110, 100), 1_101, 1_001),
            ((50, 100), 75, 150),
            ((0, 100), 0, 100),
            ((0, 0), 77, 0),
        ];
        for ((estimate, provider_estimate), cost, expected) in cases {
            let memo = HoldMemo {
                project: tollgate_domain::ProjectId::from_u128(1),
                end_user: None,
                surface: Surface::Chat,
                requested_model: String::new(),
                provider: String::new(),
                model: String::new(),
                streamed: false,
                estimate: NanoUsd(estimate),
                provider_estimate: NanoUsd(provider_estimate),
                input_tokens: 0,
                policy_revision: 0,
            };
            assert_eq!(provider_cost(&memo, NanoUsd(cost)), NanoUsd(expected), "{estimate} {cost}");
        }
    }
}
