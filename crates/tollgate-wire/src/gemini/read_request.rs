//! Requests into the neutral types.

use super::parts::{CallIds, read_part, string_of};
use crate::json::{FieldError, Kind, Members, Node, ReadError};
use crate::neutral::{
    ChatDialect, ChatRequest, Effort, FunctionTool, Message, OutputFormat, Reasoning, Role, Tool, ToolChoice,
};

/// Reads a request's body; the model and whether it streams stand in the path.
///
/// # Errors
/// Invalid JSON, a missing member, one of the wrong type.
pub fn read_request(model: &str, stream: bool, body: &[u8]) -> Result<ChatRequest, ReadError> {
    let document = Node::parse(body)?;
    let mut members = document.google_object()?;
    let mut request = ChatRequest {
        dialect: ChatDialect::Gemini,
        model: model.to_owned(),
        stream,
        wants_stream_usage: true,
        ..ChatRequest::default()
    };
    members.take("model");
    if let Some(tier) = members.take_either("serviceTier", "service_tier") {
        let name = tier.string()?.to_ascii_lowercase();
        let name = name.strip_prefix("service_tier_").unwrap_or(&name);
        request.service_tier = match name {
            "unspecified" => None,
            "standard" => Some("default".to_owned()),
            other => Some(other.to_owned()),
        };
    }
    if let Some(system) = members.take_either("systemInstruction", "system_instruction") {
        let mut ids = CallIds::default();
        request.messages.push(read_turn(&system, Role::System, &mut ids)?);
    }
    let contents = members.required("contents")?;
    let mut ids = CallIds::default();
    match contents.kind() {
        // one turn alone is taken, too
        Kind::Object => request.messages.push(read_turn(&contents, Role::User, &mut ids)?),
        _ => {
            for node in contents.array()? {
                request.messages.push(read_turn(&node, Role::User, &mut ids)?);
            }
        }
    }
    if let Some(tools) = members.take("tools") {
        for node in tools.array()? {
            read_tool(&node, &mut request.tools)?;
        }
    }
    if let Some(config) = members.take_either("toolConfig", "tool_config") {
        request.tool_choice = read_choice(&config)?;
    }
    if let Some(config) = members.take_either("generationConfig", "generation_config") {
        read_config(config.google_object()?, &mut request)?;
    }
    for (name, value) in members.rest().iter() {
        request.rest.push(name, value.clone());
    }
    Ok(request)
}

fn read_turn(node: &Node<'_>, role: Role, ids: &mut CallIds) -> Result<Message, FieldError> {
    let mut members = node.google_object()?;
    let told = members.take("role");
    let role = match told.as_ref().map(Node::string).transpose()?.as_deref() {
        _ if role == Role::System => Role::System,
        Some("model") => Role::Assistant,
        None | Some("user" | "function" | "") => role,
        Some(_) => return Err(node.error("has a role that is neither user nor model")),
    };
    let mut message = Message::new(role, Vec::new());
    for part in members.take("parts").map_or_else(|| Ok(Vec::new()), |parts| parts_of(&parts))? {
        read_part(&part, ids, &mut message.parts)?;
    }
    Ok(message)
}

/// An array of parts, or one alone.
fn parts_of<'a>(node: &Node<'a>) -> Result<Vec<Node<'a>>, FieldError> {
    if node.kind() == Kind::Object { Ok(vec![node.clone()]) } else { node.array() }
}

fn read_tool(node: &Node<'_>, tools: &mut Vec<Tool>) -> Result<(), FieldError> {
    let mut members = node.google_object()?;
    if let Some(declarations) = members.take_either("functionDeclarations", "function_declarations") {
        for declaration in declarations.array()? {
            tools.push(Tool::Function(read_function(&declaration)?));
        }
    }
    for (name, value) in members.rest().iter() {
        let own = crate::json::JsonWriter::document(64, |writer| writer.member_raw(name, value));
        let raw = crate::json::RawJson::new(String::from_utf8_lossy(&own).into_owned());
        let raw = raw.map_err(|_| node.error("is not valid"))?;
        tools.push(Tool::Foreign { dialect: ChatDialect::Gemini, name: name.to_owned(), raw });
    }
    Ok(())
}

fn read_function(node: &Node<'_>) -> Result<FunctionTool, FieldError> {
    let mut members = node.google_object()?;
    let schema = members.take_either("parametersJsonSchema", "parameters_json_schema");
    let parameters = match schema {
        Some(schema) => Some(schema.raw()),
        None => members.take("parameters").map(|node| super::parts::plain_schema(&node)).transpose()?,
    };
    Ok(FunctionTool {
        name: members.required("name")?.string()?.into_owned(),
        description: members.string("description")?,
        parameters,
        strict: None,
        cache: None,
        rest: members.rest(),
    })
}

fn read_choice(node: &Node<'_>) -> Result<Option<ToolChoice>, FieldError> {
    let config = node.google_object()?.take_either("functionCallingConfig", "function_calling_config");
    let Some(config) = config else { return Ok(None) };
    let mut members = config.google_object()?;
    let mut names = Vec::new();
    if let Some(allowed) = members.take_either("allowedFunctionNames", "allowed_function_names") {
        for node in allowed.array()? {
            names.push(node.string()?.into_owned());
        }
    }
    let mode = members.string("mode")?.unwrap_or_default().to_ascii_uppercase();
    Ok(match (mode.as_str(), names.as_slice()) {
        ("NONE", _) => Some(ToolChoice::None),
        ("ANY", [only]) => Some(ToolChoice::Named(only.clone())),
        ("ANY", _) => Some(ToolChoice::Required),
        ("" | "MODE_UNSPECIFIED", _) => None,
        _ => Some(ToolChoice::Auto),
    })
}

fn read_config(mut config: Members<'_>, request: &mut ChatRequest) -> Result<(), FieldError> {
    let number = |config: &mut Members<'_>, camel: &str, snake: &str| {
        config.take_either(camel, snake).map(|node| node.number()).transpose()
    };
    let count = |config: &mut Members<'_>, camel: &str, snake: &str| {
        config.take_either(camel, snake).map(|node| node.count()).transpose()
    };
    request.output_cap = count(&mut config, "maxOutputTokens", "max_output_tokens")?;
    let sampling = &mut request.sampling;
    sampling.temperature = config.number("temperature")?;
    sampling.top_p = number(&mut config, "topP", "top_p")?;
    sampling.top_k = number(&mut config, "topK", "top_k")?;
    sampling.frequency_penalty = number(&mut config, "frequencyPenalty", "frequency_penalty")?;
    sampling.presence_penalty = number(&mut config, "presencePenalty", "presence_penalty")?;
    sampling.seed = config.number("seed")?;
    sampling.n = count(&mut config, "candidateCount", "candidate_count")?;
    sampling.top_logprobs = config.count("logprobs")?;
    let logprobs = config.take_either("responseLogprobs", "response_logprobs");
    sampling.logprobs = logprobs.map(|node| node.flag()).transpose()?;
    if let Some(stop) = config.take_either("stopSequences", "stop_sequences") {
        for node in stop.array()? {
            sampling.stop.push(node.string()?.into_owned());
        }
    }
    read_format(&mut config, request)?;
    if let Some(thinking) = config.take_either("thinkingConfig", "thinking_config") {
        request.reasoning = Some(read_thinking(&thinking)?);
    }
    if let Some(modalities) = config.take_either("responseModalities", "response_modalities") {
        for node in modalities.array()? {
            request.modalities.push(node.string()?.to_ascii_lowercase());
        }
    }
    request.rest = config.rest();
    Ok(())
}

fn read_format(config: &mut Members<'_>, request: &mut ChatRequest) -> Result<(), FieldError> {
    let media_type = string_of(config, "responseMimeType", "response_mime_type")?;
    let older = config.take_either("responseSchema", "response_schema");
    let schema = match config.take_either("responseJsonSchema", "response_json_schema") {
        Some(schema) => Some(schema.raw()),
        None => older.map(|node| super::parts::plain_schema(&node)).transpose()?,
    };
    request.format = match (schema, media_type.as_deref()) {
        (Some(schema), _) => {
            Some(OutputFormat::JsonSchema { name: None, description: None, schema, strict: None })
        }
        (None, Some("application/json")) => Some(OutputFormat::JsonObject),
        _ => None,
    };
    Ok(())
}

fn read_thinking(node: &Node<'_>) -> Result<Reasoning, FieldError> {
    let mut members = node.google_object()?;
    let mut reasoning = Reasoning::default();
    let shown = members.take_either("includeThoughts", "include_thoughts");
    reasoning.is_shown = shown.map(|node| node.flag()).transpose()?;
    if let Some(budget) = members.take_either("thinkingBudget", "thinking_budget") {
        if budget.text() == "-1" {
            reasoning.is_adaptive = true;
        } else {
            reasoning.budget_tokens = Some(budget.count()?);
        }
    }
    if let Some(level) = members.take_either("thinkingLevel", "thinking_level") {
        let effort = Effort::from_name(&level.string()?.to_ascii_lowercase());
        reasoning.effort = Some(effort.ok_or_else(|| level.error("must be minimal, low, medium or high"))?);
    }
    Ok(reasoning)
}
