//! Error bodies: ours written, the providers' read.

mod mask;

use bytes::Bytes;
use serde_json::Value;
use tollgate_domain::ErrorKind;

pub use mask::mask_credentials;

use crate::json::write_string;
use crate::sse::data_event;

/// Characters of a provider's message that are passed on.
pub const MAX_PROVIDER_MESSAGE_CHARS: usize = 2_000;
/// Bytes of an error body that are looked at: more is no error message.
const MAX_ERROR_BODY_BYTES: usize = 64 * 1024;
/// Characters of a provider's `type`, `code` and `param`.
const MAX_PROVIDER_WORD_CHARS: usize = 100;

/// An error for the client.
#[derive(Clone, Copy, Debug)]
pub struct ErrorBody<'a> {
    /// One sentence.
    pub message: &'a str,
    /// OpenAI's `type`; see [`error_type`].
    pub error_type: &'a str,
    /// The offending parameter.
    pub param: Option<&'a str>,
    /// The code; see `ErrorKind::code`.
    pub code: Option<&'a str>,
    /// More, for machines.
    pub metadata: Option<&'a Value>,
}

/// OpenAI's `type` for one of our kinds.
#[must_use]
pub const fn error_type(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InsufficientCredit | ErrorKind::BudgetExceeded => "insufficient_quota",
        ErrorKind::RateLimitExceeded
        | ErrorKind::ConcurrencyLimitExceeded
        | ErrorKind::UpstreamRateLimited => "rate_limit_error",
        _ => match kind.status() {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            400..=499 => "invalid_request_error",
            _ => "api_error",
        },
    }
}

/// `{"error":{"message","type","param","code","metadata"?}}`.
#[must_use]
pub fn encode_error(error: &ErrorBody<'_>) -> Bytes {
    Bytes::from(encode(error))
}

/// The same as a server-sent event, for streams that have begun.
#[must_use]
pub fn encode_error_event(error: &ErrorBody<'_>) -> Bytes {
    data_event(&encode(error))
}

fn encode(error: &ErrorBody<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(error.message.len() + 128);
    out.extend_from_slice(b"{\"error\":{\"message\":");
    write_string(&mut out, error.message);
    out.extend_from_slice(b",\"type\":");
    write_string(&mut out, error.error_type);
    for (name, value) in [("param", error.param), ("code", error.code)] {
        out.extend_from_slice(format!(",\"{name}\":").as_bytes());
        match value {
            Some(value) => write_string(&mut out, value),
            None => out.extend_from_slice(b"null"),
        }
    }
    if let Some(metadata) = error.metadata {
        out.extend_from_slice(format!(",\"metadata\":{metadata}").as_bytes());
    }
    out.extend_from_slice(b"}}");
    out
}

/// What a provider said, bounded and with anything that looks like a credential masked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderError {
    /// Its message, or a general sentence where it had none.
    pub message: String,
    /// Its `type`.
    pub error_type: Option<String>,
    /// Its `code` (numbers as text).
    pub code: Option<String>,
    /// Its `param`.
    pub param: Option<String>,
}

/// Reads the body of a provider's refusal, whatever it is: OpenAI's shape, its many relatives, or HTML.
/// `status` 0 stands for an error event inside a stream.
#[must_use]
pub fn read_provider_error(status: u16, body: &[u8]) -> ProviderError {
    let parsed: Option<Value> =
        (body.len() <= MAX_ERROR_BODY_BYTES).then(|| serde_json::from_slice(body).ok()).flatten();
    let parsed = match parsed {
        // Some servers wrap the object in an array.
        Some(Value::Array(mut items)) if !items.is_empty() => items.swap_remove(0),
        Some(value) => value,
        None => Value::Null,
    };
    let error = match parsed.get("error") {
        Some(error @ (Value::Object(_) | Value::String(_))) => error,
        _ => &parsed,
    };
    let of_checks = [error, &error["message"]].into_iter().find_map(read_checks);
    let (checked, place) = of_checks.map_or((None, None), |(message, place)| (Some(message), place));
    let message =
        [error, &error["message"], &error["detail"], &error["error_description"], &error["Message"]]
            .into_iter()
            .find_map(Value::as_str)
            .or(checked)
            .map(str::trim)
            .filter(|message| !message.is_empty());
    ProviderError {
        message: message
            .map_or_else(|| general_sentence(status), |text| cut(text, MAX_PROVIDER_MESSAGE_CHARS)),
        error_type: word(&error["type"]).or_else(|| word(&error["status"])),
        code: word(&error["code"]),
        param: word(&error["param"]).or_else(|| place.map(|place| cut(&place, MAX_PROVIDER_WORD_CHARS))),
    }
}

/// What a server that checks bodies field by field says first, and of which field:
/// `{"detail":[{"loc":["body","seed"],"msg":"Extra inputs are not permitted"}]}`.
fn read_checks(error: &Value) -> Option<(&str, Option<String>)> {
    let first = error["detail"].as_array()?.first()?;
    let message = first["msg"].as_str()?;
    let names = first["loc"].as_array()?.iter().filter(|name| *name != "body").map(|name| match name {
        Value::String(name) => name.clone(),
        other => other.to_string(),
    });
    let place = names.collect::<Vec<_>>().join(".");
    Some((message, Some(place).filter(|place| !place.is_empty())))
}

fn general_sentence(status: u16) -> String {
    match status {
        0 => "the provider ended the stream with an error it did not explain".to_owned(),
        _ => format!("the provider answered with status {status} and no readable error"),
    }
}

fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(cut(text, MAX_PROVIDER_WORD_CHARS)),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Masks first, so that a cut cannot leave the start of a credential behind.
fn cut(text: &str, max_chars: usize) -> String {
    let masked = mask_credentials(text);
    match masked.char_indices().nth(max_chars) {
        None => masked.into_owned(),
        Some((end, _)) => format!("{}…", &masked[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_encoded() {
        let metadata = serde_json::json!({"scope": "wallet", "retryable": false});
        let error = ErrorBody {
            message: "say \"more\"",
            error_type: error_type(ErrorKind::InsufficientCredit),
            param: None,
            code: Some("insufficient_credit"),
            metadata: Some(&metadata),
        };
        let expected = r#"{"error":{"message":"say \"more\"","type":"insufficient_quota","param":null,"code":"insufficient_credit","metadata":{"retryable":false,"scope":"wallet"}}}"#;
        assert_eq!(encode_error(&error), expected);
        assert_eq!(encode_error_event(&error), format!("data: {expected}\n\n"));
        let bare = ErrorBody { param: Some("n"), code: None, metadata: None, ..error };
        assert!(encode_error(&bare).ends_with(br#""param":"n","code":null}}"#));
    }

    #[test]
    fn every_kind_has_a_type() {
        let expected = [
            (ErrorKind::InvalidRequest, "invalid_request_error"),
            (ErrorKind::InvalidApiKey, "authentication_error"),
            (ErrorKind::ModelNotAllowed, "permission_error"),
            (ErrorKind::ModelNotFound, "not_found_error"),
            (ErrorKind::ModelNotPriced, "invalid_request_error"),
            (ErrorKind::RateLimitExceeded, "rate_limit_error"),
            (ErrorKind::UpstreamError, "api_error"),
            (ErrorKind::LedgerUnavailable, "api_error"),
        ];
        for (kind, name) in expected {
            assert_eq!(error_type(kind), name);
        }
    }

    #[test]
    fn errors_of_single_fields_are_read() {
        let body = r#"{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body","stream_options","include_usage"],"msg":"Extra inputs are not permitted","input":true}]},"type":"invalid_request_error","param":null,"code":null}"#;
        let error = read_provider_error(422, body.as_bytes());
        assert_eq!(error.message, "Extra inputs are not permitted");
        assert_eq!(error.param.as_deref(), Some("stream_options.include_usage"));
        let bare =
            r#"{"detail":[{"loc":["body","messages",0,"role"],"msg":"field required","type":"missing"}]}"#;
        let error = read_provider_error(422, bare.as_bytes());
        assert_eq!(
            (error.message.as_str(), error.param.as_deref()),
            ("field required", Some("messages.0.role"))
        );
        let empty = read_provider_error(422, br#"{"detail":[]}"#);
        assert!(empty.message.contains("no readable error"), "{}", empty.message);
    }

    #[test]
    fn provider_errors_of_every_shape() {
        let cases: &[(&str, &str, Option<&str>, Option<&str>)] = &[
            (
                r#"{"error":{"message":"too long","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
                "too long",
                Some("invalid_request_error"),
                Some("context_length_exceeded"),
            ),
            (r#"{"error":"no such model"}"#, "no such model", None, None),
            (r#"{"message":"Unauthorized","code":1001}"#, "Unauthorized", None, Some("1001")),
            (r#"{"detail":"Not Found"}"#, "Not Found", None, None),
            (
                r#"[{"error":{"code":400,"message":"bad","status":"INVALID_ARGUMENT"}}]"#,
                "bad",
                Some("INVALID_ARGUMENT"),
                Some("400"),
            ),
            (
                r#"{"object":"error","message":"vLLM says","type":"BadRequestError"}"#,
                "vLLM says",
                Some("BadRequestError"),
                None,
            ),
            (
                r#"{"error":{"message":""}}"#,
                "the provider answered with status 502 and no readable error",
                None,
                None,
            ),
            (
                "<html><body>Bad Gateway</body></html>",
                "the provider answered with status 502 and no readable error",
                None,
                None,
            ),
            ("", "the provider answered with status 502 and no readable error", None, None),
            ("[]", "the provider answered with status 502 and no readable error", None, None),
            (
                r#"{"error":{"message":"Incorrect API key provided: sk-proj-abc***xyz."}}"#,
                "Incorrect API key provided: ***",
                None,
                None,
            ),
        ];
        for (body, message, error_type, code) in cases {
            let error = read_provider_error(502, body.as_bytes());
            assert_eq!(
                (error.message.as_str(), error.error_type.as_deref(), error.code.as_deref()),
                (*message, *error_type, *code),
                "{body}"
            );
        }
        let long = format!(r#"{{"error":{{"message":"{}"}}}}"#, "é ".repeat(5_000));
        assert_eq!(
            read_provider_error(400, long.as_bytes()).message.chars().count(),
            MAX_PROVIDER_MESSAGE_CHARS + 1
        );
        let huge = format!(r#"{{"error":{{"message":"{}"}}}}"#, "a".repeat(MAX_ERROR_BODY_BYTES));
        assert!(read_provider_error(500, huge.as_bytes()).message.contains("no readable error"));
        assert!(read_provider_error(0, b"").message.contains("stream"));
    }
}
