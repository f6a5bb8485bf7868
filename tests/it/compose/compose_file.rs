//! `docker-compose.yml` as data: its services, what they wait for, and the variables they take.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::yaml;

/// A parsed file.
pub(crate) struct ComposeFile {
    pub(crate) root: Value,
}

/// One service; missing fields are empty.
pub(crate) struct Service<'a> {
    pub(crate) name: &'a str,
    pub(crate) fields: &'a Value,
}

/// A bind mount or named volume.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mount<'a> {
    pub(crate) source: &'a str,
    pub(crate) target: &'a str,
    pub(crate) is_read_only: bool,
}

impl ComposeFile {
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        Ok(Self { root: yaml::parse(text)? })
    }

    pub(crate) fn services(&self) -> impl Iterator<Item = Service<'_>> {
        let services = self.root["services"].as_object().into_iter().flatten();
        services.map(|(name, fields)| Service { name, fields })
    }

    pub(crate) fn service(&self, name: &str) -> anyhow::Result<Service<'_>> {
        self.services()
            .find(|service| service.name == name)
            .with_context(|| format!("there is no service {name}"))
    }

    /// The services in an order in which each comes after what it waits for.
    pub(crate) fn in_start_order(&self) -> anyhow::Result<Vec<Service<'_>>> {
        let mut waiting = self.services().collect::<Vec<_>>();
        let mut ordered: Vec<Service<'_>> = Vec::new();
        while !waiting.is_empty() {
            let is_startable = |service: &Service<'_>| {
                let is_started = |name: &String| ordered.iter().any(|started| started.name == name);
                service.depends_on().keys().all(is_started)
            };
            let Some(next) = waiting.iter().position(is_startable) else {
                let names = waiting.iter().map(|service| service.name).collect::<Vec<_>>();
                bail!("these services wait for each other or for nothing: {names:?}");
            };
            ordered.push(waiting.remove(next));
        }
        Ok(ordered)
    }
}

impl Service<'_> {
    pub(crate) fn text(&self, field: &str) -> &str {
        self.fields[field].as_str().unwrap_or_default()
    }

    pub(crate) fn is_true(&self, field: &str) -> bool {
        self.text(field) == "true"
    }

    /// The items of a list of texts.
    pub(crate) fn list(&self, field: &str) -> Vec<&str> {
        self.fields[field].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// The variables as written, not interpolated.
    pub(crate) fn environment(&self) -> BTreeMap<&str, &str> {
        let entries = self.fields["environment"].as_object().into_iter().flatten();
        entries.map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default())).collect()
    }

    /// What it waits for, with the condition.
    pub(crate) fn depends_on(&self) -> BTreeMap<String, String> {
        match &self.fields["depends_on"] {
            Value::Object(entries) => entries
                .iter()
                .map(|(name, entry)| {
                    (name.clone(), entry["condition"].as_str().unwrap_or_default().to_owned())
                })
                .collect(),
            Value::Array(names) => {
                names.iter().filter_map(Value::as_str).map(|name| (name.to_owned(), String::new())).collect()
            }
            _ => BTreeMap::new(),
        }
    }

    /// Whether it does one thing and ends.
    pub(crate) fn is_one_shot(&self) -> bool {
        self.text("restart") == "no" && self.fields["healthcheck"]["disable"] == "true"
    }

    /// The health check's command without its `CMD`; empty where there is none.
    pub(crate) fn health_command(&self) -> Vec<&str> {
        let test = self.fields["healthcheck"]["test"].as_array().into_iter().flatten();
        test.filter_map(Value::as_str).skip(1).collect()
    }

    pub(crate) fn mounts(&self) -> Vec<Mount<'_>> {
        self.list("volumes").into_iter().filter_map(Mount::parse).collect()
    }

    /// Whether it runs our own image.
    pub(crate) fn is_tollgate(&self) -> bool {
        self.text("image").starts_with("tollgate:")
    }
}

impl<'a> Mount<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(':');
        let (source, target) = (parts.next()?, parts.next()?);
        Some(Self { source, target, is_read_only: parts.next() == Some("ro") })
    }
}

/// The references in a value: name and what follows it, such as `:?say what to set`.
pub(crate) fn references(text: &str) -> anyhow::Result<Vec<(&str, &str)>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let after = &rest[at + 1..];
        if let Some(after) = after.strip_prefix('$') {
            rest = after;
            continue;
        }
        let inside = after.strip_prefix('{').with_context(|| format!("write `${{NAME:?…}}` in {text:?}"))?;
        let end = inside.find('}').with_context(|| format!("`${{` without its `}}` in {text:?}"))?;
        let name_end = inside[..end].find([':', '-', '?', '+']).unwrap_or(end);
        found.push((&inside[..name_end], &inside[name_end..end]));
        rest = &inside[end + 1..];
    }
    Ok(found)
}

/// The value with its references replaced; a missing variable is an error, as with `:?`.
pub(crate) fn interpolate(text: &str, environment: &[(String, String)]) -> anyhow::Result<String> {
    let mut value = text.to_owned();
    for (name, rest) in references(text)? {
        let (_, given) = environment
            .iter()
            .find(|(given, _)| given == name)
            .with_context(|| format!("{name} is not set ({rest})"))?;
        value = value.replace(&format!("${{{name}{rest}}}"), given);
    }
    Ok(value.replace("$$", "$"))
}

#[test]
fn values_are_interpolated_as_compose_does() -> anyhow::Result<()> {
    let environment = [("A".to_owned(), "1".to_owned()), ("B_2".to_owned(), "x:y".to_owned())];
    for (text, expected) in
        [("", ""), ("a", "a"), ("${A}", "1"), ("<${A:?set it}/${B_2}>", "<1/x:y>"), ("$$A", "$A")]
    {
        assert_eq!(interpolate(text, &environment)?, expected, "{text}");
    }
    for wrong in ["${C:?set it}", "$A", "${A"] {
        assert!(interpolate(wrong, &environment).is_err(), "{wrong}");
    }
    Ok(())
}

#[test]
fn services_start_after_what_they_wait_for() -> anyhow::Result<()> {
    let text = "services: {a: {depends_on: {c: {condition: x}}}, b: {}, c: {depends_on: [b]}}";
    let file = ComposeFile::parse(text)?;
    let names = file.in_start_order()?.iter().map(|service| service.name.to_owned()).collect::<Vec<_>>();
    assert_eq!(names, ["b", "c", "a"]);
    assert!(ComposeFile::parse("services: {a: {depends_on: [a]}}")?.in_start_order().is_err());
    Ok(())
}
