//! `POST /v1/messages/count_tokens` and `:countTokens`: what a prompt counts, without asking a model. The
//! vendors' own tokenizers are not public: the count is by the public one that comes nearest, an estimate.

use bytes::Bytes;
use http::{Response, StatusCode};
use tollgate_domain::Surface;
use tollgate_wire::json::JsonWriter;
use tollgate_wire::neutral::ChatDialect;
use tollgate_wire::openai::request::{count_text, input_token_estimate, skim};
use tollgate_wire::tokens::Encoding;

use crate::answer::{GatewayBody, json};
use crate::dialects;
use crate::error::Refusal;

pub(crate) fn count(dialect: ChatDialect, path: &str, body: Bytes) -> Result<Response<GatewayBody>, Refusal> {
    let body = if dialect == ChatDialect::Gemini { unwrapped(body)? } else { body };
    let (_, as_chat) = dialects::read(dialect, path, body)?;
    let skim = skim(Surface::Chat, &as_chat)?;
    let counted = count_text(Surface::Chat, &as_chat, &Encoding::O200k);
    let n_tokens = input_token_estimate(&skim, as_chat.len()).max(counted.n_tokens);
    let name = if dialect == ChatDialect::Gemini { "totalTokens" } else { "input_tokens" };
    let answer = JsonWriter::document(32, |writer| writer.member_count(name, n_tokens));
    Ok(json(StatusCode::OK, Bytes::from(answer)))
}

/// Google's clients may wrap the whole request: `{"generateContentRequest": {…}}`.
fn unwrapped(body: Bytes) -> Result<Bytes, Refusal> {
    let document = tollgate_wire::json::Node::parse(&body).map_err(tollgate_wire::json::ReadError::from)?;
    let mut members = document.object().map_err(tollgate_wire::json::ReadError::from)?;
    let inner = members.take_either("generateContentRequest", "generate_content_request");
    Ok(inner.map(|node| Bytes::copy_from_slice(node.text().as_bytes())).unwrap_or(body))
}
