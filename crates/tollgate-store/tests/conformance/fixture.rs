//! A migrated database of its own for each test.

use tollgate_store::Store;
use tollgate_testkit::postgres::PostgresServer;

const DATABASE: &str = "tollgate";

/// A store on a fresh database that goes with it.
pub(crate) struct Fixture {
    pub(crate) store: Store,
    pub(crate) url: String,
    pub(crate) server: Option<tokio::sync::Mutex<PostgresServer>>,
    _directory: Option<tempfile::TempDir>,
}

impl Fixture {
    pub(crate) async fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("tollgate.db").display());
        let store = migrated(&url).await;
        Self { store, url, server: None, _directory: Some(directory) }
    }

    pub(crate) async fn postgres() -> Self {
        let server = PostgresServer::start().await.unwrap();
        let url = server.create_database(DATABASE).await.unwrap();
        let store = migrated(&url).await;
        Self { store, url, server: Some(tokio::sync::Mutex::new(server)), _directory: None }
    }

    /// Runs SQL past the store, as an operator with a shell would.
    pub(crate) async fn raw(&self, sql: &str) -> Result<(), sqlx::Error> {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        if self.server.is_some() {
            let pool = sqlx::PgPool::connect(&self.url).await?;
            sqlx::raw_sql(sql).execute(&pool).await?;
            pool.close().await;
        } else {
            let pool = sqlx::SqlitePool::connect(&self.url).await?;
            sqlx::raw_sql(sql).execute(&pool).await?;
            pool.close().await;
        }
        Ok(())
    }

    pub(crate) fn is_postgres(&self) -> bool {
        self.server.is_some()
    }
}

async fn migrated(url: &str) -> Store {
    let store = Store::connect(url).await.unwrap();
    store.migrate().await.unwrap();
    store
}
