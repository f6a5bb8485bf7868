//! A value for each parameter, made from its schema.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

/// Schemas may hold themselves: below this many levels nothing more is made.
const MAX_DEPTH: usize = 8;

/// A document with its references.
pub(super) struct Schemas<'a> {
    document: &'a Value,
}

impl<'a> Schemas<'a> {
    pub(super) fn new(document: &'a Value) -> Self {
        Self { document }
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let paths = self.document["paths"].as_object();
        paths.into_iter().flatten().map(|(path, item)| (path.as_str(), item))
    }

    /// What a reference leads to; anything else as it is. A circle ends in nothing.
    pub(super) fn resolve<'b>(&self, value: &'b Value) -> &'b Value
    where
        'a: 'b,
    {
        let mut value = value;
        for _ in 0..MAX_DEPTH {
            let Some(place) = value.get("$ref").and_then(Value::as_str) else { return value };
            value = self.document.pointer(place.trim_start_matches('#')).unwrap_or(&Value::Null);
        }
        &Value::Null
    }

    /// Every member that a body may have, in all its variants, and those that it must have.
    pub(super) fn members<'b>(&self, schema: &'b Value) -> (BTreeMap<String, &'b Value>, BTreeSet<String>)
    where
        'a: 'b,
    {
        let (mut members, mut required) = (BTreeMap::new(), BTreeSet::new());
        self.collect(schema, &mut members, &mut required, 0);
        (members, required)
    }

    fn collect<'b>(
        &self,
        schema: &'b Value,
        members: &mut BTreeMap<String, &'b Value>,
        required: &mut BTreeSet<String>,
        depth: usize,
    ) where
        'a: 'b,
    {
        if depth > MAX_DEPTH {
            return;
        }
        let schema = self.resolve(schema);
        for part in ["allOf", "oneOf", "anyOf"] {
            for variant in schema[part].as_array().into_iter().flatten() {
                self.collect(variant, members, required, depth + 1);
            }
        }
        for (name, of) in schema["properties"].as_object().into_iter().flatten() {
            members.entry(name.clone()).or_insert(of);
        }
        let names = schema["required"].as_array().into_iter().flatten();
        required.extend(names.filter_map(Value::as_str).map(str::to_owned));
    }
}

/// A value that a schema allows.
pub(super) fn sample(schemas: &Schemas<'_>, schema: &Value) -> Value {
    at_depth(schemas, schema, 0)
}

fn at_depth(schemas: &Schemas<'_>, schema: &Value, depth: usize) -> Value {
    let schema = schemas.resolve(schema);
    if depth > MAX_DEPTH {
        return Value::Null;
    }
    if let Some(constant) = schema.get("const") {
        return constant.clone();
    }
    if let Some(first) = schema["enum"].as_array().and_then(|all| all.iter().find(|one| !one.is_null())) {
        return first.clone();
    }
    for part in ["oneOf", "anyOf"] {
        let variants = schema[part].as_array();
        let is_something = |variant: &&Value| schemas.resolve(variant)["type"] != "null";
        if let Some(variant) = variants.and_then(|all| all.iter().find(is_something)) {
            return at_depth(schemas, variant, depth + 1);
        }
    }
    if schema.get("allOf").is_some() || schema.get("properties").is_some() {
        return object(schemas, schema, depth);
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null"),
        kind => kind.as_str(),
    };
    match kind {
        Some("array") => json!([at_depth(schemas, &schema["items"], depth + 1)]),
        Some("object") => match &schema["additionalProperties"] {
            other @ Value::Object(_) => json!({"key": at_depth(schemas, other, depth + 1)}),
            _ => json!({}),
        },
        Some("integer") => json!(schema["minimum"].as_i64().unwrap_or(1).max(1)),
        Some("number") => json!(0.5),
        Some("boolean") => json!(true),
        _ if schema["format"] == "binary" => json!("binary"),
        _ if schema["format"] == "uri" => json!("https://example.com/a"),
        _ => json!("text"),
    }
}

/// What must be there; where nothing must, everything.
fn object(schemas: &Schemas<'_>, schema: &Value, depth: usize) -> Value {
    let (members, required) = schemas.members(schema);
    if members.is_empty() {
        let parts = schema["allOf"].as_array();
        return parts
            .and_then(|all| all.first())
            .map_or(json!({}), |part| at_depth(schemas, part, depth + 1));
    }
    let mut out = Map::new();
    for (name, of) in &members {
        if required.contains(name) || (required.is_empty() && depth == 0) {
            out.insert(name.clone(), at_depth(schemas, of, depth + 1));
        }
    }
    Value::Object(out)
}
