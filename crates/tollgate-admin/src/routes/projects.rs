//! Projects of a tenant.

use axum::Json;
use axum::extract::State;
use tollgate_control::{CreateProject, List, ListQuery, ProjectView, UpdateProject};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, Created, Creation};
use crate::AdminState;
use crate::receive::{Caller, JsonBody, Named, Params};

/// The operations of this resource.
pub(super) fn operations() -> OpenApiRouter<AdminState> {
    OpenApiRouter::new().routes(routes!(create_project, list_projects)).routes(routes!(
        get_project,
        update_project,
        delete_project
    ))
}

/// Create a project of a tenant
#[utoipa::path(
    post,
    path = "/tenants/{tenant}/projects",
    tag = "projects",
    params(("tenant" = String, Path, description = "id or name")),
    request_body = CreateProject,
    responses((status = 201, description = "the project", body = ProjectView)),
)]
async fn create_project(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(tenant): Named,
    JsonBody(input): JsonBody<CreateProject>,
) -> Creation<ProjectView> {
    Ok(Created(state.app.create_project(&actor, &tenant, input).await?))
}

/// List a tenant's projects
#[utoipa::path(
    get,
    path = "/tenants/{tenant}/projects",
    tag = "projects",
    params(("tenant" = String, Path, description = "id or name"), ListQuery),
    responses((status = 200, description = "a page of projects", body = List<ProjectView>)),
)]
async fn list_projects(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(tenant): Named,
    Params(query): Params<ListQuery>,
) -> Answer<List<ProjectView>> {
    Ok(Json(state.app.list_projects(&actor, Some(&tenant), &query).await?))
}

/// Look at a project
#[utoipa::path(
    get,
    path = "/projects/{project}",
    tag = "projects",
    params(("project" = String, Path, description = "id, name where it is unambiguous, or `tenant/project`")),
    responses((status = 200, description = "the project", body = ProjectView)),
)]
async fn get_project(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(project): Named,
) -> Answer<ProjectView> {
    Ok(Json(state.app.project(&actor, &project).await?))
}

/// Change a project: an absent field stays, `null` resets
#[utoipa::path(
    patch,
    path = "/projects/{project}",
    tag = "projects",
    params(("project" = String, Path, description = "id, name where it is unambiguous, or `tenant/project`")),
    request_body = UpdateProject,
    responses((status = 200, description = "the project as it is now", body = ProjectView)),
)]
async fn update_project(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(project): Named,
    JsonBody(input): JsonBody<UpdateProject>,
) -> Answer<ProjectView> {
    Ok(Json(state.app.update_project(&actor, &project, input).await?))
}

/// Delete a project with its keys and budgets; its journal stays
#[utoipa::path(
    delete,
    path = "/projects/{project}",
    tag = "projects",
    params(("project" = String, Path, description = "id, name where it is unambiguous, or `tenant/project`")),
    responses((status = 200, description = "the project as it was", body = ProjectView)),
)]
async fn delete_project(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(project): Named,
) -> Answer<ProjectView> {
    Ok(Json(state.app.delete_project(&actor, &project).await?))
}
