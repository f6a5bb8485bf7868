//! Idempotency keys of admin writes: a repeated write gets the first one's answer.

use std::fmt;

use tollgate_domain::UnixMillis;

use crate::db::{Row, Sql};
use crate::store::run_tx;
use crate::{Store, StoreError};

/// For how long an answer is kept: a day, as the field does.
pub const IDEMPOTENCY_LIFETIME_MS: i64 = 24 * 3_600_000;

/// For how long a reservation holds: longer than any admin write takes, short enough after a crash.
const RESERVATION_LIFETIME_MS: i64 = 60_000;

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
        run_tx!(self, "begin_idempotent", |tx| {
            tx.sql("DELETE FROM idempotency_keys WHERE actor = $1 AND key_text = $2 AND expires_at_ms <= $3")
                .bind(key.actor)
                .bind(key.key)
                .bind(now.0)
                .execute()
                .await?;
            let reserved = tx
                .sql(
                    "INSERT INTO idempotency_keys (actor, key_text, request_hash, expires_at_ms)
                     VALUES ($1, $2, $3, $4) ON CONFLICT (actor, key_text) DO NOTHING",
                )
                .bind(key.actor)
                .bind(key.key)
                .bind(key.request_hash)
                .bind(now.plus_ms(RESERVATION_LIFETIME_MS).0)
                .execute()
                .await?;
            if reserved == 1 {
                return Ok(IdempotencyState::Reserved);
            }
            let query = tx.sql(
                "SELECT request_hash, status, body FROM idempotency_keys WHERE actor = $1 AND key_text = $2",
            );
            let state = query.bind(key.actor).bind(key.key).read_optional(|row| read(row, key)).await?;
            // Abandoned by another transaction within these few statements: to be tried again like one in progress.
            Ok(state.unwrap_or(IdempotencyState::InProgress))
        })
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
        run_tx!(self, "finish_idempotent", |tx| {
            tx.sql(
                "INSERT INTO idempotency_keys (actor, key_text, request_hash, status, body, expires_at_ms)
                 VALUES ($1, $2, $3, $4, $5, $6)
                 ON CONFLICT (actor, key_text) DO UPDATE SET request_hash = excluded.request_hash,
                     status = excluded.status, body = excluded.body, expires_at_ms = excluded.expires_at_ms",
            )
            .bind(key.actor)
            .bind(key.key)
            .bind(key.request_hash)
            .bind(i64::from(response.status))
            .bind(response.body.as_slice())
            .bind(now.plus_ms(IDEMPOTENCY_LIFETIME_MS).0)
            .execute_one()
            .await
        })
    }

    /// Gives a reservation back: the write did not happen and may be tried again.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn abandon_idempotent(&self, key: IdempotencyKey<'_>) -> Result<(), StoreError> {
        run_tx!(self, "abandon_idempotent", |tx| {
            tx.sql("DELETE FROM idempotency_keys WHERE actor = $1 AND key_text = $2 AND status IS NULL")
                .bind(key.actor)
                .bind(key.key)
                .execute()
                .await
                .map(drop)
        })
    }

    /// Deletes what has expired; answers how many rows.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn prune_idempotency(&self, now: UnixMillis) -> Result<u64, StoreError> {
        run_tx!(self, "prune_idempotency", |tx| {
            tx.sql("DELETE FROM idempotency_keys WHERE expires_at_ms <= $1").bind(now.0).execute().await
        })
    }
}

fn read(row: &Row, key: IdempotencyKey<'_>) -> Result<IdempotencyState, StoreError> {
    if row.get::<Vec<u8>>("request_hash")? != key.request_hash {
        return Ok(IdempotencyState::Mismatch);
    }
    let Some(status) = row.get::<Option<i64>>("status")? else { return Ok(IdempotencyState::InProgress) };
    let status = u16::try_from(status).map_err(|error| StoreError::corrupt("status", error))?;
    Ok(IdempotencyState::Done(StoredResponse { status, body: row.get("body")? }))
}
