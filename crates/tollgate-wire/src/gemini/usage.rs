//! `usageMetadata`, into disjoint classes: cached tokens stand inside the prompt, thoughts beside the
//! candidates, tokens of the vendor's tools beside the prompt.

use tollgate_domain::{Meter, Usage};

use crate::json::{FieldError, JsonWriter, Node};

/// A count beyond this is nonsense, whatever the model.
const MAX_PLAUSIBLE_TOKENS: u64 = crate::openai::usage::MAX_PLAUSIBLE_TOKENS;

/// The counts of a `usageMetadata` object; `None` where it has none, or they make no sense.
#[must_use]
pub fn read_usage(node: &Node<'_>) -> Option<Usage> {
    counts(node).ok().flatten()
}

fn counts(node: &Node<'_>) -> Result<Option<Usage>, FieldError> {
    let mut members = node.object()?;
    let mut count =
        |camel: &str, snake: &str| members.take_either(camel, snake).map(|node| node.count()).transpose();
    let prompt = count("promptTokenCount", "prompt_token_count")?;
    let candidates = count("candidatesTokenCount", "candidates_token_count")?;
    let total = count("totalTokenCount", "total_token_count")?;
    let cached = count("cachedContentTokenCount", "cached_content_token_count")?.unwrap_or(0);
    let thoughts = count("thoughtsTokenCount", "thoughts_token_count")?.unwrap_or(0);
    let by_tools = count("toolUsePromptTokenCount", "tool_use_prompt_token_count")?.unwrap_or(0);
    let (Some(prompt), candidates) = (prompt, candidates.unwrap_or(0)) else { return Ok(None) };
    let audio_in = modality(members.take_either("promptTokensDetails", "prompt_tokens_details"), "AUDIO")?;
    let cached_audio = modality(members.take_either("cacheTokensDetails", "cache_tokens_details"), "AUDIO")?;
    let details = members.take_either("candidatesTokensDetails", "candidates_tokens_details");
    let (audio_out, image_out) = (modality(details.clone(), "AUDIO")?, modality(details, "IMAGE")?);
    // where a part is larger than what it is counted in, the whole is not believed apart
    let plain =
        |whole: u64, part: u64, more: u64| whole.checked_sub(part).and_then(|rest| rest.checked_sub(more));
    let audio_in = audio_in.saturating_sub(cached_audio);
    let Some(input) = plain(prompt, cached, audio_in) else { return Ok(None) };
    let Some(output) = plain(candidates, audio_out, image_out) else { return Ok(None) };
    let usage = Usage::ZERO
        .with(Meter::Input, input.saturating_add(by_tools))
        .with(Meter::CachedInput, cached)
        .with(Meter::InputAudio, audio_in)
        .with(Meter::Output, output)
        .with(Meter::OutputAudio, audio_out)
        .with(Meter::OutputImage, image_out);
    // what only the total knows was thought
    let told = usage.total_tokens().saturating_add(thoughts);
    let unseen = total.unwrap_or(0).saturating_sub(told);
    let usage = usage.with(Meter::Reasoning, thoughts.saturating_add(unseen));
    Ok((usage.total_tokens() <= MAX_PLAUSIBLE_TOKENS).then_some(usage))
}

/// Tokens of one modality in `[{"modality": "AUDIO", "tokenCount": 5}]`.
fn modality(details: Option<Node<'_>>, wanted: &str) -> Result<u64, FieldError> {
    let Some(details) = details else { return Ok(0) };
    let mut n_tokens = 0_u64;
    for node in details.array()? {
        let mut members = node.object()?;
        if members.string("modality")?.as_deref() == Some(wanted) {
            let count = members.take_either("tokenCount", "token_count");
            n_tokens = n_tokens.saturating_add(count.map(|node| node.count()).transpose()?.unwrap_or(0));
        }
    }
    Ok(n_tokens)
}

/// The `usageMetadata` member.
pub(super) fn write_usage(writer: &mut JsonWriter, usage: &Usage) {
    let thoughts = usage.get(Meter::Reasoning);
    writer.member_object("usageMetadata", |writer| {
        writer.member_count("promptTokenCount", usage.input_tokens());
        writer.member_count("candidatesTokenCount", usage.output_tokens().saturating_sub(thoughts));
        writer.member_count("totalTokenCount", usage.total_tokens());
        let some = |count: u64| Some(count).filter(|count| *count > 0);
        writer.member_count_if("cachedContentTokenCount", some(usage.get(Meter::CachedInput)));
        writer.member_count_if("thoughtsTokenCount", some(thoughts));
    });
}
