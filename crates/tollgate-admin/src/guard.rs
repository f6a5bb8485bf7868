//! What stands in front of every operation: a request id, a time limit, plain security headers, the login,
//! and for writes the bound on the body and the idempotency key.

use std::collections::HashMap;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tollgate_control::{Actor, App, AppError, IdempotentAnswer, IdempotentState, IdempotentWrite};
use tollgate_domain::{EntropySource, RequestId};
use tracing::Instrument;
use utoipa::openapi::OpenApi;

use crate::AdminState;
use crate::answer::{ApiError, NO_NUL};
use crate::document::{operations, query_name};
use crate::json::Json;

/// Longest time a request may take, its body's arrival included: applying a large configuration takes seconds.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest body of a write: the largest object, a provider with many credentials, stays far below.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;
/// Largest configuration document: some ten thousand keys.
pub const MAX_CONFIG_BYTES: usize = 16 * 1024 * 1024;
/// The header that names a write, so that a repeated one is not done twice.
pub(crate) const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Longest idempotency key; clients send UUIDs.
pub(crate) const MAX_IDEMPOTENCY_KEY_CHARS: usize = 255;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-tollgate-request-id");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The answers are data for programs: nothing is to be cached, framed, sniffed or run.
const SECURITY_HEADERS: [(HeaderName, HeaderValue); 5] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; base-uri 'none'"),
    ),
];

/// Outermost: names the request, bounds its time, and sets the headers that every answer has.
pub(crate) async fn identify(State(state): State<AdminState>, request: Request, next: Next) -> Response {
    let request_id = new_request_id(&state).to_string();
    let method = request.method().as_str().to_owned();
    let span = tracing::info_span!("admin request", request_id = request_id.as_str(), method);
    let answered = tokio::time::timeout(REQUEST_TIMEOUT, next.run(request).instrument(span.clone())).await;
    let mut response = answered.unwrap_or_else(|_| ApiError::timed_out().into_response());
    span.in_scope(|| tracing::debug!(status = response.status().as_u16(), "admin request finished"));
    let headers = response.headers_mut();
    for (name, value) in SECURITY_HEADERS {
        headers.insert(name, value);
    }
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        headers.insert(REQUEST_ID, value);
    }
    response
}

fn new_request_id(state: &AdminState) -> RequestId {
    let mut entropy = EntropySource::default();
    if let Err(error) = getrandom::fill(&mut entropy) {
        tracing::warn!(%error, "no randomness for request ids: they repeat within a millisecond");
    }
    RequestId::generate(state.app.now(), entropy)
}

/// Finds out who calls; without a valid token nothing else is looked at.
pub(crate) async fn authenticate(
    State(state): State<AdminState>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let token = bearer_token(request.headers()).ok_or(AppError::Unauthenticated)?;
    let actor = state.app.authenticate(token)?;
    request.extensions_mut().insert(actor);
    Ok(next.run(request).await)
}

fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Bounds and reads the body of a write, does a write with an idempotency key once, and answers when the pods
/// have what was written.
pub(crate) async fn receive_write(
    State(state): State<AdminState>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(next.run(request).await);
    }
    let limit_bytes = body_limit(&request);
    let (parts, body) = request.into_parts();
    let body = read_bounded(body, limit_bytes).await?;
    let path = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
    state.inputs.check_body(&parts.method, path, &body)?;
    let actor = parts.extensions.get::<Actor>().ok_or(AppError::Unauthenticated)?;
    let write = idempotency_key(&parts.headers)?.map(|key| {
        let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
        IdempotentWrite::new(actor, key, &[parts.method.as_str().as_bytes(), target.as_bytes(), &body])
    });
    let request = Request::from_parts(parts, Body::from(body));
    let response = match write {
        Some(write) => write_once(&state.app, &write, request, next).await?,
        None => next.run(request).await,
    };
    if response.status().is_success() {
        state.app.rolled_out().await;
    }
    Ok(response)
}

fn body_limit(request: &Request) -> usize {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    if path.ends_with("/config/apply") { MAX_CONFIG_BYTES } else { MAX_BODY_BYTES }
}

async fn read_bounded(body: Body, limit_bytes: usize) -> Result<Bytes, ApiError> {
    to_bytes(body, limit_bytes).await.map_err(|error| {
        let cause = std::error::Error::source(&error);
        if cause.is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>) {
            ApiError::too_large(limit_bytes)
        } else {
            ApiError::malformed("the body ended too early; send it again")
        }
    })
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let is_key = |text: &&str| {
        (1..=MAX_IDEMPOTENCY_KEY_CHARS).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let key = value.to_str().ok().filter(is_key);
    let message =
        format!("must be 1 to {MAX_IDEMPOTENCY_KEY_CHARS} visible ASCII characters, for example a UUID");
    key.map(Some).ok_or_else(|| ApiError::bad_parameter(IDEMPOTENCY_KEY, message))
}

/// A write that failed gives its key back, so that it may be corrected or tried again under the same one.
async fn write_once(
    app: &App,
    write: &IdempotentWrite,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    match app.begin_idempotent(write).await? {
        IdempotentState::First => {}
        IdempotentState::InProgress => return Err(ApiError::write_in_progress()),
        IdempotentState::Mismatch => return Err(ApiError::idempotency_key_reused()),
        IdempotentState::Done(answer) => return Ok(replay(answer)),
    }
    let response = next.run(request).await;
    if !response.status().is_success() {
        app.abandon_idempotent(write).await?;
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let body = read_bounded(body, MAX_CONFIG_BYTES).await?;
    let text = String::from_utf8_lossy(&body).into_owned();
    let answer = IdempotentAnswer { status: parts.status.as_u16(), body: text };
    if let Err(error) = app.finish_idempotent(write, &answer).await {
        // it was done: the caller must see the answer, which may hold a key that is shown once
        tracing::error!(%error, "the answer to an idempotent write could not be kept");
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

fn replay(answer: IdempotentAnswer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let json = HeaderValue::from_static("application/json");
    let headers = [(header::CONTENT_TYPE, json), (REPLAYED, HeaderValue::from_static("true"))];
    (status, headers, answer.body).into_response()
}

// === what an operation takes ===

/// What every operation takes, by method and path as the router has it.
#[derive(Debug, Default)]
pub(crate) struct Inputs(HashMap<(Method, String), OperationInputs>);

#[derive(Debug, Default)]
struct OperationInputs {
    query_names: Vec<String>,
    has_body: bool,
}

impl Inputs {
    /// Reads them out of the document, so that what is accepted is what is described.
    pub(crate) fn of(document: &mut OpenApi) -> Self {
        let mut inputs = HashMap::new();
        for (path, item) in &mut document.paths.paths {
            for (method, operation) in operations(item) {
                let query_names = operation.parameters.iter().flatten().filter_map(query_name).collect();
                let has_body = operation.request_body.is_some();
                inputs.insert((method, path.clone()), OperationInputs { query_names, has_body });
            }
        }
        Self(inputs)
    }

    fn operation(&self, method: &Method, path: &str) -> Option<&OperationInputs> {
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        self.0.get(&(method.clone(), path.to_owned()))
    }

    fn check_query(&self, method: &Method, path: &str, query: &str) -> Result<(), ApiError> {
        let known = self.operation(method, path).map_or(&[][..], |inputs| &inputs.query_names);
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query)
            .map_err(|_| ApiError::malformed("the query string is not of the form `name=value&…`"))?;
        for (index, (name, value)) in pairs.iter().enumerate() {
            if !known.contains(name) {
                return Err(ApiError::bad_parameter(name, unknown_parameter(name, known)));
            }
            if value.contains('\0') {
                return Err(ApiError::bad_parameter(name, NO_NUL));
            }
            if pairs[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(ApiError::bad_parameter(name, "stands twice; send it once"));
            }
        }
        Ok(())
    }

    /// An operation without a body takes none, or an empty object: what somebody sends there means something
    /// to them, and would be lost.
    fn check_body(&self, method: &Method, path: &str, body: &[u8]) -> Result<(), AppError> {
        let takes_none = self.operation(method, path).is_some_and(|inputs| !inputs.has_body);
        let text = body.trim_ascii();
        let is_empty_object =
            || serde_json::from_slice::<Json>(text).is_ok_and(|json| json == Json::Object(Vec::new()));
        if takes_none && !text.is_empty() && !is_empty_object() {
            return Err(AppError::invalid("", "this operation takes no body: send none, or `{}`"));
        }
        Ok(())
    }
}

/// Refuses query parameters that the operation does not have: a misspelt filter must not widen a list. And
/// refuses NUL, which no stored text holds and PostgreSQL takes in none.
pub(crate) async fn check_target(
    State(state): State<AdminState>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    // the only way to write it: decoding once makes no `%00` out of anything else
    if request.uri().path().contains("%00") {
        return Err(ApiError::no_such_name());
    }
    if let Some(query) = request.uri().query() {
        let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
        state.inputs.check_query(request.method(), path, query)?;
    }
    Ok(next.run(request).await)
}

fn unknown_parameter(name: &str, known: &[String]) -> String {
    let distance = |candidate: &&String| strsim::damerau_levenshtein(candidate, name);
    match known.iter().min_by_key(distance) {
        Some(nearest) if distance(&nearest) <= MAX_NAME_DISTANCE => {
            format!("unknown parameter; did you mean `{nearest}`?")
        }
        Some(_) => format!("unknown parameter; there are {}", known.join(", ")),
        None => "unknown parameter; this operation takes none".to_owned(),
    }
}

/// Names further apart than this are different words, not slips.
const MAX_NAME_DISTANCE: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(method: &Method, query: &str) -> String {
        let names = ["limit", "after"].map(str::to_owned).to_vec();
        let inputs = OperationInputs { query_names: names, has_body: false };
        let inputs = Inputs(HashMap::from([((Method::GET, "/x".to_owned()), inputs)]));
        format!("{:?}", inputs.check_query(method, "/x", query))
    }

    #[test]
    fn queries_are_checked_by_name() {
        assert_eq!(refusal(&Method::GET, "limit=3&after=a%20b"), "Ok(())");
        assert_eq!(refusal(&Method::HEAD, "limit=3"), "Ok(())");
        assert!(refusal(&Method::GET, "limits=3").contains("did you mean `limit`?"));
        assert!(refusal(&Method::GET, "completely_else=3").contains("there are limit, after"));
        assert!(refusal(&Method::GET, "limit=1&limit=2").contains("stands twice"));
        assert!(refusal(&Method::GET, "after=%00").contains("NUL"));
        assert!(refusal(&Method::POST, "limit=1").contains("takes none"));
    }

    #[test]
    fn bearer_tokens_and_idempotency_keys_by_their_form() {
        let with = |name: &'static str, value: &str| {
            HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())])
        };
        assert_eq!(bearer_token(&with("authorization", "bearer  t ")), Some("t"));
        assert_eq!(bearer_token(&with("authorization", "Basic dDp0")), None);
        assert_eq!(bearer_token(&HeaderMap::new()), None);
        let key =
            |value: &str| idempotency_key(&with(IDEMPOTENCY_KEY, value)).map(|key| key.map(str::to_owned));
        assert_eq!(key("a-1"), Ok(Some("a-1".to_owned())));
        assert_eq!(idempotency_key(&HeaderMap::new()), Ok(None));
        assert!(key("").is_err() && key("a b").is_err() && key(&"x".repeat(256)).is_err());
    }
}
