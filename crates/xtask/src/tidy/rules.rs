//! The rules on one file. Each finding starts with the place and ends with what to do.

use super::Finding;
use super::source::{Source, is_word};

/// A file longer than this is worth splitting.
const WARN_ABOVE_LINES: usize = 400;
/// A file longer than this must be split.
const FAIL_ABOVE_LINES: usize = 500;

/// Names that say nothing about what a module holds, so that anything ends up in it.
const FORBIDDEN_MODULES: &[&str] = &["common", "helper", "helpers", "misc", "util", "utils"];

/// Code that is unfinished, or a test that does not run, by its opening characters.
const FORBIDDEN_CODE: &[(&str, &str)] = &[
    ("todo!(", "finish it, or leave the feature out"),
    ("unimplemented!(", "finish it, or leave the feature out"),
    ("dbg!(", "remove it, or log through tracing"),
    ("#[ignore", "make the test run, or delete it: a skipped test is not a passed one"),
];

/// Where money and prices are counted: integers only.
const EXACT_CRATES: &[&str] = &["tollgate-domain", "tollgate-catalog", "tollgate-ledger"];
const FLOAT_TYPES: &[&str] = &["f32", "f64"];
/// On the line of a float that is right after all, followed by the reason.
const FLOAT_MARK: &str = "// tidy: float because ";

/// The roots of people's home folders, cut so that this file does not break its own rule.
const HOME_ROOTS: &[&str] = &[concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/")];

pub(crate) fn check_rust_file(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(check_length(source));
    findings.extend(check_module_names(source));
    findings.extend(check_forbidden_code(source));
    findings.extend(check_floats(source));
    findings
}

/// The file that opens a crate under `crates/`, or the end-to-end tests.
pub(crate) fn is_crate_root(path: &str) -> bool {
    let Some((folder, file)) = path.rsplit_once("/src/") else { return false };
    let is_package =
        folder == "tests" || folder.strip_prefix("crates/").is_some_and(|name| !name.contains('/'));
    is_package && matches!(file, "lib.rs" | "main.rs")
}

/// Tests, benchmarks and their data are exempt from the rules on product code.
pub(crate) fn is_product_file(path: &str) -> bool {
    let mut components = path.split('/');
    let is_apart = components.any(|part| {
        let stem = part.strip_suffix(".rs").unwrap_or(part);
        matches!(stem, "tests" | "testdata" | "benches") || stem.ends_with("_tests")
    });
    path.starts_with("crates/") && !is_apart
}

fn check_length(source: &Source) -> Option<Finding> {
    let n_lines = source.n_lines();
    if !is_product_file(&source.path) || n_lines <= WARN_ABOVE_LINES {
        return None;
    }
    let text = format!("{}: {n_lines} lines: split it by what its parts hold", source.path);
    Some(if n_lines > FAIL_ABOVE_LINES { Finding::Error(text) } else { Finding::Warning(text) })
}

fn check_module_names(source: &Source) -> Vec<Finding> {
    let path = &source.path;
    let mut findings = Vec::new();
    let in_path = path.split('/').map(|part| part.strip_suffix(".rs").unwrap_or(part));
    for name in in_path.filter(|name| FORBIDDEN_MODULES.contains(name)) {
        findings.push(Finding::Error(format!(
            "{path}: `{name}` says nothing: name the module for what it holds"
        )));
    }
    for (line_number, line) in (1..).zip(&source.code_lines) {
        let Some((_, declared)) = line.split_once("mod ").filter(|(_, rest)| rest.contains('{')) else {
            continue;
        };
        let name: String = declared.chars().take_while(|&character| is_word(character)).collect();
        if FORBIDDEN_MODULES.contains(&name.as_str()) {
            let place = format!("{path}:{line_number}");
            findings.push(Finding::Error(format!(
                "{place}: `mod {name}` says nothing: name it for what it holds"
            )));
        }
    }
    findings
}

fn check_forbidden_code(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line_number, line) in (1..).zip(&source.code_lines) {
        for (code, advice) in FORBIDDEN_CODE {
            if find_word_start(line, code) {
                findings.push(Finding::Error(format!("{}:{line_number}: `{code}`: {advice}", source.path)));
            }
        }
    }
    findings
}

fn check_floats(source: &Source) -> Vec<Finding> {
    let package = source.path.strip_prefix("crates/").and_then(|path| path.split('/').next());
    if !package.is_some_and(|package| EXACT_CRATES.contains(&package)) || !is_product_file(&source.path) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (index, code) in source.code_lines.iter().enumerate() {
        let mut words = code.split(|character| !is_word(character));
        let has_float = words.any(|word| FLOAT_TYPES.iter().any(|float| word.ends_with(float)));
        if has_float && !source.is_test_line[index] && !source.lines[index].contains(FLOAT_MARK) {
            findings.push(Finding::Error(format!(
                "{}:{}: a float where money is counted: use integers, or end the line with `{FLOAT_MARK}…`",
                source.path,
                index + 1
            )));
        }
    }
    findings
}

/// A path into somebody's home folder works on one machine only; what describes a container is exempt.
pub(crate) fn check_home_paths(path: &str, text: &str) -> Vec<Finding> {
    if path.starts_with("deploy/") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (line_number, line) in (1..).zip(text.lines()) {
        if HOME_ROOTS.iter().any(|home| find_word_start(line, home)) {
            let advice = "an absolute home path works on one machine only: make it relative";
            findings.push(Finding::Error(format!("{path}:{line_number}: {advice}")));
        }
    }
    findings
}

/// Whether the needle stands in the line with no word character directly before it.
fn find_word_start(line: &str, needle: &str) -> bool {
    line.match_indices(needle).any(|(at, _)| !line[..at].chars().next_back().is_some_and(is_word))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXACT_FILE: &str = "crates/tollgate-ledger/src/memory.rs";

    fn errors(path: &str, text: &str) -> Vec<String> {
        let findings = check_rust_file(&Source::new(path, text)).into_iter();
        findings
            .map(|finding| match finding {
                Finding::Error(text) => text,
                Finding::Warning(text) => format!("warning: {text}"),
            })
            .collect()
    }

    #[test]
    fn long_files_are_warned_about_then_refused_unless_they_are_tests() {
        let product = "crates/tollgate-wire/src/sse.rs";
        let cases = [
            (product, 400, None),
            (product, 401, Some("warning: ")),
            (product, 500, Some("warning: ")),
            (product, 501, Some(product)),
            ("crates/tollgate-wire/src/sse/tests.rs", 2000, None),
            ("crates/tollgate-wire/src/sse_tests.rs", 2000, None),
            ("crates/tollgate-wire/tests/goldens.rs", 2000, None),
            ("tests/it/money.rs", 2000, None),
        ];
        for (path, n_lines, expected) in cases {
            let found = errors(path, &"// line\n".repeat(n_lines));
            match expected {
                None => assert!(found.is_empty(), "{path} with {n_lines}: {found:?}"),
                Some(start) => assert!(found[0].starts_with(start), "{path} with {n_lines}: {found:?}"),
            }
        }
    }

    #[test]
    fn modules_are_named_for_what_they_hold() {
        for path in ["crates/tollgate-wire/src/util.rs", "crates/tollgate-wire/src/common/mod.rs"] {
            assert_eq!(errors(path, "").len(), 1, "{path}");
        }
        assert_eq!(errors("crates/tollgate-wire/src/sse.rs", "pub mod utils {}\n").len(), 1);
        assert!(errors("crates/tollgate-wire/src/commons.rs", "mod utility {}\n").is_empty());
    }

    #[test]
    fn unfinished_and_ignored_code_is_refused_in_code_only() {
        for (code, _) in FORBIDDEN_CODE {
            assert_eq!(errors("tests/it/money.rs", &format!("fn f() {{ {code}\n")).len(), 1, "{code}");
            assert!(
                errors("tests/it/money.rs", &format!("// {code}\nconst A: &str = \"{code}\";")).is_empty()
            );
        }
        assert!(errors("tests/it/money.rs", "my_todo!()").is_empty());
    }

    #[test]
    fn floats_are_refused_where_money_is_counted() {
        let cases = [
            (EXACT_FILE, "let share: f64 = 0.5;", 1),
            (EXACT_FILE, "let share = 0.5_f32;", 1),
            (EXACT_FILE, "let share: f64 = 0.5; // tidy: float because it is only shown", 0),
            (EXACT_FILE, "// an f64 in prose", 0),
            (EXACT_FILE, "#[cfg(test)]\nmod tests {\n    const A: f64 = 0.5;\n}", 0),
            ("crates/tollgate-ledger/benches/reserve.rs", "let share: f64 = 0.5;", 0),
            ("crates/tollgate-gateway/src/route.rs", "let share: f64 = 0.5;", 0),
        ];
        for (path, text, n_errors) in cases {
            assert_eq!(errors(path, text).len(), n_errors, "{path}: {text}");
        }
    }

    #[test]
    fn home_paths_are_found_outside_of_containers() {
        let line = format!("cd {}somebody/tollgate", HOME_ROOTS[0]);
        assert_eq!(check_home_paths("docs/start.md", &line).len(), 1);
        assert!(check_home_paths("deploy/docker/Dockerfile", &line).is_empty());
        assert!(check_home_paths("docs/start.md", &format!("see docs{}page", HOME_ROOTS[0])).is_empty());
    }

    #[test]
    fn crate_roots_are_recognised() {
        for path in ["crates/tollgate-wire/src/lib.rs", "crates/tollgate/src/main.rs", "tests/src/lib.rs"] {
            assert!(is_crate_root(path), "{path}");
        }
        for path in ["crates/tollgate-wire/src/sse.rs", "crates/a/b/src/lib.rs", "docs/src/lib.rs"] {
            assert!(!is_crate_root(path), "{path}");
        }
    }
}
