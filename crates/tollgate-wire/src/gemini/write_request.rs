//! Requests from the neutral types.

use super::write_parts::{TurnContext, write_part};
use crate::json::JsonWriter;
use crate::neutral::writing::{
    Tools, asked_of, leave_out, refuse_unknown_members, stops, system_parts, tools, turns,
};
use crate::neutral::{
    ChatDialect, ChatRequest, Effort, Feature, Fidelity, FunctionTool, OutputFormat, Part, PartKind,
    Reasoning, Sampling, ToolChoice, Unsupported,
};

const DIALECT: ChatDialect = ChatDialect::Gemini;
/// What nothing here stands for.
const LACKING: &[Feature] = &[Feature::Store, Feature::ServiceTier, Feature::Logprobs, Feature::LogitBias];
/// Texts that end an answer, at most.
const MOST_STOPS: usize = 5;

/// What differs between requests to the dialect; the model stands in the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeminiTarget {
    /// The cap on the answer's tokens that was paid for; `None` where none is to be written.
    pub output_cap: Option<u64>,
    /// Whether the model takes `thinkingLevel` (Gemini 3); else effort becomes a budget. Such models also
    /// refuse calls of earlier turns without a signature.
    pub has_thinking_level: bool,
}

/// Writes a request's body.
///
/// # Errors
/// The request has something that the dialect lacks, and nothing may be dropped.
pub fn write_request(
    request: &ChatRequest,
    target: &GeminiTarget,
    fidelity: &mut Fidelity,
) -> Result<Vec<u8>, Unsupported> {
    JsonWriter::try_document(1024, |writer| write_members(writer, request, target, fidelity))
}

fn write_members(
    writer: &mut JsonWriter,
    request: &ChatRequest,
    target: &GeminiTarget,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    write_system(writer, request, fidelity)?;
    write_turns(writer, request, target, fidelity)?;
    write_tools(writer, request, fidelity)?;
    writer.member_object("generationConfig", |writer| write_config(writer, request, target, fidelity))?;
    refuse_others(request, fidelity)?;
    if request.dialect == DIALECT {
        writer.rest(&request.rest);
    } else {
        refuse_unknown_members(request, DIALECT, fidelity)?;
    }
    Ok(())
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
    let context = TurnContext { names: &[], needs_signature: false, has_ids: false };
    writer.member_object("systemInstruction", |writer| write_all(writer, &parts, context, fidelity))
}

fn write_all(
    writer: &mut JsonWriter,
    parts: &[&Part],
    mut context: TurnContext<'_>,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    writer.member_array("parts", |writer| {
        parts.iter().try_for_each(|part| {
            write_part(writer, part, &context, fidelity)?;
            // the first call of a turn carries the signature for all of them
            context.needs_signature &= !matches!(part.kind, PartKind::ToolCall(_));
            Ok(())
        })
    })
}

fn write_turns(
    writer: &mut JsonWriter,
    request: &ChatRequest,
    target: &GeminiTarget,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    let turns = turns(request, fidelity);
    let parts = turns.iter().flat_map(|(_, parts)| parts);
    let names: Vec<(String, String)> = parts
        .filter_map(|part| match &part.kind {
            PartKind::ToolCall(call) => Some((call.id.clone(), call.name.clone())),
            _ => None,
        })
        .collect();
    writer.member_array("contents", |writer| {
        turns.iter().try_for_each(|(is_model, parts)| {
            let needs_signature = *is_model && target.has_thinking_level;
            let context = TurnContext { names: &names, needs_signature, has_ids: true };
            writer.object(|writer| {
                writer.member_string("role", if *is_model { "model" } else { "user" });
                write_all(writer, parts, context, fidelity)
            })
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
    if functions.iter().any(|function| function.strict == Some(true)) {
        fidelity.approximates(Feature::StrictTools, "declarations are followed without a strict mode");
    }
    if request.parallel_tool_calls == Some(false) {
        fidelity.cannot_forbid_parallel_calls(DIALECT, request)?;
    }
    writer.member_array("tools", |writer| {
        if !functions.is_empty() {
            writer.object(|writer| {
                writer.member_array("functionDeclarations", |writer| {
                    functions.iter().for_each(|function| write_function(writer, function));
                });
            });
        }
        own.iter().for_each(|raw| writer.raw(raw));
    });
    if let Some(choice) = &request.tool_choice {
        write_choice(writer, choice);
    }
    Ok(())
}

fn write_function(writer: &mut JsonWriter, function: &FunctionTool) {
    writer.object(|writer| {
        writer.member_string("name", &function.name);
        writer.member_string_if("description", function.description.as_deref());
        writer.member_raw_if("parametersJsonSchema", function.parameters.as_ref());
    });
}

fn write_choice(writer: &mut JsonWriter, choice: &ToolChoice) {
    writer.member_object("toolConfig", |writer| {
        writer.member_object("functionCallingConfig", |writer| {
            let mode = match choice {
                ToolChoice::Auto => "AUTO",
                ToolChoice::None => "NONE",
                ToolChoice::Required | ToolChoice::Named(_) => "ANY",
            };
            writer.member_string("mode", mode);
            if let ToolChoice::Named(name) = choice {
                writer.member_array("allowedFunctionNames", |writer| writer.string(name));
            }
        });
    });
}

// === generationConfig ===

fn write_config(
    writer: &mut JsonWriter,
    request: &ChatRequest,
    target: &GeminiTarget,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    writer.member_count_if("maxOutputTokens", target.output_cap.or(request.output_cap));
    write_sampling(writer, &request.sampling, fidelity)?;
    match &request.format {
        Some(OutputFormat::JsonObject) => writer.member_string("responseMimeType", "application/json"),
        Some(OutputFormat::JsonSchema { schema, .. }) => {
            writer.member_string("responseMimeType", "application/json");
            writer.member_raw("responseJsonSchema", schema);
        }
        Some(OutputFormat::Text) | None => {}
    }
    if let Some(reasoning) = &request.reasoning {
        write_thinking(writer, reasoning, target, fidelity);
    }
    if request.modalities.iter().any(|modality| modality != "text") {
        writer.member_array("responseModalities", |writer| {
            request.modalities.iter().for_each(|modality| writer.string(&modality.to_ascii_uppercase()));
        });
    }
    Ok(())
}

fn write_sampling(
    writer: &mut JsonWriter,
    sampling: &Sampling,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    writer.member_raw_if("temperature", sampling.temperature.as_ref());
    writer.member_raw_if("topP", sampling.top_p.as_ref());
    writer.member_raw_if("topK", sampling.top_k.as_ref());
    writer.member_raw_if("frequencyPenalty", sampling.frequency_penalty.as_ref());
    writer.member_raw_if("presencePenalty", sampling.presence_penalty.as_ref());
    writer.member_raw_if("seed", sampling.seed.as_ref());
    writer.member_count_if("candidateCount", sampling.n);
    let stops = stops(sampling, DIALECT, MOST_STOPS, fidelity)?;
    if !stops.is_empty() {
        writer.member_array("stopSequences", |writer| stops.iter().for_each(|stop| writer.string(stop)));
    }
    Ok(())
}

fn write_thinking(
    writer: &mut JsonWriter,
    reasoning: &Reasoning,
    target: &GeminiTarget,
    fidelity: &mut Fidelity,
) {
    writer.member_object("thinkingConfig", |writer| {
        writer.member_flag_if("includeThoughts", reasoning.is_shown);
        if reasoning.is_adaptive {
            writer.key("thinkingBudget");
            writer.literal("-1");
            return;
        }
        match (reasoning.effort, reasoning.budget_tokens) {
            (Some(effort), None) if target.has_thinking_level => {
                if effort == Effort::None {
                    fidelity
                        .approximates(Feature::ReasoningEffort, "no reasoning becomes as little as there is");
                }
                writer.member_string("thinkingLevel", level(effort));
            }
            (Some(effort), None) => {
                fidelity.approximates(Feature::ReasoningEffort, "an effort becomes a budget of tokens");
                writer.member_count("thinkingBudget", effort.budget_tokens());
            }
            (_, Some(budget)) => writer.member_count("thinkingBudget", budget),
            (None, None) => {}
        }
    });
}

const fn level(effort: Effort) -> &'static str {
    match effort {
        Effort::None | Effort::Minimal => "minimal",
        Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High | Effort::Max => "high",
    }
}

/// What has no place here at all.
fn refuse_others(request: &ChatRequest, fidelity: &mut Fidelity) -> Result<(), Unsupported> {
    fidelity.lacks_asked(DIALECT, asked_of(request), LACKING)?;
    let without = [Feature::Metadata, Feature::Verbosity, Feature::EndUser, Feature::CacheControl];
    leave_out(request, &without, fidelity);
    Ok(())
}
