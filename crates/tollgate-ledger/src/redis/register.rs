//! What this process has under way: every hold that it asked for, from before the call goes out until its
//! settlement is known, and every settled event until it is journaled. What a lost Redis cannot tell, this can.
//!
//! A hold whose answer has not come is not reported: nothing was sent for it yet, and who is refused in the end
//! would leave it behind in what was reseeded. Instead an answer that comes after a report is not believed: it
//! may be of a state that was lost meanwhile, so the same is asked again.

mod growth;
mod held;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use foldhash::HashMap;
use parking_lot::Mutex;
use tollgate_domain::{HoldId, KeyId, NanoUsd, NodeId, TenantId, UnixMillis, UsageEvent};

use self::held::{held_budgets, in_periods_of, open_hold};
use super::keys::{N_SHARDS, TenantKeys};
use crate::error::LedgerError;
use crate::holds::{HeldBudget, OpenReport, UnjournaledEvent};
use crate::slab::Part;
use crate::types::{Admission, BudgetCheck, Grant, Settlement, WalletRule};

/// Holds that this process has under way; each is a request of its own and some hundred bytes here.
const MAX_OPEN_HOLDS: usize = 100_000;
/// Settled events that are kept until they are journaled: five minutes without a journal at 600 per second.
const MAX_UNJOURNALED_EVENTS: usize = 200_000;
/// The same in bytes of their JSON, about what they take here.
const MAX_UNJOURNALED_BYTES: usize = 256 << 20;
/// Locks over the tenants: so many that busy tenants rarely share one.
const N_LOCKS: usize = 64;

/// An epoch as the scripts compare it: `<n>:<run>`.
pub(super) type KnownEpoch = Arc<str>;

pub(super) struct Register {
    tenants: Vec<Mutex<HashMap<TenantId, TenantHolds>>>,
    outboxes: Vec<Mutex<ShardEvents>>,
    n_holds: AtomicUsize,
    n_events: AtomicUsize,
    n_bytes: AtomicUsize,
    n_reports: AtomicU64,
}

#[derive(Default)]
struct TenantHolds {
    /// The epoch that the granted holds are of; `None` while there are none.
    epoch: Option<KnownEpoch>,
    n_granted: usize,
    holds: HashMap<HoldId, Held>,
}

struct Held {
    key: KeyId,
    node: NodeId,
    amount: NanoUsd,
    wallet: WalletRule,
    budgets: Vec<BudgetCheck>,
    lease_ms: u64,
    memo: Box<[u8]>,
    progress: NanoUsd,
    /// What it is being settled at, from when that goes out: its answer may be lost, its request is over.
    ending: Option<NanoUsd>,
    granted: Option<Granted>,
    /// How many reports there had been when it was last asked for.
    n_reports: u64,
}

struct Granted {
    admitted_at: UnixMillis,
    /// `None` where the tenant had none: a free request before anything of it was seeded.
    epoch: Option<KnownEpoch>,
}

#[derive(Default)]
struct ShardEvents {
    /// The mark of the stream's life, as last seen.
    mark: String,
    /// How often it changed.
    life: u64,
    events: BTreeMap<EventPlace, Kept>,
}

/// In which life of the stream, and where in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EventPlace {
    life: u64,
    id: StreamId,
}

/// An entry's id: milliseconds and a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StreamId(pub(super) u64, pub(super) u64);

struct Kept {
    unjournaled: UnjournaledEvent,
    n_bytes: usize,
}

/// What a settlement needs to know of its hold before it goes out.
#[derive(Clone, Debug, Default)]
pub(super) struct Settling {
    /// The epoch that the hold was granted under.
    pub(super) epoch: Option<KnownEpoch>,
    life: u64,
    /// How many reports there had been.
    n_reports: u64,
}

impl StreamId {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (ms, number) = text.split_once('-')?;
        Some(Self(ms.parse().ok()?, number.parse().ok()?))
    }
}

impl Default for Register {
    fn default() -> Self {
        Self {
            tenants: std::iter::repeat_with(Mutex::default).take(N_LOCKS).collect(),
            outboxes: std::iter::repeat_with(Mutex::default).take(usize::from(N_SHARDS)).collect(),
            n_holds: AtomicUsize::new(0),
            n_events: AtomicUsize::new(0),
            n_bytes: AtomicUsize::new(0),
            n_reports: AtomicU64::new(0),
        }
    }
}

impl Register {
    // --- holds ---

    /// Notes a hold that is about to be asked for. Answers the epoch that this process holds something of.
    pub(super) fn open(&self, admission: &Admission<'_>) -> Result<Option<KnownEpoch>, LedgerError> {
        if !self.has_room() {
            return Err(LedgerError::OutboxFull);
        }
        let is_free = admission.amount == NanoUsd::ZERO;
        let held = || Held {
            key: admission.key,
            node: admission.node,
            amount: admission.amount,
            wallet: if is_free { WalletRule::None } else { admission.wallet },
            budgets: if is_free { Vec::new() } else { admission.budgets.to_vec() },
            lease_ms: admission.lease_ms,
            memo: admission.memo.into(),
            progress: NanoUsd::ZERO,
            ending: None,
            granted: None,
            n_reports: 0,
        };
        let mut tenants = self.lock(admission.tenant).lock();
        let tenant = tenants.entry(admission.tenant).or_default();
        let held = tenant.holds.entry(admission.hold).or_insert_with(|| {
            self.n_holds.fetch_add(1, Ordering::Relaxed);
            held()
        });
        held.n_reports = self.n_reports.load(Ordering::SeqCst);
        Ok(tenant.epoch.clone())
    }

    /// The hold was granted, under `epoch`. `false` where a report was made since it was asked for: the answer
    /// may be of a state that is lost, and nothing was noted.
    #[must_use]
    pub(super) fn granted(
        &self,
        tenant: TenantId,
        hold: HoldId,
        grant: &Grant,
        epoch: Option<KnownEpoch>,
    ) -> bool {
        let mut tenants = self.lock(tenant).lock();
        // Voided meanwhile: whoever did so does not send anything for it.
        let Some(tenant) = tenants.get_mut(&tenant) else { return true };
        let Some(held) = tenant.holds.get_mut(&hold) else { return true };
        if held.granted.is_none() {
            if held.n_reports != self.n_reports.load(Ordering::SeqCst) {
                return false;
            }
            held.granted = Some(Granted { admitted_at: grant.admitted_at, epoch: epoch.clone() });
            tenant.n_granted += 1;
        }
        held.amount = grant.granted;
        // Who asks again after a settlement without an answer goes on with all of it.
        held.ending = None;
        if tenant.epoch.is_none() {
            tenant.epoch = epoch;
        }
        true
    }

    /// The hold was not written.
    pub(super) fn close_unless_granted(&self, tenant: TenantId, hold: HoldId) {
        let is_granted = |held: &Held| held.granted.is_some();
        let tenants = self.lock(tenant).lock();
        let held = tenants.get(&tenant).and_then(|tenant| tenant.holds.get(&hold));
        if !held.is_some_and(is_granted) {
            drop(tenants);
            self.close(tenant, hold);
        }
    }

    /// The hold is settled.
    pub(super) fn close(&self, id: TenantId, hold: HoldId) {
        self.close_in(&mut self.lock(id).lock(), id, hold);
    }

    fn close_in(&self, tenants: &mut HashMap<TenantId, TenantHolds>, id: TenantId, hold: HoldId) {
        let Some(tenant) = tenants.get_mut(&id) else { return };
        let Some(held) = tenant.holds.remove(&hold) else { return };
        self.n_holds.fetch_sub(1, Ordering::Relaxed);
        tenant.n_granted -= usize::from(held.granted.is_some());
        if tenant.n_granted == 0 {
            tenant.epoch = None;
        }
        if tenant.holds.is_empty() {
            tenants.remove(&id);
        }
    }

    /// The holds that were granted, and the epoch they are of.
    pub(super) fn granted_holds(&self, tenant: TenantId) -> Option<(KnownEpoch, Vec<HoldId>)> {
        let tenants = self.lock(tenant).lock();
        let tenant = tenants.get(&tenant)?;
        let holds = tenant.holds.iter().filter(|(_, held)| held.granted.is_some());
        Some((tenant.epoch.clone()?, holds.map(|(hold, _)| *hold).collect()))
    }

    /// All holds of the epoch `old` are known to be in the epoch `new`.
    pub(super) fn carried_over(&self, tenant: TenantId, old: &KnownEpoch, new: &KnownEpoch) {
        let mut tenants = self.lock(tenant).lock();
        let Some(tenant) = tenants.get_mut(&tenant) else { return };
        if tenant.epoch.as_ref() == Some(old) {
            tenant.epoch = Some(Arc::clone(new));
            for granted in tenant.holds.values_mut().filter_map(|held| held.granted.as_mut()) {
                granted.epoch = Some(Arc::clone(new));
            }
        }
    }

    /// What a hold's request has cost so far; answers the epoch that the hold is of.
    pub(super) fn progressed(&self, tenant: TenantId, hold: HoldId, cost: NanoUsd) -> Option<KnownEpoch> {
        let mut tenants = self.lock(tenant).lock();
        let held = tenants.get_mut(&tenant)?.holds.get_mut(&hold)?;
        held.progress = held.progress.max(cost);
        held.granted.as_ref()?.epoch.clone()
    }

    /// The epoch that a hold is of.
    pub(super) fn epoch_of(&self, tenant: TenantId, hold: HoldId) -> Option<KnownEpoch> {
        let tenants = self.lock(tenant).lock();
        tenants.get(&tenant)?.holds.get(&hold)?.granted.as_ref()?.epoch.clone()
    }

    /// The tenant is forgotten, and with it whatever is held of it.
    pub(super) fn forget(&self, tenant: TenantId) {
        if let Some(tenant) = self.lock(tenant).lock().remove(&tenant) {
            self.n_holds.fetch_sub(tenant.holds.len(), Ordering::Relaxed);
        }
    }

    /// A part of a slab is a hold of its own in the ledger; what it is being settled at, where its request is over.
    pub(super) fn adopt(&self, id: TenantId, slab: HoldId, part: &Part, ending: Option<NanoUsd>) {
        let mut tenants = self.lock(id).lock();
        let Some(tenant) = tenants.get_mut(&id) else { return };
        let Some(of) = tenant.holds.get(&slab) else { return };
        let Some(granted) = &of.granted else { return };
        let held = Held {
            key: part.key,
            node: part.node,
            amount: part.amount,
            wallet: of.wallet,
            budgets: in_periods_of(of),
            lease_ms: part.lease_ms,
            memo: part.memo.clone(),
            progress: NanoUsd::ZERO,
            ending,
            granted: Some(Granted { admitted_at: part.admitted_at, epoch: granted.epoch.clone() }),
            n_reports: self.n_reports.load(Ordering::SeqCst),
        };
        if let std::collections::hash_map::Entry::Vacant(place) = tenant.holds.entry(part.hold) {
            place.insert(held);
            tenant.n_granted += 1;
            self.n_holds.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A part of a slab was settled out of it; its event was written at `id`, in that life of the stream.
    pub(super) fn part_settled(
        &self,
        tenant: TenantId,
        slab: HoldId,
        event: &Arc<UsageEvent>,
        life: u64,
        id: StreamId,
        n_bytes: usize,
    ) {
        let (wallet, budgets) = self.charged(tenant, slab).unwrap_or_default();
        let unjournaled = UnjournaledEvent { event: Arc::clone(event), wallet, budgets };
        self.keep(shard_of(tenant), EventPlace { life, id }, Kept { unjournaled, n_bytes });
    }

    /// The present life of the stream that a tenant's events go to.
    pub(super) fn outbox_life(&self, tenant: TenantId) -> u64 {
        self.life(shard_of(tenant))
    }

    /// Whether something may be admitted: what is admitted is kept until it is journaled.
    pub(super) fn has_room(&self) -> bool {
        self.n_holds.load(Ordering::Relaxed) < MAX_OPEN_HOLDS
            && self.n_events.load(Ordering::Relaxed) < MAX_UNJOURNALED_EVENTS
            && self.n_bytes.load(Ordering::Relaxed) < MAX_UNJOURNALED_BYTES
    }

    // --- events ---

    /// Before a settlement goes out.
    pub(super) fn settling(&self, settlement: &Settlement) -> Settling {
        // first: what a report that comes now says of the hold, its settlement's answer must not contradict
        let n_reports = self.n_reports.load(Ordering::SeqCst);
        let life = self.outbox(shard_of(settlement.tenant)).lock().life;
        let mut tenants = self.lock(settlement.tenant).lock();
        let held =
            tenants.get_mut(&settlement.tenant).and_then(|tenant| tenant.holds.get_mut(&settlement.hold));
        let epoch = held.and_then(|held| {
            held.ending = Some(settlement.actual);
            held.granted.as_ref()?.epoch.clone()
        });
        Settling { epoch, life, n_reports }
    }

    /// The settlement happened as far as the answer says; its event was written at `id`. `false` where a report was
    /// made since it was asked for: that told that the hold is open, and the answer may be of a state that is lost.
    #[must_use]
    pub(super) fn settled(
        &self,
        settlement: &Settlement,
        settling: &Settling,
        is_counted: bool,
        id: Option<StreamId>,
        n_bytes: usize,
    ) -> bool {
        if let (Some(event), Some(id)) = (&settlement.event, id) {
            let charged = is_counted.then(|| self.charged(settlement.tenant, settlement.hold)).flatten();
            let (wallet, budgets) = charged.unwrap_or_default();
            let unjournaled = UnjournaledEvent { event: Arc::clone(event), wallet, budgets };
            let place = EventPlace { life: settling.life, id };
            self.keep(shard_of(settlement.tenant), place, Kept { unjournaled, n_bytes });
        }
        // After the event is kept: a report in between has both, and never neither.
        let mut tenants = self.lock(settlement.tenant).lock();
        if settling.n_reports != self.n_reports.load(Ordering::SeqCst)
            && tenants
                .get(&settlement.tenant)
                .is_some_and(|tenant| tenant.holds.contains_key(&settlement.hold))
        {
            return false;
        }
        self.close_in(&mut tenants, settlement.tenant, settlement.hold);
        true
    }

    /// The levels that a hold is in.
    fn charged(&self, tenant: TenantId, hold: HoldId) -> Option<(WalletRule, Vec<HeldBudget>)> {
        let tenants = self.lock(tenant).lock();
        let held = tenants.get(&tenant)?.holds.get(&hold)?;
        Some((held.wallet, held_budgets(held)))
    }

    fn keep(&self, shard: u16, place: EventPlace, kept: Kept) {
        self.n_events.fetch_add(1, Ordering::Relaxed);
        self.n_bytes.fetch_add(kept.n_bytes, Ordering::Relaxed);
        if let Some(other) = self.outbox(shard).lock().events.insert(place, kept) {
            self.dropped(&other);
        }
    }

    fn dropped(&self, kept: &Kept) {
        self.n_events.fetch_sub(1, Ordering::Relaxed);
        self.n_bytes.fetch_sub(kept.n_bytes, Ordering::Relaxed);
    }

    /// The stream's mark is this one, and everything below `id` (or up to it) is journaled. Forgets that, and
    /// answers how many events that was and which must be written again.
    pub(super) fn journaled(
        &self,
        shard: u16,
        mark: &str,
        id: StreamId,
        is_inclusive: bool,
    ) -> (u64, Vec<(EventPlace, Arc<UsageEvent>)>) {
        let mut outbox = self.outbox(shard).lock();
        if outbox.mark != mark {
            // The first mark is no change: nothing was written before it was asked for.
            outbox.life += u64::from(!outbox.mark.is_empty());
            mark.clone_into(&mut outbox.mark);
        }
        let life = outbox.life;
        let first_kept = if is_inclusive { StreamId(id.0, id.1.saturating_add(1)) } else { id };
        let mut of_this_life = outbox.events.split_off(&EventPlace { life, id: StreamId(0, 0) });
        let kept = of_this_life.split_off(&EventPlace { life, id: first_kept });
        let lost = outbox.events.iter().map(|(place, kept)| (*place, Arc::clone(&kept.unjournaled.event)));
        let lost = lost.collect();
        outbox.events.extend(kept);
        for journaled in of_this_life.values() {
            self.dropped(journaled);
        }
        (of_this_life.len() as u64, lost)
    }

    /// An event was written again, in the present life of the stream or a later one.
    pub(super) fn republished(&self, shard: u16, life: u64, old: EventPlace, id: StreamId) {
        let mut outbox = self.outbox(shard).lock();
        if let Some(kept) = outbox.events.remove(&old) {
            outbox.events.insert(EventPlace { life, id }, kept);
        }
    }

    /// The present life of a shard's stream.
    pub(super) fn life(&self, shard: u16) -> u64 {
        self.outbox(shard).lock().life
    }

    pub(super) fn n_events(&self) -> u64 {
        self.n_events.load(Ordering::Relaxed) as u64
    }

    // --- the report ---

    pub(super) fn report(&self, tenants: Option<&[TenantId]>) -> OpenReport {
        // First: what is granted from now on is asked for again.
        self.n_reports.fetch_add(1, Ordering::SeqCst);
        let is_asked = |tenant: TenantId| tenants.is_none_or(|asked| asked.contains(&tenant));
        let mut report = OpenReport::default();
        for lock in &self.tenants {
            for (tenant, open) in lock.lock().iter().filter(|(tenant, _)| is_asked(**tenant)) {
                let epoch = open.epoch.as_deref().and_then(|epoch| epoch.split(':').next()?.parse().ok());
                report.highest_epoch = report.highest_epoch.max(epoch.unwrap_or(0));
                let granted = open.holds.iter().filter(|(_, held)| held.granted.is_some());
                report.holds.extend(granted.map(|(hold, held)| open_hold(*tenant, *hold, held)));
            }
        }
        for outbox in &self.outboxes {
            let outbox = outbox.lock();
            let events = outbox.events.values().map(|kept| &kept.unjournaled);
            report.events.extend(events.filter(|one| is_asked(one.event.tenant)).cloned());
        }
        // What was settled while this was gathered is in both.
        let settled: std::collections::HashSet<HoldId> =
            report.events.iter().map(|unjournaled| unjournaled.event.hold).collect();
        report.holds.retain(|hold| !settled.contains(&hold.hold));
        report
    }

    fn lock(&self, tenant: TenantId) -> &Mutex<HashMap<TenantId, TenantHolds>> {
        // The last bits of an id are random.
        let index = tenant.as_uuid().as_u128() % N_LOCKS as u128;
        &self.tenants[usize::try_from(index).expect("less than the number of locks")]
    }

    fn outbox(&self, shard: u16) -> &Mutex<ShardEvents> {
        &self.outboxes[usize::from(shard)]
    }
}

fn shard_of(tenant: TenantId) -> u16 {
    TenantKeys::new(tenant).shard()
}
