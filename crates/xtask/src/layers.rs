//! `cargo xtask layers`: the crate graph against the ring table in ARCHITECTURE.md.
//!
//! [`table`] reads the table, [`fences`] knows which third-party crates belong to which crate of ours, and
//! the rules here compare both with what `cargo metadata` says. Every violation names what to do.

mod fences;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

use self::table::Row;
use crate::{Outcome, process};

pub(crate) const HELP: &str = "\
cargo xtask layers

Holds `cargo metadata` against the table between the `layers:begin` and `layers:end` marks in
ARCHITECTURE.md: every workspace crate is in it, imports only what its row allows, and third-party crates
stay inside their fences. Exits 1 and names each violation with what to do.";

const TESTKIT: &str = "tollgate-testkit";

/// The part of `cargo metadata --no-deps` that the rules look at.
#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    /// `None` for a normal dependency, else `dev` or `build`.
    kind: Option<String>,
}

impl Dependency {
    fn is_dev(&self) -> bool {
        self.kind.as_deref() == Some("dev")
    }
}

pub(crate) fn run(root: &Path, arguments: &[String]) -> Outcome {
    crate::refuse_arguments("layers", arguments)?;
    let architecture = root.join("ARCHITECTURE.md");
    let text = std::fs::read_to_string(&architecture)
        .with_context(|| format!("cannot read {}", architecture.display()))?;
    let rows = table::parse(&text).context("ARCHITECTURE.md")?;
    let metadata =
        process::output(process::cargo(root).args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Metadata = serde_json::from_str(&metadata).context("cargo metadata changed its shape")?;
    let violations = check(&metadata, &rows);
    for violation in &violations {
        println!("layers: {violation}");
    }
    if violations.is_empty() {
        println!("layers: {} crates, every import points inwards", metadata.packages.len());
    }
    Ok(violations.is_empty())
}

/// Every violation, as one line that says what is wrong and what to do.
fn check(metadata: &Metadata, rows: &[Row]) -> Vec<String> {
    let packages: BTreeSet<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    let rows: BTreeMap<&str, &Row> =
        rows.iter().map(|row| (package_name(&row.crate_name, &packages), row)).collect();

    let mut violations = check_table(&rows, &packages);
    for package in &metadata.packages {
        violations.extend(check_folder(package));
        let Some(row) = rows.get(package.name.as_str()) else {
            let name = &package.name;
            violations
                .push(format!("{name} has no row in ARCHITECTURE.md: give it a ring and its imports there"));
            continue;
        };
        violations.extend(check_imports(package, row, &packages));
        violations.extend(fences::check(package, row.ring));
    }
    violations
}

/// The table itself: no row for a crate that is gone, and no permission that points outwards.
fn check_table(rows: &BTreeMap<&str, &Row>, packages: &BTreeSet<&str>) -> Vec<String> {
    let mut violations = Vec::new();
    for (name, row) in rows {
        if !packages.contains(name) {
            violations.push(format!(
                "{name} has a row in ARCHITECTURE.md but is no workspace crate: remove the row"
            ));
            continue;
        }
        for import in row.imports.iter().map(|import| package_name(import, packages)) {
            let Some(imported) = rows.get(import) else {
                violations
                    .push(format!("the row of {name} allows {import}, which has no row: correct the name"));
                continue;
            };
            if !row.ring.may_look_at(imported.ring) {
                violations.push(format!(
                    "the row of {name} ({}) allows {import} ({}), which is not inwards: move the shared part \
                     into an inner crate",
                    row.ring, imported.ring
                ));
            }
        }
    }
    violations
}

fn check_imports(package: &Package, row: &Row, packages: &BTreeSet<&str>) -> Vec<String> {
    let name = &package.name;
    let allowed: BTreeSet<&str> = row.imports.iter().map(|import| package_name(import, packages)).collect();
    let mut violations = Vec::new();
    for dependency in package.dependencies.iter().filter(|dependency| !dependency.is_dev()) {
        let import = dependency.name.as_str();
        if !packages.contains(import) || allowed.contains(import) {
            continue;
        }
        violations.push(if import == TESTKIT {
            format!("{name} depends on {TESTKIT} in product code: move it to [dev-dependencies]")
        } else {
            format!(
                "{name} imports {import}, which its row does not allow: pass the value in from an outer crate, \
                 or change the table in ARCHITECTURE.md in the same commit and say why"
            )
        });
    }
    violations
}

/// A crate's folder carries its package's exact name; the end-to-end tests live in `tests`.
fn check_folder(package: &Package) -> Option<String> {
    let folder = Path::new(&package.manifest_path).parent()?.file_name()?.to_str()?;
    let name = &package.name;
    if folder == name || (folder == "tests" && name == "tollgate-tests") {
        return None;
    }
    Some(format!("{name} lives in the folder `{folder}`: rename the folder to the package's exact name"))
}

/// The package that a short name in the table stands for: `domain` is `tollgate-domain`.
fn package_name<'a>(short: &'a str, packages: &BTreeSet<&'a str>) -> &'a str {
    let full = packages.iter().find(|package| package.strip_prefix("tollgate-") == Some(short));
    full.copied().unwrap_or(short)
}

#[cfg(test)]
mod tests;
