//! Why the ledger could not answer. Never holds a URL: it may carry a password.

/// Why the ledger could not answer. An outcome such as "spent" is an answer, not an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// No answer in time, no connection, or the circuit is open. What was asked may or may not have
    /// happened: ask again with the same hold id, or settle it at zero.
    #[error("the ledger is unavailable: {0}")]
    Unavailable(String),
    /// Too many events are not journaled yet (or too many holds not settled): nothing is admitted until the
    /// journal has taken some.
    #[error(
        "too many events wait for the journal, or requests for their settlement: check that the journal writer \
         runs and its database answers"
    )]
    OutboxFull,
    /// What the ledger has of the tenant is of another run, or is being replaced.
    #[error("the ledger waits for a reseed of this tenant")]
    WrongEpoch,
    /// The backend answered something that this release does not understand.
    #[error("the ledger gave an unexpected answer: {0}")]
    Protocol(String),
    /// The backend is set up so that money would not be safe in it.
    #[error("the ledger cannot be used as it is configured: {0}")]
    Misconfigured(String),
    /// The caller asked for something impossible, such as a negative amount.
    #[error("the ledger was asked for something impossible: {0}")]
    Invalid(String),
}
