//! Changing a request on its way without touching the bytes that stay.

use std::borrow::Cow;
use std::ops::Range;

use tollgate_domain::Surface;

use super::RequestSkim;
use crate::json::write_string;

/// Which name of the output cap the provider is sure to obey.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutputCapField {
    /// `max_completion_tokens`: OpenAI's own chat models, which still obey a lone `max_tokens` and refuse
    /// both together. What the client used is kept.
    #[default]
    MaxCompletionTokens,
    /// `max_tokens`: most compatible servers, some of which ignore the newer name and would answer without
    /// any limit. It is always written. Completions always use it.
    MaxTokens,
}

/// What is to change in a request on its way to the provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edits<'a> {
    /// The model's name there.
    pub model: Option<&'a str>,
    /// The answer's tokens at most, written wherever the client wrote its own (lowered, never raised), and
    /// into `output_cap_field` as that one says. Ignored for embeddings.
    pub output_cap: Option<u64>,
    /// See [`OutputCapField`].
    pub output_cap_field: OutputCapField,
    /// Ask for the usage chunk; only has an effect on streams.
    pub include_usage: bool,
}

/// A piece of the body and what stands there instead; an empty range inserts.
struct Patch {
    at: Range<usize>,
    text: Vec<u8>,
}

/// The body with `edits` made, every other byte as it was; borrowed when nothing changes. `skim` must be
/// the body's own.
#[must_use]
pub fn splice<'a>(body: &'a [u8], skim: &RequestSkim, edits: &Edits<'_>) -> Cow<'a, [u8]> {
    let mut patches = Vec::with_capacity(4);
    if let Some(model) = edits.model
        && skim.model.as_deref() != Some(model)
    {
        let mut text = Vec::with_capacity(model.len() + 2);
        write_string(&mut text, model);
        patches.push(set_member(skim, "model", skim.spans.model.clone(), text));
    }
    if let Some(cap) = edits.output_cap
        && skim.surface != Surface::Embeddings
    {
        cap_output(skim, cap, edits.output_cap_field, &mut patches);
    }
    if edits.include_usage && skim.stream && skim.include_usage != Some(true) {
        patches.push(include_usage(skim));
    }
    apply(body, patches)
}

fn cap_output(skim: &RequestSkim, cap: u64, field: OutputCapField, patches: &mut Vec<Patch>) {
    let spans = &skim.spans;
    let given =
        [(skim.max_completion_tokens, &spans.max_completion_tokens), (skim.max_tokens, &spans.max_tokens)];
    for (value, span) in given {
        if let (Some(value), Some(span)) = (value, span)
            && value > cap
        {
            patches.push(Patch { at: span.clone(), text: cap.to_string().into_bytes() });
        }
    }
    let needs_max_tokens = field == OutputCapField::MaxTokens || skim.surface == Surface::Completions;
    let (name, span) = match (skim.max_tokens, skim.max_completion_tokens) {
        (None, _) if needs_max_tokens => ("max_tokens", &spans.max_tokens),
        (None, None) => ("max_completion_tokens", &spans.max_completion_tokens),
        _ => return,
    };
    let cap = skim.client_output_cap().map_or(cap, |asked| asked.min(cap));
    patches.push(set_member(skim, name, span.clone(), cap.to_string().into_bytes()));
}

fn include_usage(skim: &RequestSkim) -> Patch {
    let Some(options) = &skim.spans.stream_options else {
        return set_member(skim, "stream_options", None, br#"{"include_usage":true}"#.to_vec());
    };
    if let Some(value) = &options.include_usage {
        return Patch { at: value.clone(), text: b"true".to_vec() };
    }
    if !options.is_object {
        return Patch { at: options.value.clone(), text: br#"{"include_usage":true}"#.to_vec() };
    }
    let comma = if options.is_empty { "" } else { "," };
    let at = options.value.start + 1;
    Patch { at: at..at, text: format!("\"include_usage\":true{comma}").into_bytes() }
}

/// Replaces a member's value, or inserts the member before all others (there always are some).
fn set_member(skim: &RequestSkim, name: &str, span: Option<Range<usize>>, value: Vec<u8>) -> Patch {
    if let Some(at) = span {
        return Patch { at, text: value };
    }
    let at = skim.spans.first_member;
    let mut text = Vec::with_capacity(name.len() + value.len() + 4);
    text.push(b'"');
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(b"\":");
    text.extend_from_slice(&value);
    text.push(b',');
    Patch { at: at..at, text }
}

fn apply(body: &[u8], mut patches: Vec<Patch>) -> Cow<'_, [u8]> {
    if patches.is_empty() {
        return Cow::Borrowed(body);
    }
    patches.sort_by_key(|patch| patch.at.start);
    let n_added: usize = patches.iter().map(|patch| patch.text.len()).sum();
    let mut out = Vec::with_capacity(body.len() + n_added);
    let mut copied = 0;
    for patch in patches {
        out.extend_from_slice(&body[copied..patch.at.start]);
        out.extend_from_slice(&patch.text);
        copied = patch.at.end;
    }
    out.extend_from_slice(&body[copied..]);
    Cow::Owned(out)
}
