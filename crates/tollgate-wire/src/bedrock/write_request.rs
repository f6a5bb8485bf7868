//! Requests from the neutral types.

use super::write_blocks::{write_block, write_cache_point};
use crate::json::JsonWriter;
use crate::neutral::writing::{
    Tools, asked_of, leave_out, refuse_unknown_members, results_first, system_parts, tools, turns,
    write_temperature_up_to_one,
};
use crate::neutral::{
    ChatDialect, ChatRequest, Effort, Feature, Fidelity, FunctionTool, OutputFormat, Part, ToolChoice,
    Unsupported,
};

const DIALECT: ChatDialect = ChatDialect::Bedrock;
/// What nothing here stands for.
const LACKING: &[Feature] = &[
    Feature::JsonObject,
    Feature::AudioOutput,
    Feature::ImageOutput,
    Feature::Store,
    Feature::ServiceTier,
    Feature::Penalties,
    Feature::Seed,
    Feature::N,
    Feature::Logprobs,
    Feature::LogitBias,
];
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
    write_format(writer, request);
    write_additional(writer, request, target, fidelity)?;
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
        write_temperature_up_to_one(writer, sampling, fidelity);
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
    let Tools { functions, .. } = tools(request, DIALECT, fidelity)?;
    if functions.is_empty() {
        return Ok(());
    }
    if request.tool_choice == Some(ToolChoice::None) {
        // the dialect cannot forbid: without tools there is nothing to ask for, unless history refers to them
        fidelity.lacks(DIALECT, Feature::ToolChoice)?;
    }
    if request.parallel_tool_calls == Some(false) {
        fidelity.cannot_forbid_parallel_calls(DIALECT, request)?;
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
            if function.strict == Some(true) {
                writer.member_flag("strict", true);
            }
        });
    });
    if function.cache.is_some() {
        write_cache_point(writer);
    }
}

/// The schema that the answer follows: as JSON in a string, which is how Converse takes it.
fn write_format(writer: &mut JsonWriter, request: &ChatRequest) {
    let Some(OutputFormat::JsonSchema { name, description, schema, .. }) = &request.format else { return };
    writer.member_object("outputConfig", |writer| {
        writer.member_object("textFormat", |writer| {
            writer.member_string("type", "json_schema");
            writer.member_object("structure", |writer| {
                writer.member_object("jsonSchema", |writer| {
                    writer.member_string_if("name", name.as_deref());
                    writer.member_string_if("description", description.as_deref());
                    writer.member_string("schema", schema.text());
                });
            });
        });
    });
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

/// What has no place here at all.
fn refuse_others(request: &ChatRequest, fidelity: &mut Fidelity) -> Result<(), Unsupported> {
    fidelity.lacks_asked(DIALECT, asked_of(request), LACKING)?;
    refuse_unknown_members(request, DIALECT, fidelity)?;
    leave_out(request, &[Feature::Metadata, Feature::Verbosity, Feature::EndUser], fidelity);
    Ok(())
}
