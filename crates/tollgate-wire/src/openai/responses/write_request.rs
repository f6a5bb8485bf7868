//! Requests from the neutral types.

use super::write_items::write_message;
use crate::json::{JsonWriter, Kind, RawJson};
use crate::neutral::writing::{Tools, asked_of, is_advice, leave_out, tools};
use crate::neutral::{
    ChatDialect, ChatRequest, Effort, Feature, Fidelity, FunctionTool, OutputFormat, ToolChoice, Unsupported,
};

const DIALECT: ChatDialect = ChatDialect::OpenAiResponses;
/// What nothing here stands for.
const LACKING: &[Feature] = &[
    Feature::AudioOutput,
    Feature::ImageOutput,
    Feature::Penalties,
    Feature::Seed,
    Feature::TopK,
    Feature::N,
    Feature::Stop,
    Feature::Logprobs,
    Feature::LogitBias,
];

/// What differs between requests to the dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponsesTarget<'a> {
    /// The model as the provider names it.
    pub model: &'a str,
    /// The cap on the answer's tokens that was paid for; `None` where none is to be written.
    pub output_cap: Option<u64>,
}

/// Writes a request's body. Nothing is kept at the vendor unless the client asks for it.
///
/// # Errors
/// The request has something that the dialect lacks, and nothing may be dropped.
pub fn write_request(
    request: &ChatRequest,
    target: &ResponsesTarget<'_>,
    fidelity: &mut Fidelity,
) -> Result<Vec<u8>, Unsupported> {
    JsonWriter::try_document(1024, |writer| write_members(writer, request, target, fidelity))
}

fn write_members(
    writer: &mut JsonWriter,
    request: &ChatRequest,
    target: &ResponsesTarget<'_>,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    writer.member_string("model", target.model);
    writer.member_array("input", |writer| {
        request.messages.iter().try_for_each(|message| write_message(writer, message, fidelity))
    })?;
    write_tools(writer, request, fidelity)?;
    writer.member_count_if("max_output_tokens", target.output_cap.or(request.output_cap));
    writer.member_raw_if("temperature", request.sampling.temperature.as_ref());
    writer.member_raw_if("top_p", request.sampling.top_p.as_ref());
    write_reasoning(writer, request, fidelity);
    write_text(writer, request);
    writer.member_raw_if("metadata", request.metadata.as_ref());
    writer.member_string_if("user", request.end_user.as_deref());
    writer.member_string_if("service_tier", request.service_tier.as_deref());
    writer.member_flag("store", request.store.unwrap_or(request.dialect == DIALECT));
    if request.stream {
        writer.member_flag("stream", true);
    }
    fidelity.lacks_asked(DIALECT, asked_of(request), LACKING)?;
    leave_out(request, &[Feature::CacheControl], fidelity);
    for (name, value) in request.rest.iter() {
        let is_own = request.dialect == DIALECT || is_advice(name);
        if is_own {
            writer.member_raw(name, value);
        } else {
            fidelity.lacks_named(DIALECT, Feature::UnknownMembers, Some(format!("`{name}`")))?;
        }
    }
    Ok(())
}

fn write_tools(
    writer: &mut JsonWriter,
    request: &ChatRequest,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    let Tools { functions, own, custom } = tools(request, DIALECT, fidelity)?;
    let custom: Vec<RawJson> = custom.into_iter().filter_map(flat_custom).collect();
    let own: Vec<&RawJson> = own.into_iter().chain(&custom).collect();
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
            let is_function = functions.iter().any(|function| function.name == *name);
            writer.member_string("type", if is_function { "function" } else { "custom" });
            writer.member_string("name", name);
        }),
        None => {}
    }
    writer.member_flag_if("parallel_tool_calls", request.parallel_tool_calls);
    Ok(())
}

/// `{"type": "custom", "custom": {…}}` of Chat Completions stands flat here.
fn flat_custom(raw: &RawJson) -> Option<RawJson> {
    let custom = raw.node().ok()?.object().ok()?.take("custom").filter(|node| node.kind() == Kind::Object)?;
    let members = custom.object().ok()?.rest();
    let json = JsonWriter::document(128, |writer| {
        writer.member_string("type", "custom");
        writer.rest(&members);
    });
    RawJson::new(String::from_utf8(json).ok()?).ok()
}

fn write_function(writer: &mut JsonWriter, function: &FunctionTool) {
    writer.object(|writer| {
        writer.member_string("type", "function");
        writer.member_string("name", &function.name);
        writer.member_string_if("description", function.description.as_deref());
        match &function.parameters {
            Some(parameters) => writer.member_raw("parameters", parameters),
            None => writer.member_null("parameters"),
        }
        // strict is the default here, and not elsewhere
        writer.member_flag("strict", function.strict.unwrap_or(false));
    });
}

fn write_reasoning(writer: &mut JsonWriter, request: &ChatRequest, fidelity: &mut Fidelity) {
    let Some(reasoning) = &request.reasoning else { return };
    if reasoning.effort.is_none() && reasoning.budget_tokens.is_some() {
        fidelity.approximates(Feature::ReasoningEffort, "a budget of tokens becomes the nearest effort");
    }
    let effort = reasoning.effort.or_else(|| reasoning.budget_tokens.map(Effort::from_budget_tokens));
    let summary = reasoning.summary.as_deref().or(Some("auto").filter(|_| reasoning.is_shown == Some(true)));
    writer.member_object("reasoning", |writer| {
        writer.member_string_if("effort", effort.map(Effort::name));
        writer.member_string_if("summary", summary);
    });
}

fn write_text(writer: &mut JsonWriter, request: &ChatRequest) {
    if request.format.is_none() && request.verbosity.is_none() {
        return;
    }
    writer.member_object("text", |writer| {
        match &request.format {
            None => {}
            Some(OutputFormat::Text) => {
                writer.member_object("format", |writer| writer.member_string("type", "text"));
            }
            Some(OutputFormat::JsonObject) => {
                writer.member_object("format", |writer| writer.member_string("type", "json_object"));
            }
            Some(OutputFormat::JsonSchema { name, description, schema, strict }) => {
                writer.member_object("format", |writer| {
                    writer.member_string("type", "json_schema");
                    writer.member_string("name", name.as_deref().unwrap_or("answer"));
                    writer.member_string_if("description", description.as_deref());
                    writer.member_raw("schema", schema);
                    writer.member_flag_if("strict", *strict);
                });
            }
        }
        writer.member_string_if("verbosity", request.verbosity.as_deref());
    });
}
