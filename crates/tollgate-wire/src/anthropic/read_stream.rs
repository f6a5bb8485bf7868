//! Streamed answers into steps.

use std::collections::BTreeMap;

use super::read_answer::{read_stop, usage_of};
use crate::json::{FieldError, JsonWriter, Members, RawJson, ReadError};
use crate::neutral::{FinishReason, PartStart, StreamEvent};
use crate::openai::error::read_provider_error;

/// Reads the data of one event after the other; the events' names stand in their data, too.
#[derive(Debug, Default)]
pub struct AnthropicStreamReader {
    /// Counts by their members, as later events tell only some of them.
    counts: BTreeMap<String, RawJson>,
    is_finished: bool,
}

impl AnthropicStreamReader {
    /// Takes an event's data and appends what it leads to.
    ///
    /// # Errors
    /// The data is no JSON, or has members of the wrong type.
    pub fn data(&mut self, data: &[u8], out: &mut Vec<StreamEvent>) -> Result<(), ReadError> {
        let mut members = Members::document(data)?;
        match members.string("type")?.as_deref() {
            Some("message_start") => self.start(&mut members.required("message")?.object()?, out)?,
            Some("content_block_start") => begin(&mut members, out)?,
            Some("content_block_delta") => add(&mut members, out)?,
            Some("content_block_stop") => {
                let part = members.required("index")?.count()?;
                out.push(StreamEvent::PartEnd { choice: 0, part });
            }
            Some("message_delta") => self.delta(&mut members, out)?,
            Some("message_stop") => {
                if !self.is_finished {
                    let reason = FinishReason::Other;
                    out.push(StreamEvent::Finish { choice: 0, reason, stop_sequence: None });
                }
                out.push(StreamEvent::End);
            }
            Some("error") => {
                let error = read_provider_error(0, data);
                out.push(StreamEvent::Error { message: error.message, kind: error.error_type });
            }
            // `ping`, and what may come later
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, message: &mut Members<'_>, out: &mut Vec<StreamEvent>) -> Result<(), FieldError> {
        out.push(StreamEvent::Start {
            id: message.string("id")?.unwrap_or_default(),
            model: message.string("model")?.unwrap_or_default(),
            created: None,
        });
        self.usage(message, out)
    }

    fn delta(&mut self, members: &mut Members<'_>, out: &mut Vec<StreamEvent>) -> Result<(), FieldError> {
        if let Some(node) = members.take("delta") {
            let mut delta = node.object()?;
            let stop_sequence = delta.string("stop_sequence")?;
            if let Some(reason) = delta.string("stop_reason")? {
                self.is_finished = true;
                let reason = read_stop(Some(&reason));
                out.push(StreamEvent::Finish { choice: 0, reason, stop_sequence });
            }
        }
        self.usage(members, out)
    }

    fn usage(&mut self, members: &mut Members<'_>, out: &mut Vec<StreamEvent>) -> Result<(), FieldError> {
        let Some(node) = members.take("usage") else { return Ok(()) };
        for (name, value) in node.object()?.rest().iter() {
            self.counts.insert(name.to_owned(), value.clone());
        }
        let object = JsonWriter::document(256, |writer| {
            self.counts.iter().for_each(|(name, value)| writer.member_raw(name, value));
        });
        out.extend(usage_of(&String::from_utf8_lossy(&object)).map(StreamEvent::Usage));
        Ok(())
    }
}

fn begin(members: &mut Members<'_>, out: &mut Vec<StreamEvent>) -> Result<(), FieldError> {
    let part = members.required("index")?.count()?;
    let mut block = members.required("content_block")?.object()?;
    let mut text = String::new();
    let start = match &*block.required("type")?.string()? {
        "text" => {
            text = block.string("text")?.unwrap_or_default();
            PartStart::Text
        }
        "thinking" => {
            text = block.string("thinking")?.unwrap_or_default();
            PartStart::Thinking
        }
        "redacted_thinking" => {
            PartStart::HiddenThinking { data: block.required("data")?.string()?.into_owned() }
        }
        "tool_use" => PartStart::ToolCall {
            id: block.required("id")?.string()?.into_owned(),
            name: block.required("name")?.string()?.into_owned(),
            is_custom: false,
        },
        // what the vendor's own tools do has no step of its own
        _ => return Ok(()),
    };
    out.push(StreamEvent::PartStart { choice: 0, part, start });
    if !text.is_empty() {
        out.push(StreamEvent::Delta { choice: 0, part, text, logprobs: None });
    }
    Ok(())
}

fn add(members: &mut Members<'_>, out: &mut Vec<StreamEvent>) -> Result<(), FieldError> {
    let part = members.required("index")?.count()?;
    let mut delta = members.required("delta")?.object()?;
    let text = match &*delta.required("type")?.string()? {
        "text_delta" => delta.string("text")?,
        "thinking_delta" => delta.string("thinking")?,
        "input_json_delta" => delta.string("partial_json")?,
        "signature_delta" => {
            if let Some(signature) = delta.string("signature")? {
                out.push(StreamEvent::Signature { choice: 0, part, signature });
            }
            None
        }
        "citations_delta" => {
            if let Some(citation) = delta.raw("citation") {
                out.push(StreamEvent::Citation { choice: 0, part, citation });
            }
            None
        }
        _ => None,
    };
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        out.push(StreamEvent::Delta { choice: 0, part, text, logprobs: None });
    }
    Ok(())
}
