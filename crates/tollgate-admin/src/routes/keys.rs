//! API keys of a project.

use axum::Json;
use axum::extract::State;
use tollgate_control::{CreateKey, CreatedKey, KeyView, List, ListQuery, RotateKey, UpdateKey};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, Created, Creation};
use crate::AdminState;
use crate::receive::{Caller, JsonBody, Named, OptionalJsonBody, Params};

/// The operations of this resource.
pub(super) fn operations() -> OpenApiRouter<AdminState> {
    OpenApiRouter::new()
        .routes(routes!(create_key, list_keys))
        .routes(routes!(get_key, update_key, revoke_key))
        .routes(routes!(rotate_key))
        .routes(routes!(block_key))
        .routes(routes!(unblock_key))
}

/// Create a key; its text is shown in this answer only
#[utoipa::path(
    post,
    path = "/projects/{project}/keys",
    tag = "keys",
    params(("project" = String, Path, description = "id, name where it is unambiguous, or `tenant/project`")),
    request_body = CreateKey,
    responses((status = 201, description = "the key with its `secret`, once", body = CreatedKey)),
)]
async fn create_key(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(project): Named,
    JsonBody(input): JsonBody<CreateKey>,
) -> Creation<CreatedKey> {
    Ok(Created(state.app.create_key(&actor, &project, input).await?))
}

/// List a project's keys that are not revoked
#[utoipa::path(
    get,
    path = "/projects/{project}/keys",
    tag = "keys",
    params(("project" = String, Path, description = "id, name where it is unambiguous, or `tenant/project`"), ListQuery),
    responses((status = 200, description = "a page of keys", body = List<KeyView>)),
)]
async fn list_keys(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(project): Named,
    Params(query): Params<ListQuery>,
) -> Answer<List<KeyView>> {
    Ok(Json(state.app.list_keys(&actor, Some(&project), &query).await?))
}

/// Look at a key
#[utoipa::path(
    get,
    path = "/keys/{key}",
    tag = "keys",
    params(("key" = String, Path, description = "id, name where it is unambiguous, or `tenant/project/key`")),
    responses((status = 200, description = "the key", body = KeyView)),
)]
async fn get_key(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(key): Named,
) -> Answer<KeyView> {
    Ok(Json(state.app.key(&actor, &key).await?))
}

/// Change a key: an absent field stays, `null` resets
#[utoipa::path(
    patch,
    path = "/keys/{key}",
    tag = "keys",
    params(("key" = String, Path, description = "id, name where it is unambiguous, or `tenant/project/key`")),
    request_body = UpdateKey,
    responses((status = 200, description = "the key as it is now", body = KeyView)),
)]
async fn update_key(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(key): Named,
    JsonBody(input): JsonBody<UpdateKey>,
) -> Answer<KeyView> {
    Ok(Json(state.app.update_key(&actor, &key, input).await?))
}

/// Revoke a key for ever
#[utoipa::path(
    delete,
    path = "/keys/{key}",
    tag = "keys",
    params(("key" = String, Path, description = "id, name where it is unambiguous, or `tenant/project/key`")),
    responses((status = 200, description = "the revoked key", body = KeyView)),
)]
async fn revoke_key(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(key): Named,
) -> Answer<KeyView> {
    Ok(Json(state.app.revoke_key(&actor, &key).await?))
}

/// Give a key a new text; the old one is accepted for `grace_seconds`
#[utoipa::path(
    post,
    path = "/keys/{key}/rotate",
    tag = "keys",
    params(("key" = String, Path, description = "id, name where it is unambiguous, or `tenant/project/key`")),
    request_body = Option<RotateKey>,
    responses((status = 200, description = "the key with its new `secret`, once", body = CreatedKey)),
)]
async fn rotate_key(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(key): Named,
    OptionalJsonBody(input): OptionalJsonBody<RotateKey>,
) -> Answer<CreatedKey> {
    Ok(Json(state.app.rotate_key(&actor, &key, input).await?))
}

/// Refuse a key until it is unblocked
#[utoipa::path(
    post,
    path = "/keys/{key}/block",
    tag = "keys",
    params(("key" = String, Path, description = "id, name where it is unambiguous, or `tenant/project/key`")),
    responses((status = 200, description = "the key as it is now", body = KeyView)),
)]
async fn block_key(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(key): Named,
) -> Answer<KeyView> {
    Ok(Json(state.app.block_key(&actor, &key).await?))
}

/// Accept a blocked key again
#[utoipa::path(
    post,
    path = "/keys/{key}/unblock",
    tag = "keys",
    params(("key" = String, Path, description = "id, name where it is unambiguous, or `tenant/project/key`")),
    responses((status = 200, description = "the key as it is now", body = KeyView)),
)]
async fn unblock_key(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(key): Named,
) -> Answer<KeyView> {
    Ok(Json(state.app.unblock_key(&actor, &key).await?))
}
