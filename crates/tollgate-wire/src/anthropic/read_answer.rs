//! Whole answers into the neutral types.

use tollgate_domain::{Surface, Usage};

use super::blocks::read_content;
use crate::json::{Members, ReadError};
use crate::neutral::{ChatAnswer, Choice, FinishReason};
use crate::openai::usage::normalise;

/// Reads an answer's body.
///
/// # Errors
/// Invalid JSON, or members of the wrong type. Counts that make no sense are left out, not an error.
pub fn read_answer(body: &[u8]) -> Result<ChatAnswer, ReadError> {
    let mut members = Members::document(body)?;
    for known in ["type", "role"] {
        members.take(known);
    }
    let mut choice = Choice {
        index: 0,
        parts: Vec::new(),
        finish: read_stop(members.string("stop_reason")?.as_deref()),
        stop_sequence: members.string("stop_sequence")?,
        logprobs: None,
    };
    read_content(&members.required("content")?, &mut choice.parts)?;
    let usage = members.take("usage");
    let mut answer = ChatAnswer {
        id: members.string("id")?.unwrap_or_default(),
        model: members.string("model")?.unwrap_or_default(),
        choices: vec![choice],
        ..ChatAnswer::default()
    };
    if let Some(node) = usage {
        answer.usage = usage_of(node.text());
        answer.service_tier = node.object()?.string("service_tier").unwrap_or_default();
    }
    answer.rest = members.rest();
    Ok(answer)
}

/// The counts of a usage object in this dialect; cache reads and writes stand beside the input there.
pub(super) fn usage_of(object: &str) -> Option<Usage> {
    normalise(Surface::Chat, object.as_bytes()).ok().flatten()
}

pub(super) fn read_stop(reason: Option<&str>) -> FinishReason {
    match reason {
        Some("end_turn") => FinishReason::Stop,
        Some("stop_sequence") => FinishReason::StopSequence,
        Some("max_tokens" | "model_context_window_exceeded") => FinishReason::Length,
        Some("tool_use") => FinishReason::ToolCalls,
        Some("refusal") => FinishReason::Refusal,
        Some("pause_turn") => FinishReason::Pause,
        _ => FinishReason::Other,
    }
}
