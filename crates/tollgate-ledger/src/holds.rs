//! Holds as records: what they are made of, who lost his lease, what a pod reports of its own.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tollgate_domain::{BudgetId, HoldId, KeyId, NanoUsd, NodeId, TenantId, UnixMillis, UsageEvent};

use crate::types::{MoneyRefusal, WalletRule};

/// Bytes of a hold's memo: a usage event without its usage has some hundred.
pub const MAX_MEMO_BYTES: usize = 4_096;

/// A budget that a hold is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBudget {
    /// Which budget.
    pub budget: BudgetId,
    /// First millisecond of the period that is charged: it names it.
    pub period_starts_at: UnixMillis,
    /// The limit that the hold was admitted under; a growing hold is checked against it.
    pub limit: NanoUsd,
}

/// A hold as a pod knows it: one that it was granted and that is not known to be settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenHold {
    /// Whose.
    pub tenant: TenantId,
    /// Its identity.
    pub hold: HoldId,
    /// With which key.
    pub key: KeyId,
    /// The pod that renews it.
    pub node: NodeId,
    /// What is held; of what it was to grow to nothing while that answer is not known.
    pub amount: NanoUsd,
    /// What is held of the wallet.
    pub wallet: WalletRule,
    /// The budgets that it is in.
    pub budgets: Vec<HeldBudget>,
    /// The ledger's time of admission; `None` where it is not known: then that of the reseed is taken.
    pub admitted_at: Option<UnixMillis>,
    /// After how long without renewal it counts as abandoned.
    pub lease_ms: u64,
    /// What its request had cost when its lease was last renewed.
    pub progress: NanoUsd,
    /// The caller's note, as given with the admission.
    pub memo: Vec<u8>,
    /// The slab that it was admitted out of, while only its pod knows of it. Whoever settled that slab has paid for
    /// it: then it is to be left out of a reseed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slab: Option<HoldId>,
}

/// An event that a pod settled and that is not known to be in the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnjournaledEvent {
    /// The event.
    pub event: Arc<UsageEvent>,
    /// Whether its cost was charged to the wallet.
    pub wallet: WalletRule,
    /// The budgets that its cost was charged to.
    pub budgets: Vec<HeldBudget>,
}

/// What a pod has under way: to be gathered from all pods before a reseed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenReport {
    /// Holds that are not known to be settled.
    pub holds: Vec<OpenHold>,
    /// Settled events that are not known to be journaled.
    pub events: Vec<UnjournaledEvent>,
    /// The highest epoch number the pod knows of any of the tenants; zero where it knows none.
    pub highest_epoch: u64,
}

/// A hold as the ledger knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldView {
    /// Its identity.
    pub hold: HoldId,
    /// With which key.
    pub key: KeyId,
    /// The pod that renews it.
    pub node: NodeId,
    /// What is held.
    pub amount: NanoUsd,
    /// What is held of the wallet.
    pub wallet: WalletRule,
    /// The budgets that it is in.
    pub budgets: Vec<HeldBudget>,
    /// When it was admitted.
    pub admitted_at: UnixMillis,
    /// Until when it is renewed.
    pub lease_until: UnixMillis,
    /// After how long without renewal it counts as abandoned.
    pub lease_ms: u64,
    /// Whether that has passed: its pod is gone, and what its request cost is not known. Still held.
    pub is_suspect: bool,
    /// What its request had cost when its lease was last renewed.
    pub progress: NanoUsd,
    /// The caller's note, as given with the admission.
    pub memo: Vec<u8>,
}

impl HoldView {
    /// The same as a pod would report it: for a reseed that keeps what no pod reports any more.
    #[must_use]
    pub fn to_open(&self, tenant: TenantId) -> OpenHold {
        OpenHold {
            tenant,
            hold: self.hold,
            key: self.key,
            node: self.node,
            amount: self.amount,
            wallet: self.wallet,
            budgets: self.budgets.clone(),
            admitted_at: Some(self.admitted_at),
            lease_ms: self.lease_ms,
            progress: self.progress,
            memo: self.memo.clone(),
            slab: None,
        }
    }
}

/// Some holds of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HoldPage {
    /// In no particular order; a page may hold some more than were asked for, or fewer though more follow.
    pub holds: Vec<HoldView>,
    /// Where the next page begins; `None` where there is none.
    pub next: Option<String>,
}

/// A hold whose pod has not renewed it in time, with all that is needed to settle it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuspectHold {
    /// Whose.
    pub tenant: TenantId,
    /// Its identity.
    pub hold: HoldId,
    /// With which key.
    pub key: KeyId,
    /// The pod that renewed it last.
    pub node: NodeId,
    /// What is held.
    pub amount: NanoUsd,
    /// When it was admitted.
    pub admitted_at: UnixMillis,
    /// When its lease ended.
    pub lease_until: UnixMillis,
    /// What its request had cost when its lease was last renewed.
    pub progress: NanoUsd,
    /// The caller's note, as given with the admission.
    pub memo: Vec<u8>,
}

/// What became of holds that were to be renewed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renewal {
    /// How many were.
    pub renewed: u64,
    /// Those that the ledger does not have: settled by somebody else, or never admitted.
    pub gone: Vec<(TenantId, HoldId)>,
    /// Tenants whose epoch does not answer: their holds were not renewed, a reseed is due.
    pub wrong_epoch: Vec<TenantId>,
}

/// Why money was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoneyDenied {
    /// A level has not enough left even if every hold in flight were returned.
    Spent(MoneyRefusal),
    /// Only holds in flight are in the way: a repeat may succeed.
    Held(MoneyRefusal),
}

/// The answer to a growing hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrowOutcome {
    /// It holds `granted` now: what was asked for, or more where it held more before.
    Grown {
        /// All that is held.
        granted: NanoUsd,
    },
    /// One level refused; it holds what it held before. No end of the period is told.
    Refused(MoneyDenied),
    /// The ledger does not have it.
    UnknownHold,
    /// The tenant's epoch does not answer: a reseed is due.
    WrongEpoch,
}

/// What was found about events that this process settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalConfirmation {
    /// Events that are journaled: they are kept no longer.
    pub journaled: u64,
    /// Events whose outbox was lost: they were put into it again.
    pub republished: u64,
    /// Events that are still kept.
    pub waiting: u64,
}
