//! Pieces of a message's content.

use crate::json::{FieldError, JsonWriter, Kind, Members, Node};
use crate::neutral::writing::typed;
use crate::neutral::{
    CacheMark, ChatDialect, Feature, Fidelity, Media, Part, PartKind, ToolCall, Unsupported,
};

const DIALECT: ChatDialect = ChatDialect::OpenAiChat;

// === reading ===

/// A `content` member: a text or an array of parts.
pub(super) fn read_content(node: &Node<'_>, into: &mut Vec<Part>) -> Result<(), FieldError> {
    match node.kind() {
        Kind::String => {
            let text = node.string()?;
            if !text.is_empty() {
                into.push(Part::text(text));
            }
        }
        Kind::Array => {
            for element in node.array()? {
                into.push(read_part(&element)?);
            }
        }
        _ => return Err(node.error("must be a string or an array of parts")),
    }
    Ok(())
}

fn read_part(node: &Node<'_>) -> Result<Part, FieldError> {
    let mut members = node.object()?;
    let kind = members.required("type")?.string()?;
    let cache = read_cache_mark(&mut members)?;
    let kind = match &*kind {
        "text" => PartKind::Text {
            text: members.required("text")?.string()?.into_owned(),
            citations: members.raw("annotations"),
        },
        "thinking" => PartKind::Thinking {
            text: thought_text(&members.required("thinking")?)?,
            signature: members.string("signature")?,
        },
        "image_url" => read_image(&mut members)?,
        "input_audio" => read_audio(&mut members)?,
        "file" => read_file(&mut members)?,
        "video_url" => {
            let mut video = members.required("video_url")?.object()?;
            PartKind::Video { source: Media::from_url(&video.required("url")?.string()?) }
        }
        "refusal" => PartKind::Refusal { text: members.required("refusal")?.string()?.into_owned() },
        other => {
            return Ok(Part::new(PartKind::Foreign {
                dialect: DIALECT,
                name: other.to_owned(),
                raw: node.raw(),
                is_item: false,
            }));
        }
    };
    Ok(Part { kind, cache, rest: members.rest() })
}

/// A thought: a text, or pieces of it as Mistral has them.
pub(super) fn thought_text(node: &Node<'_>) -> Result<String, FieldError> {
    if node.kind() == Kind::String {
        return Ok(node.string()?.into_owned());
    }
    let mut text = String::new();
    for piece in node.array()? {
        text.push_str(&piece.object()?.string("text")?.unwrap_or_default());
    }
    Ok(text)
}

/// `{"type": "ephemeral", "ttl": "1h"}`, as OpenRouter and LiteLLM take it on OpenAI's parts.
pub(super) fn read_cache_mark(members: &mut Members<'_>) -> Result<Option<CacheMark>, FieldError> {
    let Some(node) = members.take("cache_control") else { return Ok(None) };
    Ok(Some(CacheMark { ttl: node.object()?.string("ttl")? }))
}

fn read_image(members: &mut Members<'_>) -> Result<PartKind, FieldError> {
    let node = members.required("image_url")?;
    // some clients write the address itself
    if node.kind() == Kind::String {
        return Ok(PartKind::Image { source: Media::from_url(&node.string()?), detail: None });
    }
    let mut image = node.object()?;
    let source = Media::from_url(&image.required("url")?.string()?);
    Ok(PartKind::Image { source, detail: image.string("detail")? })
}

fn read_audio(members: &mut Members<'_>) -> Result<PartKind, FieldError> {
    let mut audio = members.required("input_audio")?.object()?;
    let base64 = audio.required("data")?.string()?.into_owned();
    let format = audio.required("format")?.string()?;
    Ok(PartKind::Audio { source: Media::Inline { media_type: format!("audio/{format}"), base64 } })
}

fn read_file(members: &mut Members<'_>) -> Result<PartKind, FieldError> {
    let node = members.required("file")?;
    let mut file = node.object()?;
    let name = file.string("filename")?;
    let source = match (file.string("file_id")?, file.string("file_data")?, file.string("file_url")?) {
        (Some(id), ..) => Media::FileId(id),
        (None, Some(data), _) if data.starts_with("data:") => Media::from_url(&data),
        (None, Some(base64), _) => Media::Inline { media_type: "application/pdf".to_owned(), base64 },
        (None, None, Some(url)) => Media::Url { url, media_type: None },
        (None, None, None) => return Err(node.error("needs `file_id` or `file_data`")),
    };
    Ok(PartKind::File { source, name })
}

/// `{"id", "type": "function", "function": {"name", "arguments"}}`, or a custom tool's.
pub(super) fn read_tool_call(node: &Node<'_>) -> Result<Part, FieldError> {
    let mut members = node.object()?;
    let id = members.string("id")?.unwrap_or_default();
    let signature = read_signature(&mut members)?;
    let call = if let Some(custom) = members.take("custom") {
        let mut custom = custom.object()?;
        let name = custom.required("name")?.string()?.into_owned();
        let arguments = custom.string("input")?.unwrap_or_default();
        ToolCall { id, name, arguments, is_custom: true, signature }
    } else {
        let mut function = members.required("function")?.object()?;
        let name = function.required("name")?.string()?.into_owned();
        let arguments = function.string("arguments")?.unwrap_or_default();
        ToolCall { id, name, arguments, is_custom: false, signature }
    };
    Ok(Part::new(PartKind::ToolCall(call)))
}

/// Google's own place for a thought's signature on an OpenAI-shaped call.
pub(super) fn read_signature(members: &mut Members<'_>) -> Result<Option<String>, FieldError> {
    let Some(extra) = members.take("extra_content") else { return Ok(None) };
    let Some(google) = extra.object()?.take("google") else { return Ok(None) };
    google.object()?.string("thought_signature")
}

/// `reasoning_content` (or `reasoning`) and `thinking_blocks`, where reasoning of earlier turns stands.
pub(super) fn read_thinking(members: &mut Members<'_>, into: &mut Vec<Part>) -> Result<(), FieldError> {
    let shown = members.take("reasoning_content").or_else(|| members.take("reasoning"));
    let Some(blocks) = members.take("thinking_blocks") else {
        if let Some(shown) = shown.filter(|shown| shown.kind() == Kind::String) {
            let text = shown.string()?.into_owned();
            if !text.is_empty() {
                into.push(Part::new(PartKind::Thinking { text, signature: None }));
            }
        }
        return Ok(());
    };
    for block in blocks.array()? {
        let mut block = block.object()?;
        into.push(Part::new(match block.string("data")? {
            Some(data) => PartKind::HiddenThinking { data },
            None => PartKind::Thinking {
                text: block.string("thinking")?.unwrap_or_default(),
                signature: block.string("signature")?,
            },
        }));
    }
    Ok(())
}

// === writing ===

/// The parts of a user's, system's or tool's message: one text as a string, anything else as an array.
pub(super) fn write_content(
    writer: &mut JsonWriter,
    parts: &[&Part],
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    if let [Part { kind: PartKind::Text { text, .. }, cache: None, .. }] = parts {
        writer.member_string("content", text);
        return Ok(());
    }
    writer.member_array("content", |writer| {
        parts.iter().try_for_each(|part| write_part(writer, part, fidelity))
    })
}

fn write_part(writer: &mut JsonWriter, part: &Part, fidelity: &mut Fidelity) -> Result<(), Unsupported> {
    let lacking = match &part.kind {
        PartKind::Text { text, .. } => {
            typed(writer, "text", |writer| writer.member_string("text", text));
            return Ok(());
        }
        PartKind::Refusal { text } => {
            typed(writer, "refusal", |writer| writer.member_string("refusal", text));
            return Ok(());
        }
        PartKind::Image { source, detail } => match source.to_url() {
            Some(url) => {
                typed(writer, "image_url", |writer| {
                    writer.member_object("image_url", |writer| {
                        writer.member_string("url", &url);
                        writer.member_string_if("detail", detail.as_deref());
                    });
                });
                return Ok(());
            }
            None => Feature::FileId,
        },
        PartKind::Audio { source: Media::Inline { media_type, base64 } } => {
            typed(writer, "input_audio", |writer| {
                writer.member_object("input_audio", |writer| {
                    writer.member_string("data", base64);
                    writer.member_string("format", audio_format(media_type));
                });
            });
            return Ok(());
        }
        PartKind::Audio { .. } => Feature::AudioInput,
        PartKind::Video { .. } => Feature::VideoInput,
        PartKind::File { source, name } => {
            return write_file(writer, source, name.as_deref(), fidelity);
        }
        PartKind::Foreign { dialect: DIALECT, raw, .. } => {
            writer.raw(raw);
            return Ok(());
        }
        PartKind::Foreign { name, .. } => {
            let what = Some(format!("content of type `{name}`"));
            return fidelity.lacks_named(DIALECT, Feature::UnknownContent, what);
        }
        PartKind::Thinking { .. } | PartKind::HiddenThinking { .. } => Feature::ThinkingBlocks,
        PartKind::ToolCall(_) => Feature::Tools,
        PartKind::ToolResult(_) => Feature::ToolResultMedia,
    };
    fidelity.lacks(DIALECT, lacking)
}

fn audio_format(media_type: &str) -> &str {
    match media_type {
        "audio/mpeg" | "audio/mp3" => "mp3",
        "audio/x-wav" | "audio/wave" | "audio/wav" => "wav",
        other => other.strip_prefix("audio/").unwrap_or(other),
    }
}

fn write_file(
    writer: &mut JsonWriter,
    source: &Media,
    name: Option<&str>,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    match source {
        Media::Text(text) => {
            fidelity.approximates(Feature::FileInput, "plain-text documents become text parts");
            let text = name.map_or_else(|| text.clone(), |name| format!("{name}\n\n{text}"));
            typed(writer, "text", |writer| writer.member_string("text", &text));
        }
        Media::FileId(id) => typed(writer, "file", |writer| {
            writer.member_object("file", |writer| writer.member_string("file_id", id));
        }),
        Media::Inline { .. } => typed(writer, "file", |writer| {
            writer.member_object("file", |writer| {
                writer.member_string("filename", name.unwrap_or("document.pdf"));
                writer.member_string_if("file_data", source.to_url().as_deref());
            });
        }),
        Media::Url { .. } => {
            let what = Some("a file by address".to_owned());
            return fidelity.lacks_named(DIALECT, Feature::FileInput, what);
        }
    }
    Ok(())
}

/// One of `tool_calls`; `index` stands in streams only.
pub(super) fn write_tool_call(writer: &mut JsonWriter, call: &ToolCall, index: Option<u64>) {
    writer.object(|writer| {
        writer.member_count_if("index", index);
        writer.member_string("id", &call.id);
        if call.is_custom {
            writer.member_string("type", "custom");
            writer.member_object("custom", |writer| {
                writer.member_string("name", &call.name);
                writer.member_string("input", &call.arguments);
            });
        } else {
            writer.member_string("type", "function");
            writer.member_object("function", |writer| {
                writer.member_string("name", &call.name);
                writer.member_string("arguments", &call.arguments);
            });
        }
        if let Some(signature) = &call.signature {
            write_signature(writer, signature);
        }
    });
}

pub(super) fn write_signature(writer: &mut JsonWriter, signature: &str) {
    writer.member_object("extra_content", |writer| {
        writer.member_object("google", |writer| writer.member_string("thought_signature", signature));
    });
}

/// `reasoning_content` and `thinking_blocks` of a message or a delta.
pub(super) fn write_thinking(writer: &mut JsonWriter, parts: &[Part]) {
    let mut shown = String::new();
    let mut has_signed = false;
    for part in parts {
        match &part.kind {
            PartKind::Thinking { text, signature } => {
                shown.push_str(text);
                has_signed |= signature.is_some();
            }
            PartKind::HiddenThinking { .. } => has_signed = true,
            _ => {}
        }
    }
    if !shown.is_empty() {
        writer.member_string("reasoning_content", &shown);
    }
    if has_signed {
        writer.member_array("thinking_blocks", |writer| {
            parts.iter().for_each(|part| write_thinking_block(writer, part));
        });
    }
}

fn write_thinking_block(writer: &mut JsonWriter, part: &Part) {
    match &part.kind {
        PartKind::Thinking { text, signature } => writer.object(|writer| {
            writer.member_string("type", "thinking");
            writer.member_string("thinking", text);
            writer.member_string_if("signature", signature.as_deref());
        }),
        PartKind::HiddenThinking { data } => writer.object(|writer| {
            writer.member_string("type", "redacted_thinking");
            writer.member_string("data", data);
        }),
        _ => {}
    }
}
