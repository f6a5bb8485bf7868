//! The objects of policy, as the control plane sends them: plain data, parents named by id.

use serde::{Deserialize, Serialize};
use tollgate_catalog::PriceRow;
use tollgate_domain::{
    BudgetId, BudgetWindow, CredentialId, KeyHash, KeyId, KeyPepper, Labels, ModelId, NanoUsd, PriceId,
    ProjectId, ProviderId, Secret, Surface, TenantId, TimeZoneName, UnixMillis,
};
use uuid::Uuid;

use crate::{BudgetIncrease, MarginRule, OwnerRules, ResponsesMode};

/// How a tenant pays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Billing {
    /// Out of a wallet that must hold the money before the call.
    Prepaid,
    /// By invoice: only budgets limit it.
    #[default]
    Postpaid,
}

/// What a vendor keeps of requests, in days; zero is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Retention(pub u32);

/// Where a tenant's data may go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataPolicy {
    /// Allowed provider regions; empty allows all. A provider without a region never matches a list.
    pub regions: Vec<String>,
    /// Allowed provider names, `*` as wildcard; empty allows all.
    pub providers: Vec<String>,
    /// Only providers that are known to keep nothing.
    pub require_zero_retention: bool,
}

impl DataPolicy {
    /// No restriction.
    pub const OPEN: Self = Self { regions: Vec::new(), providers: Vec::new(), require_zero_retention: false };
}

impl Default for DataPolicy {
    fn default() -> Self {
        Self::OPEN
    }
}

/// Rate limits of one owner. `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RateLimits {
    /// Requests in any minute (GCRA with a burst of one minute's worth).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u64>,
    /// Tokens in any minute: reserved before, corrected after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u64>,
    /// Requests in flight at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrent_requests: Option<u64>,
}

impl RateLimits {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantPolicy {
    /// Identity.
    pub id: TenantId,
    /// Unique name.
    pub name: String,
    /// How it pays.
    pub billing: Billing,
    /// Whose calendar its budgets follow.
    pub time_zone: TimeZoneName,
    /// A blocked tenant's keys are refused.
    pub blocked: bool,
    /// Rate limits over all its keys.
    pub limits: RateLimits,
    /// What holds for each end user and each model.
    pub rules: OwnerRules,
    /// Where its data may go.
    pub data_policy: DataPolicy,
}

/// A project of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectPolicy {
    /// Identity.
    pub id: ProjectId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Unique name within the tenant.
    pub name: String,
    /// Labels that every request carries.
    pub labels: Labels,
    /// Rate limits over all its keys.
    pub limits: RateLimits,
    /// What holds for each end user and each model.
    pub rules: OwnerRules,
}

/// Whether a key may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Yes.
    #[default]
    Active,
    /// Not for now.
    Blocked,
    /// Never again.
    Revoked,
}

/// An API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPolicy {
    /// Identity.
    pub id: KeyId,
    /// Its project.
    pub project: ProjectId,
    /// Unique name within the project.
    pub name: String,
    /// Hash of the key's text.
    pub hash: KeyHash,
    /// Hash of the text before the last rotation, accepted until the given time.
    pub previous_hash: Option<(KeyHash, UnixMillis)>,
    /// Model patterns it may ask for, `*` as wildcard; empty allows all.
    pub models: Vec<String>,
    /// Rate limits.
    pub limits: RateLimits,
    /// What holds for each end user and each model.
    pub rules: OwnerRules,
    /// Refused from this time on.
    pub expires_at: Option<UnixMillis>,
    /// Whether it may be used.
    pub state: KeyState,
    /// Labels that every request carries, over the project's.
    pub labels: Labels,
}

/// The wire format a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// OpenAI's API and everything compatible with it.
    Openai,
    /// OpenAI's API on Azure: other paths and another header for the key.
    AzureOpenai,
    /// Anthropic's Messages.
    Anthropic,
    /// Google's generateContent.
    Gemini,
    /// Cohere's chat, version 2.
    Cohere,
    /// Amazon Bedrock's Converse.
    Bedrock,
    /// Google's Vertex AI: Gemini and Claude on it, and others through its OpenAI endpoint.
    Vertex,
    /// The built-in provider that answers offline.
    Demo,
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Self; 8] = [
        Self::Openai,
        Self::AzureOpenai,
        Self::Anthropic,
        Self::Gemini,
        Self::Cohere,
        Self::Bedrock,
        Self::Vertex,
        Self::Demo,
    ];

    /// The name in configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::AzureOpenai => "azure_openai",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Cohere => "cohere",
            Self::Bedrock => "bedrock",
            Self::Vertex => "vertex",
            Self::Demo => "demo",
        }
    }

    /// The dialect of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dialect| dialect.name() == name)
    }

    /// Where the vendor of the dialect answers, without the path's version; `None` where there is no one
    /// place.
    #[must_use]
    pub const fn default_base_url(self) -> Option<&'static str> {
        match self {
            Self::Openai => Some("https://api.openai.com/v1"),
            Self::Anthropic => Some("https://api.anthropic.com"),
            Self::Gemini => Some("https://generativelanguage.googleapis.com"),
            Self::Cohere => Some("https://api.cohere.com"),
            Self::AzureOpenai | Self::Bedrock | Self::Vertex | Self::Demo => None,
        }
    }
}

/// One credential of a provider, in the clear: it exists only in memory and on the policy channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialPolicy {
    /// Identity.
    pub id: CredentialId,
    /// Unique name within the provider.
    pub name: String,
    /// What is sent as the provider's dialect wants it. Amazon's keys and Google's service accounts are JSON: see
    /// [`crate::AwsCredential`] and [`crate::GoogleCredential`].
    pub secret: Secret,
    /// Share of the traffic, relative to its siblings; at least 1.
    pub weight: u32,
}

/// A configured provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderPolicy {
    /// Identity.
    pub id: ProviderId,
    /// Unique name: the first segment of `provider/model`.
    pub name: String,
    /// What it speaks.
    pub dialect: Dialect,
    /// Where it is, without a trailing slash (`https://api.openai.com/v1`); empty for `demo`.
    pub base_url: String,
    /// Its credentials; may be empty (a provider that asks for none).
    pub credentials: Vec<CredentialPolicy>,
    /// Where the data goes.
    pub region: Option<String>,
    /// What the vendor keeps; unknown where `None`.
    pub retention: Option<Retention>,
    /// Whether the vendor trains on the data; unknown where `None`.
    pub trains_on_data: Option<bool>,
    /// Requests in flight per pod, at most.
    pub max_concurrent_requests: Option<u32>,
    /// How it is asked for Responses; what the catalogue says of its vendor where `None`.
    pub responses: Option<ResponsesMode>,
}

/// In which order a virtual model's targets are tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// By ascending `priority`, then as listed.
    #[default]
    Priority,
}

/// One target of a virtual model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The provider.
    pub provider: ProviderId,
    /// The model's name there.
    pub model: String,
    /// Lower goes first.
    pub priority: u32,
}

/// A class of failure after which the next candidate is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryOn {
    /// No answer in time.
    Timeout,
    /// No connection, or it broke before an answer.
    Connect,
    /// 429.
    RateLimited,
    /// 5xx and answers that are none.
    ServerError,
}

impl RetryOn {
    /// Every class.
    pub const ALL: [Self; 4] = [Self::Timeout, Self::Connect, Self::RateLimited, Self::ServerError];
}

/// How often and after what a request is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Attempts in all, the first included; at least 1.
    pub max_attempts: u32,
    /// Base of the jittered wait before trying the same provider again, in milliseconds.
    pub backoff_ms: u64,
    /// After which failures.
    pub on: Vec<RetryOn>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { max_attempts: 3, backoff_ms: 200, on: RetryOn::ALL.to_vec() }
    }
}

/// Time limits of a request, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// To connect to the provider.
    pub connect_ms: u64,
    /// From dispatch to the head of the answer.
    pub first_byte_ms: u64,
    /// Between two pieces of the answer.
    pub idle_ms: u64,
    /// For everything.
    pub total_ms: u64,
}

impl Default for Timeouts {
    /// `api.md`'s example, with a first byte that leaves room for slow reasoning models.
    fn default() -> Self {
        Self { connect_ms: 2_000, first_byte_ms: 60_000, idle_ms: 60_000, total_ms: 600_000 }
    }
}

/// Whether streams can hold for that many answer tokens at a time: zero is the whole answer, and a slice must
/// be worth its round trip.
#[must_use]
pub const fn is_hold_slice(tokens: u32) -> bool {
    tokens == 0 || (tokens >= MIN_HOLD_SLICE_TOKENS && tokens <= MAX_HOLD_SLICE_TOKENS)
}

/// The smallest slice: as many answer tokens as a request must be able to pay for at all.
pub const MIN_HOLD_SLICE_TOKENS: u32 = 256;
/// The largest slice: no model answers with more.
pub const MAX_HOLD_SLICE_TOKENS: u32 = 1_000_000;

/// A virtual model: what applications ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelPolicy {
    /// Identity.
    pub id: ModelId,
    /// Unique name.
    pub name: String,
    /// Order of the targets.
    pub strategy: Strategy,
    /// Where it leads; at least one.
    pub targets: Vec<Target>,
    /// Virtual models whose targets follow after its own.
    pub fallbacks: Vec<String>,
    /// Retries.
    pub retry: RetryPolicy,
    /// Time limits.
    pub timeouts: Timeouts,
    /// Answer tokens that a stream holds for at a time; zero for the whole answer, `None` for what
    /// [`Settings::hold_slice_tokens`] says.
    pub hold_slice_tokens: Option<u32>,
    /// What a target lacks is left out where that is harmless, rather than refused.
    pub drop_unsupported: bool,
}

/// What a budget limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "scope", content = "id")]
pub enum BudgetOwner {
    /// Everything a tenant spends.
    Tenant(TenantId),
    /// Everything a project spends.
    Project(ProjectId),
    /// Everything a key spends.
    Key(KeyId),
}

/// A budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetPolicy {
    /// Identity; also the ledger's node.
    pub id: BudgetId,
    /// What it limits.
    pub owner: BudgetOwner,
    /// Over which span.
    pub window: BudgetWindow,
    /// How much.
    pub limit: NanoUsd,
    /// What is added to it for a time; some may be over.
    pub increases: Vec<BudgetIncrease>,
}

/// What concerns the whole installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Under which keys are hashed.
    pub key_pepper: KeyPepper,
    /// The model of requests that name none, per surface.
    pub default_models: Vec<(Surface, String)>,
    /// Answer tokens that a stream holds for at a time where its model does not say; zero or `None` for the
    /// whole answer.
    pub hold_slice_tokens: Option<u32>,
}

/// Which collection an object belongs to. The order is that of dependence: parents before children.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectKind {
    /// [`Settings`]
    Settings,
    /// [`ProviderPolicy`]
    Provider,
    /// [`PriceRow`] of an operator
    Price,
    /// [`MarginRule`]
    Margin,
    /// [`ModelPolicy`]
    Model,
    /// [`TenantPolicy`]
    Tenant,
    /// [`ProjectPolicy`]
    Project,
    /// [`KeyPolicy`]
    Key,
    /// [`BudgetPolicy`]
    Budget,
}

impl ObjectKind {
    /// The name in logs, metrics and the change table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Provider => "provider",
            Self::Price => "price",
            Self::Margin => "margin",
            Self::Model => "model",
            Self::Tenant => "tenant",
            Self::Project => "project",
            Self::Key => "key",
            Self::Budget => "budget",
        }
    }
}

/// Any policy object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyObject {
    /// The installation.
    Settings(Settings),
    /// A provider.
    Provider(ProviderPolicy),
    /// An operator's price row; its `id` is set.
    Price(PriceRow),
    /// A margin rule.
    Margin(MarginRule),
    /// A virtual model.
    Model(ModelPolicy),
    /// A tenant.
    Tenant(TenantPolicy),
    /// A project.
    Project(ProjectPolicy),
    /// A key.
    Key(KeyPolicy),
    /// A budget.
    Budget(BudgetPolicy),
}

impl PolicyObject {
    /// Which collection it belongs to and under which identity (settings: zero).
    #[must_use]
    pub fn reference(&self) -> crate::ObjectRef {
        let (kind, id) = match self {
            Self::Settings(_) => (ObjectKind::Settings, Uuid::nil()),
            Self::Provider(provider) => (ObjectKind::Provider, provider.id.as_uuid()),
            Self::Price(row) => (ObjectKind::Price, row.id.map_or(Uuid::nil(), |id: PriceId| id.as_uuid())),
            Self::Margin(rule) => (ObjectKind::Margin, rule.id.as_uuid()),
            Self::Model(model) => (ObjectKind::Model, model.id.as_uuid()),
            Self::Tenant(tenant) => (ObjectKind::Tenant, tenant.id.as_uuid()),
            Self::Project(project) => (ObjectKind::Project, project.id.as_uuid()),
            Self::Key(key) => (ObjectKind::Key, key.id.as_uuid()),
            Self::Budget(budget) => (ObjectKind::Budget, budget.id.as_uuid()),
        };
        crate::ObjectRef { kind, id }
    }
}
