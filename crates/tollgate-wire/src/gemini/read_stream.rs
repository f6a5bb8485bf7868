//! Streamed answers into steps.

use std::collections::BTreeMap;

use super::parts::{CallIds, read_part, string_of};
use super::read_answer::{is_blocked, read_finish};
use super::usage::read_usage;
use crate::json::{FieldError, Members, Node, ReadError};
use crate::neutral::{FinishReason, Media, Part, PartKind, PartStart, StreamEvent};
use crate::openai::error::read_provider_error;

/// Reads the data of one event after the other. The dialect has no terminator: see [`Self::end`].
#[derive(Debug, Default)]
pub struct GeminiStreamReader {
    has_started: bool,
    ids: CallIds,
    candidates: BTreeMap<u64, Progress>,
}

/// How far one of the answers has come.
#[derive(Debug, Default)]
struct Progress {
    n_parts: u64,
    /// The part that texts are added to, and whether it is reasoning.
    open: Option<(bool, u64)>,
    has_calls: bool,
    is_finished: bool,
}

impl GeminiStreamReader {
    /// Takes an event's data and appends what it leads to.
    ///
    /// # Errors
    /// The data is no JSON, or has members of the wrong type.
    pub fn data(&mut self, data: &[u8], out: &mut Vec<StreamEvent>) -> Result<(), ReadError> {
        let mut members = Members::document(data)?;
        if members.take("error").is_some() {
            let error = read_provider_error(0, data);
            out.push(StreamEvent::Error { message: error.message, kind: error.error_type });
            return Ok(());
        }
        if !self.has_started {
            self.has_started = true;
            out.push(StreamEvent::Start {
                id: string_of(&mut members, "responseId", "response_id")?.unwrap_or_default(),
                model: string_of(&mut members, "modelVersion", "model_version")?.unwrap_or_default(),
                created: None,
            });
        }
        if let Some(candidates) = members.take("candidates") {
            for (index, node) in (0..).zip(candidates.array()?) {
                self.candidate(index, &node, out)?;
            }
        }
        if is_blocked(&mut members)? {
            self.candidates.entry(0).or_default().finish(0, FinishReason::ContentFilter, out);
        }
        let usage = members.take_either("usageMetadata", "usage_metadata");
        out.extend(usage.and_then(|node| read_usage(&node)).map(StreamEvent::Usage));
        Ok(())
    }

    /// The end of the body: whole where every answer has its reason.
    pub fn end(&mut self, out: &mut Vec<StreamEvent>) -> bool {
        let is_whole = !self.candidates.is_empty() && self.candidates.values().all(|one| one.is_finished);
        if is_whole {
            out.push(StreamEvent::End);
        }
        is_whole
    }

    fn candidate(
        &mut self,
        index: u64,
        node: &Node<'_>,
        out: &mut Vec<StreamEvent>,
    ) -> Result<(), FieldError> {
        let mut members = node.object()?;
        let choice = members.count("index")?.unwrap_or(index);
        let progress = self.candidates.entry(choice).or_default();
        let mut parts = Vec::new();
        if let Some(content) = members.take("content")
            && let Some(node) = content.object()?.take("parts")
        {
            for part in node.array()? {
                read_part(&part, &mut self.ids, &mut parts)?;
            }
        }
        parts.into_iter().for_each(|part| progress.part(choice, part, out));
        if let Some(reason) = string_of(&mut members, "finishReason", "finish_reason")? {
            let reason = read_finish(Some(&reason), progress.has_calls);
            progress.finish(choice, reason, out);
        }
        Ok(())
    }
}

impl Progress {
    fn part(&mut self, choice: u64, part: Part, out: &mut Vec<StreamEvent>) {
        match part.kind {
            PartKind::Text { text, .. } => self.say(choice, false, text, out),
            PartKind::Thinking { text, signature } => {
                if !text.is_empty() || signature.is_none() {
                    self.say(choice, true, text, out);
                }
                if let Some(signature) = signature {
                    let part = self.open_part(choice, true, out);
                    out.push(StreamEvent::Signature { choice, part, signature });
                    self.close(choice, out);
                }
            }
            PartKind::ToolCall(call) => {
                self.has_calls = true;
                let start = PartStart::ToolCall { id: call.id, name: call.name, is_custom: false };
                let part = self.whole(choice, start, out);
                if call.arguments != "{}" {
                    let text = call.arguments;
                    out.push(StreamEvent::Delta { choice, part, text, logprobs: None });
                }
                if let Some(signature) = call.signature {
                    out.push(StreamEvent::Signature { choice, part, signature });
                }
                out.push(StreamEvent::PartEnd { choice, part });
            }
            PartKind::Image { source: Media::Inline { media_type, base64 }, .. } => {
                let part = self.whole(choice, PartStart::Image { media_type, base64 }, out);
                out.push(StreamEvent::PartEnd { choice, part });
            }
            // what the vendor's own tools do has no step of its own
            _ => {}
        }
    }

    fn say(&mut self, choice: u64, is_thought: bool, text: String, out: &mut Vec<StreamEvent>) {
        if text.is_empty() {
            return;
        }
        let part = self.open_part(choice, is_thought, out);
        out.push(StreamEvent::Delta { choice, part, text, logprobs: None });
    }

    fn open_part(&mut self, choice: u64, is_thought: bool, out: &mut Vec<StreamEvent>) -> u64 {
        if let Some((open, part)) = self.open
            && open == is_thought
        {
            return part;
        }
        let start = if is_thought { PartStart::Thinking } else { PartStart::Text };
        let part = self.whole(choice, start, out);
        self.open = Some((is_thought, part));
        part
    }

    fn whole(&mut self, choice: u64, start: PartStart, out: &mut Vec<StreamEvent>) -> u64 {
        self.close(choice, out);
        let part = self.n_parts;
        self.n_parts += 1;
        out.push(StreamEvent::PartStart { choice, part, start });
        part
    }

    fn close(&mut self, choice: u64, out: &mut Vec<StreamEvent>) {
        if let Some((_, part)) = self.open.take() {
            out.push(StreamEvent::PartEnd { choice, part });
        }
    }

    fn finish(&mut self, choice: u64, reason: FinishReason, out: &mut Vec<StreamEvent>) {
        if self.is_finished {
            return;
        }
        self.close(choice, out);
        self.is_finished = true;
        out.push(StreamEvent::Finish { choice, reason, stop_sequence: None });
    }
}
