//! One request as its pod knows it, and what it leaves in the ledger.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tollgate_domain::{
    EventId, HoldId, KeyId, NanoUsd, NodeId, ProjectId, RequestId, RequestOutcome, SettlementBasis, Surface,
    TenantId, UnixMillis, Usage, UsageEvent,
};
use tollgate_ledger::{Admission, BudgetCheck, HeldBudget, OpenHold, Settlement, WalletRule};

use super::truth::Asked;
use super::world::Node;

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Its admission was asked for; the answer was lost.
    Asked,
    /// It is admitted: nothing is spent before.
    Admitted,
    /// It ended; its settlement is not confirmed.
    Ending,
}

#[derive(Clone, Debug)]
pub(super) struct Request {
    /// Index of the tenant.
    pub(super) tenant: usize,
    pub(super) asked: Asked,
    pub(super) admission: OwnedAdmission,
    pub(super) asked_at: UnixMillis,
    pub(super) state: State,
    pub(super) granted: i64,
    pub(super) admitted_at: UnixMillis,
    pub(super) nodes: Vec<Node>,
    /// What it has cost at the provider.
    pub(super) served: i64,
    /// Whether anything was sent to the provider.
    pub(super) is_dispatched: bool,
    /// Whether its settlement was sent: then nothing is asked for it again, since a copy of that may still arrive.
    pub(super) is_given_up: bool,
    /// The cost that was told with a renewal that is known to have been written. Nothing beyond this (and the
    /// estimate) is produced, so that a request whose pod dies costs no more than it is charged.
    pub(super) announced: i64,
}

/// An admission that can be kept and repeated.
#[derive(Clone, Debug)]
pub(super) struct OwnedAdmission {
    pub(super) tenant: TenantId,
    pub(super) key: KeyId,
    pub(super) node: NodeId,
    pub(super) hold: HoldId,
    pub(super) amount: i64,
    pub(super) minimum: i64,
    pub(super) wallet: WalletRule,
    pub(super) budgets: Vec<BudgetCheck>,
    pub(super) lease_ms: u64,
    pub(super) memo: Vec<u8>,
}

/// What a hold's memo says.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Memo {
    /// What a request costs at least as soon as it is sent.
    pub(super) estimate: i64,
    pub(super) key: KeyId,
}

impl OwnedAdmission {
    pub(super) fn borrow(&self) -> Admission<'_> {
        Admission {
            tenant: self.tenant,
            key: self.key,
            node: self.node,
            hold: self.hold,
            amount: NanoUsd(self.amount),
            minimum: NanoUsd(self.minimum),
            wallet: self.wallet,
            budgets: &self.budgets,
            limits: &[],
            tokens: 0,
            lease_ms: self.lease_ms,
            memo: &self.memo,
        }
    }
}

impl Request {
    pub(super) fn estimate(&self) -> i64 {
        read_memo(&self.admission.memo).map_or(0, |memo| memo.estimate)
    }

    pub(super) fn settlement(&self) -> Settlement {
        let event = self.is_dispatched.then(|| {
            let admission = &self.admission;
            event(admission.hold, admission.tenant, admission.key, self.served, self.admitted_at, false)
        });
        let charge = if self.is_dispatched { self.served } else { 0 };
        Settlement {
            tenant: self.admission.tenant,
            hold: self.admission.hold,
            actual: NanoUsd(charge),
            tokens: 0,
            event,
        }
    }

    /// What the pod reports of it.
    pub(super) fn open_hold(&self) -> OpenHold {
        let admission = &self.admission;
        let limit_of = |budget| {
            let check = admission.budgets.iter().find(|check| check.budget == budget);
            check.map_or(NanoUsd::ZERO, |check| check.limit)
        };
        let budgets = self.nodes.iter().filter_map(|node| match *node {
            Node::Wallet(_) => None,
            Node::Budget(budget, starts_at) => {
                Some(HeldBudget { budget, period_starts_at: UnixMillis(starts_at), limit: limit_of(budget) })
            }
        });
        // A request that has ended costs what it cost: the rest may have been returned, and spent by others, by a
        // settlement of which only the answer was lost.
        let is_ending = self.state == State::Ending;
        let memo = Memo { estimate: self.served, key: admission.key };
        let ended_memo = serde_json::to_vec(&memo).ok().filter(|_| is_ending);
        OpenHold {
            tenant: admission.tenant,
            hold: admission.hold,
            key: admission.key,
            node: admission.node,
            amount: NanoUsd(if is_ending { self.served } else { self.granted }),
            wallet: admission.wallet,
            budgets: budgets.collect(),
            admitted_at: Some(self.admitted_at),
            lease_ms: admission.lease_ms,
            progress: NanoUsd(if is_ending { self.served } else { self.announced }),
            memo: ended_memo.unwrap_or_else(|| admission.memo.clone()),
            slab: None,
        }
    }
}

pub(super) fn read_memo(memo: &[u8]) -> Option<Memo> {
    serde_json::from_slice(memo).ok()
}

/// The event of a request: whoever finishes it names the same one.
pub(super) fn event(
    hold: HoldId,
    tenant: TenantId,
    key: KeyId,
    cost: i64,
    admitted_at: UnixMillis,
    is_estimated: bool,
) -> Arc<UsageEvent> {
    Arc::new(UsageEvent {
        event: EventId::from_uuid(hold.as_uuid()),
        request: RequestId::from_uuid(hold.as_uuid()),
        hold,
        tenant,
        project: ProjectId::from_u128(2),
        key,
        end_user: None,
        labels: [].into(),
        surface: Surface::Chat,
        requested_model: "fast".to_owned(),
        provider: "simulated".to_owned(),
        model: "simulated".to_owned(),
        streamed: true,
        admitted_at,
        finished_at: admitted_at,
        held: NanoUsd(cost),
        cost: NanoUsd(cost),
        provider_cost: NanoUsd(cost),
        margin: None,
        provider_charge: None,
        usage: Usage::ZERO,
        charge: Vec::new(),
        basis: if is_estimated { SettlementBasis::Estimated } else { SettlementBasis::Provider },
        outcome: RequestOutcome::Ok,
        status: 200,
        attempts: Vec::new(),
        duration_ms: 0,
        first_byte_ms: None,
        overhead_us: 0,
        policy_revision: 1,
    })
}
