//! Tenants, their credit, balance and ledger.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use tollgate_control::{
    BalanceView, CreateCredit, CreateTenant, CreditView, LedgerEntryView, List, ListQuery, TenantView,
    UpdateTenant,
};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, Created, Creation};
use crate::AdminState;
use crate::answer::ErrorBody;
use crate::receive::{Caller, JsonBody, Named, Params};

/// The operations of this resource.
pub(super) fn operations() -> OpenApiRouter<AdminState> {
    OpenApiRouter::new()
        .routes(routes!(create_tenant, list_tenants))
        .routes(routes!(get_tenant, update_tenant, delete_tenant))
        .routes(routes!(get_balance))
        .routes(routes!(create_credit, list_credits))
        .routes(routes!(list_ledger))
}

/// Create a tenant
#[utoipa::path(
    post,
    path = "/tenants",
    tag = "tenants",
    request_body = CreateTenant,
    responses((status = 201, description = "the tenant", body = TenantView)),
)]
async fn create_tenant(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    JsonBody(input): JsonBody<CreateTenant>,
) -> Creation<TenantView> {
    Ok(Created(state.app.create_tenant(&actor, input).await?))
}

/// List tenants in the order of their creation
#[utoipa::path(
    get,
    path = "/tenants",
    tag = "tenants",
    params(ListQuery),
    responses((status = 200, description = "a page of tenants", body = List<TenantView>)),
)]
async fn list_tenants(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Params(query): Params<ListQuery>,
) -> Answer<List<TenantView>> {
    Ok(Json(state.app.list_tenants(&actor, &query).await?))
}

/// Look at a tenant
#[utoipa::path(
    get,
    path = "/tenants/{tenant}",
    tag = "tenants",
    params(("tenant" = String, Path, description = "id or name")),
    responses((status = 200, description = "the tenant", body = TenantView)),
)]
async fn get_tenant(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(tenant): Named,
) -> Answer<TenantView> {
    Ok(Json(state.app.tenant(&actor, &tenant).await?))
}

/// Change a tenant: an absent field stays, `null` resets
#[utoipa::path(
    patch,
    path = "/tenants/{tenant}",
    tag = "tenants",
    params(("tenant" = String, Path, description = "id or name")),
    request_body = UpdateTenant,
    responses((status = 200, description = "the tenant as it is now", body = TenantView)),
)]
async fn update_tenant(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(tenant): Named,
    JsonBody(input): JsonBody<UpdateTenant>,
) -> Answer<TenantView> {
    Ok(Json(state.app.update_tenant(&actor, &tenant, input).await?))
}

/// How a tenant is deleted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct DeleteTenantQuery {
    /// Delete a prepaid tenant although credit is left in its wallet, which is lost then; without it that is
    /// refused with 409.
    #[serde(default)]
    force: bool,
}

/// Delete a tenant with its projects, keys and budgets; its journal stays
#[utoipa::path(
    delete,
    path = "/tenants/{tenant}",
    tag = "tenants",
    params(("tenant" = String, Path, description = "id or name"), DeleteTenantQuery),
    responses(
        (status = 200, description = "the tenant as it was", body = TenantView),
        (status = 409, description = "its wallet has credit left: take it out first, or force it", body = ErrorBody),
    ),
)]
async fn delete_tenant(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(tenant): Named,
    Params(query): Params<DeleteTenantQuery>,
) -> Answer<TenantView> {
    Ok(Json(state.app.delete_tenant(&actor, &tenant, query.force).await?))
}

/// Look at a tenant's wallet
#[utoipa::path(
    get,
    path = "/tenants/{tenant}/balance",
    tag = "credits",
    params(("tenant" = String, Path, description = "id or name")),
    responses((status = 200, description = "the balance", body = BalanceView)),
)]
async fn get_balance(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(tenant): Named,
) -> Answer<BalanceView> {
    Ok(Json(state.app.balance(&actor, &tenant).await?))
}

/// Grant credit; the same `reference` grants once
#[utoipa::path(
    post,
    path = "/tenants/{tenant}/credits",
    tag = "credits",
    params(("tenant" = String, Path, description = "id or name")),
    request_body = CreateCredit,
    responses((status = 201, description = "the credit", body = CreditView)),
)]
async fn create_credit(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(tenant): Named,
    JsonBody(input): JsonBody<CreateCredit>,
) -> Creation<CreditView> {
    Ok(Created(state.app.create_credit(&actor, &tenant, input).await?))
}

/// List a tenant's credits
#[utoipa::path(
    get,
    path = "/tenants/{tenant}/credits",
    tag = "credits",
    params(("tenant" = String, Path, description = "id or name"), ListQuery),
    responses((status = 200, description = "a page of credits", body = List<CreditView>)),
)]
async fn list_credits(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(tenant): Named,
    Params(query): Params<ListQuery>,
) -> Answer<List<CreditView>> {
    Ok(Json(state.app.list_credits(&actor, &tenant, &query).await?))
}

/// List the double entries of a tenant's journal
#[utoipa::path(
    get,
    path = "/tenants/{tenant}/ledger",
    tag = "credits",
    params(("tenant" = String, Path, description = "id or name"), ListQuery),
    responses((status = 200, description = "a page of entries", body = List<LedgerEntryView>)),
)]
async fn list_ledger(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(tenant): Named,
    Params(query): Params<ListQuery>,
) -> Answer<List<LedgerEntryView>> {
    Ok(Json(state.app.list_ledger(&actor, &tenant, &query).await?))
}
