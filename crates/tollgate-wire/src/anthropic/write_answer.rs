//! Whole answers from the neutral types.

use tollgate_domain::{Meter, Usage};

use super::write_blocks::write_block;
use crate::json::JsonWriter;
use crate::neutral::{ChatAnswer, Fidelity, FinishReason, Mode, Part, PartKind};

/// Writes an answer's body, of its first choice.
#[must_use]
pub fn write_answer(answer: &ChatAnswer) -> Vec<u8> {
    let choice = answer.choices.first();
    let finish = choice.map_or(FinishReason::Other, |choice| choice.finish);
    let stop_sequence = choice.and_then(|choice| choice.stop_sequence.as_deref());
    JsonWriter::document(1024, |writer| {
        writer.member_string("id", &answer.id);
        writer.member_string("type", "message");
        writer.member_string("role", "assistant");
        writer.member_string("model", &answer.model);
        writer.member_array("content", |writer| {
            choice.iter().flat_map(|choice| &choice.parts).for_each(|part| write_part(writer, part));
        });
        writer.member_string("stop_reason", stop_name(finish));
        match stop_sequence {
            Some(stop) => writer.member_string("stop_sequence", stop),
            None => writer.member_null("stop_sequence"),
        }
        write_usage(writer, &answer.usage.unwrap_or(Usage::ZERO));
    })
}

fn write_part(writer: &mut JsonWriter, part: &Part) {
    if let PartKind::Thinking { text, signature } = &part.kind {
        // answers show reasoning also where its vendor signs nothing
        writer.object(|writer| {
            writer.member_string("type", "thinking");
            writer.member_string("thinking", text);
            writer.member_string("signature", signature.as_deref().unwrap_or_default());
        });
        return;
    }
    // in an answer nothing is refused: what has no block here is left out
    let left_out = write_block(writer, part, &mut Fidelity::new(Mode::Drop));
    debug_assert!(left_out.is_ok(), "nothing is refused where it may be dropped");
}

/// Anthropic's word for why an answer ended.
pub(super) const fn stop_name(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::StopSequence => "stop_sequence",
        FinishReason::Length => "max_tokens",
        FinishReason::ToolCalls => "tool_use",
        FinishReason::ContentFilter | FinishReason::Refusal => "refusal",
        FinishReason::Pause => "pause_turn",
        FinishReason::Stop | FinishReason::Other => "end_turn",
    }
}

/// The `usage` member: cache reads and writes stand beside the input.
pub(super) fn write_usage(writer: &mut JsonWriter, usage: &Usage) {
    let written = (usage.get(Meter::CacheWrite5m), usage.get(Meter::CacheWrite1h));
    let beside = usage.get(Meter::CachedInput).saturating_add(written.0).saturating_add(written.1);
    writer.member_object("usage", |writer| {
        writer.member_count("input_tokens", usage.input_tokens().saturating_sub(beside));
        writer.member_count("cache_creation_input_tokens", written.0.saturating_add(written.1));
        writer.member_count("cache_read_input_tokens", usage.get(Meter::CachedInput));
        if written.1 > 0 {
            writer.member_object("cache_creation", |writer| {
                writer.member_count("ephemeral_5m_input_tokens", written.0);
                writer.member_count("ephemeral_1h_input_tokens", written.1);
            });
        }
        writer.member_count("output_tokens", usage.output_tokens());
        let searches = usage.get(Meter::Search);
        if searches > 0 {
            writer.member_object("server_tool_use", |writer| {
                writer.member_count("web_search_requests", searches);
            });
        }
    });
}
