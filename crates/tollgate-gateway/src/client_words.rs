//! What a refusal calls things: by the names of the client's own dialect, whatever the request has become on its way.

use tollgate_domain::ErrorKind;
use tollgate_wire::neutral::{ChatDialect, Feature, Unsupported};

use crate::error::Refusal;

/// A feature in words, and the member that asks for it in each client's dialect: Chat Completions, Responses, Messages,
/// generateContent.
type Words = (Feature, &'static str, [&'static str; 4]);

/// Where a dialect has no member of its own for it, the one that it would stand in.
const FEATURES: &[Words] = &[
    (Feature::SystemPrompt, "a system prompt", ["messages", "instructions", "system", "systemInstruction"]),
    (Feature::SystemBetweenTurns, "a system prompt between turns", TURNS),
    (Feature::ImageUrl, "a picture by address", TURNS),
    (Feature::ImageInline, "a picture", TURNS),
    (Feature::ImageDetail, "a picture's level of detail", TURNS),
    (Feature::AudioInput, "sound", TURNS),
    (Feature::VideoInput, "a film", TURNS),
    (Feature::FileInput, "a document", TURNS),
    (Feature::FileId, "a file that was uploaded before", TURNS),
    (Feature::Tools, "tools", ["tools"; 4]),
    (Feature::StrictTools, "a tool with a strict schema", ["tools"; 4]),
    (Feature::CustomTools, "a custom tool", ["tools"; 4]),
    (Feature::VendorTools, "a tool that the vendor runs", ["tools"; 4]),
    (Feature::ToolChoice, "a choice of tools", ["tool_choice", "tool_choice", "tool_choice", "toolConfig"]),
    (
        Feature::ParallelToolCalls,
        "one call of a tool at a time",
        ["parallel_tool_calls", "parallel_tool_calls", "tool_choice.disable_parallel_tool_use", "toolConfig"],
    ),
    (Feature::ToolResultMedia, "a picture or document in a tool's result", TURNS),
    (Feature::FailedToolResult, "a tool's result that is an error", TURNS),
    (Feature::Refusals, "a refusal of an earlier turn", TURNS),
    (Feature::JsonObject, "an answer that is a JSON object", FORMAT),
    (Feature::JsonSchema, "an answer that follows a schema", FORMAT),
    (Feature::Stop, "stop sequences", ["stop", "stop", "stop_sequences", "generationConfig.stopSequences"]),
    (
        Feature::Temperature,
        "a temperature",
        ["temperature", "temperature", "temperature", "generationConfig.temperature"],
    ),
    (Feature::TopP, "nucleus sampling", ["top_p", "top_p", "top_p", "generationConfig.topP"]),
    (
        Feature::TopK,
        "sampling from the likeliest tokens",
        ["top_k", "top_k", "top_k", "generationConfig.topK"],
    ),
    (
        Feature::Penalties,
        "penalties",
        ["frequency_penalty", "frequency_penalty", "frequency_penalty", "generationConfig.frequencyPenalty"],
    ),
    (Feature::Seed, "a seed", ["seed", "seed", "seed", "generationConfig.seed"]),
    (Feature::N, "several answers", ["n", "n", "n", "generationConfig.candidateCount"]),
    (
        Feature::Logprobs,
        "log probabilities",
        ["logprobs", "top_logprobs", "logprobs", "generationConfig.responseLogprobs"],
    ),
    (Feature::LogitBias, "a bias per token", ["logit_bias"; 4]),
    (
        Feature::ReasoningEffort,
        "reasoning",
        ["reasoning_effort", "reasoning.effort", "thinking", "generationConfig.thinkingConfig"],
    ),
    (Feature::ThinkingBlocks, "reasoning of earlier turns", TURNS),
    (Feature::CacheControl, "a mark for the prompt cache", TURNS),
    (Feature::Citations, "citations", TURNS),
    (
        Feature::AudioOutput,
        "a spoken answer",
        ["modalities", "modalities", "messages", "generationConfig.responseModalities"],
    ),
    (
        Feature::ImageOutput,
        "pictures in the answer",
        ["modalities", "modalities", "messages", "generationConfig.responseModalities"],
    ),
    (Feature::Verbosity, "how long answers are", ["verbosity", "text.verbosity", "verbosity", "verbosity"]),
    (Feature::Metadata, "marks of the client", ["metadata", "metadata", "metadata", "labels"]),
    (
        Feature::ServiceTier,
        "a class of service",
        ["service_tier", "service_tier", "service_tier", "serviceTier"],
    ),
    (Feature::Names, "names of speakers", TURNS),
    (Feature::EndUser, "the end user", ["user", "user", "metadata.user_id", "user"]),
    (Feature::Store, "keeping the answer", ["store"; 4]),
    (Feature::UnknownContent, "a part of a kind that only its vendor knows", TURNS),
];

/// Where turns stand.
const TURNS: [&str; 4] = ["messages", "input", "messages", "contents"];
/// Where the shape of an answer is asked for.
const FORMAT: [&str; 4] =
    ["response_format", "text.format", "output_config.format", "generationConfig.responseMimeType"];

/// Members of Chat Completions that refusals name, in the other clients' dialects: Responses, Messages, generateContent.
const MEMBERS: &[(&str, [&str; 3])] = &[
    ("messages", ["input", "messages", "contents"]),
    ("max_completion_tokens", ["max_output_tokens", "max_tokens", "generationConfig.maxOutputTokens"]),
    ("max_tokens", ["max_output_tokens", "max_tokens", "generationConfig.maxOutputTokens"]),
    ("response_format", ["text.format", "output_config.format", "generationConfig.responseMimeType"]),
    ("reasoning_effort", ["reasoning.effort", "thinking", "generationConfig.thinkingConfig"]),
    ("service_tier", ["service_tier", "service_tier", "serviceTier"]),
    ("user", ["user", "metadata.user_id", "user"]),
    ("stop", ["stop", "stop_sequences", "generationConfig.stopSequences"]),
    ("n", ["n", "n", "generationConfig.candidateCount"]),
];

/// The place of a client's dialect in a row of four.
const fn place(client: ChatDialect) -> usize {
    match client {
        ChatDialect::OpenAiResponses => 1,
        ChatDialect::Anthropic => 2,
        ChatDialect::Gemini => 3,
        ChatDialect::OpenAiChat | ChatDialect::Bedrock | ChatDialect::Cohere => 0,
    }
}

/// The refusal of what a provider's dialect cannot say, named as its client wrote it.
pub(crate) fn unsupported(client: ChatDialect, lacks: &Unsupported) -> Refusal {
    let words = FEATURES.iter().find(|(feature, ..)| *feature == lacks.feature);
    let member = words.map(|(_, _, members)| members[place(client)]);
    let message = match (&lacks.what, words) {
        (None, Some((_, what, members))) => {
            let (member, target) = (members[place(client)], lacks.target.name());
            format!("{what} (`{member}`) is not supported by {target}: leave it out, or use another model")
        }
        _ => lacks.to_string(),
    };
    // a member that nobody knows is named by itself
    let own = lacks.what.as_deref().and_then(|what| what.strip_prefix('`')?.strip_suffix('`'));
    let refusal = Refusal::new(ErrorKind::InvalidRequest, message);
    match own.filter(|_| lacks.feature == Feature::UnknownMembers).or(member) {
        Some(member) => refusal.with_param(member),
        None => refusal,
    }
}

/// The refusal with the client's own names in it.
pub(crate) fn in_words_of(client: ChatDialect, mut refusal: Refusal) -> Refusal {
    let Some(place) = place(client).checked_sub(1) else { return refusal };
    if refusal.upstream.is_some() {
        return refusal;
    }
    for (chat, others) in MEMBERS {
        let own = others[place];
        if *chat == own {
            continue;
        }
        let rest = refusal.param.as_deref().and_then(|param| param.strip_prefix(chat));
        if let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with(['.', '['])) {
            refusal.param = Some(format!("{own}{rest}"));
        }
        refusal.message = refusal.message.replace(&format!("`{chat}`"), &format!("`{own}`"));
        if chat.len() > "user".len() {
            refusal.message = refusal.message.replace(&format!("with {chat}"), &format!("with {own}"));
        }
    }
    refusal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_has_its_words() {
        for feature in Feature::ALL {
            let n_rows = FEATURES.iter().filter(|(known, ..)| *known == feature).count();
            // members that nobody knows have their own names
            assert_eq!(n_rows, usize::from(feature != Feature::UnknownMembers), "{feature:?}");
        }
    }

    #[test]
    fn what_is_lacking_is_named_as_the_client_wrote_it() {
        let lacks = |feature, what: Option<&str>| Unsupported {
            feature,
            target: ChatDialect::Cohere,
            what: what.map(str::to_owned),
        };
        let media = lacks(Feature::ToolResultMedia, None);
        let unknown = lacks(Feature::UnknownMembers, Some("`safetySettings`"));
        let tool = lacks(Feature::VendorTools, Some("a tool of type `googleSearch`"));
        let cases = [
            (
                &media,
                ChatDialect::Anthropic,
                "a picture or document in a tool's result (`messages`) is",
                "messages",
            ),
            (
                &media,
                ChatDialect::Gemini,
                "a picture or document in a tool's result (`contents`) is",
                "contents",
            ),
            (&media, ChatDialect::OpenAiResponses, "a tool's result (`input`) is", "input"),
            (&unknown, ChatDialect::Gemini, "`safetySettings` is not supported", "safetySettings"),
            (&tool, ChatDialect::Gemini, "a tool of type `googleSearch` is not supported", "tools"),
        ];
        for (lacks, client, message, param) in cases {
            let refusal = unsupported(client, lacks);
            assert!(refusal.message.contains(message), "{}", refusal.message);
            assert_eq!(refusal.param.as_deref(), Some(param), "{}", refusal.message);
        }
    }

    #[test]
    fn openais_names_become_the_clients() {
        let refusal =
            |message: &str, param: &str| Refusal::new(ErrorKind::InvalidRequest, message).with_param(param);
        let less = || refusal("ask for less with max_tokens, or `max_completion_tokens`", "max_tokens");
        let cases = [
            (
                ChatDialect::OpenAiChat,
                "ask for less with max_tokens, or `max_completion_tokens`",
                "max_tokens",
            ),
            (ChatDialect::Anthropic, "ask for less with max_tokens, or `max_tokens`", "max_tokens"),
            (
                ChatDialect::OpenAiResponses,
                "ask for less with max_output_tokens, or `max_output_tokens`",
                "max_output_tokens",
            ),
            (
                ChatDialect::Gemini,
                "ask for less with generationConfig.maxOutputTokens, or `generationConfig.maxOutputTokens`",
                "generationConfig.maxOutputTokens",
            ),
        ];
        for (client, message, param) in cases {
            let told = in_words_of(client, less());
            assert_eq!((told.message.as_str(), told.param.as_deref()), (message, Some(param)), "{client:?}");
        }
        let inside = in_words_of(ChatDialect::Gemini, refusal("`messages` must be …", "messages[0].content"));
        assert_eq!(inside.param.as_deref(), Some("contents[0].content"));
        let other = in_words_of(ChatDialect::Gemini, refusal("no", "messages_of_mine"));
        assert_eq!(other.param.as_deref(), Some("messages_of_mine"));
    }
}
