//! What is told of an alert.

use serde_json::{Value, json};
use tollgate_domain::{BudgetShare, NanoUsd, Period, UnixMillis};
use tollgate_policy::BudgetOwner;
use tollgate_store::{BudgetRecord, Store, TenantRecord};

use crate::AppError;
use crate::parts::ShareNumber;

/// The message as it is signed and sent.
pub(crate) fn envelope(event_type: &str, at: UnixMillis, data: &Value) -> String {
    json!({ "type": event_type, "timestamp": at.to_string(), "data": data }).to_string()
}

pub(super) async fn budget_threshold(
    store: &Store,
    budget: &BudgetRecord,
    period: Period,
    (spent, limit): (NanoUsd, NanoUsd),
    share: BudgetShare,
) -> Result<Value, AppError> {
    let tenant = store.tenant_name(budget.tenant).await?;
    let (scope, name) = match budget.owner {
        BudgetOwner::Tenant(id) => ("tenant", store.tenant_name(id).await?),
        BudgetOwner::Project(id) => ("project", store.project_name(id).await?),
        BudgetOwner::Key(id) => ("key", store.key_name(id).await?),
    };
    let is_endless = period == Period::TOTAL;
    Ok(json!({
        "tenant": tenant,
        "tenant_id": budget.tenant.to_string(),
        "budget": { "id": budget.id.to_string(), "scope": scope, "name": name },
        "window": budget.window.name(),
        "period_start": (!is_endless).then(|| period.starts_at.to_string()),
        "resets_at": (!is_endless).then(|| period.ends_at.to_string()),
        "limit_usd": limit.to_string(),
        "spent_usd": spent.to_string(),
        "threshold": ShareNumber::from(share),
    }))
}

pub(super) fn wallet_low(tenant: &TenantRecord, balance: NanoUsd, level: NanoUsd) -> Value {
    json!({
        "tenant": tenant.name,
        "tenant_id": tenant.id.to_string(),
        "balance_usd": balance.to_string(),
        "alert_below_usd": level.to_string(),
    })
}
