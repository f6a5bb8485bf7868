//! The names of everything in Redis.

use std::fmt::Write as _;

use tollgate_domain::{BudgetId, HoldId, KeyId, TenantId, UnixMillis};

use crate::idempotency::IdempotencyName;
use crate::types::LimitOwner;

/// Hash tags over which tenants spread: enough for a cluster of as many nodes, few enough for one reader to
/// read every outbox.
pub(super) const N_SHARDS: u16 = 16;

/// The keys of one tenant.
pub(super) struct TenantKeys {
    tenant: TenantId,
    shard: u16,
}

impl TenantKeys {
    pub(super) fn new(tenant: TenantId) -> Self {
        // The last bits of an id are random.
        let shard = tenant.as_uuid().as_u128() % u128::from(N_SHARDS);
        Self { tenant, shard: u16::try_from(shard).expect("less than the number of shards") }
    }

    /// Everything of the tenant but its holds.
    pub(super) fn state(&self) -> String {
        self.named("state")
    }

    /// The holds by the end of their leases.
    pub(super) fn leases(&self) -> String {
        self.named("leases")
    }

    /// What the record of every hold begins with.
    pub(super) fn hold_prefix(&self) -> String {
        self.named("hold:")
    }

    /// A hold's record, and what is left of it.
    pub(super) fn hold(&self, hold: HoldId) -> String {
        let mut key = self.hold_prefix();
        write!(key, "{hold}").expect("a string takes all");
        key
    }

    pub(super) fn outbox(&self) -> String {
        outbox(self.shard)
    }

    /// The shard's tenants that have holds.
    pub(super) fn index(&self) -> String {
        index(self.shard)
    }

    /// Everything about one idempotency key.
    pub(super) fn idempotency(&self, name: &IdempotencyName) -> IdempotencyKeys {
        let (names, shard) = (self.named("idempotency"), self.shard);
        let text = format!("{}:{:032x}", name.key, name.hash);
        IdempotencyKeys {
            record: format!("{names}:{text}"),
            names,
            ends: format!("tg:{{{shard}}}:idempotency-ends"),
            sums: format!("tg:{{{shard}}}:idempotency-sums"),
            prefix: format!("tg:{{{shard}}}:"),
            text,
        }
    }

    pub(super) fn shard(&self) -> u16 {
        self.shard
    }

    fn named(&self, name: &str) -> String {
        // Room for a hold's name, the longest.
        let mut key = String::with_capacity(96);
        write!(key, "tg:{{{}}}:{}:{name}", self.shard, self.tenant).expect("a string takes all");
        key
    }
}

/// What the scripts about an idempotency key are told.
pub(super) struct IdempotencyKeys {
    /// What is known of it.
    pub(super) record: String,
    /// The tenant's names.
    pub(super) names: String,
    /// The shard's names by their ends.
    pub(super) ends: String,
    /// The shard's sums.
    pub(super) sums: String,
    /// What every key of the shard begins with.
    pub(super) prefix: String,
    /// The name within the tenant.
    pub(super) text: String,
}

/// The outbox stream of a shard.
pub(super) fn outbox(shard: u16) -> String {
    format!("tg:{{{shard}}}:outbox")
}

/// The mark of the outbox stream's life.
pub(super) fn outbox_mark(shard: u16) -> String {
    format!("tg:{{{shard}}}:outbox-mark")
}

/// A shard's tenants that have holds, by a time before which none of their leases ends.
pub(super) fn index(shard: u16) -> String {
    format!("tg:{{{shard}}}:tenants")
}

/// The stream of a shard's entries that are no events: never trimmed, for a person to look at.
pub(super) fn dead(shard: u16) -> String {
    format!("tg:{{{shard}}}:dead")
}

/// The shard of an outbox stream's name.
pub(super) fn outbox_shard(key: &str) -> Option<u16> {
    key.strip_prefix("tg:{")?.strip_suffix("}:outbox")?.parse().ok()
}

/// A budget's counter in a period.
pub(super) fn write_counter(into: &mut String, budget: BudgetId, period_starts_at: UnixMillis) {
    into.clear();
    write!(into, "{budget}:{}", period_starts_at.0).expect("a string takes all");
}

/// A tenant, in its shard's index.
pub(super) fn write_tenant(into: &mut String, tenant: TenantId) {
    into.clear();
    write!(into, "{tenant}").expect("a string takes all");
}

/// A hold, among the leases.
pub(super) fn write_hold(into: &mut String, hold: HoldId) {
    into.clear();
    write!(into, "{hold}").expect("a string takes all");
}

/// A budget's counter's name, read.
pub(super) fn read_counter(name: &str) -> Option<(BudgetId, UnixMillis)> {
    let (budget, starts_at) = name.split_once(':')?;
    Some((budget.parse().ok()?, UnixMillis(starts_at.parse().ok()?)))
}

/// The flag of a revoked key, in the state.
pub(super) fn write_revoked_flag(into: &mut String, key: KeyId) {
    into.clear();
    write!(into, "x:{key}").expect("a string takes all");
}

/// An owner of rate limits, in the state.
pub(super) fn write_owner(into: &mut String, owner: LimitOwner) {
    into.clear();
    match owner {
        LimitOwner::Tenant(id) => write!(into, "l:tenant:{id}"),
        LimitOwner::Project(id) => write!(into, "l:project:{id}"),
        LimitOwner::Key(id) => write!(into, "l:key:{id}"),
        // The hash is of one tenant.
        LimitOwner::EndUser { hash, .. } => write!(into, "l:user:{hash:x}"),
        LimitOwner::Model { tenant: Some(_), hash } => write!(into, "l:model:{hash:x}"),
        LimitOwner::Model { tenant: None, hash } => write!(into, "l:any-model:{hash:x}"),
    }
    .expect("a string takes all");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_share_one_hash_tag_per_tenant() {
        let tenant = TenantId::from_u128(0x25);
        let keys = TenantKeys::new(tenant);
        assert_eq!(keys.state(), format!("tg:{{5}}:{tenant}:state"));
        let hold = HoldId::from_u128(7);
        assert_eq!(keys.hold(hold), format!("tg:{{5}}:{tenant}:hold:{hold}"));
        assert_eq!(keys.outbox(), "tg:{5}:outbox");
        assert_eq!(outbox_shard("tg:{5}:outbox"), Some(5));
        assert_eq!(outbox_shard("tg:{5}:inbox"), None);
        let mut name = String::new();
        write_counter(&mut name, BudgetId::from_u128(9), UnixMillis(-5));
        assert_eq!(read_counter(&name), Some((BudgetId::from_u128(9), UnixMillis(-5))));
    }
}
