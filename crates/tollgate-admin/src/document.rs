//! The OpenAPI document: made from the operations that the router serves, so that it cannot drift, with what
//! all of them have in common added in one place.

use axum::http::Method;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, PathItem, Ref, RefOr, Required, Response, ResponseBuilder};

use crate::guard::{IDEMPOTENCY_KEY, MAX_IDEMPOTENCY_KEY_CHARS};

/// The security scheme's name in the document.
const SCHEME: &str = "admin_token";

/// Adds to `document` what every operation shares: the security scheme, the idempotency header of writes, and
/// the answers that layers and extractors give on the operation's behalf.
pub(crate) fn complete(mut document: OpenApi) -> OpenApi {
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            complete_operation(path, &method, operation);
        }
    }
    let scheme =
        HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("an admin token")).build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(SCHEME, SecurityScheme::Http(scheme));
    document
}

fn complete_operation(path: &str, method: &Method, operation: &mut Operation) {
    let is_write = *method != Method::GET;
    let is_open = operation.security.as_ref().is_some_and(Vec::is_empty);
    if !is_open {
        operation.security = Some(vec![SecurityRequirement::new(SCHEME, Vec::<String>::new())]);
        refuse(operation, "401", "no admin token, or an unknown one");
        refuse(operation, "403", "the caller's role does not cover it");
    }
    refuse(operation, "400", "malformed: bad JSON, an unknown or wrong query parameter");
    refuse(operation, "500", "a fault of ours; the log has the reason");
    refuse(operation, "503", "the database or the ledger cannot be reached now; try again");
    if path.contains('{') {
        refuse(operation, "404", "no such object, or none that the caller may know of");
    }
    let queries: Vec<String> = operation.parameters.iter().flatten().filter_map(query_name).collect();
    if !queries.is_empty() {
        refuse(operation, "422", "a parameter does not hold; `fields` names it");
    }
    let names_another = |name: &str| queries.iter().any(|query| query == name);
    if ["tenant", "project", "key"].into_iter().any(names_another) {
        refuse(operation, "404", "a parameter names no object, or none that the caller may know of");
    }
    if ["project", "key"].into_iter().any(|name| names_another(name) || path.contains(&format!("{{{name}}}")))
    {
        refuse(operation, "409", "there are several of that name: use the id");
    }
    if is_write {
        operation.parameters.get_or_insert_default().push(RefOr::T(idempotency_parameter()));
        refuse(operation, "409", "it contradicts what is there");
        refuse(operation, "413", "the body is too large");
        refuse(operation, "422", "the input does not hold; `fields` names every problem");
    }
    if operation.request_body.is_some() {
        refuse(operation, "415", "the body is not sent as JSON");
    }
}

/// The name of a query parameter; `None` for others.
pub(crate) fn query_name(parameter: &RefOr<Parameter>) -> Option<String> {
    match parameter {
        RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Query => Some(parameter.name.clone()),
        _ => None,
    }
}

/// Adds an error answer unless the operation describes that status itself.
fn refuse(operation: &mut Operation, status: &str, description: &str) {
    operation
        .responses
        .responses
        .entry(status.to_owned())
        .or_insert_with(|| RefOr::T(error_response(description)));
}

fn error_response(description: &str) -> Response {
    let schema = Ref::from_schema_name("ErrorBody");
    let content = ContentBuilder::new().schema(Some(schema)).build();
    ResponseBuilder::new().description(description).content("application/json", content).build()
}

fn idempotency_parameter() -> Parameter {
    let schema = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(MAX_IDEMPOTENCY_KEY_CHARS))
        .pattern(Some("^[!-~]+$"));
    ParameterBuilder::new()
        .name(IDEMPOTENCY_KEY)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("a repeated write with the same key gets the first one's answer for 24 hours"))
        .schema(Some(schema.build()))
        .build()
}

/// Every operation of a path with its method.
pub(crate) fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    [
        (Method::GET, item.get.as_mut()),
        (Method::POST, item.post.as_mut()),
        (Method::PATCH, item.patch.as_mut()),
        (Method::PUT, item.put.as_mut()),
        (Method::DELETE, item.delete.as_mut()),
    ]
    .into_iter()
    .filter_map(|(method, operation)| operation.map(|operation| (method, operation)))
}
