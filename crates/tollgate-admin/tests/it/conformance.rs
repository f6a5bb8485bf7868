//! Holds every exchange of the tests against the OpenAPI document: statuses, content types, bodies.

use serde_json::{Map, Value};
use tollgate_testkit::http::Answer;

/// The document that the server under test describes itself with.
pub(crate) struct Contract {
    document: Value,
}

impl Contract {
    pub(crate) fn new(document: Value) -> Self {
        Self { document }
    }

    /// Fails the test when the answer, or the body that was accepted, is not as described. Paths and methods
    /// that are not described are left to the test.
    pub(crate) fn check(&self, method: &str, path: &str, body: &Value, answer: &Answer) {
        let Some(operation) = self.operation(method, path) else { return };
        let call = format!("{method} {path} -> {}", answer.status);
        let response = &operation["responses"][answer.status.as_str()];
        assert!(response.is_object(), "{call} is not described");
        let content_type = answer.header("content-type").unwrap_or_default();
        let content = &response["content"][content_type.split(';').next().unwrap_or_default()];
        assert!(content.is_object(), "{call}: {content_type} is not described");
        if content_type == "application/json" {
            let found = answer.json().unwrap();
            let fault = self.fault(&content["schema"], &found, "answer");
            assert_eq!(fault, None, "{call}: {found}");
        }
        if answer.status.is_success() && !body.is_null() {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            assert_eq!(self.fault(schema, body, "body"), None, "{call} was accepted: {body}");
        }
    }

    fn operation(&self, method: &str, path: &str) -> Option<&Value> {
        let path = format!("/api/v1{}", path.split('?').next().unwrap_or_default());
        let segments: Vec<&str> = path.split('/').collect();
        let is_of = |template: &str| {
            let parts: Vec<&str> = template.split('/').collect();
            let matches = |(part, segment): (&&str, &&str)| part.starts_with('{') || part == segment;
            parts.len() == segments.len() && parts.iter().zip(&segments).all(matches)
        };
        let (_, item) = self.document["paths"].as_object()?.iter().find(|(template, _)| is_of(template))?;
        item.get(method.to_lowercase())
    }

    /// What about `value` is not as `schema` says; `None` where all is.
    fn fault(&self, schema: &Value, value: &Value, at: &str) -> Option<String> {
        if let Some(reference) = schema["$ref"].as_str() {
            return self.fault(self.document.pointer(reference.trim_start_matches('#'))?, value, at);
        }
        for choice in ["oneOf", "anyOf"] {
            if let Some(schemas) = schema[choice].as_array() {
                let faults: Vec<_> = schemas.iter().map(|schema| self.fault(schema, value, at)).collect();
                return if faults.iter().any(Option::is_none) {
                    None
                } else {
                    faults.into_iter().flatten().next()
                };
            }
        }
        if schema["allOf"].is_array() {
            return self.object_fault(&self.merged(schema), value.as_object()?, at);
        }
        if let Some(allowed) = schema["enum"].as_array()
            && !allowed.contains(value)
        {
            return Some(format!("{at}: {value} is none of {allowed:?}"));
        }
        if !has_type(&schema["type"], value) {
            return Some(format!("{at}: {value} is not {}", schema["type"]));
        }
        match value {
            Value::Object(members) => self.object_fault(schema, members, at),
            Value::Array(items) => items
                .iter()
                .enumerate()
                .find_map(|(index, item)| self.fault(&schema["items"], item, &format!("{at}[{index}]"))),
            _ => None,
        }
    }

    fn object_fault(&self, schema: &Value, members: &Map<String, Value>, at: &str) -> Option<String> {
        let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        if let Some(missing) = required.into_iter().find(|name| !members.contains_key(*name)) {
            return Some(format!("{at}.{missing} is missing"));
        }
        members.iter().find_map(|(name, member)| {
            let at = format!("{at}.{name}");
            match (schema["properties"].get(name), &schema["additionalProperties"]) {
                (Some(schema), _) => self.fault(schema, member, &at),
                (None, additional @ Value::Object(_)) => self.fault(additional, member, &at),
                (None, Value::Bool(true)) => None,
                // a schema that says nothing of its members allows any
                (None, _) if schema["properties"].is_null() => None,
                (None, _) => Some(format!("{at} is not described")),
            }
        })
    }

    /// The parts of an `allOf` as one object schema.
    fn merged(&self, schema: &Value) -> Value {
        let (mut properties, mut required) = (Map::new(), Vec::new());
        for part in schema["allOf"].as_array().into_iter().flatten() {
            let part = match part["$ref"].as_str() {
                Some(reference) => self.document.pointer(reference.trim_start_matches('#')).unwrap(),
                None => part,
            };
            properties.extend(part["properties"].as_object().cloned().unwrap_or_default());
            required.extend(part["required"].as_array().cloned().unwrap_or_default());
        }
        serde_json::json!({"type": "object", "properties": properties, "required": required})
    }
}

/// Whether `value` has the type or one of the types; a schema without a type allows any.
fn has_type(types: &Value, value: &Value) -> bool {
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => unreachable!("{other} is no type of JSON schema"),
    };
    match types {
        Value::String(name) => is(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).any(is),
        _ => true,
    }
}
