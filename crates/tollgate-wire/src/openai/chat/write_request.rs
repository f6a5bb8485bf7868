//! Requests from the neutral types.

use super::parts::{write_content, write_thinking, write_tool_call};
use crate::json::JsonWriter;
use crate::neutral::writing::{Tools, tools};
use crate::neutral::{
    ChatDialect, ChatRequest, Effort, Feature, Fidelity, FunctionTool, Message, OutputFormat, Part, PartKind,
    Role, Sampling, ToolChoice, ToolResult, Unsupported,
};

const DIALECT: ChatDialect = ChatDialect::OpenAiChat;

/// What differs between those who speak the dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChatTarget<'a> {
    /// The model as the provider names it.
    pub model: &'a str,
    /// The cap on the answer's tokens that was paid for; `None` where none is to be written.
    pub output_cap: Option<u64>,
    /// Whether the cap goes by its newer name, `max_completion_tokens`.
    pub has_completion_cap: bool,
    /// Whether it takes `top_k` (OpenAI itself refuses it).
    pub has_top_k: bool,
    /// Whether it takes the `developer` role.
    pub has_developer_role: bool,
}

/// Writes a request's body.
///
/// # Errors
/// The request has something that the dialect lacks, and nothing may be dropped.
pub fn write_request(
    request: &ChatRequest,
    target: &ChatTarget<'_>,
    fidelity: &mut Fidelity,
) -> Result<Vec<u8>, Unsupported> {
    JsonWriter::try_document(1024, |writer| write_members(writer, request, target, fidelity))
}

fn write_members(
    writer: &mut JsonWriter,
    request: &ChatRequest,
    target: &ChatTarget<'_>,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    writer.member_string("model", target.model);
    writer.member_array("messages", |writer| {
        request.messages.iter().try_for_each(|message| write_message(writer, message, target, fidelity))
    })?;
    write_tools(writer, request, fidelity)?;
    let cap_name = if target.has_completion_cap { "max_completion_tokens" } else { "max_tokens" };
    writer.member_count_if(cap_name, target.output_cap.or(request.output_cap));
    write_sampling(writer, &request.sampling, target, fidelity)?;
    write_format(writer, request.format.as_ref());
    write_reasoning(writer, request, fidelity);
    writer.member_string_if("verbosity", request.verbosity.as_deref());
    writer.member_string_if("user", request.end_user.as_deref());
    writer.member_string_if("service_tier", request.service_tier.as_deref());
    writer.member_raw_if("metadata", request.metadata.as_ref());
    writer.member_flag_if("store", request.store);
    if !request.modalities.is_empty() {
        writer.member_array("modalities", |writer| {
            request.modalities.iter().for_each(|modality| writer.string(modality));
        });
    }
    if request.stream {
        writer.member_flag("stream", true);
        writer.member_object("stream_options", |writer| writer.member_flag("include_usage", true));
    }
    if request.dialect == DIALECT {
        writer.rest(&request.rest);
    } else if let Some((name, _)) = request.rest.iter().next() {
        fidelity.lacks_named(DIALECT, Feature::UnknownMembers, Some(format!("`{name}`")))?;
    }
    Ok(())
}

// === messages ===

fn write_message(
    writer: &mut JsonWriter,
    message: &Message,
    target: &ChatTarget<'_>,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    // tools' answers stand alone in this dialect, also where the client wrote them into a user's turn
    let (results, others): (Vec<&Part>, Vec<&Part>) =
        message.parts.iter().partition(|part| matches!(part.kind, PartKind::ToolResult(_)));
    for part in results {
        if let PartKind::ToolResult(result) = &part.kind {
            write_result(writer, result, fidelity)?;
        }
    }
    if others.is_empty() && (message.role == Role::Tool || !message.parts.is_empty()) {
        return Ok(());
    }
    let role = match message.role {
        Role::System => "system",
        Role::Developer if target.has_developer_role => "developer",
        Role::Developer => "system",
        Role::User | Role::Tool => "user",
        Role::Assistant => "assistant",
    };
    writer.object(|writer| {
        writer.member_string("role", role);
        writer.member_string_if("name", message.name.as_deref());
        if message.role == Role::Assistant {
            write_assistant(writer, &message.parts, fidelity)
        } else {
            write_content(writer, &others, fidelity)
        }
    })
}

fn write_assistant(
    writer: &mut JsonWriter,
    parts: &[Part],
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    let is_said = |part: &&Part| {
        !matches!(
            part.kind,
            PartKind::Thinking { .. }
                | PartKind::HiddenThinking { .. }
                | PartKind::ToolCall(_)
                | PartKind::ToolResult(_)
        )
    };
    let said: Vec<&Part> = parts.iter().filter(is_said).collect();
    if said.is_empty() {
        writer.member_null("content");
    } else {
        write_content(writer, &said, fidelity)?;
    }
    write_thinking(writer, parts);
    let calls = || parts.iter().filter_map(tool_call);
    if calls().next().is_some() {
        writer.member_array("tool_calls", |writer| {
            calls().for_each(|call| write_tool_call(writer, call, None));
        });
    }
    Ok(())
}

pub(super) fn tool_call(part: &Part) -> Option<&crate::neutral::ToolCall> {
    match &part.kind {
        PartKind::ToolCall(call) => Some(call),
        _ => None,
    }
}

fn write_result(
    writer: &mut JsonWriter,
    result: &ToolResult,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    writer.object(|writer| {
        writer.member_string("role", "tool");
        writer.member_string("tool_call_id", &result.call_id);
        write_result_content(writer, result, fidelity)
    })
}

/// Texts only: the dialect's tools cannot show pictures.
fn write_result_content(
    writer: &mut JsonWriter,
    result: &ToolResult,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    let mut texts: Vec<&Part> = Vec::new();
    for part in &result.content {
        match &part.kind {
            PartKind::Text { .. } => texts.push(part),
            _ => fidelity.lacks(DIALECT, Feature::ToolResultMedia)?,
        }
    }
    if texts.is_empty() {
        writer.member_string("content", "");
        return Ok(());
    }
    write_content(writer, &texts, fidelity)
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
    match &request.tool_choice {
        Some(ToolChoice::Auto) => writer.member_string("tool_choice", "auto"),
        Some(ToolChoice::None) => writer.member_string("tool_choice", "none"),
        Some(ToolChoice::Required) => writer.member_string("tool_choice", "required"),
        Some(ToolChoice::Named(name)) => writer.member_object("tool_choice", |writer| {
            writer.member_string("type", "function");
            writer.member_object("function", |writer| writer.member_string("name", name));
        }),
        None => {}
    }
    writer.member_flag_if("parallel_tool_calls", request.parallel_tool_calls);
    Ok(())
}

fn write_function(writer: &mut JsonWriter, function: &FunctionTool) {
    writer.object(|writer| {
        writer.member_string("type", "function");
        writer.member_object("function", |writer| {
            writer.member_string("name", &function.name);
            writer.member_string_if("description", function.description.as_deref());
            writer.member_raw_if("parameters", function.parameters.as_ref());
            writer.member_flag_if("strict", function.strict);
        });
    });
}

// === the rest ===

fn write_sampling(
    writer: &mut JsonWriter,
    sampling: &Sampling,
    target: &ChatTarget<'_>,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    writer.member_raw_if("temperature", sampling.temperature.as_ref());
    writer.member_raw_if("top_p", sampling.top_p.as_ref());
    match &sampling.top_k {
        Some(top_k) if target.has_top_k => writer.member_raw("top_k", top_k),
        Some(_) => fidelity.lacks(DIALECT, Feature::TopK)?,
        None => {}
    }
    writer.member_raw_if("frequency_penalty", sampling.frequency_penalty.as_ref());
    writer.member_raw_if("presence_penalty", sampling.presence_penalty.as_ref());
    writer.member_raw_if("seed", sampling.seed.as_ref());
    if !sampling.stop.is_empty() {
        writer.member_array("stop", |writer| sampling.stop.iter().for_each(|stop| writer.string(stop)));
    }
    writer.member_count_if("n", sampling.n);
    writer.member_flag_if("logprobs", sampling.logprobs);
    writer.member_count_if("top_logprobs", sampling.top_logprobs);
    writer.member_raw_if("logit_bias", sampling.logit_bias.as_ref());
    Ok(())
}

fn write_format(writer: &mut JsonWriter, format: Option<&OutputFormat>) {
    match format {
        None => {}
        Some(OutputFormat::Text) => {
            writer.member_object("response_format", |writer| writer.member_string("type", "text"));
        }
        Some(OutputFormat::JsonObject) => {
            writer.member_object("response_format", |writer| writer.member_string("type", "json_object"));
        }
        Some(OutputFormat::JsonSchema { name, description, schema, strict }) => {
            writer.member_object("response_format", |writer| {
                writer.member_string("type", "json_schema");
                writer.member_object("json_schema", |writer| {
                    writer.member_string("name", name.as_deref().unwrap_or("answer"));
                    writer.member_string_if("description", description.as_deref());
                    writer.member_raw("schema", schema);
                    writer.member_flag_if("strict", *strict);
                });
            });
        }
    }
}

fn write_reasoning(writer: &mut JsonWriter, request: &ChatRequest, fidelity: &mut Fidelity) {
    let Some(reasoning) = &request.reasoning else { return };
    if reasoning.effort.is_none() && reasoning.budget_tokens.is_some() {
        fidelity.approximates(Feature::ReasoningEffort, "a budget of tokens becomes the nearest effort");
    }
    let effort = reasoning.effort.or_else(|| reasoning.budget_tokens.map(Effort::from_budget_tokens));
    writer.member_string_if("reasoning_effort", effort.map(Effort::name));
}
