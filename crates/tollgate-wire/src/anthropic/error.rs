//! Error bodies: `{"type": "error", "error": {"type", "message"}}`.

use bytes::Bytes;
use tollgate_domain::ErrorKind;

use crate::json::JsonWriter;
use crate::sse::named_event;

/// Anthropic's `type` for one of our kinds: its SDKs choose their exception by the status, people read this.
#[must_use]
pub const fn error_type(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InsufficientCredit | ErrorKind::BudgetExceeded => "billing_error",
        ErrorKind::Overloaded => "overloaded_error",
        _ => match kind.status() {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            504 => "timeout_error",
            400..=499 => "invalid_request_error",
            _ => "api_error",
        },
    }
}

/// An error's body. `code` is ours ([`ErrorKind::code`]), beside what the dialect knows.
#[must_use]
pub fn encode_error(
    error_type: &str,
    message: &str,
    code: Option<&str>,
    metadata: Option<&serde_json::Value>,
    request_id: &str,
) -> Bytes {
    Bytes::from(JsonWriter::document(message.len() + 128, |writer| {
        writer.member_string("type", "error");
        writer.member_object("error", |writer| {
            writer.member_string("type", error_type);
            writer.member_string("message", message);
            writer.member_string_if("code", code);
            if let Some(metadata) = metadata {
                writer.key("metadata");
                writer.literal(&metadata.to_string());
            }
        });
        writer.member_string("request_id", request_id);
    }))
}

/// The same as an event, for streams that have begun.
#[must_use]
pub fn encode_error_event(error_type: &str, message: &str) -> Bytes {
    let json = JsonWriter::document(message.len() + 64, |writer| {
        writer.member_string("type", "error");
        writer.member_object("error", |writer| {
            writer.member_string("type", error_type);
            writer.member_string("message", message);
        });
    });
    named_event("error", &json)
}
