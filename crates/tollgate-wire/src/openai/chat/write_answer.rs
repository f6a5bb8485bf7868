//! Whole answers from the neutral types.

use tollgate_domain::{Meter, NanoUsd, Usage};

use super::parts::{write_thinking, write_tool_call};
use super::write_request::tool_call;
use crate::json::JsonWriter;
use crate::neutral::{ChatAnswer, Choice, FinishReason, Part, PartKind};

/// Writes an answer's body. `created` (Unix seconds) stands where the vendor tells no time; `cost` becomes
/// `usage.cost`.
#[must_use]
pub fn write_answer(answer: &ChatAnswer, created: u64, cost: Option<NanoUsd>) -> Vec<u8> {
    JsonWriter::document(1024, |writer| {
        writer.member_string("id", &answer.id);
        writer.member_string("object", "chat.completion");
        writer.member_count("created", answer.created.unwrap_or(created));
        writer.member_string("model", &answer.model);
        writer.member_array("choices", |writer| {
            answer.choices.iter().for_each(|choice| write_choice(writer, choice));
        });
        if let Some(usage) = &answer.usage {
            write_usage(writer, usage, cost);
        }
        writer.member_string_if("service_tier", answer.service_tier.as_deref());
    })
}

fn write_choice(writer: &mut JsonWriter, choice: &Choice) {
    writer.object(|writer| {
        writer.member_count("index", choice.index);
        writer.member_object("message", |writer| write_message(writer, &choice.parts));
        match &choice.logprobs {
            Some(logprobs) => writer.member_raw("logprobs", logprobs),
            None => writer.member_null("logprobs"),
        }
        writer.member_string("finish_reason", finish_name(choice.finish));
    });
}

fn write_message(writer: &mut JsonWriter, parts: &[Part]) {
    writer.member_string("role", "assistant");
    let (mut text, mut refusal) = (None::<String>, None::<String>);
    for part in parts {
        match &part.kind {
            PartKind::Text { text: more, .. } => text.get_or_insert_default().push_str(more),
            PartKind::Refusal { text: more } => refusal.get_or_insert_default().push_str(more),
            _ => {}
        }
    }
    match &text {
        Some(text) => writer.member_string("content", text),
        None => writer.member_null("content"),
    }
    match &refusal {
        Some(refusal) => writer.member_string("refusal", refusal),
        None => writer.member_null("refusal"),
    }
    write_thinking(writer, parts);
    write_images(writer, parts);
    let calls = || parts.iter().filter_map(tool_call);
    if calls().next().is_some() {
        writer.member_array("tool_calls", |writer| {
            calls().for_each(|call| write_tool_call(writer, call, None));
        });
    }
}

/// Pictures as OpenRouter has them: `images`, each by address.
fn write_images(writer: &mut JsonWriter, parts: &[Part]) {
    let urls = || {
        parts.iter().filter_map(|part| match &part.kind {
            PartKind::Image { source, .. } => source.to_url(),
            _ => None,
        })
    };
    if urls().next().is_some() {
        writer.member_array("images", |writer| urls().for_each(|url| write_image_object(writer, &url)));
    }
}

/// One of `images`.
pub(super) fn write_image_object(writer: &mut JsonWriter, url: &str) {
    writer.object(|writer| {
        writer.member_string("type", "image_url");
        writer.member_object("image_url", |writer| writer.member_string("url", url));
    });
}

/// OpenAI's word for why an answer ended.
pub(super) const fn finish_name(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter | FinishReason::Refusal => "content_filter",
        FinishReason::Stop | FinishReason::StopSequence | FinishReason::Pause | FinishReason::Other => "stop",
    }
}

/// The `usage` member: cached tokens stand inside the prompt, reasoning inside the completion.
pub(super) fn write_usage(writer: &mut JsonWriter, usage: &Usage, cost: Option<NanoUsd>) {
    writer.member_object("usage", |writer| {
        writer.member_count("prompt_tokens", usage.input_tokens());
        writer.member_count("completion_tokens", usage.output_tokens());
        writer.member_count("total_tokens", usage.total_tokens());
        writer.member_object("prompt_tokens_details", |writer| {
            writer.member_count("cached_tokens", usage.get(Meter::CachedInput));
            let written = usage.get(Meter::CacheWrite5m).saturating_add(usage.get(Meter::CacheWrite1h));
            writer.member_count_if("cache_write_tokens", Some(written).filter(|count| *count > 0));
            writer.member_count("audio_tokens", usage.get(Meter::InputAudio));
        });
        writer.member_object("completion_tokens_details", |writer| {
            writer.member_count("reasoning_tokens", usage.get(Meter::Reasoning));
            writer.member_count("audio_tokens", usage.get(Meter::OutputAudio));
        });
        if let Some(cost) = cost {
            writer.key("cost");
            writer.literal(cost.text().as_str());
        }
    });
}
