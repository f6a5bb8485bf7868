//! Holds whose pods are gone, kept beside the ledger until they are settled: it may be lost meanwhile.

use tollgate_domain::{HoldId, TenantId, UnixMillis};

use crate::db::{Row, Sql};
use crate::store::run_tx;
use crate::{Store, StoreError};

/// Ids per statement.
const MAX_IDS: usize = 500;

/// A hold as the ledger had it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotedHold {
    /// Its identity.
    pub hold: HoldId,
    /// Whose.
    pub tenant: TenantId,
    /// What a reseed needs to write it again, in the ledger's words.
    pub body: String,
}

impl Store {
    /// Notes holds. What is noted already stays as it is.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn note_holds(&self, holds: &[NotedHold], now: UnixMillis) -> Result<(), StoreError> {
        run_tx!(self, "note_holds", |tx| {
            let insert = "INSERT INTO noted_holds (hold_id, tenant_id, body, noted_at_ms)
                VALUES ($1, $2, $3, $4) ON CONFLICT (hold_id) DO NOTHING";
            for noted in holds {
                let query = tx.sql(insert).id(noted.hold).id(noted.tenant);
                query.bind(noted.body.as_str()).bind(now.0).execute().await?;
            }
            Ok(())
        })
    }

    /// Up to `max` noted holds, the oldest first.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn list_noted_holds(&self, max: u32) -> Result<Vec<NotedHold>, StoreError> {
        let mut reader = self.reader();
        let query =
            reader.sql("SELECT hold_id, tenant_id, body FROM noted_holds ORDER BY noted_at_ms, hold_id");
        query.push(" LIMIT ").push_bind(i64::from(max)).read_all(read).await
    }

    /// The noted holds of `tenants`.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn noted_holds_of(&self, tenants: &[TenantId]) -> Result<Vec<NotedHold>, StoreError> {
        let mut all = Vec::new();
        for part in tenants.chunks(MAX_IDS) {
            let mut reader = self.reader();
            let mut query =
                reader.sql("SELECT hold_id, tenant_id, body FROM noted_holds WHERE tenant_id IN (");
            for (index, tenant) in part.iter().enumerate() {
                query = if index == 0 { query } else { query.push(", ") };
                query = query.push_bind(tenant.as_uuid());
            }
            all.extend(query.push(")").read_all(read).await?);
        }
        Ok(all)
    }

    /// Forgets notes: their holds have ended.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn forget_noted_holds(&self, holds: &[HoldId]) -> Result<(), StoreError> {
        run_tx!(self, "forget_noted_holds", |tx| {
            for hold in holds {
                tx.sql("DELETE FROM noted_holds WHERE hold_id = $1").id(*hold).execute().await?;
            }
            Ok(())
        })
    }
}

fn read(row: &Row) -> Result<NotedHold, StoreError> {
    Ok(NotedHold { hold: row.id("hold_id")?, tenant: row.id("tenant_id")?, body: row.get("body")? })
}
