//! The configuration file: YAML with line numbers, environment references and secret files, read into the
//! control plane's [`ConfigDocument`]. Nothing is contacted; every problem is reported, not only the first.

mod deserialize;
mod environment;
mod problem;
mod secret_file;
mod wording;
mod write;
mod yaml;

#[cfg(test)]
mod example_tests;
#[cfg(test)]
mod tests;

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tollgate_control::ConfigDocument;

pub use environment::Environment;
use problem::Found;
pub use problem::{ConfigProblems, Problem};
pub use write::to_yaml;
use yaml::Node;

/// A configuration file is text people write; beyond this it is the wrong file.
pub const MAX_CONFIG_BYTES: u64 = 16 * 1024 * 1024;

/// A checked configuration.
#[derive(Debug)]
pub struct LoadedConfig {
    /// What the file says, with environment references and secret files resolved.
    pub document: ConfigDocument,
}

impl LoadedConfig {
    /// The document as the admin API's `POST /config/apply` takes it. Holds secrets: never log it.
    ///
    /// # Errors
    /// Never for a document that was loaded.
    pub fn to_json(&self) -> Result<Value, serde_json::Error> {
        serde_json::to_value(&self.document)
    }
}

/// Reads and checks a configuration file.
///
/// # Errors
/// [`ConfigProblems`]: every problem found, each with its line.
pub fn load(path: &Path, environment: &Environment) -> Result<LoadedConfig, ConfigProblems> {
    let file_name = path.display().to_string();
    let text = read_bounded(path).map_err(|message| ConfigProblems::of_file(&file_name, message))?;
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    load_text(&text, folder, environment).map_err(|found| ConfigProblems::new(&file_name, found))
}

/// Reads and checks a configuration that is already in memory; `folder` is where relative `secret_file:`
/// paths start.
fn load_text(text: &str, folder: &Path, environment: &Environment) -> Result<LoadedConfig, Vec<Found>> {
    let (document, tree) = read_tree::<ConfigDocument>(text, folder, environment)?;
    let refused = tollgate_control::validate(&document);
    if !refused.is_empty() {
        let locate = |problem: tollgate_control::ConfigProblem| Found {
            line: tree.line_of(&problem.path),
            path: problem.path,
            message: problem.message,
        };
        return Err(refused.into_iter().map(locate).collect());
    }
    Ok(LoadedConfig { document })
}

/// The steps that do not depend on the document's type: parse, resolve, deserialize.
fn read_tree<T: DeserializeOwned>(
    text: &str,
    folder: &Path,
    environment: &Environment,
) -> Result<(T, Node), Vec<Found>> {
    let mut tree = yaml::parse(text).map_err(|found| vec![found])?;
    let mut problems = Vec::new();
    environment::substitute(&mut tree, environment, &mut problems);
    secret_file::read_secret_files(&mut tree, folder, &mut problems);
    match deserialize::document(&tree, &mut problems) {
        Some(document) if problems.is_empty() => Ok((document, tree)),
        _ => {
            problems.sort_by_key(|found| found.line);
            Err(problems)
        }
    }
}

fn read_bounded(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?.len();
    if size > MAX_CONFIG_BYTES {
        return Err(format!("has {size} bytes; a configuration has at most {MAX_CONFIG_BYTES}"));
    }
    let bytes = std::fs::read(path).map_err(|error| format!("cannot be read: {error}"))?;
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())
}
