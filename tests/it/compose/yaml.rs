//! YAML as compose files use it: anchors, aliases and merge keys resolved, every plain scalar as a string
//! (`true` and `8080` are compared as text), an empty one as null.

use std::collections::HashMap;

use anyhow::{Context as _, bail, ensure};
use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

/// A list or mapping whose end has not come yet.
enum Open {
    List { anchor: usize, items: Vec<Value> },
    Mapping { anchor: usize, entries: Map<String, Value>, merged: Vec<Value>, key: Option<String> },
}

/// Parses one document.
pub(crate) fn parse(text: &str) -> anyhow::Result<Value> {
    let mut anchors = HashMap::new();
    let mut open = Vec::new();
    let mut root = None;
    for event in Parser::new_from_str(text) {
        let (event, _span) = event.context("not valid YAML")?;
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, _tag) => {
                let is_null = style == ScalarStyle::Plain && matches!(text.as_ref(), "" | "~" | "null");
                (if is_null { Value::Null } else { Value::String(text.into_owned()) }, anchor)
            }
            Event::Alias(anchor) => {
                (anchors.get(&anchor).cloned().context("an alias inside the value it names")?, 0)
            }
            Event::SequenceStart(anchor, _tag) => {
                open.push(Open::List { anchor, items: Vec::new() });
                continue;
            }
            Event::MappingStart(anchor, _tag) => {
                open.push(Open::Mapping { anchor, entries: Map::new(), merged: Vec::new(), key: None });
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => close(open.pop().context("an end without a start")?)?,
            _ => continue,
        };
        if anchor > 0 {
            anchors.insert(anchor, value.clone());
        }
        put(&mut open, value, &mut root)?;
    }
    root.context("the file is empty")
}

/// The finished value and its anchor. What was merged stands where nothing was written.
fn close(open: Open) -> anyhow::Result<(Value, usize)> {
    match open {
        Open::List { anchor, items } => Ok((Value::Array(items), anchor)),
        Open::Mapping { anchor, mut entries, merged, key } => {
            ensure!(key.is_none(), "a key without a value");
            for base in merged {
                let Value::Object(base) = base else { bail!("`<<` takes a mapping") };
                for (name, value) in base {
                    entries.entry(name).or_insert(value);
                }
            }
            Ok((Value::Object(entries), anchor))
        }
    }
}

fn put(open: &mut [Open], value: Value, root: &mut Option<Value>) -> anyhow::Result<()> {
    match open.last_mut() {
        None => *root = Some(value),
        Some(Open::List { items, .. }) => items.push(value),
        Some(Open::Mapping { entries, merged, key, .. }) => match key.take() {
            None => {
                let name = value.as_str().context("a key that is not text")?;
                ensure!(!entries.contains_key(name), "the key {name} stands twice");
                *key = Some(name.to_owned());
            }
            Some(name) if name == "<<" => merged.push(value),
            Some(name) => drop(entries.insert(name, value)),
        },
    }
    Ok(())
}

#[test]
fn merges_fill_what_is_not_written() -> anyhow::Result<()> {
    let text = "a: &a { x: 1, y: 2 }\nb: &b\n  <<: *a\n  y: 3\nc:\n  <<: *b\n  x: ~\nd: [*a, \"~\"]\n";
    let expected = serde_json::json!({
        "a": { "x": "1", "y": "2" },
        "b": { "x": "1", "y": "3" },
        "c": { "x": null, "y": "3" },
        "d": [{ "x": "1", "y": "2" }, "~"],
    });
    assert_eq!(parse(text)?, expected);
    for wrong in ["a: 1\na: 2\n", "a: [1\n", "", "<<: 1\n"] {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
    Ok(())
}
