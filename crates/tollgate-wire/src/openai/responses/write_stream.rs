//! Streamed answers from steps.

use bytes::Bytes;
use tollgate_domain::NanoUsd;

use super::echo::ResponseEcho;
use super::write_answer::{
    State, item_id, response_id, write_content, write_message_head, write_response, write_text,
};
use super::write_items::{write_call, write_reasoning};
use crate::json::JsonWriter;
use crate::neutral::{
    Assembler, ChatAnswer, Choice, FinishReason, Part, PartKind, PartStart, StreamEvent, ToolCall,
};
use crate::sse::named_event;

/// Writes the events of the dialect; each part of the answer is an item of its own.
#[derive(Debug)]
pub struct ResponsesStreamWriter {
    echo: ResponseEcho,
    created: u64,
    n_events: u64,
    id: String,
    /// The answer so far, whole at the end.
    whole: Assembler,
    /// Items in their order, by the part they are.
    items: Vec<(u64, Item)>,
    /// Why the stream is cut, as JSON.
    notice: Option<String>,
}

/// An item that has begun.
#[derive(Debug)]
struct Item {
    part: Part,
    is_done: bool,
}

impl ResponsesStreamWriter {
    /// `created` (Unix seconds) stands where the vendor tells no time.
    #[must_use]
    pub fn new(echo: ResponseEcho, created: u64) -> Self {
        let (id, whole, items) = (String::new(), Assembler::default(), Vec::new());
        Self { echo, created, n_events: 0, id, whole, items, notice: None }
    }

    /// Says why the stream ends early, in the member `tollgate` of its last event.
    pub(crate) fn note_cut(&mut self, notice: String) {
        self.notice = Some(notice);
    }

    /// What `event` becomes; nothing for many. Steps of other choices than the first are left out, as the
    /// dialect has one. `cost` stands in the last event.
    #[must_use]
    pub fn event(&mut self, event: &StreamEvent, cost: Option<NanoUsd>) -> Option<Bytes> {
        let mut out = Vec::new();
        if !matches!(event, StreamEvent::End | StreamEvent::Error { .. }) {
            self.whole.event(event);
        }
        match event {
            StreamEvent::Start { id, model, created } => {
                self.id.clone_from(id);
                let answer = ChatAnswer {
                    id: id.clone(),
                    model: model.clone(),
                    created: *created,
                    ..ChatAnswer::default()
                };
                self.response(&mut out, "response.created", &answer, None, State::InProgress);
                self.response(&mut out, "response.in_progress", &answer, None, State::InProgress);
            }
            StreamEvent::PartStart { choice: 0, part, start } => self.begin(*part, start, &mut out),
            StreamEvent::Delta { choice: 0, part, text, .. } => self.add(*part, text, &mut out),
            StreamEvent::Signature { choice: 0, part, signature } => self.sign(*part, signature),
            StreamEvent::PartEnd { choice: 0, part } => self.done(*part, &mut out),
            StreamEvent::End => self.end(cost, &mut out),
            StreamEvent::Error { message, kind } => self.fail(message, kind.as_deref(), &mut out),
            _ => {}
        }
        (!out.is_empty()).then(|| Bytes::from(out))
    }

    fn named(&mut self, out: &mut Vec<u8>, name: &str, members: impl FnOnce(&mut JsonWriter)) {
        let json = JsonWriter::document(256, |writer| {
            writer.member_string("type", name);
            writer.member_count("sequence_number", self.n_events);
            members(writer);
        });
        self.n_events += 1;
        out.extend_from_slice(&named_event(name, &json));
    }

    fn response(
        &mut self,
        out: &mut Vec<u8>,
        name: &str,
        answer: &ChatAnswer,
        cost: Option<NanoUsd>,
        state: State,
    ) {
        let (echo, created) = (self.echo.clone(), self.created);
        let notice = self.notice.take_if(|_| matches!(state, State::Ended));
        self.named(out, name, |writer| {
            writer.member_object("response", |writer| {
                write_response(writer, answer, &echo, created, cost, state);
            });
            if let Some(notice) = &notice {
                writer.key("tollgate");
                writer.literal(notice);
            }
        });
    }

    /// The number of the item that `part` is.
    fn index_of(&self, part: u64) -> Option<usize> {
        self.items.iter().position(|(of, item)| *of == part && !item.is_done)
    }

    fn begin(&mut self, part: u64, start: &PartStart, out: &mut Vec<u8>) {
        let kind = match start {
            PartStart::Text => PartKind::Text { text: String::new(), citations: None },
            PartStart::Refusal => PartKind::Refusal { text: String::new() },
            PartStart::Thinking => PartKind::Thinking { text: String::new(), signature: None },
            PartStart::HiddenThinking { data } => PartKind::HiddenThinking { data: data.clone() },
            PartStart::ToolCall { id, name, is_custom } => PartKind::ToolCall(ToolCall {
                id: id.clone(),
                name: name.clone(),
                arguments: String::new(),
                is_custom: *is_custom,
                signature: None,
            }),
            PartStart::Image { .. } => return,
        };
        let index = self.items.len();
        let new = Part::new(kind);
        let item = write_item(&self.id, index, &new, false);
        self.named(out, "response.output_item.added", |writer| {
            writer.member_count("output_index", index as u64);
            writer.key("item");
            writer.literal(&item);
        });
        if let Some(empty) = empty_piece(&new.kind) {
            let name = added_name(&new.kind);
            let head = self.head(index, &new.kind);
            self.named(out, name, |writer| {
                head(writer);
                writer.key("part");
                writer.literal(&empty);
            });
        }
        self.items.push((part, Item { part: new, is_done: false }));
    }

    /// Writes the members that name an item's piece.
    fn head(&self, index: usize, kind: &PartKind) -> impl Fn(&mut JsonWriter) + use<> {
        let id = item_id(prefix(kind), &self.id, index);
        let piece = match kind {
            PartKind::Thinking { .. } => Some("summary_index"),
            PartKind::Text { .. } | PartKind::Refusal { .. } => Some("content_index"),
            _ => None,
        };
        move |writer: &mut JsonWriter| {
            writer.member_string("item_id", &id);
            writer.member_count("output_index", index as u64);
            if let Some(piece) = piece {
                writer.member_count(piece, 0);
            }
        }
    }

    fn add(&mut self, part: u64, more: &str, out: &mut Vec<u8>) {
        let Some(index) = self.index_of(part) else { return };
        let kind = &mut self.items[index].1.part.kind;
        let name = match kind {
            PartKind::Text { text, .. } => {
                text.push_str(more);
                "response.output_text.delta"
            }
            PartKind::Refusal { text } => {
                text.push_str(more);
                "response.refusal.delta"
            }
            PartKind::Thinking { text, .. } => {
                text.push_str(more);
                "response.reasoning_summary_text.delta"
            }
            PartKind::ToolCall(call) => {
                call.arguments.push_str(more);
                if call.is_custom {
                    "response.custom_tool_call_input.delta"
                } else {
                    "response.function_call_arguments.delta"
                }
            }
            _ => return,
        };
        let is_text = matches!(kind, PartKind::Text { .. });
        let kind = self.items[index].1.part.kind.clone();
        let head = self.head(index, &kind);
        self.named(out, name, |writer| {
            head(writer);
            writer.member_string("delta", more);
            if is_text {
                writer.member_array("logprobs", |_| {});
            }
        });
    }

    fn sign(&mut self, part: u64, more: &str) {
        let Some(index) = self.index_of(part) else { return };
        if let PartKind::Thinking { signature, .. } = &mut self.items[index].1.part.kind {
            signature.get_or_insert_default().push_str(more);
        }
    }

    fn done(&mut self, part: u64, out: &mut Vec<u8>) {
        let Some(index) = self.index_of(part) else { return };
        self.items[index].1.is_done = true;
        let part = self.items[index].1.part.clone();
        let head = self.head(index, &part.kind);
        if let Some((name, member, text)) = done_name(&part.kind) {
            self.named(out, name, |writer| {
                head(writer);
                writer.member_string(member, text);
                if let PartKind::ToolCall(call) = &part.kind {
                    writer.member_string("name", &call.name);
                }
                if matches!(part.kind, PartKind::Text { .. }) {
                    writer.member_array("logprobs", |_| {});
                }
            });
        }
        if empty_piece(&part.kind).is_some() {
            let name = match part.kind {
                PartKind::Thinking { .. } => "response.reasoning_summary_part.done",
                _ => "response.content_part.done",
            };
            let piece = write_piece(&part);
            self.named(out, name, |writer| {
                head(writer);
                writer.key("part");
                writer.literal(&piece);
            });
        }
        let item = write_item(&self.id, index, &part, true);
        self.named(out, "response.output_item.done", |writer| {
            writer.member_count("output_index", index as u64);
            writer.key("item");
            writer.literal(&item);
        });
    }

    fn end(&mut self, cost: Option<NanoUsd>, out: &mut Vec<u8>) {
        let open: Vec<u64> =
            self.items.iter().filter(|(_, item)| !item.is_done).map(|(part, _)| *part).collect();
        open.into_iter().for_each(|part| self.done(part, out));
        let mut answer = std::mem::take(&mut self.whole).finish();
        let finish = answer.choices.first().map_or(FinishReason::Other, |choice| choice.finish);
        // the items as they were streamed, one for each part
        let parts = self.items.iter().map(|(_, item)| item.part.clone()).collect();
        answer.choices = vec![Choice { index: 0, parts, finish, stop_sequence: None, logprobs: None }];
        let is_cut = matches!(finish, FinishReason::Length | FinishReason::ContentFilter);
        let name = if is_cut { "response.incomplete" } else { "response.completed" };
        self.response(out, name, &answer, cost, State::Ended);
    }

    fn fail(&mut self, message: &str, kind: Option<&str>, out: &mut Vec<u8>) {
        self.named(out, "error", |writer| {
            writer.member_string("code", kind.unwrap_or("upstream_error"));
            writer.member_string("message", message);
            writer.member_null("param");
        });
        let answer = ChatAnswer { id: self.id.clone(), ..ChatAnswer::default() };
        self.response(out, "response.failed", &answer, None, State::Failed);
    }
}

/// An error in the middle of a stream, as an event.
#[must_use]
pub fn encode_error_event(code: &str, message: &str) -> Bytes {
    let json = JsonWriter::document(message.len() + 64, |writer| {
        writer.member_string("type", "error");
        writer.member_string("code", code);
        writer.member_string("message", message);
        writer.member_null("param");
    });
    named_event("error", &json)
}

const fn prefix(kind: &PartKind) -> &'static str {
    match kind {
        PartKind::Thinking { .. } | PartKind::HiddenThinking { .. } => "rs",
        PartKind::ToolCall(_) => "fc",
        _ => "msg",
    }
}

const fn added_name(kind: &PartKind) -> &'static str {
    match kind {
        PartKind::Thinking { .. } => "response.reasoning_summary_part.added",
        _ => "response.content_part.added",
    }
}

/// The piece of an item that begins empty, where it has pieces.
fn empty_piece(kind: &PartKind) -> Option<String> {
    Some(match kind {
        PartKind::Text { .. } => write_piece(&Part::text("")),
        PartKind::Refusal { .. } => write_piece(&Part::new(PartKind::Refusal { text: String::new() })),
        PartKind::Thinking { .. } => {
            write_piece(&Part::new(PartKind::Thinking { text: String::new(), signature: None }))
        }
        _ => return None,
    })
}

fn write_piece(part: &Part) -> String {
    let mut writer = JsonWriter::with_capacity(128);
    match &part.kind {
        PartKind::Text { text, citations } => write_text(&mut writer, text, citations.as_ref()),
        PartKind::Thinking { text, .. } => writer.object(|writer| {
            writer.member_string("type", "summary_text");
            writer.member_string("text", text);
        }),
        _ => write_content(&mut writer, part),
    }
    String::from_utf8_lossy(&writer.finish()).into_owned()
}

const fn done_name(kind: &PartKind) -> Option<(&'static str, &'static str, &str)> {
    Some(match kind {
        PartKind::Text { text, .. } => ("response.output_text.done", "text", text.as_str()),
        PartKind::Refusal { text } => ("response.refusal.done", "refusal", text.as_str()),
        PartKind::Thinking { text, .. } => ("response.reasoning_summary_text.done", "text", text.as_str()),
        PartKind::ToolCall(call) if call.is_custom => {
            ("response.custom_tool_call_input.done", "input", call.arguments.as_str())
        }
        PartKind::ToolCall(call) => {
            ("response.function_call_arguments.done", "arguments", call.arguments.as_str())
        }
        _ => return None,
    })
}

/// An item, whole (`is_done`) or as it begins.
fn write_item(response: &str, index: usize, part: &Part, is_done: bool) -> String {
    let status = if is_done { "completed" } else { "in_progress" };
    let id = item_id(prefix(&part.kind), &response_id(response), index);
    let item = JsonWriter::document(256, |writer| match &part.kind {
        PartKind::Thinking { text, signature } => {
            writer.member_string("id", &id);
            write_reasoning(writer, text, signature.as_deref());
        }
        PartKind::HiddenThinking { data } => {
            writer.member_string("id", &id);
            write_reasoning(writer, "", Some(data));
        }
        PartKind::ToolCall(call) => {
            writer.member_string("id", &id);
            write_call(writer, call);
            writer.member_string("status", status);
        }
        _ => {
            write_message_head(writer, &id, status);
            writer.member_array("content", |writer| {
                if is_done {
                    write_content(writer, part);
                }
            });
        }
    });
    String::from_utf8_lossy(&item).into_owned()
}
