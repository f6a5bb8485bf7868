//! Receipts of finished requests, and the audit log.

use axum::Json;
use axum::extract::State;
use tollgate_control::{AuditQuery, AuditView, List, RequestQuery, RequestView};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Answer;
use crate::AdminState;
use crate::receive::{Caller, Named, Params};

/// The operations of this resource.
pub(super) fn operations() -> OpenApiRouter<AdminState> {
    OpenApiRouter::new()
        .routes(routes!(list_requests))
        .routes(routes!(get_request))
        .routes(routes!(list_audit))
}

/// List receipts, the newest first
#[utoipa::path(
    get,
    path = "/requests",
    tag = "requests",
    params(RequestQuery),
    responses((status = 200, description = "a page of receipts", body = List<RequestView>)),
)]
async fn list_requests(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Params(query): Params<RequestQuery>,
) -> Answer<List<RequestView>> {
    Ok(Json(state.app.list_requests(&actor, &query).await?))
}

/// Look at a receipt: attempts, usage by class, prices, hold and settlement
#[utoipa::path(
    get,
    path = "/requests/{request}",
    tag = "requests",
    params(("request" = String, Path, description = "id, as in `x-tollgate-request-id`")),
    responses((status = 200, description = "the receipt", body = RequestView)),
)]
async fn get_request(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(request): Named,
) -> Answer<RequestView> {
    Ok(Json(state.app.request(&actor, &request).await?))
}

/// List the audit log, the newest first
#[utoipa::path(
    get,
    path = "/audit",
    tag = "operations",
    params(AuditQuery),
    responses((status = 200, description = "a page of entries", body = List<AuditView>)),
)]
async fn list_audit(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Params(query): Params<AuditQuery>,
) -> Answer<List<AuditView>> {
    Ok(Json(state.app.list_audit(&actor, &query).await?))
}
