//! [`Store`]: pools of connections to one of the two databases, and transactions on them.

use std::borrow::Cow;
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::pin::Pin;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnectionMetadata;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, Postgres, Sqlite, Transaction};
use tokio::sync::watch;

use crate::StoreError;
use crate::constraints;
use crate::db::{Sql, Statement};

/// Connections to PostgreSQL: a control replica's jobs and a few admins at once.
const POSTGRES_CONNECTIONS: u32 = 16;
/// Readers of an SQLite file; in WAL mode they never wait for the writer.
const SQLITE_READERS: u32 = 4;
/// How long a call waits for a connection before it is `Unavailable`.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Pages of a new SQLite file. Every page that a transaction changed is two writes to the log: larger ones
/// spare system calls where hundreds of finished requests are written at once.
const SQLITE_PAGE_BYTES: u32 = 16 * 1024;
/// How long SQLite waits for another process's lock before it says busy.
const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a transaction is tried that others got in the way of.
const TRANSACTION_ATTEMPTS: u32 = 8;
/// The wait before the second attempt; it doubles with each further one.
const RETRY_WAIT: Duration = Duration::from_millis(2);

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) pools: Pools,
    /// The newest revision this process has committed; on SQLite the only notification there is.
    pub(crate) committed_revision: Arc<watch::Sender<u64>>,
}

/// The connections.
#[derive(Clone, Debug)]
pub(crate) enum Pools {
    Postgres(PgPool),
    /// One connection writes; a database in memory has only that one.
    Sqlite {
        writer: SqlitePool,
        readers: SqlitePool,
    },
}

impl Store {
    /// Opens `postgres://…`, `sqlite://<path>` (created where missing) or `sqlite::memory:`.
    ///
    /// # Errors
    /// `InvalidUrl`; `Unavailable`; `Unusable`; `SchemaTooNew` where a newer release has made the schema unsuitable
    /// for this one. An empty database is fine: [`Store::migrate`] fills it.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let pools = if url.starts_with("sqlite:") {
            connect_sqlite(url).await?
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            connect_postgres(url).await?
        } else {
            let scheme = url.split(':').next().unwrap_or_default();
            return Err(StoreError::InvalidUrl(format!("`{scheme}:` is no known scheme")));
        };
        let store = Self { pools, committed_revision: Arc::new(watch::Sender::new(0)) };
        store.check_schema().await?;
        Ok(store)
    }

    /// Asks the database for nothing: whether it answers at all.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.reader().sql("SELECT 1").fetch_all().await.map(drop)
    }

    /// Closes the connections once the calls in progress have ended; later calls fail.
    pub async fn close(&self) {
        match &self.pools {
            Pools::Postgres(pool) => pool.close().await,
            Pools::Sqlite { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
        }
    }

    /// Runs single statements that only read.
    pub(crate) fn reader(&self) -> Reader {
        Reader(self.pools.clone())
    }

    /// Ends an attempt of [`run_tx!`]: commits where the work succeeded, and tells whether to try again.
    pub(crate) async fn end_attempt<T>(
        &self,
        tx: Tx,
        worked: Result<T, StoreError>,
        attempt: &mut Attempt,
    ) -> ControlFlow<Result<T, StoreError>> {
        let revision = tx.revision;
        let ended = match worked {
            Ok(value) => tx.commit().await.map(|()| value),
            // The transaction is dropped, which rolls it back.
            Err(error) => Err(error),
        };
        match ended {
            Ok(value) => {
                self.announce(revision);
                ControlFlow::Break(Ok(value))
            }
            Err(StoreError::Database(error)) if constraints::is_interference(&error) => {
                match attempt.next(error).await {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(error) => ControlFlow::Break(Err(error)),
                }
            }
            Err(error) => ControlFlow::Break(Err(error)),
        }
    }

    fn announce(&self, revision: Option<u64>) {
        let Some(revision) = revision else { return };
        self.committed_revision.send_if_modified(|newest| {
            let is_newer = *newest < revision;
            *newest = revision.max(*newest);
            is_newer
        });
    }
}

/// Runs a block in a transaction and commits it: `run_tx!(store, "name", |tx| { … })`. Where another
/// transaction got in the way it is rolled back and run again, a bounded number of times, so the block must
/// have no effects of its own. A macro because the future of an async closure is not seen to be `Send`.
macro_rules! run_tx {
    ($store:expr, $name:literal, |$tx:ident| $work:block) => {{
        let mut attempt = $crate::store::Attempt::first($name);
        loop {
            let mut transaction = $crate::store::Tx::begin(&$store.pools).await?;
            let $tx = &mut transaction;
            let worked = $crate::store::fallible(async { $work }).await;
            match $store.end_attempt(transaction, worked, &mut attempt).await {
                std::ops::ControlFlow::Break(ended) => break ended,
                std::ops::ControlFlow::Continue(()) => {}
            }
        }
    }};
}
pub(crate) use run_tx;

/// Runs a block that only reads, on one unchanging state of the database.
macro_rules! run_snapshot {
    ($store:expr, |$tx:ident| $work:block) => {{
        let mut transaction = $crate::store::Tx::begin_snapshot(&$store.pools).await?;
        let $tx = &mut transaction;
        let value = $crate::store::fallible(async { $work }).await?;
        transaction.commit().await?;
        Ok(value)
    }};
}
pub(crate) use run_snapshot;

/// Tells the compiler which error an async block ends with.
pub(crate) fn fallible<T, F: Future<Output = Result<T, StoreError>>>(work: F) -> F {
    work
}

/// Counts the attempts of one transaction.
pub(crate) struct Attempt {
    transaction: &'static str,
    number: u32,
}

impl Attempt {
    pub(crate) fn first(transaction: &'static str) -> Self {
        Self { transaction, number: 1 }
    }

    /// Waits for the next attempt, or gives up.
    async fn next(&mut self, error: sqlx::Error) -> Result<(), StoreError> {
        let Self { transaction, number } = *self;
        if number == TRANSACTION_ATTEMPTS {
            tracing::warn!(transaction, number, "gave up: other transactions were always in the way");
            return Err(StoreError::Unavailable(error));
        }
        tracing::debug!(transaction, number, "another transaction was in the way, trying again");
        tokio::time::sleep(RETRY_WAIT * 2_u32.pow(number)).await;
        self.number += 1;
        Ok(())
    }
}

async fn connect_postgres(url: &str) -> Result<Pools, StoreError> {
    // The parser's message may repeat the address with its password.
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| StoreError::InvalidUrl("it is no postgres address".to_owned()))?
        .application_name("tollgate")
        .disable_statement_logging();
    let pool = PgPoolOptions::new()
        .max_connections(POSTGRES_CONNECTIONS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_with(options)
        .await
        .map_err(constraints::unavailable)?;
    Ok(Pools::Postgres(pool))
}

async fn connect_sqlite(url: &str) -> Result<Pools, StoreError> {
    let is_memory = url.contains(":memory:") || url.contains("mode=memory");
    let options = SqliteConnectOptions::from_str(url)
        .map_err(|error| StoreError::InvalidUrl(error.to_string()))?
        .create_if_missing(true)
        .foreign_keys(true)
        .page_size(SQLITE_PAGE_BYTES)
        .busy_timeout(SQLITE_BUSY_TIMEOUT)
        .journal_mode(SqliteJournalMode::Wal)
        // The journal is money: a power cut may not lose a commit.
        .synchronous(SqliteSynchronous::Full)
        // What undoes a statement lives as long as the statement: every batch of the journal made a file for it.
        .pragma("temp_store", "memory")
        .disable_statement_logging();
    if !is_memory {
        make_private_file(options.get_filename())?;
    }
    // A database in memory lives as long as its only connection.
    let pool = |connections: u32| {
        SqlitePoolOptions::new()
            .max_connections(connections)
            .min_connections(u32::from(is_memory))
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(ACQUIRE_TIMEOUT)
    };
    let writer = if is_memory { pool(1) } else { pool(1).after_release(is_usable_again) };
    let writer = writer.connect_with(options.clone()).await.map_err(constraints::unavailable)?;
    let readers = if is_memory {
        writer.clone()
    } else {
        pool(SQLITE_READERS).connect_with(options).await.map_err(constraints::unavailable)?
    };
    Ok(Pools::Sqlite { writer, readers })
}

/// Whether a connection may be used again. Where a disk was full, or failed, SQLite has ended the transaction by itself:
/// rolling it back fails then, and the client would count it as open for ever and begin no other one.
fn is_usable_again(
    connection: &mut SqliteConnection,
    _: PoolConnectionMetadata,
) -> Pin<Box<dyn Future<Output = Result<bool, sqlx::Error>> + Send + '_>> {
    Box::pin(async move {
        // after whatever was rolled back
        connection.ping().await?;
        Ok(!connection.is_in_transaction())
    })
}

/// Makes the database's file, where it is missing, for this user alone; SQLite gives the files beside it the
/// same permissions.
fn make_private_file(path: &Path) -> Result<(), StoreError> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => {
            Err(StoreError::Unusable { problem: constraints::CANNOT_OPEN_FILE, source: error.into() })
        }
    }
}

/// The pool of readers.
pub(crate) struct Reader(Pools);

impl Sql for Reader {
    fn sql(&mut self, text: impl Into<Cow<'static, str>>) -> Statement<'_> {
        match &self.0 {
            Pools::Postgres(pool) => Statement::on_postgres_pool(pool, text.into()),
            Pools::Sqlite { readers, .. } => Statement::on_sqlite_pool(readers, text.into()),
        }
    }
}

/// A transaction. Dropping it rolls it back.
pub(crate) struct Tx {
    inner: TxInner,
    /// The newest revision it made.
    pub(crate) revision: Option<u64>,
}

enum TxInner {
    Postgres(Transaction<'static, Postgres>),
    Sqlite(Transaction<'static, Sqlite>),
}

impl Tx {
    pub(crate) async fn begin(pools: &Pools) -> Result<Self, StoreError> {
        let inner = match pools {
            Pools::Postgres(pool) => TxInner::Postgres(pool.begin().await?),
            // The write lock at once: taking it later fails where another process has written in between.
            Pools::Sqlite { writer, .. } => TxInner::Sqlite(writer.begin_with("BEGIN IMMEDIATE").await?),
        };
        Ok(Self { inner, revision: None })
    }

    pub(crate) async fn begin_snapshot(pools: &Pools) -> Result<Self, StoreError> {
        let inner = match pools {
            Pools::Postgres(pool) => {
                TxInner::Postgres(pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?)
            }
            Pools::Sqlite { readers, .. } => TxInner::Sqlite(readers.begin().await?),
        };
        Ok(Self { inner, revision: None })
    }

    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        match self.inner {
            TxInner::Postgres(transaction) => transaction.commit().await?,
            TxInner::Sqlite(transaction) => transaction.commit().await?,
        }
        Ok(())
    }

    /// Whether a statement that only PostgreSQL knows may be used.
    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self.inner, TxInner::Postgres(_))
    }
}

impl Sql for Tx {
    fn sql(&mut self, text: impl Into<Cow<'static, str>>) -> Statement<'_> {
        match &mut self.inner {
            TxInner::Postgres(transaction) => Statement::on_postgres(transaction, text.into()),
            TxInner::Sqlite(transaction) => Statement::on_sqlite(transaction, text.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_sqlite_has_rolled_back_by_itself_is_over() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("full.db").display());
        let store = Store::connect(&url).await.unwrap();
        store.migrate().await.unwrap();
        let write = async |key: &'static str| -> Result<u64, StoreError> {
            run_tx!(store, "fill", |tx| {
                let insert = "INSERT OR FAIL INTO idempotency_keys
                    VALUES ('actor', $1, zeroblob(32), 200, zeroblob(1000000), 0)";
                tx.sql(insert).bind(key).execute().await
            })
        };
        assert_eq!(write("before").await.unwrap(), 1);
        let Pools::Sqlite { writer, .. } = &store.pools else { unreachable!("it is SQLite") };
        let pages: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(writer).await.unwrap();
        let limit = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
        sqlx::query(limit).execute(writer).await.unwrap();
        // as on a disk that is full; the limit is this connection's own
        let failed = write("full").await.unwrap_err();
        assert!(failed.to_string().contains("full"), "{failed}");
        assert_eq!(write("after").await.unwrap(), 1);
        let mut reader = store.reader();
        let kept = reader.sql("SELECT key_text FROM idempotency_keys ORDER BY key_text");
        let kept = kept.read_all(|row| row.get::<String>("key_text")).await.unwrap();
        assert_eq!(kept, ["after", "before"]);
    }
}
