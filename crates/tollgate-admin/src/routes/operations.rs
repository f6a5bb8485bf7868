//! Pods and the configuration document.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use tollgate_control::{ApplyOptions, ApplyReport, ConfigDocument, HoldQuery, HoldView, List, NodeView};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Answer;
use crate::AdminState;
use crate::receive::{Caller, JsonBody, Params};

/// The operations of this resource.
pub(super) fn operations() -> OpenApiRouter<AdminState> {
    OpenApiRouter::new()
        .routes(routes!(list_nodes))
        .routes(routes!(list_holds))
        .routes(routes!(apply_config))
        .routes(routes!(export_config))
}

/// List the pods that follow this control plane: their policy revision and lag
#[utoipa::path(
    get,
    path = "/nodes",
    tag = "operations",
    responses((status = 200, description = "every pod", body = List<NodeView>)),
)]
async fn list_nodes(State(state): State<AdminState>, Caller(actor): Caller) -> Answer<List<NodeView>> {
    Ok(Json(state.app.list_nodes(&actor).await?))
}

/// List a tenant's holds: money that is kept for requests under way, or whose pod died
#[utoipa::path(
    get,
    path = "/holds",
    tag = "operations",
    params(HoldQuery),
    responses((status = 200, description = "a page of holds", body = List<HoldView>)),
)]
async fn list_holds(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Params(query): Params<HoldQuery>,
) -> Answer<List<HoldView>> {
    Ok(Json(state.app.list_holds(&actor, &query).await?))
}

/// How a configuration document is applied.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ApplyQuery {
    /// Only tell what would change.
    #[serde(default)]
    dry_run: bool,
    /// Delete what the document does not name.
    #[serde(default)]
    prune: bool,
}

/// Make the installation match a configuration document; tells every change
#[utoipa::path(
    post,
    path = "/config/apply",
    tag = "operations",
    params(ApplyQuery),
    request_body = ConfigDocument,
    responses((status = 200, description = "what changed, generated secrets once", body = ApplyReport)),
)]
async fn apply_config(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Params(query): Params<ApplyQuery>,
    JsonBody(document): JsonBody<ConfigDocument>,
) -> Answer<ApplyReport> {
    let options = ApplyOptions { dry_run: query.dry_run, prune: query.prune };
    Ok(Json(state.app.apply_config(&actor, document, options).await?))
}

/// Write the installation as a configuration document, secrets as references
#[utoipa::path(
    get,
    path = "/config/export",
    tag = "operations",
    responses((status = 200, description = "the document", body = ConfigDocument)),
)]
async fn export_config(State(state): State<AdminState>, Caller(actor): Caller) -> Answer<ConfigDocument> {
    Ok(Json(state.app.export_config(&actor).await?))
}
