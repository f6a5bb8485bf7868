//! Price rows over the built-in catalogue. A row never changes: a new one replaces it from its start.

use axum::Json;
use axum::extract::State;
use tollgate_control::{CreatePrice, List, PriceQuery, PriceView};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, Created, Creation};
use crate::AdminState;
use crate::receive::{Caller, JsonBody, Named, Params};

/// The operations of this resource.
pub(super) fn operations() -> OpenApiRouter<AdminState> {
    OpenApiRouter::new().routes(routes!(create_price, list_prices)).routes(routes!(get_price, delete_price))
}

/// Add a price row
#[utoipa::path(
    post,
    path = "/prices",
    tag = "prices",
    request_body = CreatePrice,
    responses((status = 201, description = "the row", body = PriceView)),
)]
async fn create_price(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    JsonBody(input): JsonBody<CreatePrice>,
) -> Creation<PriceView> {
    Ok(Created(state.app.create_price(&actor, input).await?))
}

/// List price rows
#[utoipa::path(
    get,
    path = "/prices",
    tag = "prices",
    params(PriceQuery),
    responses((status = 200, description = "a page of rows", body = List<PriceView>)),
)]
async fn list_prices(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Params(query): Params<PriceQuery>,
) -> Answer<List<PriceView>> {
    Ok(Json(state.app.list_prices(&actor, &query).await?))
}

/// Look at a price row
#[utoipa::path(
    get,
    path = "/prices/{price}",
    tag = "prices",
    params(("price" = String, Path, description = "id")),
    responses((status = 200, description = "the row", body = PriceView)),
)]
async fn get_price(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(price): Named,
) -> Answer<PriceView> {
    Ok(Json(state.app.price(&actor, &price).await?))
}

/// Delete a price row that is not in force yet
#[utoipa::path(
    delete,
    path = "/prices/{price}",
    tag = "prices",
    params(("price" = String, Path, description = "id")),
    responses((status = 200, description = "the row as it was", body = PriceView)),
)]
async fn delete_price(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(price): Named,
) -> Answer<PriceView> {
    Ok(Json(state.app.delete_price(&actor, &price).await?))
}
