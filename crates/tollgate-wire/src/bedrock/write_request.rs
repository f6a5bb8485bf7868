//! Requests from the neutral types.

use super::write_blocks::{write_block, write_cache_point};
use crate::json::{JsonWriter, RawJson};
use crate::neutral::writing::{is_above_one, is_advice, is_nothing, results_first, system_parts, turns};
use crate::neutral::{
    ChatDialect, ChatRequest, Effort, Feature, Fidelity, FunctionTool, OutputFormat, Part, Sampling, Tool,
    ToolChoice, Unsupported,
};

const DIALECT: ChatDialect = ChatDialect::Bedrock;
/// The least budget that Anthropic's models take for thinking, in tokens.
const MIN_THINKING_TOKENS: u64 = 1_024;

/// What differs between requests to the dialect; the model stands in the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BedrockTarget {
    /// The cap on the answer's tokens that was paid for; `None` where none is to be written.
    pub output_cap: Option<u64>,
    /// Whether it is one of Anthropic's models, which think by a budget.
    pub is_anthropic: bool,
}

/// Writes a request's body.
///
/// # Errors
/// The request has something that the dialect lacks, and nothing may be dropped.
pub fn write_request(
    request: &ChatRequest,
    target: &BedrockTarget,
    fidelity: &mut Fidelity,
) -> Result<Vec<u8>, Unsupported> {
    JsonWriter::try_document(1024, |writer| write_members(writer, request, target, fidelity))
}

fn write_members(
    writer: &mut JsonWriter,
    request: &ChatRequest,
    target: &BedrockTarget,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    write_system(writer, request, fidelity)?;
    write_turns(writer, request, fidelity)?;
    write_inference(writer, request, target, fidelity);
    write_tools(writer, request, fidelity)?;
    write_additional(writer, request, target, fidelity)?;
    refuse_sampling(&request.sampling, fidelity)?;
    refuse_others(request, fidelity)
}

// === turns ===

fn write_system(
    writer: &mut JsonWriter,
    request: &ChatRequest,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    let parts = system_parts(request, fidelity);
    if parts.is_empty() {
        return Ok(());
    }
    write_all(writer, "system", &parts, fidelity)
}

fn write_all(
    writer: &mut JsonWriter,
    name: &str,
    parts: &[&Part],
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    writer.member_array(name, |writer| parts.iter().try_for_each(|part| write_block(writer, part, fidelity)))
}

fn write_turns(
    writer: &mut JsonWriter,
    request: &ChatRequest,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    let turns = turns(request, fidelity);
    writer.member_array("messages", |writer| {
        turns.iter().try_for_each(|(is_assistant, parts)| {
            writer.object(|writer| {
                writer.member_string("role", if *is_assistant { "assistant" } else { "user" });
                write_all(writer, "content", &results_first(parts), fidelity)
            })
        })
    })
}

// === the rest ===

fn write_inference(
    writer: &mut JsonWriter,
    request: &ChatRequest,
    target: &BedrockTarget,
    fidelity: &mut Fidelity,
) {
    let sampling = &request.sampling;
    writer.member_object("inferenceConfig", |writer| {
        writer.member_count_if("maxTokens", target.output_cap.or(request.output_cap));
        match &sampling.temperature {
            Some(temperature) if is_above_one(temperature.text()) => {
                fidelity.approximates(Feature::Temperature, "temperatures above 1 become 1");
                writer.member_count("temperature", 1);
            }
            temperature => writer.member_raw_if("temperature", temperature.as_ref()),
        }
        writer.member_raw_if("topP", sampling.top_p.as_ref());
        if !sampling.stop.is_empty() {
            writer.member_array("stopSequences", |writer| {
                sampling.stop.iter().for_each(|stop| writer.string(stop));
            });
        }
    });
}

fn write_tools(
    writer: &mut JsonWriter,
    request: &ChatRequest,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    let mut functions: Vec<&FunctionTool> = Vec::new();
    for tool in &request.tools {
        match tool {
            Tool::Function(function) => functions.push(function),
            Tool::Foreign { dialect: ChatDialect::OpenAiChat, name, .. } if name == "custom" => {
                fidelity.lacks(DIALECT, Feature::CustomTools)?;
            }
            Tool::Foreign { name, .. } => {
                let what = Some(format!("a tool of type `{name}`"));
                fidelity.lacks_named(DIALECT, Feature::VendorTools, what)?;
            }
        }
    }
    if functions.is_empty() {
        return Ok(());
    }
    if request.tool_choice == Some(ToolChoice::None) {
        // the dialect cannot forbid: without tools there is nothing to ask for, unless history refers to them
        fidelity.lacks(DIALECT, Feature::ToolChoice)?;
    }
    if request.parallel_tool_calls == Some(false) {
        fidelity.lacks(DIALECT, Feature::ParallelToolCalls)?;
    }
    if functions.iter().any(|function| function.strict == Some(true)) {
        fidelity.approximates(Feature::StrictTools, "declarations are followed without a strict mode");
    }
    writer.member_object("toolConfig", |writer| {
        writer.member_array("tools", |writer| {
            functions.iter().for_each(|function| write_function(writer, function));
        });
        match &request.tool_choice {
            Some(ToolChoice::Auto) => writer.member_object("toolChoice", |w| w.member_object("auto", |_| {})),
            Some(ToolChoice::Required) => {
                writer.member_object("toolChoice", |writer| writer.member_object("any", |_| {}));
            }
            Some(ToolChoice::Named(name)) => writer.member_object("toolChoice", |writer| {
                writer.member_object("tool", |writer| writer.member_string("name", name));
            }),
            Some(ToolChoice::None) | None => {}
        }
    });
    Ok(())
}

fn write_function(writer: &mut JsonWriter, function: &FunctionTool) {
    writer.object(|writer| {
        writer.member_object("toolSpec", |writer| {
            writer.member_string("name", &function.name);
            writer.member_string_if("description", function.description.as_deref());
            writer.member_object("inputSchema", |writer| match &function.parameters {
                Some(parameters) => writer.member_raw("json", parameters),
                None => writer.member_object("json", |writer| writer.member_string("type", "object")),
            });
        });
    });
    if function.cache.is_some() {
        write_cache_point(writer);
    }
}

/// What only some models know: their own members, beside the common ones.
fn write_additional(
    writer: &mut JsonWriter,
    request: &ChatRequest,
    target: &BedrockTarget,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    let budget = thinking_budget(request, target, fidelity)?;
    let top_k = request.sampling.top_k.as_ref();
    if top_k.is_some() && !target.is_anthropic {
        return fidelity.lacks(DIALECT, Feature::TopK);
    }
    if budget.is_none() && top_k.is_none() {
        return Ok(());
    }
    writer.member_object("additionalModelRequestFields", |writer| {
        writer.member_raw_if("top_k", top_k);
        if let Some(budget) = budget {
            writer.member_object("thinking", |writer| {
                writer.member_string("type", "enabled");
                writer.member_count("budget_tokens", budget);
            });
        }
    });
    Ok(())
}

fn thinking_budget(
    request: &ChatRequest,
    target: &BedrockTarget,
    fidelity: &mut Fidelity,
) -> Result<Option<u64>, Unsupported> {
    let Some(reasoning) = &request.reasoning else { return Ok(None) };
    if reasoning.effort == Some(Effort::None) || reasoning.budget_tokens == Some(0) {
        return Ok(None);
    }
    if !target.is_anthropic {
        fidelity.lacks(DIALECT, Feature::ReasoningEffort)?;
        return Ok(None);
    }
    if reasoning.budget_tokens.is_none() {
        fidelity.approximates(Feature::ReasoningEffort, "an effort becomes a budget of tokens");
    }
    let wanted = reasoning.budget_tokens.or(reasoning.effort.map(Effort::budget_tokens));
    let cap = target.output_cap.or(request.output_cap).unwrap_or(u64::MAX);
    if cap <= MIN_THINKING_TOKENS {
        fidelity.approximates(Feature::ReasoningEffort, "no reasoning where the answer's cap leaves no room");
        return Ok(None);
    }
    Ok(wanted.map(|wanted| wanted.clamp(MIN_THINKING_TOKENS, cap - 1)))
}

fn refuse_sampling(sampling: &Sampling, fidelity: &mut Fidelity) -> Result<(), Unsupported> {
    let penalties = [&sampling.frequency_penalty, &sampling.presence_penalty];
    let is_set = |penalty: &&Option<RawJson>| penalty.as_ref().is_some_and(|raw| !is_nothing(raw));
    let lacking = [
        (penalties.iter().any(is_set), Feature::Penalties),
        (sampling.seed.is_some(), Feature::Seed),
        (sampling.n.is_some_and(|n| n > 1), Feature::N),
        (sampling.logprobs == Some(true), Feature::Logprobs),
        (sampling.logit_bias.as_ref().is_some_and(|raw| raw.text() != "{}"), Feature::LogitBias),
    ];
    for (is_asked_for, feature) in lacking {
        if is_asked_for {
            fidelity.lacks(DIALECT, feature)?;
        }
    }
    Ok(())
}

/// What has no place here at all.
fn refuse_others(request: &ChatRequest, fidelity: &mut Fidelity) -> Result<(), Unsupported> {
    let is_default = |tier: &str| matches!(tier, "auto" | "default");
    let lacking = [
        (matches!(request.format, Some(OutputFormat::JsonObject)), Feature::JsonObject),
        (matches!(request.format, Some(OutputFormat::JsonSchema { .. })), Feature::JsonSchema),
        (request.modalities.iter().any(|modality| modality != "text"), Feature::AudioOutput),
        (request.store == Some(true), Feature::Store),
        (request.service_tier.as_deref().is_some_and(|tier| !is_default(tier)), Feature::ServiceTier),
    ];
    for (is_asked_for, feature) in lacking {
        if is_asked_for {
            fidelity.lacks(DIALECT, feature)?;
        }
    }
    if let Some((name, _)) = request.rest.iter().find(|(name, _)| !is_advice(name)) {
        fidelity.lacks_named(DIALECT, Feature::UnknownMembers, Some(format!("`{name}`")))?;
    }
    if request.metadata.is_some() {
        fidelity.approximates(Feature::Metadata, "marks for the vendor's own lists are left out");
    }
    if request.verbosity.is_some() {
        fidelity.approximates(Feature::Verbosity, "left out: the prompt decides there");
    }
    if request.end_user.is_some() {
        fidelity.approximates(Feature::EndUser, "known to the gateway only");
    }
    Ok(())
}
