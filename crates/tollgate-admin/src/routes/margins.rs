//! Margins on the provider's prices. A rule never changes: a new one replaces it from its start.

use axum::Json;
use axum::extract::State;
use tollgate_control::{CreateMargin, List, MarginQuery, MarginView};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, Created, Creation};
use crate::AdminState;
use crate::receive::{Caller, JsonBody, Named, Params};

/// The operations of this resource.
pub(super) fn operations() -> OpenApiRouter<AdminState> {
    OpenApiRouter::new()
        .routes(routes!(create_margin, list_margins))
        .routes(routes!(get_margin, delete_margin))
}

/// Add a margin rule
#[utoipa::path(
    post,
    path = "/margins",
    tag = "margins",
    request_body = CreateMargin,
    responses((status = 201, description = "the rule", body = MarginView)),
)]
async fn create_margin(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    JsonBody(input): JsonBody<CreateMargin>,
) -> Creation<MarginView> {
    Ok(Created(state.app.create_margin(&actor, input).await?))
}

/// List margin rules
#[utoipa::path(
    get,
    path = "/margins",
    tag = "margins",
    params(MarginQuery),
    responses((status = 200, description = "a page of rules", body = List<MarginView>)),
)]
async fn list_margins(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Params(query): Params<MarginQuery>,
) -> Answer<List<MarginView>> {
    Ok(Json(state.app.list_margins(&actor, &query).await?))
}

/// Look at a margin rule
#[utoipa::path(
    get,
    path = "/margins/{margin}",
    tag = "margins",
    params(("margin" = String, Path, description = "id")),
    responses((status = 200, description = "the rule", body = MarginView)),
)]
async fn get_margin(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(margin): Named,
) -> Answer<MarginView> {
    Ok(Json(state.app.margin(&actor, &margin).await?))
}

/// Delete a margin rule that is not in force yet
#[utoipa::path(
    delete,
    path = "/margins/{margin}",
    tag = "margins",
    params(("margin" = String, Path, description = "id")),
    responses((status = 200, description = "the rule as it was", body = MarginView)),
)]
async fn delete_margin(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(margin): Named,
) -> Answer<MarginView> {
    Ok(Json(state.app.delete_margin(&actor, &margin).await?))
}
