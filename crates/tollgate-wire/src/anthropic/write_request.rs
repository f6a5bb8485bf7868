//! Requests from the neutral types.

use super::write_blocks::{write_block, write_cache_mark};
use crate::json::JsonWriter;
use crate::neutral::writing::{
    Tools, asked_of, is_advice, leave_out, results_first, system_parts, tools, turns,
    write_temperature_up_to_one,
};
use crate::neutral::{
    ChatDialect, ChatRequest, Effort, Feature, Fidelity, FunctionTool, OutputFormat, Part, PartKind,
    Sampling, ToolChoice, Unsupported,
};

const DIALECT: ChatDialect = ChatDialect::Anthropic;
/// What nothing here stands for.
const LACKING: &[Feature] = &[
    Feature::AudioOutput,
    Feature::ImageOutput,
    Feature::Store,
    Feature::Penalties,
    Feature::Seed,
    Feature::N,
    Feature::Logprobs,
    Feature::LogitBias,
];
/// The least budget that Anthropic takes for thinking, in tokens.
const MIN_THINKING_TOKENS: u64 = 1_024;

/// What differs between requests to the dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnthropicTarget<'a> {
    /// The model as the provider names it; `None` where it stands in the path (Vertex).
    pub model: Option<&'a str>,
    /// The cap on the answer's tokens, which must be written here.
    pub output_cap: u64,
    /// Whether the model takes `output_config.effort`; else effort becomes a budget.
    pub has_effort: bool,
}

/// Writes a request's body.
///
/// # Errors
/// The request has something that the dialect lacks, and nothing may be dropped.
pub fn write_request(
    request: &ChatRequest,
    target: &AnthropicTarget<'_>,
    fidelity: &mut Fidelity,
) -> Result<Vec<u8>, Unsupported> {
    JsonWriter::try_document(1024, |writer| write_members(writer, request, target, fidelity))
}

fn write_members(
    writer: &mut JsonWriter,
    request: &ChatRequest,
    target: &AnthropicTarget<'_>,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    writer.member_string_if("model", target.model);
    writer.member_count("max_tokens", target.output_cap);
    write_system(writer, request, fidelity)?;
    write_messages(writer, request, fidelity)?;
    write_tools(writer, request, fidelity)?;
    write_sampling(writer, &request.sampling, fidelity);
    write_thinking(writer, request, target, fidelity);
    write_output(writer, request, target, fidelity)?;
    if let Some(user) = &request.end_user {
        writer.member_object("metadata", |writer| writer.member_string("user_id", user));
    }
    write_tier(writer, request, fidelity)?;
    refuse_others(request, fidelity)?;
    if request.stream {
        writer.member_flag("stream", true);
    }
    if request.dialect == DIALECT {
        writer.rest(&request.rest);
    } else if let Some((name, _)) = request.rest.iter().find(|(name, _)| !is_advice(name)) {
        fidelity.lacks_named(DIALECT, Feature::UnknownMembers, Some(format!("`{name}`")))?;
    }
    Ok(())
}

// === messages ===

fn write_system(
    writer: &mut JsonWriter,
    request: &ChatRequest,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    let parts = system_parts(request, fidelity);
    match parts.as_slice() {
        [] => {}
        [Part { kind: PartKind::Text { text, .. }, cache: None, .. }] => writer.member_string("system", text),
        _ => {
            writer.member_array("system", |writer| {
                parts.iter().try_for_each(|part| write_block(writer, part, fidelity))
            })?;
        }
    }
    Ok(())
}

/// Turns alternate here, and tools' answers stand first in the user's: neighbours of a side become one.
fn write_messages(
    writer: &mut JsonWriter,
    request: &ChatRequest,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    let turns = turns(request, fidelity);
    writer.member_array("messages", |writer| {
        turns.iter().try_for_each(|(is_assistant, parts)| write_turn(writer, *is_assistant, parts, fidelity))
    })
}

fn write_turn(
    writer: &mut JsonWriter,
    is_assistant: bool,
    parts: &[&Part],
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    writer.object(|writer| {
        writer.member_string("role", if is_assistant { "assistant" } else { "user" });
        if let [Part { kind: PartKind::Text { text, .. }, cache: None, .. }] = parts {
            writer.member_string("content", text);
            return Ok(());
        }
        writer.member_array("content", |writer| {
            results_first(parts).iter().try_for_each(|part| write_block(writer, part, fidelity))
        })
    })
}

// === tools ===

fn write_tools(
    writer: &mut JsonWriter,
    request: &ChatRequest,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    let Tools { functions, own, .. } = tools(request, DIALECT, fidelity)?;
    if functions.is_empty() && own.is_empty() {
        return Ok(());
    }
    writer.member_array("tools", |writer| {
        functions.iter().for_each(|function| write_function(writer, function));
        own.iter().for_each(|raw| writer.raw(raw));
    });
    write_choice(writer, request);
    Ok(())
}

fn write_function(writer: &mut JsonWriter, function: &FunctionTool) {
    writer.object(|writer| {
        writer.member_string("name", &function.name);
        writer.member_string_if("description", function.description.as_deref());
        match &function.parameters {
            Some(parameters) => writer.member_raw("input_schema", parameters),
            None => writer.member_object("input_schema", |writer| writer.member_string("type", "object")),
        }
        writer.member_flag_if("strict", function.strict);
        write_cache_mark(writer, function.cache.as_ref());
    });
}

fn write_choice(writer: &mut JsonWriter, request: &ChatRequest) {
    let is_single = request.parallel_tool_calls == Some(false);
    if request.tool_choice.is_none() && !is_single {
        return;
    }
    writer.member_object("tool_choice", |writer| {
        let kind = match &request.tool_choice {
            None | Some(ToolChoice::Auto) => "auto",
            Some(ToolChoice::None) => "none",
            Some(ToolChoice::Required) => "any",
            Some(ToolChoice::Named(_)) => "tool",
        };
        writer.member_string("type", kind);
        if let Some(ToolChoice::Named(name)) = &request.tool_choice {
            writer.member_string("name", name);
        }
        if kind != "none"
            && let Some(is_parallel) = request.parallel_tool_calls
        {
            writer.member_flag("disable_parallel_tool_use", !is_parallel);
        }
    });
}

// === the rest ===

fn write_sampling(writer: &mut JsonWriter, sampling: &Sampling, fidelity: &mut Fidelity) {
    write_temperature_up_to_one(writer, sampling, fidelity);
    writer.member_raw_if("top_p", sampling.top_p.as_ref());
    writer.member_raw_if("top_k", sampling.top_k.as_ref());
    if !sampling.stop.is_empty() {
        writer.member_array("stop_sequences", |writer| {
            sampling.stop.iter().for_each(|stop| writer.string(stop));
        });
    }
}

fn write_thinking(
    writer: &mut JsonWriter,
    request: &ChatRequest,
    target: &AnthropicTarget<'_>,
    fidelity: &mut Fidelity,
) {
    let Some(reasoning) = &request.reasoning else { return };
    if reasoning.is_adaptive {
        writer.member_object("thinking", |writer| writer.member_string("type", "adaptive"));
        return;
    }
    if reasoning.effort == Some(Effort::None) || reasoning.budget_tokens == Some(0) {
        writer.member_object("thinking", |writer| writer.member_string("type", "disabled"));
        return;
    }
    let from_effort = if target.has_effort { None } else { reasoning.effort.map(Effort::budget_tokens) };
    if reasoning.budget_tokens.is_none() && from_effort.is_some() {
        fidelity.approximates(Feature::ReasoningEffort, "an effort becomes a budget of tokens");
    }
    let Some(budget) = reasoning.budget_tokens.or(from_effort) else { return };
    if target.output_cap <= MIN_THINKING_TOKENS {
        fidelity.approximates(Feature::ReasoningEffort, "no reasoning where the answer's cap leaves no room");
        return;
    }
    let budget = budget.clamp(MIN_THINKING_TOKENS, target.output_cap - 1);
    writer.member_object("thinking", |writer| {
        writer.member_string("type", "enabled");
        writer.member_count("budget_tokens", budget);
    });
}

fn write_output(
    writer: &mut JsonWriter,
    request: &ChatRequest,
    target: &AnthropicTarget<'_>,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    let schema = match &request.format {
        Some(OutputFormat::JsonObject) => {
            fidelity.lacks(DIALECT, Feature::JsonObject)?;
            None
        }
        Some(OutputFormat::JsonSchema { schema, .. }) => Some(schema),
        Some(OutputFormat::Text) | None => None,
    };
    let effort = request.reasoning.as_ref().and_then(|reasoning| reasoning.effort);
    let effort = effort.filter(|effort| target.has_effort && *effort != Effort::None);
    if schema.is_none() && effort.is_none() {
        return Ok(());
    }
    writer.member_object("output_config", |writer| {
        if let Some(effort) = effort {
            let name = match effort {
                Effort::None | Effort::Minimal | Effort::Low => "low",
                Effort::Medium => "medium",
                Effort::High => "high",
                Effort::Max => "max",
            };
            writer.member_string("effort", name);
        }
        if let Some(schema) = schema {
            writer.member_object("format", |writer| {
                writer.member_string("type", "json_schema");
                writer.member_raw("schema", schema);
            });
        }
    });
    Ok(())
}

fn write_tier(
    writer: &mut JsonWriter,
    request: &ChatRequest,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    match request.service_tier.as_deref() {
        Some("auto") => writer.member_string("service_tier", "auto"),
        Some("default") => writer.member_string("service_tier", "standard_only"),
        None => {}
        Some(_) => fidelity.lacks(DIALECT, Feature::ServiceTier)?,
    }
    Ok(())
}

/// What has no place here at all.
fn refuse_others(request: &ChatRequest, fidelity: &mut Fidelity) -> Result<(), Unsupported> {
    fidelity.lacks_asked(DIALECT, asked_of(request), LACKING)?;
    leave_out(request, &[Feature::Metadata, Feature::Verbosity], fidelity);
    Ok(())
}
