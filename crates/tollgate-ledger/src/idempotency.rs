//! What became of requests that carry an idempotency key: one run per key, and its answer for every repeat.
//!
//! A key is claimed before the request runs, with a lease that its pod renews. It ends *answered* (with the answer,
//! which repeats get), *spent* (charged, but there is no answer to repeat) or *released* (nothing was charged: a
//! repeat runs). A claim whose lease ends without an end counts for nothing: the next one runs. Records live beside
//! the money, because "charged once" is part of the promise; they end by themselves.

use std::fmt;
use std::sync::Arc;

use tollgate_domain::{KeyId, RequestId, TenantId};

use crate::Ledger;
use crate::error::LedgerError;

/// Answers kept in this process, in bytes: a quarter of a gigabyte is what a small installation can spare.
pub const MAX_IDEMPOTENT_BYTES_IN_PROCESS: u64 = 256 << 20;
/// Records kept in this process: about a hundred megabytes without the answers.
pub const MAX_IDEMPOTENCY_KEYS_IN_PROCESS: usize = 500_000;
/// Answers kept in each of the 16 shards of Redis, in bytes: a gigabyte in all, so that answers never take the room
/// that money needs (nothing is evicted there).
pub const MAX_IDEMPOTENT_BYTES_PER_SHARD: u64 = 64 << 20;

/// Whose key it is, and a hash of what the client wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdempotencyName {
    /// The tenant.
    pub tenant: TenantId,
    /// The API key that the request came with.
    pub key: KeyId,
    /// Of the client's text.
    pub hash: u128,
}

/// The wish to run a request, or to go on running it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdempotencyClaim {
    /// Under which key.
    pub name: IdempotencyName,
    /// A hash of all that makes the request what it is.
    pub fingerprint: [u8; 32],
    /// Who runs it: a repeat with the same owner renews the lease.
    pub owner: RequestId,
}

/// How long and how much is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdempotencyBounds {
    /// From the claim, or its renewal, until somebody else may run, in milliseconds.
    pub lease_ms: u64,
    /// From the end of a request until its key is forgotten, in milliseconds.
    pub lifetime_ms: u64,
    /// Keys remembered at once per API key; further ones are refused.
    pub max_keys: u64,
    /// Bytes of answers kept per tenant; beyond them only the outcome is kept.
    pub max_tenant_bytes: u64,
}

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdempotencyState {
    /// The caller runs it, until its lease ends.
    Claimed,
    /// Somebody else runs the same request, for so many milliseconds at least unless it ends earlier.
    Running {
        /// Until the lease ends.
        lease_left_ms: u64,
    },
    /// It was used for another request.
    OtherRequest,
    /// The same request was answered.
    Answered(StoredAnswer),
    /// The same request was charged, and there is no answer to repeat.
    Spent(NoAnswer),
    /// The API key has as many keys as are remembered.
    TooManyKeys,
}

/// Why there is no answer to repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// It is larger than what is kept.
    TooLarge,
    /// The tenant's data policy forbids keeping it.
    Forbidden,
    /// There was no room for it.
    NoRoom,
    /// It broke off, or failed after it had been charged.
    Broken,
}

/// How a claimed request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdempotencyEnd {
    /// With an answer to be kept.
    Answered(StoredAnswer),
    /// Charged, with nothing to keep.
    Spent(NoAnswer),
    /// Not charged: whoever repeats it runs.
    Released,
}

/// What became of the end of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdempotencyEnded {
    /// It is remembered as told.
    Remembered,
    /// It is remembered without its answer ([`NoAnswer::NoRoom`]).
    WithoutAnswer,
    /// The lease had ended and somebody else has the key: what they do stands.
    TakenOver,
}

/// An answer as opaque bytes. It may hold a completion: `Debug` shows only its length.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredAnswer(Arc<[u8]>);

// === impl StoredAnswer ===

impl StoredAnswer {
    /// Wraps the bytes.
    #[must_use]
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self(bytes.into())
    }
}

impl AsRef<[u8]> for StoredAnswer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for StoredAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredAnswer({} bytes)", self.0.len())
    }
}

// === impl NoAnswer ===

impl NoAnswer {
    const ALL: [Self; 4] = [Self::TooLarge, Self::Forbidden, Self::NoRoom, Self::Broken];

    /// How it is stored.
    pub(crate) const fn letter(self) -> u8 {
        match self {
            Self::TooLarge => b'l',
            Self::Forbidden => b'f',
            Self::NoRoom => b'r',
            Self::Broken => b'b',
        }
    }

    pub(crate) fn from_letter(letter: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|why| letter == [why.letter()])
    }
}

// === impl Ledger ===

impl Ledger {
    /// Claims an idempotency key, or renews the claim of the same owner, or says what became of it.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: it may be claimed; ask again with the same owner, or let its lease end.
    pub async fn claim_idempotency(
        &self,
        claim: &IdempotencyClaim,
        bounds: &IdempotencyBounds,
    ) -> Result<IdempotencyState, LedgerError> {
        match self {
            Self::Memory(ledger) => Ok(ledger.claim_idempotency(claim, bounds)),
            Self::Redis(ledger) => ledger.claim_idempotency(claim, bounds).await,
            Self::Slabs(slabs) => Box::pin(slabs.backend().claim_idempotency(claim, bounds)).await,
        }
    }

    /// Ends a claim. A repeat changes nothing. Where the lease has ended and nobody else has claimed the key, it is
    /// remembered all the same.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: it may have happened; a repeat is harmless.
    pub async fn end_idempotency(
        &self,
        claim: &IdempotencyClaim,
        end: &IdempotencyEnd,
        bounds: &IdempotencyBounds,
    ) -> Result<IdempotencyEnded, LedgerError> {
        match self {
            Self::Memory(ledger) => Ok(ledger.end_idempotency(claim, end, bounds)),
            Self::Redis(ledger) => ledger.end_idempotency(claim, end, bounds).await,
            Self::Slabs(slabs) => Box::pin(slabs.backend().end_idempotency(claim, end, bounds)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_not_shown() {
        assert_eq!(format!("{:?}", StoredAnswer::new(*b"secret")), "StoredAnswer(6 bytes)");
    }

    #[test]
    fn reasons_are_read_as_they_are_written() {
        for why in NoAnswer::ALL {
            assert_eq!(NoAnswer::from_letter(&[why.letter()]), Some(why));
        }
        assert_eq!(NoAnswer::from_letter(b"?"), None);
        assert_eq!(NoAnswer::from_letter(b""), None);
    }
}
