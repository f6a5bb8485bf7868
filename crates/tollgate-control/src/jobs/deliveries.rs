//! Messages to webhooks: at least once each, with the same id at every attempt, by one replica at a time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tollgate_domain::{AlertId, Clock, UnixMillis};
use tollgate_store::{ClaimedDelivery, DeliveryOutcome, Store, WebhookRecord, WriteContext};

use super::AlertCounters;
use crate::AppError;
use crate::secrets::{CredentialBox, random_bytes};
use crate::webhooks::{SigningKey, WebhookTransport, secret_binding, signed};

/// How long after one attempt the next is made, in seconds; after the last the message is given up: a receiver that
/// is down for a day misses nothing.
const RETRY_AFTER_SECONDS: [i64; 8] = [5, 30, 2 * 60, 10 * 60, 3_600, 6 * 3_600, 12 * 3_600, 24 * 3_600];
/// An attempt is made up to this share earlier or later, so that those of one outage do not come at once.
const JITTER_PERCENT: i64 = 20;
/// Longest attempt, whatever the transport does.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(20);
/// For how long a claim keeps others out: longer than an attempt.
const LEASE_MS: i64 = 60_000;
/// Messages sent side by side.
const MAX_IN_FLIGHT: u32 = 16;
/// Of these, to one webhook: a slow receiver leaves room for the others.
const MAX_PER_WEBHOOK: u32 = 4;
/// How often it is looked for what is due.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// Longest reason that is kept.
const MAX_ERROR_CHARS: usize = 300;
/// The receiver wants no more.
const GONE: u16 = 410;

/// Sends what is due. Cheap to clone; one task runs it.
#[derive(Clone, Debug)]
pub(crate) struct WebhookDispatcher {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) secrets: CredentialBox,
    /// Without one, messages wait.
    pub(crate) transport: Option<WebhookTransport>,
    pub(crate) wanted: Arc<Notify>,
    pub(crate) counters: Arc<AlertCounters>,
}

impl WebhookDispatcher {
    /// Something may be due.
    pub(crate) fn wake(&self) {
        self.wanted.notify_one();
    }

    /// Sends until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        if self.transport.is_none() {
            return;
        }
        let work = async {
            let mut is_failing = false;
            loop {
                match self.deliver_due().await {
                    Ok(_) => is_failing = false,
                    Err(error) => {
                        if !std::mem::replace(&mut is_failing, true) {
                            tracing::warn!(%error, "webhooks cannot be sent now; it is tried again");
                        }
                    }
                }
                tokio::select! {
                    () = self.wanted.notified() => {}
                    () = tokio::time::sleep(POLL_EVERY) => {}
                }
            }
        };
        // What is cut off is sent again once its lease has ended: the receiver knows it by its id.
        stop.run_until_cancelled(work).await;
    }

    /// Sends everything that is due now; answers how many attempts were made.
    pub(crate) async fn deliver_due(&self) -> Result<usize, AppError> {
        let mut n_attempts = 0;
        loop {
            let now = self.clock.now();
            let until = now.plus_ms(LEASE_MS);
            let claimed = self.store.claim_deliveries(now, until, MAX_IN_FLIGHT, MAX_PER_WEBHOOK).await?;
            if claimed.is_empty() {
                return Ok(n_attempts);
            }
            n_attempts += claimed.len();
            let mut sending = JoinSet::new();
            for claim in claimed {
                let this = self.clone();
                sending.spawn(async move { this.attempt(&claim).await });
            }
            while let Some(ended) = sending.join_next().await {
                match ended {
                    Ok(result) => result?,
                    Err(error) => tracing::error!(%error, "an attempt to send a webhook has ended early"),
                }
            }
        }
    }

    /// Sends a message once and notes nothing. Answers the receiver's status.
    pub(crate) async fn send(
        &self,
        webhook: &WebhookRecord,
        message: AlertId,
        body: &str,
    ) -> Result<u16, String> {
        let transport = self.transport.as_ref().ok_or("this process sends no webhooks")?;
        let secret = self.secrets.open_bound(&secret_binding(webhook.id), &webhook.secret_ciphertext);
        let secret = secret.map_err(|_| "its secret cannot be decrypted: set it again")?;
        let text = std::str::from_utf8(&secret).map_err(|_| "its secret is damaged: set it again")?;
        let key = SigningKey::parse(text).map_err(|_| "its secret is damaged: set it again")?;
        let message = signed(&key, &webhook.url, message, self.clock.now(), body);
        match tokio::time::timeout(ATTEMPT_TIMEOUT, transport.send(message)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {} s", ATTEMPT_TIMEOUT.as_secs())),
        }
    }

    async fn attempt(&self, claim: &ClaimedDelivery) -> Result<(), AppError> {
        let answer = self.send(&claim.webhook, claim.message, &claim.body).await;
        let now = self.clock.now();
        let (webhook, message) = (claim.webhook.id, claim.message);
        let outcome = self.outcome(claim, answer, now);
        if !self.store.finish_delivery(webhook, message, claim.attempt, &outcome, now).await? {
            return Ok(());
        }
        match &outcome {
            DeliveryOutcome::Delivered { status } => {
                self.counters.delivered.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(%webhook, %message, status, attempt = claim.attempt, "a webhook was delivered");
            }
            DeliveryOutcome::Retry { at, error, .. } => {
                self.counters.retried.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(%webhook, %message, error, again_at = %at, attempt = claim.attempt, "a webhook was not delivered; it is sent again");
            }
            DeliveryOutcome::Failed { status, error } => {
                self.counters.failed.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%webhook, %message, error, attempt = claim.attempt, "a webhook was given up");
                if *status == Some(GONE) {
                    self.disable(&claim.webhook, now).await?;
                }
            }
        }
        Ok(())
    }

    fn outcome(
        &self,
        claim: &ClaimedDelivery,
        answer: Result<u16, String>,
        now: UnixMillis,
    ) -> DeliveryOutcome {
        let (status, error) = match answer {
            Ok(status @ 200..=299) => return DeliveryOutcome::Delivered { status },
            Ok(GONE) => {
                let error = "status 410: the receiver wants no more".to_owned();
                return DeliveryOutcome::Failed { status: Some(GONE), error };
            }
            Ok(status @ 300..=399) => (Some(status), format!("status {status}: redirects are not followed")),
            Ok(status) => (Some(status), format!("status {status}")),
            Err(error) => (None, error.chars().take(MAX_ERROR_CHARS).collect()),
        };
        match retry_after_ms(claim.attempt, random_bytes::<1>().map_or(128, |[byte]| byte)) {
            Some(wait_ms) => DeliveryOutcome::Retry { at: now.plus_ms(wait_ms), status, error },
            None => DeliveryOutcome::Failed { status, error },
        }
    }

    async fn disable(&self, webhook: &WebhookRecord, now: UnixMillis) -> Result<(), AppError> {
        let context = WriteContext::system("webhooks", now);
        let disabled = self.store.update_webhook(&context, webhook.id, |record| {
            record.enabled = false;
            record.disabled_reason = Some("the receiver answered 410: it wants no more".to_owned());
        });
        match disabled.await {
            Ok(_) => {
                tracing::warn!(webhook = %webhook.id, "a webhook was disabled: its receiver wants no more");
            }
            Err(tollgate_store::StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// How long after the `attempt`-th (from 1) the next is made; `None` where that was the last.
fn retry_after_ms(attempt: u32, random: u8) -> Option<i64> {
    let index = usize::try_from(attempt).ok()?.checked_sub(1)?;
    let seconds = RETRY_AFTER_SECONDS.get(index)?;
    let percent = 100 - JITTER_PERCENT + 2 * JITTER_PERCENT * i64::from(random) / 255;
    Some(seconds * 10 * percent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_get_rarer_and_end() {
        assert_eq!((retry_after_ms(1, 0), retry_after_ms(1, 255)), (Some(4_000), Some(6_000)));
        let waits: Vec<_> = (1..=8).filter_map(|attempt| retry_after_ms(attempt, 128)).collect();
        assert_eq!(waits.len(), 8);
        assert!(waits.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(
            (retry_after_ms(9, 0), retry_after_ms(0, 0), retry_after_ms(u32::MAX, 0)),
            (None, None, None)
        );
        let timeout_ms = i64::try_from(ATTEMPT_TIMEOUT.as_millis()).unwrap();
        assert!(timeout_ms * 2 < LEASE_MS, "a lease outlives its attempt");
    }
}
