//! `docs/translation.md`, generated.

use std::fmt::Write as _;

use crate::table::{CLIENTS, Cell, Row};
use crate::{answers, golden, requests};

const INTRODUCTION: &str = "\
# Translation between dialects

This page is generated from the cases in `crates/tollgate-wire/tests/translation`, and a test fails when it is stale.

Where client and provider speak the same dialect, bytes pass and only the model and the output cap are set: nothing
is translated. Everywhere else a request is read into neutral types and written in the provider's dialect, and its
answer comes back the same way. Each cell says what becomes of a feature on that way:

- **exact**: what is written says the same, read by the other dialect's own rules;
- **≈** and a number: it comes near, as the numbered note below says;
- **refused**: the request is answered with 400 and a message that names the feature, before anything is held or sent;
- **–**: the dialect it would come from has no words for it.

What depends on the model is shown for `gpt-5`, `claude-opus-4-7`, `gemini-3-pro`, Anthropic's models on Bedrock and
`command-a`.
";

/// The notes below the tables, in the order in which they are met.
#[derive(Default)]
struct Notes(Vec<String>);

impl Notes {
    fn number(&mut self, how: &str) -> usize {
        let at = self.0.iter().position(|note| note == how).unwrap_or_else(|| {
            self.0.push(how.to_owned());
            self.0.len() - 1
        });
        at + 1
    }
}

#[derive(Default)]
struct Counts {
    n_exact: usize,
    n_approximated: usize,
    n_refused: usize,
}

fn table(out: &mut String, rows: &[(String, Row)], notes: &mut Notes, counts: &mut Counts) {
    let Some((_, first)) = rows.first() else { return };
    let names: Vec<&str> = first.iter().map(|(dialect, _)| dialect.name()).collect();
    let _ = writeln!(out, "| | {} |", names.join(" | "));
    let _ = writeln!(out, "|---|{}", "---|".repeat(names.len()));
    for (title, row) in rows {
        let cells: Vec<String> = row
            .iter()
            .map(|(_, cell)| match cell {
                Cell::Exact => {
                    counts.n_exact += 1;
                    "exact".to_owned()
                }
                Cell::Approximated(how) => {
                    counts.n_approximated += 1;
                    format!("≈ {}", notes.number(how))
                }
                Cell::Refused => {
                    counts.n_refused += 1;
                    "refused".to_owned()
                }
                Cell::Absent => "–".to_owned(),
            })
            .collect();
        let _ = writeln!(out, "| {title} | {} |", cells.join(" | "));
    }
}

fn document() -> String {
    let (mut notes, mut requests_counts, mut answers_counts) =
        (Notes::default(), Counts::default(), Counts::default());
    let mut tables = String::new();
    for client in CLIENTS {
        let _ = writeln!(tables, "\n## Requests of {}\n", client.name());
        table(&mut tables, &requests::rows(client), &mut notes, &mut requests_counts);
    }
    for client in CLIENTS {
        let _ = writeln!(tables, "\n## Answers to clients of {}\n", client.name());
        table(&mut tables, &answers::rows(client), &mut notes, &mut answers_counts);
    }
    let mut out = INTRODUCTION.to_owned();
    let _ = writeln!(out, "\n| | exact | approximated | refused |\n|---|---|---|---|");
    for (name, counts) in [("cells of requests", &requests_counts), ("cells of answers", &answers_counts)] {
        let _ = writeln!(
            out,
            "| {name} | {} | {} | {} |",
            counts.n_exact, counts.n_approximated, counts.n_refused
        );
    }
    out.push_str(&tables);
    out.push_str("\n## Notes\n\n");
    for (at, note) in notes.0.iter().enumerate() {
        let _ = writeln!(out, "{}. {note}", at + 1);
    }
    out
}

#[test]
fn the_document_is_what_the_cases_say() {
    golden::check(&golden::repository().join("docs/translation.md"), &document());
}
