//! End users and what each has spent.

use axum::Json;
use axum::extract::State;
use tollgate_control::{EndUserQuery, EndUserView, List};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Answer;
use crate::AdminState;
use crate::receive::{Caller, Params};

/// The operations of this resource.
pub(super) fn operations() -> OpenApiRouter<AdminState> {
    OpenApiRouter::new().routes(routes!(list_end_users))
}

/// List end users with what each has spent in the present period, and what is left of its budget
#[utoipa::path(
    get,
    path = "/end-users",
    tag = "budgets",
    params(EndUserQuery),
    responses((status = 200, description = "a page of end users, by name", body = List<EndUserView>)),
)]
async fn list_end_users(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Params(query): Params<EndUserQuery>,
) -> Answer<List<EndUserView>> {
    Ok(Json(state.app.list_end_users(&actor, &query).await?))
}
