//! JSON to the YAML of a configuration file: block style, text quoted only where it must be.

use serde_json::{Map, Value};

/// The value as a YAML document, with a line break at its end.
#[must_use]
pub fn to_yaml(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(fields) if !fields.is_empty() => write_fields(&mut text, fields, 0),
        Value::Array(items) if !items.is_empty() => write_items(&mut text, items, 0),
        other => {
            write_scalar(&mut text, other);
            text.push('\n');
        }
    }
    text
}

fn write_fields(text: &mut String, fields: &Map<String, Value>, indent: usize) {
    for (index, (name, value)) in in_reading_order(fields).into_iter().enumerate() {
        if index > 0 {
            text.push_str(&" ".repeat(indent));
        }
        write_text(text, name);
        text.push(':');
        write_after_colon(text, value, indent);
    }
}

/// What names a thing first, then its single values, then what it is made of; otherwise by the alphabet.
fn in_reading_order(fields: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut ordered: Vec<(&String, &Value)> = fields.iter().collect();
    ordered.sort_by_key(|(name, value)| {
        (name.as_str() != "version", name.as_str() != "name", value.is_object() || value.is_array())
    });
    ordered
}

fn write_after_colon(text: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            text.push('\n');
            text.push_str(&" ".repeat(indent + 2));
            write_fields(text, fields, indent + 2);
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            text.push('\n');
            text.push_str(&" ".repeat(indent + 2));
            write_items(text, items, indent + 2);
        }
        other => {
            text.push(' ');
            write_scalar(text, other);
            text.push('\n');
        }
    }
}

fn write_items(text: &mut String, items: &[Value], indent: usize) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            text.push_str(&" ".repeat(indent));
        }
        text.push_str("- ");
        match item {
            Value::Object(fields) if !fields.is_empty() => write_fields(text, fields, indent + 2),
            Value::Array(inner) if !inner.is_empty() => write_items(text, inner, indent + 2),
            other => {
                write_scalar(text, other);
                text.push('\n');
            }
        }
    }
}

/// Anything that stands on one line: scalars, and lists of them in brackets.
fn write_scalar(text: &mut String, value: &Value) {
    match value {
        Value::String(string) => write_text(text, string),
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push_str(", ");
                }
                write_scalar(text, item);
            }
            text.push(']');
        }
        other => text.push_str(&other.to_string()),
    }
}

/// Plain where that reads back as the same text, else with JSON's quoting, which YAML shares.
fn write_text(text: &mut String, string: &str) {
    let is_plain = string.starts_with(|first: char| first.is_ascii_alphabetic())
        && string.chars().all(|character| character.is_ascii_alphanumeric() || "_-./".contains(character))
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
            .contains(&string.to_ascii_lowercase().as_str());
    if is_plain {
        text.push_str(string);
    } else {
        text.push_str(&Value::String(string.to_owned()).to_string());
    }
}
