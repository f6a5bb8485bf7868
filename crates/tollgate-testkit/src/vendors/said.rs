//! What is answered, in no dialect.

use super::asked::Asked;

/// An answer before it is written in a dialect.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    /// Reasoning, with what proves it, where the dialect has a place for that.
    pub(super) thinking: Option<&'static str>,
    /// The text in pieces.
    pub(super) text: Vec<String>,
    pub(super) calls: Vec<Call>,
}

/// A call of a tool.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) id: &'static str,
    pub(super) name: String,
    /// Its arguments' JSON in pieces.
    pub(super) arguments: Vec<&'static str>,
}

/// What proves reasoning or a call to its vendor.
pub(super) const SIGNATURE: &str = "c2lnbmF0dXJl";

pub(super) fn said(asked: &Asked) -> Said {
    let tool = || asked.tools.first().cloned().unwrap_or_else(|| "no_tool".to_owned());
    match asked.scenario.as_str() {
        "tools" => Said {
            text: words("I look."),
            calls: vec![
                Call { id: "call_1", name: tool(), arguments: vec!["{\"city\":", "\"Zür", "ich\"}"] },
                Call {
                    id: "call_2",
                    name: tool(),
                    arguments: vec!["{\"city\":\"Oslo\",", "\"days\":[1,2]}"],
                },
            ],
            ..Said::default()
        },
        "results" => {
            Said { text: words(&format!("results: {}", asked.results.join(", "))), ..Said::default() }
        }
        "image" => Said { text: words(&format!("images: {}", asked.images.join("; "))), ..Said::default() },
        "structured" if asked.has_schema => {
            Said { text: vec!["{\"name\":\"Ada\",".to_owned(), "\"age\":36}".to_owned()], ..Said::default() }
        }
        "structured" if !asked.tools.is_empty() => Said {
            calls: vec![Call {
                id: "call_1",
                name: tool(),
                arguments: vec!["{\"name\":\"Ada\",", "\"age\":36}"],
            }],
            ..Said::default()
        },
        "reason" if asked.wants_reasoning => {
            Said { thinking: Some("Six times seven."), text: words("It is 42."), ..Said::default() }
        }
        "structured" | "reason" => Said { text: words("nothing of that was asked for"), ..Said::default() },
        "hang" => Said { text: vec!["tick ".to_owned(); 9], ..Said::default() },
        _ => Said {
            text: words(&format!("{} turns after `{}`", asked.n_turns, asked.system)),
            ..Said::default()
        },
    }
}

/// A text in pieces, one for each word.
fn words(text: &str) -> Vec<String> {
    text.split_inclusive(' ').map(str::to_owned).collect()
}
