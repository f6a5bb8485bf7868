//! Changing a request on its way without touching the bytes that stay.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use tollgate_domain::Surface;

use super::RequestSkim;
use crate::json::write_string;

/// Shorter bodies are copied: that costs less than handing over pieces.
const MIN_SLICED_BYTES: usize = 16 << 10;

/// The one name under which the provider obeys the output cap. What the client wrote under the other name moves: many
/// refuse both together, OpenAI's newer models refuse `max_tokens`, and some servers ignore `max_completion_tokens` and
/// would answer without any limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutputCapField {
    /// `max_completion_tokens`: OpenAI itself, and who follows it closely.
    #[default]
    MaxCompletionTokens,
    /// `max_tokens`: most compatible servers. Completions always use it.
    MaxTokens,
}

/// What is to change in a request on its way to the provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edits<'a> {
    /// The model's name there.
    pub model: Option<&'a str>,
    /// The answer's tokens at most: the client's own cap is lowered to it, never raised. Without one, the client's
    /// is only written under the right name. Ignored for embeddings.
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
    apply(body, patches(body, skim, edits))
}

/// The same in pieces that follow each other, which `take` is given: slices of the body where it is long, so that it
/// is not copied.
pub fn splice_pieces(body: &Bytes, skim: &RequestSkim, edits: &Edits<'_>, mut take: impl FnMut(Bytes)) {
    let patches = patches(body, skim, edits);
    if body.len() < MIN_SLICED_BYTES || patches.is_empty() {
        return take(match apply(body, patches) {
            Cow::Borrowed(_) => body.clone(),
            Cow::Owned(bytes) => Bytes::from(bytes),
        });
    }
    let mut copied = 0;
    for patch in patches {
        take(body.slice(copied..patch.at.start));
        take(Bytes::from(patch.text));
        copied = patch.at.end;
    }
    take(body.slice(copied..));
}

/// What `edits` change, in the body's order.
fn patches(body: &[u8], skim: &RequestSkim, edits: &Edits<'_>) -> Vec<Patch> {
    let mut patches = Vec::with_capacity(4);
    if let Some(model) = edits.model
        && skim.model.as_deref() != Some(model)
    {
        let mut text = Vec::with_capacity(model.len() + 2);
        write_string(&mut text, model);
        patches.push(set_member(skim, "model", skim.spans.model.clone(), text));
    }
    if skim.surface != Surface::Embeddings {
        cap_output(body, skim, edits, &mut patches);
    }
    if edits.include_usage && skim.stream && skim.include_usage != Some(true) {
        patches.push(include_usage(skim));
    }
    // what is inserted comes before what is taken away at the same place
    patches.sort_by_key(|patch| (patch.at.start, patch.at.end));
    patches
}

/// Writes the cap under one name, and nothing under the other.
fn cap_output(body: &[u8], skim: &RequestSkim, edits: &Edits<'_>, patches: &mut Vec<Patch>) {
    let asked = skim.client_output_cap();
    let cap = match (asked, edits.output_cap) {
        (Some(asked), Some(cap)) => asked.min(cap),
        (Some(cap), None) | (None, Some(cap)) => cap,
        (None, None) => return,
    };
    let spans = &skim.spans;
    let is_older =
        edits.output_cap_field == OutputCapField::MaxTokens || skim.surface == Surface::Completions;
    let (name, given, own, other) = if is_older {
        ("max_tokens", skim.max_tokens, &spans.max_tokens, &spans.max_completion_tokens)
    } else {
        ("max_completion_tokens", skim.max_completion_tokens, &spans.max_completion_tokens, &spans.max_tokens)
    };
    match (own, other) {
        (Some(own), other) => {
            if given != Some(cap) {
                patches.push(Patch { at: own.clone(), text: cap.to_string().into_bytes() });
            }
            if let Some(other) = other {
                patches.push(Patch { at: whole_member(body, other), text: Vec::new() });
            }
        }
        (None, Some(other)) => {
            let at = name_start(body, other.start)..other.end;
            patches.push(Patch { at, text: format!("\"{name}\":{cap}").into_bytes() });
        }
        (None, None) => patches.push(set_member(skim, name, None, cap.to_string().into_bytes())),
    }
}

/// Where a member's name begins, from where its value does. No name that is looked for has a quotation mark in it.
fn name_start(body: &[u8], value_start: usize) -> usize {
    let quote_before = |end: usize| body[..end].iter().rposition(|byte| *byte == b'"').unwrap_or(0);
    quote_before(quote_before(value_start))
}

/// A member with the comma that parts it from its neighbour.
fn whole_member(body: &[u8], value: &Range<usize>) -> Range<usize> {
    let start = name_start(body, value.start);
    let is_visible = |byte: &u8| !byte.is_ascii_whitespace();
    let next = body[value.end..].iter().position(is_visible).map(|n| value.end + n);
    if let Some(next) = next.filter(|at| body[*at] == b',') {
        return start..next + 1;
    }
    let before = body[..start].iter().rposition(is_visible).filter(|at| body[*at] == b',');
    before.unwrap_or(start)..value.end
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

fn apply(body: &[u8], patches: Vec<Patch>) -> Cow<'_, [u8]> {
    if patches.is_empty() {
        return Cow::Borrowed(body);
    }
    let n_added: usize = patches.iter().map(|patch| patch.text.len()).sum();
    let n_removed: usize = patches.iter().map(|patch| patch.at.len()).sum();
    // exactly: then it becomes `Bytes` without another allocation
    let mut out = Vec::with_capacity(body.len() + n_added - n_removed);
    let mut copied = 0;
    for patch in patches {
        out.extend_from_slice(&body[copied..patch.at.start]);
        out.extend_from_slice(&patch.text);
        copied = patch.at.end;
    }
    out.extend_from_slice(&body[copied..]);
    Cow::Owned(out)
}
