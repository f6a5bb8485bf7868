//! Rules about end users and models, as the admin API and the configuration file write them.

use serde::{Deserialize, Serialize};
use tollgate_domain::{BudgetId, BudgetWindow, NanoUsd};
use tollgate_policy::{EndUserBudget, EndUserRules, ModelLimit, OwnerRules};
use utoipa::ToSchema;

use super::body::{LimitsBody, check_patterns};
use super::text::limit_amount;
use crate::app::BudgetWindowName;
use crate::error::Problems;

/// Rules about models that one owner may have: each is looked at for every request.
const MAX_MODEL_LIMITS: usize = 100;

/// What holds for each end user: for each value of a request's `user` apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndUsersBody {
    /// Whether a request that names no end user is refused; else the rules do not hold for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// Rate limits of each end user.
    #[serde(default, skip_serializing_if = "LimitsBody::is_empty")]
    pub limits: LimitsBody,
    /// How much each end user may spend; one budget per window.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<EndUserBudgetBody>,
}

/// How much each end user may spend in a window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndUserBudgetBody {
    /// How much, in USD.
    #[schema(example = "1.00")]
    pub limit: String,
    /// Over which span.
    pub window: BudgetWindowName,
}

/// Rate limits of requests for the models that a pattern names; an absent limit is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelLimitBody {
    /// The model as clients ask for it, `*` as wildcard. All that a pattern names is counted together.
    #[schema(example = "chat-*")]
    pub model: String,
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

/// A rule's identity before it has one.
const NO_ID: BudgetId = BudgetId::from_u128(0);

impl EndUsersBody {
    /// Whether nothing is asked for and nothing limited.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The rules, whose budgets have no identities yet.
    pub(crate) fn check(&self, path: &str, problems: &mut Problems) -> EndUserRules {
        let limits = self.limits.check(&format!("{path}.limits"), problems);
        let mut budgets: Vec<EndUserBudget> = Vec::with_capacity(self.budgets.len());
        for (index, budget) in self.budgets.iter().enumerate() {
            let path = format!("{path}.budgets[{index}]");
            let window = BudgetWindow::from(budget.window);
            if budgets.iter().any(|known| known.window == window) {
                problems.add(format!("{path}.window"), "end users have one budget per window here");
            }
            let limit = problems.take(format!("{path}.limit"), limit_amount(&budget.limit));
            budgets.push(EndUserBudget { id: NO_ID, window, limit: limit.unwrap_or(NanoUsd::ZERO) });
        }
        budgets.sort_by_key(|budget| budget.window);
        EndUserRules { required: self.required, limits, budgets }
    }
}

impl From<&EndUserRules> for EndUsersBody {
    fn from(rules: &EndUserRules) -> Self {
        let budget = |budget: &EndUserBudget| EndUserBudgetBody {
            limit: budget.limit.to_string(),
            window: budget.window.into(),
        };
        Self {
            required: rules.required,
            limits: rules.limits.into(),
            budgets: rules.budgets.iter().map(budget).collect(),
        }
    }
}

impl ModelLimitBody {
    fn limits(&self) -> LimitsBody {
        LimitsBody {
            requests_per_minute: self.requests_per_minute,
            tokens_per_minute: self.tokens_per_minute,
            concurrent_requests: self.concurrent_requests,
        }
    }
}

impl From<&ModelLimit> for ModelLimitBody {
    fn from(limit: &ModelLimit) -> Self {
        Self {
            model: limit.model.clone(),
            requests_per_minute: limit.limits.requests_per_minute,
            tokens_per_minute: limit.limits.tokens_per_minute,
            concurrent_requests: limit.limits.concurrent_requests,
        }
    }
}

/// The limits per model, as they are written.
pub(crate) fn model_limit_bodies(limits: &[ModelLimit]) -> Vec<ModelLimitBody> {
    limits.iter().map(ModelLimitBody::from).collect()
}

pub(crate) fn check_model_limits(
    limits: &[ModelLimitBody],
    path: &str,
    problems: &mut Problems,
) -> Vec<ModelLimit> {
    if limits.len() > MAX_MODEL_LIMITS {
        problems.add(path, format!("has more than {MAX_MODEL_LIMITS} entries"));
    }
    let mut checked: Vec<ModelLimit> = Vec::with_capacity(limits.len());
    for (index, limit) in limits.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let mut in_pattern = Problems::default();
        check_patterns(std::slice::from_ref(&limit.model), "", &mut in_pattern);
        for problem in in_pattern.into_vec() {
            problems.add(format!("{path}.model"), problem.message);
        }
        if checked.iter().any(|known| known.model == limit.model) {
            problems.add(format!("{path}.model"), "stands here twice: write its limits into one entry");
        }
        if limit.limits().is_empty() {
            problems.add(&path, "limits nothing: write a limit, or leave the entry out");
        }
        let limits = limit.limits().check(&path, problems);
        checked.push(ModelLimit { model: limit.model.clone(), limits });
    }
    checked
}

/// Both kinds of rules of an owner that is to be created; no identities yet.
pub(crate) fn check_rules(
    end_users: &EndUsersBody,
    model_limits: &[ModelLimitBody],
    path: &str,
    problems: &mut Problems,
) -> OwnerRules {
    OwnerRules {
        end_users: end_users.check(&format!("{path}end_users"), problems),
        model_limits: check_model_limits(model_limits, &format!("{path}model_limits"), problems),
    }
}

/// Changes to an owner's rules: absent is unchanged.
#[derive(Clone, Debug, Default)]
pub(crate) struct RulesChange {
    pub(crate) end_users: Option<EndUserRules>,
    pub(crate) model_limits: Option<Vec<ModelLimit>>,
}

impl RulesChange {
    /// From a PATCH's fields: absent is unchanged, `null` is none.
    #[expect(clippy::option_option, reason = "three states: absent, null, a value")]
    pub(crate) fn check(
        end_users: Option<Option<EndUsersBody>>,
        model_limits: Option<Option<Vec<ModelLimitBody>>>,
        problems: &mut Problems,
    ) -> Self {
        Self {
            end_users: end_users.map(|body| body.unwrap_or_default().check("end_users", problems)),
            model_limits: model_limits
                .map(|bodies| check_model_limits(&bodies.unwrap_or_default(), "model_limits", problems)),
        }
    }

    /// Changes `rules`. A budget of a window that there was one for keeps its identity, and with it what was
    /// counted.
    pub(crate) fn apply(&self, rules: &mut OwnerRules) {
        if let Some(wanted) = &self.end_users {
            let mut wanted = wanted.clone();
            for budget in &mut wanted.budgets {
                let known = rules.end_users.budgets.iter().find(|known| known.window == budget.window);
                budget.id = known.map_or(budget.id, |known| known.id);
            }
            rules.end_users = wanted;
        }
        if let Some(wanted) = &self.model_limits {
            rules.model_limits.clone_from(wanted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(end_users: &serde_json::Value, model_limits: &serde_json::Value) -> Vec<String> {
        let end_users: EndUsersBody = serde_json::from_value(end_users.clone()).unwrap();
        let model_limits: Vec<ModelLimitBody> = serde_json::from_value(model_limits.clone()).unwrap();
        let mut problems = Problems::default();
        let _ = check_rules(&end_users, &model_limits, "", &mut problems);
        problems.into_vec().iter().map(|problem| problem.path.clone()).collect()
    }

    #[test]
    fn problems_are_named_by_field() {
        let end_users = serde_json::json!({
            "limits": { "requests_per_minute": 0 },
            "budgets": [
                { "limit": "1.00", "window": "day" },
                { "limit": "-1", "window": "month" },
                { "limit": "2", "window": "day" },
            ],
        });
        let models = serde_json::json!([
            { "model": "a", "requests_per_minute": 1 },
            { "model": "", "tokens_per_minute": 1 },
            { "model": "a", "concurrent_requests": 0 },
            { "model": "b" },
        ]);
        assert_eq!(
            told(&end_users, &models),
            [
                "end_users.limits.requests_per_minute",
                "end_users.budgets[1].limit",
                "end_users.budgets[2].window",
                "model_limits[1].model",
                "model_limits[2].model",
                "model_limits[2].concurrent_requests",
                "model_limits[3]",
            ]
        );
    }

    #[test]
    fn a_budget_keeps_its_identity_for_as_long_as_its_window_has_one() {
        let budget = |id, window, usd| EndUserBudget {
            id: BudgetId::from_u128(id),
            window,
            limit: NanoUsd::from_usd(usd),
        };
        let mut rules = OwnerRules::default();
        rules.end_users.budgets = vec![budget(1, BudgetWindow::Day, 5), budget(2, BudgetWindow::Month, 5)];
        let wanted = EndUserRules {
            budgets: vec![budget(8, BudgetWindow::Day, 7), budget(9, BudgetWindow::Total, 7)],
            ..EndUserRules::default()
        };
        RulesChange { end_users: Some(wanted), model_limits: None }.apply(&mut rules);
        let expected = vec![budget(1, BudgetWindow::Day, 7), budget(9, BudgetWindow::Total, 7)];
        assert_eq!(rules.end_users.budgets, expected);
        let before = rules.clone();
        RulesChange::default().apply(&mut rules);
        assert_eq!(rules, before);
    }
}
