//! Error bodies: `{"error": {"code", "message", "status"}}`.

use tollgate_domain::ErrorKind;

use crate::json::JsonWriter;

/// Google's `status` for one of our kinds.
#[must_use]
pub const fn status_name(kind: ErrorKind) -> &'static str {
    match kind.status() {
        400 | 405 | 413 | 422 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        402 | 429 => "RESOURCE_EXHAUSTED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        408 | 504 => "DEADLINE_EXCEEDED",
        409 => "ABORTED",
        502 | 503 => "UNAVAILABLE",
        _ => "INTERNAL",
    }
}

/// An error's body. Our own code and metadata stand in `details`, in the shape of Google's `ErrorInfo`.
#[must_use]
pub fn encode_error(
    status: u16,
    status_name: &str,
    message: &str,
    code: Option<&str>,
    metadata: Option<&serde_json::Value>,
) -> Vec<u8> {
    JsonWriter::document(message.len() + 128, |writer| {
        writer.member_object("error", |writer| {
            writer.member_count("code", u64::from(status));
            writer.member_string("message", message);
            writer.member_string("status", status_name);
            let Some(code) = code else { return };
            writer.member_array("details", |writer| {
                writer.object(|writer| {
                    writer.member_string("@type", "type.googleapis.com/google.rpc.ErrorInfo");
                    writer.member_string("reason", code);
                    writer.member_string("domain", "tollgate");
                    if let Some(metadata) = metadata {
                        writer.key("metadata");
                        writer.literal(&metadata.to_string());
                    }
                });
            });
        });
    })
}
