//! A price is a row: which meter of which model costs how much from when, never a field-name suffix.

use serde::{Deserialize, Serialize};
use tollgate_domain::{Meter, PriceId, PricePerMillion, TenantId, UnixMillis};

/// The model name of a row that prices whatever has no row of its own at that provider.
pub const ANY_MODEL: &str = "*";

/// The provider's processing class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceTier {
    /// What a request gets that asks for nothing.
    #[default]
    Standard,
    /// Cheaper and slower.
    Flex,
    /// Dearer and faster.
    Priority,
    /// Asynchronous batches.
    Batch,
}

impl ServiceTier {
    /// Every tier, in the order of declaration.
    pub const ALL: [Self; 4] = [Self::Standard, Self::Flex, Self::Priority, Self::Batch];

    /// The name in price rows.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Flex => "flex",
            Self::Priority => "priority",
            Self::Batch => "batch",
        }
    }

    /// The tier of that name; OpenAI's `auto` and `default` are the standard tier.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "standard" | "auto" | "default" => Some(Self::Standard),
            "flex" => Some(Self::Flex),
            "priority" => Some(Self::Priority),
            "batch" => Some(Self::Batch),
            _ => None,
        }
    }
}

/// One immutable price. `meter: None` marks the model as free of charge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceRow {
    /// Identity of an operator's row; `None` in the built-in catalogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<PriceId>,
    /// Only for this tenant; for all where `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// The configured provider's name (the vendor's, in the catalogue).
    pub provider: String,
    /// The model's name there, or [`ANY_MODEL`].
    pub model: String,
    /// From when it holds.
    pub effective_from: UnixMillis,
    /// What it prices; `None`: the model is free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meter: Option<Meter>,
    /// For which processing class.
    #[serde(default)]
    pub service_tier: ServiceTier,
    /// From how many prompt tokens on.
    #[serde(default)]
    pub context_from: u64,
    /// Nano-USD per million units.
    pub price: PricePerMillion,
    /// Where it comes from: `operator`, or the vendor's page.
    pub source: String,
}
