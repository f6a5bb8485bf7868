//! The days of the table of requests on PostgreSQL: each a partition, made before it begins.

use tollgate_domain::UnixMillis;

use crate::db::Sql as _;
use crate::store::{Pools, run_tx};
use crate::{Store, StoreError};

const DAY_MS: i64 = 86_400_000;
/// Partitions exist for so many days from today on: a control plane may be away for two weeks.
pub const DAYS_AHEAD: u32 = 14;

impl Store {
    /// Makes the partitions of yesterday (clocks of pods differ), today and the next [`DAYS_AHEAD`] days where
    /// they are missing. Answers how many it made: none on SQLite, which has no partitions. A day without one
    /// costs nothing but order: its rows go to the default partition, and stay there.
    ///
    /// # Errors
    /// Only the database's own; the days before the failure are made, and a repeat makes the others.
    pub async fn prepare_partitions(&self, now: UnixMillis) -> Result<u32, StoreError> {
        if matches!(self.pools, Pools::Sqlite { .. }) {
            return Ok(0);
        }
        let today = now.0.div_euclid(DAY_MS);
        let mut n_made = 0;
        for day in today - 1..=today + i64::from(DAYS_AHEAD) {
            let starts_at = (day * DAY_MS).max(0);
            // A day in a transaction: the default partition is locked for a moment only.
            let is_made: bool = run_tx!(self, "prepare_partitions", |tx| {
                let query = tx.sql("SELECT make_requests_partition($1) AS is_made").bind(starts_at);
                query.fetch_one().await?.get("is_made")
            })?;
            n_made += u32::from(is_made);
        }
        Ok(n_made)
    }
}
