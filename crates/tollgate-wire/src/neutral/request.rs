//! What is asked of a model.

use super::{CacheMark, ChatDialect, Message};
use crate::json::{RawJson, Rest};

/// A chat request in no dialect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChatRequest {
    /// The dialect it came in.
    pub dialect: ChatDialect,
    /// The model as the client names it; empty where it names none.
    pub model: String,
    /// The conversation, system messages in their places.
    pub messages: Vec<Message>,
    /// Tools the model may ask for.
    pub tools: Vec<Tool>,
    /// Whether and which.
    pub tool_choice: Option<ToolChoice>,
    /// Whether it may ask for several at once.
    pub parallel_tool_calls: Option<bool>,
    /// Most tokens of an answer, reasoning included.
    pub output_cap: Option<u64>,
    /// How words are chosen.
    pub sampling: Sampling,
    /// What the answer must look like.
    pub format: Option<OutputFormat>,
    /// How much to think, and what to show of it.
    pub reasoning: Option<Reasoning>,
    /// `low`, `medium`, `high`: how long answers are to be.
    pub verbosity: Option<String>,
    /// Who uses the application.
    pub end_user: Option<String>,
    /// The client's word for the tier of service.
    pub service_tier: Option<String>,
    /// Marks of the client, an object of strings.
    pub metadata: Option<RawJson>,
    /// Whether the vendor is to keep the answer.
    pub store: Option<bool>,
    /// Whether the answer is streamed.
    pub stream: bool,
    /// Whether a streamed answer is to end with its usage, where the dialect leaves the choice.
    pub wants_stream_usage: bool,
    /// `text`, `audio`, `image`: what the answer may be made of; empty: text.
    pub modalities: Vec<String>,
    /// Members without a place here, in the dialect the request came in.
    pub rest: Rest,
}

/// How words are chosen. Numbers are kept as they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sampling {
    /// Flattening of the distribution.
    pub temperature: Option<RawJson>,
    /// Nucleus.
    pub top_p: Option<RawJson>,
    /// Most likely tokens considered.
    pub top_k: Option<RawJson>,
    /// Penalty by frequency.
    pub frequency_penalty: Option<RawJson>,
    /// Penalty by presence.
    pub presence_penalty: Option<RawJson>,
    /// For answers that can be repeated.
    pub seed: Option<RawJson>,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// Answers wanted; `None` is one.
    pub n: Option<u64>,
    /// Whether tokens' log probabilities are wanted.
    pub logprobs: Option<bool>,
    /// Alternatives per token.
    pub top_logprobs: Option<u64>,
    /// OpenAI's bias per token.
    pub logit_bias: Option<RawJson>,
}

/// A tool that the model may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tool {
    /// A function of the application.
    Function(FunctionTool),
    /// A tool that only one dialect knows, mostly run by the vendor.
    Foreign {
        /// That dialect.
        dialect: ChatDialect,
        /// Its type there, for messages.
        name: String,
        /// The whole definition.
        raw: RawJson,
    },
}

/// A function of the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionTool {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// JSON Schema of its arguments.
    pub parameters: Option<RawJson>,
    /// Whether arguments must follow the schema exactly.
    pub strict: Option<bool>,
    /// The prompt up to here is to be cached.
    pub cache: Option<CacheMark>,
    /// Members without a place here.
    pub rest: Rest,
}

/// Whether and which tools are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice {
    /// As the model likes.
    Auto,
    /// None.
    None,
    /// At least one.
    Required,
    /// This one.
    Named(String),
}

/// What an answer must look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// Text.
    Text,
    /// Some JSON object.
    JsonObject,
    /// JSON of a schema.
    JsonSchema {
        /// The schema's name.
        name: Option<String>,
        /// What it is for.
        description: Option<String>,
        /// The schema.
        schema: RawJson,
        /// Whether it must be followed exactly.
        strict: Option<bool>,
    },
}

/// How hard a model is to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// Not at all.
    None,
    /// Hardly.
    Minimal,
    /// A little.
    Low,
    /// Some.
    Medium,
    /// Much.
    High,
    /// As much as it can.
    Max,
}

/// How much to think, and what to show of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reasoning {
    /// In words.
    pub effort: Option<Effort>,
    /// In tokens; 0 is not at all.
    pub budget_tokens: Option<u64>,
    /// The model decides how much (Anthropic's `adaptive`, Gemini's −1).
    pub is_adaptive: bool,
    /// Whether the reasoning is to be shown, where that is a choice.
    pub is_shown: Option<bool>,
    /// OpenAI's `summary`: `auto`, `concise`, `detailed`.
    pub summary: Option<String>,
}

// === impl ChatRequest ===

impl ChatRequest {
    /// What is asked for in the answer beside text, where a dialect answers in text only.
    #[must_use]
    pub fn beside_text(&self) -> Option<super::Feature> {
        let modality = self.modalities.iter().find(|modality| *modality != "text")?;
        Some(if modality == "image" { super::Feature::ImageOutput } else { super::Feature::AudioOutput })
    }
}

// === impl Effort ===

impl Effort {
    /// OpenAI's word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Max => "xhigh",
        }
    }

    /// The effort of OpenAI's or Anthropic's word.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "none" => Self::None,
            "minimal" => Self::Minimal,
            "low" => Self::Low,
            "medium" => Self::Medium,
            "high" => Self::High,
            "xhigh" | "max" => Self::Max,
            _ => return None,
        })
    }

    /// The budget that stands for it where a vendor wants tokens: what LiteLLM and OpenRouter use, too.
    #[must_use]
    pub const fn budget_tokens(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Minimal => 512,
            Self::Low => 1_024,
            Self::Medium => 2_048,
            Self::High => 4_096,
            Self::Max => 16_384,
        }
    }

    /// The effort that comes nearest to a budget.
    #[must_use]
    pub const fn from_budget_tokens(n_tokens: u64) -> Self {
        match n_tokens {
            0 => Self::None,
            1..=767 => Self::Minimal,
            768..=1_535 => Self::Low,
            1_536..=3_071 => Self::Medium,
            3_072..=12_287 => Self::High,
            _ => Self::Max,
        }
    }
}
