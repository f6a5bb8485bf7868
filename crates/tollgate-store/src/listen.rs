//! Hints that there is a new policy revision: from PostgreSQL's NOTIFY, or from this process's own writes.

use crate::{Store, StoreError};

/// Receives hints of new revisions. Dropping it ends its task.
#[derive(Debug)]
pub struct PolicyListener {
    revision: tokio::sync::watch::Receiver<u64>,
}

impl PolicyListener {
    /// The newest revision heard of.
    #[must_use]
    pub fn revision(&self) -> u64 {
        *self.revision.borrow()
    }

    /// Waits until a revision is heard of that [`PolicyListener::revision`] or this did not answer yet, and
    /// answers it. Several may have passed. After a lost connection the revision is read anew, so none is
    /// missed for ever. Cancel safe.
    ///
    /// # Errors
    /// `Unavailable` when the store was closed.
    pub async fn changed(&mut self) -> Result<u64, StoreError> {
        todo!()
    }
}

impl Store {
    /// Starts to listen for new revisions, beginning with the present one.
    ///
    /// # Errors
    /// Only the database's own, at the start; afterwards it reconnects by itself.
    pub async fn listen(&self) -> Result<PolicyListener, StoreError> {
        todo!()
    }
}
