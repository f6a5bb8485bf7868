//! Budgets of tenants, projects and keys.

use axum::Json;
use axum::extract::State;
use tollgate_control::{BudgetQuery, BudgetView, CreateBudget, List, UpdateBudget};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, Created, Creation};
use crate::AdminState;
use crate::receive::{Caller, JsonBody, Named, Params};

/// The operations of this resource.
pub(super) fn operations() -> OpenApiRouter<AdminState> {
    OpenApiRouter::new().routes(routes!(create_budget, list_budgets)).routes(routes!(
        get_budget,
        update_budget,
        delete_budget
    ))
}

/// Create a budget on a tenant, project or key
#[utoipa::path(
    post,
    path = "/budgets",
    tag = "budgets",
    request_body = CreateBudget,
    responses((status = 201, description = "the budget", body = BudgetView)),
)]
async fn create_budget(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    JsonBody(input): JsonBody<CreateBudget>,
) -> Creation<BudgetView> {
    Ok(Created(state.app.create_budget(&actor, input).await?))
}

/// List budgets with what is spent, held and left
#[utoipa::path(
    get,
    path = "/budgets",
    tag = "budgets",
    params(BudgetQuery),
    responses((status = 200, description = "a page of budgets", body = List<BudgetView>)),
)]
async fn list_budgets(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Params(query): Params<BudgetQuery>,
) -> Answer<List<BudgetView>> {
    Ok(Json(state.app.list_budgets(&actor, &query).await?))
}

/// Look at a budget: what is spent, held and left, and when it starts anew
#[utoipa::path(
    get,
    path = "/budgets/{budget}",
    tag = "budgets",
    params(("budget" = String, Path, description = "id")),
    responses((status = 200, description = "the budget", body = BudgetView)),
)]
async fn get_budget(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(budget): Named,
) -> Answer<BudgetView> {
    Ok(Json(state.app.budget(&actor, &budget).await?))
}

/// Change a budget's limit or window
#[utoipa::path(
    patch,
    path = "/budgets/{budget}",
    tag = "budgets",
    params(("budget" = String, Path, description = "id")),
    request_body = UpdateBudget,
    responses((status = 200, description = "the budget as it is now", body = BudgetView)),
)]
async fn update_budget(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(budget): Named,
    JsonBody(input): JsonBody<UpdateBudget>,
) -> Answer<BudgetView> {
    Ok(Json(state.app.update_budget(&actor, &budget, input).await?))
}

/// Delete a budget: nothing is limited by it any more
#[utoipa::path(
    delete,
    path = "/budgets/{budget}",
    tag = "budgets",
    params(("budget" = String, Path, description = "id")),
    responses((status = 200, description = "the budget as it was", body = BudgetView)),
)]
async fn delete_budget(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(budget): Named,
) -> Answer<BudgetView> {
    Ok(Json(state.app.delete_budget(&actor, &budget).await?))
}
