//! Parts of a turn, read.

use std::collections::VecDeque;

use crate::json::{FieldError, JsonWriter, Kind, Members, Node, RawJson};
use crate::neutral::{ChatDialect, Media, Part, PartKind, ToolCall, ToolResult};

const DIALECT: ChatDialect = ChatDialect::Gemini;

/// Names for calls that have no id, as is usual here: results are matched by the function's name, in order.
#[derive(Debug, Default)]
pub(super) struct CallIds {
    n_made: u64,
    open: VecDeque<(String, String)>,
}

impl CallIds {
    /// The id of a call of `name`.
    pub(super) fn call(&mut self, name: &str, id: Option<String>) -> String {
        let id = id.filter(|id| !id.is_empty()).unwrap_or_else(|| {
            self.n_made += 1;
            format!("call_{}", self.n_made)
        });
        self.open.push_back((name.to_owned(), id.clone()));
        id
    }

    /// The id of the call that a result of `name` answers.
    fn result(&mut self, name: &str, id: Option<String>) -> String {
        let at = self.open.iter().position(|(open, open_id)| match &id {
            Some(id) => open_id == id,
            None => open == name,
        });
        let found = at.and_then(|at| self.open.remove(at)).map(|(_, id)| id);
        found.or(id).unwrap_or_else(|| name.to_owned())
    }
}

/// One part; several pieces where text has a signature beside it.
pub(super) fn read_part(node: &Node<'_>, ids: &mut CallIds, into: &mut Vec<Part>) -> Result<(), FieldError> {
    let mut members = node.google_object()?;
    let signature = string_of(&mut members, "thoughtSignature", "thought_signature")?;
    let is_thought = members.flag("thought")?.unwrap_or(false);
    let kind = if let Some(text) = members.string("text")? {
        if is_thought {
            PartKind::Thinking { text, signature }
        } else {
            if !text.is_empty() || signature.is_none() {
                into.push(Part::text(text));
            }
            if signature.is_none() {
                return Ok(());
            }
            // what proves the text stands in a piece of its own, as other dialects' texts have no place for it
            PartKind::Thinking { text: String::new(), signature }
        }
    } else if let Some(data) = members.take_either("inlineData", "inline_data") {
        read_inline(&data)?
    } else if let Some(data) = members.take_either("fileData", "file_data") {
        read_file(&data)?
    } else if let Some(call) = members.take_either("functionCall", "function_call") {
        read_call(&call, signature, ids)?
    } else if let Some(result) = members.take_either("functionResponse", "function_response") {
        read_result(&result, ids)?
    } else {
        let name = members.rest().iter().next().map_or_else(String::new, |(name, _)| name.to_owned());
        PartKind::Foreign { dialect: DIALECT, name, raw: node.raw(), is_item: false }
    };
    into.push(Part::new(kind));
    Ok(())
}

pub(super) fn string_of(
    members: &mut Members<'_>,
    camel: &str,
    snake: &str,
) -> Result<Option<String>, FieldError> {
    members.take_either(camel, snake).map(|node| node.string().map(std::borrow::Cow::into_owned)).transpose()
}

fn required_string(node: &Node<'_>, camel: &str, snake: &str) -> Result<String, FieldError> {
    let mut members = node.google_object()?;
    match string_of(&mut members, camel, snake)? {
        Some(text) => Ok(text),
        None => node.google_object()?.required(camel)?.string().map(std::borrow::Cow::into_owned),
    }
}

fn read_inline(node: &Node<'_>) -> Result<PartKind, FieldError> {
    let media_type = required_string(node, "mimeType", "mime_type")?;
    let base64 = required_string(node, "data", "data")?;
    // clients may write the alphabet of addresses
    let base64 = base64.replace('-', "+").replace('_', "/");
    let name = string_of(&mut node.google_object()?, "displayName", "display_name")?;
    Ok(media(Media::Inline { media_type: media_type.clone(), base64 }, &media_type, name))
}

fn read_file(node: &Node<'_>) -> Result<PartKind, FieldError> {
    let url = required_string(node, "fileUri", "file_uri")?;
    let media_type = string_of(&mut node.google_object()?, "mimeType", "mime_type")?;
    let kind = media_type.clone().unwrap_or_default();
    Ok(media(Media::Url { url, media_type }, &kind, None))
}

fn media(source: Media, media_type: &str, name: Option<String>) -> PartKind {
    match media_type.split('/').next() {
        Some("image") => PartKind::Image { source, detail: None },
        Some("audio") => PartKind::Audio { source },
        Some("video") => PartKind::Video { source },
        _ => PartKind::File { source, name },
    }
}

fn read_call(node: &Node<'_>, signature: Option<String>, ids: &mut CallIds) -> Result<PartKind, FieldError> {
    let mut members = node.google_object()?;
    let name = members.required("name")?.string()?.into_owned();
    let id = ids.call(&name, members.string("id")?);
    let arguments = members.take("args").map_or_else(|| "{}".to_owned(), |node| node.text().to_owned());
    Ok(PartKind::ToolCall(ToolCall { id, name, arguments, is_custom: false, signature }))
}

fn read_result(node: &Node<'_>, ids: &mut CallIds) -> Result<PartKind, FieldError> {
    let mut members = node.google_object()?;
    let name = members.required("name")?.string()?.into_owned();
    let call_id = ids.result(&name, members.string("id")?);
    let (mut text, mut is_error) = (String::new(), false);
    if let Some(response) = members.take("response") {
        (text, is_error) = result_text(&response)?;
    }
    let mut content = vec![Part::text(text)];
    for part in members.take("parts").map(|parts| parts.array()).transpose()?.unwrap_or_default() {
        read_part(&part, &mut CallIds::default(), &mut content)?;
    }
    Ok(PartKind::ToolResult(ToolResult { call_id, name: Some(name), content, is_error }))
}

/// `{"output": "…"}` and `{"error": "…"}` are the usual wrappings of a text; anything else is JSON.
fn result_text(response: &Node<'_>) -> Result<(String, bool), FieldError> {
    let members = response.object()?.rest();
    let mut all = members.iter();
    if let (Some((name @ ("output" | "result" | "error"), value)), None) = (all.next(), all.next()) {
        let text = value.node().ok().filter(|node| node.kind() == Kind::String);
        let text = text.map(|node| node.string().map(std::borrow::Cow::into_owned)).transpose()?;
        return Ok((text.unwrap_or_else(|| value.text().to_owned()), name == "error"));
    }
    Ok((response.text().to_owned(), false))
}

/// A result's text as the object it must be here.
pub(super) fn result_object(text: &str, is_error: bool) -> Result<RawJson, String> {
    let name = if is_error { "error" } else { "output" };
    match crate::neutral::writing::object_of(text).filter(|_| !is_error && !text.trim().is_empty()) {
        Some(object) => Ok(object),
        None => Err(name.to_owned()),
    }
}

/// A schema in Google's older dialect as JSON Schema: types in lower case, `nullable` as a second type.
pub(super) fn plain_schema(node: &Node<'_>) -> Result<RawJson, FieldError> {
    let mut writer = JsonWriter::with_capacity(node.text().len());
    write_schema(&mut writer, node)?;
    let text = String::from_utf8_lossy(&writer.finish()).into_owned();
    RawJson::new(text).map_err(|_| node.error("is not valid"))
}

fn write_schema(writer: &mut JsonWriter, node: &Node<'_>) -> Result<(), FieldError> {
    if node.kind() != Kind::Object {
        writer.raw(&node.raw());
        return Ok(());
    }
    let mut members = node.google_object()?;
    let kind = members.string("type")?.map(|kind| kind.to_ascii_lowercase());
    let is_nullable = members.flag("nullable")?.unwrap_or(false);
    let inside = members.rest();
    writer.object(|writer| {
        match kind {
            Some(kind) if is_nullable => writer.member_array("type", |writer| {
                writer.string(&kind);
                writer.string("null");
            }),
            Some(kind) => writer.member_string("type", &kind),
            None => {}
        }
        inside.iter().filter(|(name, _)| !name.ends_with("rdering")).try_for_each(|(name, value)| {
            writer.key(name);
            write_schema_member(writer, name, value, node)
        })
    })
}

fn write_schema_member(
    writer: &mut JsonWriter,
    name: &str,
    value: &RawJson,
    parent: &Node<'_>,
) -> Result<(), FieldError> {
    let node = value.node().map_err(|_| parent.error("is not valid"))?;
    match (name, node.kind()) {
        ("items" | "additionalProperties", Kind::Object) => write_schema(writer, &node),
        ("properties" | "$defs" | "defs", Kind::Object) => {
            let properties = node.object()?.rest();
            writer.object(|writer| {
                properties.iter().try_for_each(|(name, value)| {
                    writer.key(name);
                    write_schema(writer, &value.node().map_err(|_| parent.error("is not valid"))?)
                })
            })
        }
        ("anyOf", Kind::Array) => {
            let schemas = node.array()?;
            writer.array(|writer| schemas.iter().try_for_each(|schema| write_schema(writer, schema)))
        }
        // limits are numbers in strings there
        (
            "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties" | "maxProperties",
            Kind::String,
        ) => {
            writer.literal(&node.string()?);
            Ok(())
        }
        _ => {
            writer.raw(value);
            Ok(())
        }
    }
}
