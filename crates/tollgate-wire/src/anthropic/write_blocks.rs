//! Content blocks, written.

use crate::json::JsonWriter;
use crate::neutral::writing::{object_of, usable_id};
use crate::neutral::{
    CacheMark, ChatDialect, Feature, Fidelity, Media, Part, PartKind, ToolCall, ToolResult, Unsupported,
};

const DIALECT: ChatDialect = ChatDialect::Anthropic;

/// One block; nothing for what has none.
pub(super) fn write_block(
    writer: &mut JsonWriter,
    part: &Part,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    let cache = part.cache.as_ref();
    match &part.kind {
        PartKind::Text { text, .. } | PartKind::Refusal { text } => {
            // empty blocks are refused there
            if !text.is_empty() {
                block(writer, "text", cache, |writer| writer.member_string("text", text));
            }
            Ok(())
        }
        PartKind::Image { source, .. } => write_image(writer, source, cache, fidelity),
        PartKind::File { source, name } => {
            block(writer, "document", cache, |writer| {
                write_source(writer, source);
                writer.member_string_if("title", name.as_deref());
            });
            Ok(())
        }
        PartKind::ToolCall(call) => {
            write_call(writer, call, cache, fidelity);
            Ok(())
        }
        PartKind::ToolResult(result) => write_result(writer, result, cache, fidelity),
        PartKind::Thinking { text, signature } => {
            write_thinking(writer, text, signature.as_deref(), fidelity);
            Ok(())
        }
        PartKind::HiddenThinking { data } => {
            block(writer, "redacted_thinking", None, |writer| writer.member_string("data", data));
            Ok(())
        }
        PartKind::Audio { .. } => fidelity.lacks(DIALECT, Feature::AudioInput),
        PartKind::Video { .. } => fidelity.lacks(DIALECT, Feature::VideoInput),
        PartKind::Foreign { dialect: DIALECT, raw, .. } => {
            writer.raw(raw);
            Ok(())
        }
        PartKind::Foreign { name, .. } => {
            let what = Some(format!("content of type `{name}`"));
            fidelity.lacks_named(DIALECT, Feature::UnknownContent, what)
        }
    }
}

fn block<T>(
    writer: &mut JsonWriter,
    kind: &str,
    cache: Option<&CacheMark>,
    members: impl FnOnce(&mut JsonWriter) -> T,
) -> T {
    writer.object(|writer| {
        writer.member_string("type", kind);
        let result = members(writer);
        write_cache_mark(writer, cache);
        result
    })
}

pub(super) fn write_cache_mark(writer: &mut JsonWriter, mark: Option<&CacheMark>) {
    let Some(mark) = mark else { return };
    writer.member_object("cache_control", |writer| {
        writer.member_string("type", "ephemeral");
        writer.member_string_if("ttl", mark.ttl.as_deref());
    });
}

fn write_image(
    writer: &mut JsonWriter,
    source: &Media,
    cache: Option<&CacheMark>,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    if matches!(source, Media::Text(_)) {
        return fidelity.lacks(DIALECT, Feature::ImageInline);
    }
    block(writer, "image", cache, |writer| write_source(writer, source));
    Ok(())
}

fn write_source(writer: &mut JsonWriter, source: &Media) {
    writer.member_object("source", |writer| match source {
        Media::Inline { media_type, base64 } => {
            writer.member_string("type", "base64");
            writer.member_string("media_type", media_type);
            writer.member_string("data", base64);
        }
        Media::Url { url, .. } => {
            writer.member_string("type", "url");
            writer.member_string("url", url);
        }
        Media::FileId(id) => {
            writer.member_string("type", "file");
            writer.member_string("file_id", id);
        }
        Media::Text(text) => {
            writer.member_string("type", "text");
            writer.member_string("media_type", "text/plain");
            writer.member_string("data", text);
        }
    });
}

fn write_call(writer: &mut JsonWriter, call: &ToolCall, cache: Option<&CacheMark>, fidelity: &mut Fidelity) {
    block(writer, "tool_use", cache, |writer| {
        writer.member_string("id", &usable_id(&call.id));
        writer.member_string("name", &call.name);
        match object_of(&call.arguments) {
            Some(arguments) => writer.member_raw("input", &arguments),
            None => {
                fidelity.approximates(Feature::CustomTools, "free text becomes the member `input`");
                writer.member_object("input", |writer| writer.member_string("input", &call.arguments));
            }
        }
    });
}

fn write_result(
    writer: &mut JsonWriter,
    result: &ToolResult,
    cache: Option<&CacheMark>,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    block(writer, "tool_result", cache, |writer| {
        writer.member_string("tool_use_id", &usable_id(&result.call_id));
        if let [Part { kind: PartKind::Text { text, .. }, cache: None, .. }] = result.content.as_slice() {
            writer.member_string("content", text);
        } else if !result.content.is_empty() {
            writer.member_array("content", |writer| {
                result.content.iter().try_for_each(|part| write_block(writer, part, fidelity))
            })?;
        }
        writer.member_flag_if("is_error", Some(true).filter(|_| result.is_error));
        Ok(())
    })
}

/// Only signed reasoning is taken back there.
fn write_thinking(writer: &mut JsonWriter, text: &str, signature: Option<&str>, fidelity: &mut Fidelity) {
    let Some(signature) = signature else {
        fidelity.approximates(Feature::ThinkingBlocks, "reasoning without a signature is left out");
        return;
    };
    block(writer, "thinking", None, |writer| {
        writer.member_string("thinking", text);
        writer.member_string("signature", signature);
    });
}
