//! Ending a reservation exactly once: done, error or disconnect.
//!
//! A [`Reservation`] owns a place in the settlement queue from before its admission, so ending it can
//! neither fail nor wait. One that is dropped without an ending (the client left, a task was aborted)
//! settles by how far it had come.

mod lost;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tollgate_catalog::{Charge, ServiceTier};
use tollgate_domain::{
    AppliedMargin, Attempt, AttemptOutcome, ChargeLine, CredentialId, EventId, HoldId, MAX_LIMIT, NanoUsd,
    RequestOutcome, SettlementBasis, UnixMillis, Usage, UsageEvent,
};
use tollgate_ledger::{Grant, Settlement};
use tollgate_telemetry::RequestTrace;
use tollgate_telemetry::metrics::{FinishedRequest, InFlight};

use self::lost::{LostAttempt, LostAttempts};
use crate::gateway::Pod;
use crate::leases::RunningStream;
use crate::pipeline::Priced;
use crate::plan::PricedCandidate;
use crate::provider::with_request;
use crate::settle_queue::SettlePlace;
use crate::usage_check::{self, Shown};

/// Status written where the client had left before one could be sent.
pub(crate) const CLIENT_CLOSED_STATUS: u16 = 499;

/// Money and limits are reserved for this request. Only a reservation can be sent to a provider.
#[must_use = "a reservation is settled by sending it or by ending it"]
#[derive(Debug)]
pub(crate) struct Reservation {
    gateway: Pod,
    place: Option<SettlePlace>,
    _in_flight: InFlight,
    pub(crate) priced: Box<Priced>,
    pub(crate) grant: Grant,
    pub(crate) attempts: Vec<Attempt>,
    /// The candidate that is being or was last tried.
    candidate: Option<usize>,
    under_way: Option<AttemptUnderWay>,
    /// Whether the candidate in use has answered, so that the request is charged at it.
    is_answered: bool,
    /// Attempts that their providers may bill though they brought nothing.
    lost: LostAttempts,
    /// What was held before anything was sent.
    first_granted: NanoUsd,
    /// The class the provider says it served, where it says so.
    served_tier: Option<ServiceTier>,
    /// Set when a stream's relay begins: from then on time is the provider's and the client's.
    overhead_frozen: Option<Duration>,
    /// Time that was spent waiting for providers: the rest is ours.
    pub(crate) upstream_time: Duration,
    pub(crate) first_byte: Option<Duration>,
}

/// What a provider may bill of an attempt that brought nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MayBill {
    /// It was not sent, or refused.
    Nothing,
    /// The prompt at least has been read.
    Estimate,
    /// It tells by itself what it used.
    Told(Box<Usage>),
}

/// An attempt that has not ended yet.
#[derive(Clone, Copy, Debug)]
struct AttemptUnderWay {
    credential: Option<CredentialId>,
    started_at: UnixMillis,
    started: Instant,
}

/// A charge as it is settled.
#[derive(Debug)]
pub(crate) struct SettledCharge {
    /// What the customer pays.
    pub(crate) cost: NanoUsd,
    /// What the provider's figures come to for the customer; more than `cost` where that passes the hold.
    pub(crate) claimed: NanoUsd,
    /// What the provider is expected to bill.
    pub(crate) provider_cost: NanoUsd,
    pub(crate) lines: Vec<ChargeLine>,
    pub(crate) margin: Option<AppliedMargin>,
    pub(crate) provider_lines: Option<Vec<ChargeLine>>,
}

/// How a request ended, for the journal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    pub(crate) usage: Usage,
    pub(crate) basis: SettlementBasis,
    pub(crate) outcome: RequestOutcome,
    pub(crate) status: u16,
}

impl Ending {
    /// Nothing was produced: the hold is returned.
    pub(crate) fn void(outcome: RequestOutcome, status: u16) -> Self {
        Self { usage: Usage::ZERO, basis: SettlementBasis::Counted, outcome, status }
    }
}

impl Reservation {
    pub(crate) fn new(gateway: Pod, place: SettlePlace, priced: Box<Priced>, grant: Grant) -> Self {
        let hold = HoldId::from_uuid(priced.request.as_uuid());
        gateway.holds.open(hold, priced.caller.context.tenant.id, priced.started);
        let in_flight = gateway.metrics.request_started();
        let first_granted = grant.granted;
        Self {
            gateway,
            place: Some(place),
            _in_flight: in_flight,
            priced,
            grant,
            attempts: Vec::with_capacity(1),
            candidate: None,
            under_way: None,
            is_answered: false,
            lost: LostAttempts::default(),
            first_granted,
            served_tier: None,
            overhead_frozen: None,
            upstream_time: Duration::ZERO,
            first_byte: None,
        }
    }

    /// The hold pays for a stream from now on: its lease is renewed with what it has cost, and it is ended
    /// before the lease is.
    pub(crate) fn streams(&self) -> Option<Arc<RunningStream>> {
        let plan = &self.priced.plan;
        let priced = self.current()?;
        let granted = if plan.is_paid { self.grant.granted } else { MAX_LIMIT };
        let stream = Arc::new(RunningStream::new(
            self.gateway.out_of_grace.child_token(),
            priced.sheet.clone(),
            self.served_tier.unwrap_or(plan.tier),
            plan.input_estimate,
            (self.lost_cost(), granted),
        ));
        self.gateway.holds.streams(HoldId::from_uuid(self.priced.request.as_uuid()), &stream);
        Some(stream)
    }

    /// Its hold has grown.
    pub(crate) fn grown(&mut self, granted: NanoUsd) {
        self.grant.granted = self.grant.granted.max(granted);
    }

    pub(crate) fn gateway(&self) -> &Pod {
        &self.gateway
    }

    /// The candidate of that index is about to be sent to.
    pub(crate) fn dispatching(&mut self, candidate: usize, credential: Option<CredentialId>) {
        self.candidate = Some(candidate);
        let started_at = self.gateway.clock.now();
        self.under_way = Some(AttemptUnderWay { credential, started_at, started: Instant::now() });
    }

    /// The attempt under way has ended like this.
    pub(crate) fn attempted(&mut self, outcome: AttemptOutcome, status: Option<u16>, may_bill: MayBill) {
        let Some(under_way) = self.under_way.take() else { return };
        let elapsed = under_way.started.elapsed();
        self.upstream_time += elapsed;
        let Some(priced) = self.current() else { return };
        let provider = &priced.candidate.provider;
        self.gateway.metrics.provider(&provider.name).attempt(outcome);
        let attempt = Attempt {
            provider: provider.name.clone(),
            model: String::from(&*priced.candidate.model),
            credential: under_way.credential,
            outcome,
            status,
            started_at: under_way.started_at,
            first_byte_ms: millis(elapsed),
            duration_ms: millis(elapsed),
            bill: None,
        };
        self.attempts.push(attempt);
        match outcome {
            AttemptOutcome::Ok => self.is_answered = true,
            _ => self.note_lost_attempt(may_bill),
        }
    }

    /// Notes what the attempt that ended last may be billed at.
    fn note_lost_attempt(&mut self, may_bill: MayBill) {
        let (usage, basis) = match may_bill {
            MayBill::Nothing => return,
            MayBill::Estimate => (self.lost_usage(), SettlementBasis::Estimated),
            MayBill::Told(told) => {
                let (usage, basis) = usage_check::settled(self, Some(&told), &Shown::default());
                (with_request(usage), basis)
            }
        };
        let Some((candidate, priced)) = self.candidate.zip(self.current()) else { return };
        let charge = priced.sheet.cost(&usage, self.priced.plan.tier);
        self.lost.push(LostAttempt { attempt: self.attempts.len() - 1, candidate, usage, basis, charge });
    }

    /// The credential of the attempt under way, or of the last one.
    pub(crate) fn credential(&self) -> Option<CredentialId> {
        match self.under_way {
            Some(under_way) => under_way.credential,
            None => self.attempts.last().and_then(|attempt| attempt.credential),
        }
    }

    pub(crate) fn current(&self) -> Option<&PricedCandidate> {
        self.candidate.and_then(|index| self.priced.plan.candidates.get(index))
    }

    pub(crate) fn candidate_index(&self) -> Option<usize> {
        self.candidate
    }

    /// What `usage` costs at the candidate in use, with the attempts that were lost before. The customer never pays more
    /// than was held: beyond that it is the operator's matter, and `provider_cost` keeps the provider's claim.
    pub(crate) fn price(&self, usage: &Usage) -> SettledCharge {
        let charge = match self.current() {
            Some(priced) => priced.sheet.cost(usage, self.served_tier.unwrap_or(self.priced.plan.tier)),
            None => Charge::NONE,
        };
        let (total, provider_total) = self.lost.totals_with(&charge);
        let cost = if self.priced.plan.is_paid { total.min(self.grant.granted) } else { total };
        SettledCharge {
            cost,
            claimed: total,
            provider_cost: provider_total,
            lines: charge.lines,
            margin: charge.margin,
            provider_lines: charge.provider_lines,
        }
    }

    /// The prompt's cost as an estimate, for what was lost after dispatch.
    pub(crate) fn lost_usage(&self) -> Usage {
        self.priced.plan.lost_usage
    }

    /// Notes the class the provider says it served; an unknown or unpriced one is priced as asked.
    pub(crate) fn note_served_tier(&mut self, name: Option<&str>) {
        let needs = crate::plan::needs_of(self.priced.surface);
        let is_priced = |tier: &ServiceTier| {
            self.current().is_some_and(|priced| priced.sheet.check(*tier, needs).is_ok())
        };
        if let Some(tier) = name.and_then(ServiceTier::from_name).filter(is_priced) {
            self.served_tier = Some(tier);
        }
    }

    /// Time spent in here so far.
    pub(crate) fn overhead(&self) -> Duration {
        let so_far = || self.priced.started.elapsed().saturating_sub(self.upstream_time);
        self.overhead_frozen.unwrap_or_else(so_far)
    }

    /// What follows is relaying, as fast as provider and client are.
    pub(crate) fn freeze_overhead(&mut self) {
        self.overhead_frozen = Some(self.overhead());
    }

    /// Ends it.
    pub(crate) fn end(mut self: Box<Self>, ending: Ending) {
        self.end_in_place(ending);
    }

    /// Ends it at a charge that [`Reservation::price`] has told for the ending's usage.
    pub(crate) fn end_priced(mut self: Box<Self>, ending: Ending, charge: SettledCharge) {
        if let Some(place) = self.place.take() {
            self.settle_at(place, ending, charge);
        }
    }

    /// Lets its hold stand beyond it: what it pays for has only begun. Somebody else settles it, in the end the control
    /// plane at the prompt's estimate.
    pub(crate) async fn keep_hold(mut self: Box<Self>, lease_ms: u64) {
        self.stand(lease_ms).await;
        self.let_stand();
    }

    /// Makes its hold stand for what goes on whether anybody reads it or not; it is still settled by whoever sees its end.
    pub(crate) async fn stand(&self, lease_ms: u64) {
        let hold = HoldId::from_uuid(self.priced.request.as_uuid());
        // from here on nobody renews it for a shorter time
        self.gateway.holds.close(hold);
        let (tenant, estimate) = (self.priced.caller.context.tenant.id, self.price(&self.lost_usage()).cost);
        if let Err(error) = self.gateway.ledger.renew(&[(tenant, hold, estimate)], lease_ms).await {
            tracing::error!(%error, request = %self.priced.request, "a hold that is to stand has a short lease only");
        }
    }

    /// Nobody sees its end here: its hold stands until somebody does.
    pub(crate) fn let_stand(&mut self) {
        if let Some(once) = &self.priced.once {
            once.went_on();
        }
        drop(self.place.take());
    }

    /// Ends a request that failed: free where no provider can have billed it, else at the prompt's estimate.
    pub(crate) fn fail(mut self: Box<Self>, outcome: RequestOutcome, status: u16) {
        let ending = self.failure(outcome, status);
        self.end(ending);
    }

    fn failure(&mut self, outcome: RequestOutcome, status: u16) -> Ending {
        if self.is_answered {
            return Ending { usage: self.lost_usage(), basis: SettlementBasis::Estimated, outcome, status };
        }
        match self.lost.pop() {
            // priced where it may be billed, which need not be where it failed last
            Some(last) => {
                self.candidate = Some(last.candidate);
                Ending { usage: last.usage, basis: last.basis, outcome, status }
            }
            None => Ending::void(outcome, status),
        }
    }

    /// Ends it through a reference: for streams, which end inside a poll.
    pub(crate) fn end_in_place(&mut self, ending: Ending) {
        let Some(place) = self.place.take() else { return };
        let charge = self.price(&ending.usage);
        self.settle_at(place, ending, charge);
    }

    fn settle_at(&mut self, place: SettlePlace, ending: Ending, charge: SettledCharge) {
        if let Some(once) = &self.priced.once {
            once.settled(&ending);
        }
        if charge.cost < charge.claimed {
            let (cost, claimed) = (charge.cost, charge.claimed);
            tracing::warn!(request = %self.priced.request, %cost, %claimed, "a provider claims more than was held");
        }
        let event = self.event(&ending, charge);
        self.observe(&ending, &event);
        let was_sent = !event.attempts.is_empty();
        let settlement = Settlement {
            tenant: event.tenant,
            hold: event.hold,
            actual: event.cost,
            tokens: event.usage.total_tokens(),
            event: was_sent.then(|| Arc::new(event)),
        };
        place.settle(settlement);
    }

    fn event(&mut self, ending: &Ending, charge: SettledCharge) -> UsageEvent {
        let duration = self.priced.started.elapsed();
        let gateway = &self.gateway;
        let context = &self.priced.caller.context;
        let finished_at = gateway.clock.now();
        let (provider, model) = self.current().map_or_else(Default::default, |priced| {
            (priced.candidate.provider.name.clone(), String::from(&*priced.candidate.model))
        });
        let uuid = self.priced.request.as_uuid();
        let overhead = self.overhead();
        let usage = self.lost.usage_with(&ending.usage);
        self.lost.bill(&mut self.attempts);
        UsageEvent {
            event: EventId::from_uuid(uuid),
            request: self.priced.request,
            hold: HoldId::from_uuid(uuid),
            tenant: context.tenant.id,
            project: context.project.id,
            key: context.key.id,
            end_user: self.priced.end_user.take(),
            labels: std::mem::take(&mut self.priced.labels),
            surface: self.priced.surface,
            requested_model: std::mem::take(&mut self.priced.requested_model),
            provider,
            model,
            streamed: self.priced.skim.stream,
            admitted_at: self.grant.admitted_at,
            finished_at,
            // what nobody must pay in advance is held to be counted, not as a bound of the cost
            held: if self.priced.plan.is_paid { self.grant.granted } else { NanoUsd::ZERO },
            cost: charge.cost,
            provider_cost: charge.provider_cost,
            usage,
            charge: charge.lines,
            margin: charge.margin,
            provider_charge: charge.provider_lines,
            basis: ending.basis,
            outcome: ending.outcome,
            status: ending.status,
            attempts: std::mem::take(&mut self.attempts),
            duration_ms: millis(duration),
            first_byte_ms: self.first_byte.map(millis),
            overhead_us: u64::try_from(overhead.as_micros()).unwrap_or(u64::MAX),
            policy_revision: self.priced.caller.snapshot.revision(),
        }
    }

    fn observe(&mut self, ending: &Ending, event: &UsageEvent) {
        self.gateway.metrics.request_finished(&FinishedRequest {
            surface: event.surface,
            outcome: ending.outcome,
            duration: Duration::from_millis(event.duration_ms),
            first_byte: self.first_byte,
            overhead: Duration::from_micros(event.overhead_us),
            usage: &event.usage,
            cost: event.cost,
        });
        tollgate_telemetry::log_request(event);
        std::mem::replace(&mut self.priced.trace, RequestTrace::disabled()).finish(event);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.place.is_some() {
            self.attempted(AttemptOutcome::Cancelled, None, MayBill::Estimate);
            let ending = self.failure(RequestOutcome::ClientClosed, CLIENT_CLOSED_STATUS);
            self.end_in_place(ending);
        }
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
