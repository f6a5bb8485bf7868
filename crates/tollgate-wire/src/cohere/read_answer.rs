//! Whole answers into the neutral types.

use tollgate_domain::{Meter, Usage};

use crate::json::{FieldError, Kind, Members, Node, ReadError};
use crate::neutral::{ChatAnswer, Choice, FinishReason, Part, PartKind, ToolCall};
use crate::openai::usage::MAX_PLAUSIBLE_TOKENS;

/// Reads an answer's body; the model is not told in it.
///
/// # Errors
/// Invalid JSON, or members of the wrong type. Counts that make no sense are left out, not an error.
pub fn read_answer(body: &[u8]) -> Result<ChatAnswer, ReadError> {
    let mut members = Members::document(body)?;
    let mut parts = Vec::new();
    read_message(&mut members.required("message")?.object()?, &mut parts)?;
    let finish = read_finish(members.string("finish_reason")?.as_deref());
    let choice = Choice { index: 0, parts, finish, stop_sequence: None, logprobs: None };
    Ok(ChatAnswer {
        id: members.string("id")?.unwrap_or_default(),
        choices: vec![choice],
        usage: members.take("usage").and_then(|node| read_usage(&node)),
        ..ChatAnswer::default()
    })
}

fn read_message(message: &mut Members<'_>, parts: &mut Vec<Part>) -> Result<(), FieldError> {
    // the plan of its tool calls is what it thinks aloud
    if let Some(text) = message.string("tool_plan")? {
        parts.push(Part::new(PartKind::Thinking { text, signature: None }));
    }
    let citations = message.raw("citations");
    if let Some(content) = message.take("content") {
        if content.kind() == Kind::String {
            parts.push(Part::text(content.string()?));
        } else {
            for node in content.array()? {
                parts.extend(read_part(&node)?);
            }
        }
    }
    let is_text = |part: &&mut Part| matches!(part.kind, PartKind::Text { .. });
    if let Some(Part { kind: PartKind::Text { citations: into, .. }, .. }) = parts.iter_mut().find(is_text) {
        *into = citations;
    }
    if let Some(calls) = message.take("tool_calls") {
        for node in calls.array()? {
            parts.push(read_call(&node)?);
        }
    }
    Ok(())
}

fn read_part(node: &Node<'_>) -> Result<Option<Part>, FieldError> {
    let mut members = node.object()?;
    let kind = match members.string("type")?.as_deref() {
        Some("text") => {
            PartKind::Text { text: members.required("text")?.string()?.into_owned(), citations: None }
        }
        Some("thinking") => {
            let text = members.required("thinking")?.string()?.into_owned();
            PartKind::Thinking { text, signature: None }
        }
        _ => return Ok(None),
    };
    Ok(Some(Part::new(kind)))
}

fn read_call(node: &Node<'_>) -> Result<Part, FieldError> {
    let mut members = node.object()?;
    let mut function = members.required("function")?.object()?;
    Ok(Part::new(PartKind::ToolCall(ToolCall {
        id: members.string("id")?.unwrap_or_default(),
        name: function.required("name")?.string()?.into_owned(),
        arguments: function.string("arguments")?.unwrap_or_default(),
        is_custom: false,
        signature: None,
    })))
}

/// What is billed, not what was read: the two differ there.
pub(super) fn read_usage(node: &Node<'_>) -> Option<Usage> {
    let mut members = node.object().ok()?;
    let cached = members.count("cached_tokens").ok()?.unwrap_or(0);
    let billed = members.take("billed_units").or_else(|| members.take("tokens"))?;
    let mut billed = billed.object().ok()?;
    let mut count = |name: &str| whole(&billed.take(name)?);
    let (input, output) = (count("input_tokens")?, count("output_tokens").unwrap_or(0));
    let searches = count("search_units").unwrap_or(0);
    let cached = cached.min(input);
    let usage = Usage::ZERO
        .with(Meter::Input, input - cached)
        .with(Meter::CachedInput, cached)
        .with(Meter::Output, output)
        .with(Meter::Search, searches);
    (usage.total_tokens() <= MAX_PLAUSIBLE_TOKENS).then_some(usage)
}

/// Counts are written as `12` or as `12.0` there.
fn whole(node: &Node<'_>) -> Option<u64> {
    let text = node.text();
    let digits = match text.split_once('.') {
        Some((digits, fraction)) if fraction.bytes().all(|digit| digit == b'0') => digits,
        Some(_) => return None,
        None => text,
    };
    digits.parse().ok()
}

pub(super) fn read_finish(reason: Option<&str>) -> FinishReason {
    match reason {
        Some("COMPLETE") => FinishReason::Stop,
        Some("STOP_SEQUENCE") => FinishReason::StopSequence,
        Some("MAX_TOKENS" | "ERROR_LIMIT") => FinishReason::Length,
        Some("TOOL_CALL") => FinishReason::ToolCalls,
        Some("ERROR_TOXIC") => FinishReason::ContentFilter,
        _ => FinishReason::Other,
    }
}
