//! Streamed answers into steps.

use std::collections::BTreeMap;

use super::read_answer::{read_finish, read_usage};
use crate::json::{FieldError, Members, ReadError};
use crate::neutral::{PartStart, StreamEvent};
use crate::openai::error::read_provider_error;

/// Reads the data of one event after the other; the events' names stand in their data, too.
#[derive(Debug, Default)]
pub struct CohereStreamReader {
    n_parts: u64,
    /// Open parts by what they are and the vendor's index.
    open: BTreeMap<(Piece, u64), u64>,
}

/// The vendor numbers contents and calls apart; the plan has no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Piece {
    Plan,
    Content,
    Call,
}

impl CohereStreamReader {
    /// Takes an event's data and appends what it leads to.
    ///
    /// # Errors
    /// The data is no JSON, or has members of the wrong type.
    pub fn data(&mut self, data: &[u8], out: &mut Vec<StreamEvent>) -> Result<(), ReadError> {
        let mut members = Members::document(data)?;
        let kind = members.string("type")?.unwrap_or_default();
        let index = members.count("index")?.unwrap_or(0);
        match kind.as_str() {
            "message-start" => {
                let id = members.string("id")?.unwrap_or_default();
                out.push(StreamEvent::Start { id, model: String::new(), created: None });
            }
            "content-start" => self.content_start(index, &mut members, out)?,
            "content-delta" => self.content_delta(index, &mut members, out)?,
            "content-end" => self.close(Piece::Content, index, out),
            "tool-plan-delta" => self.plan(&mut members, out)?,
            "tool-call-start" => self.call_start(index, &mut members, out)?,
            "tool-call-delta" => self.call_delta(index, &mut members, out)?,
            "tool-call-end" => self.close(Piece::Call, index, out),
            "message-end" => self.end(&mut members, out)?,
            _ if members.take("error").is_some() || members.take("message").is_some() => {
                let error = read_provider_error(0, data);
                out.push(StreamEvent::Error { message: error.message, kind: error.error_type });
            }
            _ => {}
        }
        Ok(())
    }

    fn content_start(
        &mut self,
        index: u64,
        members: &mut Members<'_>,
        out: &mut Vec<StreamEvent>,
    ) -> Result<(), FieldError> {
        let Some(mut content) = inside(members, "content")? else { return Ok(()) };
        let is_thought = content.string("type")?.as_deref() == Some("thinking");
        let start = if is_thought { PartStart::Thinking } else { PartStart::Text };
        let part = self.begin(Piece::Content, index, start, out);
        let text = content.string(if is_thought { "thinking" } else { "text" })?;
        say(part, text, out);
        Ok(())
    }

    fn content_delta(
        &mut self,
        index: u64,
        members: &mut Members<'_>,
        out: &mut Vec<StreamEvent>,
    ) -> Result<(), FieldError> {
        let Some(mut content) = inside(members, "content")? else { return Ok(()) };
        let (text, thought) = (content.string("text")?, content.string("thinking")?);
        let part = match self.open.get(&(Piece::Content, index)) {
            Some(part) => *part,
            None => {
                let start = if thought.is_some() { PartStart::Thinking } else { PartStart::Text };
                self.begin(Piece::Content, index, start, out)
            }
        };
        say(part, text.or(thought), out);
        Ok(())
    }

    fn plan(&mut self, members: &mut Members<'_>, out: &mut Vec<StreamEvent>) -> Result<(), FieldError> {
        let Some(mut message) = message(members)? else { return Ok(()) };
        let part = match self.open.get(&(Piece::Plan, 0)) {
            Some(part) => *part,
            None => self.begin(Piece::Plan, 0, PartStart::Thinking, out),
        };
        say(part, message.string("tool_plan")?, out);
        Ok(())
    }

    fn call_start(
        &mut self,
        index: u64,
        members: &mut Members<'_>,
        out: &mut Vec<StreamEvent>,
    ) -> Result<(), FieldError> {
        self.close(Piece::Plan, 0, out);
        let Some(mut call) = inside(members, "tool_calls")? else { return Ok(()) };
        let id = call.string("id")?.unwrap_or_default();
        let mut function = call.required("function")?.object()?;
        let name = function.string("name")?.unwrap_or_default();
        let start = PartStart::ToolCall { id, name, is_custom: false };
        let part = self.begin(Piece::Call, index, start, out);
        say(part, function.string("arguments")?, out);
        Ok(())
    }

    fn call_delta(
        &mut self,
        index: u64,
        members: &mut Members<'_>,
        out: &mut Vec<StreamEvent>,
    ) -> Result<(), FieldError> {
        let Some(mut call) = inside(members, "tool_calls")? else { return Ok(()) };
        let Some(part) = self.open.get(&(Piece::Call, index)) else { return Ok(()) };
        let Some(function) = call.take("function") else { return Ok(()) };
        say(*part, function.object()?.string("arguments")?, out);
        Ok(())
    }

    fn end(&mut self, members: &mut Members<'_>, out: &mut Vec<StreamEvent>) -> Result<(), FieldError> {
        for part in std::mem::take(&mut self.open).into_values() {
            out.push(StreamEvent::PartEnd { choice: 0, part });
        }
        let mut reason = None;
        if let Some(delta) = members.take("delta") {
            let mut delta = delta.object()?;
            reason = delta.string("finish_reason")?;
            let usage = delta.take("usage").and_then(|node| read_usage(&node));
            out.extend(usage.map(StreamEvent::Usage));
        }
        let reason = read_finish(reason.as_deref());
        out.push(StreamEvent::Finish { choice: 0, reason, stop_sequence: None });
        out.push(StreamEvent::End);
        Ok(())
    }

    fn begin(&mut self, piece: Piece, index: u64, start: PartStart, out: &mut Vec<StreamEvent>) -> u64 {
        let part = self.n_parts;
        self.n_parts += 1;
        self.open.insert((piece, index), part);
        out.push(StreamEvent::PartStart { choice: 0, part, start });
        part
    }

    fn close(&mut self, piece: Piece, index: u64, out: &mut Vec<StreamEvent>) {
        if let Some(part) = self.open.remove(&(piece, index)) {
            out.push(StreamEvent::PartEnd { choice: 0, part });
        }
    }
}

fn say(part: u64, text: Option<String>, out: &mut Vec<StreamEvent>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        out.push(StreamEvent::Delta { choice: 0, part, text, logprobs: None });
    }
}

/// `delta.message`.
fn message<'a>(members: &mut Members<'a>) -> Result<Option<Members<'a>>, FieldError> {
    let Some(delta) = members.take("delta") else { return Ok(None) };
    delta.object()?.take("message").map(|node| node.object()).transpose()
}

/// `delta.message.<name>`.
fn inside<'a>(members: &mut Members<'a>, name: &str) -> Result<Option<Members<'a>>, FieldError> {
    let Some(mut message) = message(members)? else { return Ok(None) };
    message.take(name).map(|node| node.object()).transpose()
}
