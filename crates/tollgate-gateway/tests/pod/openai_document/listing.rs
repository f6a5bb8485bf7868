//! The kept listing of operations, or a newer one, and the values that are sent.

use serde_json::{Map, Value, json};

const KEPT: &str = include_str!("../openai_operations.json");
const VARIABLE: &str = "TOLLGATE_OPENAI_OPERATIONS";

pub(super) struct Operation {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) content: Option<String>,
    pub(super) parameters: Vec<Parameter>,
}

pub(super) struct Parameter {
    pub(super) name: String,
    /// `path`, `query` or `body`.
    pub(super) place: String,
    pub(super) required: bool,
    pub(super) sample: Value,
}

fn read_operation(operation: &Value) -> Operation {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let parameters = operation["parameters"].as_array().unwrap().iter();
    let parameters = parameters.map(|parameter| Parameter {
        name: text(&parameter["name"]),
        place: text(&parameter["in"]),
        required: parameter["required"] == true,
        sample: parameter["sample"].clone(),
    });
    Operation {
        method: text(&operation["method"]),
        path: text(&operation["path"]),
        content: operation["content"].as_str().map(str::to_owned),
        parameters: parameters.collect(),
    }
}

pub(super) fn listing() -> Vec<Operation> {
    let text = match std::env::var(VARIABLE) {
        Ok(path) => std::fs::read_to_string(path).unwrap(),
        Err(_) => KEPT.to_owned(),
    };
    let listing: Vec<Value> = serde_json::from_str(&text).unwrap();
    listing.iter().map(read_operation).collect()
}

/// What is sent beside the parameter that is looked at.
pub(super) fn base(operation: &Operation) -> Map<String, Value> {
    let mut base = Map::new();
    let in_body = operation.parameters.iter().filter(|parameter| parameter.place == "body");
    for parameter in in_body.filter(|parameter| parameter.required) {
        base.insert(parameter.name.clone(), value_of(operation, parameter));
    }
    base.insert("model".to_owned(), json!("one"));
    if operation.path.starts_with("/responses") {
        base.insert("input".to_owned(), json!("hi"));
    }
    base
}

/// The value made from the schema, or one that fits better to the others.
pub(super) fn value_of(operation: &Operation, parameter: &Parameter) -> Value {
    match (operation.path.as_str(), parameter.name.as_str()) {
        (_, "model") => json!("one"),
        ("/chat/completions", "messages") => json!([{"role": "user", "content": "hi"}]),
        ("/chat/completions", "modalities") => json!(["text"]),
        ("/batches", "endpoint") => json!("/v1/chat/completions"),
        ("/responses" | "/responses/compact" | "/responses/input_tokens", "prompt") => {
            parameter.sample.clone()
        }
        (_, "prompt") => json!("a picture"),
        _ => parameter.sample.clone(),
    }
}
