//! What ends, grows or is renewed: out of its slab where it is not announced yet, else as ever.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::JoinSet;
use tollgate_domain::{HoldId, NanoUsd, TenantId, UsageEvent};

use super::announce::Told;
use super::shard::Known;
use super::{EndedPart, PartEnd, SlabLedger, SlabName};
use crate::error::LedgerError;
use crate::holds::{GrowOutcome, Renewal};
use crate::ledger::check_settlement;
use crate::types::{SettleOutcome, Settlement};

type Outcome = Result<SettleOutcome, LedgerError>;

/// Where a settlement goes.
enum Way {
    /// It is done already.
    Known(Outcome),
    /// Its hold is a part of a slab.
    InSlab(SlabName),
    /// To the backend.
    Alone(Settlement),
}

impl SlabLedger {
    pub(crate) async fn settle(&self, settlement: &Settlement) -> Outcome {
        let outcome = self.settle_many(std::slice::from_ref(settlement)).await.pop();
        outcome.unwrap_or_else(|| Err(LedgerError::Protocol("a settlement has no answer".to_owned())))
    }

    pub(crate) async fn settle_many(&self, settlements: &[Settlement]) -> Vec<Outcome> {
        let mut outcomes: Vec<Option<Outcome>> = settlements.iter().map(|_| None).collect();
        let mut in_slabs: BTreeMap<SlabName, Vec<usize>> = BTreeMap::new();
        let mut alone: Vec<(usize, Settlement)> = Vec::new();
        for (index, settlement) in settlements.iter().enumerate() {
            match self.way_of(settlement) {
                Way::Known(outcome) => outcomes[index] = Some(outcome),
                Way::InSlab(name) => in_slabs.entry(name).or_default().push(index),
                Way::Alone(settlement) => alone.push((index, settlement)),
            }
        }
        for (index, outcome) in self.settle_in_slabs(settlements, in_slabs).await {
            match outcome {
                Some(outcome) => outcomes[index] = Some(outcome),
                None => alone.push((index, settlements[index].clone())),
            }
        }
        for (_, settlement) in &mut alone {
            if self.is_paid(settlement) {
                *settlement = at_no_cost(settlement);
            }
        }
        if !alone.is_empty() {
            let (indices, alone): (Vec<usize>, Vec<Settlement>) = alone.into_iter().unzip();
            let settled = Box::pin(self.backend().settle_many(&alone)).await;
            for (index, outcome) in indices.into_iter().zip(settled) {
                outcomes[index] = Some(outcome);
            }
        }
        let missing = || Err(LedgerError::Protocol("a settlement has no answer".to_owned()));
        let outcomes: Vec<Outcome> =
            outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(missing)).collect();
        let now_ms = self.now_ms();
        for (settlement, outcome) in settlements.iter().zip(&outcomes) {
            if !matches!(outcome, Err(_) | Ok(SettleOutcome::WrongEpoch)) {
                self.shard(settlement.tenant).ended(settlement.hold, now_ms);
            }
        }
        outcomes
    }

    fn way_of(&self, settlement: &Settlement) -> Way {
        if let Err(error) = check_settlement(settlement) {
            return Way::Known(Err(error));
        }
        let now_ms = self.now_ms();
        let mut shard = self.shard(settlement.tenant);
        match shard.holds.get(&settlement.hold).copied() {
            Some(Known::Part { set, slab, .. }) => {
                let name = SlabName { tenant: settlement.tenant, set, slab };
                let is_void = settlement.event.is_none() && settlement.actual == NanoUsd::ZERO;
                // Nothing was sent for it and nobody knows of it: it never was.
                if is_void && shard.slab(name).is_some_and(|slab| slab.give_back(settlement.hold)) {
                    shard.holds.remove(&settlement.hold);
                    shard.given_back.insert(settlement.hold, now_ms);
                    return Way::Known(Ok(SettleOutcome::Settled));
                }
                Way::InSlab(name)
            }
            None if shard.given_back.contains(settlement.hold) => {
                Way::Known(Ok(SettleOutcome::AlreadySettled))
            }
            Some(Known::Asked | Known::Paid) | None => Way::Alone(settlement.clone()),
        }
    }

    /// Whether its slab has paid for it: then nothing more is charged.
    fn is_paid(&self, settlement: &Settlement) -> bool {
        self.shard(settlement.tenant).holds.get(&settlement.hold) == Some(&Known::Paid)
    }

    /// `None` for those that are no parts any more.
    async fn settle_in_slabs(
        &self,
        settlements: &[Settlement],
        in_slabs: BTreeMap<SlabName, Vec<usize>>,
    ) -> Vec<(usize, Option<Outcome>)> {
        let owned = |indices: Vec<usize>| -> Vec<(usize, Settlement)> {
            indices.into_iter().map(|index| (index, settlements[index].clone())).collect()
        };
        if in_slabs.len() <= 1 {
            let mut outcomes = Vec::new();
            for (name, indices) in in_slabs {
                outcomes = self.settle_in_slab(name, owned(indices)).await;
            }
            return outcomes;
        }
        let mut settling = JoinSet::new();
        for (name, indices) in in_slabs {
            let (ledger, owned) = (self.clone(), owned(indices));
            settling.spawn(async move { ledger.settle_in_slab(name, owned).await });
        }
        settling.join_all().await.into_iter().flatten().collect()
    }

    async fn settle_in_slab(
        &self,
        name: SlabName,
        settlements: Vec<(usize, Settlement)>,
    ) -> Vec<(usize, Option<Outcome>)> {
        let Some(wire) = self.wire(name) else {
            return settlements.into_iter().map(|(index, _)| (index, None)).collect();
        };
        let _turn = wire.lock().await;
        let mut outcomes = Vec::with_capacity(settlements.len());
        let mut waiting: Vec<(usize, HoldId)> = Vec::with_capacity(settlements.len());
        {
            let mut shard = self.shard(name.tenant);
            for (index, settlement) in settlements {
                let hold = settlement.hold;
                let slab = shard.slab(name);
                let is_part = slab.is_some_and(|slab| match slab.end(hold) {
                    Some(part) => {
                        slab.ending.push(EndedPart { part, settlement });
                        true
                    }
                    None => slab.ending.iter().any(|ending| ending.part.hold == hold),
                });
                if is_part { waiting.push((index, hold)) } else { outcomes.push((index, None)) }
            }
        }
        if waiting.is_empty() {
            return outcomes;
        }
        let told = self.announce_in_turn(name).await;
        for (index, hold) in waiting {
            let outcome = match &told {
                Ok(Told::Ends(ends)) => match ends.iter().find(|(one, _)| *one == hold) {
                    Some((_, PartEnd::Settled)) => Some(Ok(SettleOutcome::Settled)),
                    Some((_, PartEnd::AlreadySettled)) => Some(Ok(SettleOutcome::AlreadySettled)),
                    Some((_, PartEnd::IsHold)) | None => None,
                },
                Ok(Told::Gone) => None,
                Ok(Told::WrongEpoch) => Some(Ok(SettleOutcome::WrongEpoch)),
                Err(error) => Some(Err(error.clone())),
            };
            outcomes.push((index, outcome));
        }
        outcomes
    }

    // --- what needs a hold of its own ---

    /// Sees to it that a hold is announced. Answers whether the backend can be asked about it.
    async fn announce_hold(&self, tenant: TenantId, hold: HoldId) -> Result<Told, LedgerError> {
        let known = self.shard(tenant).holds.get(&hold).copied();
        match known {
            Some(Known::Part { set, slab, .. }) => self.announce(SlabName { tenant, set, slab }).await,
            Some(Known::Asked | Known::Paid) | None => Ok(Told::Ends(Vec::new())),
        }
    }

    pub(crate) async fn grow(
        &self,
        tenant: TenantId,
        hold: HoldId,
        new_total: NanoUsd,
    ) -> Result<GrowOutcome, LedgerError> {
        match self.announce_hold(tenant, hold).await? {
            // A reseed may have made a hold of it even where its slab is gone: the backend knows.
            Told::Ends(_) | Told::Gone => {}
            Told::WrongEpoch => return Ok(GrowOutcome::WrongEpoch),
        }
        let outcome = Box::pin(self.backend().grow(tenant, hold, new_total)).await?;
        if matches!(outcome, GrowOutcome::Refused(_)) && self.shard(tenant).has_slabs(tenant) {
            self.return_slabs_of(tenant).await;
            return Box::pin(self.backend().grow(tenant, hold, new_total)).await;
        }
        Ok(outcome)
    }

    pub(crate) async fn renew(
        &self,
        holds: &[(TenantId, HoldId, NanoUsd)],
        lease_ms: u64,
    ) -> Result<Renewal, LedgerError> {
        let mut parts: BTreeMap<SlabName, Vec<(TenantId, HoldId, NanoUsd)>> = BTreeMap::new();
        let mut to_renew = Vec::with_capacity(holds.len());
        for one in holds {
            let (tenant, hold, _) = *one;
            match self.shard(tenant).holds.get(&hold).copied() {
                Some(Known::Part { set, slab, .. }) => {
                    parts.entry(SlabName { tenant, set, slab }).or_default().push(*one);
                }
                Some(Known::Asked | Known::Paid) | None => to_renew.push(*one),
            }
        }
        let mut wrong_epoch = Vec::new();
        for (name, parts) in parts {
            match self.announce(name).await? {
                Told::Ends(_) | Told::Gone => to_renew.extend(parts),
                Told::WrongEpoch => wrong_epoch.push(name.tenant),
            }
        }
        let mut renewal = Box::pin(self.backend().renew(&to_renew, lease_ms)).await?;
        renewal.wrong_epoch.extend(wrong_epoch);
        renewal.wrong_epoch.sort_unstable();
        renewal.wrong_epoch.dedup();
        Ok(renewal)
    }
}

/// Its slab was settled at its window, which pays for it: what is journaled of it costs nothing more.
fn at_no_cost(settlement: &Settlement) -> Settlement {
    let free = |event: &Arc<UsageEvent>| {
        let mut event = UsageEvent::clone(event);
        (event.cost, event.charge, event.margin) = (NanoUsd::ZERO, Vec::new(), None);
        for bill in event.attempts.iter_mut().filter_map(|attempt| attempt.bill.as_mut()) {
            (bill.cost, bill.charge, bill.margin) = (NanoUsd::ZERO, Vec::new(), None);
        }
        Arc::new(event)
    };
    Settlement { actual: NanoUsd::ZERO, event: settlement.event.as_ref().map(free), ..settlement.clone() }
}
