//! The built-in provider: answers offline in OpenAI's format, at once and the same for the same request.
//!
//! It echoes the start of the last user message. Tokens are counted by one rule everywhere: bytes of text
//! (message contents, prompts, inputs, answers) divided by 4 and rounded up, at least 1 per prompt. It
//! honours `max_tokens` and `max_completion_tokens` (finish reason `length`), `n`, `stream`,
//! `stream_options.include_usage`, and for embeddings `dimensions` and `encoding_format`; tools are ignored.

mod embeddings;
mod text;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use serde_json::Value;
use tollgate_domain::{ErrorKind, Surface};
use tollgate_wire::openai::error::{ErrorBody, encode_error, error_type};
use tollgate_wire::openai::request::{RequestError, skim};

use crate::UpstreamBody;

/// When every answer was created (2026-01-01, Unix seconds): the demo has no clock.
const CREATED_UNIX_SECONDS: u64 = 1_767_225_600;
/// Bytes of text per token.
const BYTES_PER_TOKEN: usize = 4;

/// Answers a request body of `surface`; a bad body gets an OpenAI-shaped 400.
#[must_use]
pub fn answer(surface: Surface, body: &[u8]) -> Response<UpstreamBody> {
    let answered = skim(surface, body).and_then(|skim| {
        let parsed: Value = serde_json::from_slice(body).map_err(|error| RequestError {
            message: format!("the body cannot be read: {error}"),
            param: None,
        })?;
        match surface {
            Surface::Embeddings => embeddings::answer(&skim, &parsed),
            Surface::Chat | Surface::Completions => Ok(text::answer(&skim, &parsed, body)),
            other => Err(RequestError {
                message: format!("the demo provider does not serve {}", other.name()),
                param: Some("model".to_owned()),
            }),
        }
    });
    match answered {
        Ok(response) => response,
        Err(error) => refusal(&error),
    }
}

fn refusal(error: &RequestError) -> Response<UpstreamBody> {
    let body = encode_error(&ErrorBody {
        message: &error.message,
        error_type: error_type(ErrorKind::InvalidRequest),
        param: error.param.as_deref(),
        code: None,
        metadata: None,
    });
    let mut response = json_response(body);
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}

fn json_response(body: impl Into<Bytes>) -> Response<UpstreamBody> {
    response("application/json", vec![body.into()])
}

fn response(content_type: &'static str, chunks: Vec<Bytes>) -> Response<UpstreamBody> {
    let mut response = Response::new(UpstreamBody::from_chunks(chunks));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn n_tokens(n_bytes: usize) -> u64 {
    n_bytes.div_ceil(BYTES_PER_TOKEN) as u64
}

/// FNV-1a: a hash that is the same everywhere and forever, to derive answers from requests.
fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests;
