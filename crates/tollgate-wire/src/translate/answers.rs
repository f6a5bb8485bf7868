//! Whole answers.

use tollgate_domain::NanoUsd;

use crate::json::ReadError;
use crate::neutral::{ChatAnswer, ChatDialect};
use crate::openai::responses::ResponseEcho;
use crate::{anthropic, bedrock, cohere, gemini, openai};

/// What an answer needs beside what the provider said.
#[derive(Clone, Debug)]
pub struct AnswerContext<'a> {
    /// The client's dialect.
    pub dialect: ChatDialect,
    /// Now, in Unix seconds.
    pub created: u64,
    /// What the answer repeats of its request.
    pub echo: &'a ResponseEcho,
    /// What it costs, for the dialects that have a place for it.
    pub cost: Option<NanoUsd>,
}

/// Reads a provider's answer. Where its dialect tells no id or model, `id` and `model` stand in.
///
/// # Errors
/// Invalid JSON, or members of the wrong type.
pub fn read_answer(
    dialect: ChatDialect,
    body: &[u8],
    id: &str,
    model: &str,
) -> Result<ChatAnswer, ReadError> {
    let mut answer = match dialect {
        ChatDialect::OpenAiChat => openai::chat::read_answer(body),
        ChatDialect::OpenAiResponses => openai::responses::read_answer(body),
        ChatDialect::Anthropic => anthropic::read_answer(body),
        ChatDialect::Gemini => gemini::read_answer(body),
        ChatDialect::Bedrock => bedrock::read_answer(body),
        ChatDialect::Cohere => cohere::read_answer(body),
    }?;
    if answer.id.is_empty() {
        id.clone_into(&mut answer.id);
    }
    if answer.model.is_empty() {
        model.clone_into(&mut answer.model);
    }
    Ok(answer)
}

/// Writes an answer for a client.
#[must_use]
pub fn write_answer(answer: &ChatAnswer, context: &AnswerContext<'_>) -> Vec<u8> {
    match context.dialect {
        ChatDialect::Anthropic => anthropic::write_answer(answer),
        ChatDialect::Gemini => gemini::write_answer(answer),
        ChatDialect::OpenAiResponses => {
            openai::responses::write_answer(answer, context.echo, context.created, context.cost)
        }
        ChatDialect::OpenAiChat | ChatDialect::Bedrock | ChatDialect::Cohere => {
            openai::chat::write_answer(answer, context.created, context.cost)
        }
    }
}
