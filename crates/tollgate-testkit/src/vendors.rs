//! A mock provider that speaks every vendor's chat dialect, for clients that want more than a greeting.
//!
//! [`script`] is a responder for [`MockProvider::set_responder`](crate::mock_provider::MockProvider): it tells
//! the vendor from the path, reads what the request says in that vendor's own words, and answers in them. What
//! is answered shows what was read, so that a client on the far side of a gateway can tell whether its request
//! arrived. Nothing here knows the gateway's own translation: the two are written from the vendors' documents
//! apart from each other.
//!
//! The last text of the user names the scenario, as `scenario:tools`:
//!
//! | scenario | answer |
//! |---|---|
//! | `chat` | how many turns came after which system prompt |
//! | `tools` | two calls of the first tool, arguments in pieces |
//! | `results` | what the tools' results said |
//! | `image` | each picture's type and length |
//! | `structured` | an object for the schema, or a call of the only tool |
//! | `reason` | reasoning and a text, where reasoning was asked for |
//! | `refuse`, `limit`, `fail` | the vendor's own error with status 400, 429, 500 |
//! | `hang` | a stream that begins and never ends; plain requests are not answered |

mod asked;
mod bedrock;
mod kept;
mod said;
mod written;

use serde_json::json;

use crate::mock_provider::{BreakKind, ReceivedRequest, Script, Usage};
use asked::Asked;
pub use kept::KeptResponses;

/// What every answer reports, in OpenAI's terms; Cohere tells no cached tokens.
pub const USAGE: Usage =
    Usage { prompt_tokens: 21, completion_tokens: 9, cached_tokens: 5, reasoning_tokens: 0 };

/// The vendors' chat dialects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    /// OpenAI's Chat Completions.
    OpenAiChat,
    /// OpenAI's Responses.
    OpenAiResponses,
    /// Anthropic's Messages.
    Anthropic,
    /// Google's generateContent.
    Gemini,
    /// Cohere's chat, version 2.
    Cohere,
    /// Amazon Bedrock's Converse.
    Bedrock,
}

impl Vendor {
    /// The vendor whose path it is.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        let path = path.split('?').next().unwrap_or_default();
        Some(match path {
            path if path.ends_with("/chat/completions") => Self::OpenAiChat,
            path if path.ends_with("/responses") => Self::OpenAiResponses,
            path if path.ends_with("/messages") => Self::Anthropic,
            // on Vertex
            path if path.ends_with(":rawPredict") || path.ends_with(":streamRawPredict") => Self::Anthropic,
            path if path.ends_with(":generateContent") || path.ends_with(":streamGenerateContent") => {
                Self::Gemini
            }
            path if path.ends_with("/v2/chat") => Self::Cohere,
            path if path.ends_with("/converse") || path.ends_with("/converse-stream") => Self::Bedrock,
            _ => return None,
        })
    }
}

/// The answer to a chat request in its vendor's dialect; `None` for other paths.
#[must_use]
pub fn script(request: &ReceivedRequest) -> Option<Script> {
    let vendor = Vendor::of_path(request.path())?;
    let Ok(body) = request.json() else {
        return Some(error(vendor, 400, "the body is no JSON"));
    };
    let asked = Asked::read(vendor, request.path(), &body);
    Some(match asked.scenario.as_str() {
        "refuse" => error(vendor, 400, "the vendor refuses: no such thing"),
        "limit" => error(vendor, 429, "the vendor is busy: slow down"),
        "fail" => error(vendor, 500, "the vendor is broken"),
        "hang" if asked.is_stream => {
            streamed(vendor, &asked).break_after_chunks(HANG_AFTER_FRAMES, BreakKind::Stall)
        }
        "hang" => Script::hang(),
        _ if asked.is_stream => streamed(vendor, &asked),
        _ => Script::new().json(&written::whole(vendor, &said::said(&asked))),
    })
}

fn streamed(vendor: Vendor, asked: &Asked) -> Script {
    let said = said::said(asked);
    match vendor {
        Vendor::Bedrock => Script::new().frames(bedrock::CONTENT_TYPE, bedrock::frames(&said)),
        _ => Script::new().sse_frames(written::frames(vendor, &said)),
    }
}

/// By then each dialect has sent the first piece of its text.
const HANG_AFTER_FRAMES: usize = 5;

/// An error in the vendor's shape.
#[must_use]
pub fn error(vendor: Vendor, status: u16, message: &str) -> Script {
    let body = match vendor {
        Vendor::OpenAiChat | Vendor::OpenAiResponses => return Script::error(status, message),
        Vendor::Anthropic => {
            let kind = match status {
                400 => "invalid_request_error",
                429 => "rate_limit_error",
                _ => "api_error",
            };
            json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"})
        }
        Vendor::Gemini => {
            let name = match status {
                400 => "INVALID_ARGUMENT",
                429 => "RESOURCE_EXHAUSTED",
                _ => "INTERNAL",
            };
            json!({"error": {"code": status, "message": message, "status": name}})
        }
        Vendor::Cohere => json!({"id": "e1", "message": message}),
        Vendor::Bedrock => {
            let kind = match status {
                400 => "ValidationException",
                429 => "ThrottlingException",
                _ => "InternalServerException",
            };
            let body = json!({"message": message});
            return Script::new().status(status).json(&body).header("x-amzn-errortype", kind);
        }
    };
    Script::new().status(status).json(&body)
}
