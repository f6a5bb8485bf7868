//! `GET /v1/key`: this key's limits, budgets, what is left and when it resets.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use serde_json::{Value, json};
use tollgate_domain::NanoUsd;
use tollgate_ledger::{Balance, Balances, BudgetCheck};
use tollgate_policy::{BudgetOwner, BudgetSpec, KeyContext, ModelLimitSpec, RateLimits};

use crate::answer::{GatewayBody, json as json_answer};
use crate::auth::Authenticated;
use crate::error::{Refusal, ledger_unavailable};
use crate::gateway::Pod;
use crate::levels::Levels;
use crate::pipeline::named_end_user;
use crate::seeder::SeedReason;

pub(crate) async fn describe(
    gateway: &Pod,
    caller: &Authenticated,
    headers: &HeaderMap,
) -> Result<Response<GatewayBody>, Refusal> {
    let context = &caller.context;
    let end_user = named_end_user(headers, None)?;
    let levels = Levels { context, now: caller.now, end_user: end_user.as_deref() };
    let checks = levels.budget_checks()?;
    let balances = balances(gateway, &levels, &checks).await?;
    let of_user = end_user.as_ref().map(|_| context.end_user_budgets()).into_iter().flatten();
    let budgets: Vec<Value> = context
        .budgets
        .iter()
        .chain(of_user)
        .zip(&checks)
        .zip(&balances.budgets)
        .map(|((spec, check), balance)| budget(spec, check, balance))
        .collect();
    let limits: serde_json::Map<String, Value> =
        context.limits.iter().map(|spec| (spec.scope.name().to_owned(), limits_of(&spec.limits))).collect();
    let body = json!({
        "object": "key",
        "id": context.key.id,
        "name": context.key.name,
        "project": context.project.name,
        "tenant": context.tenant.name,
        "models": if context.key.models.is_empty() { json!(["*"]) } else { json!(context.key.models) },
        "expires_at": context.key.expires_at.and_then(tollgate_domain::UnixMillis::to_rfc3339),
        "limits": limits,
        "budgets": budgets,
        "end_users": end_users(context),
        "model_limits": model_limits(context),
        "credit": balances.wallet.as_ref().map(money),
    });
    Ok(json_answer(StatusCode::OK, Bytes::from(body.to_string())))
}

/// What the ledger counts; where it does not know the tenant it is told first, as before an admission.
async fn balances(gateway: &Pod, levels: &Levels<'_>, checks: &[BudgetCheck]) -> Result<Balances, Refusal> {
    let tenant = levels.context.tenant.id;
    let ask = async || {
        let balances = gateway.ledger.balances(tenant, levels.context.is_prepaid(), checks).await;
        balances.map_err(|error| Refusal::from(&error))
    };
    let balances = ask().await?;
    if !balances.is_cold {
        return Ok(balances);
    }
    let (counters, timeout) = (levels.end_user_counters(), gateway.config.seed_timeout);
    if !counters.is_empty() && gateway.seeder.seed_end_users(tenant, counters, timeout).await.is_ok() {
        let balances = ask().await?;
        if !balances.is_cold {
            return Ok(balances);
        }
    }
    if let Err(reason) = gateway.seeder.seed(tenant, SeedReason::Unknown, timeout).await {
        tracing::warn!(%tenant, reason, "the ledger does not know a tenant and it could not be seeded");
        return Err(ledger_unavailable());
    }
    ask().await
}

fn budget(spec: &BudgetSpec, check: &BudgetCheck, balance: &Balance) -> Value {
    let mut value = money(balance);
    let ends_at = check.periods.current.ends_at;
    let resets_at = (ends_at.0 != i64::MAX).then(|| ends_at.to_rfc3339()).flatten();
    if let Some(fields) = value.as_object_mut() {
        fields.insert("scope".to_owned(), json!(spec.scope.name()));
        fields.insert("window".to_owned(), json!(spec.window.name()));
        fields.insert("resets_at".to_owned(), json!(resets_at));
    }
    value
}

fn money(balance: &Balance) -> Value {
    let remaining = balance.limit.saturating_sub(balance.settled).saturating_sub(balance.held);
    json!({
        "limit_usd": balance.limit,
        "spent_usd": balance.settled,
        "held_usd": balance.held,
        "remaining_usd": remaining.max(NanoUsd::ZERO),
    })
}

/// What holds for each end user, by who set it.
fn end_users(context: &KeyContext) -> Value {
    let budget = |spec: &Arc<BudgetSpec>| {
        let (limit, window) = (spec.limit, spec.window.name());
        json!({ "set_by": scope_of_owner(spec), "window": window, "limit_usd": limit })
    };
    let limits = context.rules.iter().filter_map(|rules| rules.end_user_limits.as_ref());
    let limits: serde_json::Map<String, Value> =
        limits.map(|of_users| (of_users.scope.name().to_owned(), limits_of(&of_users.limits))).collect();
    json!({
        "required": context.requires_end_user(),
        "limits": limits,
        "budgets": context.end_user_budgets().map(budget).collect::<Vec<_>>(),
    })
}

const fn scope_of_owner(spec: &BudgetSpec) -> &'static str {
    match spec.owner {
        BudgetOwner::Tenant(_) => "tenant",
        BudgetOwner::Project(_) => "project",
        BudgetOwner::Key(_) => "key",
    }
}

/// What holds for requests for certain models, by who set it.
fn model_limits(context: &KeyContext) -> Vec<Value> {
    let all = context.rules.iter().flat_map(|rules| &rules.model_limits);
    let value = |rule: &ModelLimitSpec| json!({ "set_by": rule.scope.name(), "model": rule.pattern, "limits": limits_of(&rule.limits) });
    all.map(value).collect()
}

fn limits_of(limits: &RateLimits) -> Value {
    json!(limits)
}
