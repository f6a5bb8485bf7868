//! The usage event: what one finished request was, did and cost. Made by the gateway, carried by the
//! ledger's outbox, written once by the journal.

mod bytes;
mod json;
mod memo;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    AppliedMargin, CredentialId, ErrorKind, EventId, HoldId, KeyId, Meter, NanoUsd, PriceId, PricePerMillion,
    ProjectId, RequestId, TenantId, UnixMillis, Usage,
};

pub use bytes::UnreadableEvent;
pub use memo::{HoldMemo, MAX_HOLD_MEMO_BYTES, UnreadableMemo};

/// Labels of a request: project's, key's and the client's own, merged; names to values.
pub type Labels = BTreeMap<String, String>;

/// Which API surface was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Surface {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completions,
    /// `/v1/embeddings`
    Embeddings,
    /// `/v1/moderations`
    Moderations,
    /// `/v1/rerank`
    Rerank,
    /// `/v1/images/generations`
    Images,
    /// `/v1/images/edits`
    ImageEdits,
    /// `/v1/images/variations`
    ImageVariations,
    /// `/v1/audio/speech`
    Speech,
    /// `/v1/audio/transcriptions`
    Transcriptions,
    /// `/v1/audio/translations`
    Translations,
    /// `/passthrough/{provider}/…`
    Passthrough,
    /// `/v1/files`
    Files,
    /// `/v1/batches`
    Batches,
    /// `/v1/responses/{id}`: a kept response. One that is made is a conversation.
    Responses,
}

impl Surface {
    /// Every surface, in the order of declaration.
    pub const ALL: [Self; 15] = [
        Self::Chat,
        Self::Completions,
        Self::Embeddings,
        Self::Moderations,
        Self::Rerank,
        Self::Images,
        Self::ImageEdits,
        Self::ImageVariations,
        Self::Speech,
        Self::Transcriptions,
        Self::Translations,
        Self::Passthrough,
        Self::Files,
        Self::Batches,
        Self::Responses,
    ];

    /// The name in configuration (`defaults:`), metrics and receipts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Moderations => "moderations",
            Self::Rerank => "rerank",
            Self::Images => "images",
            Self::ImageEdits => "image_edits",
            Self::ImageVariations => "image_variations",
            Self::Speech => "speech",
            Self::Transcriptions => "transcriptions",
            Self::Translations => "translations",
            Self::Passthrough => "passthrough",
            Self::Files => "files",
            Self::Batches => "batches",
            Self::Responses => "responses",
        }
    }

    /// Whether it is one of those that are neither conversation nor embedding: their bodies are not translated, and
    /// many of them are not JSON.
    #[must_use]
    pub const fn is_media(self) -> bool {
        !matches!(self, Self::Chat | Self::Completions | Self::Embeddings)
    }
}

/// Where a settled amount comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SettlementBasis {
    /// The provider's own usage figures.
    Provider,
    /// Counted by the gateway from what was relayed.
    Counted,
    /// Estimated: the status of a dispatched request is unknown.
    Estimated,
}

impl SettlementBasis {
    /// The name in receipts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Counted => "counted",
            Self::Estimated => "estimated",
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestOutcome {
    /// A complete answer was delivered.
    Ok,
    /// The client left before the end.
    ClientClosed,
    /// The pod that served it died; it is charged as far as is known.
    Lost,
    /// It failed; the kind says how.
    Error(ErrorKind),
}

impl RequestOutcome {
    /// The name in receipts and metrics: `ok`, `client_closed`, `lost` or the error's code.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ClientClosed => "client_closed",
            Self::Lost => "lost",
            Self::Error(kind) => kind.code(),
        }
    }
}

/// How one attempt at one provider ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// It gave the answer that was relayed.
    Ok,
    /// Connection refused, reset before an answer, TLS failure.
    ConnectFailed,
    /// No answer in time.
    Timeout,
    /// 429 from the provider.
    RateLimited,
    /// 401, 402 or 403 from the provider.
    CredentialRefused,
    /// Any other 4xx: the request itself.
    Refused,
    /// 5xx from the provider.
    ServerError,
    /// An answer that is none: HTML, garbage, a wrong length.
    BadAnswer,
    /// The stream broke after it had begun.
    StreamBroken,
    /// The client left during it.
    Cancelled,
}

impl AttemptOutcome {
    /// Every outcome, in the order of declaration.
    pub const ALL: [Self; 10] = [
        Self::Ok,
        Self::ConnectFailed,
        Self::Timeout,
        Self::RateLimited,
        Self::CredentialRefused,
        Self::Refused,
        Self::ServerError,
        Self::BadAnswer,
        Self::StreamBroken,
        Self::Cancelled,
    ];

    /// The name in receipts and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ConnectFailed => "connect_failed",
            Self::Timeout => "timeout",
            Self::RateLimited => "rate_limited",
            Self::CredentialRefused => "credential_refused",
            Self::Refused => "refused",
            Self::ServerError => "server_error",
            Self::BadAnswer => "bad_answer",
            Self::StreamBroken => "stream_broken",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One attempt at one provider, with what it was charged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The configured provider's name.
    pub provider: String,
    /// The model name sent upstream.
    pub model: String,
    /// Which credential was used, where the provider has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialId>,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// HTTP status, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// When it was dispatched.
    pub started_at: UnixMillis,
    /// Milliseconds until the answer's head; until failure where there was none.
    pub first_byte_ms: u64,
    /// Milliseconds until its end.
    pub duration_ms: u64,
    /// What it is charged for beside the attempt that the event's own `charge` is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bill: Option<Box<AttemptBill>>,
}

/// The charge of an attempt that its provider may bill, though another one answered. Its lines are part of the event's
/// cost, beside those in the event's own `charge`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptBill {
    /// What is charged to the customer, rounded up by itself: the event's cost is rounded once, over all lines.
    pub cost: NanoUsd,
    /// What the provider is expected to bill, rounded up by itself.
    pub provider_cost: NanoUsd,
    /// Counts by class, contained in the event's.
    pub usage: Usage,
    /// Where the counts come from.
    pub basis: SettlementBasis,
    /// The price lines that make `cost`, before the margin.
    pub charge: Vec<ChargeLine>,
    /// The margin on those lines that are not the tenant's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<AppliedMargin>,
    /// The price lines that make `provider_cost`; `None` where they are those of `charge`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_charge: Option<Vec<ChargeLine>>,
}

/// One line of a charge: a meter's units at a price row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChargeLine {
    /// What was counted.
    pub meter: Meter,
    /// How many.
    pub units: u64,
    /// At which price per million.
    pub price: PricePerMillion,
    /// The row the price stands in; `None` for rows of the built-in catalogue, named in `source`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_row: Option<PriceId>,
    /// Whether the row is the tenant's own: no margin is put on it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tenant_price: bool,
    /// Where the price comes from: `operator`, or the catalogue's entry.
    pub source: String,
}

/// A finished request: the receipt, the journal's row and the report's source in one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageEvent {
    /// Identity for exactly-once journaling: the request's own, so that whoever finishes a request names the same.
    pub event: EventId,
    /// The request it finishes.
    pub request: RequestId,
    /// The hold it settles.
    pub hold: HoldId,
    /// Who pays.
    pub tenant: TenantId,
    /// For which project.
    pub project: ProjectId,
    /// With which key.
    pub key: KeyId,
    /// On behalf of which end user, as the client named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_user: Option<String>,
    /// Merged labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: Labels,
    /// Which surface.
    pub surface: Surface,
    /// The model as the client asked for it.
    pub requested_model: String,
    /// The provider that answered, or the last one tried that may bill it, or the last one tried.
    pub provider: String,
    /// The model there.
    pub model: String,
    /// Whether the answer was streamed.
    pub streamed: bool,
    /// When the ledger admitted it, by the ledger's clock: its periods follow from this.
    pub admitted_at: UnixMillis,
    /// When it ended.
    pub finished_at: UnixMillis,
    /// What was held.
    pub held: NanoUsd,
    /// What is charged to the customer.
    pub cost: NanoUsd,
    /// What the provider is expected to bill.
    pub provider_cost: NanoUsd,
    /// Counts by class, over all attempts that are charged.
    pub usage: Usage,
    /// The price lines that make `cost`, before the margin, together with those of attempts with a bill of their own.
    pub charge: Vec<ChargeLine>,
    /// The margin on those lines that are not the tenant's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<AppliedMargin>,
    /// The price lines that make `provider_cost`; `None` where they are those of `charge`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_charge: Option<Vec<ChargeLine>>,
    /// Where the amount comes from; attempts with a bill of their own say it for themselves.
    pub basis: SettlementBasis,
    /// How the request ended.
    pub outcome: RequestOutcome,
    /// HTTP status sent to the client (499 where it had left).
    pub status: u16,
    /// All attempts in order.
    pub attempts: Vec<Attempt>,
    /// Milliseconds from the first byte of the request to the last of the answer.
    pub duration_ms: u64,
    /// Milliseconds to the first byte of the answer's body, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<u64>,
    /// Microseconds spent inside the gateway before the request went upstream.
    pub overhead_us: u64,
    /// The policy revision the decision was made under.
    pub policy_revision: u64,
}

impl UsageEvent {
    /// The charges of attempts beside the one that `charge` is for, in order.
    pub fn bills(&self) -> impl Iterator<Item = &AttemptBill> {
        self.attempts.iter().filter_map(|attempt| attempt.bill.as_deref())
    }
}
