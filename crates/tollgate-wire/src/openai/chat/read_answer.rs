//! Whole answers into the neutral types.

use tollgate_domain::Surface;

use super::read_request::read_assistant;
use crate::json::{FieldError, Members, Node, ReadError};
use crate::neutral::{ChatAnswer, Choice, FinishReason};
use crate::openai::usage::normalise;

/// Reads an answer's body.
///
/// # Errors
/// Invalid JSON, or members of the wrong type. Counts that make no sense are left out, not an error.
pub fn read_answer(body: &[u8]) -> Result<ChatAnswer, ReadError> {
    let mut members = Members::document(body)?;
    members.take("object");
    let mut answer = ChatAnswer {
        id: members.string("id")?.unwrap_or_default(),
        model: members.string("model")?.unwrap_or_default(),
        created: members.count("created").unwrap_or_default(),
        service_tier: members.string("service_tier").unwrap_or_default(),
        ..ChatAnswer::default()
    };
    answer.usage = members.take("usage").and_then(|node| read_usage(&node));
    for node in members.required("choices")?.array()? {
        answer.choices.push(read_choice(&node)?);
    }
    if answer.choices.is_empty() {
        // as some vendors say that nothing was answered: every other dialect has a turn without content for that
        answer.choices.push(Choice {
            index: 0,
            parts: Vec::new(),
            finish: FinishReason::Other,
            stop_sequence: None,
            logprobs: None,
        });
    }
    answer.rest = members.rest();
    Ok(answer)
}

pub(crate) fn read_usage(node: &Node<'_>) -> Option<tollgate_domain::Usage> {
    normalise(Surface::Chat, node.text().as_bytes()).ok().flatten()
}

fn read_choice(node: &Node<'_>) -> Result<Choice, FieldError> {
    let mut members = node.object()?;
    let index = members.count("index")?.unwrap_or(0);
    let finish = read_finish(members.string("finish_reason")?.as_deref());
    let logprobs = members.raw("logprobs");
    let mut parts = Vec::new();
    read_assistant(&mut members.required("message")?.object()?, &mut parts)?;
    Ok(Choice { index, parts, finish, stop_sequence: None, logprobs })
}

pub(super) fn read_finish(reason: Option<&str>) -> FinishReason {
    match reason {
        Some("stop" | "eos" | "end_turn") => FinishReason::Stop,
        Some("length" | "max_tokens" | "model_length") => FinishReason::Length,
        Some("tool_calls" | "function_call") => FinishReason::ToolCalls,
        Some("content_filter") => FinishReason::ContentFilter,
        _ => FinishReason::Other,
    }
}
