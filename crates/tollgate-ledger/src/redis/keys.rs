//! The names of everything in Redis.

use std::fmt::Write as _;

use tollgate_domain::{BudgetId, HoldId, KeyId, NodeId, TenantId, UnixMillis};

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

    pub(super) fn counters(&self) -> String {
        self.named("counters")
    }

    pub(super) fn holds(&self) -> String {
        self.named("holds")
    }

    pub(super) fn leases(&self) -> String {
        self.named("leases")
    }

    pub(super) fn epoch(&self) -> String {
        self.named("epoch")
    }

    pub(super) fn rates(&self) -> String {
        self.named("rates")
    }

    pub(super) fn tombstone(&self, hold: HoldId) -> String {
        let mut key = self.named("done:");
        write!(key, "{hold}").expect("a string takes all");
        key
    }

    pub(super) fn outbox(&self) -> String {
        outbox(self.shard)
    }

    fn named(&self, name: &str) -> String {
        // Room for a tombstone's name, the longest.
        let mut key = String::with_capacity(96);
        write!(key, "tg:{{{}}}:{}:{name}", self.shard, self.tenant).expect("a string takes all");
        key
    }
}

/// The outbox stream of a shard.
pub(super) fn outbox(shard: u16) -> String {
    format!("tg:{{{shard}}}:outbox")
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

/// A hold, among the holds and the leases.
pub(super) fn write_hold(into: &mut String, hold: HoldId) {
    into.clear();
    write!(into, "{hold}").expect("a string takes all");
}

/// Whose a hold is: for people and for what cleans up after a dead pod.
pub(super) fn write_owner_note(into: &mut String, node: NodeId, key: KeyId) {
    into.clear();
    write!(into, "node {node} key {key}").expect("a string takes all");
}

/// The flag of a revoked key, among the counters.
pub(super) fn write_revoked_flag(into: &mut String, key: KeyId) {
    into.clear();
    write!(into, "revoked:{key}").expect("a string takes all");
}

/// An owner of rate limits.
pub(super) fn write_owner(into: &mut String, owner: LimitOwner) {
    into.clear();
    match owner {
        LimitOwner::Tenant(id) => write!(into, "tenant:{id}"),
        LimitOwner::Project(id) => write!(into, "project:{id}"),
        LimitOwner::Key(id) => write!(into, "key:{id}"),
        // The hash is of one tenant.
        LimitOwner::EndUser { hash, .. } => write!(into, "user:{hash:x}"),
        LimitOwner::Model { tenant: Some(_), hash } => write!(into, "model:{hash:x}"),
        LimitOwner::Model { tenant: None, hash } => write!(into, "any-model:{hash:x}"),
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
        assert_eq!(keys.counters(), format!("tg:{{5}}:{tenant}:counters"));
        assert_eq!(
            keys.tombstone(HoldId::from_u128(7)),
            format!("tg:{{5}}:{tenant}:done:{}", HoldId::from_u128(7))
        );
        assert_eq!(keys.outbox(), "tg:{5}:outbox");
        assert_eq!(outbox_shard("tg:{5}:outbox"), Some(5));
        assert_eq!(outbox_shard("tg:{5}:inbox"), None);
    }
}
