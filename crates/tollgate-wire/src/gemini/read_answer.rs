//! Whole answers into the neutral types.

use super::parts::{CallIds, read_part, string_of};
use super::usage::read_usage;
use crate::json::{FieldError, Members, Node, ReadError};
use crate::neutral::{ChatAnswer, Choice, FinishReason, Part, PartKind};

/// Reads an answer's body.
///
/// # Errors
/// Invalid JSON, or members of the wrong type. Counts that make no sense are left out, not an error.
pub fn read_answer(body: &[u8]) -> Result<ChatAnswer, ReadError> {
    let document = Node::parse(body)?;
    let mut members = document.object()?;
    let mut answer = ChatAnswer {
        id: string_of(&mut members, "responseId", "response_id")?.unwrap_or_default(),
        model: string_of(&mut members, "modelVersion", "model_version")?.unwrap_or_default(),
        ..ChatAnswer::default()
    };
    let usage = members.take_either("usageMetadata", "usage_metadata");
    answer.usage = usage.and_then(|node| read_usage(&node));
    let is_blocked = is_blocked(&mut members)?;
    if let Some(candidates) = members.take("candidates") {
        for (index, node) in (0..).zip(candidates.array()?) {
            answer.choices.push(read_candidate(index, &node)?);
        }
    }
    if answer.choices.is_empty() && is_blocked {
        answer.choices.push(Choice {
            index: 0,
            parts: Vec::new(),
            finish: FinishReason::ContentFilter,
            stop_sequence: None,
            logprobs: None,
        });
    }
    if answer.choices.is_empty() {
        // an error with a success status, or what is no answer at all
        return Err(document.error("has no candidates").into());
    }
    answer.rest = members.rest();
    Ok(answer)
}

/// Whether the prompt was held back.
pub(super) fn is_blocked(members: &mut Members<'_>) -> Result<bool, FieldError> {
    let Some(feedback) = members.take_either("promptFeedback", "prompt_feedback") else { return Ok(false) };
    Ok(string_of(&mut feedback.object()?, "blockReason", "block_reason")?.is_some())
}

fn read_candidate(index: u64, node: &Node<'_>) -> Result<Choice, FieldError> {
    let mut members = node.object()?;
    let index = members.count("index")?.unwrap_or(index);
    let mut parts = Vec::new();
    let mut ids = CallIds::default();
    if let Some(content) = members.take("content")
        && let Some(node) = content.object()?.take("parts")
    {
        for part in node.array()? {
            read_part(&part, &mut ids, &mut parts)?;
        }
    }
    let reason = string_of(&mut members, "finishReason", "finish_reason")?;
    let has_calls = parts.iter().any(|part: &Part| matches!(part.kind, PartKind::ToolCall(_)));
    let finish = read_finish(reason.as_deref(), has_calls);
    Ok(Choice { index, parts, finish, stop_sequence: None, logprobs: None })
}

/// Calls of functions end with `STOP` here, too.
pub(super) fn read_finish(reason: Option<&str>, has_calls: bool) -> FinishReason {
    match reason {
        Some("STOP") if has_calls => FinishReason::ToolCalls,
        Some("STOP") => FinishReason::Stop,
        Some("MAX_TOKENS") => FinishReason::Length,
        Some(
            "SAFETY" | "RECITATION" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" | "IMAGE_SAFETY"
            | "LANGUAGE",
        ) => FinishReason::ContentFilter,
        _ => FinishReason::Other,
    }
}
