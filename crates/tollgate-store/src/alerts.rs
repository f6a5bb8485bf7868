//! Alerts: each is raised once, with what is to be delivered of it, in one transaction.

use serde::{Deserialize, Serialize};
use tollgate_domain::{AlertId, NanoUsd, TenantId, UnixMillis};
use uuid::Uuid;

use crate::db::{Row, Sql};
use crate::store::{run_snapshot, run_tx};
use crate::{Store, StoreError, journal, webhook_deliveries, webhooks};

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

/// What a wallet was given and charged in all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WalletHistory {
    /// Each credit's number, from 1, with the balance right after it.
    after_credits: Vec<(i64, NanoUsd)>,
    balance: Option<NanoUsd>,
}

impl WalletHistory {
    /// Of credits as (number, amount, charged in all before it), in the order of their numbers.
    fn of(credits: impl IntoIterator<Item = (i64, NanoUsd, NanoUsd)>, settled: NanoUsd) -> Self {
        let (mut sum, mut after_credits) = (NanoUsd::ZERO, Vec::new());
        for (number, amount, settled_before) in credits {
            sum = sum.saturating_add(amount);
            after_credits.push((number, sum.saturating_sub(settled_before)));
        }
        let balance = (!after_credits.is_empty()).then(|| sum.saturating_sub(settled));
        Self { after_credits, balance }
    }

    /// What is left by the journal; `None` for a wallet that was never given anything.
    #[must_use]
    pub fn balance(&self) -> Option<NanoUsd> {
        self.balance
    }

    /// The number of the last credit that left the balance at `level` or above: what is below it now has fallen
    /// below it since then. 0 where it never was.
    #[must_use]
    pub fn last_at_or_above(&self, level: NanoUsd) -> i64 {
        let last = self.after_credits.iter().rev().find(|(_, balance)| *balance >= level);
        last.map_or(0, |(number, _)| *number)
    }
}

impl Store {
    /// What a wallet was given and charged, by the journal.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn wallet_history(&self, tenant: TenantId) -> Result<WalletHistory, StoreError> {
        run_snapshot!(self, |tx| {
            let query = tx.sql(
                "SELECT sequence, amount_nano_usd, settled_before_nano_usd FROM credits WHERE tenant_id = $1
                 ORDER BY sequence",
            );
            let read = |row: &Row| {
                Ok((
                    row.get("sequence")?,
                    row.money("amount_nano_usd")?,
                    row.money("settled_before_nano_usd")?,
                ))
            };
            let credits = query.id(tenant).read_all(read).await?;
            Ok(WalletHistory::of(credits, journal::settled(tx, tenant).await?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wallet_that_is_filled_again_may_fall_again() {
        let usd = NanoUsd::from_usd;
        let credits =
            [(1, usd(10), usd(0)), (2, usd(1), usd(8)), (3, usd(20), usd(10)), (4, usd(-5), usd(28))];
        let history = WalletHistory::of(credits, usd(25));
        // after each: 10, 3, 21, -2
        assert_eq!(history.balance(), Some(usd(1)));
        for (level, number) in [(2, 3), (3, 3), (5, 3), (21, 3), (22, 0)] {
            assert_eq!(history.last_at_or_above(usd(level)), number, "{level}");
        }
        assert_eq!(WalletHistory::of(credits[..2].to_vec(), usd(9)).last_at_or_above(usd(5)), 1);
        assert_eq!(WalletHistory::of(credits[..2].to_vec(), usd(9)).last_at_or_above(usd(3)), 2);
        assert_eq!(WalletHistory::of([], usd(9)).balance(), None);
    }
}
