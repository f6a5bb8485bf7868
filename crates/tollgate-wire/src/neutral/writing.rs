//! What the writers of the vendors' dialects share.

use super::{ChatRequest, Feature, Fidelity, Message, Part, PartKind, Role};
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
pub(crate) fn is_above_one(number: &str) -> bool {
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
pub(crate) fn is_nothing(number: &RawJson) -> bool {
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
