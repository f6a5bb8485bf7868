//! From a database's errors to those of the domain: constraints by name.

use sqlx::error::DatabaseError;

use crate::StoreError;

/// A constraint and what its violation means.
struct Meaning {
    /// Its name, in both databases.
    constraint: &'static str,
    /// What SQLite names instead for a unique index over plain columns.
    sqlite_columns: &'static str,
    kind: &'static str,
    field: &'static str,
    message: &'static str,
}

const fn unique(
    constraint: &'static str,
    sqlite_columns: &'static str,
    kind: &'static str,
    field: &'static str,
    message: &'static str,
) -> Meaning {
    Meaning { constraint, sqlite_columns, kind, field, message }
}

const fn check(
    constraint: &'static str,
    kind: &'static str,
    field: &'static str,
    message: &'static str,
) -> Meaning {
    Meaning { constraint, sqlite_columns: "", kind, field, message }
}

/// Every constraint that a caller's values can violate.
const UNIQUE: &[Meaning] = &[
    unique("tenants_pk", "tenants.id", "tenant", "id", "the id is in use"),
    unique("tenants_name_unique", "tenants.name", "tenant", "name", "a tenant of that name exists"),
    unique("projects_pk", "projects.id", "project", "id", "the id is in use"),
    unique(
        "projects_name_unique",
        "projects.tenant_id, projects.name",
        "project",
        "name",
        "the tenant has a project of that name",
    ),
    unique("api_keys_pk", "api_keys.id", "key", "id", "the id is in use"),
    unique(
        "api_keys_name_unique",
        "api_keys.project_id, api_keys.name",
        "key",
        "name",
        "the project has a key of that name",
    ),
    unique("api_keys_hash_unique", "api_keys.hash", "key", "secret", "the secret is in use: choose another"),
    unique("budgets_pk", "budgets.id", "budget", "id", "the id is in use"),
    unique(
        "budgets_window_unique",
        "budgets.owner_scope, budgets.owner_id, budgets.time_window",
        "budget",
        "window",
        "there is a budget for that window already: change its limit",
    ),
    unique("providers_pk", "providers.id", "provider", "id", "the id is in use"),
    unique("providers_name_unique", "providers.name", "provider", "name", "a provider of that name exists"),
    unique(
        "provider_credentials_pk",
        "provider_credentials.id",
        "provider",
        "credentials",
        "a credential's id is in use",
    ),
    unique(
        "provider_credentials_name_unique",
        "provider_credentials.provider_id, provider_credentials.name",
        "provider",
        "credentials",
        "two credentials have the same name",
    ),
    unique("models_pk", "models.id", "model", "id", "the id is in use"),
    unique("models_name_unique", "models.name", "model", "name", "a model of that name exists"),
    unique("prices_pk", "prices.id", "price", "id", "the id is in use"),
    unique(
        "prices_start_unique",
        "",
        "price",
        "effective_from",
        "a price for the same meter, tier and context begins at that moment: choose another",
    ),
    unique("margins_pk", "margins.id", "margin", "id", "the id is in use"),
    unique(
        "margins_start_unique",
        "",
        "margin",
        "effective_from",
        "a margin for the same tenant, provider and model begins at that moment: choose another",
    ),
    unique("credits_pk", "credits.id", "credit", "id", "the id is in use"),
    unique(
        "credits_reference_unique",
        "credits.tenant_id, credits.reference",
        "credit",
        "reference",
        "the reference was used before",
    ),
    unique("webhooks_pk", "webhooks.id", "webhook", "id", "the id is in use"),
    unique("webhooks_name_unique", "webhooks.name", "webhook", "name", "a webhook of that name exists"),
];

const CHECKS: &[Meaning] = &[
    check("budgets_limit_not_negative", "budget", "limit", "the limit is negative: write zero or more"),
    check(
        "provider_credentials_weight_positive",
        "provider",
        "credentials",
        "a credential's weight is zero: write one or more",
    ),
    check("prices_price_not_negative", "price", "price", "the price is negative: write zero or more"),
    check(
        "margins_basis_points_range",
        "margin",
        "percent",
        "the margin is not within -100 and 10000 percent",
    ),
    check("credits_amount_not_zero", "credit", "amount", "the amount is zero"),
];

/// The domain's error for a database's.
pub(crate) fn translate(error: sqlx::Error) -> StoreError {
    let Some(database) = error.as_database_error() else {
        return if is_unreachable(&error) {
            StoreError::Unavailable(error)
        } else {
            StoreError::Database(error)
        };
    };
    let (constraint, message) = (database.constraint(), database.message());
    if let Some(found) = UNIQUE.iter().find(|meaning| meaning.is_violated(constraint, message)) {
        return StoreError::conflict(found.kind, found.field, found.message);
    }
    if let Some(found) = CHECKS.iter().find(|meaning| meaning.is_violated(constraint, message)) {
        return StoreError::invalid(found.kind, found.field, found.message);
    }
    let code = database.code().unwrap_or_default();
    if code == "42P01" || message.starts_with("no such table") {
        return StoreError::SchemaMissing;
    }
    // PostgreSQL takes no NUL: not in a text (22021), nor escaped in a document (22P05).
    if code == "22021" || code == "22P05" {
        let message = "a text holds the NUL character (U+0000), which cannot be stored: leave it out";
        return StoreError::invalid("text", "", message);
    }
    if let Some(problem) = unusable_file(&error) {
        return StoreError::Unusable { problem, source: error };
    }
    // PostgreSQL: connection exceptions (08), too many connections (53), shutdown and start-up (57P).
    if ["08", "53", "57P"].iter().any(|class| code.len() == 5 && code.starts_with(class)) {
        return StoreError::Unavailable(error);
    }
    StoreError::Database(error)
}

/// Every failure to connect is the database's unavailability, unless its file is at fault.
pub(crate) fn unavailable(error: sqlx::Error) -> StoreError {
    match unusable_file(&error) {
        Some(problem) => StoreError::Unusable { problem, source: error },
        None => StoreError::Unavailable(error),
    }
}

/// What is wrong with SQLite's file where the error is about that, and what to do.
fn unusable_file(error: &sqlx::Error) -> Option<&'static str> {
    match sqlite_code(error)? {
        SQLITE_READONLY => Some("it is read-only: make it and its directory writable for this user"),
        SQLITE_CORRUPT => Some("it is damaged: restore it from a backup"),
        SQLITE_CANTOPEN => Some(CANNOT_OPEN_FILE),
        SQLITE_NOTADB => {
            Some("it is no SQLite database: give the path of Tollgate's own file, or move this one away")
        }
        _ => None,
    }
}

/// What to do about a file that cannot be opened or made.
pub(crate) const CANNOT_OPEN_FILE: &str = "it cannot be opened: check that its path is a file and its directory is there and writable for this user";

const SQLITE_BUSY: u32 = 5;
const SQLITE_LOCKED: u32 = 6;
const SQLITE_READONLY: u32 = 8;
const SQLITE_CORRUPT: u32 = 11;
const SQLITE_CANTOPEN: u32 = 14;
const SQLITE_NOTADB: u32 = 26;

/// SQLite's primary code: extended ones keep it in the low byte. PostgreSQL's have five characters.
fn sqlite_code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error().and_then(DatabaseError::code)?;
    let code: u32 = if code.len() < 5 { code.parse().ok()? } else { return None };
    Some(code & 0xff)
}

fn is_unreachable(error: &sqlx::Error) -> bool {
    matches!(
        error,
        sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
    )
}

/// Whether a transaction failed only because of others and may be run again: serialization failure or
/// deadlock on PostgreSQL, busy or locked on SQLite.
pub(crate) fn is_interference(error: &sqlx::Error) -> bool {
    let Some(code) = error.as_database_error().and_then(DatabaseError::code) else { return false };
    if code == "40001" || code == "40P01" {
        return true;
    }
    matches!(sqlite_code(error), Some(SQLITE_BUSY | SQLITE_LOCKED))
}

impl Meaning {
    fn is_violated(&self, constraint: Option<&str>, message: &str) -> bool {
        if let Some(constraint) = constraint {
            return constraint == self.constraint;
        }
        // SQLite: `UNIQUE constraint failed: t.a, t.b` or `… failed: index 'name'`, `CHECK … failed: name`.
        let Some((_, violated)) = message.split_once(" constraint failed: ") else { return false };
        violated == self.sqlite_columns
            || violated == self.constraint
            || violated.strip_prefix("index ").is_some_and(|name| name.trim_matches('\'') == self.constraint)
    }
}
