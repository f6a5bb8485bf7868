//! The configuration file as data: its fields, its checks, making the installation match it, and writing the
//! installation down as one.

mod apply;
mod diff;
mod document;
mod export;
mod hold;
mod margins;
mod prices;
mod tenants;
mod validate;
mod webhooks;

pub use apply::{ApplyOptions, ApplyReport, Change, ChangeAction, GeneratedSecret};
pub use document::{
    ConfigBudget, ConfigDocument, ConfigKey, ConfigMargin, ConfigModel, ConfigPrice, ConfigProblem,
    ConfigProject, ConfigProvider, ConfigTenant, ConfigWebhook,
};
pub use validate::{KnownNames, validate, validate_against};

/// The only version of the document there is.
pub(crate) const VERSION: u32 = 1;
/// The reference of the credit that a tenant's entry grants at its creation.
pub(crate) const INITIAL_CREDIT: &str = "config:initial-credit";
