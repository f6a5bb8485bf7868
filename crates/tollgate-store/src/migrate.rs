//! Migrations: embedded, per database, and the check that this program suits the schema.
//!
//! While an upgrade rolls out, and after a rollback, this program runs on a schema that knows later steps.
//! That is fine as long as they only expand it. A contracting step raises
//! `schema_compatibility.required_migration` to the oldest migration a program must know; a program that does
//! not know it refuses to start.

use sqlx::migrate::{Migration, Migrator};

use crate::db::{Row, Sql as _};
use crate::store::Pools;
use crate::{Store, StoreError};

static POSTGRES: Migrator = sqlx::migrate!("../../migrations/postgres");
static SQLITE: Migrator = sqlx::migrate!("../../migrations/sqlite");

impl Store {
    /// Applies the migrations that are missing. On PostgreSQL an advisory lock lets one process do it while
    /// the others wait.
    ///
    /// # Errors
    /// `Migration`; `SchemaTooNew`.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        self.check_schema().await?;
        if self.is_migrated().await? {
            // Also without the right to change the schema, as the application's role is.
            return Ok(());
        }
        let embedded = self.embedded();
        // Steps of newer releases are left alone: see the module's documentation.
        let mut migrator = Migrator { migrations: embedded.migrations.clone(), ..Migrator::DEFAULT };
        migrator.set_ignore_missing(true);
        match &self.pools {
            // The migrator's own lock is an advisory one, named by the database.
            Pools::Postgres(pool) => migrator.run(pool).await,
            Pools::Sqlite { writer, .. } => migrator.run(writer).await,
        }
        .map_err(StoreError::Migration)
    }

    /// Whether every step is applied as it is known here.
    async fn is_migrated(&self) -> Result<bool, StoreError> {
        let mut reader = self.reader();
        let applied = reader.sql("SELECT version, checksum FROM _sqlx_migrations WHERE success");
        let read = |row: &Row| Ok((row.get::<i64>("version")?, row.get::<Vec<u8>>("checksum")?));
        let applied = match applied.read_all(read).await {
            Ok(applied) => applied,
            Err(StoreError::SchemaMissing) => return Ok(false),
            Err(error) => return Err(error),
        };
        let is_applied = |step: &Migration| {
            applied
                .iter()
                .any(|(version, checksum)| *version == step.version && *checksum == step.checksum.as_ref())
        };
        Ok(self.embedded().iter().all(is_applied))
    }

    fn embedded(&self) -> &'static Migrator {
        match &self.pools {
            Pools::Postgres(_) => &POSTGRES,
            Pools::Sqlite { .. } => &SQLITE,
        }
    }

    /// Refuses a schema that needs a program which knows more migrations than this one.
    pub(crate) async fn check_schema(&self) -> Result<(), StoreError> {
        let row =
            self.reader().sql("SELECT required_migration FROM schema_compatibility").fetch_optional().await;
        let required: i64 = match row {
            Ok(Some(row)) => row.get("required_migration")?,
            // Nothing was migrated yet.
            Ok(None) | Err(StoreError::SchemaMissing) => return Ok(()),
            Err(error) => return Err(error),
        };
        let known = self.embedded().iter().map(|migration| migration.version).max().unwrap_or(0);
        if required > known {
            return Err(StoreError::SchemaTooNew { required, known });
        }
        Ok(())
    }
}
