//! Whole answers into the neutral types.

use super::items::read_item;
use crate::json::{FieldError, Members, Node, ReadError};
use crate::neutral::{ChatAnswer, Choice, FinishReason, Part, PartKind};
use crate::openai::chat::read_usage;

/// Reads an answer's body.
///
/// # Errors
/// Invalid JSON, or members of the wrong type. Counts that make no sense are left out, not an error.
pub fn read_answer(body: &[u8]) -> Result<ChatAnswer, ReadError> {
    let document = Node::parse(body)?;
    Ok(read_response(&mut document.object()?)?)
}

/// The members of a response object.
pub(super) fn read_response(members: &mut Members<'_>) -> Result<ChatAnswer, FieldError> {
    let mut answer = ChatAnswer {
        id: members.string("id")?.unwrap_or_default(),
        model: members.string("model")?.unwrap_or_default(),
        created: members.count("created_at").unwrap_or_default(),
        service_tier: members.string("service_tier").unwrap_or_default(),
        ..ChatAnswer::default()
    };
    answer.usage = members.take("usage").and_then(|node| read_usage(&node));
    let mut parts: Vec<Part> = Vec::new();
    if let Some(output) = members.take("output") {
        for node in output.array()? {
            parts.extend(read_item(&node)?.parts);
        }
    }
    let finish = read_status(members, parts.iter().any(|part| matches!(part.kind, PartKind::ToolCall(_))))?;
    answer.choices.push(Choice { index: 0, parts, finish, stop_sequence: None, logprobs: None });
    Ok(answer)
}

/// Why it ended, from `status` and `incomplete_details`.
pub(super) fn read_status(members: &mut Members<'_>, has_calls: bool) -> Result<FinishReason, FieldError> {
    let reason = match members.take("incomplete_details") {
        Some(details) => details.object()?.string("reason")?,
        None => None,
    };
    Ok(match (members.string("status")?.as_deref(), reason.as_deref()) {
        (_, Some("max_output_tokens" | "max_tokens")) => FinishReason::Length,
        (_, Some("content_filter")) => FinishReason::ContentFilter,
        (Some("completed"), _) if has_calls => FinishReason::ToolCalls,
        (Some("completed"), _) => FinishReason::Stop,
        _ => FinishReason::Other,
    })
}
