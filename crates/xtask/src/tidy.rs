//! `cargo xtask tidy`: the house rules that neither rustfmt nor clippy knows.
//!
//! [`source`] reads a Rust file without its comments and strings, [`rules`] are the rules on one file,
//! [`longest`] reports the longest files and functions. Rules on the whole tree are here.

mod longest;
mod rules;
mod source;

use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use self::source::Source;
use crate::{Outcome, process};

pub(crate) const HELP: &str = "\
cargo xtask tidy

Holds the sources against the house rules: file lengths, forbidden module names, unfinished or ignored code,
absolute home paths, crate documentation, floats where money is counted. Prints warnings and the longest
files and functions; exits 1 when a rule is broken.";

/// What a rule found: an error breaks the build, a warning is only printed.
#[derive(Debug, PartialEq, Eq)]
enum Finding {
    Error(String),
    Warning(String),
}

pub(crate) fn run(root: &Path, arguments: &[String]) -> Outcome {
    crate::refuse_arguments("tidy", arguments)?;
    let files = tracked_files(root)?;
    let mut sources = Vec::new();
    for path in files.iter().filter(|path| is_rust(path)) {
        sources.push(Source::new(path, &read(root, path)?));
    }
    let mut findings: Vec<Finding> = sources.iter().flat_map(rules::check_rust_file).collect();
    findings.extend(check_crate_documentation(root, &files)?);
    findings.extend(check_changelog(&files));
    for path in &files {
        // A file that is no text cannot hold a path that a person wrote.
        if let Ok(text) = std::fs::read_to_string(root.join(path)) {
            findings.extend(rules::check_home_paths(path, &text));
        }
    }
    println!("{}", longest::report(&sources));
    Ok(print(&findings))
}

/// Every Rust source of the project, as paths from the workspace root.
pub(crate) fn rust_files(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut files = tracked_files(root)?;
    files.retain(|path| is_rust(path));
    Ok(files)
}

/// Every file that git tracks or would track, that still exists, as paths from the workspace root.
fn tracked_files(root: &Path) -> anyhow::Result<Vec<String>> {
    let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"];
    let listed = process::output(Command::new("git").args(list).current_dir(root))?;
    let paths = listed.split('\0').filter(|path| !path.is_empty());
    Ok(paths.filter(|path| root.join(path).is_file()).map(str::to_owned).collect())
}

fn is_rust(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "rs")
}

fn read(root: &Path, path: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(root.join(path)).with_context(|| format!("cannot read {path}"))
}

/// Every crate opens with a `//!` document that says what it is.
fn check_crate_documentation(root: &Path, files: &[String]) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for path in files.iter().filter(|path| rules::is_crate_root(path)) {
        let text = read(root, path)?;
        if !text.trim_start().starts_with("//!") {
            let advice = "open it with a `//!` document that says what the crate holds";
            findings.push(Finding::Error(format!("{path}: {advice}")));
        }
    }
    Ok(findings)
}

fn check_changelog(files: &[String]) -> Option<Finding> {
    let is_there = files.iter().any(|path| path == "CHANGELOG.md");
    (!is_there)
        .then(|| Finding::Error("CHANGELOG.md: is missing, and users read it before they upgrade".into()))
}

/// Prints the findings, warnings first; whether no rule is broken.
fn print(findings: &[Finding]) -> bool {
    let mut n_errors = 0;
    let mut n_warnings = 0;
    for finding in findings {
        if let Finding::Warning(warning) = finding {
            n_warnings += 1;
            println!("tidy: warning: {warning}");
        }
    }
    for finding in findings {
        if let Finding::Error(error) = finding {
            n_errors += 1;
            println!("tidy: error: {error}");
        }
    }
    println!("tidy: {n_errors} errors, {n_warnings} warnings");
    n_errors == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_changelog_is_an_error() {
        assert!(matches!(check_changelog(&["README.md".to_owned()]), Some(Finding::Error(_))));
        assert_eq!(check_changelog(&["CHANGELOG.md".to_owned()]), None);
    }

    #[test]
    fn only_an_error_breaks_the_build() {
        assert!(print(&[]));
        assert!(print(&[Finding::Warning("long".to_owned())]));
        assert!(!print(&[Finding::Warning("long".to_owned()), Finding::Error("too long".to_owned())]));
    }
}
