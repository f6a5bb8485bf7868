//! Streamed answers into steps.

use std::collections::BTreeSet;

use super::event_stream::Message;
use super::read_answer::{read_stop, read_usage};
use crate::json::{FieldError, Members, ReadError};
use crate::neutral::{PartStart, StreamEvent};
use crate::openai::error::read_provider_error;

/// Reads one message of the framing after the other.
#[derive(Debug, Default)]
pub struct BedrockStreamReader {
    /// Blocks that have begun: texts begin without saying so.
    begun: BTreeSet<u64>,
    is_finished: bool,
}

impl BedrockStreamReader {
    /// Takes a message and appends what it leads to.
    ///
    /// # Errors
    /// Its payload is no JSON, or has members of the wrong type.
    pub fn message(&mut self, message: &Message, out: &mut Vec<StreamEvent>) -> Result<(), ReadError> {
        if message.is_exception {
            let error = read_provider_error(0, &message.payload);
            out.push(StreamEvent::Error { message: error.message, kind: Some(message.name.clone()) });
            return Ok(());
        }
        let mut members = Members::document(&message.payload)?;
        match message.name.as_str() {
            "messageStart" => {
                out.push(StreamEvent::Start { id: String::new(), model: String::new(), created: None });
            }
            "contentBlockStart" => self.begin(&mut members, out)?,
            "contentBlockDelta" => self.add(&mut members, out)?,
            "contentBlockStop" => {
                let part = members.count("contentBlockIndex")?.unwrap_or(0);
                if self.begun.contains(&part) {
                    out.push(StreamEvent::PartEnd { choice: 0, part });
                }
            }
            "messageStop" => {
                self.is_finished = true;
                let reason = read_stop(members.string("stopReason")?.as_deref());
                out.push(StreamEvent::Finish { choice: 0, reason, stop_sequence: None });
            }
            "metadata" => {
                let usage = members.take("usage").and_then(|node| read_usage(&node));
                out.extend(usage.map(StreamEvent::Usage));
            }
            _ => {}
        }
        Ok(())
    }

    /// The end of the body: whole where the answer has its reason.
    pub fn end(&mut self, out: &mut Vec<StreamEvent>) -> bool {
        if self.is_finished {
            out.push(StreamEvent::End);
        }
        self.is_finished
    }

    fn begin(&mut self, members: &mut Members<'_>, out: &mut Vec<StreamEvent>) -> Result<(), FieldError> {
        let part = members.count("contentBlockIndex")?.unwrap_or(0);
        let Some(start) = members.take("start") else { return Ok(()) };
        let Some(call) = start.object()?.take("toolUse") else { return Ok(()) };
        let mut call = call.object()?;
        self.begun.insert(part);
        let start = PartStart::ToolCall {
            id: call.required("toolUseId")?.string()?.into_owned(),
            name: call.required("name")?.string()?.into_owned(),
            is_custom: false,
        };
        out.push(StreamEvent::PartStart { choice: 0, part, start });
        Ok(())
    }

    fn add(&mut self, members: &mut Members<'_>, out: &mut Vec<StreamEvent>) -> Result<(), FieldError> {
        let part = members.count("contentBlockIndex")?.unwrap_or(0);
        let mut delta = members.required("delta")?.object()?;
        if let Some(text) = delta.string("text")? {
            self.say(part, PartStart::Text, text, out);
        } else if let Some(call) = delta.take("toolUse") {
            if let Some(text) = call.object()?.string("input")?.filter(|text| !text.is_empty()) {
                out.push(StreamEvent::Delta { choice: 0, part, text, logprobs: None });
            }
        } else if let Some(reasoning) = delta.take("reasoningContent") {
            let mut reasoning = reasoning.object()?;
            if let Some(text) = reasoning.string("text")? {
                self.say(part, PartStart::Thinking, text, out);
            } else if let Some(signature) = reasoning.string("signature")? {
                self.say(part, PartStart::Thinking, String::new(), out);
                out.push(StreamEvent::Signature { choice: 0, part, signature });
            } else if let Some(data) = reasoning.string("redactedContent")?
                && self.begun.insert(part)
            {
                let start = PartStart::HiddenThinking { data };
                out.push(StreamEvent::PartStart { choice: 0, part, start });
            }
        }
        Ok(())
    }

    fn say(&mut self, part: u64, start: PartStart, text: String, out: &mut Vec<StreamEvent>) {
        if self.begun.insert(part) {
            out.push(StreamEvent::PartStart { choice: 0, part, start });
        }
        if !text.is_empty() {
            out.push(StreamEvent::Delta { choice: 0, part, text, logprobs: None });
        }
    }
}
