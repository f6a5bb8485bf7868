//! From constraints to errors of the domain, by name.

use crate::StoreError;

/// The domain's error for a database's.
pub(crate) fn translate(error: sqlx::Error) -> StoreError {
    StoreError::Database(error)
}
