//! Who is calling: a key with everything that is above it, resolved once per snapshot.

use std::fmt;
use std::sync::{Arc, RwLock};

use tollgate_domain::{
    BudgetId, BudgetWindow, Labels, NanoUsd, PeriodPair, TimeZoneName, UnixMillis, WindowError,
};

use crate::prices::TenantPrices;
use crate::{Billing, BudgetOwner, BudgetPolicy, KeyPolicy, ProjectPolicy, RateLimits, TenantPolicy};

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
}

impl BudgetScope {
    /// The name in error metadata.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Project => "project",
            Self::Key => "key",
        }
    }
}

/// A budget that applies to a key, with its calendar.
pub struct BudgetSpec {
    /// Identity; the ledger's node.
    pub budget: BudgetId,
    /// On which level it sits.
    pub scope: BudgetScope,
    /// Over which span.
    pub window: BudgetWindow,
    /// How much.
    pub limit: NanoUsd,
    zone: TimeZoneName,
    /// The periods last computed: calendar arithmetic costs more than the rest of the look-up together.
    cached: RwLock<Option<PeriodPair>>,
}

impl BudgetSpec {
    pub(crate) fn new(budget: &BudgetPolicy, zone: TimeZoneName) -> Self {
        let scope = match budget.owner {
            BudgetOwner::Tenant(_) => BudgetScope::Tenant,
            BudgetOwner::Project(_) => BudgetScope::Project,
            BudgetOwner::Key(_) => BudgetScope::Key,
        };
        Self {
            budget: budget.id,
            scope,
            window: budget.window,
            limit: budget.limit,
            zone,
            cached: RwLock::new(None),
        }
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
}

impl KeyContext {
    /// Whether a wallet must hold the money.
    #[must_use]
    pub fn is_prepaid(&self) -> bool {
        self.tenant.billing == Billing::Prepaid
    }

    /// Whether any money gate applies: a wallet or a budget.
    #[must_use]
    pub fn has_money_gate(&self) -> bool {
        self.is_prepaid() || !self.budgets.is_empty()
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
