//! `${VAR}` and `${VAR:-default}` in values. Nothing else is special; `$${` stands for a literal `${`.

use std::collections::HashMap;

use super::problem::Found;
use super::yaml::{Kind, Node};

/// The environment variables a configuration may name: the process's, or a test's.
pub struct Environment(HashMap<String, String>);

impl Environment {
    /// The process's environment; variables that are not UTF-8 are as good as unset.
    #[must_use]
    pub fn of_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self(std::env::vars_os().filter_map(text).collect())
    }

    /// A made-up environment.
    #[must_use]
    pub fn of_pairs(pairs: &[(&str, &str)]) -> Self {
        Self(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    /// The variable's value; an empty one is a value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// Resolves every reference in the tree. A field whose whole value is a reference that came out empty
/// counts as not given.
pub(super) fn substitute(node: &mut Node, environment: &Environment, problems: &mut Vec<Found>) {
    substitute_at(node, "", environment, problems);
}

fn substitute_at(node: &mut Node, path: &str, environment: &Environment, problems: &mut Vec<Found>) {
    let line = node.line;
    match &mut node.kind {
        Kind::Scalar(scalar) if scalar.text.contains("${") => match resolve(&scalar.text, environment) {
            Ok(text) => {
                scalar.text = text;
                scalar.resolved = true;
            }
            Err(message) => {
                node.reported.set(true);
                problems.push(Found { line, path: path.to_owned(), message });
            }
        },
        Kind::Scalar(_) => {}
        Kind::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                substitute_at(item, &format!("{path}[{index}]"), environment, problems);
            }
        }
        Kind::Mapping(entries) => entries.retain_mut(|(key, value)| {
            let was_reference = is_one_reference(value);
            substitute_at(value, &super::deserialize::join(path, &key.text), environment, problems);
            !(was_reference && matches!(&value.kind, Kind::Scalar(scalar) if scalar.text.is_empty()))
        }),
    }
}

fn is_one_reference(node: &Node) -> bool {
    matches!(&node.kind, Kind::Scalar(scalar)
        if scalar.text.starts_with("${") && scalar.text.find('}') == Some(scalar.text.len() - 1))
}

fn resolve(text: &str, environment: &Environment) -> Result<String, String> {
    let mut resolved = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            resolved.push_str(&rest[..at - 1]);
            resolved.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        resolved.push_str(&rest[..at]);
        let inside = &rest[at + 2..];
        let end = inside.find('}').ok_or("`${` without its `}`; write `$${` for a literal `${`")?;
        resolved.push_str(reference(&inside[..end], environment)?);
        rest = &inside[end + 1..];
    }
    resolved.push_str(rest);
    Ok(resolved)
}

fn reference<'a>(inside: &'a str, environment: &'a Environment) -> Result<&'a str, String> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let is_name = !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_name {
        return Err(format!("`${{{inside}}}` names no variable; write `${{NAME}}` or `${{NAME:-default}}`"));
    }
    match (environment.get(name), default) {
        (Some(""), Some(default)) | (None, Some(default)) => Ok(default),
        (Some(value), _) => Ok(value),
        (None, None) => Err(format!(
            "the environment variable {name} is not set; set it, or write `${{{name}:-default}}`"
        )),
    }
}
