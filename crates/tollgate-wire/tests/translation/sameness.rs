//! Whether two requests or two answers say the same, aspect by aspect.
//!
//! Left aside is what no model can tell: how turns of one side are cut into messages, which of two words a role
//! has, names that only match calls with their results, labels of schemas.

use std::collections::BTreeMap;

use serde_json::Value;
use tollgate_domain::{Meter, Usage};
use tollgate_wire::neutral::{
    ChatAnswer, ChatRequest, Media, OutputFormat, Part, PartKind, Reasoning, Role, Tool, ToolCall, ToolChoice,
};

/// What is said, by aspect.
pub(crate) type Aspects = BTreeMap<&'static str, String>;

/// The aspects in which two differ.
pub(crate) fn differences(left: &Aspects, right: &Aspects) -> Vec<String> {
    let names: std::collections::BTreeSet<_> = left.keys().chain(right.keys()).collect();
    let differing = names.into_iter().filter(|name| left.get(*name) != right.get(*name));
    let shown = |side: &Aspects, name: &str| side.get(name).cloned().unwrap_or_default();
    differing.map(|name| format!("{name}: {} became {}", shown(left, name), shown(right, name))).collect()
}

/// A request's.
pub(crate) fn of_request(request: &ChatRequest) -> Aspects {
    let mut aspects = Aspects::new();
    let mut told = |name: &'static str, value: Option<String>| {
        if let Some(value) = value {
            aspects.insert(name, value);
        }
    };
    let n_leading = request.messages.iter().take_while(|message| is_system(message.role)).count();
    let (leading, turns) = request.messages.split_at(n_leading);
    let mut calls = Vec::new();
    let system = leading.iter().flat_map(|message| &message.parts).map(|part| part_text(part, &mut calls));
    told("system", Some(system.collect::<Vec<_>>().join("|")));
    let mut sides: Vec<(&str, Vec<String>)> = Vec::new();
    for message in turns {
        let side = match message.role {
            Role::System | Role::Developer => "system",
            Role::User | Role::Tool => "user",
            Role::Assistant => "assistant",
        };
        let parts = message.parts.iter().map(|part| part_text(part, &mut calls));
        match sides.last_mut() {
            Some((last, texts)) if *last == side => texts.extend(parts),
            _ => sides.push((side, parts.collect())),
        }
    }
    told("turns", Some(format!("{sides:?}")));
    let parts = || request.messages.iter().flat_map(|message| &message.parts);
    let marks: Vec<_> = parts().filter_map(|part| part.cache.clone()).collect();
    told("cache marks", (!marks.is_empty()).then(|| format!("{marks:?}")));
    let rests: Vec<_> = parts().filter(|part| !part.rest.is_empty()).map(|part| &part.rest).collect();
    told("members of parts", (!rests.is_empty()).then(|| format!("{rests:?}")));
    let names: Vec<_> = request.messages.iter().filter_map(|message| message.name.clone()).collect();
    told("names", (!names.is_empty()).then(|| format!("{names:?}")));
    tools(request, &mut told);
    settings(request, &mut told);
    aspects
}

const fn is_system(role: Role) -> bool {
    matches!(role, Role::System | Role::Developer)
}

fn tools(request: &ChatRequest, told: &mut impl FnMut(&'static str, Option<String>)) {
    let mut tools = Vec::new();
    let mut is_strict = false;
    for tool in &request.tools {
        tools.push(match tool {
            Tool::Function(function) => {
                is_strict |= function.strict == Some(true);
                let parameters = function.parameters.as_ref().map(|raw| json(raw.text()));
                format!("{} {:?} {parameters:?}", function.name, function.description)
            }
            Tool::Foreign { raw, .. } => flat(json(raw.text())).to_string(),
        });
    }
    told("tools", (!tools.is_empty()).then(|| tools.join(", ")));
    told("strict tools", is_strict.then(|| "yes".to_owned()));
    let choice = request.tool_choice.as_ref().filter(|choice| **choice != ToolChoice::Auto);
    told("tool choice", choice.map(|choice| format!("{choice:?}")));
    told("parallel calls", request.parallel_tool_calls.map(|flag| flag.to_string()));
}

fn settings(request: &ChatRequest, told: &mut impl FnMut(&'static str, Option<String>)) {
    let sampling = &request.sampling;
    for (name, value) in [
        ("temperature", &sampling.temperature),
        ("top_p", &sampling.top_p),
        ("top_k", &sampling.top_k),
        ("frequency penalty", &sampling.frequency_penalty),
        ("presence penalty", &sampling.presence_penalty),
        ("seed", &sampling.seed),
        ("logit bias", &sampling.logit_bias),
    ] {
        told(name, value.as_ref().map(|raw| raw.text().to_owned()));
    }
    told("stop", (!sampling.stop.is_empty()).then(|| format!("{:?}", sampling.stop)));
    told("answers", sampling.n.filter(|n| *n != 1).map(|n| n.to_string()));
    told("logprobs", sampling.logprobs.filter(|flag| *flag).map(|_| format!("{:?}", sampling.top_logprobs)));
    told(
        "format",
        match &request.format {
            None | Some(OutputFormat::Text) => None,
            Some(OutputFormat::JsonObject) => Some("JSON".to_owned()),
            Some(OutputFormat::JsonSchema { schema, .. }) => Some(json(schema.text()).to_string()),
        },
    );
    told("reasoning", request.reasoning.as_ref().map(reasoning));
    told("verbosity", request.verbosity.clone());
    told("end user", request.end_user.clone());
    told("tier", request.service_tier.clone());
    told("metadata", request.metadata.as_ref().map(|raw| json(raw.text()).to_string()));
    told("store", request.store.filter(|store| *store).map(|_| "yes".to_owned()));
    told("stream", request.stream.then(|| "yes".to_owned()));
    let modalities: Vec<_> = request.modalities.iter().filter(|modality| *modality != "text").collect();
    told("modalities", (!modalities.is_empty()).then(|| format!("{modalities:?}")));
    told("unknown members", (!request.rest.is_empty()).then(|| format!("{:?}", request.rest)));
}

/// How much to think; whether it is shown is only a wish.
fn reasoning(reasoning: &Reasoning) -> String {
    if reasoning.is_adaptive {
        return "adaptive".to_owned();
    }
    match (reasoning.effort, reasoning.budget_tokens) {
        (Some(effort), None) => format!("{effort:?}"),
        (None, Some(0)) => "None".to_owned(),
        (effort, budget) => format!("{effort:?} {budget:?}"),
    }
}

/// OpenAI's custom tools stand flat in one of its dialects and not in the other.
fn flat(mut tool: Value) -> Value {
    if let Some(Value::Object(members)) = tool.as_object_mut().and_then(|tool| tool.remove("custom")) {
        tool.as_object_mut().unwrap().extend(members);
    }
    tool
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn part_text(part: &Part, calls: &mut Vec<String>) -> String {
    match &part.kind {
        PartKind::ToolCall(call) => {
            calls.push(call.id.clone());
            call_text(call)
        }
        PartKind::ToolResult(result) => {
            let answered = calls.iter().position(|id| *id == result.call_id);
            let content: Vec<String> =
                result.content.iter().map(|part| part_text(part, &mut Vec::new())).collect();
            let failed = if result.is_error { "failed " } else { "" };
            format!("result {failed}of call {answered:?}: {}", content.join("|"))
        }
        PartKind::Image { source, detail } => format!("image {} {detail:?}", media(source)),
        PartKind::Audio { source } => format!("audio {}", media(source)),
        PartKind::Video { source } => format!("video {}", media(source)),
        PartKind::File { source, name } => {
            // some dialects must have a name
            format!("file {} {}", media(source), name.as_deref().unwrap_or("document.pdf"))
        }
        PartKind::Text { text, .. } => format!("`{text}`"),
        other => format!("{other:?}"),
    }
}

fn call_text(call: &ToolCall) -> String {
    // no arguments at all are an empty object
    let text = if call.arguments.is_empty() { "{}" } else { &call.arguments };
    let arguments = if call.is_custom { call.arguments.clone() } else { json(text).to_string() };
    format!("call {} {arguments} signed {:?}", call.name, call.signature)
}

fn media(media: &Media) -> String {
    match media {
        Media::Url { url, .. } => url.clone(),
        other => format!("{other:?}"),
    }
}

/// What a part says of one aspect.
type OfPart = fn(&PartKind) -> Option<String>;

/// The aspects that are told part by part.
const PARTS: [(&str, OfPart); 8] = [
    ("text", |kind| match kind {
        PartKind::Text { text, .. } => Some(text.clone()),
        _ => None,
    }),
    ("reasoning", |kind| match kind {
        PartKind::Thinking { text, .. } => Some(text.clone()),
        _ => None,
    }),
    ("proof of reasoning", |kind| match kind {
        PartKind::Thinking { signature, .. } => signature.clone(),
        PartKind::HiddenThinking { data } => Some(data.clone()),
        _ => None,
    }),
    ("refusal", |kind| match kind {
        PartKind::Refusal { text } => Some(text.clone()),
        _ => None,
    }),
    ("calls", |kind| match kind {
        PartKind::ToolCall(call) => Some(call_text(&ToolCall { signature: None, ..call.clone() })),
        _ => None,
    }),
    ("proof of calls", |kind| match kind {
        PartKind::ToolCall(call) => call.signature.clone(),
        _ => None,
    }),
    ("pictures", |kind| match kind {
        PartKind::Image { source, .. } => Some(media(source)),
        _ => None,
    }),
    ("citations", |kind| match kind {
        PartKind::Text { citations, .. } => citations.as_ref().map(|raw| json(raw.text()).to_string()),
        _ => None,
    }),
];

/// An answer's.
pub(crate) fn of_answer(answer: &ChatAnswer) -> Aspects {
    let mut aspects = Aspects::new();
    aspects.insert("model", answer.model.clone());
    aspects.insert("tier", answer.service_tier.clone().unwrap_or_default());
    aspects.insert("answers", answer.choices.len().to_string());
    let mut told = |name: &'static str, value: Vec<String>| {
        let is_empty = value.iter().all(String::is_empty);
        aspects.insert(name, if is_empty { String::new() } else { value.join("; ") });
    };
    let choices = || answer.choices.iter();
    let of_kind = |wanted: OfPart| -> Vec<String> {
        choices()
            .map(|choice| {
                choice.parts.iter().filter_map(|part| wanted(&part.kind)).collect::<Vec<_>>().concat()
            })
            .collect()
    };
    for (name, of_part) in PARTS {
        told(name, of_kind(of_part));
    }
    told("end", choices().map(|choice| format!("{:?}", choice.finish)).collect());
    told("stop sequence", choices().filter_map(|choice| choice.stop_sequence.clone()).collect());
    told(
        "logprobs",
        choices().filter_map(|choice| choice.logprobs.as_ref()).map(|raw| raw.text().to_owned()).collect(),
    );
    told("usage", answer.usage.iter().map(usage).collect());
    aspects
}

fn usage(usage: &Usage) -> String {
    let counts = Meter::ALL.iter().map(|meter| (meter, usage.get(*meter))).filter(|(_, count)| *count > 0);
    counts.map(|(meter, count)| format!("{meter:?} {count}")).collect::<Vec<_>>().join(", ")
}
