//! Whole answers into the neutral types.

use tollgate_domain::{Meter, Usage};

use crate::json::{FieldError, Members, Node, ReadError};
use crate::neutral::{ChatAnswer, Choice, FinishReason, Part, PartKind, ToolCall};
use crate::openai::usage::MAX_PLAUSIBLE_TOKENS;

/// Reads an answer's body; the vendor's id stands in a header, the model in the path.
///
/// # Errors
/// Invalid JSON, or members of the wrong type. Counts that make no sense are left out, not an error.
pub fn read_answer(body: &[u8]) -> Result<ChatAnswer, ReadError> {
    let mut members = Members::document(body)?;
    let mut choice = Choice {
        index: 0,
        parts: Vec::new(),
        finish: read_stop(members.string("stopReason")?.as_deref()),
        stop_sequence: None,
        logprobs: None,
    };
    let mut message = members.required("output")?.object()?.required("message")?.object()?;
    for node in message.required("content")?.array()? {
        choice.parts.extend(read_block(&node)?);
    }
    let usage = members.take("usage").and_then(|node| read_usage(&node));
    Ok(ChatAnswer { choices: vec![choice], usage, ..ChatAnswer::default() })
}

fn read_block(node: &Node<'_>) -> Result<Option<Part>, FieldError> {
    let mut members = node.object()?;
    let kind = if let Some(text) = members.string("text")? {
        PartKind::Text { text, citations: None }
    } else if let Some(call) = members.take("toolUse") {
        let mut call = call.object()?;
        PartKind::ToolCall(ToolCall {
            id: call.required("toolUseId")?.string()?.into_owned(),
            name: call.required("name")?.string()?.into_owned(),
            arguments: call.take("input").map_or_else(|| "{}".to_owned(), |node| node.text().to_owned()),
            is_custom: false,
            signature: None,
        })
    } else if let Some(reasoning) = members.take("reasoningContent") {
        read_reasoning(&mut reasoning.object()?)?
    } else {
        return Ok(None);
    };
    Ok(Some(Part::new(kind)))
}

fn read_reasoning(members: &mut Members<'_>) -> Result<PartKind, FieldError> {
    if let Some(data) = members.string("redactedContent")? {
        return Ok(PartKind::HiddenThinking { data });
    }
    let mut shown = members.required("reasoningText")?.object()?;
    let text = shown.string("text")?.unwrap_or_default();
    Ok(PartKind::Thinking { text, signature: shown.string("signature")? })
}

/// Cache reads and writes stand beside the input there.
pub(super) fn read_usage(node: &Node<'_>) -> Option<Usage> {
    let mut members = node.object().ok()?;
    let mut count = |name: &str| members.count(name).ok();
    let usage = Usage::ZERO
        .with(Meter::Input, count("inputTokens")??)
        .with(Meter::Output, count("outputTokens")?.unwrap_or(0))
        .with(Meter::CachedInput, count("cacheReadInputTokens")?.unwrap_or(0))
        .with(Meter::CacheWrite5m, count("cacheWriteInputTokens")?.unwrap_or(0));
    (usage.total_tokens() <= MAX_PLAUSIBLE_TOKENS).then_some(usage)
}

pub(super) fn read_stop(reason: Option<&str>) -> FinishReason {
    match reason {
        Some("end_turn") => FinishReason::Stop,
        Some("stop_sequence") => FinishReason::StopSequence,
        Some("max_tokens" | "model_context_window_exceeded") => FinishReason::Length,
        Some("tool_use") => FinishReason::ToolCalls,
        Some("guardrail_intervened" | "content_filtered") => FinishReason::ContentFilter,
        _ => FinishReason::Other,
    }
}
