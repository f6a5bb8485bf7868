//! How a vendor that speaks a dialect differs from it, as data with its sources.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The name under which a vendor takes the cap on an answer's tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputCapName {
    /// What most compatible servers take.
    #[default]
    MaxTokens,
    /// What OpenAI itself wants.
    MaxCompletionTokens,
}

/// What a vendor does otherwise than OpenAI, of whose Chat Completions it speaks.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VendorQuirks {
    /// How the cap on the answer is called.
    pub output_cap: OutputCapName,
    /// Whether it takes `stream_options`. Who does not sends usage with a stream's last chunk unasked, or never: then
    /// the gateway counts.
    pub takes_stream_options: bool,
    /// Members of a request that it knows by another name: OpenAI's to its own.
    pub renamed: BTreeMap<String, String>,
    /// Members of a request that it answers with an error.
    pub refused: Vec<String>,
    /// Whether it gives one answer at a time only.
    pub single_choice: bool,
    /// Where all of this is from.
    pub sources: Vec<String>,
}

impl Default for VendorQuirks {
    /// None.
    fn default() -> Self {
        Self {
            output_cap: OutputCapName::MaxTokens,
            takes_stream_options: true,
            renamed: BTreeMap::new(),
            refused: Vec::new(),
            single_choice: false,
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
            || self.single_choice
    }
}
