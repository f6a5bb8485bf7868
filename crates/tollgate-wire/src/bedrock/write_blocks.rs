//! Content blocks, written.

use crate::json::JsonWriter;
use crate::neutral::writing::object_of;
use crate::neutral::{
    ChatDialect, Feature, Fidelity, Media, Part, PartKind, ToolCall, ToolResult, Unsupported,
};

const DIALECT: ChatDialect = ChatDialect::Bedrock;

/// One block, and the cache point after it; nothing for what has none.
pub(super) fn write_block(
    writer: &mut JsonWriter,
    part: &Part,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    match &part.kind {
        PartKind::Text { text, .. } | PartKind::Refusal { text } => {
            // empty blocks are refused there
            if !text.is_empty() {
                writer.object(|writer| writer.member_string("text", text));
            }
        }
        PartKind::Image { source, .. } => write_bytes(writer, "image", source, None, fidelity)?,
        PartKind::Video { source } => write_bytes(writer, "video", source, None, fidelity)?,
        PartKind::File { source: Media::Text(text), name } => {
            write_text_document(writer, text, name.as_deref());
        }
        PartKind::File { source, name } => {
            write_bytes(writer, "document", source, Some(name.as_deref().unwrap_or("document")), fidelity)?;
        }
        PartKind::Audio { .. } => fidelity.lacks(DIALECT, Feature::AudioInput)?,
        PartKind::ToolCall(call) => write_call(writer, call, fidelity),
        PartKind::ToolResult(result) => write_result(writer, result, fidelity)?,
        PartKind::Thinking { text, signature } => match signature {
            Some(signature) => writer.object(|writer| {
                writer.member_object("reasoningContent", |writer| {
                    writer.member_object("reasoningText", |writer| {
                        writer.member_string("text", text);
                        writer.member_string("signature", signature);
                    });
                });
            }),
            None => {
                fidelity.approximates(Feature::ThinkingBlocks, "reasoning without a signature is left out");
            }
        },
        PartKind::HiddenThinking { data } => writer.object(|writer| {
            writer.member_object("reasoningContent", |writer| writer.member_string("redactedContent", data));
        }),
        PartKind::Foreign { name, .. } => {
            let what = Some(format!("content of type `{name}`"));
            fidelity.lacks_named(DIALECT, Feature::UnknownContent, what)?;
        }
    }
    if part.cache.is_some() {
        write_cache_point(writer);
    }
    Ok(())
}

pub(super) fn write_cache_point(writer: &mut JsonWriter) {
    writer.object(|writer| {
        writer.member_object("cachePoint", |writer| writer.member_string("type", "default"));
    });
}

/// Bytes that are here; addresses are refused, as only Amazon's own storage has them there.
fn write_bytes(
    writer: &mut JsonWriter,
    kind: &str,
    source: &Media,
    name: Option<&str>,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    let (Media::Inline { .. } | Media::Url { .. }) = source else {
        return fidelity.lacks(DIALECT, Feature::FileId);
    };
    let s3 = match source {
        Media::Url { url, .. } if url.starts_with("s3://") => Some(url),
        Media::Url { .. } => return fidelity.lacks(DIALECT, Feature::ImageUrl),
        _ => None,
    };
    writer.object(|writer| {
        writer.member_object(kind, |writer| {
            if let Media::Inline { media_type, .. } = source {
                writer.member_string("format", format_of(media_type));
            } else if let Media::Url { url, .. } = source {
                writer.member_string("format", url.rsplit('.').next().unwrap_or("png"));
            }
            writer.member_string_if("name", name.map(usable_name).as_deref());
            writer.member_object("source", |writer| {
                if let Media::Inline { base64, .. } = source {
                    writer.member_string("bytes", base64);
                }
                if let Some(uri) = s3 {
                    writer.member_object("s3Location", |writer| writer.member_string("uri", uri));
                }
            });
        });
    });
    Ok(())
}

fn write_text_document(writer: &mut JsonWriter, text: &str, name: Option<&str>) {
    writer.object(|writer| {
        writer.member_object("document", |writer| {
            writer.member_string("format", "txt");
            writer.member_string("name", &usable_name(name.unwrap_or("document")));
            writer.member_object("source", |writer| writer.member_string("text", text));
        });
    });
}

/// Names have letters, digits, single spaces, hyphens and brackets only there.
fn usable_name(name: &str) -> String {
    let usable = |c: char| if c.is_ascii_alphanumeric() || "-()[] ".contains(c) { c } else { '-' };
    name.chars().map(usable).collect()
}

fn format_of(media_type: &str) -> &str {
    match media_type {
        "image/jpeg" | "image/jpg" => "jpeg",
        "text/plain" => "txt",
        "text/markdown" => "md",
        "application/msword" => "doc",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => "docx",
        "application/vnd.ms-excel" => "xls",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => "xlsx",
        "video/quicktime" => "mov",
        other => other.rsplit('/').next().unwrap_or(other),
    }
}

fn write_call(writer: &mut JsonWriter, call: &ToolCall, fidelity: &mut Fidelity) {
    writer.object(|writer| {
        writer.member_object("toolUse", |writer| {
            writer.member_string("toolUseId", &crate::neutral::writing::usable_id(&call.id));
            writer.member_string("name", &call.name);
            match object_of(&call.arguments) {
                Some(arguments) => writer.member_raw("input", &arguments),
                None => {
                    fidelity.approximates(Feature::CustomTools, "free text becomes the member `input`");
                    writer.member_object("input", |writer| writer.member_string("input", &call.arguments));
                }
            }
        });
    });
}

fn write_result(
    writer: &mut JsonWriter,
    result: &ToolResult,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    writer.object(|writer| {
        writer.member_object("toolResult", |writer| {
            writer.member_string("toolUseId", &crate::neutral::writing::usable_id(&result.call_id));
            writer.member_array("content", |writer| {
                result.content.iter().try_for_each(|part| write_block(writer, part, fidelity))
            })?;
            writer.member_string_if("status", Some("error").filter(|_| result.is_error));
            Ok(())
        })
    })
}
