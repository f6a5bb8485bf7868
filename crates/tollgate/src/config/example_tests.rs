//! The committed example and the reference of fields stay true.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Environment, load, load_text};

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Names of fields; names that people choose (labels, surfaces) are left out.
fn collect_fields(value: &Value, fields: &mut BTreeSet<String>) {
    match value {
        Value::Object(entries) => {
            for (name, inner) in entries {
                fields.insert(name.clone());
                if !["labels", "defaults"].contains(&name.as_str()) {
                    collect_fields(inner, fields);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_fields(item, fields)),
        _ => {}
    }
}

#[test]
fn the_example_passes_with_and_without_its_environment() {
    for environment in [
        Environment::of_pairs(&[]),
        Environment::of_pairs(&[
            ("OPENAI_API_KEY", "sk-openai"),
            ("ACME_PROD_KEY", "sixteen-characters-or-more"),
        ]),
    ] {
        let config =
            load(&repository("deploy/tollgate.example.yaml"), &environment).unwrap_or_else(|problems| {
                panic!("{problems}");
            });
        let json = config.to_json().unwrap();
        assert_eq!(json["tenants"][0]["projects"][0]["keys"][0]["name"], "prod");
    }
}

#[test]
fn the_reference_names_every_field() {
    let reference = std::fs::read_to_string(repository("docs/configuration.md")).unwrap();
    let config = load(&repository("deploy/tollgate.example.yaml"), &Environment::of_pairs(&[])).unwrap();
    let mut fields = BTreeSet::new();
    collect_fields(&config.to_json().unwrap(), &mut fields);
    assert!(fields.len() > 40, "{fields:?}");
    let missing: Vec<&String> =
        fields.iter().filter(|name| !reference.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/configuration.md says nothing of {missing:?}");
}

/// Every problem as `line: path: message`.
fn problems(text: &str) -> Vec<String> {
    let found =
        load_text(text, Path::new("."), &Environment::of_pairs(&[])).expect_err("the document is wrong");
    found.iter().map(|found| format!("{}: {}: {}", found.line, found.path, found.message)).collect()
}
