//! The control plane: what administrators do ([`app`](App)), how it becomes policy for the pods, and the
//! jobs that carry finished requests into the journal.
//!
//! Start with [`Control::start`], which wires everything and owns its tasks. [`App`] holds the use cases: each
//! takes the [`Actor`] first and authorizes before it looks at anything. [`ConfigDocument`] is the
//! configuration file as data; applying it goes through the same use cases.

mod actor;
mod app;
mod compile;
mod config;
mod control;
mod error;
mod grpc;
mod jobs;
mod nodes;
mod parts;
mod policy_feed;
mod roster;
mod secrets;
#[cfg(test)]
mod tests;
mod webhooks;

pub use actor::{Action, Actor, AdminLogins, Resource, ResourceOwner, Role, Verb, authorize, authorize_some};
pub use app::*;
pub use config::{
    ApplyOptions, ApplyReport, Change, ChangeAction, ConfigBudget, ConfigDocument, ConfigKey, ConfigMargin,
    ConfigModel, ConfigPrice, ConfigProblem, ConfigProject, ConfigProvider, ConfigTenant, ConfigWebhook,
    GeneratedSecret, KnownNames, validate, validate_against,
};
pub use control::{Control, ControlConfig, ControlError, LocalPod, RecoveryStatus};
pub use error::{AppError, FieldProblem};
pub use jobs::{AlertStatus, DriftStatus, JournalStatus, RecoveredReport, journal_recovered};
pub use parts::{
    CacheBody, CredentialBody, DataPolicyBody, EndUserBudgetBody, EndUsersBody, HoldBody, LimitsBody,
    MAX_NAME_CHARS, ModelLimitBody, RetryBody, SecretText, ShareNumber, TargetBody, Time, TimeoutsBody, Usd,
};
pub use policy_feed::PolicyVersion;
pub use secrets::{MasterKey, SecretsError};
pub use webhooks::{WebhookMessage, WebhookTransport};
