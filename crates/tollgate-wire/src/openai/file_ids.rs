//! Files that a request names by the id under which a provider keeps them: in Chat Completions, in Responses and where
//! pictures are edited.

use std::ops::Range;

use bytes::Bytes;
use memchr::memmem;

use crate::json::{Kind, Members, Node, ReadError, write_string};
use crate::neutral::ChatDialect;

/// A file that a request names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// Its name, as the client knows it.
    pub name: String,
    /// Where that stands: `input[0].content[1].file_id`.
    pub param: String,
    /// The bytes of the name with its quotes.
    span: Range<usize>,
}

/// The files that a request of Chat Completions or Responses names, in their order; none of other dialects.
///
/// # Errors
/// Invalid JSON, or an object with a member twice.
pub fn named_files(dialect: ChatDialect, body: &[u8]) -> Result<Vec<NamedFile>, ReadError> {
    let mut found = Vec::new();
    let list = match dialect {
        ChatDialect::OpenAiChat => "messages",
        ChatDialect::OpenAiResponses => "input",
        _ => return Ok(found),
    };
    let Some(mut root) = object_with_names(body)? else { return Ok(found) };
    for item in elements(root.take(list))? {
        if item.kind() != Kind::Object {
            continue;
        }
        let mut members = item.object()?;
        for place in ["content", "output"] {
            let content = members.take(place);
            if let Some(part) = content.as_ref().filter(|node| node.kind() == Kind::Object) {
                note_part(body, part, &mut found)?;
            }
            for part in elements(content)? {
                note_part(body, &part, &mut found)?;
            }
        }
    }
    Ok(found)
}

/// The pictures that a request to edit some names so, its mask among them.
///
/// # Errors
/// Invalid JSON, or an object with a member twice.
pub fn named_pictures(body: &[u8]) -> Result<Vec<NamedFile>, ReadError> {
    let mut found = Vec::new();
    let Some(mut root) = object_with_names(body)? else { return Ok(found) };
    let images = elements(root.take("images"))?;
    for picture in images.iter().chain(root.take("mask").as_ref()) {
        note_part(body, picture, &mut found)?;
    }
    found.sort_by_key(|file| file.span.start);
    Ok(found)
}

/// The members of a body that may name files.
fn object_with_names(body: &[u8]) -> Result<Option<Members<'_>>, ReadError> {
    // an escaped name of the member has these, too
    let may_name = ["file_id", "\\u00"].iter().any(|text| memmem::find(body, text.as_bytes()).is_some());
    if !may_name {
        return Ok(None);
    }
    let root = Node::parse(body)?;
    if root.kind() != Kind::Object {
        return Ok(None);
    }
    Ok(Some(root.object()?))
}

/// The same request with other names for its files, one for each.
#[must_use]
pub fn with_file_names(body: &[u8], files: &[NamedFile], names: &[String]) -> Bytes {
    let mut out = Vec::with_capacity(body.len());
    let mut at = 0;
    for (file, name) in files.iter().zip(names) {
        out.extend_from_slice(&body[at..file.span.start]);
        write_string(&mut out, name);
        at = file.span.end;
    }
    out.extend_from_slice(&body[at..]);
    Bytes::from(out)
}

fn elements(node: Option<Node<'_>>) -> Result<Vec<Node<'_>>, ReadError> {
    match node.filter(|node| node.kind() == Kind::Array) {
        Some(node) => Ok(node.array()?),
        None => Ok(Vec::new()),
    }
}

/// `{"file_id"}` in Responses, `{"file": {"file_id"}}` in Chat Completions; vendors take either.
fn note_part(body: &[u8], part: &Node<'_>, found: &mut Vec<NamedFile>) -> Result<(), ReadError> {
    if part.kind() != Kind::Object {
        return Ok(());
    }
    let mut members = part.object()?;
    let inner = members.take("file").filter(|node| node.kind() == Kind::Object);
    let inner = inner.map(|node| node.object()).transpose()?.and_then(|mut file| file.take("file_id"));
    for node in members.take("file_id").into_iter().chain(inner) {
        let param = crate::json::path_at(body, node.span().start);
        found.push(NamedFile { name: node.string()?.into_owned(), param, span: node.span() });
    }
    found.sort_by_key(|file| file.span.start);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_and_named_anew() {
        let cases = [
            (
                ChatDialect::OpenAiResponses,
                r#"{"input": [{"role":"user","content":[{"type":"input_text","text":"file_id"},
                    {"type":"input_file","file_id": "a" },{"type":"input_image","file_id":"b"}]},
                    {"type":"function_call_output","call_id":"c","output":[{"type":"input_file","file_id":"c"}]},
                    {"type":"computer_call_output","output":{"type":"computer_screenshot","file_id":"d"}}], "x":1.50}"#,
                vec![
                    ("a", "input[0].content[1].file_id"),
                    ("b", "input[0].content[2].file_id"),
                    ("c", "input[1].output[0].file_id"),
                    ("d", "input[2].output.file_id"),
                ],
            ),
            (
                ChatDialect::OpenAiChat,
                r#"{"messages":[{"role":"user","content":[{"type":"file","file":{"f\u0069le_id":"a"}},{"type":"text","text":"b"}]}]}"#,
                vec![("a", "messages[0].content[0].file.file_id")],
            ),
            (ChatDialect::OpenAiChat, r#"{"messages":[{"role":"user","content":"file_id"}]}"#, vec![]),
            (ChatDialect::OpenAiResponses, r#"{"input":"file_id"}"#, vec![]),
            (ChatDialect::OpenAiResponses, r#"{"input":["file_id",null,5]}"#, vec![]),
            (
                ChatDialect::Anthropic,
                r#"{"messages":[{"content":[{"source":{"type":"file","file_id":"a"}}]}]}"#,
                vec![],
            ),
        ];
        for (dialect, body, expected) in cases {
            let found = named_files(dialect, body.as_bytes()).unwrap();
            let told: Vec<(&str, &str)> =
                found.iter().map(|file| (file.name.as_str(), file.param.as_str())).collect();
            assert_eq!(told, expected, "{body}");
            let names: Vec<String> = found.iter().map(|file| format!("file-{}\"", file.name)).collect();
            let mut written = body.to_owned();
            for file in &found {
                let longer = format!("\"file-{}\\\"\"", file.name);
                let end = written.len() - (body.len() - file.span.end);
                written.replace_range(end - file.span.len()..end, &longer);
            }
            let out = with_file_names(body.as_bytes(), &found, &names);
            assert_eq!(String::from_utf8(out.to_vec()).unwrap(), written, "{body}");
        }
        let pictures =
            r#"{"mask":{"file_id":"m"},"images":[{"image_url":"file_id"},{"file_id":"a"},"text"]}"#;
        let found = named_pictures(pictures.as_bytes()).unwrap();
        let told: Vec<&str> = found.iter().map(|file| file.param.as_str()).collect();
        assert_eq!(told, ["mask.file_id", "images[1].file_id"]);
        let out = with_file_names(pictures.as_bytes(), &found, &["x".to_owned(), "y".to_owned()]);
        assert_eq!(
            out,
            r#"{"mask":{"file_id":"x"},"images":[{"image_url":"file_id"},{"file_id":"y"},"text"]}"#
        );
        assert_eq!(named_pictures(br#"{"images":[{"image_url":"x"}]}"#).unwrap(), []);
        let twice = r#"{"input":[{"content":[{"file_id":"a","file_id":"b"}]}]}"#;
        assert!(named_files(ChatDialect::OpenAiResponses, twice.as_bytes()).is_err());
        let wrong = r#"{"input":[{"content":[{"file_id":5}]}]}"#;
        assert!(named_files(ChatDialect::OpenAiResponses, wrong.as_bytes()).is_err());
    }
}
