//! Streamed answers into steps.

use std::collections::BTreeMap;

use super::read_answer::read_status;
use crate::json::{FieldError, Members, ReadError};
use crate::neutral::{PartStart, StreamEvent};
use crate::openai::chat::read_usage;
use crate::openai::error::read_provider_error;

/// Reads the data of one event after the other; the events' names stand in their data, too.
#[derive(Debug, Default)]
pub struct ResponsesStreamReader {
    n_parts: u64,
    /// Open parts, by the item's and the content's number.
    open: BTreeMap<(u64, u64), u64>,
    has_calls: bool,
}

impl ResponsesStreamReader {
    /// Takes an event's data and appends what it leads to.
    ///
    /// # Errors
    /// The data is no JSON, or has members of the wrong type.
    pub fn data(&mut self, data: &[u8], out: &mut Vec<StreamEvent>) -> Result<(), ReadError> {
        if data == b"[DONE]" {
            return Ok(());
        }
        let mut members = Members::document(data)?;
        let kind = members.string("type")?.unwrap_or_default();
        let item = members.count("output_index")?.unwrap_or(0);
        match kind.as_str() {
            "response.created" => start(&mut members, out)?,
            "response.output_item.added" => self.item_added(item, &mut members, out)?,
            "response.output_item.done" => self.item_done(item, &mut members, out)?,
            "response.output_text.delta" => self.say(item, &mut members, PartStart::Text, out)?,
            "response.refusal.delta" => self.say(item, &mut members, PartStart::Refusal, out)?,
            "response.reasoning_text.delta" | "response.reasoning_summary_text.delta" => {
                self.say(item, &mut members, PartStart::Thinking, out)?;
            }
            "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
                if let Some(part) = self.open.get(&(item, 0)) {
                    say(*part, members.string("delta")?, out);
                }
            }
            "response.completed" | "response.incomplete" => self.end(&mut members, out)?,
            "response.failed" => {
                let response = members.required("response")?;
                let error = read_provider_error(0, response.text().as_bytes());
                out.push(StreamEvent::Error { message: error.message, kind: error.code });
            }
            "error" => {
                let error = read_provider_error(0, data);
                out.push(StreamEvent::Error { message: error.message, kind: error.code });
            }
            _ => {}
        }
        Ok(())
    }

    fn item_added(
        &mut self,
        item: u64,
        members: &mut Members<'_>,
        out: &mut Vec<StreamEvent>,
    ) -> Result<(), FieldError> {
        let mut added = members.required("item")?.object()?;
        let kind = added.string("type")?;
        let is_custom = match kind.as_deref() {
            Some("function_call") => false,
            Some("custom_tool_call") => true,
            _ => return Ok(()),
        };
        self.has_calls = true;
        let start = PartStart::ToolCall {
            id: added.string("call_id")?.unwrap_or_default(),
            name: added.string("name")?.unwrap_or_default(),
            is_custom,
        };
        let part = self.begin((item, 0), start, out);
        say(part, added.string(if is_custom { "input" } else { "arguments" })?, out);
        Ok(())
    }

    fn item_done(
        &mut self,
        item: u64,
        members: &mut Members<'_>,
        out: &mut Vec<StreamEvent>,
    ) -> Result<(), FieldError> {
        let mut done = members.required("item")?.object()?;
        let signature = done.string("encrypted_content")?;
        if done.string("type")?.as_deref() == Some("reasoning")
            && let Some(signature) = signature
        {
            let part = match self.open.get(&(item, 0)) {
                Some(part) => *part,
                None => self.begin((item, 0), PartStart::Thinking, out),
            };
            out.push(StreamEvent::Signature { choice: 0, part, signature });
        }
        let ended: Vec<(u64, u64)> =
            self.open.range((item, 0)..=(item, u64::MAX)).map(|(key, _)| *key).collect();
        for key in ended {
            out.extend(self.open.remove(&key).map(|part| StreamEvent::PartEnd { choice: 0, part }));
        }
        Ok(())
    }

    fn say(
        &mut self,
        item: u64,
        members: &mut Members<'_>,
        start: PartStart,
        out: &mut Vec<StreamEvent>,
    ) -> Result<(), FieldError> {
        // pieces of a summary are one reasoning
        let content = match start {
            PartStart::Thinking => 0,
            _ => members.count("content_index")?.unwrap_or(0),
        };
        let text = members.string("delta")?;
        let part = match self.open.get(&(item, content)) {
            Some(part) => *part,
            None => self.begin((item, content), start, out),
        };
        say(part, text, out);
        Ok(())
    }

    fn begin(&mut self, key: (u64, u64), start: PartStart, out: &mut Vec<StreamEvent>) -> u64 {
        let part = self.n_parts;
        self.n_parts += 1;
        self.open.insert(key, part);
        out.push(StreamEvent::PartStart { choice: 0, part, start });
        part
    }

    fn end(&mut self, members: &mut Members<'_>, out: &mut Vec<StreamEvent>) -> Result<(), FieldError> {
        for part in std::mem::take(&mut self.open).into_values() {
            out.push(StreamEvent::PartEnd { choice: 0, part });
        }
        let mut response = members.required("response")?.object()?;
        let reason = read_status(&mut response, self.has_calls)?;
        out.push(StreamEvent::Finish { choice: 0, reason, stop_sequence: None });
        let usage = response.take("usage").and_then(|node| read_usage(&node));
        out.extend(usage.map(StreamEvent::Usage));
        out.push(StreamEvent::End);
        Ok(())
    }
}

fn start(members: &mut Members<'_>, out: &mut Vec<StreamEvent>) -> Result<(), FieldError> {
    let mut response = members.required("response")?.object()?;
    out.push(StreamEvent::Start {
        id: response.string("id")?.unwrap_or_default(),
        model: response.string("model")?.unwrap_or_default(),
        created: response.count("created_at").unwrap_or_default(),
    });
    Ok(())
}

fn say(part: u64, text: Option<String>, out: &mut Vec<StreamEvent>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        out.push(StreamEvent::Delta { choice: 0, part, text, logprobs: None });
    }
}
