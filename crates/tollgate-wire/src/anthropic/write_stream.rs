//! Streamed answers from steps.

use std::collections::VecDeque;

use bytes::Bytes;
use tollgate_domain::Usage;

use super::write_answer::{stop_name, write_usage};
use crate::json::JsonWriter;
use crate::neutral::writing::usable_id;
use crate::neutral::{FinishReason, PartStart, StreamEvent};
use crate::sse::named_event;

/// Writes the events of the dialect. Its blocks follow each other: parts that overlap wait for their turn.
#[derive(Debug)]
pub struct AnthropicStreamWriter {
    usage: Usage,
    finish: (FinishReason, Option<String>),
    n_blocks: u64,
    /// The part whose block is open, and how it grows.
    open: Option<(u64, Growth)>,
    /// Steps of parts that wait, in their order.
    waiting: VecDeque<(u64, StreamEvent)>,
    /// Why the stream is cut, as JSON.
    notice: Option<String>,
}

/// How a block grows: the type of its deltas and the member their text stands in.
type Growth = (&'static str, &'static str);

impl Default for AnthropicStreamWriter {
    fn default() -> Self {
        Self {
            usage: Usage::ZERO,
            finish: (FinishReason::Other, None),
            n_blocks: 0,
            open: None,
            waiting: VecDeque::new(),
            notice: None,
        }
    }
}

impl AnthropicStreamWriter {
    /// Says why the stream ends early, in the member `tollgate` of its last delta.
    pub(crate) fn note_cut(&mut self, notice: String) {
        self.notice = Some(notice);
    }

    /// Goes on in a stream whose block `open` is not closed.
    pub(crate) fn resume(&mut self, open: Option<u64>) {
        if let Some(block) = open {
            self.n_blocks = block;
            self.open = Some((block, TEXT));
        }
    }

    /// What `event` becomes; nothing for many. Steps of other choices than the first are left out, as the
    /// dialect has one.
    #[must_use]
    pub fn event(&mut self, event: &StreamEvent) -> Option<Bytes> {
        let mut out = Vec::new();
        match event {
            StreamEvent::Start { id, model, .. } => start(&mut out, id, model),
            StreamEvent::PartStart { choice: 0, part, .. }
            | StreamEvent::Delta { choice: 0, part, .. }
            | StreamEvent::Signature { choice: 0, part, .. }
            | StreamEvent::Citation { choice: 0, part, .. }
            | StreamEvent::PartEnd { choice: 0, part } => self.part(*part, event, &mut out),
            StreamEvent::Finish { choice: 0, reason, stop_sequence } => {
                self.finish = (*reason, stop_sequence.clone());
            }
            StreamEvent::Usage(usage) => self.usage = *usage,
            StreamEvent::End => self.end(&mut out),
            StreamEvent::Error { message, kind } => {
                let kind = kind.as_deref().unwrap_or("api_error");
                out.extend_from_slice(&super::error::encode_error_event(kind, message));
            }
            _ => {}
        }
        (!out.is_empty()).then(|| Bytes::from(out))
    }

    fn part(&mut self, part: u64, event: &StreamEvent, out: &mut Vec<u8>) {
        match self.open {
            Some((open, _)) if open != part => self.waiting.push_back((part, event.clone())),
            _ => {
                self.write(part, event, out);
                self.take_turns(out);
            }
        }
    }

    /// Writes what waited for the block that has ended.
    fn take_turns(&mut self, out: &mut Vec<u8>) {
        while self.open.is_none() {
            let Some(next) = self.waiting.front().map(|(part, _)| *part) else { return };
            let waiting = std::mem::take(&mut self.waiting);
            let (now, later): (VecDeque<_>, VecDeque<_>) =
                waiting.into_iter().partition(|(part, _)| *part == next);
            self.waiting = later;
            now.iter().for_each(|(part, event)| self.write(*part, event, out));
        }
    }

    fn write(&mut self, part: u64, event: &StreamEvent, out: &mut Vec<u8>) {
        let index = self.n_blocks;
        if let StreamEvent::PartStart { start, .. } = event {
            self.open = begin(out, index, start).map(|growth| (part, growth));
            return;
        }
        // a part without a block here has nothing open
        let Some((_, (kind, member))) = self.open.filter(|(open, _)| *open == part) else { return };
        match event {
            StreamEvent::Delta { text, .. } => {
                delta(out, index, kind, |writer| writer.member_string(member, text));
            }
            StreamEvent::Signature { signature, .. } if kind == THINKING.0 => {
                delta(out, index, "signature_delta", |writer| writer.member_string("signature", signature));
            }
            StreamEvent::Citation { citation, .. } => {
                delta(out, index, "citations_delta", |writer| writer.member_raw("citation", citation));
            }
            StreamEvent::PartEnd { .. } => {
                named(out, "content_block_stop", |writer| writer.member_count("index", index));
                self.n_blocks += 1;
                self.open = None;
            }
            _ => {}
        }
    }

    fn end(&self, out: &mut Vec<u8>) {
        named(out, "message_delta", |writer| {
            writer.member_object("delta", |writer| {
                writer.member_string("stop_reason", stop_name(self.finish.0));
                match &self.finish.1 {
                    Some(stop) => writer.member_string("stop_sequence", stop),
                    None => writer.member_null("stop_sequence"),
                }
            });
            write_usage(writer, &self.usage);
            if let Some(notice) = &self.notice {
                writer.key("tollgate");
                writer.literal(notice);
            }
        });
        named(out, "message_stop", |_| {});
    }
}

const TEXT: Growth = ("text_delta", "text");
const THINKING: Growth = ("thinking_delta", "thinking");
const CALL: Growth = ("input_json_delta", "partial_json");

fn named(out: &mut Vec<u8>, name: &str, members: impl FnOnce(&mut JsonWriter)) {
    let json = JsonWriter::document(256, |writer| {
        writer.member_string("type", name);
        members(writer);
    });
    out.extend_from_slice(&named_event(name, &json));
}

/// The counts are known at the end only, where they stand in full.
fn start(out: &mut Vec<u8>, id: &str, model: &str) {
    named(out, "message_start", |writer| {
        writer.member_object("message", |writer| {
            writer.member_string("id", id);
            writer.member_string("type", "message");
            writer.member_string("role", "assistant");
            writer.member_string("model", model);
            writer.member_array("content", |_| {});
            writer.member_null("stop_reason");
            writer.member_null("stop_sequence");
            write_usage(writer, &Usage::ZERO);
        });
    });
}

fn delta(out: &mut Vec<u8>, index: u64, kind: &str, members: impl FnOnce(&mut JsonWriter)) {
    named(out, "content_block_delta", |writer| {
        writer.member_count("index", index);
        writer.member_object("delta", |writer| {
            writer.member_string("type", kind);
            members(writer);
        });
    });
}

/// Opens a block; `None` for what has none.
fn begin(out: &mut Vec<u8>, index: u64, start: &PartStart) -> Option<Growth> {
    let growth = match start {
        PartStart::Text | PartStart::Refusal => TEXT,
        PartStart::Thinking | PartStart::HiddenThinking { .. } => THINKING,
        PartStart::ToolCall { .. } => CALL,
        PartStart::Image { .. } => return None,
    };
    named(out, "content_block_start", |writer| {
        writer.member_count("index", index);
        writer.member_object("content_block", |writer| match start {
            PartStart::Thinking => {
                writer.member_string("type", "thinking");
                writer.member_string("thinking", "");
                writer.member_string("signature", "");
            }
            PartStart::HiddenThinking { data } => {
                writer.member_string("type", "redacted_thinking");
                writer.member_string("data", data);
            }
            PartStart::ToolCall { id, name, .. } => {
                writer.member_string("type", "tool_use");
                writer.member_string("id", &usable_id(id));
                writer.member_string("name", name);
                writer.member_object("input", |_| {});
            }
            _ => {
                writer.member_string("type", "text");
                writer.member_string("text", "");
            }
        });
    });
    Some(growth)
}
