//! Whole answers from the neutral types.

use tollgate_domain::Usage;

use super::usage::write_usage;
use super::write_parts::{TurnContext, write_part};
use crate::json::JsonWriter;
use crate::neutral::{ChatAnswer, Choice, Fidelity, FinishReason, Mode, Part, PartKind};

/// Writes an answer's body.
#[must_use]
pub fn write_answer(answer: &ChatAnswer) -> Vec<u8> {
    JsonWriter::document(1024, |writer| {
        writer.member_array("candidates", |writer| {
            answer.choices.iter().for_each(|choice| write_candidate(writer, choice));
        });
        write_usage(writer, &answer.usage.unwrap_or(Usage::ZERO));
        writer.member_string("modelVersion", &answer.model);
        writer.member_string("responseId", &answer.id);
    })
}

fn write_candidate(writer: &mut JsonWriter, choice: &Choice) {
    writer.object(|writer| {
        writer.member_object("content", |writer| {
            writer.member_array("parts", |writer| {
                choice.parts.iter().for_each(|part| write_answered(writer, part));
            });
            writer.member_string("role", "model");
        });
        writer.member_string("finishReason", finish_name(choice.finish));
        writer.member_count("index", choice.index);
    });
}

/// A part of an answer: reasoning is shown with or without a signature.
pub(super) fn write_answered(writer: &mut JsonWriter, part: &Part) {
    if let PartKind::Thinking { text, signature } = &part.kind {
        writer.object(|writer| {
            writer.member_string("text", text);
            writer.member_flag_if("thought", Some(true).filter(|_| !text.is_empty()));
            writer.member_string_if("thoughtSignature", signature.as_deref());
        });
        return;
    }
    let context = TurnContext { names: &[], needs_signature: false, has_ids: true };
    // in an answer nothing is refused: what has no part here is left out
    let left_out = write_part(writer, part, &context, &mut Fidelity::new(Mode::Drop));
    debug_assert!(left_out.is_ok(), "nothing is refused where it may be dropped");
}

/// Google's word for why an answer ended.
pub(super) const fn finish_name(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Length => "MAX_TOKENS",
        FinishReason::ContentFilter | FinishReason::Refusal => "SAFETY",
        FinishReason::Other => "OTHER",
        FinishReason::Stop | FinishReason::StopSequence | FinishReason::ToolCalls | FinishReason::Pause => {
            "STOP"
        }
    }
}
