//! The outbox of either backend: events on their way into the journal.

use super::Ledger;
use crate::error::LedgerError;
use crate::types::{OutboxEntry, OutboxHandle, OutboxMark};

impl Ledger {
    /// Takes up to `max` events to be journaled, waiting up to `block_ms` for the first. What is not
    /// acknowledged is delivered again after 30 s. Several readers share the events among them. Redis takes
    /// a `max` below 16 for 16: one for each of its streams.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: nothing is lost, it is delivered later.
    pub async fn outbox_read(&self, max: usize, block_ms: u64) -> Result<Vec<OutboxEntry>, LedgerError> {
        match self {
            Self::Memory(ledger) => Ok(ledger.outbox_read(max, block_ms).await),
            Self::Redis(ledger) => ledger.outbox_read(max, block_ms).await,
            Self::Slabs(slabs) => Box::pin(slabs.backend().outbox_read(max, block_ms)).await,
        }
    }

    /// Removes journaled events from the outbox. Unknown handles are ignored.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: some may be delivered again.
    pub async fn outbox_acknowledge(&self, handles: &[OutboxHandle]) -> Result<(), LedgerError> {
        match self {
            Self::Memory(ledger) => {
                ledger.outbox_acknowledge(handles).await;
                Ok(())
            }
            Self::Redis(ledger) => ledger.outbox_acknowledge(handles).await,
            Self::Slabs(slabs) => Box::pin(slabs.backend().outbox_acknowledge(handles)).await,
        }
    }

    /// Moves entries that are no events out of the way of the others, in one step with their
    /// acknowledgement: nothing is lost, and nobody is shown them again. Answers how many were moved. Unknown
    /// handles are ignored. Of each shard 10,000 entries can be set aside; what is beyond stays in the outbox.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: some may have been moved; a repeat is harmless.
    pub async fn outbox_set_aside(&self, handles: &[OutboxHandle]) -> Result<u64, LedgerError> {
        match self {
            Self::Memory(ledger) => Ok(ledger.outbox_set_aside(handles)),
            Self::Redis(ledger) => ledger.outbox_set_aside(handles).await,
            Self::Slabs(slabs) => Box::pin(slabs.backend().outbox_set_aside(handles)).await,
        }
    }

    /// How many entries were set aside.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`].
    pub async fn outbox_set_aside_len(&self) -> Result<u64, LedgerError> {
        match self {
            Self::Memory(ledger) => Ok(ledger.outbox_set_aside_len()),
            Self::Redis(ledger) => ledger.outbox_set_aside_len().await,
            Self::Slabs(slabs) => Box::pin(slabs.backend().outbox_set_aside_len()).await,
        }
    }

    /// Where the outbox ends now.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`].
    pub async fn outbox_mark(&self) -> Result<OutboxMark, LedgerError> {
        match self {
            Self::Memory(ledger) => Ok(ledger.outbox_mark()),
            Self::Redis(ledger) => ledger.outbox_mark().await,
            Self::Slabs(slabs) => Box::pin(slabs.backend().outbox_mark()).await,
        }
    }

    /// Shows about `max` entries that were in the outbox at `mark` and are not acknowledged, whoever took them, and takes
    /// nothing: for who cannot wait until they are journaled and may do it as well. What was shown is no longer in
    /// the mark; it is to be called until that is empty. Redis takes a `max` below 16 for 16, one of each shard.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: the mark is as it was.
    pub async fn outbox_look(
        &self,
        mark: &mut OutboxMark,
        max: usize,
    ) -> Result<Vec<OutboxEntry>, LedgerError> {
        match self {
            Self::Memory(ledger) => Ok(ledger.outbox_look(mark, max)),
            Self::Redis(ledger) => ledger.outbox_look(mark, max).await,
            Self::Slabs(slabs) => Box::pin(slabs.backend().outbox_look(mark, max)).await,
        }
    }

    /// How many events wait for the journal, delivered but unacknowledged ones included.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`].
    pub async fn outbox_len(&self) -> Result<u64, LedgerError> {
        match self {
            Self::Memory(ledger) => Ok(ledger.outbox_len()),
            Self::Redis(ledger) => ledger.outbox_len().await,
            Self::Slabs(slabs) => Box::pin(slabs.backend().outbox_len()).await,
        }
    }
}
