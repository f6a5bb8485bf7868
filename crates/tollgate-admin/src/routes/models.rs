//! Virtual models, and the models of requests that name none.

use axum::Json;
use axum::extract::State;
use tollgate_control::{
    CreateModel, DefaultModelsView, List, ListQuery, ModelView, UpdateDefaultModels, UpdateModel,
};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, Created, Creation};
use crate::AdminState;
use crate::receive::{Caller, JsonBody, Named, Params};

/// The operations of this resource.
pub(super) fn operations() -> OpenApiRouter<AdminState> {
    OpenApiRouter::new()
        .routes(routes!(create_model, list_models))
        .routes(routes!(get_model, update_model, delete_model))
        .routes(routes!(get_defaults, update_defaults))
}

/// Create a virtual model
#[utoipa::path(
    post,
    path = "/models",
    tag = "models",
    request_body = CreateModel,
    responses((status = 201, description = "the model", body = ModelView)),
)]
async fn create_model(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    JsonBody(input): JsonBody<CreateModel>,
) -> Creation<ModelView> {
    Ok(Created(state.app.create_model(&actor, input).await?))
}

/// List virtual models
#[utoipa::path(
    get,
    path = "/models",
    tag = "models",
    params(ListQuery),
    responses((status = 200, description = "a page of models", body = List<ModelView>)),
)]
async fn list_models(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Params(query): Params<ListQuery>,
) -> Answer<List<ModelView>> {
    Ok(Json(state.app.list_models(&actor, &query).await?))
}

/// Look at a virtual model
#[utoipa::path(
    get,
    path = "/models/{model}",
    tag = "models",
    params(("model" = String, Path, description = "id or name")),
    responses((status = 200, description = "the model", body = ModelView)),
)]
async fn get_model(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(model): Named,
) -> Answer<ModelView> {
    Ok(Json(state.app.model(&actor, &model).await?))
}

/// Change a virtual model: an absent field stays, `null` resets
#[utoipa::path(
    patch,
    path = "/models/{model}",
    tag = "models",
    params(("model" = String, Path, description = "id or name")),
    request_body = UpdateModel,
    responses((status = 200, description = "the model as it is now", body = ModelView)),
)]
async fn update_model(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(model): Named,
    JsonBody(input): JsonBody<UpdateModel>,
) -> Answer<ModelView> {
    Ok(Json(state.app.update_model(&actor, &model, input).await?))
}

/// Delete a virtual model
#[utoipa::path(
    delete,
    path = "/models/{model}",
    tag = "models",
    params(("model" = String, Path, description = "id or name")),
    responses((status = 200, description = "the model as it was", body = ModelView)),
)]
async fn delete_model(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(model): Named,
) -> Answer<ModelView> {
    Ok(Json(state.app.delete_model(&actor, &model).await?))
}

/// Look at the models of requests that name none, per surface
#[utoipa::path(
    get,
    path = "/defaults",
    tag = "models",
    responses((status = 200, description = "the default models", body = DefaultModelsView)),
)]
async fn get_defaults(State(state): State<AdminState>, Caller(actor): Caller) -> Answer<DefaultModelsView> {
    Ok(Json(state.app.default_models(&actor).await?))
}

/// Change the models of requests that name none: an absent surface stays, `null` removes
#[utoipa::path(
    patch,
    path = "/defaults",
    tag = "models",
    request_body = UpdateDefaultModels,
    responses((status = 200, description = "the default models as they are now", body = DefaultModelsView)),
)]
async fn update_defaults(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    JsonBody(input): JsonBody<UpdateDefaultModels>,
) -> Answer<DefaultModelsView> {
    Ok(Json(state.app.update_default_models(&actor, input).await?))
}
