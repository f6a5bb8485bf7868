//! `GET /v1/key`: this key's limits, budgets, what is left and when it resets.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Value, json};
use tollgate_domain::NanoUsd;
use tollgate_ledger::{Balance, Balances, BudgetCheck};
use tollgate_policy::{BudgetSpec, RateLimits};

use crate::answer::{GatewayBody, json as json_answer};
use crate::auth::Authenticated;
use crate::error::{Refusal, ledger_unavailable};
use crate::gateway::Pod;
use crate::reserve::budget_checks;
use crate::seeder::SeedReason;

pub(crate) async fn describe(
    gateway: &Pod,
    caller: &Authenticated,
) -> Result<Response<GatewayBody>, Refusal> {
    let context = &caller.context;
    let checks = budget_checks(context, caller.now)?;
    let balances = balances(gateway, caller, &checks).await?;
    let budgets: Vec<Value> = context
        .budgets
        .iter()
        .zip(&checks)
        .zip(&balances.budgets)
        .map(|((spec, check), balance)| budget(spec, check, balance))
        .collect();
    let limits: serde_json::Map<String, Value> =
        context.limits.iter().map(|spec| (spec.scope.name().to_owned(), limits(&spec.limits))).collect();
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
        "credit": balances.wallet.as_ref().map(money),
    });
    Ok(json_answer(StatusCode::OK, Bytes::from(body.to_string())))
}

/// What the ledger counts; where it does not know the tenant it is told first, as before an admission.
async fn balances(
    gateway: &Pod,
    caller: &Authenticated,
    checks: &[BudgetCheck],
) -> Result<Balances, Refusal> {
    let tenant = caller.context.tenant.id;
    let ask = async || {
        let balances = gateway.ledger.balances(tenant, caller.context.is_prepaid(), checks).await;
        balances.map_err(|error| Refusal::from(&error))
    };
    let balances = ask().await?;
    if !balances.is_cold {
        return Ok(balances);
    }
    if let Err(reason) = gateway.seeder.seed(tenant, SeedReason::Unknown, gateway.config.seed_timeout).await {
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

fn limits(limits: &RateLimits) -> Value {
    json!(limits)
}
