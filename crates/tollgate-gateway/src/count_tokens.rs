//! `POST /v1/messages/count_tokens` and `:countTokens`: what a prompt counts, without asking a model. Where the model's
//! tokenizer is not public the count is by the one that comes nearest, with an addition: an estimate.

use bytes::Bytes;
use http::{Response, StatusCode};
use tollgate_domain::Surface;
use tollgate_wire::json::JsonWriter;
use tollgate_wire::neutral::ChatDialect;
use tollgate_wire::openai::request::skim;

use crate::answer::{GatewayBody, json};
use crate::auth::Authenticated;
use crate::dialects;
use crate::error::Refusal;
use crate::gateway::Pod;
use crate::plan::counted_tokens;
use crate::reserve::pass_limits;

pub(crate) async fn count(
    gateway: &Pod,
    caller: &Authenticated,
    dialect: ChatDialect,
    path: &str,
    body: Bytes,
) -> Result<Response<GatewayBody>, Refusal> {
    let body = if dialect == ChatDialect::Gemini { unwrapped(body)? } else { body };
    let (client, as_chat) = dialects::read(dialect, path, body)?;
    let mut skim = skim(Surface::Chat, &as_chat)?;
    dialects::note_foreign(&client, &mut skim);
    let model = skim.model.clone().unwrap_or_default();
    pass_limits(gateway, caller, &model, skim.user.as_deref()).await?;
    // a model that is not served here is counted like any
    let plan = caller.snapshot.plan(&caller.context, &model).ok();
    let candidate = plan.as_ref().and_then(|plan| plan.candidates.first());
    let n_tokens = counted_tokens(candidate.map(AsRef::as_ref), &skim, &as_chat);
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
