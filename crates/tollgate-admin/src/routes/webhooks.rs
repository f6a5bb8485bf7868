//! Webhooks and their deliveries, and the comparison of the ledger with the journal.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use tollgate_control::{
    CreateWebhook, CreatedWebhook, DeliveryQuery, DeliveryView, DriftQuery, DriftView, List, ListQuery,
    UpdateWebhook, WebhookTest, WebhookView,
};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, Created, Creation};
use crate::AdminState;
use crate::answer::ApiError;
use crate::receive::{Caller, JsonBody, Named, Params};

/// The operations of this resource.
pub(super) fn operations() -> OpenApiRouter<AdminState> {
    OpenApiRouter::new()
        .routes(routes!(create_webhook, list_webhooks))
        .routes(routes!(get_webhook, update_webhook, delete_webhook))
        .routes(routes!(test_webhook))
        .routes(routes!(list_deliveries))
        .routes(routes!(start_drift, get_drift))
}

/// Create a webhook; a secret that is made here is shown this once
#[utoipa::path(
    post,
    path = "/webhooks",
    tag = "webhooks",
    request_body = CreateWebhook,
    responses(
        (status = 201, description = "the webhook", body = CreatedWebhook),
        (status = 404, description = "no such tenant", body = crate::ErrorBody),
    ),
)]
async fn create_webhook(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    JsonBody(input): JsonBody<CreateWebhook>,
) -> Creation<CreatedWebhook> {
    Ok(Created(state.app.create_webhook(&actor, input).await?))
}

/// List webhooks
#[utoipa::path(
    get,
    path = "/webhooks",
    tag = "webhooks",
    params(ListQuery),
    responses((status = 200, description = "a page of webhooks", body = List<WebhookView>)),
)]
async fn list_webhooks(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Params(query): Params<ListQuery>,
) -> Answer<List<WebhookView>> {
    Ok(Json(state.app.list_webhooks(&actor, &query).await?))
}

/// Look at a webhook
#[utoipa::path(
    get,
    path = "/webhooks/{webhook}",
    tag = "webhooks",
    params(("webhook" = String, Path, description = "id or name")),
    responses((status = 200, description = "the webhook", body = WebhookView)),
)]
async fn get_webhook(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(webhook): Named,
) -> Answer<WebhookView> {
    Ok(Json(state.app.webhook(&actor, &webhook).await?))
}

/// Change a webhook: an absent field stays; disabling gives up what is pending
#[utoipa::path(
    patch,
    path = "/webhooks/{webhook}",
    tag = "webhooks",
    params(("webhook" = String, Path, description = "id or name")),
    request_body = UpdateWebhook,
    responses((status = 200, description = "the webhook as it is now", body = WebhookView)),
)]
async fn update_webhook(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(webhook): Named,
    JsonBody(input): JsonBody<UpdateWebhook>,
) -> Answer<WebhookView> {
    Ok(Json(state.app.update_webhook(&actor, &webhook, input).await?))
}

/// Delete a webhook with its deliveries
#[utoipa::path(
    delete,
    path = "/webhooks/{webhook}",
    tag = "webhooks",
    params(("webhook" = String, Path, description = "id or name")),
    responses((status = 200, description = "the webhook as it was", body = WebhookView)),
)]
async fn delete_webhook(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(webhook): Named,
) -> Answer<WebhookView> {
    Ok(Json(state.app.delete_webhook(&actor, &webhook).await?))
}

/// Send a signed test message to a webhook at once
#[utoipa::path(
    post,
    path = "/webhooks/{webhook}/test",
    tag = "webhooks",
    params(("webhook" = String, Path, description = "id or name")),
    responses((status = 200, description = "what the receiver said, success or not", body = WebhookTest)),
)]
async fn test_webhook(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(webhook): Named,
) -> Answer<WebhookTest> {
    Ok(Json(state.app.test_webhook(&actor, &webhook).await?))
}

/// List a webhook's deliveries, newest first
#[utoipa::path(
    get,
    path = "/webhooks/{webhook}/deliveries",
    tag = "webhooks",
    params(("webhook" = String, Path, description = "id or name"), DeliveryQuery),
    responses((status = 200, description = "a page of deliveries", body = List<DeliveryView>)),
)]
async fn list_deliveries(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(webhook): Named,
    Params(query): Params<DeliveryQuery>,
) -> Answer<List<DeliveryView>> {
    Ok(Json(state.app.list_deliveries(&actor, &webhook, &query).await?))
}

/// Begin to compare the ledger's counters with the journal, unless that is under way; look at it with GET
#[utoipa::path(
    post,
    path = "/ledger/drift",
    tag = "operations",
    params(DriftQuery),
    responses((status = 202, description = "the comparison under way", body = DriftView)),
)]
async fn start_drift(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Params(query): Params<DriftQuery>,
) -> Result<(StatusCode, Json<DriftView>), ApiError> {
    Ok((StatusCode::ACCEPTED, Json(state.app.start_drift(&actor, query)?)))
}

/// Look at the latest comparison of this replica: every counter that differs
#[utoipa::path(
    get,
    path = "/ledger/drift",
    tag = "operations",
    responses((status = 200, description = "how it stands", body = DriftView)),
)]
async fn get_drift(State(state): State<AdminState>, Caller(actor): Caller) -> Answer<DriftView> {
    Ok(Json(state.app.drift(&actor)?))
}
