//! Streamed answers into steps.

use std::collections::BTreeMap;

use super::parts::{read_signature, thought_text};
use super::read_answer::{read_finish, read_usage};
use crate::json::{FieldError, Kind, Members, Node, ReadError};
use crate::neutral::{PartStart, StreamEvent};
use crate::openai::error::read_provider_error;

/// Reads the data of one event after the other.
#[derive(Debug, Default)]
pub struct ChatStreamReader {
    has_started: bool,
    choices: BTreeMap<u64, Progress>,
}

/// How far one of the answers has come.
#[derive(Debug, Default)]
struct Progress {
    n_parts: u64,
    /// The part that texts are added to, and what it is.
    open: Option<(Said, u64)>,
    /// Parts of tool calls, by the vendor's index.
    calls: BTreeMap<u64, u64>,
}

/// What a text belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Text,
    Thinking,
    Refusal,
}

impl ChatStreamReader {
    /// Takes an event's data (`[DONE]` included) and appends what it leads to.
    ///
    /// # Errors
    /// The data is no JSON, or has members of the wrong type.
    pub fn data(&mut self, data: &[u8], out: &mut Vec<StreamEvent>) -> Result<(), ReadError> {
        if data == b"[DONE]" {
            out.push(StreamEvent::End);
            return Ok(());
        }
        let mut members = Members::document(data)?;
        if members.take("error").is_some() {
            let error = read_provider_error(0, data);
            out.push(StreamEvent::Error { message: error.message, kind: error.error_type });
            return Ok(());
        }
        if !self.has_started {
            self.has_started = true;
            out.push(StreamEvent::Start {
                id: members.string("id")?.unwrap_or_default(),
                model: members.string("model")?.unwrap_or_default(),
                created: members.count("created").unwrap_or_default(),
            });
        }
        if let Some(choices) = members.take("choices") {
            for choice in choices.array()? {
                self.choice(&choice, out)?;
            }
        }
        // Groq's older place for it
        let nested = members.take("x_groq").filter(|node| node.kind() == Kind::Object);
        let nested = nested.map(|node| node.object()).transpose()?.and_then(|mut groq| groq.take("usage"));
        if let Some(usage) = members.take("usage").or(nested).and_then(|node| read_usage(&node)) {
            out.push(StreamEvent::Usage(usage));
        }
        Ok(())
    }

    fn choice(&mut self, node: &Node<'_>, out: &mut Vec<StreamEvent>) -> Result<(), FieldError> {
        let mut members = node.object()?;
        let choice = members.count("index")?.unwrap_or(0);
        let progress = self.choices.entry(choice).or_default();
        let logprobs = members.raw("logprobs");
        if let Some(delta) = members.take("delta") {
            let mut delta = delta.object()?;
            progress.delta(choice, &mut delta, logprobs, out)?;
        }
        // Moonshot's place for it
        if let Some(usage) = members.take("usage").and_then(|node| read_usage(&node)) {
            out.push(StreamEvent::Usage(usage));
        }
        if let Some(reason) = members.string("finish_reason")? {
            progress.close_all(choice, out);
            let reason = read_finish(Some(&reason));
            out.push(StreamEvent::Finish { choice, reason, stop_sequence: None });
        }
        Ok(())
    }
}

impl Progress {
    fn delta(
        &mut self,
        choice: u64,
        delta: &mut Members<'_>,
        logprobs: Option<crate::json::RawJson>,
        out: &mut Vec<StreamEvent>,
    ) -> Result<(), FieldError> {
        let thinking = delta.take("reasoning_content").or_else(|| delta.take("reasoning"));
        if let Some(text) = thinking.filter(|node| node.kind() == Kind::String) {
            self.say(choice, Said::Thinking, &text.string()?, None, out);
        }
        if let Some(blocks) = delta.take("thinking_blocks") {
            self.signatures(choice, &blocks, out)?;
        }
        match delta.take("content") {
            Some(pieces) if pieces.kind() == Kind::Array => self.pieces(choice, &pieces, out)?,
            Some(text) => self.say(choice, Said::Text, &text.string()?, logprobs, out),
            None => {}
        }
        if let Some(text) = delta.string("refusal")? {
            self.say(choice, Said::Refusal, &text, None, out);
        }
        if let Some(calls) = delta.take("tool_calls") {
            for call in calls.array()? {
                self.call(choice, &mut call.object()?, out)?;
            }
        }
        Ok(())
    }

    /// Content in pieces, as Mistral's reasoning models stream it.
    fn pieces(
        &mut self,
        choice: u64,
        pieces: &Node<'_>,
        out: &mut Vec<StreamEvent>,
    ) -> Result<(), FieldError> {
        for piece in pieces.array()? {
            let mut piece = piece.object()?;
            if let Some(thought) = piece.take("thinking") {
                self.say(choice, Said::Thinking, &thought_text(&thought)?, None, out);
            } else if let Some(text) = piece.string("text")? {
                self.say(choice, Said::Text, &text, None, out);
            }
        }
        Ok(())
    }

    fn say(
        &mut self,
        choice: u64,
        said: Said,
        text: &str,
        logprobs: Option<crate::json::RawJson>,
        out: &mut Vec<StreamEvent>,
    ) {
        if text.is_empty() {
            return;
        }
        let part = match self.open {
            Some((open, part)) if open == said => part,
            _ => self.begin(choice, said, out),
        };
        out.push(StreamEvent::Delta { choice, part, text: text.to_owned(), logprobs });
    }

    fn begin(&mut self, choice: u64, said: Said, out: &mut Vec<StreamEvent>) -> u64 {
        self.close_all(choice, out);
        let start = match said {
            Said::Text => PartStart::Text,
            Said::Thinking => PartStart::Thinking,
            Said::Refusal => PartStart::Refusal,
        };
        let part = self.next_part();
        self.open = Some((said, part));
        out.push(StreamEvent::PartStart { choice, part, start });
        part
    }

    fn signatures(
        &mut self,
        choice: u64,
        blocks: &Node<'_>,
        out: &mut Vec<StreamEvent>,
    ) -> Result<(), FieldError> {
        for block in blocks.array()? {
            let mut block = block.object()?;
            if let Some(data) = block.string("data")? {
                self.close_all(choice, out);
                let part = self.next_part();
                let start = PartStart::HiddenThinking { data };
                out.push(StreamEvent::PartStart { choice, part, start });
                out.push(StreamEvent::PartEnd { choice, part });
            } else if let Some(signature) = block.string("signature")? {
                let part = match self.open {
                    Some((Said::Thinking, part)) => part,
                    _ => self.begin(choice, Said::Thinking, out),
                };
                out.push(StreamEvent::Signature { choice, part, signature });
            }
        }
        Ok(())
    }

    fn call(
        &mut self,
        choice: u64,
        members: &mut Members<'_>,
        out: &mut Vec<StreamEvent>,
    ) -> Result<(), FieldError> {
        let index = members.count("index")?.unwrap_or(self.calls.len() as u64);
        let id = members.string("id")?;
        let signature = read_signature(members)?;
        let custom = members.take("custom");
        let is_custom = custom.is_some();
        let inside = custom.or_else(|| members.take("function"));
        let (mut name, mut text) = (None, None);
        if let Some(inside) = inside {
            let mut inside = inside.object()?;
            name = inside.string("name")?;
            text = inside.string(if is_custom { "input" } else { "arguments" })?;
        }
        let part = match self.calls.get(&index) {
            Some(part) => *part,
            None => {
                self.close_said(choice, out);
                let part = self.next_part();
                self.calls.insert(index, part);
                let (id, name) = (id.unwrap_or_default(), name.unwrap_or_default());
                let start = PartStart::ToolCall { id, name, is_custom };
                out.push(StreamEvent::PartStart { choice, part, start });
                part
            }
        };
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            out.push(StreamEvent::Delta { choice, part, text, logprobs: None });
        }
        if let Some(signature) = signature {
            out.push(StreamEvent::Signature { choice, part, signature });
        }
        Ok(())
    }

    const fn next_part(&mut self) -> u64 {
        self.n_parts += 1;
        self.n_parts - 1
    }

    fn close_said(&mut self, choice: u64, out: &mut Vec<StreamEvent>) {
        if let Some((_, part)) = self.open.take() {
            out.push(StreamEvent::PartEnd { choice, part });
        }
    }

    fn close_all(&mut self, choice: u64, out: &mut Vec<StreamEvent>) {
        self.close_said(choice, out);
        for part in std::mem::take(&mut self.calls).into_values() {
            out.push(StreamEvent::PartEnd { choice, part });
        }
    }
}
