//! Items and their content, read.

use crate::json::{FieldError, Kind, Members, Node};
use crate::neutral::{ChatDialect, Media, Message, Part, PartKind, Role, ToolCall, ToolResult};

const DIALECT: ChatDialect = ChatDialect::OpenAiResponses;

/// An item of `input` or `output`, as a message of its own; neighbours of one turn are joined by
/// [`join_turns`].
pub(super) fn read_item(node: &Node<'_>) -> Result<Message, FieldError> {
    let mut members = node.object()?;
    let kind = members.string("type")?;
    members.take("status");
    let part = match kind.as_deref() {
        None | Some("message") => return read_message(&mut members),
        Some(kind @ ("function_call" | "custom_tool_call")) => {
            let is_custom = kind == "custom_tool_call";
            let text = members.string(if is_custom { "input" } else { "arguments" })?;
            PartKind::ToolCall(ToolCall {
                id: members.required("call_id")?.string()?.into_owned(),
                name: members.required("name")?.string()?.into_owned(),
                arguments: text.unwrap_or_default(),
                is_custom,
                signature: None,
            })
        }
        Some("function_call_output" | "custom_tool_call_output") => {
            let call_id = members.required("call_id")?.string()?.into_owned();
            let mut content = Vec::new();
            read_content(&members.required("output")?, &mut content)?;
            let result = ToolResult { call_id, name: None, content, is_error: false };
            return Ok(Message::new(Role::Tool, vec![Part::new(PartKind::ToolResult(result))]));
        }
        Some("reasoning") => read_reasoning(&mut members)?,
        Some(other) => foreign(other, node, true),
    };
    Ok(Message::new(Role::Assistant, vec![Part::new(part)]))
}

fn foreign(name: &str, node: &Node<'_>, is_item: bool) -> PartKind {
    PartKind::Foreign { dialect: DIALECT, name: name.to_owned(), raw: node.raw(), is_item }
}

fn read_message(members: &mut Members<'_>) -> Result<Message, FieldError> {
    let role = members.required("role")?;
    let role = match &*role.string()? {
        "system" => Role::System,
        "developer" => Role::Developer,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        _ => return Err(role.error("must be system, developer, user or assistant")),
    };
    let mut message = Message::new(role, Vec::new());
    read_content(&members.required("content")?, &mut message.parts)?;
    Ok(message)
}

/// The model's summary of its reasoning, or the reasoning itself; what proves it is encrypted there.
fn read_reasoning(members: &mut Members<'_>) -> Result<PartKind, FieldError> {
    let mut text = String::new();
    for name in ["summary", "content"] {
        let Some(pieces) = members.take(name) else { continue };
        for piece in pieces.array()? {
            let more = piece.object()?.string("text")?.unwrap_or_default();
            if !text.is_empty() {
                text.push_str("\n\n");
            }
            text.push_str(&more);
        }
    }
    Ok(PartKind::Thinking { text, signature: members.string("encrypted_content")? })
}

/// A text or an array of content parts.
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
    let kind = match &*kind {
        "input_text" | "output_text" | "text" => PartKind::Text {
            text: members.required("text")?.string()?.into_owned(),
            citations: members.raw("annotations").filter(|annotations| annotations.text() != "[]"),
        },
        "refusal" => PartKind::Refusal { text: members.required("refusal")?.string()?.into_owned() },
        "input_image" => {
            let detail = members.string("detail")?;
            let source = match members.string("file_id")? {
                Some(id) => Media::FileId(id),
                None => Media::from_url(&members.required("image_url")?.string()?),
            };
            PartKind::Image { source, detail }
        }
        "input_file" => read_file(&mut members, node)?,
        "input_audio" => {
            let mut audio = members.required("input_audio")?.object()?;
            let base64 = audio.required("data")?.string()?.into_owned();
            let format = audio.required("format")?.string()?;
            PartKind::Audio { source: Media::Inline { media_type: format!("audio/{format}"), base64 } }
        }
        other => foreign(other, node, false),
    };
    Ok(Part::new(kind))
}

fn read_file(members: &mut Members<'_>, node: &Node<'_>) -> Result<PartKind, FieldError> {
    let name = members.string("filename")?;
    let source = match (members.string("file_id")?, members.string("file_url")?, members.string("file_data")?)
    {
        (Some(id), ..) => Media::FileId(id),
        (None, Some(url), _) => Media::Url { url, media_type: None },
        (None, None, Some(data)) if data.starts_with("data:") => Media::from_url(&data),
        (None, None, Some(base64)) => Media::Inline { media_type: "application/pdf".to_owned(), base64 },
        (None, None, None) => return Err(node.error("needs `file_id`, `file_url` or `file_data`")),
    };
    Ok(PartKind::File { source, name })
}

/// Joins items that are one turn of the model: its reasoning, its words and its calls.
pub(super) fn join_turns(messages: Vec<Message>) -> Vec<Message> {
    let mut joined: Vec<Message> = Vec::with_capacity(messages.len());
    for message in messages {
        match joined.last_mut() {
            Some(last) if last.role == Role::Assistant && message.role == Role::Assistant => {
                last.parts.extend(message.parts);
            }
            _ => joined.push(message),
        }
    }
    joined
}
