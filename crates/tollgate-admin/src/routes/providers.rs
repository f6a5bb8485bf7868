//! Providers and their credentials.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use tollgate_control::{AppError, CreateProvider, List, ListQuery, ProviderView, UpdateProvider};
use tollgate_telemetry::redact::excerpt;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, Created, Creation};
use crate::AdminState;
use crate::receive::{Caller, JsonBody, Named, Params};

/// Sends one cheap request (`GET {base_url}/models`) with a provider's credentials. The caller of
/// [`AdminState::new`] owns the HTTP client; it bounds the time and never fails but by its answer.
pub type ProviderProbe =
    Arc<dyn Fn(ProviderView) -> Pin<Box<dyn Future<Output = ProviderTest> + Send>> + Send + Sync>;

/// What a provider said to one cheap request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProviderTest {
    /// Whether it answered with success.
    pub ok: bool,
    /// Its status, where it answered at all.
    pub status: Option<u16>,
    /// Milliseconds until its answer or the failure.
    pub latency_ms: u64,
    /// What went wrong, or how many models it listed.
    pub message: String,
}

/// Longest text of a provider that is passed on.
const MAX_MESSAGE_CHARS: usize = 500;

/// The operations of this resource.
pub(super) fn operations() -> OpenApiRouter<AdminState> {
    OpenApiRouter::new()
        .routes(routes!(create_provider, list_providers))
        .routes(routes!(get_provider, update_provider, delete_provider))
        .routes(routes!(test_provider))
}

/// Create a provider; its credentials are never shown again
#[utoipa::path(
    post,
    path = "/providers",
    tag = "providers",
    request_body = CreateProvider,
    responses((status = 201, description = "the provider", body = ProviderView)),
)]
async fn create_provider(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    JsonBody(input): JsonBody<CreateProvider>,
) -> Creation<ProviderView> {
    Ok(Created(state.app.create_provider(&actor, input).await?))
}

/// List providers
#[utoipa::path(
    get,
    path = "/providers",
    tag = "providers",
    params(ListQuery),
    responses((status = 200, description = "a page of providers", body = List<ProviderView>)),
)]
async fn list_providers(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Params(query): Params<ListQuery>,
) -> Answer<List<ProviderView>> {
    Ok(Json(state.app.list_providers(&actor, &query).await?))
}

/// Look at a provider
#[utoipa::path(
    get,
    path = "/providers/{provider}",
    tag = "providers",
    params(("provider" = String, Path, description = "id or name")),
    responses((status = 200, description = "the provider", body = ProviderView)),
)]
async fn get_provider(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(provider): Named,
) -> Answer<ProviderView> {
    Ok(Json(state.app.provider(&actor, &provider).await?))
}

/// Change a provider: an absent field stays, `null` resets
#[utoipa::path(
    patch,
    path = "/providers/{provider}",
    tag = "providers",
    params(("provider" = String, Path, description = "id or name")),
    request_body = UpdateProvider,
    responses((status = 200, description = "the provider as it is now", body = ProviderView)),
)]
async fn update_provider(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(provider): Named,
    JsonBody(input): JsonBody<UpdateProvider>,
) -> Answer<ProviderView> {
    Ok(Json(state.app.update_provider(&actor, &provider, input).await?))
}

/// Delete a provider with its credentials
#[utoipa::path(
    delete,
    path = "/providers/{provider}",
    tag = "providers",
    params(("provider" = String, Path, description = "id or name")),
    responses((status = 200, description = "the provider as it was", body = ProviderView)),
)]
async fn delete_provider(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(provider): Named,
) -> Answer<ProviderView> {
    Ok(Json(state.app.delete_provider(&actor, &provider).await?))
}

/// Send one cheap request to a provider with its credentials
#[utoipa::path(
    post,
    path = "/providers/{provider}/test",
    tag = "providers",
    params(("provider" = String, Path, description = "id or name")),
    responses((status = 200, description = "what the provider said, success or not", body = ProviderTest)),
)]
async fn test_provider(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(provider): Named,
) -> Answer<ProviderTest> {
    let provider = state.app.provider(&actor, &provider).await?;
    let unavailable = || AppError::Unavailable("this process sends no requests to providers".to_owned());
    let probe = state.probe.as_ref().ok_or_else(unavailable)?;
    let mut test = probe(provider).await;
    test.message = excerpt(&test.message, MAX_MESSAGE_CHARS).into_owned();
    Ok(Json(test))
}
