//! Pieces that the admin API's bodies and the configuration file share, and how each is checked.

mod alert;
mod body;
mod hold;
mod rules;
mod text;

pub use alert::ShareNumber;
pub(crate) use alert::{alert_levels, alert_shares};
pub use body::{CacheBody, CredentialBody, DataPolicyBody, LimitsBody, RetryBody, TargetBody, TimeoutsBody};
pub(crate) use body::{check_guardrails_absent, check_labels, check_patterns, check_upstream_model};
pub use hold::HoldBody;
pub use rules::{EndUserBudgetBody, EndUsersBody, ModelLimitBody};
pub(crate) use rules::{RulesChange, check_rules, model_limit_bodies};
pub use text::{MAX_NAME_CHARS, SecretText, Time, Usd};
pub(crate) use text::{limit_amount, name, retention, retention_text, time, time_zone};
