//! How slabs come and go.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tollgate_domain::{HoldId, HoldMemo, Labels, NanoUsd, PeriodPair, TenantId};

use super::announce::{NEAR_PAUSE_MS, room_for_all};
use super::node_set::{NodeSet, Slab, State, Template, window_of};
use super::{Block, SlabAnswer, SlabCall, SlabLedger, SlabName};
use crate::error::LedgerError;
use crate::types::{
    Admission, AdmitOutcome, Grant, LimitCheck, RateStatus, SettleOutcome, Settlement, WalletRule,
};

/// A live slab is asked about at least so often, so that a limit that comes near is noticed.
const ASK_EVERY_MS: i64 = 250;
/// A node set without requests is forgotten after so long.
const FORGET_SET_MS: i64 = 60_000;
/// At most this part of a limit is leased at once.
const BLOCK_SHARE: u64 = 20;
/// A block that has less than so many requests or places is not worth it.
const MIN_BLOCK: u64 = 8;
/// Bits of an id that are random.
const RANDOM_BITS: u128 = (1 << 62) - 1;
/// Makes a slab's id of that of the request that it was leased for, which is version 7 as its day is looked at.
const ID_PATTERN: u128 = 0x05ab_5ab5_ab5a_b5ab;
/// As what a slab is listed, and journaled should its pod die.
const SLAB_MODEL: &str = "slab";

/// What is asked for.
struct Wanted {
    template: Template,
    key: tollgate_domain::KeyId,
    wallet: WalletRule,
    limits: Vec<LimitCheck>,
    amount: NanoUsd,
    block: Option<Block>,
    tokens: u64,
}

impl SlabLedger {
    /// Leases a slab for a node set, if it is far from its limits.
    pub(super) async fn lease(&self, tenant: TenantId, set: u64) {
        let wanted = {
            let now_ms = self.now_ms();
            let mut shard = self.shard(tenant);
            let Some(of) = shard.sets.get_mut(&set) else { return };
            let wanted = wanted(of, self.shared.config.min_requests, now_ms);
            if wanted.is_none() {
                (of.wanted, of.cap) = (None, None);
                of.not_before_ms = now_ms + NEAR_PAUSE_MS;
            }
            wanted
        };
        let Some(wanted) = wanted else { return };
        let installed = self.lease_wanted(tenant, set, &wanted).await;
        let now_ms = self.now_ms();
        let mut shard = self.shard(tenant);
        if let Some(of) = shard.sets.get_mut(&set) {
            of.wanted = None;
            if !installed {
                of.not_before_ms = of.not_before_ms.max(now_ms + NEAR_PAUSE_MS);
            }
        }
    }

    async fn lease_wanted(&self, tenant: TenantId, set: u64, wanted: &Wanted) -> bool {
        let n = self.shared.counters.n_tried.fetch_add(1, Ordering::Relaxed);
        let hold = slab_id(wanted.template.hold, n);
        // Then all its requests are of one end user, whose counter is found by it.
        let is_of_end_user = wanted.template.budgets.iter().any(|check| check.budget.is_derived());
        let window = window_of(wanted.amount);
        let (memo, is_memo) = slab_memo(&wanted.template.memo, window, is_of_end_user);
        let admission = Admission {
            tenant,
            key: wanted.key,
            node: wanted.template.node,
            hold,
            amount: wanted.amount,
            minimum: wanted.amount,
            wallet: wanted.wallet,
            budgets: &wanted.template.budgets,
            limits: &wanted.limits,
            tokens: wanted.tokens,
            lease_ms: wanted.template.lease_ms,
            memo: &memo,
        };
        let leased_at_ms = self.now_ms();
        let grant = match Box::pin(self.backend().admit(&admission)).await {
            Ok(AdmitOutcome::Admitted(grant)) => grant,
            Ok(_) => return false,
            Err(_) => {
                self.doubt(tenant, hold);
                return false;
            }
        };
        match self.confirm(tenant, hold, wanted, is_memo).await {
            Ok(Some(available)) if available >= room_for_all(wanted.amount, self.shared.config.n_pods) => {
                let mut slab = new_slab(hold, wanted, &grant, leased_at_ms);
                slab.progress = if is_memo { NanoUsd::ZERO } else { slab.window() };
                slab.memo = memo;
                self.install(tenant, set, slab);
                true
            }
            Ok(available) => {
                let cap = available.map(|available| {
                    let left = available.saturating_add(wanted.amount);
                    NanoUsd(left.0 / room_for_all(NanoUsd(1), self.shared.config.n_pods).0.max(1))
                });
                if let Some(of) = self.shard(tenant).sets.get_mut(&set) {
                    of.cap = cap;
                }
                self.doubt(tenant, hold);
                self.void_doubtful().await;
                false
            }
            Err(_) => {
                self.doubt(tenant, hold);
                false
            }
        }
    }

    /// Takes the block, and says what should be known if this process died. Answers what is left on the tightest
    /// level; `None` where some level is low or the block was not to be had.
    async fn confirm(
        &self,
        tenant: TenantId,
        slab: HoldId,
        wanted: &Wanted,
        is_memo: bool,
    ) -> Result<Option<NanoUsd>, LedgerError> {
        if !is_memo {
            let window = window_of(wanted.amount);
            Box::pin(self.backend().renew(&[(tenant, slab, window)], wanted.template.lease_ms)).await?;
        }
        let block = wanted.block.as_ref();
        let call = SlabCall { tenant, slab, key: wanted.key, opened: &[], ended: &[], block };
        match self.call(&call).await? {
            SlabAnswer::Done(done) => {
                let is_good = !done.is_low && !done.is_revoked && (block.is_none() || done.has_block);
                Ok(is_good.then_some(done.available))
            }
            SlabAnswer::Gone(_) | SlabAnswer::WrongEpoch => Ok(None),
        }
    }

    fn install(&self, tenant: TenantId, set: u64, slab: Slab) {
        let name = SlabName { tenant, set, slab: slab.hold };
        let mut shard = self.shard(tenant);
        match shard.sets.get_mut(&set) {
            Some(of) => {
                of.slabs.push(slab);
                of.cap = None;
                self.shared.counters.n_leased.fetch_add(1, Ordering::Relaxed);
            }
            None => {
                drop(shard);
                self.doubt(tenant, name.slab);
            }
        }
    }

    /// A hold that may be a slab and is none of ours: it is to be voided.
    pub(super) fn doubt(&self, tenant: TenantId, slab: HoldId) {
        self.shared.work.lock().doubtful.push((tenant, slab));
    }

    /// Voids what may have been leased; what is not answered stays.
    pub(super) async fn void_doubtful(&self) {
        let doubtful = std::mem::take(&mut self.shared.work.lock().doubtful);
        for (tenant, hold) in doubtful {
            let settled = Box::pin(self.backend().settle(&void(tenant, hold))).await;
            if matches!(settled, Err(_) | Ok(SettleOutcome::WrongEpoch)) {
                self.doubt(tenant, hold);
            }
        }
    }

    /// Looks at every slab: announces what waits, asks about those that nobody asked about, returns those that are
    /// idle, old or used up; forgets node sets without requests.
    pub(super) async fn look_after_all(&self) {
        self.void_doubtful().await;
        let now_ms = self.now_ms();
        let (mut to_announce, mut to_release) = (BTreeSet::new(), Vec::new());
        for shard in &self.shared.shards {
            let mut shard = shard.lock();
            for (set, of) in &mut shard.sets {
                let tenant = of.tenant();
                let (n_slabs, largest) = (of.slabs.len(), of.demand.largest);
                for slab in &mut of.slabs {
                    let name = SlabName { tenant, set: *set, slab: slab.hold };
                    if slab.state == State::Live && self.is_over(slab, n_slabs, largest, now_ms) {
                        slab.state = State::Closing;
                    }
                    if slab.state == State::Closing {
                        to_release.push(name);
                    } else if slab.has_unannounced() || now_ms - slab.last_asked_ms >= ASK_EVERY_MS {
                        to_announce.insert(name);
                    }
                }
            }
            shard.sets.retain(|_, of| {
                !of.slabs.is_empty() || of.wanted.is_some() || now_ms - of.demand.last_ms < FORGET_SET_MS
            });
        }
        self.announce_all(to_announce).await;
        for name in to_release {
            self.release(name).await;
        }
    }

    fn is_over(&self, slab: &Slab, n_slabs: usize, largest: NanoUsd, now_ms: i64) -> bool {
        let config = &self.shared.config;
        let is_idle = now_ms - slab.last_used_ms >= config.idle_ms;
        let is_old = now_ms - slab.leased_at_ms >= config.max_age_ms;
        let is_used_up = n_slabs > 1 && slab.free < largest;
        slab.is_expiring(now_ms) || (!self.is_away() && (is_idle || is_old || is_used_up))
    }

    /// No more requests out of this slab.
    pub(super) fn close(&self, name: SlabName, not_before_ms: Option<i64>) {
        let mut shard = self.shard(name.tenant);
        let Some(set) = shard.sets.get_mut(&name.set) else { return };
        if let Some(not_before_ms) = not_before_ms {
            set.not_before_ms = set.not_before_ms.max(not_before_ms);
        }
        if let Some(slab) = set.slab(name.slab) {
            slab.state = State::Closing;
        }
    }

    /// Returns this process's slabs of a tenant, because money is short there.
    pub(super) async fn return_slabs_of(&self, tenant: TenantId) {
        let not_before_ms = self.now_ms() + NEAR_PAUSE_MS;
        for name in self.names(Some(tenant)) {
            self.close(name, Some(not_before_ms));
            self.release(name).await;
        }
    }

    /// Announces what is left in a closing slab and returns the rest of it; tried again later where that fails.
    pub(super) async fn release(&self, name: SlabName) {
        let Some(wire) = self.wire(name) else { return };
        let _turn = wire.lock().await;
        let has_unannounced =
            |ledger: &Self| ledger.shard(name.tenant).slab(name).is_some_and(|slab| slab.has_unannounced());
        if has_unannounced(self) {
            let _ = self.announce_in_turn(name).await;
            if has_unannounced(self) {
                return;
            }
        }
        let settled = Box::pin(self.backend().settle(&void(name.tenant, name.slab))).await;
        if matches!(settled, Err(_) | Ok(SettleOutcome::WrongEpoch)) {
            return;
        }
        let mut shard = self.shard(name.tenant);
        if let Some(set) = shard.sets.get_mut(&name.set) {
            set.slabs.retain(|slab| slab.hold != name.slab);
            self.shared.counters.n_returned.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn void(tenant: TenantId, hold: HoldId) -> Settlement {
    Settlement { tenant, hold, actual: NanoUsd::ZERO, tokens: 0, event: None }
}

/// How large the next slab is to be; `None` where it is not worth it.
fn wanted(set: &NodeSet, min_requests: u64, now_ms: i64) -> Option<Wanted> {
    let template = set.wanted.clone()?;
    let (n_recent, asked) = set.demand.recent(now_ms);
    let largest = set.demand.largest;
    let least = NanoUsd(largest.0.checked_mul(i64::try_from(min_requests).ok()?)?);
    let amount = asked.max(least).min(set.cap.unwrap_or(tollgate_domain::MAX_LIMIT));
    if amount < least || amount > tollgate_domain::MAX_LIMIT {
        // "Far" is nearer than a slab: perhaps the limit was raised meanwhile, so that the next one tries.
        return None;
    }
    let (block, tokens) = match block(set, n_recent.max(min_requests)) {
        BlockWanted::None => (None, 0),
        BlockWanted::Some(block, tokens) => (Some(block), tokens),
        BlockWanted::TooSmall => return None,
    };
    let (key, wallet, limits) = (set.key(), set.wallet(), set.limits.clone());
    Some(Wanted { template, key, wallet, limits, amount, block, tokens })
}

enum BlockWanted {
    None,
    Some(Block, u64),
    TooSmall,
}

/// As much as a second takes, at most a part of each limit.
fn block(set: &NodeSet, n_requests: u64) -> BlockWanted {
    if set.limits.is_empty() {
        return BlockWanted::None;
    }
    let (mut requests, mut places) = (n_requests, n_requests);
    let mut tokens = set.demand.most_tokens.saturating_mul(n_requests);
    for check in &set.limits {
        let part = |limit: Option<u64>| limit.map_or(u64::MAX, |limit| limit / BLOCK_SHARE);
        requests = requests.min(part(check.limits.requests_per_minute));
        tokens = tokens.min(part(check.limits.tokens_per_minute));
        places = places.min(part(check.limits.concurrent_requests));
    }
    if requests < MIN_BLOCK || places < MIN_BLOCK || tokens < MIN_BLOCK.saturating_mul(set.demand.most_tokens)
    {
        return BlockWanted::TooSmall;
    }
    BlockWanted::Some(
        Block { requests: requests - 1, places: places - 1, limits: set.limits.clone() },
        tokens,
    )
}

fn new_slab(hold: HoldId, wanted: &Wanted, grant: &Grant, leased_at_ms: i64) -> Slab {
    let chosen = |PeriodPair { current, next }: PeriodPair| {
        if grant.admitted_at < current.ends_at { current } else { next }
    };
    let has = |is_limited: fn(&LimitCheck) -> bool| wanted.limits.iter().any(is_limited);
    let block = wanted.block.as_ref();
    Slab {
        hold,
        node: wanted.template.node,
        memo: Vec::new(),
        progress: NanoUsd::ZERO,
        leased_at_ms,
        lease_ms: i64::try_from(wanted.template.lease_ms).unwrap_or(i64::MAX / 2),
        admitted_at: grant.admitted_at,
        periods: wanted.template.budgets.iter().map(|check| chosen(check.periods)).collect(),
        amount: grant.granted,
        free: grant.granted,
        unannounced: NanoUsd::ZERO,
        requests_left: block
            .filter(|_| has(|check| check.limits.requests_per_minute.is_some()))
            .map(|block| block.requests + 1),
        tokens_left: has(|check| check.limits.tokens_per_minute.is_some()).then_some(wanted.tokens),
        places_left: block
            .filter(|_| has(|check| check.limits.concurrent_requests.is_some()))
            .map(|block| block.places + 1),
        requests: grant.requests.map(|status| less(status, block.map_or(0, |block| block.requests))),
        tokens: grant.tokens,
        queued: Vec::new(),
        sent: Vec::new(),
        ending: Vec::new(),
        state: State::Live,
        last_used_ms: leased_at_ms,
        last_asked_ms: leased_at_ms,
        wire: Arc::default(),
    }
}

/// The whole block counts as taken, as it does for everybody else.
fn less(status: RateStatus, taken: u64) -> RateStatus {
    RateStatus { remaining: status.remaining.saturating_sub(taken), ..status }
}

/// An id that no request has: that of the request that asked, with other random bits.
fn slab_id(of: HoldId, n: u64) -> HoldId {
    let pattern = (ID_PATTERN ^ u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15)) & RANDOM_BITS;
    HoldId::from_u128(of.as_uuid().as_u128() ^ pattern)
}

/// What is journaled of a slab whose pod dies: its window. `false` where that cannot be said in the memo.
fn slab_memo(of_request: &[u8], window: NanoUsd, is_of_end_user: bool) -> (Vec<u8>, bool) {
    match HoldMemo::from_bytes(of_request) {
        Ok((memo, _)) => {
            let memo = HoldMemo::<&str> {
                project: memo.project,
                end_user: memo.end_user.as_deref().filter(|_| is_of_end_user),
                surface: memo.surface,
                requested_model: SLAB_MODEL,
                provider: "",
                model: "",
                streamed: false,
                estimate: window,
                provider_estimate: window,
                input_tokens: 0,
                policy_revision: memo.policy_revision,
            };
            (memo.to_bytes(&Labels::new()), true)
        }
        Err(_) => (of_request.to_vec(), false),
    }
}
