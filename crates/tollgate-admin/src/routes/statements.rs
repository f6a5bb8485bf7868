//! Statements of tenants, and the proof of the books.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tollgate_control::{StatementQuery, StatementView, VerificationView};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Answer;
use crate::AdminState;
use crate::answer::ApiError;
use crate::receive::{Caller, Named, Params};
use crate::statement_page;

/// The operations of this resource.
pub(super) fn operations() -> OpenApiRouter<AdminState> {
    OpenApiRouter::new().routes(routes!(get_statement)).routes(routes!(start_verification, get_verification))
}

/// The shape of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum StatementFormat {
    /// A JSON object.
    Json,
    /// Comma-separated values with a header line.
    Csv,
    /// A page to print.
    Html,
}

/// How a statement is written.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct FormatQuery {
    /// Where absent the `accept` header decides between them; `json` where it does not.
    #[param(inline)]
    #[serde(default)]
    format: Option<StatementFormat>,
}

/// The first type in `accept` that a statement has.
fn accepted(headers: &HeaderMap) -> StatementFormat {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = |part: &str| match part.split(';').next().unwrap_or_default().trim() {
        "application/json" => Some(StatementFormat::Json),
        "text/csv" => Some(StatementFormat::Csv),
        "text/html" => Some(StatementFormat::Html),
        _ => None,
    };
    accept.split(',').find_map(format).unwrap_or(StatementFormat::Json)
}

fn answer(format: StatementFormat, statement: StatementView) -> Response {
    let with_type = |content_type: &'static str, text: String| {
        ([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))], text).into_response()
    };
    match format {
        StatementFormat::Json => Json(statement).into_response(),
        StatementFormat::Csv => with_type("text/csv; charset=utf-8", statement_page::table(&statement)),
        StatementFormat::Html => {
            let mut page = with_type("text/html; charset=utf-8", statement_page::page(&statement));
            // It needs nothing but its own style.
            let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
            page.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
            page
        }
    }
}

/// A tenant's month: opening balance, credits, charges by project, model and day, closing balance
#[utoipa::path(
    get,
    path = "/tenants/{tenant}/statement",
    tag = "credits",
    params(("tenant" = String, Path, description = "id or name"), StatementQuery, FormatQuery),
    responses((
        status = 200,
        description = "the statement; with `format=csv` as a table, with `format=html` as a page to print",
        content((StatementView = "application/json"), (String = "text/csv"), (String = "text/html")),
    )),
)]
async fn get_statement(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(tenant): Named,
    Params(query): Params<StatementQuery>,
    Params(FormatQuery { format }): Params<FormatQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let statement = state.app.statement(&actor, &tenant, &query).await?;
    Ok(answer(format.unwrap_or_else(|| accepted(&headers)), statement))
}

/// Begin to derive every balance and sum anew, unless that is under way; look at it with GET
#[utoipa::path(
    post,
    path = "/ledger/verify",
    tag = "operations",
    responses((status = 202, description = "the verification under way", body = VerificationView)),
)]
async fn start_verification(
    State(state): State<AdminState>,
    Caller(actor): Caller,
) -> Result<(StatusCode, Json<VerificationView>), ApiError> {
    Ok((StatusCode::ACCEPTED, Json(state.app.start_verification(&actor)?)))
}

/// Look at the latest verification of this replica: every row that is wrong by name
#[utoipa::path(
    get,
    path = "/ledger/verify",
    tag = "operations",
    responses((status = 200, description = "how it stands", body = VerificationView)),
)]
async fn get_verification(
    State(state): State<AdminState>,
    Caller(actor): Caller,
) -> Answer<VerificationView> {
    Ok(Json(state.app.verification(&actor)?))
}
