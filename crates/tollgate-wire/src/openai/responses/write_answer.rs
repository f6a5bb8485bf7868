//! Whole answers from the neutral types.

use tollgate_domain::{Meter, NanoUsd, Usage};

use super::echo::ResponseEcho;
use super::write_items::{write_call, write_reasoning};
use crate::json::{JsonWriter, RawJson};
use crate::neutral::{ChatAnswer, ChatDialect, Choice, FinishReason, Part, PartKind};

/// Writes an answer's body, of its first choice. `created` (Unix seconds) stands where the vendor tells no
/// time; `cost` becomes `usage.cost`.
#[must_use]
pub fn write_answer(
    answer: &ChatAnswer,
    echo: &ResponseEcho,
    created: u64,
    cost: Option<NanoUsd>,
) -> Vec<u8> {
    JsonWriter::document(2048, |writer| {
        write_response(writer, answer, echo, created, cost, State::Ended);
    })
}

/// How far a response is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    InProgress,
    Ended,
    Failed,
}

pub(super) fn write_response(
    writer: &mut JsonWriter,
    answer: &ChatAnswer,
    echo: &ResponseEcho,
    created: u64,
    cost: Option<NanoUsd>,
    state: State,
) {
    let choice = answer.choices.first();
    let finish = choice.map_or(FinishReason::Other, |choice| choice.finish);
    let incomplete = match finish {
        FinishReason::Length => Some("max_output_tokens"),
        FinishReason::ContentFilter => Some("content_filter"),
        _ => None,
    };
    let status = match (state, incomplete) {
        (State::InProgress, _) => "in_progress",
        (State::Failed, _) => "failed",
        (State::Ended, Some(_)) => "incomplete",
        (State::Ended, None) => "completed",
    };
    writer.member_string("id", &response_id(&answer.id));
    writer.member_string("object", "response");
    writer.member_count("created_at", answer.created.unwrap_or(created));
    writer.member_string("status", status);
    writer.member_null("error");
    match incomplete.filter(|_| state == State::Ended) {
        Some(reason) => {
            writer.member_object("incomplete_details", |writer| writer.member_string("reason", reason));
        }
        None => writer.member_null("incomplete_details"),
    }
    writer.member_string("model", &answer.model);
    writer.member_array("output", |writer| {
        if let Some(choice) = choice {
            write_output(writer, &answer.id, choice);
        }
    });
    match (&answer.usage, state) {
        (Some(usage), State::Ended) => write_usage(writer, usage, cost),
        _ => writer.member_null("usage"),
    }
    writer.member_string_if("service_tier", answer.service_tier.as_deref());
    echo.write(writer);
}

/// Ids of responses begin so; other dialects' answers have other ids.
pub(super) fn response_id(id: &str) -> String {
    if id.starts_with("resp_") { id.to_owned() } else { format!("resp_{id}") }
}

/// The id of an item: of its response and its place.
pub(super) fn item_id(prefix: &str, response: &str, index: usize) -> String {
    format!("{prefix}_{}_{index}", response.trim_start_matches("resp_"))
}

/// One item for the model's words, and one for each reasoning and each call, in order.
fn write_output(writer: &mut JsonWriter, response: &str, choice: &Choice) {
    let mut index = 0;
    let mut parts = choice.parts.iter().peekable();
    while let Some(part) = parts.next() {
        if is_said(&part.kind) {
            let id = item_id("msg", response, index);
            writer.object(|writer| {
                write_message_head(writer, &id, "completed");
                writer.member_array("content", |writer| {
                    write_content(writer, part);
                    while let Some(more) = parts.next_if(|part| is_said(&part.kind)) {
                        write_content(writer, more);
                    }
                });
            });
        } else if !write_item(writer, response, index, part) {
            continue;
        }
        index += 1;
    }
}

const fn is_said(kind: &PartKind) -> bool {
    matches!(
        kind,
        PartKind::Text { .. }
            | PartKind::Refusal { .. }
            | PartKind::Foreign { dialect: ChatDialect::OpenAiResponses, is_item: false, .. }
    )
}

/// Members of a message's item before its content.
pub(super) fn write_message_head(writer: &mut JsonWriter, id: &str, status: &str) {
    writer.member_string("id", id);
    writer.member_string("type", "message");
    writer.member_string("status", status);
    writer.member_string("role", "assistant");
}

pub(super) fn write_content(writer: &mut JsonWriter, part: &Part) {
    match &part.kind {
        PartKind::Text { text, citations } => write_text(writer, text, citations.as_ref()),
        PartKind::Refusal { text } => writer.object(|writer| {
            writer.member_string("type", "refusal");
            writer.member_string("refusal", text);
        }),
        PartKind::Foreign { raw, .. } => writer.raw(raw),
        _ => {}
    }
}

pub(super) fn write_text(writer: &mut JsonWriter, text: &str, annotations: Option<&RawJson>) {
    writer.object(|writer| {
        writer.member_string("type", "output_text");
        writer.member_string("text", text);
        match annotations.filter(|raw| raw.text().contains("url_citation")) {
            Some(annotations) => writer.member_raw("annotations", annotations),
            None => writer.member_array("annotations", |_| {}),
        }
        writer.member_array("logprobs", |_| {});
    });
}

/// An item that is no message; whether there is one.
fn write_item(writer: &mut JsonWriter, response: &str, index: usize, part: &Part) -> bool {
    match &part.kind {
        PartKind::Thinking { text, signature } => writer.object(|writer| {
            writer.member_string("id", &item_id("rs", response, index));
            write_reasoning(writer, text, signature.as_deref());
        }),
        PartKind::HiddenThinking { data } => writer.object(|writer| {
            writer.member_string("id", &item_id("rs", response, index));
            write_reasoning(writer, "", Some(data));
        }),
        PartKind::ToolCall(call) => writer.object(|writer| {
            writer.member_string("id", &item_id("fc", response, index));
            write_call(writer, call);
            writer.member_string("status", "completed");
        }),
        PartKind::Foreign { dialect: ChatDialect::OpenAiResponses, raw, .. } => {
            writer.raw(raw);
        }
        _ => return false,
    }
    true
}

/// The `usage` member: cached tokens stand inside the input, reasoning inside the output.
pub(super) fn write_usage(writer: &mut JsonWriter, usage: &Usage, cost: Option<NanoUsd>) {
    writer.member_object("usage", |writer| {
        writer.member_count("input_tokens", usage.input_tokens());
        writer.member_object("input_tokens_details", |writer| {
            writer.member_count("cached_tokens", usage.get(Meter::CachedInput));
        });
        writer.member_count("output_tokens", usage.output_tokens());
        writer.member_object("output_tokens_details", |writer| {
            writer.member_count("reasoning_tokens", usage.get(Meter::Reasoning));
        });
        writer.member_count("total_tokens", usage.total_tokens());
        if let Some(cost) = cost {
            writer.key("cost");
            writer.literal(cost.text().as_str());
        }
    });
}
