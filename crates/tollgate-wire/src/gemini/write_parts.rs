//! Parts of a turn, written.

use super::parts::result_object;
use crate::json::JsonWriter;
use crate::neutral::{
    ChatDialect, Feature, Fidelity, Media, Part, PartKind, ToolCall, ToolResult, Unsupported,
};

const DIALECT: ChatDialect = ChatDialect::Gemini;
/// What Google documents for calls whose signature is unknown, as they come from another model.
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// What the parts of a turn must know of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct TurnContext<'a> {
    /// Calls of earlier turns, by id, with their functions' names.
    pub(super) names: &'a [(String, String)],
    /// Whether the model refuses a turn whose first call has no signature.
    pub(super) needs_signature: bool,
    /// Whether ids of calls are written: the Gemini API takes them, Vertex too.
    pub(super) has_ids: bool,
}

pub(super) fn write_part(
    writer: &mut JsonWriter,
    part: &Part,
    context: &TurnContext<'_>,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    match &part.kind {
        PartKind::Text { text, .. } | PartKind::Refusal { text } => {
            writer.object(|writer| writer.member_string("text", text));
        }
        PartKind::Image { source, .. } | PartKind::Audio { source } | PartKind::Video { source } => {
            write_media(writer, source, default_type(&part.kind));
        }
        PartKind::File { source: Media::Text(text), .. } => {
            fidelity.approximates(Feature::FileInput, "plain-text documents become text parts");
            writer.object(|writer| writer.member_string("text", text));
        }
        PartKind::File { source, .. } => write_media(writer, source, "application/pdf"),
        PartKind::ToolCall(call) => write_call(writer, call, context, fidelity),
        PartKind::ToolResult(result) => return write_result(writer, result, context, fidelity),
        PartKind::Thinking { text, signature } => match signature {
            Some(signature) => writer.object(|writer| {
                writer.member_string("text", text);
                writer.member_flag_if("thought", Some(true).filter(|_| !text.is_empty()));
                writer.member_string("thoughtSignature", signature);
            }),
            None => {
                fidelity.approximates(Feature::ThinkingBlocks, "reasoning without a signature is left out");
            }
        },
        PartKind::HiddenThinking { .. } => {
            fidelity.approximates(Feature::ThinkingBlocks, "another vendor's hidden reasoning is left out");
        }
        PartKind::Foreign { dialect: DIALECT, raw, .. } => writer.raw(raw),
        PartKind::Foreign { name, .. } => {
            let what = Some(format!("content of type `{name}`"));
            return fidelity.lacks_named(DIALECT, Feature::UnknownContent, what);
        }
    }
    Ok(())
}

const fn default_type(kind: &PartKind) -> &'static str {
    match kind {
        PartKind::Audio { .. } => "audio/wav",
        PartKind::Video { .. } => "video/mp4",
        _ => "image/jpeg",
    }
}

fn write_media(writer: &mut JsonWriter, source: &Media, default: &str) {
    writer.object(|writer| match source {
        Media::Inline { media_type, base64 } => writer.member_object("inlineData", |writer| {
            writer.member_string("mimeType", media_type);
            writer.member_string("data", base64);
        }),
        Media::Url { url, media_type } => writer.member_object("fileData", |writer| {
            let media_type = media_type.as_deref().unwrap_or_else(|| type_of_name(url, default));
            writer.member_string("mimeType", media_type);
            writer.member_string("fileUri", url);
        }),
        Media::FileId(id) => writer.member_object("fileData", |writer| writer.member_string("fileUri", id)),
        Media::Text(text) => writer.member_string("text", text),
    });
}

/// The type that an address's ending tells.
fn type_of_name<'a>(url: &str, default: &'a str) -> &'a str {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    match path.rsplit('.').next().unwrap_or_default().to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "heic" => "image/heic",
        "pdf" => "application/pdf",
        "mp4" => "video/mp4",
        "mp3" => "audio/mpeg",
        "wav" => "audio/wav",
        "txt" => "text/plain",
        _ => default,
    }
}

fn write_call(writer: &mut JsonWriter, call: &ToolCall, context: &TurnContext<'_>, fidelity: &mut Fidelity) {
    writer.object(|writer| {
        writer.member_object("functionCall", |writer| {
            writer.member_string_if("id", Some(call.id.as_str()).filter(|_| context.has_ids));
            writer.member_string("name", &call.name);
            match crate::neutral::writing::object_of(&call.arguments) {
                Some(arguments) => writer.member_raw("args", &arguments),
                None => {
                    fidelity.approximates(Feature::CustomTools, "free text becomes the member `input`");
                    writer.member_object("args", |writer| writer.member_string("input", &call.arguments));
                }
            }
        });
        let stand_in = Some(NO_SIGNATURE).filter(|_| context.needs_signature && call.signature.is_none());
        if stand_in.is_some() {
            fidelity.approximates(Feature::ThinkingBlocks, "a stand-in proves calls that another model made");
        }
        writer.member_string_if("thoughtSignature", call.signature.as_deref().or(stand_in));
    });
}

fn write_result(
    writer: &mut JsonWriter,
    result: &ToolResult,
    context: &TurnContext<'_>,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    let mut text = String::new();
    for part in &result.content {
        match &part.kind {
            PartKind::Text { text: more, .. } => text.push_str(more),
            _ => fidelity.lacks(DIALECT, Feature::ToolResultMedia)?,
        }
    }
    let known =
        context.names.iter().rev().find(|(id, _)| *id == result.call_id).map(|(_, name)| name.as_str());
    let name = result.name.as_deref().or(known).unwrap_or(&result.call_id);
    writer.object(|writer| {
        writer.member_object("functionResponse", |writer| {
            writer.member_string_if("id", Some(result.call_id.as_str()).filter(|_| context.has_ids));
            writer.member_string("name", name);
            match result_object(&text, result.is_error) {
                Ok(object) => writer.member_raw("response", &object),
                Err(member) => {
                    writer.member_object("response", |writer| writer.member_string(&member, &text));
                }
            }
        });
    });
    Ok(())
}
