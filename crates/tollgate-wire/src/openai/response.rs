//! Whole answers.

use tollgate_domain::Surface;

use super::usage::UsageReading;

/// Whether an answer's body is what its surface promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerShape {
    /// A JSON object.
    Json,
    /// Anything else: HTML, garbage, half a document.
    NotJson,
}

/// What an answer says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether it is JSON at all; the other fields are empty when it is not.
    pub shape: AnswerShape,
    /// The usage object.
    pub usage: UsageReading,
    /// The model that answered, as the provider names it.
    pub model: Option<String>,
    /// The first choice's finish reason.
    pub finish_reason: Option<String>,
    /// Bytes of text in all choices: content, reasoning, refusals, tool arguments.
    pub text_bytes: u64,
    /// Whether it is `{"error": …}` (some servers send it with status 200).
    pub is_error: bool,
}

/// Reads an answer's body in one pass.
#[must_use]
pub fn read_answer(surface: Surface, body: &[u8]) -> Answer {
    let _ = (surface, body);
    todo!()
}
