//! Requests into the neutral types.

use super::blocks::{read_cache_mark, read_content};
use crate::json::{FieldError, Members, Node, ReadError};
use crate::neutral::{
    ChatDialect, ChatRequest, Effort, FunctionTool, Message, OutputFormat, Reasoning, Role, Tool, ToolChoice,
};

/// Reads a request's body.
///
/// # Errors
/// Invalid JSON, a missing member, one of the wrong type.
pub fn read_request(body: &[u8]) -> Result<ChatRequest, ReadError> {
    let mut members = Members::document(body)?;
    let mut request = ChatRequest { dialect: ChatDialect::Anthropic, ..ChatRequest::default() };
    request.model = members.string("model")?.unwrap_or_default();
    if let Some(system) = members.take("system") {
        let mut message = Message::new(Role::System, Vec::new());
        read_content(&system, &mut message.parts)?;
        request.messages.extend(Some(message).filter(|message| !message.parts.is_empty()));
    }
    for node in members.required("messages")?.array()? {
        request.messages.push(read_message(&node)?);
    }
    if let Some(tools) = members.take("tools") {
        for node in tools.array()? {
            request.tools.push(read_tool(&node)?);
        }
    }
    read_choice(&mut members, &mut request)?;
    request.output_cap = members.count("max_tokens")?;
    request.sampling.temperature = members.number("temperature")?;
    request.sampling.top_p = members.number("top_p")?;
    request.sampling.top_k = members.number("top_k")?;
    if let Some(stop) = members.take("stop_sequences") {
        for node in stop.array()? {
            request.sampling.stop.push(node.string()?.into_owned());
        }
    }
    read_thinking(&mut members, &mut request)?;
    read_output(&mut members, &mut request)?;
    if let Some(metadata) = members.take("metadata") {
        request.end_user = metadata.object()?.string("user_id")?;
    }
    // the neutral word is OpenAI's
    request.service_tier = members.string("service_tier")?.map(|tier| match tier.as_str() {
        "standard_only" => "default".to_owned(),
        _ => tier,
    });
    refuse_dearer_modes(&mut members, &mut request)?;
    if let Some(node) = members.take("context_management") {
        refuse_compaction(&node)?;
        request.rest.push("context_management", node.raw());
    }
    request.stream = members.flag("stream")?.unwrap_or(false);
    request.wants_stream_usage = true;
    for (name, value) in members.rest().iter() {
        request.rest.push(name, value.clone());
    }
    Ok(request)
}

/// The faster mode and the choice of a country cost more than the rows of the price list say.
fn refuse_dearer_modes(members: &mut Members<'_>, request: &mut ChatRequest) -> Result<(), FieldError> {
    for (name, usual) in [("speed", "standard"), ("inference_geo", "global")] {
        let Some(node) = members.take(name) else { continue };
        if node.string()? != usual {
            return Err(node.error(format!("must be {usual}: anything else has a price of its own")));
        }
        request.rest.push(name, node.raw());
    }
    Ok(())
}

/// Summaries that the vendor has written beside the answer stand outside its cap, and outside what it counts.
fn refuse_compaction(node: &Node<'_>) -> Result<(), FieldError> {
    for edit in node.object()?.take("edits").map(|edits| edits.array()).transpose()?.unwrap_or_default() {
        if edit.object()?.string("type")?.is_some_and(|kind| kind.starts_with("compact")) {
            return Err(edit.error("is billed without a bound: leave compaction to the application"));
        }
    }
    Ok(())
}

fn read_message(node: &Node<'_>) -> Result<Message, FieldError> {
    let mut members = node.object()?;
    let role = members.required("role")?;
    let role = match &*role.string()? {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        _ => return Err(role.error("must be user or assistant")),
    };
    let mut message = Message::new(role, Vec::new());
    read_content(&members.required("content")?, &mut message.parts)?;
    message.rest = members.rest();
    Ok(message)
}

fn read_tool(node: &Node<'_>) -> Result<Tool, FieldError> {
    let mut members = node.object()?;
    if let Some(kind) = members.string("type")?.filter(|kind| kind != "custom") {
        return Ok(Tool::Foreign { dialect: ChatDialect::Anthropic, name: kind, raw: node.raw() });
    }
    Ok(Tool::Function(FunctionTool {
        name: members.required("name")?.string()?.into_owned(),
        description: members.string("description")?,
        parameters: members.raw("input_schema"),
        strict: members.flag("strict")?,
        cache: read_cache_mark(&mut members)?,
        rest: members.rest(),
    }))
}

fn read_choice(members: &mut Members<'_>, request: &mut ChatRequest) -> Result<(), FieldError> {
    let Some(node) = members.take("tool_choice") else { return Ok(()) };
    let mut choice = node.object()?;
    let kind = choice.required("type")?;
    request.tool_choice = Some(match &*kind.string()? {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Required,
        "none" => ToolChoice::None,
        "tool" => ToolChoice::Named(choice.required("name")?.string()?.into_owned()),
        _ => return Err(kind.error("must be auto, any, tool or none")),
    });
    let is_disabled = choice.flag("disable_parallel_tool_use")?;
    request.parallel_tool_calls = is_disabled.map(|is_disabled| !is_disabled);
    Ok(())
}

fn read_thinking(members: &mut Members<'_>, request: &mut ChatRequest) -> Result<(), FieldError> {
    let Some(node) = members.take("thinking") else { return Ok(()) };
    let mut thinking = node.object()?;
    let kind = thinking.required("type")?;
    let mut reasoning = Reasoning { is_shown: Some(true), ..Reasoning::default() };
    match &*kind.string()? {
        "enabled" => reasoning.budget_tokens = Some(thinking.required("budget_tokens")?.count()?),
        "adaptive" => reasoning.is_adaptive = true,
        "disabled" => reasoning.effort = Some(Effort::None),
        _ => return Err(kind.error("must be enabled, adaptive or disabled")),
    }
    if thinking.string("display")?.as_deref() == Some("omitted") {
        reasoning.is_shown = Some(false);
    }
    request.reasoning = Some(reasoning);
    Ok(())
}

/// `output_config`, and the older `output_format`.
fn read_output(members: &mut Members<'_>, request: &mut ChatRequest) -> Result<(), FieldError> {
    let mut format = members.take("output_format");
    if let Some(node) = members.take("output_config") {
        let mut config = node.object()?;
        format = config.take("format").or(format);
        if let Some(node) = config.take("effort") {
            let effort = Effort::from_name(&node.string()?);
            let effort = effort.ok_or_else(|| node.error("must be low, medium, high or max"))?;
            request.reasoning.get_or_insert_with(Reasoning::default).effort = Some(effort);
        }
    }
    let Some(node) = format else { return Ok(()) };
    let mut format = node.object()?;
    let kind = format.required("type")?;
    if kind.string()? != "json_schema" {
        return Err(kind.error("must be json_schema"));
    }
    request.format = Some(OutputFormat::JsonSchema {
        name: None,
        description: None,
        schema: format.required("schema")?.raw(),
        strict: Some(true),
    });
    Ok(())
}
