//! Migrations: embedded, per database, and the check that this program suits the schema.

use crate::{Store, StoreError};

impl Store {
    /// Applies the migrations that are missing. On PostgreSQL an advisory lock lets one process do it while
    /// the others wait.
    ///
    /// # Errors
    /// `Migration`; `SchemaTooNew`.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        todo!()
    }
}
