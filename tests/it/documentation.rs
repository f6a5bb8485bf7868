//! What the documentation names exists: links, error codes, metrics, variables and source files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_owned)
}

fn read(path: impl AsRef<Path>) -> anyhow::Result<String> {
    let path = repository().join(path);
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// Every Markdown file at the root, in docs/ and in migrations/, from the root.
fn pages() -> anyhow::Result<Vec<PathBuf>> {
    let mut folders = vec![PathBuf::from("docs"), PathBuf::from("migrations")];
    let mut found =
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(PathBuf::from).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(repository().join(&folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    Ok(found)
}

/// The targets of `[text](target)` outside of code blocks.
fn links(text: &str) -> Vec<&str> {
    let outside = text.split("\n```").step_by(2);
    let ends = outside.flat_map(|part| part.split("](").skip(1));
    ends.filter_map(|rest| rest.split(')').next()).collect()
}

/// The anchors GitHub makes of the headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let slug = |heading: &str| {
        let kept = heading.trim_start_matches('#').trim().chars();
        let kept = kept.filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    headings.map(slug).collect()
}

#[test]
fn links_lead_somewhere() -> anyhow::Result<()> {
    let mut n_links = 0;
    for page in pages()? {
        let text = read(&page)?;
        for link in links(&text).into_iter().filter(|link| !link.contains("://")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let folder = page.parent().unwrap_or(Path::new(""));
            let target = if path.is_empty() { page.clone() } else { folder.join(path) };
            assert!(repository().join(&target).exists(), "{}: {link} leads nowhere", page.display());
            if !anchor.is_empty() {
                assert!(
                    anchors(&read(&target)?).contains(anchor),
                    "{}: no heading for {link}",
                    page.display()
                );
            }
            n_links += 1;
        }
    }
    assert!(n_links > 20, "only {n_links} links were found");
    Ok(())
}

#[test]
fn every_error_code_is_documented_with_its_status() -> anyhow::Result<()> {
    let source = read("crates/tollgate-domain/src/error_kind.rs")?;
    let defined = source.lines().filter_map(|line| {
        let (_, rest) = line.split_once(" = \"")?;
        let (code, status) = rest.strip_suffix(';')?.split_once("\", ")?;
        Some((code.to_owned(), status.to_owned()))
    });
    let defined = defined.collect::<BTreeMap<_, _>>();
    let page = read("docs/errors/README.md")?;
    let documented = page.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        let (status, code) = (cells.next()?, cells.next()?.split('`').nth(1)?);
        Some((code.to_owned(), status.to_owned()))
    });
    assert!(defined.len() > 20, "{} codes were found", defined.len());
    assert_eq!(documented.collect::<BTreeMap<_, _>>(), defined);
    Ok(())
}

#[test]
fn metrics_to_watch_exist() -> anyhow::Result<()> {
    let of = |file: &str| read(format!("crates/tollgate-telemetry/src/metrics/{file}.rs"));
    let source = of("collector")? + &of("process")?;
    let page = read("docs/operators.md")?;
    let section = page.split("\n## ").find(|section| section.starts_with("Metrics")).context("no section")?;
    let words = section.split(|letter: char| !(letter.is_ascii_lowercase() || letter == '_'));
    let named = words.filter(|word| word.starts_with("tollgate_")).collect::<BTreeSet<_>>();
    assert!(named.len() >= 10, "{named:?}");
    for name in named {
        let family = name.strip_suffix("_total").unwrap_or(name);
        assert!(source.contains(&format!("\"{family}\"")), "there is no metric {name}");
    }
    Ok(())
}

#[test]
fn variables_exist() -> anyhow::Result<()> {
    let binary = tollgate_testkit::process::tollgate_binary()?;
    let mut help = String::new();
    for command in ["dev", "apply"] {
        let output = Command::new(&binary).args([command, "--help"]).env_clear().output()?;
        help.push_str(&String::from_utf8(output.stdout)?);
    }
    let telemetry = read("crates/tollgate-telemetry/src/logging.rs")?;
    for page in ["README.md", "docs/operators.md"] {
        let text = read(page)?;
        let words = text.split(|letter: char| !(letter.is_ascii_uppercase() || letter == '_'));
        for name in words.filter(|word| word.starts_with("TOLLGATE_")) {
            assert!(help.contains(name) || telemetry.contains(name), "{page}: nothing reads {name}");
        }
    }
    Ok(())
}

#[test]
fn the_walkthroughs_name_files_that_exist() -> anyhow::Result<()> {
    let page = read("ARCHITECTURE.md")?;
    let request =
        page.split("\n## ").find(|section| section.starts_with("A request")).context("no section")?;
    let named = request.split('`').filter(|word| word.ends_with(".rs")).collect::<BTreeSet<_>>();
    assert!(named.len() >= 15, "{named:?}");
    for name in named {
        assert!(repository().join("crates/tollgate-gateway/src").join(name).is_file(), "there is no {name}");
    }
    for path in page.split('`').filter(|word| word.starts_with("tollgate-") && word.ends_with(".rs")) {
        assert!(repository().join("crates").join(path).is_file(), "there is no {path}");
    }
    Ok(())
}
