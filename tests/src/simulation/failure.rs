//! How a run ends that does not end well.

use std::fmt;

use tollgate_ledger::LedgerError;

/// A promise that did not hold, or a stand that did not.
#[derive(Debug)]
pub(super) enum Failure {
    /// What the ledger did is wrong.
    Violation(String),
    /// A call was not made: the circuit of a pod's client is open after its connection was cut.
    NotMade(String),
    /// The simulation could not go on: a server that does not start, a call that is not answered.
    Broken(anyhow::Error),
}

/// What most steps give.
pub(super) type Checked<T = ()> = Result<T, Failure>;

/// The ledger is wrong, for this reason.
pub(super) fn violation<T>(reason: impl fmt::Display) -> Checked<T> {
    Err(Failure::Violation(reason.to_string()))
}

impl From<LedgerError> for Failure {
    /// An answer that nobody understands is wrong, and nothing that is asked here is impossible.
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Protocol(_) | LedgerError::Invalid(_) => Self::Violation(error.to_string()),
            LedgerError::Unavailable(reason) => Self::NotMade(reason),
            _ => Self::Broken(error.into()),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Broken(error)
    }
}
