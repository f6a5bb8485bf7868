//! Writes that carry an idempotency key are done once: a repeat gets the first one's answer.

use std::fmt;

use sha2::{Digest, Sha256};
use tollgate_store::{IdempotencyKey, IdempotencyState, StoredResponse};

use super::App;
use crate::{Actor, AppError};

/// A write that carries an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotentWrite {
    actor: String,
    key: String,
    request_hash: Vec<u8>,
}

/// An answer to be repeated. It may hold a key's text: it is encrypted where it is kept, and not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct IdempotentAnswer {
    /// HTTP status.
    pub status: u16,
    /// The body, JSON.
    pub body: String,
}

impl fmt::Debug for IdempotentAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdempotentAnswer({}, {} bytes)", self.status, self.body.len())
    }
}

/// What is known of an idempotent write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdempotentState {
    /// It is the first: do it, then finish or abandon it.
    First,
    /// The same write is being done at this moment.
    InProgress,
    /// It was done: repeat this answer.
    Done(IdempotentAnswer),
    /// The key was used for a different write.
    Mismatch,
}

impl IdempotentWrite {
    /// The write of `actor` under `key`; `parts` are what makes it this write: method, path and body.
    #[must_use]
    pub fn new(actor: &Actor, key: &str, parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self { actor: actor.name().to_owned(), key: key.to_owned(), request_hash: hash.finalize().to_vec() }
    }

    fn stored(&self) -> IdempotencyKey<'_> {
        IdempotencyKey { actor: &self.actor, key: &self.key, request_hash: &self.request_hash }
    }

    fn associated_data(&self) -> Vec<u8> {
        [b"tollgate:answer:v1:".as_slice(), &self.request_hash, self.key.as_bytes()].concat()
    }
}

impl App {
    /// Reserves the key of a write, or says what became of it.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn begin_idempotent(&self, write: &IdempotentWrite) -> Result<IdempotentState, AppError> {
        let state = self.parts.store.begin_idempotent(write.stored(), self.now()).await?;
        Ok(match state {
            IdempotencyState::Reserved => IdempotentState::First,
            IdempotencyState::InProgress => IdempotentState::InProgress,
            IdempotencyState::Mismatch => IdempotentState::Mismatch,
            IdempotencyState::Done(response) => {
                let body = self.parts.answers.open_bound(&write.associated_data(), &response.body)?;
                let body = String::from_utf8_lossy(&body).into_owned();
                IdempotentState::Done(IdempotentAnswer { status: response.status, body })
            }
        })
    }

    /// Keeps the answer of a write that was done.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn finish_idempotent(
        &self,
        write: &IdempotentWrite,
        answer: &IdempotentAnswer,
    ) -> Result<(), AppError> {
        let body = self.parts.answers.seal_bound(&write.associated_data(), answer.body.as_bytes())?;
        let response = StoredResponse { status: answer.status, body };
        Ok(self.parts.store.finish_idempotent(write.stored(), &response, self.now()).await?)
    }

    /// Gives the key of a write back that was not done.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn abandon_idempotent(&self, write: &IdempotentWrite) -> Result<(), AppError> {
        Ok(self.parts.store.abandon_idempotent(write.stored()).await?)
    }
}
