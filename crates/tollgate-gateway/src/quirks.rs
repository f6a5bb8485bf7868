//! What vendors that speak Chat Completions do otherwise: refused by name before anything is held, or written as they
//! know it. The facts are the catalogue's.

use bytes::Bytes;
use tollgate_catalog::{OutputCapName, VendorQuirks};
use tollgate_domain::{ErrorKind, Surface};
use tollgate_policy::Candidate;
use tollgate_wire::json::{JsonWriter, Node, RawJson, ReadError, Rest};
use tollgate_wire::openai::request::{OutputCapField, RequestSkim};

use crate::error::Refusal;

/// Refuses what the candidate's vendor would answer with an error.
pub(crate) fn check(candidate: &Candidate, skim: &RequestSkim, body: &[u8]) -> Result<(), Refusal> {
    let quirks = &candidate.quirks;
    if !is_text(skim.surface) || (quirks.refused.is_empty() && !quirks.single_choice) {
        return Ok(());
    }
    let name = &candidate.provider.name;
    let refuse = |member: &str, message: String| {
        Err(Refusal::new(ErrorKind::InvalidRequest, message).with_param(member))
    };
    if quirks.single_choice && skim.n_billed_choices() > 1 {
        return refuse(
            "n",
            format!("`n` above 1 is not supported by the provider `{name}`: ask once for each"),
        );
    }
    if quirks.refused.is_empty() {
        return Ok(());
    }
    let members = members(body)?;
    let refused = quirks.refused.iter().find(|name| members.get(name).is_some_and(|raw| !says_nothing(raw)));
    match refused {
        Some(member) => {
            refuse(member, format!("`{member}` is not supported by the provider `{name}`: leave it out"))
        }
        None => Ok(()),
    }
}

/// The body as the vendor takes it; the same where nothing in it concerns a quirk.
pub(crate) fn applied(quirks: &VendorQuirks, surface: Surface, body: Bytes) -> Bytes {
    if !is_text(surface) || !quirks.concern_members() {
        return body;
    }
    let Ok(members) = members(&body) else { return body };
    let is_concerned = |name: &str| {
        quirks.renamed.contains_key(name)
            || quirks.refused.iter().any(|refused| refused == name)
            || (name == "stream_options" && !quirks.takes_stream_options)
            || (name == "n" && quirks.single_choice)
    };
    if !members.iter().any(|(name, _)| is_concerned(name)) {
        return body;
    }
    let written = JsonWriter::document(body.len() + 32, |writer| {
        for (name, value) in members.iter() {
            match quirks.renamed.get(name) {
                // under its new name it is there already
                Some(new) if members.get(new).is_some() => {}
                Some(new) => writer.member_raw(new, value),
                None if is_concerned(name) => {}
                None => writer.member_raw(name, value),
            }
        }
    });
    Bytes::from(written)
}

/// The name of the output cap that the vendor is sure to obey.
pub(crate) fn output_cap_field(candidate: &Candidate) -> OutputCapField {
    // OpenAI's models on Azure have no vendor of their own in the catalogue
    let is_azure = candidate.provider.base_url.contains(".openai.azure.com");
    match candidate.quirks.output_cap {
        OutputCapName::MaxTokens if !is_azure => OutputCapField::MaxTokens,
        _ => OutputCapField::MaxCompletionTokens,
    }
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
        let cases = [
            (mistral, r#"{"model": "m", "a": 1.50}"#, r#"{"model": "m", "a": 1.50}"#),
            (mistral, r#"{"seed": 5,"stream_options":{"include_usage":true}}"#, r#"{"random_seed":5}"#),
            (mistral, r#"{"max_completion_tokens":9}"#, r#"{"max_tokens":9}"#),
            (mistral, r#"{"max_tokens":5,"max_completion_tokens":9}"#, r#"{"max_tokens":5}"#),
            (groq, r#"{"n":1,"logprobs":false,"m":{"n":2}}"#, r#"{"m":{"n":2}}"#),
            ("{}", r#"{"n":1}"#, r#"{"n":1}"#),
        ];
        for (text, body, expected) in cases {
            let out = applied(&quirks(text), Surface::Chat, Bytes::from_static(body.as_bytes()));
            assert_eq!(String::from_utf8(out.to_vec()).unwrap(), expected, "{text}");
        }
    }
}
