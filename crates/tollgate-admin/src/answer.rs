//! What the API says when it does not do what was asked.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tollgate_control::{AppError, FieldProblem};
use utoipa::ToSchema;

/// The body of every answer that is no success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// What went wrong and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorDetail {
    /// A stable name to program against.
    #[schema(example = "invalid")]
    pub code: String,
    /// One sentence for people.
    pub message: String,
    /// The fields concerned, where the answer is about fields.
    pub fields: Vec<FieldProblem>,
}

/// Any refusal or failure, ready to be sent. Its message is fit for the caller's eyes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    fields: Vec<FieldProblem>,
}

/// What is said about a text with NUL: PostgreSQL keeps none.
pub(crate) const NO_NUL: &str = "must not hold the NUL character (U+0000): leave it out";

/// After how many seconds a caller may try again where waiting helps.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

impl ApiError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), fields: Vec::new() }
    }

    /// 400 for the request as a whole.
    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", message)
    }

    /// 400 for one query parameter or header.
    pub(crate) fn bad_parameter(name: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        let fields = vec![FieldProblem::new(name, &message)];
        Self { fields, ..Self::malformed(format!("{name}: {message}")) }
    }

    /// 404 for a path that no operation has.
    pub(crate) fn no_such_path() -> Self {
        let message = "there is no such path; GET /api/v1/openapi.json lists them all";
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// 404 for a name in the path that nothing can have.
    pub(crate) fn no_such_name() -> Self {
        let message = "there is no such object: no name holds the NUL character (U+0000)";
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// 405.
    pub(crate) fn method_not_allowed() -> Self {
        let message = "this path does not take this method; the `allow` header lists those it takes";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
    }

    /// 413.
    pub(crate) fn too_large(limit_bytes: usize) -> Self {
        let message = format!("the body is larger than {limit_bytes} bytes; send less at once");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", message)
    }

    /// 415.
    pub(crate) fn not_json() -> Self {
        let message = "send the body as JSON with `content-type: application/json`";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
    }

    /// 503 for a request that took too long.
    pub(crate) fn timed_out() -> Self {
        let message = "the request took too long and was given up; try again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }

    /// 409 for a write that is being done at this moment.
    pub(crate) fn write_in_progress() -> Self {
        let message =
            "a request with this idempotency key is being served; repeat it in a moment for its answer";
        Self::new(StatusCode::CONFLICT, "idempotency_in_progress", message)
    }

    /// 422 for an idempotency key that was used for something else.
    pub(crate) fn idempotency_key_reused() -> Self {
        let message = "this idempotency key was used for a different request; make a new key for each write";
        let fields = vec![FieldProblem::new("idempotency-key", message)];
        Self { fields, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", message) }
    }
}

impl From<AppError> for ApiError {
    fn from(error: AppError) -> Self {
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let answer = Self::new(status, error.code(), error.to_string());
        match error {
            AppError::Invalid(fields) => Self { fields, ..answer },
            AppError::Conflict { path, message } if !path.is_empty() => {
                Self { fields: vec![FieldProblem::new(path, message)], ..answer }
            }
            AppError::Internal(reason) => {
                tracing::error!(error = reason.as_str(), "admin request failed by a fault of ours");
                let message =
                    "internal error; the log has the reason under this answer's x-tollgate-request-id";
                Self { message: message.to_owned(), ..answer }
            }
            _ => answer,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status;
        let detail = ErrorDetail { code: self.code.to_owned(), message: self.message, fields: self.fields };
        let mut response = (status, Json(ErrorBody { error: detail })).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE || self.code == "idempotency_in_progress" {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        response
    }
}
