//! Identities: one newtype per thing, each a UUID (version 7 when made here, so that ids sort by time).

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::UnixMillis;

/// Ten random bytes for one id. The caller owns the randomness; this crate has none.
pub type EntropySource = [u8; 10];

/// An identity of a `T`: a UUID written in its hyphenated form.
pub struct Id<T> {
    uuid: Uuid,
    kind: PhantomData<fn() -> T>,
}

/// The text was not a UUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an id (a UUID like 019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b)")]
pub struct IdParseError(pub String);

impl<T> Id<T> {
    /// A fresh version-7 id: `now` in the first 48 bits, `entropy` in the rest.
    #[must_use]
    pub fn generate(now: UnixMillis, entropy: EntropySource) -> Self {
        let millis = u64::try_from(now.0).unwrap_or(0);
        Self::from_uuid(uuid::Builder::from_unix_timestamp_millis(millis, &entropy).into_uuid())
    }

    /// Wraps an existing UUID.
    #[must_use]
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self { uuid, kind: PhantomData }
    }

    /// The UUID itself.
    #[must_use]
    pub const fn as_uuid(&self) -> Uuid {
        self.uuid
    }

    /// An id derived from a number: for tests and for fixed built-in objects.
    #[must_use]
    pub const fn from_u128(value: u128) -> Self {
        Self::from_uuid(Uuid::from_u128(value))
    }
}

// === impls that a derive would bound by `T` ===

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Id<T> {}
impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.uuid == other.uuid
    }
}
impl<T> Eq for Id<T> {}
impl<T> PartialOrd for Id<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Id<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.uuid.cmp(&other.uuid)
    }
}
impl<T> std::hash::Hash for Id<T> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.uuid.hash(state);
    }
}
impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.uuid, f)
    }
}
impl<T> fmt::Display for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.uuid, f)
    }
}
impl<T> FromStr for Id<T> {
    type Err = IdParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self::from_uuid).map_err(|_| IdParseError(text.to_owned()))
    }
}
impl<T> Serialize for Id<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.uuid.serialize(serializer)
    }
}
impl<'de, T> Deserialize<'de> for Id<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Uuid::deserialize(deserializer).map(Self::from_uuid)
    }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $marker:ident;)*) => {$(
        #[doc(hidden)]
        #[derive(Debug)]
        pub enum $marker {}
        $(#[$doc])*
        pub type $name = Id<$marker>;
    )*};
}

ids! {
    /// A tenant: whoever pays.
    TenantId = TenantMarker;
    /// A project of a tenant.
    ProjectId = ProjectMarker;
    /// An API key of a project.
    KeyId = KeyMarker;
    /// A budget on a tenant, project, key or end user.
    BudgetId = BudgetMarker;
    /// An amount by which a budget is raised for a time.
    BudgetIncreaseId = BudgetIncreaseMarker;
    /// A configured provider.
    ProviderId = ProviderMarker;
    /// One credential of a provider.
    CredentialId = CredentialMarker;
    /// A virtual model.
    ModelId = ModelMarker;
    /// An immutable price row.
    PriceId = PriceMarker;
    /// An immutable margin rule.
    MarginId = MarginMarker;
    /// A credit granted to a tenant's wallet.
    CreditId = CreditMarker;
    /// A request, as in `x-tollgate-request-id`.
    RequestId = RequestMarker;
    /// A hold in the ledger.
    HoldId = HoldMarker;
    /// A usage event; its day names the journal's partition.
    EventId = EventMarker;
    /// A process: a gateway pod or a control-plane replica.
    NodeId = NodeMarker;
    /// A person or machine that may use the admin API.
    UserId = UserMarker;
    /// A place that events are sent to.
    WebhookId = WebhookMarker;
    /// An alert that was raised; also the identity of the message that tells it.
    AlertId = AlertMarker;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_ids_sort_by_time_and_round_trip() {
        let early = TenantId::generate(UnixMillis(1_000), [255; 10]);
        let late = TenantId::generate(UnixMillis(2_000), [0; 10]);
        assert!(early < late);
        assert_eq!(late.to_string().parse::<TenantId>(), Ok(late));
        assert_eq!(late.as_uuid().get_version_num(), 7);
        let json = serde_json::to_string(&late).unwrap();
        assert_eq!(serde_json::from_str::<TenantId>(&json).unwrap(), late);
        assert!("abc".parse::<TenantId>().unwrap_err().to_string().contains("abc"));
    }
}
