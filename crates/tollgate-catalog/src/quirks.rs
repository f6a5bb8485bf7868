//! How a vendor that speaks a dialect differs from it, as data with its sources.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The name under which a vendor takes the cap on an answer's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputCapName {
    /// What most compatible servers take.
    MaxTokens,
    /// What OpenAI itself wants.
    MaxCompletionTokens,
}

/// When a vendor tells a stream's usage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamUsage {
    /// Where `stream_options.include_usage` asks for it, as OpenAI does.
    #[default]
    WhenAsked,
    /// With the last chunk, unasked.
    LastChunk,
    /// With every chunk, unasked; the last one counts.
    EveryChunk,
}

/// What the body of a vendor's refusal looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorShape {
    /// `{"error": {"message", "type", "param", "code"}}`, or some of these.
    #[default]
    Openai,
    /// `{"message", …}` at the top.
    Flat,
    /// `{"detail": …}`: a sentence, or a list of the fields that did not fit.
    Detail,
    /// `{"error": "a sentence"}`.
    Sentence,
}

/// What a vendor does otherwise than OpenAI, of whose Chat Completions it speaks.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VendorQuirks {
    /// How the cap on the answer is called; `None` where nobody knows the server, then the model's name decides.
    pub output_cap: Option<OutputCapName>,
    /// Whether it takes `stream_options`. Who does not sends usage with a stream's last chunk unasked, or never: then
    /// the gateway counts.
    pub takes_stream_options: bool,
    /// When a stream's usage comes.
    pub stream_usage: StreamUsage,
    /// Members of a request that it knows by another name: OpenAI's to its own.
    pub renamed: BTreeMap<String, String>,
    /// Members of a request that it answers with an error.
    pub refused: Vec<String>,
    /// Members of a message that it answers with an error.
    pub refused_in_messages: Vec<String>,
    /// Whether it gives one answer at a time only.
    pub single_choice: bool,
    /// Texts in `stop` at most; `None` where it takes as many as one likes, or does not say.
    pub max_stop_sequences: Option<usize>,
    /// Whether it takes the role `developer`; where it does not, such messages are `system`.
    pub takes_developer_role: bool,
    /// Whether it takes `response_format` of type `json_schema`.
    pub takes_json_schema: bool,
    /// What its refusals look like.
    pub error_shape: ErrorShape,
    /// Where all of this is from.
    pub sources: Vec<QuirkSource>,
}

/// Where facts about a vendor are from. One that names no facts was read for differences and told of none.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuirkSource {
    /// A public page.
    pub url: String,
    /// The day it was taken from, `YYYY-MM-DD`.
    pub as_of: String,
    /// The fields of [`VendorQuirks`] that stand there.
    #[serde(default)]
    pub facts: Vec<String>,
}

impl Default for VendorQuirks {
    /// None.
    fn default() -> Self {
        Self {
            output_cap: None,
            takes_stream_options: true,
            stream_usage: StreamUsage::WhenAsked,
            renamed: BTreeMap::new(),
            refused: Vec::new(),
            refused_in_messages: Vec::new(),
            single_choice: false,
            max_stop_sequences: None,
            takes_developer_role: true,
            takes_json_schema: true,
            error_shape: ErrorShape::Openai,
            sources: Vec::new(),
        }
    }
}

impl VendorQuirks {
    /// Whether a request must be looked at member by member.
    #[must_use]
    pub fn concern_members(&self) -> bool {
        !self.takes_stream_options
            || !self.renamed.is_empty()
            || !self.refused.is_empty()
            || !self.refused_in_messages.is_empty()
            || self.single_choice
            || self.max_stop_sequences.is_some()
            || !self.takes_developer_role
            || !self.takes_json_schema
    }

    /// The name under which the cap of an answer of `model` is obeyed. A server that nobody knows may stand before
    /// OpenAI: its models that refuse `max_tokens` are told by their names.
    #[must_use]
    pub fn output_cap_of(&self, model: &str) -> OutputCapName {
        self.output_cap.unwrap_or_else(|| match refuses_max_tokens(model) {
            true => OutputCapName::MaxCompletionTokens,
            false => OutputCapName::MaxTokens,
        })
    }
}

/// GPT's generations that refuse `max_tokens`; `gpt-35-turbo` is how Azure spells 3.5.
const GENERATIONS: std::ops::Range<u32> = 5..35;

/// Whether a model is one of OpenAI's that refuse `max_tokens`: the `o` series, and GPT from the fifth generation on.
fn refuses_max_tokens(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    let name = name.strip_prefix("ft:").unwrap_or(name);
    let name = name.split(':').next().unwrap_or(name);
    let generation = |rest: &str| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        let ends = !rest[digits.len()..].starts_with(|next: char| next.is_ascii_alphabetic());
        digits.parse::<u32>().ok().filter(|_| ends)
    };
    let is_thinking = name.strip_prefix('o').and_then(generation).is_some_and(|number| number > 0);
    let is_new =
        name.strip_prefix("gpt-").and_then(generation).is_some_and(|number| GENERATIONS.contains(&number));
    is_thinking || is_new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_that_refuse_the_older_name_are_told_by_their_names() {
        for model in [
            "o1",
            "o3-mini",
            "o4-mini-2025-04-16",
            "gpt-5",
            "gpt-5-mini",
            "gpt-5.1-chat-latest",
            "openai/gpt-5-nano",
            "gpt-5:free",
            "gpt-6",
            "ft:gpt-5-mini:acme::abc",
            "ft:o4-mini-2025-04-16:acme:suffix:abc",
        ] {
            assert!(refuses_max_tokens(model), "{model}");
        }
        for model in [
            "gpt-4o",
            "gpt-4.1-mini",
            "gpt-oss-120b",
            "openai/gpt-oss-20b",
            "gpt-35-turbo",
            "gpt-3.5-turbo",
            "ft:gpt-4o-mini-2024-07-18:o3::abc",
            "o",
            "olmo-2",
            "o0",
            "llama3.1:8b",
            "qwen3",
            "",
        ] {
            assert!(!refuses_max_tokens(model), "{model}");
        }
    }

    #[test]
    fn a_vendor_that_is_known_is_believed() {
        let known = VendorQuirks { output_cap: Some(OutputCapName::MaxTokens), ..VendorQuirks::default() };
        assert_eq!(known.output_cap_of("openai/gpt-5"), OutputCapName::MaxTokens);
        let unknown = VendorQuirks::default();
        assert_eq!(unknown.output_cap_of("openai/gpt-5"), OutputCapName::MaxCompletionTokens);
        assert_eq!(unknown.output_cap_of("llama"), OutputCapName::MaxTokens);
    }
}
