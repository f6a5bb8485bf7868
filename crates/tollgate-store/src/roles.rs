//! The role that a control plane works under on PostgreSQL: it may add to the journal, and change nothing of it.

use crate::db::Sql as _;
use crate::store::{Pools, run_tx};
use crate::{Store, StoreError};

/// What is written once: the role gets neither UPDATE nor DELETE on these.
const APPEND_ONLY: [&str; 5] = ["requests", "journal_entries", "credits", "expired_credits", "audit"];
/// What only migrations write, and a view, through which one would write with its owner's rights.
const READ_ONLY: [&str; 3] = ["schema_compatibility", "_sqlx_migrations", "request_details"];
/// The longest name that PostgreSQL keeps.
const MAX_ROLE_BYTES: usize = 63;

impl Store {
    /// Gives a role what the application needs and nothing more, and makes the role where it is missing (it
    /// cannot log in then: grant it to a login, or `ALTER ROLE … LOGIN PASSWORD …`). To be called by the owner of
    /// the tables, again after every migration; a repeat changes nothing.
    ///
    /// # Errors
    /// `Invalid` on `role` for a name that is none, and on SQLite, which has no roles; the database's own where
    /// the caller may not grant.
    pub async fn grant_application_role(&self, role: &str) -> Result<(), StoreError> {
        if matches!(self.pools, Pools::Sqlite { .. }) {
            let message = "SQLite has no roles: whoever can open the file can do everything";
            return Err(StoreError::invalid("role", "role", message));
        }
        let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
        let begins_well = role.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
        if !begins_well || !role.bytes().all(is_plain) || role.len() > MAX_ROLE_BYTES {
            let message =
                "a role's name is of a-z, 0-9 and _, begins with no digit, and has at most 63 characters";
            return Err(StoreError::invalid("role", "role", message));
        }
        run_tx!(self, "grant_application_role", |tx| {
            let known = tx.sql("SELECT 1 AS found FROM pg_roles WHERE rolname = $1").bind(role);
            if known.fetch_optional().await?.is_none() {
                tx.sql(format!("CREATE ROLE {role} NOLOGIN")).execute().await?;
            }
            let schema = tx.sql("SELECT quote_ident(current_schema()) AS schema").fetch_one().await?;
            let schema: String = schema.get("schema")?;
            for grant in [
                format!("GRANT USAGE ON SCHEMA {schema} TO {role}"),
                format!("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}"),
                format!("GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {role}"),
                format!("GRANT EXECUTE ON FUNCTION make_requests_partition(BIGINT) TO {role}"),
                format!("REVOKE UPDATE, DELETE, TRUNCATE ON {} FROM {role}", APPEND_ONLY.join(", ")),
                format!("REVOKE INSERT, UPDATE, DELETE ON {} FROM {role}", READ_ONLY.join(", ")),
            ] {
                tx.sql(grant).execute().await?;
            }
            // Partitions are reached through their table alone.
            let partitions = "SELECT inhrelid::regclass::text AS partition FROM pg_inherits
                WHERE inhparent = 'requests'::regclass";
            let read = |row: &crate::db::Row| row.get::<String>("partition");
            for partition in tx.sql(partitions).read_all(read).await? {
                tx.sql(format!("REVOKE ALL ON {partition} FROM {role}")).execute().await?;
            }
            Ok(())
        })
    }
}
