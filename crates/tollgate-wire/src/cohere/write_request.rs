//! Requests from the neutral types.

use crate::json::JsonWriter;
use crate::neutral::writing::{Tools, asked_of, leave_out, refuse_unknown_members, stops, tools, typed};
use crate::neutral::{
    ChatDialect, ChatRequest, Effort, Feature, Fidelity, FunctionTool, Message, OutputFormat, Part, PartKind,
    Role, Sampling, ToolCall, ToolChoice, ToolResult, Unsupported,
};

const DIALECT: ChatDialect = ChatDialect::Cohere;
/// What nothing here stands for.
const LACKING: &[Feature] = &[
    Feature::AudioOutput,
    Feature::ImageOutput,
    Feature::Store,
    Feature::ServiceTier,
    Feature::N,
    Feature::Logprobs,
    Feature::LogitBias,
];
/// Texts that end an answer, at most.
const MOST_STOPS: usize = 5;

/// What differs between requests to the dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CohereTarget<'a> {
    /// The model as the provider names it.
    pub model: &'a str,
    /// The cap on the answer's tokens that was paid for; `None` where none is to be written.
    pub output_cap: Option<u64>,
}

/// Writes a request's body.
///
/// # Errors
/// The request has something that the dialect lacks, and nothing may be dropped.
pub fn write_request(
    request: &ChatRequest,
    target: &CohereTarget<'_>,
    fidelity: &mut Fidelity,
) -> Result<Vec<u8>, Unsupported> {
    JsonWriter::try_document(1024, |writer| write_members(writer, request, target, fidelity))
}

fn write_members(
    writer: &mut JsonWriter,
    request: &ChatRequest,
    target: &CohereTarget<'_>,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    writer.member_string("model", target.model);
    writer.member_array("messages", |writer| {
        request.messages.iter().try_for_each(|message| write_message(writer, message, fidelity))
    })?;
    write_tools(writer, request, fidelity)?;
    writer.member_count_if("max_tokens", target.output_cap.or(request.output_cap));
    write_sampling(writer, &request.sampling, fidelity)?;
    write_format(writer, request.format.as_ref());
    write_thinking(writer, request, fidelity);
    if request.stream {
        writer.member_flag("stream", true);
    }
    refuse_others(request, fidelity)
}

// === messages ===

fn write_message(
    writer: &mut JsonWriter,
    message: &Message,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    if message.name.is_some() {
        fidelity.approximates(Feature::Names, "speakers' names are left out");
    }
    let mut said: Vec<&Part> = Vec::new();
    let mut calls: Vec<&ToolCall> = Vec::new();
    for part in &message.parts {
        match &part.kind {
            PartKind::ToolResult(result) => write_result(writer, result, fidelity)?,
            PartKind::ToolCall(call) => calls.push(call),
            _ => said.push(part),
        }
    }
    if said.is_empty() && calls.is_empty() {
        return Ok(());
    }
    let role = match message.role {
        Role::System | Role::Developer => "system",
        Role::User | Role::Tool => "user",
        Role::Assistant => "assistant",
    };
    writer.object(|writer| {
        writer.member_string("role", role);
        if !said.is_empty() {
            write_content(writer, &said, fidelity)?;
        }
        if !calls.is_empty() {
            writer.member_array("tool_calls", |writer| {
                calls.iter().for_each(|call| write_call(writer, call));
            });
        }
        Ok(())
    })
}

fn write_content(
    writer: &mut JsonWriter,
    parts: &[&Part],
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    if let [Part { kind: PartKind::Text { text, .. }, .. }] = parts {
        writer.member_string("content", text);
        return Ok(());
    }
    writer.member_array("content", |writer| {
        parts.iter().try_for_each(|part| write_part(writer, part, fidelity))
    })
}

fn write_part(writer: &mut JsonWriter, part: &Part, fidelity: &mut Fidelity) -> Result<(), Unsupported> {
    let lacking = match &part.kind {
        PartKind::Text { text, .. } | PartKind::Refusal { text } => {
            typed(writer, "text", |writer| writer.member_string("text", text));
            return Ok(());
        }
        PartKind::Thinking { text, .. } => {
            typed(writer, "thinking", |writer| writer.member_string("thinking", text));
            return Ok(());
        }
        PartKind::Image { source, detail } => match source.to_url() {
            Some(url) => {
                typed(writer, "image_url", |writer| {
                    writer.member_object("image_url", |writer| {
                        writer.member_string("url", &url);
                        writer.member_string_if("detail", detail.as_deref());
                    });
                });
                return Ok(());
            }
            None => Feature::FileId,
        },
        PartKind::File { source: crate::neutral::Media::Text(text), .. } => {
            fidelity.approximates(Feature::FileInput, "plain-text documents become text parts");
            typed(writer, "text", |writer| writer.member_string("text", text));
            return Ok(());
        }
        PartKind::HiddenThinking { .. } => {
            fidelity.approximates(Feature::ThinkingBlocks, "another vendor's hidden reasoning is left out");
            return Ok(());
        }
        PartKind::Foreign { name, .. } => {
            let what = Some(format!("content of type `{name}`"));
            return fidelity.lacks_named(DIALECT, Feature::UnknownContent, what);
        }
        PartKind::Audio { .. } => Feature::AudioInput,
        PartKind::Video { .. } => Feature::VideoInput,
        PartKind::File { .. } => Feature::FileInput,
        PartKind::ToolCall(_) | PartKind::ToolResult(_) => Feature::Tools,
    };
    fidelity.lacks(DIALECT, lacking)
}

fn write_call(writer: &mut JsonWriter, call: &ToolCall) {
    writer.object(|writer| {
        writer.member_string("id", &call.id);
        writer.member_string("type", "function");
        writer.member_object("function", |writer| {
            writer.member_string("name", &call.name);
            let arguments = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
            writer.member_string("arguments", arguments);
        });
    });
}

fn write_result(
    writer: &mut JsonWriter,
    result: &ToolResult,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    let mut text = String::new();
    for part in &result.content {
        match &part.kind {
            PartKind::Text { text: more, .. } => text.push_str(more),
            _ => fidelity.lacks(DIALECT, Feature::ToolResultMedia)?,
        }
    }
    writer.object(|writer| {
        writer.member_string("role", "tool");
        writer.member_string("tool_call_id", &result.call_id);
        writer.member_string("content", &text);
    });
    Ok(())
}

// === tools ===

fn write_tools(
    writer: &mut JsonWriter,
    request: &ChatRequest,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    let Tools { mut functions, .. } = tools(request, DIALECT, fidelity)?;
    if functions.is_empty() {
        return Ok(());
    }
    if request.parallel_tool_calls == Some(false) {
        fidelity.cannot_forbid_parallel_calls(DIALECT, request)?;
    }
    // the dialect names no single tool: the one that is meant is the only one offered
    if let Some(ToolChoice::Named(name)) = &request.tool_choice {
        fidelity.approximates(Feature::ToolChoice, "the tool that is named is the only one offered");
        functions.retain(|function| function.name == *name);
    }
    writer.member_array("tools", |writer| {
        functions.iter().for_each(|function| write_function(writer, function));
    });
    match &request.tool_choice {
        Some(ToolChoice::Required | ToolChoice::Named(_)) => writer.member_string("tool_choice", "REQUIRED"),
        Some(ToolChoice::None) => writer.member_string("tool_choice", "NONE"),
        Some(ToolChoice::Auto) | None => {}
    }
    if functions.iter().any(|function| function.strict == Some(true)) {
        writer.member_flag("strict_tools", true);
    }
    Ok(())
}

fn write_function(writer: &mut JsonWriter, function: &FunctionTool) {
    typed(writer, "function", |writer| {
        writer.member_object("function", |writer| {
            writer.member_string("name", &function.name);
            writer.member_string_if("description", function.description.as_deref());
            match &function.parameters {
                Some(parameters) => writer.member_raw("parameters", parameters),
                None => writer.member_object("parameters", |writer| writer.member_string("type", "object")),
            }
        });
    });
}

// === the rest ===

fn write_sampling(
    writer: &mut JsonWriter,
    sampling: &Sampling,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    writer.member_raw_if("temperature", sampling.temperature.as_ref());
    writer.member_raw_if("p", sampling.top_p.as_ref());
    writer.member_raw_if("k", sampling.top_k.as_ref());
    writer.member_raw_if("frequency_penalty", sampling.frequency_penalty.as_ref());
    writer.member_raw_if("presence_penalty", sampling.presence_penalty.as_ref());
    writer.member_raw_if("seed", sampling.seed.as_ref());
    let stops = stops(sampling, DIALECT, MOST_STOPS, fidelity)?;
    if !stops.is_empty() {
        writer.member_array("stop_sequences", |writer| stops.iter().for_each(|stop| writer.string(stop)));
    }
    Ok(())
}

fn write_format(writer: &mut JsonWriter, format: Option<&OutputFormat>) {
    let schema = match format {
        Some(OutputFormat::JsonObject) => None,
        Some(OutputFormat::JsonSchema { schema, .. }) => Some(schema),
        Some(OutputFormat::Text) | None => return,
    };
    writer.member_object("response_format", |writer| {
        writer.member_string("type", "json_object");
        writer.member_raw_if("json_schema", schema);
    });
}

fn write_thinking(writer: &mut JsonWriter, request: &ChatRequest, fidelity: &mut Fidelity) {
    let Some(reasoning) = &request.reasoning else { return };
    let is_off = reasoning.effort == Some(Effort::None) || reasoning.budget_tokens == Some(0);
    if reasoning.budget_tokens.is_none() && !is_off && reasoning.effort.is_some() {
        fidelity.approximates(Feature::ReasoningEffort, "an effort becomes a budget of tokens");
    }
    writer.member_object("thinking", |writer| {
        writer.member_string("type", if is_off { "disabled" } else { "enabled" });
        if !is_off {
            let budget = reasoning.budget_tokens.or(reasoning.effort.map(Effort::budget_tokens));
            writer.member_count_if("token_budget", budget);
        }
    });
}

/// What has no place here at all.
fn refuse_others(request: &ChatRequest, fidelity: &mut Fidelity) -> Result<(), Unsupported> {
    fidelity.lacks_asked(DIALECT, asked_of(request), LACKING)?;
    refuse_unknown_members(request, DIALECT, fidelity)?;
    let without = [Feature::Metadata, Feature::Verbosity, Feature::EndUser, Feature::CacheControl];
    leave_out(request, &without, fidelity);
    Ok(())
}
