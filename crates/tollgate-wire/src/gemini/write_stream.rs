//! Streamed answers from steps.

use std::collections::BTreeMap;

use bytes::Bytes;
use tollgate_domain::Usage;

use super::usage::write_usage;
use super::write_answer::{finish_name, write_answered};
use crate::json::JsonWriter;
use crate::neutral::{FinishReason, Media, Part, PartKind, PartStart, StreamEvent, ToolCall};
use crate::sse::data_event;

/// Writes events of the dialect. Calls of functions come whole here, so their arguments are gathered.
#[derive(Debug, Default)]
pub struct GeminiStreamWriter {
    id: String,
    model: String,
    usage: Usage,
    parts: BTreeMap<(u64, u64), Growing>,
    ends: BTreeMap<u64, FinishReason>,
    /// Why the stream is cut.
    notice: Option<String>,
}

/// A part that has begun.
#[derive(Debug)]
enum Growing {
    Text,
    Thinking,
    Call(ToolCall),
    Nothing,
}

impl GeminiStreamWriter {
    /// Says why the stream ends early, in `finishMessage`.
    pub(crate) fn note_cut(&mut self, notice: String) {
        self.notice = Some(notice);
    }

    /// What `event` becomes; nothing for many.
    #[must_use]
    pub fn event(&mut self, event: &StreamEvent) -> Option<Bytes> {
        match event {
            StreamEvent::Start { id, model, .. } => {
                self.id.clone_from(id);
                self.model.clone_from(model);
                None
            }
            StreamEvent::PartStart { choice, part, start } => self.begin(*choice, *part, start),
            StreamEvent::Delta { choice, part, text, .. } => self.add(*choice, *part, text),
            StreamEvent::Signature { choice, part, signature } => self.sign(*choice, *part, signature),
            StreamEvent::PartEnd { choice, part } => match self.parts.remove(&(*choice, *part)) {
                Some(Growing::Call(call)) => Some(self.chunk(*choice, PartKind::ToolCall(call))),
                _ => None,
            },
            StreamEvent::Finish { choice, reason, .. } => {
                self.ends.insert(*choice, *reason);
                None
            }
            StreamEvent::Usage(usage) => {
                self.usage = *usage;
                None
            }
            StreamEvent::End => Some(self.end()),
            StreamEvent::Error { message, .. } => {
                Some(data_event(&super::error::encode_error(500, "INTERNAL", message, None, None)))
            }
            StreamEvent::Citation { .. } => None,
        }
    }

    fn begin(&mut self, choice: u64, part: u64, start: &PartStart) -> Option<Bytes> {
        let (growing, bytes) = match start {
            PartStart::Text | PartStart::Refusal => (Growing::Text, None),
            PartStart::Thinking => (Growing::Thinking, None),
            PartStart::HiddenThinking { .. } => (Growing::Nothing, None),
            PartStart::ToolCall { id, name, is_custom } => {
                let call = ToolCall {
                    id: id.clone(),
                    name: name.clone(),
                    arguments: String::new(),
                    is_custom: *is_custom,
                    signature: None,
                };
                (Growing::Call(call), None)
            }
            PartStart::Image { media_type, base64 } => {
                let source = Media::Inline { media_type: media_type.clone(), base64: base64.clone() };
                (Growing::Nothing, Some(self.chunk(choice, PartKind::Image { source, detail: None })))
            }
        };
        self.parts.insert((choice, part), growing);
        bytes
    }

    fn add(&mut self, choice: u64, part: u64, text: &str) -> Option<Bytes> {
        let kind = match self.parts.get_mut(&(choice, part))? {
            Growing::Text => PartKind::Text { text: text.to_owned(), citations: None },
            Growing::Thinking => PartKind::Thinking { text: text.to_owned(), signature: None },
            Growing::Call(call) => {
                call.arguments.push_str(text);
                return None;
            }
            Growing::Nothing => return None,
        };
        Some(self.chunk(choice, kind))
    }

    fn sign(&mut self, choice: u64, part: u64, more: &str) -> Option<Bytes> {
        match self.parts.get_mut(&(choice, part))? {
            Growing::Call(call) => {
                call.signature.get_or_insert_default().push_str(more);
                None
            }
            Growing::Thinking => {
                let kind = PartKind::Thinking { text: String::new(), signature: Some(more.to_owned()) };
                Some(self.chunk(choice, kind))
            }
            Growing::Text | Growing::Nothing => None,
        }
    }

    fn chunk(&self, choice: u64, kind: PartKind) -> Bytes {
        let json = JsonWriter::document(256, |writer| {
            writer.member_array("candidates", |writer| {
                writer.object(|writer| {
                    writer.member_object("content", |writer| {
                        writer.member_array("parts", |writer| write_answered(writer, &Part::new(kind)));
                        writer.member_string("role", "model");
                    });
                    writer.member_count("index", choice);
                });
            });
            self.tail(writer);
        });
        data_event(&json)
    }

    fn end(&self) -> Bytes {
        let json = JsonWriter::document(256, |writer| {
            writer.member_array("candidates", |writer| {
                for (choice, reason) in &self.ends {
                    writer.object(|writer| {
                        writer.member_object("content", |writer| {
                            writer.member_array("parts", |_| {});
                            writer.member_string("role", "model");
                        });
                        writer.member_string("finishReason", finish_name(*reason));
                        writer.member_string_if("finishMessage", self.notice.as_deref());
                        writer.member_count("index", *choice);
                    });
                }
            });
            write_usage(writer, &self.usage);
            self.tail(writer);
        });
        data_event(&json)
    }

    fn tail(&self, writer: &mut JsonWriter) {
        writer.member_string("modelVersion", &self.model);
        writer.member_string("responseId", &self.id);
    }
}
