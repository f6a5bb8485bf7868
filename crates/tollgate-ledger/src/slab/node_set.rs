//! What is decided in memory: which requests a slab is for, what it has left, and when another one is wanted.

use std::sync::Arc;

use tokio::sync::Mutex as AsyncMutex;
use tollgate_domain::{BudgetId, HoldId, KeyId, NanoUsd, NodeId, Period, TenantId, UnixMillis};

use super::config::SlabConfig;
use super::{EndedPart, Part, SlabView};
use crate::holds::HeldBudget;
use crate::types::{Admission, BudgetCheck, Grant, LimitCheck, RateStatus, WalletRule};

/// Nothing is admitted out of a slab in the last part of its lease: announcements and returns still fall into it.
const LEASE_MARGIN: i64 = 6;
/// What may be unannounced at once, as a part of the slab.
pub(super) const WINDOW_SHARE: i64 = 8;
/// Demand is counted over so long.
const DEMAND_MS: i64 = 1_000;
/// Slabs of one node set: the one in use, the next, and one or two that are being returned.
const MAX_SLABS: usize = 4;

/// Requests that the same slab can pay for.
pub(super) struct NodeSet {
    tenant: TenantId,
    key: KeyId,
    wallet: WalletRule,
    budgets: Vec<(BudgetId, NanoUsd)>,
    pub(super) limits: Vec<LimitCheck>,
    pub(super) slabs: Vec<Slab>,
    pub(super) demand: Demand,
    /// What the next slab is leased with, from when it is wanted until it is there or refused.
    pub(super) wanted: Option<Template>,
    /// Not before this is another one asked for.
    pub(super) not_before_ms: i64,
    /// What "far" allows a slab to be, as last seen.
    pub(super) cap: Option<NanoUsd>,
}

/// A request as an example.
#[derive(Clone)]
pub(super) struct Template {
    pub(super) hold: HoldId,
    pub(super) node: NodeId,
    pub(super) budgets: Vec<BudgetCheck>,
    pub(super) lease_ms: u64,
    pub(super) memo: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Demand {
    started_ms: i64,
    n: u64,
    amount: NanoUsd,
    previous: (u64, NanoUsd),
    pub(super) largest: NanoUsd,
    pub(super) most_tokens: u64,
    pub(super) last_ms: i64,
}

/// What becomes of a slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Requests are admitted out of it.
    Live,
    /// The backend's epoch is another: nothing until it answers again.
    Suspended,
    /// It is to be returned once everything in it is announced.
    Closing,
}

pub(super) struct Slab {
    pub(super) hold: HoldId,
    pub(super) node: NodeId,
    pub(super) memo: Vec<u8>,
    /// What the backend was told that it costs should its pod die, where the memo does not say it.
    pub(super) progress: NanoUsd,
    /// A moment before the ledger admitted it.
    pub(super) leased_at_ms: i64,
    pub(super) lease_ms: i64,
    /// By the ledger.
    pub(super) admitted_at: UnixMillis,
    /// Those that the ledger chose, in the order of the budgets.
    pub(super) periods: Vec<Period>,
    pub(super) amount: NanoUsd,
    pub(super) free: NanoUsd,
    pub(super) unannounced: NanoUsd,
    /// What is left of the rate limits' block; `None` where there is no such limit.
    pub(super) requests_left: Option<u64>,
    pub(super) tokens_left: Option<u64>,
    pub(super) places_left: Option<u64>,
    /// The rate limits when the block was taken.
    pub(super) requests: Option<RateStatus>,
    pub(super) tokens: Option<RateStatus>,
    /// Admitted, and known to nobody else.
    pub(super) queued: Vec<Arc<Part>>,
    /// The same, but somebody may know.
    pub(super) sent: Vec<Arc<Part>>,
    /// Unannounced and over; somebody may know.
    pub(super) ending: Vec<EndedPart>,
    pub(super) state: State,
    pub(super) last_used_ms: i64,
    pub(super) last_asked_ms: i64,
    /// Calls about a slab go out one after the other.
    pub(super) wire: Arc<AsyncMutex<()>>,
}

impl Template {
    fn of(admission: &Admission<'_>) -> Self {
        Self {
            hold: admission.hold,
            node: admission.node,
            budgets: admission.budgets.to_vec(),
            lease_ms: admission.lease_ms,
            memo: admission.memo.to_vec(),
        }
    }
}

// === impl NodeSet ===

impl NodeSet {
    pub(super) fn new(admission: &Admission<'_>) -> Self {
        Self {
            tenant: admission.tenant,
            key: admission.key,
            wallet: admission.wallet,
            budgets: admission.budgets.iter().map(|check| (check.budget, check.limit)).collect(),
            limits: admission.limits.to_vec(),
            slabs: Vec::new(),
            demand: Demand::default(),
            wanted: None,
            not_before_ms: i64::MIN,
            cap: None,
        }
    }

    pub(super) fn tenant(&self) -> TenantId {
        self.tenant
    }

    pub(super) fn key(&self) -> KeyId {
        self.key
    }

    pub(super) fn wallet(&self) -> WalletRule {
        self.wallet
    }

    /// Whether a request is of this set; sets are found by a hash.
    pub(super) fn is_for(&self, admission: &Admission<'_>) -> bool {
        self.tenant == admission.tenant
            && self.key == admission.key
            && self.wallet == admission.wallet
            && self.limits == admission.limits
            && self.budgets.len() == admission.budgets.len()
            && self
                .budgets
                .iter()
                .zip(admission.budgets)
                .all(|((id, limit), check)| *id == check.budget && *limit == check.limit)
    }

    /// Admits a request out of a slab that has room for it. Answers the slab and the grant.
    pub(super) fn take(&mut self, admission: &Admission<'_>, now_ms: i64) -> Option<(HoldId, Grant)> {
        let slab = self.slabs.iter_mut().find(|slab| slab.has_room(admission, now_ms))?;
        Some((slab.hold, slab.take(admission, now_ms)))
    }

    /// Notes a request, and whether another slab is wanted: `true` when that is new.
    pub(super) fn note(&mut self, admission: &Admission<'_>, config: &SlabConfig, now_ms: i64) -> bool {
        self.demand.note(admission, now_ms);
        let has_spare = self.slabs.iter().any(|slab| slab.is_usable(now_ms) && !slab.is_half_empty());
        let is_wanted = self.wanted.is_none()
            && !has_spare
            && self.slabs.len() < MAX_SLABS
            && now_ms >= self.not_before_ms
            && self.demand.recent(now_ms).0 >= config.lease_after;
        if is_wanted {
            self.wanted = Some(Template::of(admission));
        }
        is_wanted
    }

    /// The same whatever the demand and the pause; `false` where one is being leased already.
    pub(super) fn want(&mut self, admission: &Admission<'_>, now_ms: i64) -> bool {
        let is_new = self.wanted.is_none();
        if is_new {
            self.demand.note(admission, now_ms);
            self.wanted = Some(Template::of(admission));
        }
        is_new
    }

    /// The budgets of a slab in its periods.
    pub(super) fn held_in(&self, slab: &Slab) -> Vec<HeldBudget> {
        let held = |((budget, limit), period): (&(BudgetId, NanoUsd), &Period)| HeldBudget {
            budget: *budget,
            period_starts_at: period.starts_at,
            limit: *limit,
        };
        self.budgets.iter().zip(&slab.periods).map(held).collect()
    }

    pub(super) fn slab(&mut self, hold: HoldId) -> Option<&mut Slab> {
        self.slabs.iter_mut().find(|slab| slab.hold == hold)
    }
}

// === impl Demand ===

impl Demand {
    fn note(&mut self, admission: &Admission<'_>, now_ms: i64) {
        let passed_ms = now_ms - self.started_ms;
        if !(0..DEMAND_MS).contains(&passed_ms) {
            let is_next = (DEMAND_MS..2 * DEMAND_MS).contains(&passed_ms);
            self.previous = if is_next { (self.n, self.amount) } else { (0, NanoUsd::ZERO) };
            if !is_next {
                (self.largest, self.most_tokens) = (NanoUsd::ZERO, 0);
            }
            (self.started_ms, self.n, self.amount) = (now_ms, 0, NanoUsd::ZERO);
        }
        self.n += 1;
        self.amount = self.amount.saturating_add(admission.amount);
        self.largest = self.largest.max(admission.amount);
        self.most_tokens = self.most_tokens.max(admission.tokens);
        self.last_ms = now_ms;
    }

    /// Requests, and what was asked for them, within a second.
    pub(super) fn recent(&self, now_ms: i64) -> (u64, NanoUsd) {
        if now_ms - self.last_ms > DEMAND_MS {
            return (0, NanoUsd::ZERO);
        }
        (self.n.max(self.previous.0), self.amount.max(self.previous.1))
    }
}

// === impl Slab ===

impl Slab {
    /// Whether its lease is valid by this process's clock, and its periods are not over.
    pub(super) fn is_usable(&self, now_ms: i64) -> bool {
        let now = self.ledger_time(now_ms);
        self.state == State::Live
            && !self.is_expiring(now_ms)
            && self.periods.iter().all(|period| now < period.ends_at)
    }

    pub(super) fn is_expiring(&self, now_ms: i64) -> bool {
        now_ms >= self.leased_at_ms + self.lease_ms - self.lease_ms / LEASE_MARGIN
    }

    /// The ledger's time: never behind it, as it was asked later than this clock was read.
    fn ledger_time(&self, now_ms: i64) -> UnixMillis {
        self.admitted_at.plus_ms((now_ms - self.leased_at_ms).max(0))
    }

    pub(super) fn window(&self) -> NanoUsd {
        window_of(self.amount)
    }

    fn is_half_empty(&self) -> bool {
        let is_low = |left: Option<u64>| left.is_some_and(|left| left < 8);
        self.free.0 < self.amount.0 / 2 || is_low(self.requests_left) || is_low(self.places_left)
    }

    fn has_room(&self, admission: &Admission<'_>, now_ms: i64) -> bool {
        let has = |left: Option<u64>, n: u64| left.is_none_or(|left| left >= n);
        self.is_usable(now_ms)
            && self.free >= admission.amount
            && self.unannounced.saturating_add(admission.amount) <= self.window()
            && has(self.requests_left, 1)
            && has(self.tokens_left, admission.tokens)
            && has(self.places_left, 1)
            && self
                .periods
                .iter()
                .zip(admission.budgets)
                .all(|(period, check)| [check.periods.current, check.periods.next].contains(period))
    }

    fn take(&mut self, admission: &Admission<'_>, now_ms: i64) -> Grant {
        self.free = self.free.saturating_sub(admission.amount);
        self.unannounced = self.unannounced.saturating_add(admission.amount);
        self.requests_left = self.requests_left.map(|left| left - 1);
        self.tokens_left = self.tokens_left.map(|left| left - admission.tokens);
        self.places_left = self.places_left.map(|left| left - 1);
        self.last_used_ms = now_ms;
        let part = Part {
            hold: admission.hold,
            key: admission.key,
            node: admission.node,
            amount: admission.amount,
            admitted_at: self.ledger_time(now_ms),
            lease_ms: admission.lease_ms,
            tokens: admission.tokens,
            memo: admission.memo.into(),
        };
        let admitted_at = part.admitted_at;
        self.queued.push(Arc::new(part));
        Grant { granted: admission.amount, admitted_at, requests: self.requests, tokens: self.tokens }
    }

    /// Gives back what a request took that nobody else knows of; `false` where somebody may.
    pub(super) fn give_back(&mut self, hold: HoldId) -> bool {
        let Some(index) = self.queued.iter().position(|part| part.hold == hold) else { return false };
        let part = self.queued.swap_remove(index);
        self.unannounced = self.unannounced.saturating_sub(part.amount);
        self.free = self.free.saturating_add(part.amount);
        self.requests_left = self.requests_left.map(|left| left + 1);
        self.tokens_left = self.tokens_left.map(|left| left + part.tokens);
        self.places_left = self.places_left.map(|left| left + 1);
        true
    }

    /// A part that is unannounced and runs: it ends now. `None` where there is none.
    pub(super) fn end(&mut self, hold: HoldId) -> Option<Arc<Part>> {
        for parts in [&mut self.queued, &mut self.sent] {
            if let Some(index) = parts.iter().position(|part| part.hold == hold) {
                return Some(parts.swap_remove(index));
            }
        }
        None
    }

    pub(super) fn has_unannounced(&self) -> bool {
        !(self.queued.is_empty() && self.sent.is_empty() && self.ending.is_empty())
    }

    pub(super) fn view(&self, tenant: TenantId) -> SlabView {
        let running = self.queued.iter().chain(&self.sent).chain(self.ending.iter().map(|ended| &ended.part));
        SlabView {
            tenant,
            hold: self.hold,
            free: self.free,
            window: self.window(),
            unannounced: running.map(|part| (part.hold, part.amount)).collect(),
        }
    }
}

/// What may be unannounced of a slab of this size.
pub(super) fn window_of(amount: NanoUsd) -> NanoUsd {
    NanoUsd(amount.0 / WINDOW_SHARE)
}
