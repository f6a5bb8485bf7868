//! What the admin API takes and shows of webhooks.

use serde::{Deserialize, Serialize};
use tollgate_store::{AlertKind, DeliveryRecord, DeliveryState};
use utoipa::{IntoParams, ToSchema};

use crate::parts::{SecretText, Time};

/// An event that a webhook may want.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
pub enum WebhookEventName {
    /// A budget's spend has reached one of its `alert_at`.
    #[serde(rename = "budget.threshold")]
    BudgetThreshold,
    /// A prepaid tenant's balance has fallen below one of its `alert_below`.
    #[serde(rename = "wallet.low")]
    WalletLow,
}

impl From<WebhookEventName> for AlertKind {
    fn from(name: WebhookEventName) -> Self {
        match name {
            WebhookEventName::BudgetThreshold => Self::BudgetThreshold,
            WebhookEventName::WalletLow => Self::WalletLow,
        }
    }
}

impl From<AlertKind> for WebhookEventName {
    fn from(kind: AlertKind) -> Self {
        match kind {
            AlertKind::BudgetThreshold => Self::BudgetThreshold,
            AlertKind::WalletLow => Self::WalletLow,
        }
    }
}

/// A webhook to be created; also its entry in the configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateWebhook {
    /// Unique name.
    #[schema(example = "ops")]
    pub name: String,
    /// Where messages are sent by POST: `https://…`, or `http://…` to this machine.
    #[schema(example = "https://example.com/hooks/tollgate")]
    pub url: String,
    /// What messages are signed with, `whsec_` and base64; over the API it may be left out: one is made and shown
    /// once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretText>,
    /// Where the secret is read from; in the configuration file only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<String>,
    /// Id or name of the tenant whose events are sent; all tenants' where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Which events.
    #[schema(min_items = 1)]
    pub events: Vec<WebhookEventName>,
}

/// Changes to a webhook; its tenant stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateWebhook {
    /// A new name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where messages are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// What messages are signed with from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretText>,
    /// Which events, all of them anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<WebhookEventName>>,
    /// Whether anything is sent. What is pending when it becomes `false` is given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// A webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookView {
    /// Identity.
    pub id: String,
    /// Unique name.
    pub name: String,
    /// Where messages are sent.
    pub url: String,
    /// Name of the tenant whose events are sent; `null` for all.
    pub tenant: Option<String>,
    /// Id of that tenant.
    pub tenant_id: Option<String>,
    /// Which events.
    pub events: Vec<WebhookEventName>,
    /// Whether anything is sent.
    pub enabled: bool,
    /// Why not, where nobody asked for that.
    pub disabled_reason: Option<String>,
    /// When it was created.
    pub created_at: Time,
    /// When it was last changed.
    pub updated_at: Time,
}

/// A new webhook, with its secret where it was made here: shown this once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedWebhook {
    /// The webhook.
    #[serde(flatten)]
    pub webhook: WebhookView,
    /// What its messages are signed with: keep it now. Absent where you brought it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, read_only)]
    pub secret: Option<SecretText>,
}

/// How a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStateName {
    /// To be tried, or tried again.
    Pending,
    /// The receiver has taken it.
    Delivered,
    /// Given up.
    Failed,
}

impl From<DeliveryState> for DeliveryStateName {
    fn from(state: DeliveryState) -> Self {
        match state {
            DeliveryState::Pending => Self::Pending,
            DeliveryState::Delivered => Self::Delivered,
            DeliveryState::Failed => Self::Failed,
        }
    }
}

impl From<DeliveryStateName> for DeliveryState {
    fn from(name: DeliveryStateName) -> Self {
        match name {
            DeliveryStateName::Pending => Self::Pending,
            DeliveryStateName::Delivered => Self::Delivered,
            DeliveryStateName::Failed => Self::Failed,
        }
    }
}

/// Which deliveries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeliveryQuery {
    /// Only those that stand so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub state: Option<DeliveryStateName>,
    /// How many at most; 100 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// One message to one webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeliveryView {
    /// The message, as `webhook-id` names it: the same at every attempt.
    pub message_id: String,
    /// Its event.
    pub event: String,
    /// How it stands.
    pub state: DeliveryStateName,
    /// Attempts begun.
    pub attempts: u32,
    /// When it is tried next; `null` where it is not.
    pub next_attempt_at: Option<Time>,
    /// The receiver's last status, where it answered.
    pub last_status: Option<u16>,
    /// Why the last attempt was no success.
    pub last_error: Option<String>,
    /// When the event was.
    pub created_at: Time,
    /// When it was delivered or given up.
    pub finished_at: Option<Time>,
}

impl From<DeliveryRecord> for DeliveryView {
    fn from(record: DeliveryRecord) -> Self {
        let is_pending = record.state == DeliveryState::Pending;
        Self {
            message_id: format!("msg_{}", record.message),
            event: record.event_type,
            state: record.state.into(),
            attempts: record.attempts,
            next_attempt_at: is_pending.then_some(Time(record.next_attempt_at)),
            last_status: record.last_status,
            last_error: record.last_error,
            created_at: Time(record.created_at),
            finished_at: record.finished_at.map(Time),
        }
    }
}

/// What a receiver said to a test message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookTest {
    /// Whether it has taken it.
    pub ok: bool,
    /// Its status, where it answered at all.
    pub status: Option<u16>,
    /// Milliseconds until its answer or the failure.
    pub latency_ms: u64,
    /// What went wrong; empty where nothing did.
    pub message: String,
}
