//! The rules of an owner, ready for use on a request's way.

use std::sync::Arc;

use tollgate_domain::{Id, TimeZoneName};
use uuid::Uuid;

use crate::access::{matches_pattern, scope_of};
use crate::{BudgetOwner, BudgetScope, BudgetSpec, OwnerRules, RateLimits};

/// What rate limits that are kept for each value of a text are named after: their owner.
#[derive(Debug)]
enum RuleMarker {}

/// Rate limits of each end user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndUserLimits {
    /// Who set them.
    pub scope: BudgetScope,
    /// Which.
    pub limits: RateLimits,
    owner: Id<RuleMarker>,
}

impl EndUserLimits {
    /// Names what is counted for `user`.
    #[must_use]
    pub fn hash_of(&self, user: &str) -> u64 {
        Id::<RuleMarker>::derived(self.owner, user).short_hash()
    }
}

/// Rate limits of requests for the models that a pattern names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelLimitSpec {
    /// Who set them.
    pub scope: BudgetScope,
    /// The pattern, `*` as wildcard.
    pub pattern: String,
    /// Which.
    pub limits: RateLimits,
    /// Names what is counted.
    pub hash: u64,
}

impl ModelLimitSpec {
    /// Whether a request for the model of this name is counted.
    #[must_use]
    pub fn names(&self, model: &str) -> bool {
        matches_pattern(&self.pattern, model)
    }
}

/// The rules of one owner.
#[derive(Debug)]
pub struct OwnerSpecs {
    /// Whether a request that names no end user is refused.
    pub requires_end_user: bool,
    /// The budgets of each end user; their `budget` is the rule's identity.
    pub end_user_budgets: Vec<Arc<BudgetSpec>>,
    /// The rate limits of each end user, where there are any.
    pub end_user_limits: Option<EndUserLimits>,
    /// The limits of models, each counted apart.
    pub model_limits: Vec<ModelLimitSpec>,
}

impl OwnerSpecs {
    /// The rules of `owner`; `None` where there are none.
    pub(crate) fn of(rules: &OwnerRules, owner: BudgetOwner, zone: &TimeZoneName) -> Option<Self> {
        if *rules == OwnerRules::default() {
            return None;
        }
        let scope = scope_of(owner);
        let base: Id<RuleMarker> = Id::from_uuid(owner_uuid(owner));
        let end_users = &rules.end_users;
        let budgets = end_users.budgets.iter();
        let limits = end_users.limits;
        let model_limits = rules.model_limits.iter().map(|limit| ModelLimitSpec {
            scope,
            pattern: limit.model.clone(),
            limits: limit.limits,
            hash: Id::<RuleMarker>::derived(base, &limit.model).short_hash(),
        });
        Some(Self {
            requires_end_user: end_users.required,
            end_user_budgets: budgets
                .map(|rule| Arc::new(BudgetSpec::of_end_users(rule, owner, zone.clone())))
                .collect(),
            end_user_limits: (!limits.is_empty()).then_some(EndUserLimits { scope, limits, owner: base }),
            model_limits: model_limits.collect(),
        })
    }
}

fn owner_uuid(owner: BudgetOwner) -> Uuid {
    match owner {
        BudgetOwner::Tenant(id) => id.as_uuid(),
        BudgetOwner::Project(id) => id.as_uuid(),
        BudgetOwner::Key(id) => id.as_uuid(),
    }
}
