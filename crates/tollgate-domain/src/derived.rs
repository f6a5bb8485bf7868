//! Identities that follow from others: whatever is kept for each value of a text, such as the counter of one end
//! user under one rule, is named by a hash of what it belongs to and the text.

use sha2::{Digest, Sha256};
use uuid::{Builder, Version};

use crate::Id;

/// Which hash: the same inputs must name the same thing in every release.
const DOMAIN: &[u8] = b"tollgate derived id 1";

impl<T> Id<T> {
    /// The identity of what `base` means for `text`: always the same one, another one for any other base or text
    /// (122 bits of SHA-256), and never one that [`Id::generate`] makes.
    #[must_use]
    pub fn derived<B>(base: Id<B>, text: &str) -> Self {
        let hash = Sha256::new().chain_update(DOMAIN).chain_update(base.as_uuid().as_bytes());
        let hash = hash.chain_update(text.as_bytes()).finalize();
        let mut bytes = [0_u8; 16];
        bytes.copy_from_slice(&hash[..16]);
        Self::from_uuid(Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// Whether it comes from [`Id::derived`].
    #[must_use]
    pub fn is_derived(self) -> bool {
        self.as_uuid().get_version() == Some(Version::Custom)
    }

    /// 64 well mixed bits of a derived identity.
    #[must_use]
    pub fn short_hash(self) -> u64 {
        let (high, low) = self.as_uuid().as_u64_pair();
        // version and variant are constant: each half fills the other's gap
        high ^ low.rotate_left(32)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use crate::{BudgetId, ProjectId, TenantId, UnixMillis};

    #[test]
    fn the_same_inputs_name_the_same_thing_in_every_release() {
        let derived = BudgetId::derived(TenantId::from_u128(1), "alice");
        assert_eq!(derived.to_string(), "5539b0d3-5e5b-8c70-b4e7-0544d4cbebfd");
        assert_eq!(derived, BudgetId::derived(TenantId::from_u128(1), "alice"));
    }

    #[test]
    fn other_inputs_name_other_things() {
        let texts = ["", "a", "b", "ab", "alice", "alicE", "alice "];
        let mut ids = HashSet::new();
        let mut hashes = HashSet::new();
        for base in 1..100_u128 {
            for text in texts {
                let id = BudgetId::derived(ProjectId::from_u128(base), text);
                assert!(id.is_derived());
                assert!(ids.insert(id), "{base} {text}");
                assert!(hashes.insert(id.short_hash()), "{base} {text}");
            }
        }
    }

    #[test]
    fn made_identities_are_no_derived_ones() {
        assert!(!TenantId::from_u128(7).is_derived());
        assert!(!TenantId::generate(UnixMillis(1_800_000_000_000), [0xff; 10]).is_derived());
    }
}
