//! What a reseed of the ledger asks the database: which requests are journaled, what was spent, which pods there are.

use std::collections::HashSet;

use tollgate_domain::{EventId, Id, NanoUsd, NodeId, Period, UnixMillis};
use tollgate_policy::BudgetOwner;
use uuid::Uuid;

use crate::db::{Row, Sql};
use crate::store::run_tx;
use crate::{Store, StoreError};

/// Ids per query: far below what either database takes as parameters.
const MAX_IDS: usize = 500;
/// Sums per query: a power of two, so that few different texts are prepared.
const MAX_SPANS: usize = 32;
/// Pods are kept among the installation's values, by a name that begins with this.
const POD_PREFIX: &str = "pod:";

impl Store {
    /// What each owner was charged within its period, in the order asked, as [`Store::spent`] tells of one.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn spent_each(&self, spans: &[(BudgetOwner, Period)]) -> Result<Vec<NanoUsd>, StoreError> {
        let mut all = Vec::with_capacity(spans.len());
        let mut rest = spans;
        while !rest.is_empty() {
            let n_spans = if rest.len() >= MAX_SPANS { MAX_SPANS } else { 1 << rest.len().ilog2() };
            let (part, later) = rest.split_at(n_spans);
            let mut reader = self.reader();
            let mut query = reader.sql("");
            for (index, (owner, period)) in part.iter().enumerate() {
                let id = match owner {
                    BudgetOwner::Tenant(id) => id.as_uuid(),
                    BudgetOwner::Project(id) => id.as_uuid(),
                    BudgetOwner::Key(id) => id.as_uuid(),
                };
                query = query
                    .push(if index == 0 { "" } else { " UNION ALL " })
                    .push(&format!("SELECT {index} AS span, CAST(COALESCE(SUM(cost_nano_usd), 0) AS BIGINT)"))
                    .push(" AS spent FROM spend_quarters WHERE owner_id = ")
                    .push_bind(id)
                    .push(" AND quarter_starts_at_ms >= ")
                    .push_bind(period.starts_at.0)
                    .push(" AND quarter_starts_at_ms < ")
                    .push_bind(period.ends_at.0);
            }
            all.extend(query.push(" ORDER BY span").read_all(|row| row.money("spent")).await?);
            rest = later;
        }
        Ok(all)
    }

    /// Those of `events` that are in the journal.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn journaled_among(&self, events: &[EventId]) -> Result<HashSet<EventId>, StoreError> {
        let mut journaled = HashSet::new();
        for part in events.chunks(MAX_IDS) {
            let mut reader = self.reader();
            let mut query = reader.sql("SELECT event_id FROM requests WHERE event_id IN (");
            for (index, event) in part.iter().enumerate() {
                query = if index == 0 { query } else { query.push(", ") };
                query = query.push_bind(event.as_uuid());
            }
            journaled.extend(query.push(")").read_all(|row| row.id("event_id")).await?);
        }
        Ok(journaled)
    }

    /// Notes that pods were alive at `seen_at`.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn note_pods(&self, pods: &[NodeId], seen_at: UnixMillis) -> Result<(), StoreError> {
        let names: Vec<String> = pods.iter().map(|pod| format!("{POD_PREFIX}{pod}")).collect();
        run_tx!(self, "note_pods", |tx| {
            let upsert = "INSERT INTO installation (name, value) VALUES ($1, $2)
                ON CONFLICT (name) DO UPDATE SET value = excluded.value";
            for name in &names {
                tx.sql(upsert).bind(name.as_str()).bind(&seen_at.0.to_be_bytes()[..]).execute().await?;
            }
            Ok(())
        })
    }

    /// Forgets pods: they have ended.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn forget_pods(&self, pods: &[NodeId]) -> Result<(), StoreError> {
        let names: Vec<String> = pods.iter().map(|pod| format!("{POD_PREFIX}{pod}")).collect();
        run_tx!(self, "forget_pods", |tx| {
            for name in &names {
                tx.sql("DELETE FROM installation WHERE name = $1").bind(name.as_str()).execute().await?;
            }
            Ok(())
        })
    }

    /// All pods that were noted and not forgotten, and when they were last alive.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn noted_pods(&self) -> Result<Vec<(NodeId, UnixMillis)>, StoreError> {
        let mut reader = self.reader();
        let pattern = format!("{POD_PREFIX}%");
        let query =
            reader.sql("SELECT name, value FROM installation WHERE name LIKE $1").bind(pattern.as_str());
        let read = |row: &Row| {
            let (name, value): (String, Vec<u8>) = (row.get("name")?, row.get("value")?);
            let id = name.strip_prefix(POD_PREFIX).and_then(|id| Uuid::parse_str(id).ok());
            let seen_at = value.first_chunk().map(|bytes| UnixMillis(i64::from_be_bytes(*bytes)));
            Ok(id.map(Id::from_uuid).zip(seen_at))
        };
        Ok(query.read_all(read).await?.into_iter().flatten().collect())
    }
}
