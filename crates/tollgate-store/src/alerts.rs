//! Alerts: each is raised once, with what is to be delivered of it, in one transaction.

use serde::{Deserialize, Serialize};
use tollgate_domain::{AlertId, TenantId, UnixMillis};
use uuid::Uuid;

use crate::db::Sql;
use crate::store::run_tx;
use crate::{Store, StoreError, webhook_deliveries, webhooks};

/// What an alert is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AlertKind {
    /// A budget's spend has reached a share of its limit.
    #[serde(rename = "budget.threshold")]
    BudgetThreshold,
    /// A wallet's balance has fallen below a level.
    #[serde(rename = "wallet.low")]
    WalletLow,
}

impl AlertKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::BudgetThreshold, Self::WalletLow];

    /// The event's type, as webhooks and logs name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BudgetThreshold => "budget.threshold",
            Self::WalletLow => "wallet.low",
        }
    }
}

/// An alert to be raised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAlert {
    /// Identity; also that of the message.
    pub id: AlertId,
    /// Whose.
    pub tenant: TenantId,
    /// What about.
    pub kind: AlertKind,
    /// Which budget, or which tenant's wallet.
    pub subject: Uuid,
    /// A budget's period by its first millisecond; for a wallet the number of the credit since which it is low.
    pub occasion: i64,
    /// Until when the same alert must not be raised again; the end of time where it never may.
    pub occasion_ends_at: UnixMillis,
    /// The share in ten-thousandths, or the level in nano-USD.
    pub threshold: i64,
    /// The message as JSON text, as it is signed and sent.
    pub body: String,
    /// When it is raised.
    pub at: UnixMillis,
}

impl Store {
    /// Raises an alert unless it was raised before: for the same kind, subject, occasion and threshold. With it, its
    /// message to every enabled webhook that wants it. `true` where it is new.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn raise_alert(&self, alert: &NewAlert) -> Result<bool, StoreError> {
        run_tx!(self, "raise_alert", |tx| {
            let insert = tx.sql(
                "INSERT INTO alerts (id, tenant_id, kind, subject_id, occasion, occasion_ends_at_ms, threshold,
                     body, created_at_ms)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
                 ON CONFLICT (kind, subject_id, occasion, threshold) DO NOTHING",
            );
            let inserted = insert
                .id(alert.id)
                .id(alert.tenant)
                .bind(alert.kind.name())
                .bind(alert.subject)
                .bind(alert.occasion)
                .bind(alert.occasion_ends_at.0)
                .bind(alert.threshold)
                .bind(alert.body.as_str())
                .bind(alert.at.0)
                .execute()
                .await?;
            if inserted == 0 {
                return Ok(false);
            }
            for webhook in webhooks::that_want(tx, alert.kind, alert.tenant).await? {
                webhook_deliveries::insert(tx, webhook, alert).await?;
            }
            Ok(true)
        })
    }

    /// Which thresholds were raised for a subject on an occasion.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn raised_thresholds(
        &self,
        kind: AlertKind,
        subject: Uuid,
        occasion: i64,
    ) -> Result<Vec<i64>, StoreError> {
        let mut reader = self.reader();
        let query = reader.sql(
            "SELECT threshold FROM alerts WHERE kind = $1 AND subject_id = $2 AND occasion = $3
             ORDER BY threshold",
        );
        query.bind(kind.name()).bind(subject).bind(occasion).read_all(|row| row.get("threshold")).await
    }

    /// Forgets alerts whose occasion ended before `before`, and deliveries that were finished before it. Answers how
    /// many rows.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn prune_alerts(&self, before: UnixMillis) -> Result<u64, StoreError> {
        run_tx!(self, "prune_alerts", |tx| {
            let finished = "DELETE FROM webhook_deliveries WHERE finished_at_ms < $1";
            let deliveries = tx.sql(finished).bind(before.0).execute().await?;
            let ended = "DELETE FROM alerts WHERE occasion_ends_at_ms < $1 AND created_at_ms < $1";
            Ok(deliveries + tx.sql(ended).bind(before.0).execute().await?)
        })
    }
}
