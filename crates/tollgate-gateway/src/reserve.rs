//! Paying first: limits and budgets in one atomic call, and the reservation that comes of it.

use std::time::{Duration, Instant};

use tollgate_domain::{HoldId, HoldMemo, MAX_HOLD_MEMO_BYTES, NanoUsd, RequestId, TenantId};
use tollgate_ledger::{Admission, AdmitOutcome, MAX_MEMO_BYTES, MoneyNode, MoneyRefusal, WalletRule};
use tollgate_policy::KeyContext;
use tollgate_telemetry::metrics::{LedgerCall, LedgerResult};

use crate::auth::Authenticated;
use crate::error::{MoneyScope, Refusal, ledger_unavailable, money_refusal, overloaded};
use crate::gateway::Pod;
use crate::levels::Levels;
use crate::pipeline::Priced;
use crate::seeder::SeedReason;
use crate::settle::Reservation;
use crate::settle_queue::SettlePlace;

/// Between two questions while a tenant is being reseeded; each asks the control plane once more.
const SEED_PAUSE: Duration = Duration::from_millis(5);

const _: () = assert!(MAX_HOLD_MEMO_BYTES <= MAX_MEMO_BYTES, "the ledger takes every memo");

/// Bytes per token of text at best: where even so the money does not suffice, tokens are not counted.
const MOST_BYTES_PER_TOKEN: i64 = 8;

/// Asks the ledger. Without a [`Reservation`] nothing can be sent.
pub(crate) async fn reserve(gateway: &Pod, mut priced: Box<Priced>) -> Result<Box<Reservation>, Refusal> {
    // the place in the settlement queue first: what is admitted can then always be settled
    let place = gateway.settler.place().ok_or_else(overloaded)?;
    let hold = HoldId::from_uuid(priced.request.as_uuid());
    let mut asking = Asking { place: Some(place), tenant: priced.caller.context.tenant.id, hold };
    let mut outcome = admit(gateway, &priced, hold).await?;
    if priced.media.is_none()
        && may_fit_when_counted(&outcome, priced.plan.minimum)
        && priced.plan.count_exactly(&priced.skim, &priced.body.0)
    {
        outcome = admit(gateway, &priced, hold).await?;
    }
    let grant = match outcome {
        AdmitOutcome::Admitted(grant) => grant,
        refused => {
            asking.nothing_is_held();
            return Err(refusal(&priced, &refused));
        }
    };
    let place = asking.nothing_is_held().ok_or_else(overloaded)?;
    Ok(Box::new(Reservation::new(Pod::clone(gateway), place, priced, grant)))
}

/// An admission whose answer is not known. When it is dropped like this (no answer in time, or the client
/// left meanwhile) the hold may have been written: it is voided, which is harmless where it was not.
struct Asking {
    place: Option<SettlePlace>,
    tenant: TenantId,
    hold: HoldId,
}

impl Asking {
    /// The answer is known: there is no hold, or somebody else ends it.
    fn nothing_is_held(&mut self) -> Option<SettlePlace> {
        self.place.take()
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            place.void(self.tenant, self.hold);
        }
    }
}

/// Whether the money that refused might suffice if the prompt's tokens were counted instead of bounded by its
/// bytes. Counting costs milliseconds, so that an empty wallet must not ask for it.
fn may_fit_when_counted(outcome: &AdmitOutcome, minimum: NanoUsd) -> bool {
    let (AdmitOutcome::Spent(refusal) | AdmitOutcome::Held(refusal)) = outcome else { return false };
    let available = refusal.limit.saturating_sub(refusal.settled).saturating_sub(refusal.held);
    available.0 >= minimum.0 / MOST_BYTES_PER_TOKEN
}

/// An error is an unknown answer.
async fn admit(gateway: &Pod, priced: &Priced, hold: HoldId) -> Result<AdmitOutcome, Refusal> {
    let context = &priced.caller.context;
    let levels = levels(priced);
    let budgets = levels.budget_checks()?;
    let limits = levels.limit_checks([&priced.requested_model, &priced.plan.plan.name]);
    // where nothing of the ledger stays, nobody could read the memo
    let memo = if gateway.ledger.outlives_this_process() { memo(priced) } else { Vec::new() };
    let is_paid = priced.plan.is_paid && priced.plan.amount > NanoUsd::ZERO;
    let admission = Admission {
        tenant: context.tenant.id,
        key: context.key.id,
        node: gateway.node,
        hold,
        amount: priced.plan.amount,
        minimum: priced.plan.minimum,
        wallet: wallet_rule(context, priced.plan.amount),
        budgets: if is_paid { &budgets } else { &[] },
        limits: &limits,
        tokens: priced.plan.rate_tokens,
        lease_ms: u64::try_from(gateway.config.lease.as_millis()).unwrap_or(u64::MAX),
        memo: &memo,
    };
    ask(gateway, &admission, &levels).await
}

/// Passes a call that costs nothing and reaches no provider through the rate limits of its caller and the model.
pub(crate) async fn pass_limits(
    gateway: &Pod,
    caller: &Authenticated,
    model: &str,
    end_user: Option<&str>,
) -> Result<(), Refusal> {
    let levels = Levels { context: &caller.context, now: caller.now, end_user };
    let limits = levels.limit_checks([model, model]);
    if limits.is_empty() {
        return Ok(());
    }
    let (tenant, key) = (caller.context.tenant.id, caller.context.key.id);
    let id = RequestId::generate(gateway.clock.now(), crate::entropy::bytes());
    let hold = HoldId::from_uuid(id.as_uuid());
    let place = gateway.settler.place().ok_or_else(overloaded)?;
    // it is over at once: what it holds of concurrency is given back when this is dropped
    let mut asking = Asking { place: Some(place), tenant, hold };
    let admission = Admission {
        tenant,
        key,
        node: gateway.node,
        hold,
        amount: NanoUsd::ZERO,
        minimum: NanoUsd::ZERO,
        wallet: WalletRule::None,
        budgets: &[],
        limits: &limits,
        tokens: 0,
        lease_ms: u64::try_from(gateway.config.lease.as_millis()).unwrap_or(u64::MAX),
        memo: &[],
    };
    let refusal = match ask(gateway, &admission, &levels).await? {
        AdmitOutcome::Admitted(_) => return Ok(()),
        AdmitOutcome::RateLimited(refusal) => levels.rate_refusal(&refusal),
        AdmitOutcome::Revoked => tollgate_policy::AuthDenied::Revoked.into(),
        _ => ledger_unavailable(),
    };
    asking.nothing_is_held();
    Err(refusal)
}

/// What chooses the rules of a request.
pub(crate) fn levels(priced: &Priced) -> Levels<'_> {
    let end_user = priced.end_user.as_deref();
    Levels { context: &priced.caller.context, now: priced.caller.now, end_user }
}

/// Why nothing was held.
fn refusal(priced: &Priced, outcome: &AdmitOutcome) -> Refusal {
    let levels = levels(priced);
    match outcome {
        AdmitOutcome::Spent(refusal) => money(&levels, refusal, priced.plan.minimum, false),
        AdmitOutcome::Held(refusal) => money(&levels, refusal, priced.plan.minimum, true),
        AdmitOutcome::RateLimited(refusal) => levels.rate_refusal(refusal),
        AdmitOutcome::Revoked => tollgate_policy::AuthDenied::Revoked.into(),
        AdmitOutcome::NotBegun(budget) => {
            tracing::error!(
                %budget,
                "this pod's clock is fast: by the ledger's clock a budget's period has not begun; set the clocks of \
                 both by NTP"
            );
            ledger_unavailable()
        }
        AdmitOutcome::Admitted(_)
        | AdmitOutcome::Cold
        | AdmitOutcome::WrongEpoch
        | AdmitOutcome::AlreadySettled => ledger_unavailable(),
    }
}

/// One round trip; further ones after seeding where the ledger does not know the tenant, or knows it of another
/// epoch, until the time for that is over.
async fn ask(gateway: &Pod, admission: &Admission<'_>, levels: &Levels<'_>) -> Result<AdmitOutcome, Refusal> {
    let (tenant, timeout) = (admission.tenant, gateway.config.seed_timeout);
    // since when it is closed, where it is
    let mut closed: Option<Instant> = None;
    let mut has_asked_for_users = false;
    loop {
        let outcome = timed_admit(gateway, admission).await?;
        let reason = match outcome {
            AdmitOutcome::Cold => SeedReason::Unknown,
            AdmitOutcome::WrongEpoch => SeedReason::WrongEpoch,
            _ => {
                if let Some(closed) = closed {
                    gateway.metrics.ledger_was_closed(closed.elapsed());
                }
                return Ok(outcome);
            }
        };
        let started = *closed.get_or_insert_with(Instant::now);
        let left = timeout.saturating_sub(started.elapsed());
        if left.is_zero() {
            gateway.metrics.ledger_was_closed(started.elapsed());
            tracing::warn!(%tenant, ?reason, "a tenant was seeded and the ledger still does not know it");
            return Err(ledger_unavailable());
        }
        // a tenant is seeded without its end users, so theirs is asked for first, and by name
        let asks_for_users = outcome == AdmitOutcome::Cold && !has_asked_for_users;
        has_asked_for_users |= asks_for_users;
        let unknown = if asks_for_users { levels.end_user_counters() } else { Vec::new() };
        let seeded = if unknown.is_empty() {
            gateway.seeder.seed(tenant, reason, left).await
        } else {
            gateway.seeder.seed_end_users(tenant, unknown, left).await
        };
        if let Err(error) = seeded {
            tracing::debug!(%tenant, ?reason, error, "a request waits in vain for the ledger");
            // where others are being waited for, the next answer may be a better one
            if timeout.saturating_sub(started.elapsed()) <= SEED_PAUSE {
                gateway.metrics.ledger_was_closed(started.elapsed());
                return Err(ledger_unavailable());
            }
        }
        tokio::time::sleep(SEED_PAUSE).await;
    }
}

/// What somebody else needs to journal the request, should this pod die.
fn memo(priced: &Priced) -> Vec<u8> {
    let plan = &priced.plan;
    let first = plan.candidates.first();
    let usage = plan.lost_usage;
    let memo = HoldMemo {
        project: priced.caller.context.project.id,
        end_user: priced.end_user.as_deref(),
        surface: priced.surface,
        requested_model: &priced.requested_model,
        provider: first.map_or("", |first| &first.candidate.provider.name),
        model: first.map_or("", |first| &first.candidate.model),
        streamed: priced.skim.stream,
        estimate: first.map_or(NanoUsd::ZERO, |first| first.sheet.total(&usage, plan.tier)),
        provider_estimate: first.map_or(NanoUsd::ZERO, |first| first.sheet.provider_total(&usage, plan.tier)),
        input_tokens: plan.input_estimate,
        policy_revision: priced.caller.snapshot.revision(),
    };
    memo.to_bytes(&priced.labels)
}

async fn timed_admit(gateway: &Pod, admission: &Admission<'_>) -> Result<AdmitOutcome, Refusal> {
    let started = Instant::now();
    let outcome = gateway.ledger.admit(admission).await;
    let result = match &outcome {
        Ok(AdmitOutcome::Admitted(_)) => LedgerResult::Ok,
        Ok(_) => LedgerResult::Refused,
        Err(_) => LedgerResult::Error,
    };
    gateway.metrics.ledger_call(LedgerCall::Admit, result, started.elapsed());
    outcome.map_err(|error| {
        tracing::warn!(%error, "the ledger did not admit");
        Refusal::from(&error)
    })
}

/// Who pays by invoice is counted, too: the wallet is right when the tenant begins to pay in advance.
fn wallet_rule(context: &KeyContext, amount: NanoUsd) -> WalletRule {
    match (amount > NanoUsd::ZERO, context.is_prepaid()) {
        (false, _) => WalletRule::None,
        (true, false) => WalletRule::Counted,
        (true, true) => WalletRule::Enforced,
    }
}

pub(crate) fn money(
    levels: &Levels<'_>,
    refusal: &MoneyRefusal,
    required: NanoUsd,
    held_only: bool,
) -> Refusal {
    let scope = match refusal.node {
        MoneyNode::Wallet => MoneyScope { name: "wallet", window: None },
        MoneyNode::Budget(budget) => {
            let spec = levels.budget_of(budget);
            let name = spec.map_or("budget", |spec| spec.scope.name());
            MoneyScope { name, window: Some(spec.map_or("", |spec| spec.window.name())) }
        }
    };
    money_refusal(refusal, &scope, required, held_only)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_money_that_may_suffice_asks_for_a_count() {
        let refusal = |limit, settled, held| MoneyRefusal {
            node: MoneyNode::Wallet,
            limit: NanoUsd(limit),
            settled: NanoUsd(settled),
            held: NanoUsd(held),
            resets_at: None,
        };
        let cases = [
            (AdmitOutcome::Spent(refusal(1_000, 0, 0)), true),
            (AdmitOutcome::Spent(refusal(1_000, 900, 0)), true),
            (AdmitOutcome::Spent(refusal(1_000, 901, 0)), false),
            (AdmitOutcome::Held(refusal(1_000, 400, 500)), true),
            (AdmitOutcome::Held(refusal(1_000, 400, 501)), false),
            (AdmitOutcome::Spent(refusal(0, 0, 0)), false),
            (AdmitOutcome::Spent(refusal(1_000, 2_000, 0)), false),
            (AdmitOutcome::Cold, false),
            (AdmitOutcome::Revoked, false),
        ];
        for (outcome, expected) in cases {
            assert_eq!(may_fit_when_counted(&outcome, NanoUsd(800)), expected, "{outcome:?}");
        }
    }
}
