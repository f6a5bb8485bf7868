//! Idempotency keys of admin writes: a repeated write gets the first one's answer.

use std::fmt;

use tollgate_domain::UnixMillis;

use crate::{Store, StoreError};

/// For how long an answer is kept: a day, as the field does.
pub const IDEMPOTENCY_LIFETIME_MS: i64 = 24 * 3_600_000;

/// A write that carries an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdempotencyKey<'a> {
    /// Who writes: keys of different actors never meet.
    pub actor: &'a str,
    /// The key, as sent.
    pub key: &'a str,
    /// A hash over method, path and body: the same key for something else is refused.
    pub request_hash: &'a [u8],
}

/// An answer to be repeated. The body may hold a secret that is shown once: encrypt it before.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredResponse {
    /// HTTP status.
    pub status: u16,
    /// The body, as the caller wants it back.
    pub body: Vec<u8>,
}

impl fmt::Debug for StoredResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredResponse({}, {} bytes)", self.status, self.body.len())
    }
}

/// What is known of an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdempotencyState {
    /// Nothing: the key is now reserved for this caller, who must finish or abandon it.
    Reserved,
    /// The same write is being done at this moment.
    InProgress,
    /// The same write was done: repeat this answer.
    Done(StoredResponse),
    /// The key was used for a different write.
    Mismatch,
}

impl Store {
    /// Reserves an idempotency key, or says what became of it. A reservation that is neither finished nor
    /// abandoned is void after a minute, an answer after a day.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn begin_idempotent(
        &self,
        key: IdempotencyKey<'_>,
        now: UnixMillis,
    ) -> Result<IdempotencyState, StoreError> {
        todo!()
    }

    /// Stores the answer of a write whose key is reserved.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn finish_idempotent(
        &self,
        key: IdempotencyKey<'_>,
        response: &StoredResponse,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        todo!()
    }

    /// Gives a reservation back: the write did not happen and may be tried again.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn abandon_idempotent(&self, key: IdempotencyKey<'_>) -> Result<(), StoreError> {
        todo!()
    }

    /// Deletes what has expired; answers how many rows.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn prune_idempotency(&self, now: UnixMillis) -> Result<u64, StoreError> {
        todo!()
    }
}
