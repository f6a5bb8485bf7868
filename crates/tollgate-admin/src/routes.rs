//! One file per resource; each operation is one call to a use case.

mod budgets;
mod catalog;
mod end_users;
mod increases;
mod keys;
mod margins;
mod models;
mod operations;
mod prices;
mod projects;
mod providers;
mod requests;
mod statements;
mod tenants;
mod usage;
mod webhooks;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use serde::Serialize;
use tollgate_control::{FieldProblem, UsageBucketName};
use utoipa::ToSchema;
use utoipa::openapi::schema::Schema;
use utoipa::openapi::{ComponentsBuilder, OpenApi, OpenApiBuilder, RefOr};
use utoipa_axum::router::OpenApiRouter;

pub use self::providers::{ProviderProbe, ProviderTest};

use crate::answer::{ApiError, ErrorBody, ErrorDetail};
use crate::{AdminState, PREFIX};

/// Every operation with its description.
pub(crate) fn operations() -> (Router<AdminState>, OpenApi) {
    let resources = OpenApiRouter::new()
        .merge(tenants::operations())
        .merge(projects::operations())
        .merge(keys::operations())
        .merge(budgets::operations())
        .merge(increases::operations())
        .merge(end_users::operations())
        .merge(providers::operations())
        .merge(models::operations())
        .merge(prices::operations())
        .merge(margins::operations())
        .merge(usage::operations())
        .merge(statements::operations())
        .merge(requests::operations())
        .merge(operations::operations())
        .merge(catalog::operations())
        .merge(webhooks::operations());
    OpenApiRouter::with_openapi(shared_schemas()).nest(PREFIX, resources).split_for_parts()
}

/// The schemas that no single operation brings along: those of errors and of query parameters.
fn shared_schemas() -> OpenApi {
    let components = ComponentsBuilder::new()
        .schemas_from_iter([named_schema::<ErrorBody>(), named_schema::<ErrorDetail>()])
        .schemas_from_iter([named_schema::<FieldProblem>(), named_schema::<UsageBucketName>()])
        .build();
    OpenApiBuilder::new().components(Some(components)).build()
}

fn named_schema<T: ToSchema>() -> (String, RefOr<Schema>) {
    (T::name().into_owned(), T::schema())
}

/// What an operation answers.
type Answer<T> = Result<Json<T>, ApiError>;

/// An object that was made: 201.
struct Created<T>(T);

impl<T: Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        (StatusCode::CREATED, Json(self.0)).into_response()
    }
}

/// What an operation that makes something answers.
type Creation<T> = Result<Created<T>, ApiError>;
