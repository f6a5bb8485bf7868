//! The configuration file: YAML with line numbers, environment references and secret files, read into the
//! control plane's [`ConfigDocument`]. Nothing is contacted; every problem is reported, not only the first.

mod bounded;
mod deserialize;
mod environment;
mod meaning;
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

pub(crate) use bounded::read_bounded_text;
pub use environment::Environment;
pub use problem::{ConfigProblems, Problem};
use problem::{Found, MAX_PROBLEMS};
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
    let text = read_bounded_text(path, MAX_CONFIG_BYTES)
        .map_err(|error| ConfigProblems::of_file(&file_name, error.to_string()))?;
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    load_text(&text, folder, environment).map_err(|found| ConfigProblems::new(&file_name, found))
}

/// Reads and checks a configuration that is already in memory; `folder` is where relative `secret_file:`
/// paths start.
fn load_text(text: &str, folder: &Path, environment: &Environment) -> Result<LoadedConfig, Vec<Found>> {
    let read = read_tree::<ConfigDocument>(text, folder, environment)?;
    let (document, mut problems) = meaning::check(read);
    match document {
        Some(document) if problems.is_empty() => Ok(LoadedConfig { document }),
        _ => {
            problems.sort_by_key(|found| found.line);
            problems.truncate(MAX_PROBLEMS);
            Err(problems)
        }
    }
}

/// What a text gave.
struct ReadTree<T> {
    /// The document; where there are problems, without what they are about, and absent where that leaves none.
    document: Option<T>,
    /// What was written, with the nodes marked that have a problem.
    tree: Node,
    problems: Vec<Found>,
}

/// The steps that do not depend on the document's type: parse, resolve, deserialize.
fn read_tree<T: DeserializeOwned>(
    text: &str,
    folder: &Path,
    environment: &Environment,
) -> Result<ReadTree<T>, Vec<Found>> {
    let mut tree = yaml::parse(text).map_err(|found| vec![found])?;
    let mut problems = Vec::new();
    environment::substitute(&mut tree, environment, &mut problems);
    secret_file::read_secret_files(&mut tree, folder, &mut problems);
    let document = deserialize::document(&tree, &mut problems);
    Ok(ReadTree { document, tree, problems })
}
