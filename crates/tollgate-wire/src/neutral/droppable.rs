//! What may be left out of a request whose target lacks it, where the operator set `drop_unsupported: true`: the one
//! table, for translations and for vendors' quirks alike.
//!
//! What advises how to choose among likely words, or marks a request, may go: the answer is another draw of the same.
//! What changes what is said, what it costs, who keeps it or which shape it comes in may not: content, tools,
//! structured output, several answers, tiers, reasoning, storage and whatever is unknown stay refused.

use super::Feature;

/// Features that may go, each with the members of Chat Completions that ask for it.
const DROPPABLE: &[(Feature, &[&str])] = &[
    (Feature::Temperature, &["temperature"]),
    (Feature::TopP, &["top_p"]),
    (Feature::TopK, &["top_k"]),
    (Feature::Penalties, &["frequency_penalty", "presence_penalty"]),
    (Feature::Seed, &["seed"]),
    (Feature::Stop, &["stop"]),
    (Feature::Logprobs, &["logprobs", "top_logprobs"]),
    (Feature::LogitBias, &["logit_bias"]),
    (Feature::Names, &["name"]),
    (Feature::ImageDetail, &["detail"]),
    (Feature::Verbosity, &["verbosity"]),
    (Feature::Metadata, &["metadata"]),
    (Feature::EndUser, &["user"]),
];

impl Feature {
    /// Whether it may be left out where the operator allows it.
    #[must_use]
    pub fn is_droppable(self) -> bool {
        DROPPABLE.iter().any(|(feature, _)| *feature == self)
    }

    /// Whether a member of Chat Completions may be left out where the operator allows it.
    #[must_use]
    pub fn is_droppable_member(name: &str) -> bool {
        DROPPABLE.iter().any(|(_, members)| members.contains(&name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_tools_money_and_shape_are_never_dropped() {
        for feature in [
            Feature::SystemPrompt,
            Feature::ImageUrl,
            Feature::ImageInline,
            Feature::AudioInput,
            Feature::VideoInput,
            Feature::FileInput,
            Feature::FileId,
            Feature::Tools,
            Feature::CustomTools,
            Feature::VendorTools,
            Feature::ToolChoice,
            Feature::ParallelToolCalls,
            Feature::ToolResultMedia,
            Feature::JsonObject,
            Feature::JsonSchema,
            Feature::N,
            Feature::ReasoningEffort,
            Feature::ThinkingBlocks,
            Feature::AudioOutput,
            Feature::ImageOutput,
            Feature::ServiceTier,
            Feature::Store,
            Feature::UnknownContent,
            Feature::UnknownMembers,
        ] {
            assert!(!feature.is_droppable(), "{}", feature.name());
        }
        for member in
            ["n", "tools", "response_format", "service_tier", "store", "reasoning_effort", "messages"]
        {
            assert!(!Feature::is_droppable_member(member), "{member}");
        }
        assert!(Feature::is_droppable_member("seed") && Feature::Seed.is_droppable());
    }
}
