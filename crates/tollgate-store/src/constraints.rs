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
    unique("credits_pk", "credits.id", "credit", "id", "the id is in use"),
    unique(
        "credits_reference_unique",
        "credits.tenant_id, credits.reference",
        "credit",
        "reference",
        "the reference was used before",
    ),
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
    // PostgreSQL: connection exceptions (08), too many connections (53), shutdown and start-up (57P).
    if ["08", "53", "57P"].iter().any(|class| code.len() == 5 && code.starts_with(class)) {
        return StoreError::Unavailable(error);
    }
    StoreError::Database(error)
}

/// Every failure to connect is the database's unavailability.
pub(crate) fn unavailable(error: sqlx::Error) -> StoreError {
    StoreError::Unavailable(error)
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
    // SQLite's extended codes keep the primary one in the low byte: 5 is busy, 6 is locked.
    code.len() < 5 && code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6))
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
