//! [`Store`]: a pool of connections to one of the two databases.

use crate::StoreError;

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {}

impl Store {
    /// Opens `postgres://…`, `sqlite://<path>` (created where missing) or `sqlite::memory:`.
    ///
    /// # Errors
    /// `InvalidUrl`; `Unavailable`; `SchemaTooNew` where a newer release has made the schema unsuitable
    /// for this one. An empty database is fine: [`Store::migrate`] fills it.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        todo!()
    }

    /// Asks the database for nothing: whether it answers at all.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn ping(&self) -> Result<(), StoreError> {
        todo!()
    }

    /// Closes the connections once the calls in progress have ended; later calls fail.
    pub async fn close(&self) {
        todo!()
    }
}
