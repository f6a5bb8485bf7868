//! What an administrative call can answer instead of its result.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One thing that is wrong with an input: where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct FieldProblem {
    /// The field, like `tenants[0].projects[1].keys[0].limits`; empty for the whole input.
    pub path: String,
    /// What is wrong, lower case, without a full stop.
    pub message: String,
}

impl FieldProblem {
    /// A problem at `path`.
    pub fn new(path: impl Into<String>, message: impl fmt::Display) -> Self {
        Self { path: path.into(), message: message.to_string() }
    }
}

impl fmt::Display for FieldProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}

/// Why an administrative call was refused. Every text is fit for the caller's eyes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppError {
    /// 422: the input does not hold; every problem of it.
    #[error("the input is invalid: {}", first_problem(.0))]
    Invalid(Vec<FieldProblem>),
    /// 409: it contradicts what is there.
    #[error("{message}")]
    Conflict {
        /// The field, or empty.
        path: String,
        /// What is in the way and what to do.
        message: String,
    },
    /// 404: there is no such object, or none the caller may know of.
    #[error("there is no {kind} `{name}`")]
    NotFound {
        /// What was looked for: `tenant`, `key`, …
        kind: &'static str,
        /// By which id or name.
        name: String,
    },
    /// 403: the caller's role does not cover it.
    #[error("this login may not {0}")]
    Forbidden(String),
    /// 401: no login, or an unknown one.
    #[error("the admin token is missing or wrong: send it as `Authorization: Bearer <token>`")]
    Unauthenticated,
    /// 503: the database or the ledger cannot be reached now.
    #[error("{0}")]
    Unavailable(String),
    /// 500: a bug of ours; the text is for the log, not for the caller.
    #[error("internal error: {0}")]
    Internal(String),
}

fn first_problem(problems: &[FieldProblem]) -> String {
    match problems {
        [] => "no reason given".to_owned(),
        [one] => one.to_string(),
        [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
    }
}

impl AppError {
    /// One invalid field.
    pub fn invalid(path: impl Into<String>, message: impl fmt::Display) -> Self {
        Self::Invalid(vec![FieldProblem::new(path, message)])
    }

    /// A conflict at `path`.
    pub fn conflict(path: impl Into<String>, message: impl fmt::Display) -> Self {
        Self::Conflict { path: path.into(), message: message.to_string() }
    }

    /// Nothing of that name.
    pub fn not_found(kind: &'static str, name: impl fmt::Display) -> Self {
        Self::NotFound { kind, name: name.to_string() }
    }

    /// The HTTP status that says it.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Invalid(_) => 422,
            Self::Conflict { .. } => 409,
            Self::NotFound { .. } => 404,
            Self::Forbidden(_) => 403,
            Self::Unauthenticated => 401,
            Self::Unavailable(_) => 503,
            Self::Internal(_) => 500,
        }
    }

    /// The `code` in the answer's body.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::Conflict { .. } => "conflict",
            Self::NotFound { .. } => "not_found",
            Self::Forbidden(_) => "forbidden",
            Self::Unauthenticated => "unauthenticated",
            Self::Unavailable(_) => "unavailable",
            Self::Internal(_) => "internal_error",
        }
    }
}

impl From<tollgate_store::StoreError> for AppError {
    fn from(error: tollgate_store::StoreError) -> Self {
        use tollgate_store::StoreError;
        match error {
            StoreError::NotFound { kind, name } => Self::NotFound { kind, name },
            StoreError::Conflict { field, message, .. } => Self::conflict(field, message),
            StoreError::Invalid { field, message, .. } => Self::invalid(field, message),
            StoreError::Unavailable(_) => {
                Self::Unavailable("the database cannot be reached now: try again".to_owned())
            }
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<tollgate_ledger::LedgerError> for AppError {
    fn from(error: tollgate_ledger::LedgerError) -> Self {
        use tollgate_ledger::LedgerError;
        match error {
            LedgerError::Unavailable(_) => {
                Self::Unavailable("the ledger cannot be reached now: try again".to_owned())
            }
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<crate::secrets::SecretsError> for AppError {
    fn from(error: crate::secrets::SecretsError) -> Self {
        Self::Internal(error.to_string())
    }
}

/// Collects every problem of an input before it is refused.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<FieldProblem>);

impl Problems {
    pub(crate) fn add(&mut self, path: impl Into<String>, message: impl fmt::Display) {
        self.0.push(FieldProblem::new(path, message));
    }

    /// The value, or `None` with the error noted at `path`.
    pub(crate) fn take<T, E: fmt::Display>(
        &mut self,
        path: impl Into<String>,
        result: Result<T, E>,
    ) -> Option<T> {
        result.map_err(|error| self.add(path, error)).ok()
    }

    /// The same for a list: where one entry is at fault, its index belongs to the path.
    pub(crate) fn take_list<T>(
        &mut self,
        path: &str,
        result: Result<T, (Option<usize>, String)>,
    ) -> Option<T> {
        result
            .map_err(|(index, message)| {
                let at = index.map(|index| format!("[{index}]")).unwrap_or_default();
                self.add(format!("{path}{at}"), message);
            })
            .ok()
    }

    pub(crate) fn into_vec(self) -> Vec<FieldProblem> {
        self.0
    }

    pub(crate) fn finish(self) -> Result<(), AppError> {
        if self.0.is_empty() { Ok(()) } else { Err(AppError::Invalid(self.0)) }
    }
}
