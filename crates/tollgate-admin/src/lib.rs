//! The admin API: REST over the control plane's use cases, described by an OpenAPI document that is made from
//! the router itself. This crate translates; what may be done and what holds is decided in `tollgate-control`.
//!
//! A request passes, in order: `guard::identify` (request id, time limit, security headers),
//! `guard::authenticate`, `guard::check_target`, `guard::receive_write` (body limit, idempotency key),
//! then its operation in `routes`.

mod answer;
mod csv;
mod document;
mod guard;
mod json;
mod receive;
mod routes;
mod statement_page;

use std::sync::Arc;

use axum::http::{HeaderValue, header};
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Extension, Router};
use tollgate_control::App;
use utoipa::openapi::{InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder};

pub use answer::{ErrorBody, ErrorDetail};
pub use guard::{MAX_BODY_BYTES, MAX_CONFIG_BYTES, REQUEST_TIMEOUT};
pub use routes::{ProviderProbe, ProviderTest};

use crate::answer::ApiError;
use crate::guard::Inputs;

/// Where the API lives on the admin port.
const PREFIX: &str = "/api/v1";

/// What the operations work on.
#[derive(Clone)]
pub struct AdminState {
    pub(crate) app: App,
    pub(crate) probe: Option<ProviderProbe>,
    pub(crate) inputs: Arc<Inputs>,
}

impl AdminState {
    /// Serves `app`; `probe` sends the cheap request of `POST /providers/{provider}/test`, which answers
    /// that it is not available where there is none.
    #[must_use]
    pub fn new(app: App, probe: Option<ProviderProbe>) -> Self {
        Self { app, probe, inputs: Arc::default() }
    }
}

/// The API under `/api/v1`; other paths answer a JSON 404.
pub fn router(mut state: AdminState) -> Router {
    let (operations, mut document) = routes::operations();
    state.inputs = Arc::new(Inputs::of(&mut document));
    let document = document::complete(describe(document));
    let guarded = operations
        .route_layer(from_fn_with_state(state.clone(), guard::receive_write))
        .route_layer(from_fn_with_state(state.clone(), guard::check_target))
        .route_layer(from_fn_with_state(state.clone(), guard::authenticate));
    let json = serde_json::to_string(&document).expect("an OpenAPI document has string keys only");
    let document_route = Router::new()
        .route(&format!("{PREFIX}/openapi.json"), get(serve_document))
        .layer(Extension(DocumentText(json.into())));
    guarded
        .merge(document_route)
        .fallback(async || ApiError::no_such_path())
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .layer(from_fn_with_state(state.clone(), guard::identify))
        .with_state(state)
}

/// The OpenAPI document that [`router`] serves at `/api/v1/openapi.json`.
#[must_use]
pub fn openapi() -> OpenApi {
    let (_, document) = routes::operations();
    document::complete(describe(document))
}

fn describe(document: OpenApi) -> OpenApi {
    let info = InfoBuilder::new()
        .title("Tollgate admin API")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(Some(LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build()))
        .build();
    OpenApiBuilder::from(document).info(info).build()
}

const DESCRIPTION: &str = "Tenants, projects, keys, budgets, credit, providers, models, prices and reports. \
    An object is named by id or by name wherever a path has `{…}`. Lists take `limit` and `after` and answer \
    `{\"data\": […], \"next\": …}`. Amounts are decimal strings in USD.";

/// The document, serialised once.
#[derive(Clone)]
struct DocumentText(Arc<str>);

async fn serve_document(Extension(DocumentText(text)): Extension<DocumentText>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], text.to_string())
}
