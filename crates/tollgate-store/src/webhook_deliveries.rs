//! Messages on their way to webhooks. One replica at a time has a message: whoever claims it moves its next
//! attempt behind the end of a lease, and only the claim's own result is taken.

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use tollgate_domain::{AlertId, UnixMillis, WebhookId};

use crate::db::{Row, Sql, name_of};
use crate::store::{Tx, run_tx};
use crate::{NewAlert, Page, PageRequest, Store, StoreError, WebhookRecord, webhooks};

/// How a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// To be tried, or tried again.
    Pending,
    /// The receiver has taken it.
    Delivered,
    /// Given up.
    Failed,
}

/// A delivery as stored, without the message's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// To where.
    pub webhook: WebhookId,
    /// Which message: the same for every webhook and attempt.
    pub message: AlertId,
    /// The message's type.
    pub event_type: String,
    /// How it stands.
    pub state: DeliveryState,
    /// Attempts begun.
    pub attempts: u32,
    /// When it is tried next, where it is pending.
    pub next_attempt_at: UnixMillis,
    /// The receiver's last status, where it answered.
    pub last_status: Option<u16>,
    /// Why the last attempt was no success.
    pub last_error: Option<String>,
    /// When it was to be sent first.
    pub created_at: UnixMillis,
    /// When it was delivered or given up.
    pub finished_at: Option<UnixMillis>,
}

/// A message that the caller is to send now.
#[derive(Clone, PartialEq, Eq)]
pub struct ClaimedDelivery {
    /// To where.
    pub webhook: WebhookRecord,
    /// Which message.
    pub message: AlertId,
    /// The message's type.
    pub event_type: String,
    /// What is sent.
    pub body: String,
    /// The number of this attempt, from 1; it also proves the claim.
    pub attempt: u32,
}

impl fmt::Debug for ClaimedDelivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClaimedDelivery({} to {:?}, attempt {})", self.message, self.webhook, self.attempt)
    }
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// The receiver has taken it.
    Delivered {
        /// Its status.
        status: u16,
    },
    /// It is tried again.
    Retry {
        /// From when on.
        at: UnixMillis,
        /// The receiver's status, where it answered.
        status: Option<u16>,
        /// What went wrong.
        error: String,
    },
    /// It is given up.
    Failed {
        /// The receiver's status, where it answered.
        status: Option<u16>,
        /// What went wrong.
        error: String,
    },
}

impl Store {
    /// Takes messages that are due: at most `max` in all and `max_per_webhook` to each. Nobody else gets them until
    /// `lease_until`; then they are due again.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn claim_deliveries(
        &self,
        now: UnixMillis,
        lease_until: UnixMillis,
        max: u32,
        max_per_webhook: u32,
    ) -> Result<Vec<ClaimedDelivery>, StoreError> {
        run_tx!(self, "claim_deliveries", |tx| {
            let query = tx.sql(CLAIM).bind(now.0).bind(lease_until.0);
            let claim = query.bind(i64::from(max_per_webhook)).bind(i64::from(max));
            let rows = claim.read_all(read_claim).await?;
            let mut known: HashMap<WebhookId, Option<WebhookRecord>> = HashMap::new();
            let mut claimed = Vec::with_capacity(rows.len());
            for (id, message, event_type, body, attempt) in rows {
                if let std::collections::hash_map::Entry::Vacant(e) = known.entry(id) {
                    e.insert(webhooks::find(tx, id).await?);
                }
                let Some(Some(webhook)) = known.get(&id).cloned() else { continue };
                claimed.push(ClaimedDelivery { webhook, message, event_type, body, attempt });
            }
            Ok(claimed)
        })
    }

    /// Notes what became of an attempt; `false` where the claim is not the caller's any more, or the delivery was
    /// given up or deleted meanwhile.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn finish_delivery(
        &self,
        webhook: WebhookId,
        message: AlertId,
        attempt: u32,
        outcome: &DeliveryOutcome,
        now: UnixMillis,
    ) -> Result<bool, StoreError> {
        let (state, status, error, next) = match outcome {
            DeliveryOutcome::Delivered { status } => (DeliveryState::Delivered, Some(*status), None, now),
            DeliveryOutcome::Retry { at, status, error } => {
                (DeliveryState::Pending, *status, Some(error), *at)
            }
            DeliveryOutcome::Failed { status, error } => (DeliveryState::Failed, *status, Some(error), now),
        };
        let finished_at = (state != DeliveryState::Pending).then_some(now.0);
        run_tx!(self, "finish_delivery", |tx| {
            let update = tx.sql(
                "UPDATE webhook_deliveries SET state = $4, last_status = $5, last_error = $6,
                     next_attempt_at_ms = $7, finished_at_ms = $8
                 WHERE webhook_id = $1 AND message_id = $2 AND attempts = $3 AND state = 'pending'",
            );
            let changed = update
                .id(webhook)
                .id(message)
                .bind(i64::from(attempt))
                .bind(name_of(&state))
                .bind(status.map(i64::from))
                .bind(error.map(String::as_str))
                .bind(next.0)
                .bind(finished_at)
                .execute()
                .await?;
            Ok(changed == 1)
        })
    }

    /// A webhook's deliveries, newest first.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn list_deliveries(
        &self,
        webhook: WebhookId,
        state: Option<DeliveryState>,
        page: PageRequest<AlertId>,
    ) -> Result<Page<DeliveryRecord, AlertId>, StoreError> {
        let mut reader = self.reader();
        let query = reader.sql(
            "SELECT webhook_id, message_id, event_type, state, attempts, next_attempt_at_ms, last_status,
                 last_error, created_at_ms, finished_at_ms
             FROM webhook_deliveries WHERE webhook_id = $1",
        );
        let items = query
            .id(webhook)
            .filter(" AND state = ", state.map(|state| name_of(&state)))
            .filter(" AND message_id < ", page.after.map(|id| id.as_uuid()))
            .push(" ORDER BY message_id DESC LIMIT ")
            .push_bind(page.fetch())
            .read_all(read)
            .await?;
        Ok(Page::cut(items, page.rows(), |delivery| delivery.message))
    }
}

// === SQL ===

/// On PostgreSQL another claim's rows are looked at again once it has ended, and are not due any more.
const CLAIM: &str = "UPDATE webhook_deliveries SET attempts = attempts + 1, next_attempt_at_ms = $2
    WHERE state = 'pending' AND next_attempt_at_ms <= $1 AND (webhook_id, message_id) IN (
        SELECT webhook_id, message_id FROM (
            SELECT webhook_id, message_id, next_attempt_at_ms, ROW_NUMBER() OVER (
                PARTITION BY webhook_id ORDER BY next_attempt_at_ms, message_id
            ) AS place
            FROM webhook_deliveries WHERE state = 'pending' AND next_attempt_at_ms <= $1
        ) AS due WHERE place <= $3 ORDER BY next_attempt_at_ms, message_id LIMIT $4)
    RETURNING webhook_id, message_id, event_type, body, attempts";

/// Puts an alert's message on its way.
pub(crate) async fn insert(tx: &mut Tx, webhook: WebhookId, alert: &NewAlert) -> Result<(), StoreError> {
    tx.sql(
        "INSERT INTO webhook_deliveries (webhook_id, message_id, event_type, body, state, attempts,
             next_attempt_at_ms, created_at_ms)
         VALUES ($1, $2, $3, $4, 'pending', 0, $5, $5)",
    )
    .id(webhook)
    .id(alert.id)
    .bind(alert.kind.name())
    .bind(alert.body.as_str())
    .bind(alert.at.0)
    .execute_one()
    .await
}

/// Fails what is pending for a webhook that is sent nothing any more.
pub(crate) async fn give_up(tx: &mut Tx, webhook: WebhookId, now: UnixMillis) -> Result<(), StoreError> {
    tx.sql(
        "UPDATE webhook_deliveries SET state = 'failed', last_error = 'the webhook was disabled',
             finished_at_ms = $2
         WHERE webhook_id = $1 AND state = 'pending'",
    )
    .id(webhook)
    .bind(now.0)
    .execute()
    .await
    .map(drop)
}

fn attempts(row: &Row) -> Result<u32, StoreError> {
    let attempts: i64 = row.get("attempts")?;
    u32::try_from(attempts).map_err(|error| StoreError::corrupt("attempts", error))
}

fn read_claim(row: &Row) -> Result<(WebhookId, AlertId, String, String, u32), StoreError> {
    Ok((
        row.id("webhook_id")?,
        row.id("message_id")?,
        row.get("event_type")?,
        row.get("body")?,
        attempts(row)?,
    ))
}

fn read(row: &Row) -> Result<DeliveryRecord, StoreError> {
    let status: Option<i64> = row.get("last_status")?;
    Ok(DeliveryRecord {
        webhook: row.id("webhook_id")?,
        message: row.id("message_id")?,
        event_type: row.get("event_type")?,
        state: row.named("state")?,
        attempts: attempts(row)?,
        next_attempt_at: row.moment("next_attempt_at_ms")?,
        last_status: status
            .map(u16::try_from)
            .transpose()
            .map_err(|error| StoreError::corrupt("last_status", error))?,
        last_error: row.get("last_error")?,
        created_at: row.moment("created_at_ms")?,
        finished_at: row.optional_moment("finished_at_ms")?,
    })
}
