//! Requests into the neutral types.

use super::items::{join_turns, read_item};
use crate::json::{FieldError, Kind, Members, Node, ReadError};
use crate::neutral::{
    ChatDialect, ChatRequest, Effort, FunctionTool, Message, OutputFormat, Reasoning, Role, Tool, ToolChoice,
};

/// Reads a request's body.
///
/// # Errors
/// Invalid JSON, a missing member, one of the wrong type.
pub fn read_request(body: &[u8]) -> Result<ChatRequest, ReadError> {
    let mut members = Members::document(body)?;
    let mut request = ChatRequest { dialect: ChatDialect::OpenAiResponses, ..ChatRequest::default() };
    request.model = members.string("model")?.unwrap_or_default();
    if let Some(text) = members.string("instructions")? {
        request.messages.push(Message::text(Role::System, text));
    }
    // what is continued may go on without any input
    let previous = members.take("previous_response_id");
    let input = if previous.is_some() { members.take("input") } else { Some(members.required("input")?) };
    match input {
        Some(input) => read_input(&input, &mut request)?,
        None => request.messages.push(Message::text(Role::User, "")),
    }
    if let Some(tools) = members.take("tools") {
        for node in tools.array()? {
            request.tools.push(read_tool(&node)?);
        }
    }
    let choice = members.take("tool_choice");
    let only_here = choice.as_ref().filter(|node| is_only_here(node)).map(Node::raw);
    if only_here.is_none() {
        request.tool_choice = choice.map(|node| read_choice(&node)).transpose()?;
    }
    request.parallel_tool_calls = members.flag("parallel_tool_calls")?;
    request.output_cap = members.count("max_output_tokens")?;
    request.sampling.temperature = members.number("temperature")?;
    request.sampling.top_p = members.number("top_p")?;
    request.sampling.top_logprobs = members.count("top_logprobs")?;
    read_reasoning(&mut members, &mut request)?;
    read_text(&mut members, &mut request)?;
    request.metadata = members.raw("metadata");
    request.end_user = members.string("user")?;
    request.service_tier = members.string("service_tier")?;
    request.store = members.flag("store")?;
    request.stream = members.flag("stream")?.unwrap_or(false);
    request.wants_stream_usage = true;
    for known in ["truncation", "stream_options"] {
        members.take(known);
    }
    // what says what its absence says
    let background = members.take("background").filter(|node| node.kind() != Kind::False);
    request.rest = members.rest();
    background.into_iter().for_each(|node| request.rest.push("background", node.raw()));
    previous.into_iter().for_each(|node| request.rest.push("previous_response_id", node.raw()));
    only_here.into_iter().for_each(|choice| request.rest.push("tool_choice", choice));
    Ok(request)
}

/// A text, or items.
fn read_input(input: &Node<'_>, request: &mut ChatRequest) -> Result<(), FieldError> {
    if input.kind() == Kind::String {
        request.messages.push(Message::text(Role::User, input.string()?));
        return Ok(());
    }
    let items: Result<Vec<Message>, FieldError> = input.array()?.iter().map(read_item).collect();
    request.messages.extend(join_turns(items?));
    Ok(())
}

fn read_tool(node: &Node<'_>) -> Result<Tool, FieldError> {
    let mut members = node.object()?;
    let kind = members.required("type")?.string()?;
    if kind != "function" {
        let (dialect, name) = (ChatDialect::OpenAiResponses, kind.into_owned());
        return Ok(Tool::Foreign { dialect, name, raw: node.raw() });
    }
    Ok(Tool::Function(FunctionTool {
        name: members.required("name")?.string()?.into_owned(),
        description: members.string("description")?,
        parameters: members.raw("parameters"),
        strict: members.flag("strict")?,
        cache: None,
        rest: members.rest(),
    }))
}

/// A choice that has no other words: of several tools, or of one that the vendor names and not the request.
fn is_only_here(node: &Node<'_>) -> bool {
    let Ok(mut members) = node.object() else { return false };
    let kind = members.string("type").ok().flatten();
    kind.is_some_and(|kind| kind == "allowed_tools" || (kind != "function" && members.take("name").is_none()))
}

fn read_choice(node: &Node<'_>) -> Result<ToolChoice, FieldError> {
    const WANTED: &str = "must be none, auto, required or one tool by name";
    if node.kind() == Kind::String {
        return match &*node.string()? {
            "none" => Ok(ToolChoice::None),
            "auto" => Ok(ToolChoice::Auto),
            "required" => Ok(ToolChoice::Required),
            _ => Err(node.error(WANTED)),
        };
    }
    let name = node.object()?.string("name")?;
    name.map(ToolChoice::Named).ok_or_else(|| node.error(WANTED))
}

fn read_reasoning(members: &mut Members<'_>, request: &mut ChatRequest) -> Result<(), FieldError> {
    let Some(node) = members.take("reasoning") else { return Ok(()) };
    let mut object = node.object()?;
    let mut reasoning = Reasoning::default();
    if let Some(node) = object.take("effort") {
        let effort = Effort::from_name(&node.string()?);
        reasoning.effort =
            Some(effort.ok_or_else(|| node.error("must be none, minimal, low, medium, high or xhigh"))?);
    }
    reasoning.summary = match object.string("summary")? {
        Some(summary) => Some(summary),
        None => object.string("generate_summary")?,
    };
    reasoning.is_shown = reasoning.summary.as_ref().map(|_| true);
    request.reasoning = Some(reasoning);
    Ok(())
}

fn read_text(members: &mut Members<'_>, request: &mut ChatRequest) -> Result<(), FieldError> {
    let Some(node) = members.take("text") else { return Ok(()) };
    let mut text = node.object()?;
    request.verbosity = text.string("verbosity")?;
    let Some(node) = text.take("format") else { return Ok(()) };
    let mut format = node.object()?;
    let kind = format.required("type")?;
    request.format = Some(match &*kind.string()? {
        "text" => OutputFormat::Text,
        "json_object" => OutputFormat::JsonObject,
        "json_schema" => OutputFormat::JsonSchema {
            name: format.string("name")?,
            description: format.string("description")?,
            schema: format.required("schema")?.raw(),
            strict: format.flag("strict")?,
        },
        _ => return Err(kind.error("must be text, json_object or json_schema")),
    });
    Ok(())
}
