//! Jobs that one of many replicas does for all.

use tollgate_domain::UnixMillis;

use crate::db::Sql;
use crate::store::run_tx;
use crate::{Store, StoreError};

impl Store {
    /// Takes a run of a job, such as that of a day: `true` for the first who asks, and for nobody else. Forgets
    /// the job's runs that were taken before `forget_before`.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn claim_job_run(
        &self,
        job: &str,
        run: &str,
        now: UnixMillis,
        forget_before: UnixMillis,
    ) -> Result<bool, StoreError> {
        run_tx!(self, "claim_job_run", |tx| {
            let forget = "DELETE FROM job_runs WHERE job = $1 AND claimed_at_ms < $2";
            tx.sql(forget).bind(job).bind(forget_before.0).execute().await?;
            let claim = "INSERT INTO job_runs (job, run, claimed_at_ms) VALUES ($1, $2, $3)
                ON CONFLICT (job, run) DO NOTHING";
            Ok(tx.sql(claim).bind(job).bind(run).bind(now.0).execute().await? == 1)
        })
    }
}
