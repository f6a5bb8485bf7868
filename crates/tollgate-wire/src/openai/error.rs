//! Error bodies: ours written, the providers' read.

use std::borrow::Cow;

use bytes::Bytes;
use tollgate_domain::ErrorKind;

/// Characters of a provider's message that are passed on.
pub const MAX_PROVIDER_MESSAGE_CHARS: usize = 2_000;

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
    pub metadata: Option<&'a serde_json::Value>,
}

/// OpenAI's `type` for one of our kinds.
#[must_use]
pub const fn error_type(kind: ErrorKind) -> &'static str {
    let _ = kind;
    "api_error"
}

/// `{"error":{"message","type","param","code","metadata"?}}`.
#[must_use]
pub fn encode_error(error: &ErrorBody<'_>) -> Bytes {
    let _ = error;
    todo!()
}

/// The same as a server-sent event, for streams that have begun.
#[must_use]
pub fn encode_error_event(error: &ErrorBody<'_>) -> Bytes {
    let _ = error;
    todo!()
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

/// Reads the body of a provider's refusal, whatever it is.
#[must_use]
pub fn read_provider_error(status: u16, body: &[u8]) -> ProviderError {
    let _ = (status, body);
    todo!()
}

/// `text` with API keys and bearer tokens replaced by `***`.
#[must_use]
pub fn mask_credentials(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(text)
}
