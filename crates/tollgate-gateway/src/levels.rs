//! What is checked for one request beside the wallet: the budgets and rate limits of its key, project and
//! tenant, those of its end user, and those of the model it asks for.

use serde_json::json;
use tollgate_domain::{ErrorKind, Id, NanoUsd, UnixMillis};
use tollgate_ledger::{BudgetCheck, LimitCheck, LimitKind, LimitOwner, MAX_CLOCK_LEAD_MS, RateRefusal};
use tollgate_policy::{BudgetScope, BudgetSpec, EndUserCounter, KeyContext};

use crate::error::{Refusal, ledger_unavailable};

/// What of a request chooses its rules.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Levels<'a> {
    pub(crate) context: &'a KeyContext,
    pub(crate) now: UnixMillis,
    /// On whose behalf, where the request says so.
    pub(crate) end_user: Option<&'a str>,
}

impl Levels<'_> {
    /// Every budget with the periods around a moment before now: those of the key's context in their order,
    /// then those of the end user. The ledger moves on to the next period by its own clock, and never back: a
    /// clock that is ahead of it must not spend a period that has not begun.
    pub(crate) fn budget_checks(&self) -> Result<Vec<BudgetCheck>, Refusal> {
        let own = self.context.budgets.iter().map(|spec| self.check(spec, spec.budget));
        match self.end_user {
            None => own.collect(),
            Some(user) => {
                let of_user = self.context.end_user_budgets();
                own.chain(of_user.map(|spec| self.check(spec, Id::derived(spec.budget, user)))).collect()
            }
        }
    }

    fn check(&self, spec: &BudgetSpec, budget: tollgate_domain::BudgetId) -> Result<BudgetCheck, Refusal> {
        let periods = spec.periods(self.now.plus_ms(-MAX_CLOCK_LEAD_MS)).map_err(|error| {
            tracing::error!(%error, "budget periods cannot be computed");
            ledger_unavailable()
        })?;
        Ok(BudgetCheck { budget, limit: self.limit_of(spec), periods })
    }

    /// What a budget allows. Where this clock may be behind, what is added for a time ends early rather than
    /// late.
    fn limit_of(&self, spec: &BudgetSpec) -> NanoUsd {
        spec.limit_at(self.now.plus_ms(MAX_CLOCK_LEAD_MS))
    }

    /// Whether some budget is smaller than `amount` even when nothing of it is spent.
    pub(crate) fn is_beyond_every_period(&self, amount: NanoUsd) -> bool {
        let of_user = self.end_user.map(|_| self.context.end_user_budgets()).into_iter().flatten();
        self.context.budgets.iter().chain(of_user).any(|spec| self.limit_of(spec) < amount)
    }

    /// Every rate limit. `names` are those of the model: as it is asked for, and as policy knows it.
    pub(crate) fn limit_checks(&self, names: [&str; 2]) -> Vec<LimitCheck> {
        let context = self.context;
        let owner = |scope| match scope {
            BudgetScope::Tenant => LimitOwner::Tenant(context.tenant.id),
            BudgetScope::Project => LimitOwner::Project(context.project.id),
            BudgetScope::Key | BudgetScope::EndUser => LimitOwner::Key(context.key.id),
        };
        let own = context.limits.iter();
        let mut checks: Vec<LimitCheck> =
            own.map(|spec| LimitCheck { owner: owner(spec.scope), limits: spec.limits }).collect();
        let tenant = context.tenant.id;
        for rules in &context.rules {
            if let (Some(of_users), Some(user)) = (&rules.end_user_limits, self.end_user) {
                let owner = LimitOwner::EndUser { tenant, hash: of_users.hash_of(user) };
                checks.push(LimitCheck { owner, limits: of_users.limits });
            }
            let named = rules.model_limits.iter().filter(|rule| names.iter().any(|name| rule.names(name)));
            checks.extend(named.map(|rule| LimitCheck {
                owner: LimitOwner::Model { tenant: Some(tenant), hash: rule.hash },
                limits: rule.limits,
            }));
        }
        checks
    }

    /// The budget that an admission's check was made of.
    pub(crate) fn budget_of(&self, budget: tollgate_domain::BudgetId) -> Option<&BudgetSpec> {
        let own = self.context.budgets.iter().find(|spec| spec.budget == budget);
        let of_user = || {
            let user = self.end_user?;
            self.context.end_user_budgets().find(|spec| Id::derived(spec.budget, user) == budget)
        };
        own.or_else(of_user).map(AsRef::as_ref)
    }

    /// The counters of the request's end user: what a ledger may have to be told.
    pub(crate) fn end_user_counters(&self) -> Vec<EndUserCounter> {
        let Some(user) = self.end_user else { return Vec::new() };
        let counter = |spec: &std::sync::Arc<BudgetSpec>| EndUserCounter {
            rule: spec.budget,
            owner: spec.owner,
            window: spec.window,
            user: user.to_owned(),
        };
        self.context.end_user_budgets().map(counter).collect()
    }

    /// The 429 of a rate limit.
    pub(crate) fn rate_refusal(&self, refusal: &RateRefusal) -> Refusal {
        let limit = refusal.limit;
        let (kind, name, what) = match refusal.kind {
            LimitKind::Requests => {
                (ErrorKind::RateLimitExceeded, "requests", format!("{limit} requests per minute"))
            }
            LimitKind::Tokens => {
                (ErrorKind::RateLimitExceeded, "tokens", format!("{limit} tokens per minute"))
            }
            LimitKind::Concurrency => {
                let what = format!("{limit} requests at the same time");
                (ErrorKind::ConcurrencyLimitExceeded, "concurrent_requests", what)
            }
        };
        let pattern = match refusal.owner {
            LimitOwner::Model { hash, .. } => self.model_pattern(hash),
            _ => None,
        };
        let (scope, who) = match (refusal.owner, pattern) {
            (LimitOwner::Tenant(_), _) => ("tenant", "the tenant is".to_owned()),
            (LimitOwner::Project(_), _) => ("project", "the project is".to_owned()),
            (LimitOwner::Key(_), _) => ("key", "the key is".to_owned()),
            (LimitOwner::EndUser { .. }, _) => ("end_user", "this end user is".to_owned()),
            (LimitOwner::Model { .. }, Some(pattern)) => ("model", format!("the model `{pattern}` is")),
            (LimitOwner::Model { .. }, None) => ("model", "the model is".to_owned()),
        };
        let mut metadata = json!({ "scope": scope, "limit": name, "value": limit, "retryable": true });
        if let Some(pattern) = pattern {
            metadata["model"] = json!(pattern);
        }
        let message = format!("{who} limited to {what}: try again after the time in Retry-After");
        Refusal {
            metadata: Some(metadata),
            rate: Some(Box::new(*refusal)),
            ..Refusal::new(kind, message).with_retry_after_ms(refusal.retry_after_ms)
        }
    }

    fn model_pattern(&self, hash: u64) -> Option<&str> {
        let mut rules = self.context.rules.iter().flat_map(|rules| &rules.model_limits);
        rules.find(|rule| rule.hash == hash).map(|rule| rule.pattern.as_str())
    }
}
