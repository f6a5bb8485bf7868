//! Attempts that were lost after they were sent: their providers may bill them, whoever answers in the end. Each is
//! charged at the prompt's estimate, or at what it tells by itself, and the hold is made to cover them and the next one before that is sent.

use std::time::Instant;

use tollgate_catalog::Charge;
use tollgate_domain::{Attempt, AttemptBill, HoldId, MAX_LIMIT, NanoUsd, SettlementBasis, Usage};

use super::Reservation;
use crate::plan::PricedCandidate;
use crate::relay::{Growth, grow};

/// One of them.
#[derive(Debug)]
pub(super) struct LostAttempt {
    /// Its place among the attempts.
    pub(super) attempt: usize,
    pub(super) candidate: usize,
    pub(super) usage: Usage,
    pub(super) basis: SettlementBasis,
    pub(super) charge: Charge,
}

/// Those of one request, in order. Most requests have none.
#[derive(Debug, Default)]
pub(super) struct LostAttempts(Vec<LostAttempt>);

impl LostAttempts {
    pub(super) fn push(&mut self, lost: LostAttempt) {
        self.0.push(lost);
    }

    /// The last one, where nobody answered: the request's own charge is for it.
    pub(super) fn pop(&mut self) -> Option<LostAttempt> {
        self.0.pop()
    }

    /// What they cost the customer, each rounded up.
    pub(super) fn cost(&self) -> NanoUsd {
        self.0.iter().fold(NanoUsd::ZERO, |sum, lost| sum.saturating_add(lost.charge.total))
    }

    /// What all of them and `charge` cost the customer, and what the providers are expected to bill.
    pub(super) fn totals_with(&self, charge: &Charge) -> (NanoUsd, NanoUsd) {
        if self.0.is_empty() {
            return (charge.total, charge.provider_total);
        }
        Charge::totals(self.0.iter().map(|lost| &lost.charge).chain([charge]))
    }

    /// `usage` and theirs.
    pub(super) fn usage_with(&self, usage: &Usage) -> Usage {
        self.0.iter().fold(*usage, |sum, lost| sum.plus(&lost.usage))
    }

    /// Writes each one's bill to its attempt.
    pub(super) fn bill(&mut self, attempts: &mut [Attempt]) {
        for lost in self.0.drain(..) {
            let Some(attempt) = attempts.get_mut(lost.attempt) else { continue };
            attempt.bill = Some(Box::new(AttemptBill {
                cost: lost.charge.total,
                provider_cost: lost.charge.provider_total,
                usage: lost.usage,
                basis: lost.basis,
                charge: lost.charge.lines,
                margin: lost.charge.margin,
                provider_charge: lost.charge.provider_lines,
            }));
        }
    }
}

impl Reservation {
    /// What the attempts cost that were lost so far: the hold pays for them first.
    pub(crate) fn lost_cost(&self) -> NanoUsd {
        self.lost.cost()
    }

    /// What is held for the attempt under way: all but what was lost.
    pub(crate) fn granted_for_answer(&self) -> NanoUsd {
        self.grant.granted.saturating_sub(self.lost_cost()).max(NanoUsd::ZERO)
    }

    /// Makes the hold cover what was lost and an attempt at `candidate` that costs as much as it may. `false` where
    /// nobody pays for that, or nobody says in time: then it must not be sent.
    pub(crate) async fn cover_next(&mut self, candidate: usize, deadline: Instant) -> bool {
        let lost = self.lost_cost();
        let Some(next) = self.priced.plan.candidates.get(candidate) else { return false };
        if lost == NanoUsd::ZERO {
            return true;
        }
        self.note_lost(lost, next);
        let plan = &self.priced.plan;
        if !plan.is_paid {
            return true;
        }
        let floor = plan.output_floor;
        // the first attempt was sent with no more than what was granted for it
        let bound = next.first_bound(&plan.shape(), floor).min(self.first_granted);
        let needed = lost.saturating_add(bound).min(MAX_LIMIT);
        if needed <= self.grant.granted {
            return true;
        }
        let left = deadline.saturating_duration_since(Instant::now()).min(self.gateway.config.seed_timeout);
        match tokio::time::timeout(left, grow(self, needed)).await {
            Ok(Growth::Grown(granted)) => self.grown(granted),
            Ok(Growth::Denied(_)) => {
                tracing::debug!(request = %self.priced.request, "nobody pays for another attempt");
            }
            Err(_) => {
                tracing::warn!(request = %self.priced.request, "the ledger does not say whether another attempt is paid for");
            }
        }
        needed <= self.grant.granted
    }

    /// Should this pod die: what was lost, and the prompt's estimate at the next one.
    fn note_lost(&self, lost: NanoUsd, next: &PricedCandidate) {
        let plan = &self.priced.plan;
        let estimate = next.sheet.total(&plan.lost_usage, plan.tier);
        let hold = HoldId::from_uuid(self.priced.request.as_uuid());
        self.gateway.holds.cost_at_least(hold, lost.saturating_add(estimate));
    }
}
