//! Reading requests: names in paths, query parameters, JSON bodies. What is wrong is said with its place.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use serde::de::DeserializeOwned;
use tollgate_control::{Actor, AppError, FieldProblem};

use crate::answer::{ApiError, NO_NUL};
use crate::json::Json;

/// Who calls, as the authentication in front of every operation found out.
pub(crate) struct Caller(pub(crate) Actor);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let actor = parts.extensions.get::<Actor>().cloned();
        actor.map(Self).ok_or_else(|| AppError::Unauthenticated.into())
    }
}

/// The id or name in the path.
pub(crate) struct Named(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(name)| Self(name)).map_err(|error| ApiError::malformed(error.body_text()))
    }
}

/// The id or name in the path, and that of something below it.
pub(crate) struct NamedBelow(pub(crate) String, pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for NamedBelow {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        path.map(|Path((above, below))| Self(above, below))
            .map_err(|error| ApiError::malformed(error.body_text()))
    }
}

/// Query parameters. That the operation has all of them, and each once, was checked in front of it.
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        parse_query(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

fn parse_query<T: DeserializeOwned>(query: &str) -> Result<T, ApiError> {
    let parsed = serde_urlencoded::from_str(query);
    parsed.map_err(|error| {
        // parsed again one by one, so that the one at fault can be named
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query).unwrap_or_default();
        let is_at_fault = |pair: &&(String, String)| {
            let alone = serde_urlencoded::to_string([pair]).unwrap_or_default();
            serde_urlencoded::from_str::<T>(&alone).is_err()
        };
        match pairs.iter().find(is_at_fault) {
            Some((name, _)) => ApiError::bad_parameter(name, error.to_string()),
            None => ApiError::malformed(error.to_string()),
        }
    })
}

/// A JSON body.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        if !is_json(request.headers()) {
            return Err(ApiError::not_json());
        }
        let bytes = read_body(request, state).await?;
        parse_body(&bytes).map(Self)
    }
}

/// A JSON body that may be left out.
pub(crate) struct OptionalJsonBody<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalJsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let is_json = is_json(request.headers());
        let bytes = read_body(request, state).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        if is_json { parse_body(&bytes).map(Self) } else { Err(ApiError::not_json()) }
    }
}

/// The body was bounded and read by the layer in front of every write.
async fn read_body<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, ApiError> {
    Bytes::from_request(request, state).await.map_err(|error| ApiError::malformed(error.body_text()))
}

/// `application/json`, with or without parameters, or a type that ends in `+json`.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(content_type) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// Bad syntax is 400; a body that is JSON, but not this operation's, is 422 with the path of the field.
fn parse_body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let tree = serde_json::from_slice::<Json>(bytes);
    let tree = tree.map_err(|reason| ApiError::malformed(format!("the body is not JSON: {reason}")))?;
    if let Some(path) = tree.find_nul() {
        return Err(AppError::invalid(path, NO_NUL).into());
    }
    serde_path_to_error::deserialize(&tree).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { String::new() } else { path };
        AppError::Invalid(vec![FieldProblem::new(path, error.into_inner())]).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Wanted {
        limit: Option<u32>,
        after: Option<String>,
    }

    #[test]
    fn wrong_parameters_are_named() {
        let wanted = parse_query::<Wanted>("limit=3&after=a%20b").unwrap();
        assert_eq!(wanted, Wanted { limit: Some(3), after: Some("a b".to_owned()) });
        let refusal = format!("{:?}", parse_query::<Wanted>("after=x&limit=many").unwrap_err());
        assert!(refusal.contains("path: \"limit\""), "{refusal}");
    }

    #[test]
    fn bodies_name_the_field() {
        #[derive(Debug, Deserialize)]
        struct Outer {
            #[expect(dead_code, reason = "only parsed")]
            inner: Vec<Wanted>,
        }
        let refusal = |body: &str| format!("{:?}", parse_body::<Outer>(body.as_bytes()).unwrap_err());
        let wrong_type = refusal(r#"{"inner":[{"limit":1},{"limit":"x"}]}"#);
        assert!(wrong_type.contains("422") && wrong_type.contains("inner[1].limit"), "{wrong_type}");
        let with_nul = refusal(r#"{"inner":[{"after":"a\u0000"}]}"#);
        assert!(with_nul.contains("422") && with_nul.contains("inner[0].after"), "{with_nul}");
        assert!(refusal("[[]]").contains("must be an object"));
        assert!(refusal(r#"{"inner":"#).contains("400"));
        assert!(refusal(r#"{"inner":[]} trailing"#).contains("400"));
        assert!(refusal("").contains("400"));
    }

    #[test]
    fn json_by_its_type() {
        let with =
            |value: &'static str| HeaderMap::from_iter([(header::CONTENT_TYPE, value.parse().unwrap())]);
        for json in ["application/json", "Application/JSON; charset=utf-8", "application/merge-patch+json"] {
            assert!(is_json(&with(json)), "{json}");
        }
        for other in ["text/plain", "application/x-www-form-urlencoded", "text/json+json", ""] {
            assert!(!is_json(&with(other)), "{other}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
