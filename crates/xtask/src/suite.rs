//! `cargo xtask test` and `cargo xtask bench`: the programs around the suites, in the right order.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::Context as _;

use crate::{Outcome, process, setup, simulate, tidy};

pub(crate) const TEST_HELP: &str = "\
cargo xtask test [arguments for `cargo nextest run`]

Installs what the tests need, builds every binary (the end-to-end tests start `tollgate` itself), runs the
examples in the documentation, then every test. With `-p <crate>` only that crate's tests run.

Examples:
  cargo xtask test
  cargo xtask test -p tollgate-ledger
  cargo xtask test -E 'test(/reserve/)'";

pub(crate) const BENCH_HELP: &str = "\
cargo xtask bench [arguments for tollgate-bench]

Builds the release binaries of the gateway and the mock provider and runs the load benchmark against them
on loopback. `cargo xtask bench -- --help` lists the benchmark's own arguments.";

/// Fence tags under which rustdoc compiles an example; anything else is text.
const COMPILED_FENCE_TAGS: &[&str] = &["", "rust", "no_run", "should_panic", "compile_fail", "edition2024"];

pub(crate) fn test(root: &Path, arguments: &[String]) -> Outcome {
    setup::for_tests(root)?;
    // `--tests` beside `--bins` makes Cargo resolve the features once as the test run will, so that
    // nothing is compiled a second time.
    let build_started = Instant::now();
    process::run(process::cargo(root).args(["build", "--workspace", "--bins", "--tests", "--locked"]))?;
    eprintln!("built in {} s", build_started.elapsed().as_secs());
    let selects_packages = arguments.iter().any(|argument| is_package_selection(argument));
    if !selects_packages {
        run_documentation_examples(root)?;
        simulate::test_faults(root)?;
    }
    // Last, so that the runner's own summary is what the output ends with.
    let mut nextest = process::cargo(root);
    nextest.args(["nextest", "run", "--locked"]);
    if !selects_packages {
        nextest.arg("--workspace");
    }
    process::run(nextest.args(arguments))?;
    Ok(true)
}

pub(crate) fn bench(root: &Path, arguments: &[String]) -> Outcome {
    // The product by itself: built together with the test tools it would get their features too.
    process::run(process::cargo(root).args(["build", "--release", "--locked", "-p", "tollgate", "--bins"]))?;
    let tools =
        ["build", "--release", "--locked", "-p", "tollgate-testkit", "-p", "tollgate-tests", "--bins"];
    process::run(process::cargo(root).args(tools))?;
    let benchmark = target_directory(root)?.join("release/tollgate-bench");
    let own_arguments = arguments.strip_prefix(&["--".to_owned()]).unwrap_or(arguments);
    process::run(Command::new(benchmark).args(own_arguments).current_dir(root))?;
    Ok(true)
}

/// Where Cargo puts what it builds, whatever the environment and its configuration say.
pub(crate) fn target_directory(root: &Path) -> anyhow::Result<PathBuf> {
    let arguments = ["metadata", "--no-deps", "--format-version", "1"];
    let metadata = process::output(process::cargo(root).args(arguments))?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let directory = metadata["target_directory"].as_str();
    directory.map(PathBuf::from).context("cargo metadata names no target directory")
}

fn is_package_selection(argument: &str) -> bool {
    argument == "--package" || argument.starts_with("--package=") || argument.starts_with("-p")
}

/// Runs rustdoc's examples if there are any: nextest does not know them. All crates at once, so that
/// Cargo resolves the same features as for the other tests.
fn run_documentation_examples(root: &Path) -> anyhow::Result<()> {
    for path in tidy::rust_files(root)? {
        // A binary crate's examples are not run by rustdoc: only libraries count.
        let is_library = package_of(&path)
            .is_some_and(|package| root.join("crates").join(package).join("src/lib.rs").is_file());
        let text =
            std::fs::read_to_string(root.join(&path)).with_context(|| format!("cannot read {path}"))?;
        if is_library && has_compiled_example(&text) {
            return process::run(process::cargo(root).args([
                "test",
                "--doc",
                "--workspace",
                "--locked",
                "--quiet",
            ]));
        }
    }
    eprintln!("no compiled examples in the documentation: nothing for `cargo test --doc` to run");
    Ok(())
}

/// The package whose sources a path such as `crates/tollgate-domain/src/money.rs` belongs to.
fn package_of(path: &str) -> Option<&str> {
    let (package, within) = path.strip_prefix("crates/")?.split_once('/')?;
    within.starts_with("src/").then_some(package)
}

/// Whether a doc comment opens a code block that rustdoc would compile.
fn has_compiled_example(source: &str) -> bool {
    let mut is_in_block = false;
    for line in source.lines() {
        let line = line.trim_start();
        let Some(doc) = line.strip_prefix("///").or_else(|| line.strip_prefix("//!")) else {
            is_in_block = false;
            continue;
        };
        let Some(tags) = doc.trim().strip_prefix("```") else { continue };
        if !is_in_block && tags.split(',').all(|tag| COMPILED_FENCE_TAGS.contains(&tag.trim())) {
            return true;
        }
        is_in_block = !is_in_block;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_blocks_that_rustdoc_compiles_count_as_examples() {
        let cases = [
            ("/// ```\n/// let a = 1;\n/// ```\n", true),
            ("//! ```rust,no_run\n//! f();\n//! ```\n", true),
            ("/// ```text\n/// not code\n/// ```\n", false),
            ("/// ```text\n/// a\n/// ```\n/// ```\n/// f();\n/// ```\n", true),
            ("/// prose only\nfn f() {}\n", false),
            ("// ```\n// an ordinary comment\n// ```\n", false),
        ];
        for (source, expected) in cases {
            assert_eq!(has_compiled_example(source), expected, "{source}");
        }
    }

    #[test]
    fn a_source_path_names_its_package() {
        assert_eq!(package_of("crates/tollgate-wire/src/sse.rs"), Some("tollgate-wire"));
        assert_eq!(package_of("crates/tollgate-wire/benches/sse.rs"), None);
        assert_eq!(package_of("tests/src/lib.rs"), None);
    }

    #[test]
    fn package_selection_is_recognised_in_each_spelling() {
        for argument in ["-p", "-ptollgate", "--package", "--package=tollgate"] {
            assert!(is_package_selection(argument), "{argument}");
        }
        assert!(!is_package_selection("--no-capture"));
    }
}
