//! What the writers of the vendors' dialects share.

use super::{
    ChatDialect, ChatRequest, Feature, Fidelity, FunctionTool, Message, OutputFormat, Part, PartKind, Role,
    Sampling, Tool, Unsupported,
};
use crate::json::{JsonWriter, Kind, RawJson};

/// Whose turn it is (the assistant's or not), and what is said in it.
pub(crate) type Turn<'a> = (bool, Vec<&'a Part>);

const fn is_system(message: &Message) -> bool {
    matches!(message.role, Role::System | Role::Developer)
}

/// The parts of all system prompts, for a dialect that has one place for them.
pub(crate) fn system_parts<'a>(request: &'a ChatRequest, fidelity: &mut Fidelity) -> Vec<&'a Part> {
    let n_leading = request.messages.iter().take_while(|message| is_system(message)).count();
    if request.messages[n_leading..].iter().any(is_system) {
        fidelity.approximates(Feature::SystemBetweenTurns, "prompts between turns join the system prompt");
    }
    request.messages.iter().filter(|message| is_system(message)).flat_map(|message| &message.parts).collect()
}

/// The conversation for a dialect whose turns alternate: neighbours of a side become one, empty ones are left out.
pub(crate) fn turns<'a>(request: &'a ChatRequest, fidelity: &mut Fidelity) -> Vec<Turn<'a>> {
    let mut turns: Vec<Turn<'a>> = Vec::new();
    for message in request.messages.iter().filter(|message| !is_system(message)) {
        if message.name.is_some() {
            fidelity.approximates(Feature::Names, "speakers' names are left out");
        }
        let is_assistant = message.role == Role::Assistant;
        match turns.last_mut() {
            Some((side, parts)) if *side == is_assistant => parts.extend(&message.parts),
            _ => turns.push((is_assistant, message.parts.iter().collect())),
        }
    }
    turns.retain(|(_, parts)| !parts.is_empty());
    turns
}

/// Tools' answers before what else the user says: some dialects want them first.
pub(crate) fn results_first<'a>(parts: &[&'a Part]) -> Vec<&'a Part> {
    let is_result = |part: &&Part| matches!(part.kind, PartKind::ToolResult(_));
    let (mut ordered, then): (Vec<&Part>, Vec<&Part>) = parts.iter().copied().partition(is_result);
    ordered.extend(then);
    ordered
}

/// A request's tools, for one dialect.
pub(crate) struct Tools<'a> {
    pub(crate) functions: Vec<&'a FunctionTool>,
    /// Tools of the dialect's own.
    pub(crate) own: Vec<&'a RawJson>,
    /// Custom tools of Chat Completions, for Responses.
    pub(crate) custom: Vec<&'a RawJson>,
}

/// Tells a request's tools apart; those that other vendors run are refused.
pub(crate) fn tools<'a>(
    request: &'a ChatRequest,
    target: ChatDialect,
    fidelity: &mut Fidelity,
) -> Result<Tools<'a>, Unsupported> {
    let mut tools = Tools { functions: Vec::new(), own: Vec::new(), custom: Vec::new() };
    for tool in &request.tools {
        match tool {
            Tool::Function(function) => tools.functions.push(function),
            Tool::Foreign { dialect, raw, .. } if *dialect == target => tools.own.push(raw),
            Tool::Foreign { dialect: ChatDialect::OpenAiChat, name, raw } if name == "custom" => {
                if target == ChatDialect::OpenAiResponses {
                    tools.custom.push(raw);
                } else {
                    fidelity.lacks(target, Feature::CustomTools)?;
                }
            }
            Tool::Foreign { name, .. } => {
                let what = Some(format!("a tool of type `{name}`"));
                fidelity.lacks_named(target, Feature::VendorTools, what)?;
            }
        }
    }
    Ok(tools)
}

/// What a request asks for that some dialects lack.
pub(crate) fn asked_of(request: &ChatRequest) -> impl Iterator<Item = Feature> {
    let sampling = &request.sampling;
    let is_set = |raw: &Option<RawJson>| raw.as_ref().is_some_and(|raw| !is_nothing(raw));
    let is_usual = |tier: &str| matches!(tier, "auto" | "default");
    [
        (matches!(request.format, Some(OutputFormat::JsonObject)), Feature::JsonObject),
        (matches!(request.format, Some(OutputFormat::JsonSchema { .. })), Feature::JsonSchema),
        (request.store == Some(true), Feature::Store),
        (request.service_tier.as_deref().is_some_and(|tier| !is_usual(tier)), Feature::ServiceTier),
        (is_set(&sampling.frequency_penalty) || is_set(&sampling.presence_penalty), Feature::Penalties),
        (sampling.seed.is_some(), Feature::Seed),
        (sampling.top_k.is_some(), Feature::TopK),
        (sampling.n.is_some_and(|n| n > 1), Feature::N),
        (!sampling.stop.is_empty(), Feature::Stop),
        (sampling.logprobs == Some(true) || sampling.top_logprobs.is_some(), Feature::Logprobs),
        (sampling.logit_bias.as_ref().is_some_and(|raw| raw.text() != "{}"), Feature::LogitBias),
    ]
    .into_iter()
    .filter_map(|(is_asked_for, feature)| is_asked_for.then_some(feature))
    .chain(request.beside_text())
}

/// Refuses members that nobody understood, but for those that only advise.
pub(crate) fn refuse_unknown_members(
    request: &ChatRequest,
    target: ChatDialect,
    fidelity: &mut Fidelity,
) -> Result<(), Unsupported> {
    match request.rest.iter().find(|(name, value)| !is_advice(name) && !asks_for_nothing(value)) {
        Some((name, _)) => fidelity.lacks_named(target, Feature::UnknownMembers, Some(format!("`{name}`"))),
        None => Ok(()),
    }
}

/// Whether a member that nobody understood is empty: clients write lists of settings that have none.
fn asks_for_nothing(value: &RawJson) -> bool {
    let text: String = value.text().split_ascii_whitespace().collect();
    matches!(text.as_str(), "null" | "[]" | "{}")
}

/// Notes which of `without` the request has: an answer is the same without them.
pub(crate) fn leave_out(request: &ChatRequest, without: &[Feature], fidelity: &mut Fidelity) {
    let mut parts = request.messages.iter().flat_map(|message| &message.parts);
    let left_out = [
        (request.metadata.is_some(), Feature::Metadata, "marks for the vendor's own lists are left out"),
        (request.verbosity.is_some(), Feature::Verbosity, "left out: the prompt decides there"),
        (request.end_user.is_some(), Feature::EndUser, "known to the gateway only"),
        (
            parts.any(|part| part.cache.is_some()),
            Feature::CacheControl,
            "left out: prompts are cached without marks there",
        ),
    ];
    for (is_there, feature, how) in left_out {
        if is_there && without.contains(&feature) {
            fidelity.approximates(feature, how);
        }
    }
}

/// The texts that end the answer, as many as the target takes.
///
/// # Errors
/// There are more, and nothing may be dropped.
pub(crate) fn stops<'a>(
    sampling: &'a Sampling,
    target: ChatDialect,
    n_most: usize,
    fidelity: &mut Fidelity,
) -> Result<&'a [String], Unsupported> {
    match sampling.stop.get(..n_most) {
        Some(first) if sampling.stop.len() > n_most => {
            let what = format!("more than {n_most} stop sequences");
            fidelity.lacks_named(target, Feature::Stop, Some(what)).map(|()| first)
        }
        _ => Ok(&sampling.stop),
    }
}

/// A temperature for a dialect whose range ends at 1.
pub(crate) fn write_temperature_up_to_one(
    writer: &mut JsonWriter,
    sampling: &Sampling,
    fidelity: &mut Fidelity,
) {
    match &sampling.temperature {
        Some(temperature) if is_above_one(temperature.text()) => {
            fidelity.approximates(Feature::Temperature, "temperatures above 1 become 1");
            writer.member_count("temperature", 1);
        }
        temperature => writer.member_raw_if("temperature", temperature.as_ref()),
    }
}

/// An object whose `type` comes first.
pub(crate) fn typed(writer: &mut JsonWriter, name: &str, members: impl FnOnce(&mut JsonWriter)) {
    writer.object(|writer| {
        writer.member_string("type", name);
        members(writer);
    });
}

/// Members of OpenAI's that only help its own caches and safety systems.
pub(crate) fn is_advice(name: &str) -> bool {
    matches!(name, "prompt_cache_key" | "prompt_cache_retention" | "safety_identifier")
}

/// Whether a JSON number is larger than one, told from its digits.
fn is_above_one(number: &str) -> bool {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_zero = |digits: &str| digits.bytes().all(|digit| digit == b'0');
    if exponent.trim_start_matches(['+', '-', '0']).is_empty() {
        return match whole {
            "0" => false,
            "1" => !is_zero(fraction),
            other => !other.starts_with('-'),
        };
    }
    let is_negative = exponent.starts_with('-') || whole.starts_with('-');
    let is_zero = is_zero(whole) && is_zero(fraction);
    !is_negative && !is_zero
}

/// Whether a number is zero: a penalty of nothing asks for nothing.
fn is_nothing(number: &RawJson) -> bool {
    number.text().bytes().all(|byte| matches!(byte, b'0' | b'.' | b'-'))
}

/// Arguments as the object they must be here; none at all are an empty one.
pub(crate) fn object_of(arguments: &str) -> Option<RawJson> {
    let text = if arguments.trim().is_empty() { "{}" } else { arguments };
    let raw = RawJson::new(text).ok()?;
    let is_object = raw.node().ok()?.kind() == Kind::Object;
    is_object.then_some(raw)
}

/// Ids have letters, digits, `_` and `-` only here; other dialects' may have more.
pub(crate) fn usable_id(id: &str) -> String {
    let usable = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' };
    id.chars().map(usable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temperatures_are_compared_by_their_digits() {
        for (number, expected) in [
            ("0", false),
            ("0.99", false),
            ("1", false),
            ("1.0", false),
            ("1.01", true),
            ("2", true),
            ("10", true),
            ("-3", false),
            ("1e0", false),
            ("1e1", true),
            ("15e-1", false),
            ("0e5", false),
        ] {
            assert_eq!(is_above_one(number), expected, "{number}");
        }
    }

    #[test]
    fn turns_alternate_and_answers_of_tools_come_first() {
        let text = |role, text: &str| Message::new(role, vec![Part::text(text.to_owned())]);
        let result = super::super::ToolResult {
            call_id: "c".into(),
            name: None,
            content: Vec::new(),
            is_error: false,
        };
        let request = ChatRequest {
            messages: vec![
                text(Role::System, "s1"),
                text(Role::User, "u1"),
                Message::new(Role::Tool, vec![Part::new(PartKind::ToolResult(result))]),
                Message::new(Role::Assistant, Vec::new()),
                text(Role::Developer, "s2"),
                text(Role::Assistant, "a1"),
            ],
            ..ChatRequest::default()
        };
        let mut fidelity = Fidelity::new(super::super::Mode::Refuse);
        let turns = turns(&request, &mut fidelity);
        let shape: Vec<(bool, usize)> = turns.iter().map(|(side, parts)| (*side, parts.len())).collect();
        assert_eq!(shape, [(false, 2), (true, 1)]);
        let ordered = results_first(&turns[0].1);
        assert!(matches!(ordered[0].kind, PartKind::ToolResult(_)) && ordered.len() == 2);
        assert_eq!(system_parts(&request, &mut fidelity).len(), 2);
        assert_eq!(fidelity.approximated().len(), 1, "a prompt between turns is told of");
    }
}
