//! The longest files and functions of the product: where to look when reading gets hard.

use std::cmp::Reverse;
use std::fmt::Write as _;

use super::rules::is_product_file;
use super::source::Source;

/// How many of each the report shows.
const N_SHOWN: usize = 5;

/// The report as text: the longest files, then the longest functions, tests left out.
pub(crate) fn report(sources: &[Source]) -> String {
    let product = || sources.iter().filter(|source| is_product_file(&source.path));
    let files = product().map(|source| (source.n_lines(), source.path.clone())).collect();
    let functions = product()
        .flat_map(|source| source.functions.iter().map(move |function| (source, function)))
        .filter(|(source, function)| !source.is_test_line[function.first_line - 1])
        .map(|(source, function)| {
            let place = format!("{}:{} {}", source.path, function.first_line, function.name);
            (function.last_line - function.first_line + 1, place)
        })
        .collect();
    format!("longest files\n{}longest functions\n{}", top(files), top(functions))
}

fn top(mut entries: Vec<(usize, String)>) -> String {
    entries.sort_by_key(|(n_lines, place)| (Reverse(*n_lines), place.clone()));
    entries.iter().take(N_SHOWN).fold(String::new(), |mut text, (n_lines, place)| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{n_lines:>6}  {place}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_come_first_and_tests_are_left_out() {
        let sources = [
            Source::new("crates/a/src/short.rs", "fn one() {}\n"),
            Source::new(
                "crates/a/src/long.rs",
                "fn two() {\n}\n#[cfg(test)]\nmod tests {\n    fn t() {\n\n\n    }\n}\n",
            ),
            Source::new("crates/a/src/tests.rs", &"fn x() {}\n".repeat(100)),
        ];
        assert_eq!(
            report(&sources),
            "longest files\n     9  crates/a/src/long.rs\n     1  crates/a/src/short.rs\nlongest functions\n     2  \
             crates/a/src/long.rs:1 two\n     1  crates/a/src/short.rs:1 one\n"
        );
    }

    #[test]
    fn the_report_stays_short() {
        let sources: Vec<Source> =
            (0..9).map(|n| Source::new(&format!("crates/a/src/{n}.rs"), "fn f() {}\n")).collect();
        assert_eq!(report(&sources).lines().count(), 2 + 2 * N_SHOWN);
    }
}
