//! `cargo xtask openai-openapi`: every operation of OpenAI's published document under the paths of the data plane,
//! each parameter sent through a gateway to a mock provider.
//!
//! The document is not part of the project. What the tests need of it, operations and the names of their parameters
//! with a value for each, is a listing that this command writes; without the document the tests use the kept one.

mod sample;
mod yaml;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::{Outcome, process};
use sample::{Schemas, sample};

pub(crate) const HELP: &str = "\
cargo xtask openai-openapi --document <FILE> [--write]

Reads OpenAI's published OpenAPI document (YAML or JSON; https://github.com/openai/openai-openapi), lists every
operation under the paths that the gateway serves, and runs the test that sends each of their parameters through a
gateway. Prints what is new or gone since the listing that is kept, and the count of operations and parameters that
arrive intact or are exceptions, with their reasons.

  --document <FILE>  the document
  --write            keep its listing, too

Example:
  cargo xtask openai-openapi --document openapi.yaml";

/// Where the listing is kept, from the workspace's root.
const LISTING: &str = "crates/tollgate-gateway/tests/pod/openai_operations.json";
/// How the test is told of another listing.
const VARIABLE: &str = "TOLLGATE_OPENAI_OPERATIONS";
/// What the gateway serves, without `/v1`; a slash at the end stands for all below.
const SERVED: [&str; 15] = [
    "/chat/completions",
    "/chat/completions/",
    "/completions",
    "/embeddings",
    "/responses",
    "/responses/",
    "/moderations",
    "/images/",
    "/audio/",
    "/files",
    "/files/",
    "/batches",
    "/batches/",
    "/models",
    "/models/",
];
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

pub(crate) fn run(root: &Path, arguments: &[String]) -> Outcome {
    let (document, keeps) = read_arguments(arguments)?;
    let text = fs::read_to_string(&document)
        .with_context(|| format!("the document {} could not be read", document.display()))?;
    let document = yaml::parse(&text)?;
    let listing = list(&Schemas::new(&document));
    anyhow::ensure!(!listing.is_empty(), "the document has no operation under the paths of the data plane");
    let written = write(&listing);
    let kept_at = root.join(LISTING);
    let kept = fs::read_to_string(&kept_at).unwrap_or_default();
    print_differences(&kept, &written);
    let used = if keeps {
        kept_at
    } else {
        let folder = root.join("target/openai-openapi");
        fs::create_dir_all(&folder).context("a folder for the listing could not be made")?;
        folder.join("operations.json")
    };
    fs::write(&used, &written).with_context(|| format!("{} could not be written", used.display()))?;
    let mut test = process::cargo(root);
    test.args(["nextest", "run", "--locked", "-p", "tollgate-gateway", "--test", "pod", "--no-capture"]);
    test.args(["-E", "test(/^openai_document::/)"]).env(VARIABLE, &used);
    process::run(&mut test)?;
    Ok(true)
}

fn read_arguments(arguments: &[String]) -> anyhow::Result<(PathBuf, bool)> {
    let (mut document, mut keeps) = (None, false);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--write" => keeps = true,
            "--document" => document = rest.next().map(PathBuf::from),
            other => anyhow::bail!("there is no argument `{other}`; see cargo xtask openai-openapi --help"),
        }
    }
    let document =
        document.context("name the document: cargo xtask openai-openapi --document openapi.yaml")?;
    Ok((document, keeps))
}

/// One line for each operation, so that differences are small.
fn write(listing: &[Value]) -> String {
    let lines: Vec<String> = listing.iter().map(Value::to_string).collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}

fn print_differences(kept: &str, written: &str) {
    let names = |text: &str| -> Vec<String> {
        let listing: Vec<Value> = serde_json::from_str(text).unwrap_or_default();
        let of = |operation: &Value| {
            let place = format!("{} {}", operation["method"], operation["path"]).replace('"', "");
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            parameters
                .iter()
                .map(|one| format!("{place} {} {}", one["in"], one["name"]).replace('"', ""))
                .chain(std::iter::once(place.clone()))
                .collect::<Vec<_>>()
        };
        listing.iter().flat_map(of).collect()
    };
    let (before, now) = (names(kept), names(written));
    for name in now.iter().filter(|name| !before.contains(name)) {
        println!("new: {name}");
    }
    for name in before.iter().filter(|name| !now.contains(name)) {
        println!("gone: {name}");
    }
}

fn is_served(path: &str) -> bool {
    // variants of a path by its query are told by their members
    !path.contains('?')
        && SERVED.iter().any(|served| path == *served || (served.ends_with('/') && path.starts_with(served)))
}

fn list(schemas: &Schemas<'_>) -> Vec<Value> {
    let mut listing = Vec::new();
    for (path, item) in schemas.paths().filter(|(path, _)| is_served(path)) {
        for method in METHODS {
            if let Some(operation) = item.get(method) {
                listing.push(describe(schemas, path, method, item, operation));
            }
        }
    }
    listing
}

fn describe(schemas: &Schemas<'_>, path: &str, method: &str, item: &Value, operation: &Value) -> Value {
    let mut parameters = Vec::new();
    let of = |holder: &Value| holder["parameters"].as_array().cloned().unwrap_or_default();
    for parameter in of(item).iter().chain(&of(operation)) {
        let parameter = schemas.resolve(parameter);
        parameters.push(json!({
            "name": parameter["name"],
            "in": parameter["in"],
            "required": parameter["required"] == true,
            "sample": sample(schemas, &parameter["schema"]),
        }));
    }
    let body = schemas.resolve(&operation["requestBody"]);
    let content = body["content"].as_object().and_then(|content| content.iter().next());
    if let Some((_, media)) = content {
        let (members, required) = schemas.members(&media["schema"]);
        for (name, schema) in members {
            let is_required = required.contains(&name);
            parameters.push(json!({
                "name": name,
                "in": "body",
                "required": is_required,
                "sample": sample(schemas, schema),
            }));
        }
    }
    json!({
        "method": method.to_uppercase(),
        "path": path,
        "content": content.map(|(kind, _)| kind),
        "parameters": parameters,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r##"
paths:
  /embeddings:
    post:
      parameters:
        - { name: trace, in: query, schema: { type: boolean } }
      requestBody:
        content:
          application/json:
            schema: { $ref: "#/components/schemas/Ask" }
  /embeddings?beta=true: { post: {} }
  /other: { get: {} }
  /models/{model}:
    get:
      parameters: [{ $ref: "#/components/parameters/Model" }]
components:
  parameters:
    Model: { name: model, in: path, required: true, schema: { type: string } }
  schemas:
    Ask:
      allOf:
        - type: object
          required: [input]
          properties:
            input: { oneOf: [{ type: "null" }, { type: array, items: { type: string } }] }
        - properties:
            kind: { enum: [a, b] }
            "n": { type: integer, minimum: 3 }
            more: { $ref: "#/components/schemas/Ask" }
"##;

    #[test]
    fn operations_and_their_parameters_are_listed() {
        let document = yaml::parse(DOCUMENT).unwrap();
        let listing = list(&Schemas::new(&document));
        assert_eq!(listing.len(), 2);
        assert_eq!((&listing[0]["path"], &listing[0]["method"]), (&json!("/embeddings"), &json!("POST")));
        let parameters = listing[0]["parameters"].as_array().unwrap();
        let of = |name: &str| parameters.iter().find(|one| one["name"] == name).unwrap();
        assert_eq!((&of("trace")["in"], &of("trace")["sample"]), (&json!("query"), &json!(true)));
        assert_eq!((&of("input")["sample"], &of("input")["required"]), (&json!(["text"]), &json!(true)));
        assert_eq!((&of("kind")["sample"], &of("n")["sample"]), (&json!("a"), &json!(3)));
        assert_eq!(of("more")["sample"], json!({"input": ["text"]}));
        assert_eq!(listing[1]["parameters"][0]["name"], "model");
    }
}
