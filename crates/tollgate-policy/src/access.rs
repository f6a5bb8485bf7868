//! Who is calling: a key with everything that is above it, resolved once per snapshot.

use std::fmt;
use std::sync::{Arc, RwLock};

use tollgate_domain::{
    BudgetId, BudgetWindow, Labels, NanoUsd, PeriodPair, TimeZoneName, UnixMillis, WindowError,
};

use crate::prices::TenantPrices;
use crate::{
    Billing, BudgetIncrease, BudgetOwner, BudgetPolicy, EndUserBudget, KeyPolicy, OwnerSpecs, ProjectPolicy,
    RateLimits, TenantPolicy, effective_limit,
};

/// Why a presented key was refused. Unknown and mistyped keys are deliberately told alike to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthDenied {
    /// Mistyped, truncated, or not known here.
    #[error("the API key is not valid: check that it was copied in full and belongs to this gateway")]
    Unknown,
    /// Revoked for good.
    #[error("the API key was revoked: ask your operator for a new one")]
    Revoked,
    /// Blocked for now.
    #[error("the API key is blocked: ask your operator to unblock it")]
    Blocked,
    /// Past its time.
    #[error("the API key has expired: ask your operator for a new one")]
    Expired,
    /// The whole tenant is blocked.
    #[error("this account is blocked: ask your operator")]
    TenantBlocked,
}

/// On which level a budget sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BudgetScope {
    /// The tenant.
    Tenant,
    /// The project.
    Project,
    /// The key.
    Key,
    /// Each end user of one of these.
    EndUser,
}

impl BudgetScope {
    /// The name in error metadata.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Project => "project",
            Self::Key => "key",
            Self::EndUser => "end_user",
        }
    }
}

/// A budget that applies to a key, with its calendar.
pub struct BudgetSpec {
    /// Identity; the ledger's node. Of end users: that of the rule, from which each user's is derived.
    pub budget: BudgetId,
    /// Whose it is; of end users: who set the rule.
    pub owner: BudgetOwner,
    /// On which level it sits.
    pub scope: BudgetScope,
    /// Over which span.
    pub window: BudgetWindow,
    /// How much, without what is added for a time.
    pub limit: NanoUsd,
    increases: Box<[BudgetIncrease]>,
    zone: TimeZoneName,
    /// The periods last computed: calendar arithmetic costs more than the rest of the look-up together.
    cached: RwLock<Option<PeriodPair>>,
}

impl BudgetSpec {
    pub(crate) fn new(budget: &BudgetPolicy, zone: TimeZoneName) -> Self {
        Self {
            budget: budget.id,
            owner: budget.owner,
            scope: scope_of(budget.owner),
            window: budget.window,
            limit: budget.limit,
            increases: budget.increases.as_slice().into(),
            zone,
            cached: RwLock::new(None),
        }
    }

    pub(crate) fn of_end_users(rule: &EndUserBudget, owner: BudgetOwner, zone: TimeZoneName) -> Self {
        Self {
            budget: rule.id,
            owner,
            scope: BudgetScope::EndUser,
            window: rule.window,
            limit: rule.limit,
            increases: Box::default(),
            zone,
            cached: RwLock::new(None),
        }
    }

    /// How much at `now`, with what is added for a time.
    #[must_use]
    pub fn limit_at(&self, now: UnixMillis) -> NanoUsd {
        effective_limit(self.limit, &self.increases, now)
    }

    /// The period around `now` and the next.
    ///
    /// # Errors
    /// [`WindowError`] where `now` is outside the calendar.
    pub fn periods(&self, now: UnixMillis) -> Result<PeriodPair, WindowError> {
        let cached = self.cached.read().ok().and_then(|guard| *guard);
        if let Some(pair) = cached.filter(|pair| pair.current.contains(now)) {
            return Ok(pair);
        }
        let pair = self.zone.periods(self.window, now)?;
        if let Ok(mut guard) = self.cached.write() {
            *guard = Some(pair);
        }
        Ok(pair)
    }
}

/// The level of an owner.
pub(crate) const fn scope_of(owner: BudgetOwner) -> BudgetScope {
    match owner {
        BudgetOwner::Tenant(_) => BudgetScope::Tenant,
        BudgetOwner::Project(_) => BudgetScope::Project,
        BudgetOwner::Key(_) => BudgetScope::Key,
    }
}

impl fmt::Debug for BudgetSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BudgetSpec({} {} {} {})", self.budget, self.scope.name(), self.window, self.limit)
    }
}

/// One owner's rate limits that apply to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitSpec {
    /// On which level they sit.
    pub scope: BudgetScope,
    /// Which.
    pub limits: RateLimits,
}

/// A key and everything above it.
#[derive(Debug)]
pub struct KeyContext {
    /// The key.
    pub key: Arc<KeyPolicy>,
    /// Its project.
    pub project: Arc<ProjectPolicy>,
    /// Its tenant.
    pub tenant: Arc<TenantPolicy>,
    /// The project's labels, the key's over them.
    pub labels: Labels,
    /// Every budget of every level.
    pub budgets: Vec<Arc<BudgetSpec>>,
    /// Every level's rate limits that limit anything.
    pub limits: Vec<LimitSpec>,
    /// What the tenant pays, where that is not what everybody does.
    pub(crate) prices: Option<Arc<TenantPrices>>,
    /// Every level's rules about end users and models, where there are any: key, project, tenant.
    pub rules: Vec<Arc<OwnerSpecs>>,
}

impl KeyContext {
    /// Whether a wallet must hold the money.
    #[must_use]
    pub fn is_prepaid(&self) -> bool {
        self.tenant.billing == Billing::Prepaid
    }

    /// Whether any money gate applies: a wallet or a budget; also one of each end user where the request names one.
    #[must_use]
    pub fn has_money_gate(&self, names_end_user: bool) -> bool {
        let is_end_user_limited = || names_end_user && self.end_user_budgets().next().is_some();
        self.is_prepaid() || !self.budgets.is_empty() || is_end_user_limited()
    }

    /// The budgets of each end user, of every level.
    pub fn end_user_budgets(&self) -> impl Iterator<Item = &Arc<BudgetSpec>> {
        self.rules.iter().flat_map(|rules| &rules.end_user_budgets)
    }

    /// Whether a request that names no end user is refused.
    #[must_use]
    pub fn requires_end_user(&self) -> bool {
        self.rules.iter().any(|rules| rules.requires_end_user)
    }

    /// Whether a pattern of the key's list that `counts` allows a model of this name.
    #[must_use]
    pub fn allows_model_by(&self, name: &str, counts: impl Fn(&String) -> bool) -> bool {
        self.key.models.iter().any(|pattern| counts(pattern) && matches_pattern(pattern, name))
    }

    /// Whether the key may ask for a model of this name.
    #[must_use]
    pub fn allows_model(&self, name: &str) -> bool {
        self.key.models.is_empty() || self.key.models.iter().any(|pattern| matches_pattern(pattern, name))
    }
}

/// Whether `name` matches `pattern`, in which each `*` stands for any run of characters.
pub(crate) fn matches_pattern(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(first) = parts.next() else { return false };
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_table() {
        let cases = [
            ("*", "anything/at:all", true),
            ("chat-*", "chat-default", true),
            ("chat-*", "my-chat-default", false),
            ("openai/gpt-5-mini", "openai/gpt-5-mini", true),
            ("openai/gpt-5-mini", "openai/gpt-5-mini-2", false),
            ("openai/*-mini", "openai/gpt-5-mini", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("ab*ba", "aba", false),
            ("", "", true),
            ("", "x", false),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(matches_pattern(pattern, name), expected, "{pattern} {name}");
        }
    }
}
