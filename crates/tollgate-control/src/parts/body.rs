//! Structured pieces: limits, data policy, retries, time limits, targets, credentials.

use std::fmt;

use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use tollgate_domain::Labels;
use tollgate_policy::{DataPolicy, RateLimits, RetryOn, RetryPolicy, Timeouts};
use utoipa::ToSchema;

use super::text::{SecretText, duration_ms, duration_text, name};
use crate::error::Problems;

/// Rate limits of one owner; an absent one is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsBody {
    /// Requests in any minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub requests_per_minute: Option<u64>,
    /// Tokens in any minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub tokens_per_minute: Option<u64>,
    /// Requests in flight at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub concurrent_requests: Option<u64>,
}

/// Largest rate limit: the ledger computes in doubles, which are exact to 2⁵³; this leaves room for sums.
const MAX_RATE_LIMIT: u64 = 1_000_000_000_000;

impl LimitsBody {
    /// Whether nothing is limited.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn check(&self, path: &str, problems: &mut Problems) -> RateLimits {
        let limits = [
            ("requests_per_minute", self.requests_per_minute),
            ("tokens_per_minute", self.tokens_per_minute),
            ("concurrent_requests", self.concurrent_requests),
        ];
        for (field, limit) in limits {
            if limit.is_some_and(|limit| !(1..=MAX_RATE_LIMIT).contains(&limit)) {
                problems.add(format!("{path}.{field}"), format!("must be within 1 and {MAX_RATE_LIMIT}"));
            }
        }
        RateLimits {
            requests_per_minute: self.requests_per_minute,
            tokens_per_minute: self.tokens_per_minute,
            concurrent_requests: self.concurrent_requests,
        }
    }
}

impl From<RateLimits> for LimitsBody {
    fn from(limits: RateLimits) -> Self {
        Self {
            requests_per_minute: limits.requests_per_minute,
            tokens_per_minute: limits.tokens_per_minute,
            concurrent_requests: limits.concurrent_requests,
        }
    }
}

/// Where a tenant's data may go, and what is kept of it here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DataPolicyBody {
    /// Allowed provider regions; empty allows all.
    #[serde(default)]
    pub regions: Vec<String>,
    /// Allowed provider names, `*` as wildcard; empty allows all.
    #[serde(default)]
    pub providers: Vec<String>,
    /// Only providers that are known to keep nothing.
    #[serde(default)]
    pub require_zero_retention: bool,
    /// What of prompts and answers is logged: `none` for now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "none")]
    pub log_payloads: Option<String>,
    /// For how long logged payloads are kept; without effect while nothing is logged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<u32>,
}

impl DataPolicyBody {
    /// Whether it says no more than an absent one.
    pub(crate) fn is_empty(&self) -> bool {
        self.short() == Self::default()
    }

    /// The same, saying nothing that an absent field says as well.
    fn short(&self) -> Self {
        let log_payloads = self.log_payloads.clone().filter(|what| what != "none");
        Self { log_payloads, ..self.clone() }
    }

    /// Writes only what an absent field would not say as well.
    pub(crate) fn serialize_short<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let short = self.short();
        let mut map = serializer.serialize_map(None)?;
        if !short.regions.is_empty() {
            map.serialize_entry("regions", &short.regions)?;
        }
        if !short.providers.is_empty() {
            map.serialize_entry("providers", &short.providers)?;
        }
        if short.require_zero_retention {
            map.serialize_entry("require_zero_retention", &true)?;
        }
        if let Some(what) = &short.log_payloads {
            map.serialize_entry("log_payloads", what)?;
        }
        if let Some(days) = short.retention_days {
            map.serialize_entry("retention_days", &days)?;
        }
        map.end()
    }

    pub(crate) fn check(&self, path: &str, problems: &mut Problems) -> DataPolicy {
        if let Some(what) = self.log_payloads.as_deref().filter(|what| *what != "none") {
            problems
                .add(format!("{path}.log_payloads"), format!("not supported yet: `{what}`; write `none`"));
        }
        check_patterns(&self.regions, &format!("{path}.regions"), problems);
        check_patterns(&self.providers, &format!("{path}.providers"), problems);
        DataPolicy {
            regions: self.regions.clone(),
            providers: self.providers.clone(),
            require_zero_retention: self.require_zero_retention,
        }
    }
}

impl From<DataPolicy> for DataPolicyBody {
    fn from(policy: DataPolicy) -> Self {
        Self {
            regions: policy.regions,
            providers: policy.providers,
            require_zero_retention: policy.require_zero_retention,
            log_payloads: Some("none".to_owned()),
            retention_days: None,
        }
    }
}

/// How often and after what a request is tried again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryBody {
    /// Attempts in all, the first included; 3 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 10)]
    pub max_attempts: Option<u32>,
    /// Base of the wait before the same provider is tried again; `200ms` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "200ms")]
    pub backoff: Option<String>,
    /// After which failures: `timeout`, `connect`, `rate_limited`, `server_error`; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<Vec<String>>,
}

/// More attempts than this only multiply an outage.
const MAX_ATTEMPTS: u32 = 10;

const RETRY_NAMES: [(&str, RetryOn); 4] = [
    ("timeout", RetryOn::Timeout),
    ("connect", RetryOn::Connect),
    ("rate_limited", RetryOn::RateLimited),
    ("server_error", RetryOn::ServerError),
];

impl RetryBody {
    pub(crate) fn check(&self, path: &str, problems: &mut Problems) -> RetryPolicy {
        let mut policy = RetryPolicy::default();
        if let Some(max_attempts) = self.max_attempts {
            if !(1..=MAX_ATTEMPTS).contains(&max_attempts) {
                problems.add(format!("{path}.max_attempts"), format!("must be within 1 and {MAX_ATTEMPTS}"));
            }
            policy.max_attempts = max_attempts;
        }
        if let Some(backoff) = &self.backoff {
            let backoff_ms = problems.take(format!("{path}.backoff"), duration_ms(backoff));
            policy.backoff_ms = backoff_ms.unwrap_or(policy.backoff_ms);
        }
        if let Some(classes) = &self.on {
            policy.on.clear();
            for (index, class) in classes.iter().enumerate() {
                match RETRY_NAMES.iter().find(|(name, _)| name == class) {
                    Some((_, class)) => policy.on.push(*class),
                    None => problems.add(
                        format!("{path}.on[{index}]"),
                        "must be one of timeout, connect, rate_limited, server_error",
                    ),
                }
            }
        }
        policy
    }
}

impl From<&RetryPolicy> for RetryBody {
    fn from(policy: &RetryPolicy) -> Self {
        let name =
            |class: &RetryOn| RETRY_NAMES.iter().find(|(_, known)| known == class).map(|(name, _)| *name);
        Self {
            max_attempts: Some(policy.max_attempts),
            backoff: Some(duration_text(policy.backoff_ms)),
            on: Some(policy.on.iter().filter_map(name).map(str::to_owned).collect()),
        }
    }
}

/// Time limits of a request, as durations like `2s`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeoutsBody {
    /// To connect to the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "2s")]
    pub connect: Option<String>,
    /// From dispatch to the head of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte: Option<String>,
    /// Between two pieces of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<String>,
    /// For everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<String>,
}

impl TimeoutsBody {
    pub(crate) fn check(&self, path: &str, problems: &mut Problems) -> Timeouts {
        let mut timeouts = Timeouts::default();
        let fields = [
            ("connect", &self.connect, &mut timeouts.connect_ms),
            ("first_byte", &self.first_byte, &mut timeouts.first_byte_ms),
            ("idle", &self.idle, &mut timeouts.idle_ms),
            ("total", &self.total, &mut timeouts.total_ms),
        ];
        for (field, text, slot) in fields {
            let Some(text) = text else { continue };
            let path = format!("{path}.{field}");
            match duration_ms(text) {
                Ok(0) => problems.add(path, "must be longer than nothing"),
                Ok(ms) => *slot = ms,
                Err(message) => problems.add(path, message),
            }
        }
        timeouts
    }
}

impl From<&Timeouts> for TimeoutsBody {
    fn from(timeouts: &Timeouts) -> Self {
        Self {
            connect: Some(duration_text(timeouts.connect_ms)),
            first_byte: Some(duration_text(timeouts.first_byte_ms)),
            idle: Some(duration_text(timeouts.idle_ms)),
            total: Some(duration_text(timeouts.total_ms)),
        }
    }
}

/// One target of a virtual model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetBody {
    /// The provider's name.
    pub provider: String,
    /// The model's name there, sent as it is.
    pub model: String,
    /// Lower goes first; 0 where absent.
    #[serde(default)]
    pub priority: u32,
    /// Share of the traffic among equals: 1 for now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
}

/// Longest model name of a provider.
const MAX_MODEL_CHARS: usize = 256;

impl TargetBody {
    pub(crate) fn check(&self, path: &str, problems: &mut Problems) {
        check_upstream_model(&self.model, &format!("{path}.model"), problems);
        if let Some(weight) = self.weight.filter(|weight| *weight != 1) {
            problems.add(format!("{path}.weight"), format!("not supported yet: `{weight}`; write 1"));
        }
    }
}

/// A model's name at a provider: anything visible.
pub(crate) fn check_upstream_model(model: &str, path: &str, problems: &mut Problems) {
    let is_visible = model.chars().all(|letter| !letter.is_control() && !letter.is_whitespace());
    if model.is_empty() || model.len() > MAX_MODEL_CHARS || !is_visible {
        problems.add(path, format!("must be 1 to {MAX_MODEL_CHARS} visible characters"));
    }
}

/// One credential of a provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialBody {
    /// Unique name within the provider.
    pub name: String,
    /// What is sent as the dialect wants it; for `bedrock` an API key or, beside `access_key_id`, a secret access key;
    /// for `vertex` a service account's JSON. It is never shown again; absent keeps the stored one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretText>,
    /// For `bedrock`: the access key that `secret` belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "AKIAIOSFODNN7EXAMPLE")]
    pub access_key_id: Option<String>,
    /// For `bedrock`: what temporary access keys come with. It is never shown again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token: Option<SecretText>,
    /// In configuration files: where the secret is read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<String>,
    /// Share of the traffic; 1 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub weight: Option<u32>,
}

/// Largest weight of a credential: sums of weights must not overflow.
const MAX_WEIGHT: u32 = 1_000_000;
/// Longest secret of a provider; it is sent as a header.
const MAX_SECRET_CHARS: usize = 8_192;

impl CredentialBody {
    pub(crate) fn check(&self, path: &str, problems: &mut Problems) {
        problems.take(format!("{path}.name"), name(&self.name));
        if self.weight.is_some_and(|weight| !(1..=MAX_WEIGHT).contains(&weight)) {
            problems.add(format!("{path}.weight"), format!("must be within 1 and {MAX_WEIGHT}"));
        }
        if self.secret_file.is_some() {
            problems.add(format!("{path}.secret_file"), "is read by the command line only: send `secret`");
        }
        let is_part = self.access_key_id.is_some() || self.session_token.is_some();
        let Some(secret) = &self.secret else {
            if is_part {
                problems
                    .add(format!("{path}.secret"), "is missing: `access_key_id` needs the secret beside it");
            }
            return;
        };
        let text = secret.0.expose();
        let is_line = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        let is_document = text.trim_start().starts_with('{') && !is_part;
        let may_be = |byte: u8| is_line(byte) || (is_document && byte.is_ascii_whitespace());
        if secret.is_blank() {
            problems.add(format!("{path}.secret"), "is empty: set the variable or file it comes from");
        } else if text.len() > MAX_SECRET_CHARS || !text.bytes().all(may_be) {
            problems.add(
                format!("{path}.secret"),
                format!("must be at most {MAX_SECRET_CHARS} ASCII characters of one line"),
            );
        }
    }

    /// What is kept: the secret, or JSON of an access key with its parts.
    pub(crate) fn kept_secret(&self) -> Option<SecretText> {
        let secret = self.secret.as_ref()?;
        let Some(access_key_id) = &self.access_key_id else { return Some(secret.clone()) };
        let token = self.session_token.as_ref().filter(|token| !token.is_blank());
        let keys = serde_json::json!({
            "access_key_id": access_key_id,
            "secret_access_key": secret.0.expose(),
            "session_token": token.map(|token| token.0.expose()),
        });
        Some(SecretText::new(keys.to_string()))
    }
}

/// Whether answers are cached: `off` for now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CacheBody {
    /// `off`.
    #[serde(deserialize_with = "cache_mode")]
    #[schema(example = "off")]
    pub mode: String,
    /// For how long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
}

impl CacheBody {
    pub(crate) fn check(&self, path: &str, problems: &mut Problems) {
        if self.mode != "off" {
            problems.add(format!("{path}.mode"), format!("not supported yet: `{}`; write `off`", self.mode));
        }
        if let Some(ttl) = &self.ttl {
            problems.take(format!("{path}.ttl"), duration_ms(ttl));
        }
    }
}

/// `off` is a boolean to YAML 1.1 readers.
fn cache_mode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    struct Mode;
    impl serde::de::Visitor<'_> for Mode {
        type Value = String;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("off")
        }
        fn visit_bool<E: serde::de::Error>(self, is_on: bool) -> Result<String, E> {
            Ok(if is_on { "on" } else { "off" }.to_owned())
        }
        fn visit_str<E: serde::de::Error>(self, mode: &str) -> Result<String, E> {
            Ok(mode.to_owned())
        }
    }
    deserializer.deserialize_any(Mode)
}

/// Guardrails come later: a list of them must be empty.
pub(crate) fn check_guardrails_absent(guardrails: &[Value], path: &str, problems: &mut Problems) {
    if !guardrails.is_empty() {
        problems.add(path, "not supported yet: guardrails; leave the list empty");
    }
}

/// Most patterns in one list.
const MAX_PATTERNS: usize = 1_000;

/// Patterns of names with `*` as wildcard.
pub(crate) fn check_patterns(patterns: &[String], path: &str, problems: &mut Problems) {
    if patterns.len() > MAX_PATTERNS {
        problems.add(path, format!("has more than {MAX_PATTERNS} entries"));
    }
    for (index, pattern) in patterns.iter().enumerate() {
        let is_visible = pattern.chars().all(|letter| !letter.is_control() && !letter.is_whitespace());
        if pattern.is_empty() || pattern.len() > MAX_MODEL_CHARS || !is_visible {
            problems.add(
                format!("{path}[{index}]"),
                format!("must be 1 to {MAX_MODEL_CHARS} visible characters"),
            );
        }
    }
}

/// Most labels on one object: they travel with every request.
const MAX_LABELS: usize = 32;
/// Longest value of a label.
const MAX_LABEL_CHARS: usize = 256;

/// Labels: names as of anything, values short and of one line.
pub(crate) fn check_labels(labels: &Labels, path: &str, problems: &mut Problems) {
    if labels.len() > MAX_LABELS {
        problems.add(path, format!("has more than {MAX_LABELS} labels"));
    }
    for (label, value) in labels {
        problems.take(format!("{path}.{label}"), name(label));
        if value.chars().count() > MAX_LABEL_CHARS || value.chars().any(char::is_control) {
            problems.add(
                format!("{path}.{label}"),
                format!("must be one line of at most {MAX_LABEL_CHARS} characters"),
            );
        }
    }
}
