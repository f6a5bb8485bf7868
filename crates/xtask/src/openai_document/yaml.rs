//! YAML as JSON has it.

use anyhow::Context as _;
use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

/// A list or an object that is still open, with the name of the member to come.
enum Open {
    List(Vec<Value>),
    Object(Map<String, Value>, Option<String>),
}

/// Reads one document. References between nodes of the text (`*name`) become nothing.
pub(super) fn parse(text: &str) -> anyhow::Result<Value> {
    let mut open: Vec<Open> = Vec::new();
    let mut root = None;
    for event in Parser::new_from_str(text) {
        let (event, _) = event.context("the document is no YAML")?;
        let done = match event {
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                None
            }
            Event::MappingStart(..) => {
                open.push(Open::Object(Map::new(), None));
                None
            }
            Event::Scalar(text, style, ..) => {
                Some(scalar(&text, style == ScalarStyle::Plain, expects_name(&open)))
            }
            Event::Alias(_) => Some(Value::Null),
            Event::SequenceEnd | Event::MappingEnd => open.pop().map(|closed| match closed {
                Open::List(items) => Value::Array(items),
                Open::Object(members, _) => Value::Object(members),
            }),
            _ => None,
        };
        let Some(value) = done else { continue };
        match open.last_mut() {
            None => root = Some(value),
            Some(Open::List(items)) => items.push(value),
            Some(Open::Object(members, name)) => match name.take() {
                Some(name) => drop(members.insert(name, value)),
                None => *name = value.as_str().map(str::to_owned),
            },
        }
    }
    root.context("the document is empty")
}

/// Whether the next scalar is the name of a member, which is a text whatever it looks like.
fn expects_name(open: &[Open]) -> bool {
    matches!(open.last(), Some(Open::Object(_, None)))
}

fn scalar(text: &str, is_plain: bool, is_name: bool) -> Value {
    if is_name || !is_plain {
        return Value::from(text);
    }
    match text {
        "" | "~" | "null" => Value::Null,
        "true" => Value::from(true),
        "false" => Value::from(false),
        _ if text.starts_with(|first: char| first.is_ascii_digit() || first == '-') => {
            serde_json::from_str::<serde_json::Number>(text).map_or_else(|_| Value::from(text), Value::Number)
        }
        _ => Value::from(text),
    }
}
