//! Spend reports, as JSON or as a table.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tollgate_control::{UsageQuery, UsageReport, UsageRowView};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::AdminState;
use crate::answer::ApiError;
use crate::csv::push_row;
use crate::receive::{Caller, Params};

/// The operations of this resource.
pub(super) fn operations() -> OpenApiRouter<AdminState> {
    OpenApiRouter::new().routes(routes!(get_usage))
}

/// The shape of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ReportFormat {
    /// A JSON object.
    #[default]
    Json,
    /// Comma-separated values with a header line.
    Csv,
}

/// How a report is written.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct FormatQuery {
    /// `json` where absent.
    #[param(inline)]
    #[serde(default)]
    format: ReportFormat,
}

/// Report requests, tokens and cost by whom, of what and when
#[utoipa::path(
    get,
    path = "/usage",
    tag = "usage",
    params(UsageQuery, FormatQuery),
    responses((
        status = 200,
        description = "the report; with `format=csv` as a table",
        content((UsageReport = "application/json"), (String = "text/csv")),
    )),
)]
async fn get_usage(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Params(query): Params<UsageQuery>,
    Params(FormatQuery { format }): Params<FormatQuery>,
) -> Result<Response, ApiError> {
    let report = state.app.usage(&actor, &query).await?;
    Ok(match format {
        ReportFormat::Json => Json(report).into_response(),
        ReportFormat::Csv => {
            let csv = HeaderValue::from_static("text/csv; charset=utf-8");
            ([(header::CONTENT_TYPE, csv)], table(&query, &report)).into_response()
        }
    })
}

/// Columns that every report ends with.
const COUNTS: [&str; 7] =
    ["requests", "input_tokens", "cached_tokens", "output_tokens", "cost_usd", "provider_cost_usd", "errors"];

/// A header line, then a line per row: the bucket where asked for, the groups as asked for, the counts.
fn table(query: &UsageQuery, report: &UsageReport) -> String {
    let groups = query.group_by.as_deref().unwrap_or_default().split(',').map(str::trim);
    let groups: Vec<&str> = groups.filter(|group| !group.is_empty()).collect();
    let bucket = query.bucket.map(|_| "bucket");
    let mut table = String::new();
    push_row(&mut table, bucket.into_iter().chain(groups.iter().copied()).chain(COUNTS));
    for row in &report.data {
        let starts_at = bucket.map(|_| row.bucket.map(|time| time.0.to_string()).unwrap_or_default());
        let counts = [
            row.requests.to_string(),
            row.input_tokens.to_string(),
            row.cached_tokens.to_string(),
            row.output_tokens.to_string(),
            row.cost_usd.clone(),
            row.provider_cost_usd.clone().unwrap_or_default(),
            row.errors.to_string(),
        ];
        let cells = groups.iter().map(|group| group_cell(row, group));
        let cells = starts_at.as_deref().into_iter().chain(cells).chain(counts.iter().map(String::as_str));
        push_row(&mut table, cells);
    }
    table
}

/// The value of one group; empty where the requests had none.
fn group_cell<'row>(row: &'row UsageRowView, group: &str) -> &'row str {
    let value = match group {
        "tenant" => row.tenant.as_ref(),
        "project" => row.project.as_ref(),
        "key" => row.key.as_ref(),
        "model" => row.model.as_ref(),
        "provider" => row.provider.as_ref(),
        "user" => row.user.as_ref(),
        label => row.labels.get(label.strip_prefix("label:").unwrap_or(label)).and_then(Option::as_ref),
    };
    value.map_or("", String::as_str)
}
