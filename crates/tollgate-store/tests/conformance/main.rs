//! One suite over both databases: every case runs on SQLite in a temporary directory and on a private
//! PostgreSQL server.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod accounts;
mod alerts;
mod fixture;
mod journal;
mod keys;
mod limits;
mod log;
mod operations;
mod partitions;
mod policy;
mod reports;
mod samples;
mod schema;
mod verify;
mod wallet;

/// Makes a test per database of each case, which is an `async fn(&Fixture)`.
macro_rules! on_both_databases {
    ($($case:ident),* $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::$case(&crate::fixture::Fixture::sqlite().await).await;
                }
            )*
        }
        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::$case(&crate::fixture::Fixture::postgres().await).await;
                }
            )*
        }
    };
}
pub(crate) use on_both_databases;
