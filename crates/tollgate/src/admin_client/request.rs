//! A verb and its arguments as a request.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::ArgMatches;
use clap::parser::ValueSource;
use hyper::Method as HttpMethod;
use serde_json::{Map, Value, json};

use super::command::DATA;
use super::http::AdminRequest;
use super::verbs::{Argument, Kind, Method, Place, Verb};
use crate::cli::UsageError;
use crate::config::read_bounded_text;

/// Secrets and bodies are small; a larger file is the wrong one.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// The request a command line asks for.
pub(super) fn of_arguments(verb: &Verb, matches: &ArgMatches) -> anyhow::Result<AdminRequest> {
    let mut request = AdminRequest {
        method: match verb.method {
            Method::List | Method::Get => HttpMethod::GET,
            Method::Post => HttpMethod::POST,
            Method::Patch => HttpMethod::PATCH,
            Method::Delete => HttpMethod::DELETE,
        },
        path: verb.path.to_owned(),
        query: Vec::new(),
        body: None,
    };
    let has_body = matches!(verb.method, Method::Post | Method::Patch);
    let mut body = if has_body { body_of_data(matches)? } else { Value::Null };
    for argument in verb.arguments {
        let Some(value) = value_of(argument, matches)? else { continue };
        match argument.place {
            Place::Path | Place::PathFlag => {
                let text = plain_text(&value);
                request.path =
                    request.path.replace(&format!("{{{}}}", argument.name), &encode_segment(&text));
            }
            Place::Query => request.query.push((argument.name.to_owned(), plain_text(&value))),
            Place::Body(field) | Place::BodyPositional(field) => set_field(&mut body, field, value),
        }
    }
    if has_body {
        request.body = Some(body);
    }
    Ok(request)
}

/// The body's fields that flags set from inside, like `limits` of `limits.requests_per_minute`; each once.
pub(super) fn inner_objects(verb: &Verb, matches: &ArgMatches) -> Vec<&'static str> {
    let is_given =
        |argument: &&Argument| matches.value_source(argument.name) == Some(ValueSource::CommandLine);
    let mut parents: Vec<&'static str> = verb
        .arguments
        .iter()
        .filter(is_given)
        .filter_map(|argument| match argument.place {
            Place::Body(dotted) => dotted.split_once('.').map(|(parent, _)| parent),
            _ => None,
        })
        .collect();
    parents.dedup();
    parents
}

fn body_of_data(matches: &ArgMatches) -> anyhow::Result<Value> {
    let Some(data) = matches.get_one::<String>(DATA) else { return Ok(Value::Object(Map::new())) };
    let text = match data.strip_prefix('@') {
        None => data.clone(),
        Some("-") => std::io::read_to_string(std::io::stdin()).context("stdin cannot be read")?,
        Some(path) => read_file(Path::new(path))?,
    };
    let value: Value = serde_json::from_str(&text)
        .map_err(|error| UsageError::new(format!("--data is not JSON: {error}")))?;
    if value.is_object() { Ok(value) } else { Err(UsageError::new("--data must be a JSON object").into()) }
}

/// What the command line gives for an argument; nothing where it is silent.
fn value_of(argument: &Argument, matches: &ArgMatches) -> anyhow::Result<Option<Value>> {
    let name = argument.name;
    let words = || matches.get_many::<String>(name).map(|words| words.cloned().collect::<Vec<String>>());
    let text = || matches.get_one::<String>(name).cloned();
    let file = || matches.get_one::<PathBuf>(name).map(|path| read_secret(path)).transpose();
    Ok(match argument.kind {
        Kind::Text => text().map(Value::String),
        Kind::Whole => matches.get_one::<u64>(name).map(|number| json!(number)),
        Kind::Boolean => matches.get_one::<bool>(name).map(|value| json!(value)),
        Kind::Switch => matches.get_flag(name).then_some(json!(true)),
        Kind::Words => words().map(|words| json!(words)),
        Kind::Labels => words().map(|words| labels(argument, &words)).transpose()?,
        Kind::Targets => words().map(|words| targets(argument, &words)).transpose()?,
        Kind::SecretFile => file()?.map(Value::String),
        Kind::CredentialFile => file()?.map(|secret| credential(&secret)),
        Kind::CredentialVariable => text().map(|variable| credential_of_variable(&variable)).transpose()?,
        Kind::Json => text().map(|text| json_of(argument, &text)).transpose()?,
    })
}

fn labels(argument: &Argument, words: &[String]) -> Result<Value, UsageError> {
    let mut map = Map::new();
    for word in words {
        let Some((name, value)) = word.split_once('=') else {
            return Err(UsageError::new(format!("{}: `{word}` is not name=value", argument.shown())));
        };
        map.insert(name.to_owned(), Value::String(value.to_owned()));
    }
    Ok(Value::Object(map))
}

fn targets(argument: &Argument, words: &[String]) -> Result<Value, UsageError> {
    let mut list = Vec::with_capacity(words.len());
    for (priority, word) in words.iter().enumerate() {
        let Some((provider, model)) = word.split_once('/').filter(|(_, model)| !model.is_empty()) else {
            return Err(UsageError::new(format!("{}: `{word}` is not provider/model", argument.shown())));
        };
        list.push(json!({ "provider": provider, "model": model, "priority": priority }));
    }
    Ok(Value::Array(list))
}

fn credential(secret: &str) -> Value {
    json!([{ "name": "main", "secret": secret, "weight": 1 }])
}

fn credential_of_variable(variable: &str) -> Result<Value, UsageError> {
    match std::env::var(variable) {
        Ok(secret) if !secret.is_empty() => Ok(credential(&secret)),
        _ => Err(UsageError::new(format!("the environment variable {variable} is not set"))),
    }
}

fn json_of(argument: &Argument, text: &str) -> Result<Value, UsageError> {
    serde_json::from_str(text)
        .map_err(|error| UsageError::new(format!("{} is not JSON: {error}", argument.shown())))
}

fn read_secret(path: &Path) -> anyhow::Result<String> {
    let text = if path == Path::new("-") {
        std::io::read_to_string(std::io::stdin()).context("stdin cannot be read")?
    } else {
        read_file(path)?
    };
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err(UsageError::new(format!("{} is empty; put the secret into it", path.display())).into());
    }
    Ok(secret.to_owned())
}

fn read_file(path: &Path) -> Result<String, UsageError> {
    read_bounded_text(path, MAX_FILE_BYTES)
        .map_err(|error| UsageError::new(format!("{} {error}", path.display())))
}

/// Sets `a.b.c`, making the objects on the way.
fn set_field(body: &mut Value, field: &str, value: Value) {
    let mut at = body;
    for segment in field.split('.') {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        at = &mut at[segment];
    }
    *at = value;
}

fn plain_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain_text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// A path segment: everything but unreserved characters percent-encoded, slashes included.
fn encode_segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
