//! What vendors that speak Chat Completions do otherwise: refused by name before anything is held, or written as they
//! know it. The facts are the catalogue's.

use bytes::Bytes;
use tollgate_catalog::{OutputCapName, VendorQuirks};
use tollgate_domain::{ErrorKind, Surface};
use tollgate_policy::{Candidate, Dialect};
use tollgate_wire::json::{JsonWriter, Node, RawJson, ReadError, Rest};
use tollgate_wire::neutral::Feature;
use tollgate_wire::openai::request::{OutputCapField, RequestSkim};

use crate::error::Refusal;

/// Refuses what the candidate's vendor would answer with an error; answers what is left out instead, where `drops`
/// allows it.
pub(crate) fn check(
    candidate: &Candidate,
    skim: &RequestSkim,
    body: &[u8],
    drops: bool,
) -> Result<Vec<String>, Refusal> {
    let quirks = &candidate.quirks;
    if !is_text(skim.surface) || !quirks.concern_members() {
        return Ok(Vec::new());
    }
    let mut lacks = Lacks { provider: &candidate.provider.name, drops, dropped: Vec::new() };
    if quirks.single_choice && skim.n_billed_choices() > 1 {
        lacks.refuse("n", "`n` above 1", "ask once for each")?;
    }
    if !may_refuse_members(quirks) {
        return Ok(Vec::new());
    }
    let members = members(body)?;
    for member in &quirks.refused {
        if members.get(member).is_some_and(|raw| !says_nothing(raw)) {
            lacks.note(member, &format!("`{member}`"))?;
        }
    }
    if let (Some(most), Some(stop)) = (quirks.max_stop_sequences, members.get("stop"))
        && n_elements(stop) > most
    {
        lacks.note("stop", &format!("`stop` with more than {most} texts"))?;
    }
    if !quirks.takes_json_schema && members.get("response_format").is_some_and(is_json_schema) {
        lacks.refuse("response_format", "`response_format` of type `json_schema`", "use another model")?;
    }
    for member in &quirks.refused_in_messages {
        if members.get("messages").is_some_and(|messages| any_has(messages, member)) {
            lacks.note(member, &format!("`{member}` of a message"))?;
        }
    }
    Ok(lacks.dropped)
}

/// What a candidate lacks of a request.
struct Lacks<'a> {
    provider: &'a str,
    drops: bool,
    dropped: Vec<String>,
}

impl Lacks<'_> {
    /// Leaves it out where that is allowed and harmless.
    fn note(&mut self, member: &str, what: &str) -> Result<(), Refusal> {
        if self.drops && Feature::is_droppable_member(member) {
            self.dropped.push(member.to_owned());
            return Ok(());
        }
        self.refuse(member, what, "leave it out")
    }

    fn refuse(&self, member: &str, what: &str, instead: &str) -> Result<(), Refusal> {
        let message = format!("{what} is not supported by the provider `{}`: {instead}", self.provider);
        Err(Refusal::new(ErrorKind::InvalidRequest, message).with_param(member))
    }
}

fn may_refuse_members(quirks: &VendorQuirks) -> bool {
    !quirks.refused.is_empty()
        || !quirks.refused_in_messages.is_empty()
        || quirks.max_stop_sequences.is_some()
        || !quirks.takes_json_schema
}

/// Whether a vendor's quirks can change a body of the surface.
pub(crate) fn may_change(quirks: &VendorQuirks, surface: Surface) -> bool {
    is_text(surface) && quirks.concern_members()
}

/// The body as the vendor takes it; the same where nothing in it concerns a quirk. What is refused was refused before:
/// what is still there may be left out.
pub(crate) fn applied(quirks: &VendorQuirks, surface: Surface, body: Bytes) -> Bytes {
    if !may_change(quirks, surface) {
        return body;
    }
    let Ok(members) = members(&body) else { return body };
    let is_concerned = |(name, value): &(&str, &RawJson)| match *name {
        "stream_options" => !quirks.takes_stream_options,
        "n" => quirks.single_choice,
        "messages" => concerns_messages(quirks, value),
        "stop" if quirks.max_stop_sequences.is_some_and(|most| n_elements(value) > most) => true,
        name => quirks.renamed.contains_key(name) || quirks.refused.iter().any(|refused| refused == name),
    };
    if !members.iter().any(|member| is_concerned(&member)) {
        return body;
    }
    let written = JsonWriter::document(body.len() + 32, |writer| {
        for (name, value) in members.iter() {
            match quirks.renamed.get(name) {
                // under its new name it is there already
                Some(new) if members.get(new).is_some() => {}
                Some(new) => writer.member_raw(new, value),
                None if !is_concerned(&(name, value)) => writer.member_raw(name, value),
                None if name == "messages" => {
                    writer.key(name);
                    write_messages(writer, quirks, value);
                }
                None if name == "stop" && !quirks.refused.iter().any(|refused| refused == name) => {
                    write_first(writer, value, quirks.max_stop_sequences.unwrap_or(usize::MAX));
                }
                None => {}
            }
        }
    });
    Bytes::from(written)
}

/// Whether messages have something that the vendor does not take, as far as their text shows.
fn concerns_messages(quirks: &VendorQuirks, messages: &RawJson) -> bool {
    let text = messages.text();
    (!quirks.takes_developer_role && text.contains("\"developer\""))
        || quirks.refused_in_messages.iter().any(|member| any_has(messages, member))
}

/// Messages with the roles and the members that the vendor knows.
fn write_messages(writer: &mut JsonWriter, quirks: &VendorQuirks, messages: &RawJson) {
    let Ok(all) = messages.node().map_err(ReadError::from).and_then(|node| Ok(node.array()?)) else {
        return writer.raw(messages);
    };
    writer.array(|writer| {
        for message in all {
            let Ok(members) = message.object() else {
                writer.raw(&message.raw());
                continue;
            };
            writer.object(|writer| {
                for (name, value) in members.rest().iter() {
                    if quirks.refused_in_messages.iter().any(|refused| refused == name) {
                        continue;
                    }
                    if name == "role" && value.text() == "\"developer\"" && !quirks.takes_developer_role {
                        writer.member_string("role", "system");
                    } else {
                        writer.member_raw(name, value);
                    }
                }
            });
        }
    });
}

/// The first texts of `stop`.
fn write_first(writer: &mut JsonWriter, stop: &RawJson, n_most: usize) {
    let Ok(texts) = stop.node().map_err(ReadError::from).and_then(|node| Ok(node.array()?)) else { return };
    writer.member_array("stop", |writer| {
        texts.iter().take(n_most).for_each(|text| writer.raw(&text.raw()));
    });
}

/// How many elements an array has; 1 for anything else.
fn n_elements(value: &RawJson) -> usize {
    value.node().ok().and_then(|node| node.array().ok()).map_or(1, |elements| elements.len())
}

/// Whether any of the messages has that member.
fn any_has(messages: &RawJson, member: &str) -> bool {
    if !messages.text().contains(member) {
        return false;
    }
    let has = |message: &Node<'_>| message.object().is_ok_and(|mut members| members.take(member).is_some());
    messages.node().ok().and_then(|node| node.array().ok()).is_some_and(|all| all.iter().any(has))
}

fn is_json_schema(format: &RawJson) -> bool {
    let kind = format.node().ok().and_then(|node| node.object().ok()?.string("type").ok()?);
    kind.as_deref() == Some("json_schema")
}

/// The one name of the output cap that the vendor obeys.
pub(crate) fn output_cap_field(candidate: &Candidate) -> OutputCapField {
    match candidate.quirks.output_cap_of(&candidate.model) {
        OutputCapName::MaxTokens if !is_azure(candidate) => OutputCapField::MaxTokens,
        _ => OutputCapField::MaxCompletionTokens,
    }
}

/// OpenAI's models on Azure have no vendor of their own in the catalogue, and a deployment's name says nothing of its
/// model: the newer name is the one that all of them take.
fn is_azure(candidate: &Candidate) -> bool {
    candidate.provider.dialect == Dialect::AzureOpenai
        || candidate.provider.base_url.contains(".openai.azure.com")
}

/// The surfaces whose members the catalogue tells of.
const fn is_text(surface: Surface) -> bool {
    matches!(surface, Surface::Chat | Surface::Completions)
}

fn members(body: &[u8]) -> Result<Rest, ReadError> {
    Ok(Node::parse(body)?.object()?.rest())
}

/// What says what its absence says: it is left out rather than refused.
fn says_nothing(value: &RawJson) -> bool {
    matches!(value.text(), "false" | "0" | "0.0" | "{}" | "[]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quirks(text: &str) -> VendorQuirks {
        let vendors = format!(
            r#"[{{"name": "v", "dialect": "openai", "base_url": "", "quirks": {text}, "models": []}}]"#
        );
        tollgate_catalog::Catalog::from_json(&vendors).unwrap().vendors()[0].quirks.clone()
    }

    #[test]
    fn bodies_are_written_as_the_vendor_knows_them() {
        let mistral = r#"{"takes_stream_options": false,
            "renamed": {"max_completion_tokens": "max_tokens", "seed": "random_seed"}}"#;
        let groq = r#"{"refused": ["logprobs"], "single_choice": true}"#;
        let strict =
            r#"{"takes_developer_role": false, "refused_in_messages": ["name"], "max_stop_sequences": 1}"#;
        let cases = [
            (mistral, r#"{"model": "m", "a": 1.50}"#, r#"{"model": "m", "a": 1.50}"#),
            (mistral, r#"{"seed": 5,"stream_options":{"include_usage":true}}"#, r#"{"random_seed":5}"#),
            (mistral, r#"{"max_completion_tokens":9}"#, r#"{"max_tokens":9}"#),
            (mistral, r#"{"max_tokens":5,"max_completion_tokens":9}"#, r#"{"max_tokens":5}"#),
            (groq, r#"{"n":1,"logprobs":false,"m":{"n":2}}"#, r#"{"m":{"n":2}}"#),
            ("{}", r#"{"n":1}"#, r#"{"n":1}"#),
            (
                strict,
                r#"{"messages":[{"role": "user"}], "stop":"a"}"#,
                r#"{"messages":[{"role": "user"}], "stop":"a"}"#,
            ),
            (strict, r#"{"stop":["a","b"],"x":1.0}"#, r#"{"stop":["a"],"x":1.0}"#),
            (
                strict,
                r#"{"messages":[{"role":"developer","content":"developer"},7,{"name":"n","role":"user"}],"t":1e3}"#,
                r#"{"messages":[{"role":"system","content":"developer"},7,{"role":"user"}],"t":1e3}"#,
            ),
        ];
        for (text, body, expected) in cases {
            let out = applied(&quirks(text), Surface::Chat, Bytes::from_static(body.as_bytes()));
            assert_eq!(String::from_utf8(out.to_vec()).unwrap(), expected, "{text}");
        }
    }
}
