//! Budgets that are raised for a time.

use axum::Json;
use axum::extract::State;
use tollgate_control::{BudgetIncreaseView, CreateBudgetIncrease, List, ListQuery};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, Created, Creation};
use crate::AdminState;
use crate::receive::{Caller, JsonBody, Named, NamedBelow, Params};

/// The operations of this resource.
pub(super) fn operations() -> OpenApiRouter<AdminState> {
    OpenApiRouter::new()
        .routes(routes!(create_budget_increase, list_budget_increases))
        .routes(routes!(delete_budget_increase))
}

/// Raise a budget for a time
#[utoipa::path(
    post,
    path = "/budgets/{budget}/increases",
    tag = "budgets",
    params(("budget" = String, Path, description = "id")),
    request_body = CreateBudgetIncrease,
    responses((status = 201, description = "the increase", body = BudgetIncreaseView)),
)]
async fn create_budget_increase(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(budget): Named,
    JsonBody(input): JsonBody<CreateBudgetIncrease>,
) -> Creation<BudgetIncreaseView> {
    Ok(Created(state.app.create_budget_increase(&actor, &budget, input).await?))
}

/// List every increase a budget ever had
#[utoipa::path(
    get,
    path = "/budgets/{budget}/increases",
    tag = "budgets",
    params(("budget" = String, Path, description = "id"), ListQuery),
    responses((status = 200, description = "a page of increases", body = List<BudgetIncreaseView>)),
)]
async fn list_budget_increases(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(budget): Named,
    Params(query): Params<ListQuery>,
) -> Answer<List<BudgetIncreaseView>> {
    Ok(Json(state.app.list_budget_increases(&actor, &budget, &query).await?))
}

/// Take an increase back before its end
#[utoipa::path(
    delete,
    path = "/budgets/{budget}/increases/{increase}",
    tag = "budgets",
    params(
        ("budget" = String, Path, description = "id"),
        ("increase" = String, Path, description = "id"),
    ),
    responses((status = 200, description = "the increase as it ended", body = BudgetIncreaseView)),
)]
async fn delete_budget_increase(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    NamedBelow(budget, increase): NamedBelow,
) -> Answer<BudgetIncreaseView> {
    Ok(Json(state.app.delete_budget_increase(&actor, &budget, &increase).await?))
}
