//! Streamed answers from steps.

use std::collections::BTreeMap;

use bytes::Bytes;
use tollgate_domain::{NanoUsd, Usage};

use super::parts::write_signature;
use super::write_answer::{finish_name, write_image_object, write_usage};
use crate::json::{JsonWriter, RawJson};
use crate::neutral::{PartStart, StreamEvent};
use crate::openai::error::{ErrorBody, encode_error_event};
use crate::openai::stream::DONE_EVENT;
use crate::sse::data_event;

/// Writes one event of the dialect after the other.
#[derive(Debug)]
pub struct ChatStreamWriter {
    id: String,
    model: String,
    created: u64,
    wants_usage: bool,
    usage: Option<Usage>,
    parts: BTreeMap<(u64, u64), Place>,
    n_calls: BTreeMap<u64, u64>,
    greeted: Vec<u64>,
}

/// Where a part's text goes.
#[derive(Clone, Copy, Debug)]
enum Place {
    Content,
    Reasoning,
    Refusal,
    Call { index: u64, is_custom: bool },
    Nowhere,
}

impl ChatStreamWriter {
    /// `created` (Unix seconds) stands where the vendor tells no time.
    #[must_use]
    pub fn new(created: u64, wants_usage: bool) -> Self {
        Self {
            id: String::new(),
            model: String::new(),
            created,
            wants_usage,
            usage: None,
            parts: BTreeMap::new(),
            n_calls: BTreeMap::new(),
            greeted: Vec::new(),
        }
    }

    /// The counts so far, for the price.
    #[must_use]
    pub const fn usage(&self) -> Option<&Usage> {
        self.usage.as_ref()
    }

    /// What `event` becomes; nothing for many. At [`StreamEvent::End`] the usage chunk comes first, with
    /// `cost` in it.
    #[must_use]
    pub fn event(&mut self, event: &StreamEvent, cost: Option<NanoUsd>) -> Option<Bytes> {
        match event {
            StreamEvent::Start { id, model, created } => {
                self.id.clone_from(id);
                self.model.clone_from(model);
                self.created = created.unwrap_or(self.created);
                None
            }
            StreamEvent::PartStart { choice, part, start } => self.begin(*choice, *part, start),
            StreamEvent::Delta { choice, part, text, logprobs } => {
                self.add(*choice, *part, text, logprobs.as_ref())
            }
            StreamEvent::Signature { choice, part, signature } => self.sign(*choice, *part, signature),
            StreamEvent::PartEnd { .. } | StreamEvent::Citation { .. } => None,
            StreamEvent::Finish { choice, reason, .. } => {
                let reason = finish_name(*reason);
                Some(self.chunk(*choice, |_| {}, None, Some(reason)))
            }
            StreamEvent::Usage(usage) => {
                self.usage = Some(*usage);
                None
            }
            StreamEvent::End => Some(self.end(cost)),
            StreamEvent::Error { message, .. } => Some(encode_error_event(&ErrorBody {
                message,
                error_type: "api_error",
                param: None,
                code: Some("upstream_error"),
                metadata: None,
            })),
        }
    }

    fn begin(&mut self, choice: u64, part: u64, start: &PartStart) -> Option<Bytes> {
        let (place, bytes) = match start {
            PartStart::Text => (Place::Content, None),
            PartStart::Thinking => (Place::Reasoning, None),
            PartStart::Refusal => (Place::Refusal, None),
            PartStart::HiddenThinking { data } => {
                let block = |writer: &mut JsonWriter| {
                    thinking_block(writer, "redacted_thinking", "data", data);
                };
                (Place::Nowhere, Some(self.chunk(choice, block, None, None)))
            }
            PartStart::ToolCall { id, name, is_custom } => {
                let next = self.n_calls.entry(choice).or_default();
                let place = Place::Call { index: *next, is_custom: *is_custom };
                *next += 1;
                (place, Some(self.begin_call(choice, place, id, name)))
            }
            PartStart::Image { media_type, base64 } => {
                let image = |writer: &mut JsonWriter| write_image(writer, media_type, base64);
                (Place::Nowhere, Some(self.chunk(choice, image, None, None)))
            }
        };
        self.parts.insert((choice, part), place);
        bytes
    }

    fn begin_call(&mut self, choice: u64, place: Place, id: &str, name: &str) -> Bytes {
        let Place::Call { index, is_custom } = place else { return Bytes::new() };
        let call = |writer: &mut JsonWriter| {
            writer.member_array("tool_calls", |writer| {
                writer.object(|writer| {
                    writer.member_count("index", index);
                    writer.member_string("id", id);
                    let (kind, text) =
                        if is_custom { ("custom", "input") } else { ("function", "arguments") };
                    writer.member_string("type", kind);
                    writer.member_object(kind, |writer| {
                        writer.member_string("name", name);
                        writer.member_string(text, "");
                    });
                });
            });
        };
        self.chunk(choice, call, None, None)
    }

    fn add(&mut self, choice: u64, part: u64, text: &str, logprobs: Option<&RawJson>) -> Option<Bytes> {
        let place = *self.parts.get(&(choice, part))?;
        let delta = |writer: &mut JsonWriter| match place {
            Place::Content => writer.member_string("content", text),
            Place::Reasoning => writer.member_string("reasoning_content", text),
            Place::Refusal => writer.member_string("refusal", text),
            Place::Call { index, is_custom } => writer.member_array("tool_calls", |writer| {
                writer.object(|writer| {
                    writer.member_count("index", index);
                    let (kind, name) =
                        if is_custom { ("custom", "input") } else { ("function", "arguments") };
                    writer.member_object(kind, |writer| writer.member_string(name, text));
                });
            }),
            Place::Nowhere => {}
        };
        Some(self.chunk(choice, delta, logprobs, None))
    }

    fn sign(&mut self, choice: u64, part: u64, signature: &str) -> Option<Bytes> {
        let place = *self.parts.get(&(choice, part))?;
        let delta = |writer: &mut JsonWriter| match place {
            Place::Call { index, is_custom } => writer.member_array("tool_calls", |writer| {
                writer.object(|writer| {
                    writer.member_count("index", index);
                    // clients add up this member of every piece of a call, and fail where it is missing
                    let (kind, name) =
                        if is_custom { ("custom", "input") } else { ("function", "arguments") };
                    writer.member_object(kind, |writer| writer.member_string(name, ""));
                    write_signature(writer, signature);
                });
            }),
            _ => thinking_block(writer, "thinking", "signature", signature),
        };
        Some(self.chunk(choice, delta, None, None))
    }

    fn end(&self, cost: Option<NanoUsd>) -> Bytes {
        let mut out = Vec::with_capacity(512);
        if let (true, Some(usage)) = (self.wants_usage, &self.usage) {
            let json = JsonWriter::document(512, |writer| {
                self.head(writer);
                writer.member_array("choices", |_| {});
                write_usage(writer, usage, cost);
            });
            out.extend_from_slice(&data_event(&json));
        }
        out.extend_from_slice(DONE_EVENT);
        Bytes::from(out)
    }

    fn head(&self, writer: &mut JsonWriter) {
        writer.member_string("id", &self.id);
        writer.member_string("object", "chat.completion.chunk");
        writer.member_count("created", self.created);
        writer.member_string("model", &self.model);
    }

    fn chunk(
        &mut self,
        choice: u64,
        delta: impl FnOnce(&mut JsonWriter),
        logprobs: Option<&RawJson>,
        finish: Option<&str>,
    ) -> Bytes {
        let is_first = !self.greeted.contains(&choice);
        if is_first {
            self.greeted.push(choice);
        }
        let json = JsonWriter::document(256, |writer| {
            self.head(writer);
            writer.member_array("choices", |writer| {
                writer.object(|writer| {
                    writer.member_count("index", choice);
                    writer.member_object("delta", |writer| {
                        if is_first {
                            writer.member_string("role", "assistant");
                        }
                        delta(writer);
                    });
                    writer.member_raw_if("logprobs", logprobs);
                    match finish {
                        Some(reason) => writer.member_string("finish_reason", reason),
                        None => writer.member_null("finish_reason"),
                    }
                });
            });
        });
        data_event(&json)
    }
}

fn thinking_block(writer: &mut JsonWriter, kind: &str, name: &str, value: &str) {
    writer.member_array("thinking_blocks", |writer| {
        writer.object(|writer| {
            writer.member_string("type", kind);
            writer.member_string(name, value);
        });
    });
}

fn write_image(writer: &mut JsonWriter, media_type: &str, base64: &str) {
    writer.member_array("images", |writer| {
        write_image_object(writer, &format!("data:{media_type};base64,{base64}"));
    });
}
