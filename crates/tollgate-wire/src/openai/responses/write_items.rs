//! Items and their content, written.

use crate::json::JsonWriter;
use crate::neutral::{
    ChatDialect, Feature, Fidelity, Media, Message, Part, PartKind, Role, ToolCall, ToolResult, Unsupported,
};

const DIALECT: ChatDialect = ChatDialect::OpenAiResponses;

/// A message as the items it is there: its words, and beside them its reasoning, calls and results.
pub(super) fn write_message(
    writer: &mut JsonWriter,
    message: &Message,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    if message.name.is_some() {
        fidelity.approximates(Feature::Names, "speakers' names are left out");
    }
    let mut said: Vec<&Part> = Vec::new();
    for part in &message.parts {
        match &part.kind {
            PartKind::ToolResult(result) => write_result(writer, result, fidelity)?,
            PartKind::ToolCall(call) => {
                write_said(writer, message.role, &mut said, fidelity)?;
                writer.object(|writer| write_call(writer, call));
            }
            PartKind::Thinking { text, signature } => match signature {
                Some(signature) => writer.object(|writer| write_reasoning(writer, text, Some(signature))),
                None => {
                    fidelity
                        .approximates(Feature::ThinkingBlocks, "reasoning without a signature is left out");
                }
            },
            PartKind::HiddenThinking { .. } => {
                fidelity
                    .approximates(Feature::ThinkingBlocks, "another vendor's hidden reasoning is left out");
            }
            PartKind::Foreign { dialect: DIALECT, raw, is_item: true, .. }
                if message.role == Role::Assistant =>
            {
                write_said(writer, message.role, &mut said, fidelity)?;
                writer.raw(raw);
            }
            _ => said.push(part),
        }
    }
    write_said(writer, message.role, &mut said, fidelity)
}

fn write_said(
    writer: &mut JsonWriter,
    role: Role,
    said: &mut Vec<&Part>,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    if said.is_empty() {
        return Ok(());
    }
    let role_name = match role {
        Role::System => "system",
        Role::Developer => "developer",
        Role::User | Role::Tool => "user",
        Role::Assistant => "assistant",
    };
    let parts = std::mem::take(said);
    writer.object(|writer| {
        writer.member_string("type", "message");
        writer.member_string("role", role_name);
        writer.member_array("content", |writer| {
            parts.iter().try_for_each(|part| write_part(writer, part, role, fidelity))
        })
    })
}

fn write_part(
    writer: &mut JsonWriter,
    part: &Part,
    role: Role,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    let typed = |writer: &mut JsonWriter, name: &str, members: &dyn Fn(&mut JsonWriter)| {
        writer.object(|writer| {
            writer.member_string("type", name);
            members(writer);
        });
    };
    match &part.kind {
        PartKind::Text { text, .. } => {
            let name = if role == Role::Assistant { "output_text" } else { "input_text" };
            typed(writer, name, &|writer| writer.member_string("text", text));
        }
        PartKind::Refusal { text } => {
            typed(writer, "refusal", &|writer| writer.member_string("refusal", text));
        }
        PartKind::Image { source, detail } => typed(writer, "input_image", &|writer| {
            if let Media::FileId(id) = source {
                writer.member_string("file_id", id);
            }
            writer.member_string_if("image_url", source.to_url().as_deref());
            writer.member_string_if("detail", detail.as_deref());
        }),
        PartKind::File { source: Media::Text(text), name } => {
            fidelity.approximates(Feature::FileInput, "plain-text documents become text parts");
            let text = name.as_ref().map_or_else(|| text.clone(), |name| format!("{name}\n\n{text}"));
            typed(writer, "input_text", &|writer| writer.member_string("text", &text));
        }
        PartKind::File { source, name } => typed(writer, "input_file", &|writer| match source {
            Media::FileId(id) => writer.member_string("file_id", id),
            Media::Url { url, .. } => writer.member_string("file_url", url),
            _ => {
                writer.member_string("filename", name.as_deref().unwrap_or("document.pdf"));
                writer.member_string_if("file_data", source.to_url().as_deref());
            }
        }),
        PartKind::Foreign { dialect: DIALECT, raw, .. } => writer.raw(raw),
        PartKind::Foreign { name, .. } => {
            let what = Some(format!("content of type `{name}`"));
            return fidelity.lacks_named(DIALECT, Feature::UnknownContent, what);
        }
        PartKind::Audio { .. } => return fidelity.lacks(DIALECT, Feature::AudioInput),
        PartKind::Video { .. } => return fidelity.lacks(DIALECT, Feature::VideoInput),
        PartKind::ToolCall(_)
        | PartKind::ToolResult(_)
        | PartKind::Thinking { .. }
        | PartKind::HiddenThinking { .. } => {}
    }
    Ok(())
}

/// The members of a call's item, without its id and status.
pub(super) fn write_call(writer: &mut JsonWriter, call: &ToolCall) {
    let (kind, text) =
        if call.is_custom { ("custom_tool_call", "input") } else { ("function_call", "arguments") };
    writer.member_string("type", kind);
    writer.member_string("call_id", &call.id);
    writer.member_string("name", &call.name);
    writer.member_string(text, &call.arguments);
}

/// The members of a reasoning item, without its id.
pub(super) fn write_reasoning(writer: &mut JsonWriter, text: &str, signature: Option<&str>) {
    writer.member_string("type", "reasoning");
    writer.member_array("summary", |writer| {
        if !text.is_empty() {
            writer.object(|writer| {
                writer.member_string("type", "summary_text");
                writer.member_string("text", text);
            });
        }
    });
    writer.member_string_if("encrypted_content", signature);
}

fn write_result(
    writer: &mut JsonWriter,
    result: &ToolResult,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    writer.object(|writer| {
        writer.member_string("type", "function_call_output");
        writer.member_string("call_id", &result.call_id);
        match result.content.as_slice() {
            [] => writer.member_string("output", ""),
            [Part { kind: PartKind::Text { text, .. }, .. }] => writer.member_string("output", text),
            parts => writer.member_array("output", |writer| {
                parts.iter().try_for_each(|part| write_part(writer, part, Role::User, fidelity))
            })?,
        }
        Ok(())
    })
}
