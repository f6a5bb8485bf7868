//! The middle format between dialects: what a conversation says, whoever asks and whoever answers.
//!
//! Each dialect reads its bodies into these types and writes its bodies from them, so that N dialects need N
//! adapters and not N×M. Bodies whose dialect is the same on both sides never come here. What a dialect says
//! that these types have no place for stays in [`crate::json::Rest`] and reaches a provider of the same family; what a target
//! cannot do is refused by name or, where the operator allows it, dropped and listed ([`Fidelity`]).
//!
//! Values whose digits or key order matter (tool arguments, schemas, numbers) are kept as JSON text.

mod answer;
mod assemble;
mod content;
mod droppable;
mod fidelity;
mod losses;
mod request;
mod stream;
mod tally;
pub(crate) mod writing;

pub use answer::{ChatAnswer, Choice, FinishReason};
pub use assemble::{Assembler, replay};
pub use content::{CacheMark, Media, Message, Part, PartKind, Role, ToolCall, ToolResult};
pub use fidelity::{Feature, Fidelity, Mode, Unsupported};
pub(crate) use losses::note_losses;
pub use request::{ChatRequest, Effort, FunctionTool, OutputFormat, Reasoning, Sampling, Tool, ToolChoice};
pub use stream::{PartStart, StreamEvent};
pub(crate) use tally::TextTally;

/// The dialects that chat bodies are written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChatDialect {
    /// OpenAI's Chat Completions, and what is compatible with it.
    #[default]
    OpenAiChat,
    /// OpenAI's Responses.
    OpenAiResponses,
    /// Anthropic's Messages.
    Anthropic,
    /// Google's generateContent, on the Gemini API and on Vertex.
    Gemini,
    /// Bedrock's Converse.
    Bedrock,
    /// Cohere's chat, version 2.
    Cohere,
}

impl ChatDialect {
    /// Every dialect.
    pub const ALL: [Self; 6] =
        [Self::OpenAiChat, Self::OpenAiResponses, Self::Anthropic, Self::Gemini, Self::Bedrock, Self::Cohere];

    /// The name in messages and in the coverage table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenAiChat => "OpenAI Chat Completions",
            Self::OpenAiResponses => "OpenAI Responses",
            Self::Anthropic => "Anthropic Messages",
            Self::Gemini => "Gemini",
            Self::Bedrock => "Bedrock Converse",
            Self::Cohere => "Cohere",
        }
    }
}
