//! What can go wrong, in terms of the domain.

use crate::constraints;

/// Why a call of the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such object (any more).
    #[error("there is no {kind} `{name}`")]
    NotFound {
        /// `tenant`, `project`, `key`, `provider`, `model`, `price`, `budget`, `request`, …
        kind: &'static str,
        /// The id or name that was asked for.
        name: String,
    },
    /// The write contradicts another row.
    #[error("{message}")]
    Conflict {
        /// The kind of the object that was to be written.
        kind: &'static str,
        /// The field in question: `name`, `secret`, `window`, `reference`, …
        field: &'static str,
        /// What is in the way and what to do.
        message: String,
    },
    /// A value the store refuses.
    #[error("{message}")]
    Invalid {
        /// The kind of the object that was to be written.
        kind: &'static str,
        /// The field in question.
        field: &'static str,
        /// What is wrong and what to write instead.
        message: String,
    },
    /// The database cannot be reached, or not in time. The caller may try again.
    #[error("the database is unavailable: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// The database's file is none, is damaged, or cannot be opened: waiting does not help.
    #[error("the database's file cannot be used: {problem} ({source})")]
    Unusable {
        /// What is wrong and what to do.
        problem: &'static str,
        /// What the system said.
        source: sqlx::Error,
    },
    /// The database was migrated by a release that this one cannot work with.
    #[error(
        "the database's schema needs a release that knows migration {required}, this one knows up to \
         {known}: run a newer release"
    )]
    SchemaTooNew {
        /// The migration a program must know.
        required: i64,
        /// The newest one this program knows.
        known: i64,
    },
    /// The tables are not there.
    #[error("the database's schema is missing or too old: run `tollgate migrate`")]
    SchemaMissing,
    /// A migration failed.
    #[error("a migration failed: {0}")]
    Migration(#[source] sqlx::migrate::MigrateError),
    /// The address is none of `postgres://…`, `sqlite://…`, `sqlite::memory:`.
    #[error("the database address is not usable: {0}; write postgres://… or sqlite://…")]
    InvalidUrl(String),
    /// A stored value cannot be read: it was written by something else.
    #[error("the stored value of {column} cannot be read: {detail}")]
    Corrupt {
        /// Which column.
        column: String,
        /// What is wrong with it; never a secret.
        detail: String,
    },
    /// Any other failure of the database; a defect.
    #[error("the database refused: {0}")]
    Database(#[source] sqlx::Error),
}

impl StoreError {
    #[expect(clippy::needless_pass_by_value, reason = "callers have no further use for it")]
    pub(crate) fn not_found(kind: &'static str, name: impl ToString) -> Self {
        Self::NotFound { kind, name: name.to_string() }
    }

    pub(crate) fn conflict(kind: &'static str, field: &'static str, message: impl Into<String>) -> Self {
        Self::Conflict { kind, field, message: message.into() }
    }

    pub(crate) fn invalid(kind: &'static str, field: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid { kind, field, message: message.into() }
    }

    #[expect(clippy::needless_pass_by_value, reason = "callers have no further use for it")]
    pub(crate) fn corrupt(column: &str, detail: impl ToString) -> Self {
        Self::Corrupt { column: column.to_owned(), detail: detail.to_string() }
    }

    /// Whether the same call may succeed later without any change.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        constraints::translate(error)
    }
}
