//! Content blocks, read.

use std::borrow::Cow;

use crate::json::{FieldError, Kind, Members, Node};
use crate::neutral::{CacheMark, ChatDialect, Media, Part, PartKind, ToolCall, ToolResult};

const DIALECT: ChatDialect = ChatDialect::Anthropic;

/// A `content` member: a text or an array of blocks.
pub(super) fn read_content(node: &Node<'_>, into: &mut Vec<Part>) -> Result<(), FieldError> {
    match node.kind() {
        Kind::String => {
            let text = node.string()?;
            if !text.is_empty() {
                into.push(Part::text(text));
            }
        }
        Kind::Array => {
            for block in node.array()? {
                into.push(read_block(&block)?);
            }
        }
        _ => return Err(node.error("must be a string or an array of blocks")),
    }
    Ok(())
}

pub(super) fn read_block(node: &Node<'_>) -> Result<Part, FieldError> {
    let mut members = node.object()?;
    let kind = members.required("type")?.string()?;
    let cache = read_cache_mark(&mut members)?;
    let kind = match &*kind {
        "text" => PartKind::Text {
            text: members.required("text")?.string()?.into_owned(),
            citations: members.raw("citations"),
        },
        "image" => PartKind::Image { source: read_source(&mut members)?, detail: None },
        "document" => read_document(&mut members)?,
        "tool_use" => PartKind::ToolCall(ToolCall {
            id: members.required("id")?.string()?.into_owned(),
            name: members.required("name")?.string()?.into_owned(),
            arguments: members.take("input").map_or_else(|| "{}".to_owned(), |node| node.text().to_owned()),
            is_custom: false,
            signature: None,
        }),
        "tool_result" => read_result(&mut members)?,
        "thinking" => PartKind::Thinking {
            text: members.string("thinking")?.unwrap_or_default(),
            signature: members.string("signature")?.filter(|signature| !signature.is_empty()),
        },
        "redacted_thinking" => {
            PartKind::HiddenThinking { data: members.required("data")?.string()?.into_owned() }
        }
        other => {
            let (dialect, name) = (DIALECT, other.to_owned());
            return Ok(Part::new(PartKind::Foreign { dialect, name, raw: node.raw(), is_item: false }));
        }
    };
    Ok(Part { kind, cache, rest: members.rest() })
}

pub(super) fn read_cache_mark(members: &mut Members<'_>) -> Result<Option<CacheMark>, FieldError> {
    let Some(node) = members.take("cache_control") else { return Ok(None) };
    Ok(Some(CacheMark { ttl: node.object()?.string("ttl")? }))
}

fn read_source(members: &mut Members<'_>) -> Result<Media, FieldError> {
    let node = members.required("source")?;
    read_source_of(&mut node.object()?, &node)
}

fn read_document(members: &mut Members<'_>) -> Result<PartKind, FieldError> {
    let node = members.required("source")?;
    let is_blocks = node.object()?.string("type")?.as_deref() == Some("content");
    let media = if is_blocks {
        Media::Text(text_of_blocks(&node.object()?.required("content")?)?)
    } else {
        read_source_of(&mut node.object()?, &node)?
    };
    Ok(PartKind::File { source: media, name: members.string("title")? })
}

fn read_source_of(source: &mut Members<'_>, node: &Node<'_>) -> Result<Media, FieldError> {
    let text = |source: &mut Members<'_>, name: &str| -> Result<String, FieldError> {
        source.required(name)?.string().map(Cow::into_owned)
    };
    let kind = text(source, "type")?;
    Ok(match kind.as_str() {
        "base64" => Media::Inline { media_type: text(source, "media_type")?, base64: text(source, "data")? },
        "url" => Media::Url { url: text(source, "url")?, media_type: None },
        "file" => Media::FileId(text(source, "file_id")?),
        "text" => Media::Text(text(source, "data")?),
        _ => return Err(node.error("must be of type base64, url, text, content or file")),
    })
}

fn text_of_blocks(node: &Node<'_>) -> Result<String, FieldError> {
    let mut parts = Vec::new();
    read_content(node, &mut parts)?;
    let mut text = String::new();
    for part in parts {
        match part.kind {
            PartKind::Text { text: more, .. } => text.push_str(&more),
            _ => return Err(node.error("may have text blocks only")),
        }
    }
    Ok(text)
}

fn read_result(members: &mut Members<'_>) -> Result<PartKind, FieldError> {
    let call_id = members.required("tool_use_id")?.string()?.into_owned();
    let mut content = Vec::new();
    if let Some(node) = members.take("content") {
        read_content(&node, &mut content)?;
    }
    let is_error = members.flag("is_error")?.unwrap_or(false);
    Ok(PartKind::ToolResult(ToolResult { call_id, name: None, content, is_error }))
}
