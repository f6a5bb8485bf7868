//! Requests into the neutral types.

use super::parts::{read_cache_mark, read_content, read_thinking, read_tool_call};
use crate::json::{FieldError, Kind, Members, Node, ReadError};
use crate::neutral::{
    ChatDialect, ChatRequest, Effort, FunctionTool, Message, OutputFormat, Part, PartKind, Reasoning, Role,
    Sampling, Tool, ToolChoice, ToolResult,
};

/// Reads a request's body.
///
/// # Errors
/// Invalid JSON, a missing member, one of the wrong type.
pub fn read_request(body: &[u8]) -> Result<ChatRequest, ReadError> {
    let mut members = Members::document(body)?;
    let mut request = ChatRequest { dialect: ChatDialect::OpenAiChat, ..ChatRequest::default() };
    request.model = members.string("model")?.unwrap_or_default();
    for node in members.required("messages")?.array()? {
        request.messages.push(read_message(&node)?);
    }
    read_tools(&mut members, &mut request)?;
    request.output_cap = match members.count("max_completion_tokens")? {
        Some(cap) => {
            members.take("max_tokens");
            Some(cap)
        }
        None => members.count("max_tokens")?,
    };
    request.sampling = read_sampling(&mut members)?;
    request.format = members.take("response_format").map(|node| read_format(&node)).transpose()?;
    request.reasoning = read_reasoning(&mut members)?;
    request.verbosity = members.string("verbosity")?;
    request.end_user = members.string("user")?;
    request.service_tier = members.string("service_tier")?;
    request.metadata = members.raw("metadata");
    request.store = members.flag("store")?;
    request.stream = members.flag("stream")?.unwrap_or(false);
    if let Some(options) = members.take("stream_options") {
        request.wants_stream_usage = options.object()?.flag("include_usage")?.unwrap_or(false);
    }
    if let Some(modalities) = members.take("modalities") {
        for node in modalities.array()? {
            request.modalities.push(node.string()?.into_owned());
        }
    }
    request.rest = members.rest();
    Ok(request)
}

fn read_message(node: &Node<'_>) -> Result<Message, FieldError> {
    let mut members = node.object()?;
    let role = members.required("role")?;
    let role = match &*role.string()? {
        "system" => Role::System,
        "developer" => Role::Developer,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" | "function" => Role::Tool,
        _ => return Err(role.error("must be system, developer, user, assistant or tool")),
    };
    let mut message = Message::new(role, Vec::new());
    message.name = members.string("name")?;
    match role {
        Role::Tool => read_tool_message(&mut members, &mut message)?,
        Role::Assistant => read_assistant(&mut members, &mut message.parts)?,
        _ => read_content(&members.required("content")?, &mut message.parts)?,
    }
    message.rest = members.rest();
    Ok(message)
}

pub(super) fn read_assistant(members: &mut Members<'_>, parts: &mut Vec<Part>) -> Result<(), FieldError> {
    read_thinking(members, parts)?;
    if let Some(content) = members.take("content") {
        read_content(&content, parts)?;
    }
    if let Some(text) = members.string("refusal")? {
        parts.push(Part::new(PartKind::Refusal { text }));
    }
    if let Some(calls) = members.take("tool_calls") {
        for call in calls.array()? {
            parts.push(read_tool_call(&call)?);
        }
    }
    if let Some(call) = members.take("function_call") {
        let mut call = call.object()?;
        let name = call.required("name")?.string()?.into_owned();
        let arguments = call.string("arguments")?.unwrap_or_default();
        // the older protocol has no ids: the name stands in, as results are named by it, too
        parts.push(Part::new(PartKind::ToolCall(crate::neutral::ToolCall {
            id: name.clone(),
            name,
            arguments,
            is_custom: false,
            signature: None,
        })));
    }
    Ok(())
}

fn read_tool_message(members: &mut Members<'_>, message: &mut Message) -> Result<(), FieldError> {
    let call_id = match (members.string("tool_call_id")?, &message.name) {
        (Some(id), _) => id,
        (None, Some(name)) => name.clone(),
        (None, None) => {
            return Err(members
                .required("tool_call_id")
                .map_or_else(|error| error, |node| node.error("is required")));
        }
    };
    let mut content = Vec::new();
    if let Some(node) = members.take("content") {
        read_content(&node, &mut content)?;
    }
    let cache = read_cache_mark(members)?;
    let result = ToolResult { call_id, name: message.name.take(), content, is_error: false };
    message.parts.push(Part { cache, ..Part::new(PartKind::ToolResult(result)) });
    Ok(())
}

fn read_tools(members: &mut Members<'_>, request: &mut ChatRequest) -> Result<(), FieldError> {
    if let Some(tools) = members.take("tools") {
        for node in tools.array()? {
            request.tools.push(read_tool(&node)?);
        }
    }
    if let Some(functions) = members.take("functions") {
        for node in functions.array()? {
            request.tools.push(Tool::Function(read_function(&mut node.object()?)?));
        }
    }
    let choice = members.take("tool_choice").or_else(|| members.take("function_call"));
    request.tool_choice = choice.map(|node| read_choice(&node)).transpose()?;
    request.parallel_tool_calls = members.flag("parallel_tool_calls")?;
    Ok(())
}

fn read_tool(node: &Node<'_>) -> Result<Tool, FieldError> {
    let mut members = node.object()?;
    let kind = members.required("type")?.string()?;
    if kind != "function" {
        let (dialect, name) = (ChatDialect::OpenAiChat, kind.into_owned());
        return Ok(Tool::Foreign { dialect, name, raw: node.raw() });
    }
    let cache = read_cache_mark(&mut members)?;
    let mut function = members.required("function")?.object()?;
    let tool = read_function(&mut function)?;
    Ok(Tool::Function(FunctionTool { cache, rest: function.rest(), ..tool }))
}

fn read_function(members: &mut Members<'_>) -> Result<FunctionTool, FieldError> {
    Ok(FunctionTool {
        name: members.required("name")?.string()?.into_owned(),
        description: members.string("description")?,
        parameters: members.raw("parameters"),
        strict: members.flag("strict")?,
        cache: None,
        rest: crate::json::Rest::default(),
    })
}

fn read_choice(node: &Node<'_>) -> Result<ToolChoice, FieldError> {
    const WANTED: &str = "must be none, auto, required or one tool by name";
    if node.kind() == Kind::String {
        return match &*node.string()? {
            "none" => Ok(ToolChoice::None),
            "auto" => Ok(ToolChoice::Auto),
            "required" | "any" => Ok(ToolChoice::Required),
            _ => Err(node.error(WANTED)),
        };
    }
    let mut members = node.object()?;
    let named = members.take("function").or_else(|| members.take("custom"));
    let name = match named {
        Some(named) => named.object()?.string("name")?,
        None => members.string("name")?,
    };
    name.map(ToolChoice::Named).ok_or_else(|| node.error(WANTED))
}

fn read_sampling(members: &mut Members<'_>) -> Result<Sampling, FieldError> {
    Ok(Sampling {
        temperature: members.number("temperature")?,
        top_p: members.number("top_p")?,
        top_k: members.number("top_k")?,
        frequency_penalty: members.number("frequency_penalty")?,
        presence_penalty: members.number("presence_penalty")?,
        seed: members.number("seed")?,
        stop: read_stop(members)?,
        n: members.count("n")?,
        logprobs: members.flag("logprobs")?,
        top_logprobs: members.count("top_logprobs")?,
        logit_bias: members.raw("logit_bias"),
    })
}

fn read_stop(members: &mut Members<'_>) -> Result<Vec<String>, FieldError> {
    let Some(node) = members.take("stop") else { return Ok(Vec::new()) };
    if node.kind() == Kind::String {
        return Ok(vec![node.string()?.into_owned()]);
    }
    node.array()?.iter().map(|node| node.string().map(std::borrow::Cow::into_owned)).collect()
}

fn read_format(node: &Node<'_>) -> Result<OutputFormat, FieldError> {
    let mut members = node.object()?;
    let kind = members.required("type")?;
    Ok(match &*kind.string()? {
        "text" => OutputFormat::Text,
        "json_object" => OutputFormat::JsonObject,
        "json_schema" => {
            let mut schema = members.required("json_schema")?.object()?;
            OutputFormat::JsonSchema {
                name: schema.string("name")?,
                description: schema.string("description")?,
                schema: schema.required("schema")?.raw(),
                strict: schema.flag("strict")?,
            }
        }
        _ => return Err(kind.error("must be text, json_object or json_schema")),
    })
}

fn read_reasoning(members: &mut Members<'_>) -> Result<Option<Reasoning>, FieldError> {
    let mut reasoning = None;
    if let Some(node) = members.take("reasoning_effort") {
        reasoning = Some(Reasoning { effort: Some(read_effort(&node)?), ..Reasoning::default() });
    }
    // OpenRouter's object, and Anthropic's as LiteLLM takes it
    if let Some(node) = members.take("reasoning") {
        let mut object = node.object()?;
        let into = reasoning.get_or_insert_with(Reasoning::default);
        into.effort = object.take("effort").map(|node| read_effort(&node)).transpose()?.or(into.effort);
        into.budget_tokens = object.count("max_tokens")?;
        into.is_shown = object.flag("exclude")?.map(|is_excluded| !is_excluded);
        if object.flag("enabled")? == Some(false) {
            into.effort = Some(Effort::None);
        }
    }
    if let Some(node) = members.take("thinking") {
        let mut object = node.object()?;
        let into = reasoning.get_or_insert_with(Reasoning::default);
        into.budget_tokens = object.count("budget_tokens")?;
        match object.string("type")?.as_deref() {
            Some("disabled") => into.effort = Some(Effort::None),
            Some("adaptive") => into.is_adaptive = true,
            _ => {}
        }
    }
    Ok(reasoning)
}

fn read_effort(node: &Node<'_>) -> Result<Effort, FieldError> {
    let wanted = "must be none, minimal, low, medium, high or xhigh";
    Effort::from_name(&node.string()?).ok_or_else(|| node.error(wanted))
}
