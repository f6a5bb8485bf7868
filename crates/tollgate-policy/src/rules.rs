//! What an owner (tenant, project or key) limits beside its own sum: each of its end users, and each model.

use serde::{Deserialize, Serialize};
use tollgate_domain::{BudgetId, BudgetWindow, NanoUsd};

use crate::{BudgetOwner, RateLimits};

/// The rules of one owner. Empty is no rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerRules {
    /// What holds for each end user apart.
    #[serde(default, skip_serializing_if = "EndUserRules::is_empty")]
    pub end_users: EndUserRules,
    /// What holds for requests that ask for certain models, each rule apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub model_limits: Vec<ModelLimit>,
}

/// What holds for each end user: for each value of a request's `user` apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndUserRules {
    /// Whether a request that names no end user is refused; else the rules do not hold for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// Rate limits of each end user.
    #[serde(default, skip_serializing_if = "RateLimits::is_empty")]
    pub limits: RateLimits,
    /// How much each end user may spend; one per window.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<EndUserBudget>,
}

impl EndUserRules {
    /// Whether nothing is asked for and nothing limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How much each end user may spend in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndUserBudget {
    /// Identity of the rule: a user's counter is named by [`tollgate_domain::Id::derived`] of it and the user.
    pub id: BudgetId,
    /// Over which span.
    pub window: BudgetWindow,
    /// How much.
    pub limit: NanoUsd,
}

/// Rate limits of requests for the models that a pattern names, all of them together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelLimit {
    /// The pattern, `*` as wildcard.
    pub model: String,
    /// What holds.
    pub limits: RateLimits,
}

/// Names the counter of one end user under one rule, with what its spend is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndUserCounter {
    /// The rule's identity.
    pub rule: BudgetId,
    /// Who set it.
    pub owner: BudgetOwner,
    /// Over which span.
    pub window: BudgetWindow,
    /// As the request names the user.
    pub user: String,
}
