//! The text, tool calls and usage that the mock "generates" for one request.

use std::borrow::Cow;

use serde_json::Value;

use super::ask::Ask;
use super::script::{Script, ScriptedUsage, Usage};

/// Text chunks, and so completion tokens, of an answer whose script names neither text nor number.
pub const DEFAULT_N_TOKENS: usize = 8;
/// The text of each of them.
pub const DEFAULT_TOKEN_TEXT: &str = "token ";
/// OpenAI's own limit on `n`.
const N_CHOICES_MAX: u64 = 128;

/// What every choice of an answer holds; all choices are equal.
pub(super) struct Generation<'a> {
    pub(super) pieces: Vec<Cow<'a, str>>,
    pub(super) tool_calls: Vec<ToolCall>,
    pub(super) finish_reason: Cow<'a, str>,
    pub(super) n_choices: u64,
    /// `None` when the script withholds it.
    pub(super) usage: Option<Value>,
}

pub(super) struct ToolCall {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: String,
}

impl<'a> Generation<'a> {
    pub(super) fn new(ask: &Ask<'_>, script: &'a Script) -> Self {
        let mut pieces = pieces_of(script);
        let cap = ask.max_tokens().map_or(usize::MAX, |cap| usize::try_from(cap).unwrap_or(usize::MAX));
        let is_cut = pieces.len() > cap;
        pieces.truncate(cap);
        let tool_calls = if script.echoes_tools { echo_tools(ask) } else { Vec::new() };
        let finish_reason = match &script.finish_reason {
            Some(reason) => Cow::Borrowed(reason.as_str()),
            None if !tool_calls.is_empty() => "tool_calls".into(),
            None if is_cut => "length".into(),
            None => "stop".into(),
        };
        let n_choices = ask.n.unwrap_or(1).clamp(1, N_CHOICES_MAX);
        let usage = match &script.usage {
            ScriptedUsage::Missing => None,
            ScriptedUsage::Json(usage) => Some(usage.clone()),
            ScriptedUsage::Formula => {
                let completion_tokens = pieces.len() as u64 * n_choices;
                let prompt_tokens = ask.prompt_tokens();
                Some(Usage { prompt_tokens, completion_tokens, ..Usage::default() }.to_json())
            }
        };
        Self { pieces, tool_calls, finish_reason, n_choices, usage }
    }

    pub(super) fn text(&self) -> String {
        self.pieces.concat()
    }
}

fn pieces_of(script: &Script) -> Vec<Cow<'_, str>> {
    match (&script.text, script.n_chunks) {
        (None, n_chunks) => vec![DEFAULT_TOKEN_TEXT.into(); n_chunks.unwrap_or(DEFAULT_N_TOKENS)],
        (Some(text), None) => text.split_inclusive(' ').map(Cow::Borrowed).collect(),
        (Some(text), Some(n_chunks)) => split_evenly(text, n_chunks),
    }
}

/// Exactly `n` pieces that together are `text`; some are empty when there are fewer characters.
pub(super) fn split_evenly(text: &str, n: usize) -> Vec<Cow<'_, str>> {
    let boundaries = text.char_indices().map(|(index, _)| index).chain([text.len()]).collect::<Vec<_>>();
    let n_characters = boundaries.len() - 1;
    let boundary = |piece: usize| boundaries[n_characters * piece / n];
    (0..n).map(|piece| Cow::Borrowed(&text[boundary(piece)..boundary(piece + 1)])).collect()
}

fn echo_tools(ask: &Ask<'_>) -> Vec<ToolCall> {
    let functions = ask.tools.iter().flatten().filter_map(|tool| tool.function.as_ref());
    let calls = functions.enumerate().map(|(index, function)| ToolCall {
        id: format!("call_mock_{index}"),
        name: function.name.clone(),
        arguments: function.parameters.map_or("{}", |parameters| parameters.get()).to_owned(),
    });
    calls.collect()
}

#[cfg(test)]
mod tests {
    use super::split_evenly;

    #[test]
    fn text_splits_into_exactly_n_pieces_at_characters() {
        for n in 1..20 {
            let pieces = split_evenly("héllo wörld", n);
            assert_eq!(pieces.len(), n);
            assert_eq!(pieces.concat(), "héllo wörld");
        }
        assert!(split_evenly("text", 0).is_empty());
    }
}
