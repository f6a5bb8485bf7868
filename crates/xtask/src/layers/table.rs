//! The ring table of ARCHITECTURE.md: which crates there are, and what each may import.

use std::fmt;

use anyhow::{Context as _, bail};

const BEGIN: &str = "<!-- layers:begin -->";
const END: &str = "<!-- layers:end -->";

/// How a row says that its crate imports no other crate of the workspace.
const NO_IMPORTS: &[&str] = &["nothing", "–", "-", ""];

/// One crate: its short name (`domain`), its ring, and the short names of what it may import.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) ring: Ring,
    pub(crate) crate_name: String,
    pub(crate) imports: Vec<String>,
}

/// Ring 1 is the innermost; support crates (test kit, end-to-end tests, xtask) stand beside the rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ring {
    Number(u8),
    Support,
}

/// Ring 2 holds one foreign thing per crate: its crates never see each other.
const EDGES: u8 = 2;

impl Ring {
    /// Whether a crate of this ring may be allowed an import from the other ring at all.
    pub(crate) fn may_look_at(self, other: Self) -> bool {
        match (self, other) {
            (Self::Support, _) => true,
            (Self::Number(_), Self::Support) => false,
            (Self::Number(EDGES), Self::Number(other)) => other < EDGES,
            (Self::Number(own), Self::Number(other)) => other <= own,
        }
    }
}

impl fmt::Display for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "ring {number}"),
            Self::Support => f.write_str("support"),
        }
    }
}

/// Reads the table between the two marks: columns ring, crate, one line, may import. An empty ring cell
/// repeats the ring above it.
pub(crate) fn parse(markdown: &str) -> anyhow::Result<Vec<Row>> {
    let (_, rest) = markdown.split_once(BEGIN).with_context(|| format!("the mark `{BEGIN}` is missing"))?;
    let (table, _) = rest.split_once(END).with_context(|| format!("the mark `{END}` is missing"))?;
    let lines = table.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut rows: Vec<Row> = Vec::new();
    // The first two lines are the header and the rule under it.
    for line in lines.skip(2) {
        let row = parse_row(line, rows.last().map(|row| row.ring))
            .with_context(|| format!("the ring table's row `{line}`"))?;
        if rows.iter().any(|earlier| earlier.crate_name == row.crate_name) {
            bail!("the ring table has two rows for `{}`", row.crate_name);
        }
        rows.push(row);
    }
    if rows.is_empty() {
        bail!("the ring table has no rows");
    }
    Ok(rows)
}

fn parse_row(line: &str, ring_above: Option<Ring>) -> anyhow::Result<Row> {
    let inner = line.strip_prefix('|').and_then(|line| line.strip_suffix('|')).unwrap_or(line);
    let cells: Vec<String> = inner.split('|').map(|cell| cell.trim().replace('`', "")).collect();
    let [ring, crate_name, _one_line, imports] = cells.as_slice() else {
        bail!("it needs four cells: ring, crate, one line, may import");
    };
    let imports = if NO_IMPORTS.contains(&imports.as_str()) {
        Vec::new()
    } else {
        imports.split(',').map(|import| import.trim().to_owned()).collect()
    };
    Ok(Row { ring: parse_ring(ring, ring_above)?, crate_name: crate_name.clone(), imports })
}

fn parse_ring(cell: &str, ring_above: Option<Ring>) -> anyhow::Result<Ring> {
    match cell.split_whitespace().next() {
        None => ring_above.context("the first row must name its ring"),
        Some("support") => Ok(Ring::Support),
        Some(number) => {
            let number = number.parse().with_context(|| format!("`{cell}` starts with no ring number"))?;
            Ok(Ring::Number(number))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &str) -> String {
        format!(
            "# Map\n{BEGIN}\n| ring | crate | one line | may import |\n|---|---|---|---|\n{rows}\n{END}\n"
        )
    }

    #[test]
    fn rows_inherit_the_ring_above() {
        let rows = parse(&table(
            "| 1 pure | `domain` | ids | – |\n| | wire | formats | domain |\n| support | xtask | this | nothing |",
        ))
        .unwrap();
        let row = |ring, crate_name: &str, imports: &[&str]| Row {
            ring,
            crate_name: crate_name.to_owned(),
            imports: imports.iter().map(|import| (*import).to_owned()).collect(),
        };
        assert_eq!(
            rows,
            [
                row(Ring::Number(1), "domain", &[]),
                row(Ring::Number(1), "wire", &["domain"]),
                row(Ring::Support, "xtask", &[]),
            ]
        );
    }

    #[test]
    fn a_broken_table_says_what_is_wrong() {
        let cases = [
            ("no marks".to_owned(), "layers:begin"),
            (format!("{BEGIN}\n"), "layers:end"),
            (table(""), "no rows"),
            (table("| 1 | domain | ids |"), "four cells"),
            (table("| | domain | ids | – |"), "must name its ring"),
            (table("| inner | domain | ids | – |"), "no ring number"),
            (table("| 1 | domain | ids | – |\n| 1 | domain | ids | – |"), "two rows"),
        ];
        for (markdown, expected) in cases {
            let error = format!("{:#}", parse(&markdown).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn imports_point_inwards() {
        let (pure, edge, service) = (Ring::Number(1), Ring::Number(2), Ring::Number(3));
        let cases = [
            (pure, pure, true),
            (pure, edge, false),
            (edge, pure, true),
            (edge, edge, false),
            (service, service, true),
            (service, edge, true),
            (edge, service, false),
            (service, Ring::Support, false),
            (Ring::Support, service, true),
        ];
        for (own, other, expected) in cases {
            assert_eq!(own.may_look_at(other), expected, "{own} at {other}");
        }
    }
}
