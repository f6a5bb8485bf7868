//! What dialects have no place for and leave out without harm: told in one place, for every dialect alike.

use super::{ChatDialect, ChatRequest, Feature, Fidelity, Media, Message, Part, PartKind};

/// Notes what writing `request` for `target` leaves out or bends, where no writer meets it.
pub(crate) fn note_losses(request: &ChatRequest, target: ChatDialect, fidelity: &mut Fidelity) {
    for message in &request.messages {
        for part in &message.parts {
            note_part(message, part, target, fidelity);
        }
    }
    let is_openai = |dialect| matches!(dialect, ChatDialect::OpenAiChat | ChatDialect::OpenAiResponses);
    if request.reasoning.as_ref().is_some_and(|reasoning| reasoning.is_adaptive)
        && !matches!(target, ChatDialect::Anthropic | ChatDialect::Gemini)
    {
        fidelity.approximates(Feature::ReasoningEffort, "the model's own choice becomes its default effort");
    }
    if !is_openai(target) && request.rest.iter().any(|(name, _)| super::writing::is_advice(name)) {
        fidelity.approximates(
            Feature::UnknownMembers,
            "advice for the vendor's own caches and safety systems is left out",
        );
    }
}

fn note_part(message: &Message, part: &Part, target: ChatDialect, fidelity: &mut Fidelity) {
    let is_openai = matches!(target, ChatDialect::OpenAiChat | ChatDialect::OpenAiResponses);
    if part.cache.is_some() && target == ChatDialect::OpenAiChat {
        fidelity.approximates(Feature::CacheControl, "left out: prompts are cached without marks there");
    }
    match &part.kind {
        PartKind::Image { detail: Some(_), .. } if !is_openai && target != ChatDialect::Cohere => {
            fidelity.approximates(Feature::ImageDetail, "the level of detail is the model's own");
        }
        PartKind::File { source: Media::FileId(_), .. } => {
            fidelity.approximates(Feature::FileId, "the id is taken to be the provider's own");
        }
        PartKind::File { name: Some(_), .. } if target == ChatDialect::Gemini => {
            fidelity.approximates(Feature::FileInput, "names of files are left out");
        }
        PartKind::ToolCall(call) if call.signature.is_some() && !keeps_call_signatures(target) => {
            fidelity.approximates(Feature::ThinkingBlocks, "what proves a call to Google is left out");
        }
        PartKind::ToolResult(result) if result.is_error && (is_openai || target == ChatDialect::Cohere) => {
            fidelity.approximates(Feature::FailedToolResult, "that a tool failed is told by its words only");
        }
        PartKind::Refusal { .. } if !is_openai && message.role == super::Role::Assistant => {
            fidelity.approximates(Feature::Refusals, "refusals of earlier turns become text");
        }
        _ => {}
    }
}

/// Whether a call keeps what proves it to Google.
const fn keeps_call_signatures(target: ChatDialect) -> bool {
    matches!(target, ChatDialect::OpenAiChat | ChatDialect::Gemini)
}
