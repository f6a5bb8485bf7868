//! OpenAI's embeddings for providers of other dialects: their requests written, their answers made OpenAI's.

mod answer;
mod google;
mod request;

pub use answer::as_openai;
pub use google::GoogleEmbedding;
pub use request::{EmbeddingRequest, read_request, write_request};

/// The dialects that texts are embedded in, OpenAI's apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmbeddingDialect {
    /// Google's `batchEmbedContents`.
    Gemini,
    /// Google's models on Vertex, by `predict`.
    Vertex,
    /// Cohere's `embed`, version 2.
    Cohere,
    /// Amazon's Titan on Bedrock: one text at a time.
    Titan,
    /// Cohere's models on Bedrock.
    CohereOnBedrock,
}

impl EmbeddingDialect {
    /// The name in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gemini => "Gemini",
            Self::Vertex => "Vertex",
            Self::Cohere => "Cohere",
            Self::Titan => "Titan on Bedrock",
            Self::CohereOnBedrock => "Cohere on Bedrock",
        }
    }
}

#[cfg(test)]
mod tests;
