//! Idempotency keys in this process. The semantics are those of the scripts in `redis/idempotency*.lua`.

use std::collections::BTreeSet;

use foldhash::HashMap;
use parking_lot::Mutex;
use tollgate_domain::{KeyId, RequestId, TenantId, UnixMillis};

use super::MemoryLedger;
use crate::idempotency::{
    IdempotencyBounds, IdempotencyClaim, IdempotencyEnd, IdempotencyEnded, IdempotencyName, IdempotencyState,
    MAX_IDEMPOTENCY_KEYS_IN_PROCESS, MAX_IDEMPOTENT_BYTES_IN_PROCESS, NoAnswer, StoredAnswer,
};

/// What is remembered of all tenants.
#[derive(Default)]
pub(super) struct IdempotencyRecords {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    records: HashMap<IdempotencyName, Record>,
    /// The records by their ends.
    ends: BTreeSet<(UnixMillis, IdempotencyName)>,
    bytes_of_tenants: HashMap<TenantId, u64>,
    keys_of_api_keys: HashMap<KeyId, u64>,
    bytes: u64,
}

struct Record {
    fingerprint: [u8; 32],
    what: What,
    ends_at: UnixMillis,
}

#[derive(Clone)]
enum What {
    Running(RequestId),
    Answered(StoredAnswer),
    Spent(NoAnswer),
}

impl MemoryLedger {
    pub(crate) fn claim_idempotency(
        &self,
        claim: &IdempotencyClaim,
        bounds: &IdempotencyBounds,
    ) -> IdempotencyState {
        let now = self.shared.clock.now();
        self.shared.idempotency.state.lock().claim(claim, bounds, now)
    }

    pub(crate) fn end_idempotency(
        &self,
        claim: &IdempotencyClaim,
        end: &IdempotencyEnd,
        bounds: &IdempotencyBounds,
    ) -> IdempotencyEnded {
        let now = self.shared.clock.now();
        self.shared.idempotency.state.lock().end(claim, end, bounds, now)
    }

    pub(super) fn forget_idempotency(&self, tenant: TenantId) {
        let mut state = self.shared.idempotency.state.lock();
        let names = state.records.keys().filter(|name| name.tenant == tenant).copied();
        for name in names.collect::<Vec<_>>() {
            state.forget(name);
        }
    }
}

impl State {
    fn claim(
        &mut self,
        claim: &IdempotencyClaim,
        bounds: &IdempotencyBounds,
        now: UnixMillis,
    ) -> IdempotencyState {
        self.prune(now);
        let name = claim.name;
        match self.records.get(&name) {
            Some(record) if record.fingerprint != claim.fingerprint => return IdempotencyState::OtherRequest,
            Some(record) => match &record.what {
                What::Running(owner) if *owner == claim.owner => {}
                What::Running(_) => {
                    let left = u64::try_from(record.ends_at.0 - now.0).unwrap_or(0);
                    return IdempotencyState::Running { lease_left_ms: left };
                }
                What::Answered(answer) => return IdempotencyState::Answered(answer.clone()),
                What::Spent(why) => return IdempotencyState::Spent(*why),
            },
            None => {
                let n_keys = self.keys_of_api_keys.get(&name.key).copied().unwrap_or(0);
                if n_keys >= bounds.max_keys || self.records.len() >= MAX_IDEMPOTENCY_KEYS_IN_PROCESS {
                    return IdempotencyState::TooManyKeys;
                }
            }
        }
        self.remember(claim, What::Running(claim.owner), after(now, bounds.lease_ms));
        IdempotencyState::Claimed
    }

    fn end(
        &mut self,
        claim: &IdempotencyClaim,
        end: &IdempotencyEnd,
        bounds: &IdempotencyBounds,
        now: UnixMillis,
    ) -> IdempotencyEnded {
        self.prune(now);
        match self.records.get(&claim.name) {
            Some(record) if record.fingerprint != claim.fingerprint => return IdempotencyEnded::TakenOver,
            Some(Record { what: What::Running(owner), .. }) if *owner != claim.owner => {
                return IdempotencyEnded::TakenOver;
            }
            Some(Record { what: What::Running(_), .. }) | None => {}
            Some(_) => return IdempotencyEnded::Remembered,
        }
        let ends_at = after(now, bounds.lifetime_ms);
        match end {
            IdempotencyEnd::Released => self.forget(claim.name),
            IdempotencyEnd::Spent(why) => self.remember(claim, What::Spent(*why), ends_at),
            IdempotencyEnd::Answered(answer) => {
                let bytes = n_bytes(answer);
                let of_tenant = self.bytes_of_tenants.get(&claim.name.tenant).copied().unwrap_or(0);
                if of_tenant + bytes > bounds.max_tenant_bytes
                    || self.bytes + bytes > MAX_IDEMPOTENT_BYTES_IN_PROCESS
                {
                    self.remember(claim, What::Spent(NoAnswer::NoRoom), ends_at);
                    return IdempotencyEnded::WithoutAnswer;
                }
                self.remember(claim, What::Answered(answer.clone()), ends_at);
            }
        }
        IdempotencyEnded::Remembered
    }

    fn prune(&mut self, now: UnixMillis) {
        while let Some((ends_at, name)) = self.ends.first().copied() {
            if ends_at > now {
                return;
            }
            self.forget(name);
        }
    }

    fn remember(&mut self, claim: &IdempotencyClaim, what: What, ends_at: UnixMillis) {
        let name = claim.name;
        self.forget(name);
        if let What::Answered(answer) = &what {
            *self.bytes_of_tenants.entry(name.tenant).or_default() += n_bytes(answer);
            self.bytes += n_bytes(answer);
        }
        *self.keys_of_api_keys.entry(name.key).or_default() += 1;
        self.ends.insert((ends_at, name));
        self.records.insert(name, Record { fingerprint: claim.fingerprint, what, ends_at });
    }

    fn forget(&mut self, name: IdempotencyName) {
        let Some(record) = self.records.remove(&name) else { return };
        self.ends.remove(&(record.ends_at, name));
        if let What::Answered(answer) = &record.what {
            self.bytes -= n_bytes(answer);
            subtract(&mut self.bytes_of_tenants, &name.tenant, n_bytes(answer));
        }
        subtract(&mut self.keys_of_api_keys, &name.key, 1);
    }
}

/// Sums that are zero are not kept.
fn subtract<K: std::hash::Hash + Eq>(sums: &mut HashMap<K, u64>, of: &K, amount: u64) {
    let Some(sum) = sums.get_mut(of) else { return };
    *sum = sum.saturating_sub(amount);
    if *sum == 0 {
        sums.remove(of);
    }
}

fn n_bytes(answer: &StoredAnswer) -> u64 {
    answer.as_ref().len() as u64
}

fn after(now: UnixMillis, ms: u64) -> UnixMillis {
    now.plus_ms(i64::try_from(ms).unwrap_or(i64::MAX))
}
