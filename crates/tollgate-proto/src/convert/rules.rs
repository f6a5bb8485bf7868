//! Rules about end users and models, and what raises a budget for a time, both ways.

use tollgate_domain::{MAX_LIMIT, NanoUsd, UnixMillis};
use tollgate_policy::{
    BudgetIncrease, BudgetOwner, EndUserBudget, EndUserCounter, EndUserRules, ModelLimit, OwnerRules,
    RateLimits,
};

use super::ConvertError;
use super::encode::{id_bytes, limits};
use super::enums;
use super::fields::Reading;
use crate::v1;

/// Longest name of an end user: 256 characters, as the gateways take it.
const MAX_USER_BYTES: usize = 1_024;

type Decoded<T> = Result<T, ConvertError>;

// === to messages ===

pub(super) fn to_message(rules: &OwnerRules) -> Option<v1::OwnerRules> {
    if *rules == OwnerRules::default() {
        return None;
    }
    let end_users = &rules.end_users;
    let budgets = end_users.budgets.iter().map(|budget| v1::EndUserBudget {
        id: id_bytes(budget.id),
        window: enums::window_to_wire(budget.window),
        limit_nano_usd: budget.limit.0,
    });
    let models = rules.model_limits.iter();
    Some(v1::OwnerRules {
        end_users: (!end_users.is_empty()).then(|| v1::EndUserRules {
            required: end_users.required,
            limits: limits(&end_users.limits),
            budgets: budgets.collect(),
        }),
        model_limits: models
            .map(|limit| v1::ModelLimit { model: limit.model.clone(), limits: limits(&limit.limits) })
            .collect(),
    })
}

pub(super) fn increases_to_messages(increases: &[BudgetIncrease]) -> Vec<v1::BudgetIncrease> {
    let message = |increase: &BudgetIncrease| v1::BudgetIncrease {
        amount_nano_usd: increase.amount.0,
        until_ms: increase.until.0,
    };
    increases.iter().map(message).collect()
}

// === from messages ===

pub(super) fn from_message(reading: &Reading, message: Option<v1::OwnerRules>) -> Decoded<OwnerRules> {
    let Some(message) = message else { return Ok(OwnerRules::default()) };
    let models = message.model_limits.into_iter().map(|limit| {
        Ok(ModelLimit {
            model: reading.text("rules.model_limits.model", limit.model)?,
            limits: reading.limits(limit.limits)?,
        })
    });
    Ok(OwnerRules {
        end_users: end_users(reading, message.end_users)?,
        model_limits: models.collect::<Decoded<_>>()?,
    })
}

fn end_users(reading: &Reading, message: Option<v1::EndUserRules>) -> Decoded<EndUserRules> {
    let Some(message) = message else { return Ok(EndUserRules::default()) };
    let budgets = message.budgets.into_iter().map(|budget| {
        Ok(EndUserBudget {
            id: reading.id("rules.end_users.budgets.id", &budget.id)?,
            window: enums::window_from_wire(
                budget.window,
                reading.object(),
                "rules.end_users.budgets.window",
            )?,
            limit: amount(reading, "rules.end_users.budgets.limit", budget.limit_nano_usd)?,
        })
    });
    Ok(EndUserRules {
        required: message.required,
        limits: match message.limits {
            Some(limits) => reading.limits(Some(limits))?,
            None => RateLimits::default(),
        },
        budgets: budgets.collect::<Decoded<_>>()?,
    })
}

pub(super) fn increases(reading: &Reading, messages: &[v1::BudgetIncrease]) -> Decoded<Vec<BudgetIncrease>> {
    let increase = |message: &v1::BudgetIncrease| {
        let amount = amount(reading, "increases.amount", message.amount_nano_usd)?;
        Ok(BudgetIncrease { amount, until: UnixMillis(message.until_ms) })
    };
    messages.iter().map(increase).collect()
}

impl From<&EndUserCounter> for v1::EndUserCounter {
    fn from(counter: &EndUserCounter) -> Self {
        let (scope, owner) = owner_to_message(counter.owner);
        Self {
            rule: id_bytes(counter.rule),
            scope,
            owner,
            window: enums::window_to_wire(counter.window),
            user: counter.user.clone(),
        }
    }
}

impl TryFrom<v1::EndUserCounter> for EndUserCounter {
    type Error = ConvertError;

    fn try_from(message: v1::EndUserCounter) -> Decoded<Self> {
        let reading = Reading::new("end user counter", "");
        if message.user.is_empty() || message.user.len() > MAX_USER_BYTES {
            return Err(reading.refuse("user", "is empty or too long"));
        }
        Ok(Self {
            rule: reading.id("rule", &message.rule)?,
            owner: owner(&reading, message.scope, &message.owner)?,
            window: enums::window_from_wire(message.window, reading.object(), "window")?,
            user: message.user,
        })
    }
}

pub(super) fn owner_to_message(owner: BudgetOwner) -> (i32, Vec<u8>) {
    let (scope, id) = match owner {
        BudgetOwner::Tenant(id) => (v1::BudgetScope::Tenant, id_bytes(id)),
        BudgetOwner::Project(id) => (v1::BudgetScope::Project, id_bytes(id)),
        BudgetOwner::Key(id) => (v1::BudgetScope::Key, id_bytes(id)),
    };
    (scope.into(), id)
}

pub(super) fn owner(reading: &Reading, scope: i32, id: &[u8]) -> Decoded<BudgetOwner> {
    match v1::BudgetScope::try_from(scope) {
        Ok(v1::BudgetScope::Tenant) => Ok(BudgetOwner::Tenant(reading.id("owner", id)?)),
        Ok(v1::BudgetScope::Project) => Ok(BudgetOwner::Project(reading.id("owner", id)?)),
        Ok(v1::BudgetScope::Key) => Ok(BudgetOwner::Key(reading.id("owner", id)?)),
        Ok(v1::BudgetScope::Unspecified) | Err(_) => Err(reading.refuse("scope", "is unknown")),
    }
}

/// An amount that a ledger can count.
pub(super) fn amount(reading: &Reading, field: &'static str, nano_usd: i64) -> Decoded<NanoUsd> {
    let amount = NanoUsd(nano_usd);
    if amount < NanoUsd::ZERO || amount > MAX_LIMIT {
        return Err(reading.refuse(field, "is negative or too large"));
    }
    Ok(amount)
}
