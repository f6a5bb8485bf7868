//! From steps to a whole answer and back.

use std::collections::BTreeMap;

use super::{ChatAnswer, Choice, FinishReason, Part, PartKind, PartStart, StreamEvent, ToolCall};

/// Gathers the steps of a stream into the answer they make.
#[derive(Debug, Default)]
pub struct Assembler {
    answer: ChatAnswer,
    parts: BTreeMap<(u64, u64), Part>,
    ends: BTreeMap<u64, (FinishReason, Option<String>)>,
}

impl Assembler {
    /// Takes the next step.
    pub fn event(&mut self, event: &StreamEvent) {
        match event {
            StreamEvent::Start { id, model, created } => {
                self.answer.id.clone_from(id);
                self.answer.model.clone_from(model);
                self.answer.created = *created;
            }
            StreamEvent::PartStart { choice, part, start } => {
                self.parts.insert((*choice, *part), Part::new(begun(start)));
            }
            StreamEvent::Delta { choice, part, text, .. } => {
                if let Some(part) = self.parts.get_mut(&(*choice, *part)) {
                    grow(&mut part.kind, text);
                }
            }
            StreamEvent::Signature { choice, part, signature } => {
                if let Some(part) = self.parts.get_mut(&(*choice, *part)) {
                    sign(&mut part.kind, signature);
                }
            }
            StreamEvent::Finish { choice, reason, stop_sequence } => {
                self.ends.insert(*choice, (*reason, stop_sequence.clone()));
            }
            StreamEvent::Usage(usage) => self.answer.usage = Some(*usage),
            StreamEvent::Citation { .. }
            | StreamEvent::PartEnd { .. }
            | StreamEvent::End
            | StreamEvent::Error { .. } => {}
        }
    }

    /// The answer so far.
    #[must_use]
    pub fn finish(self) -> ChatAnswer {
        let mut answer = self.answer;
        let mut choices: BTreeMap<u64, Vec<Part>> =
            self.ends.keys().map(|index| (*index, Vec::new())).collect();
        for ((choice, _), part) in self.parts {
            choices.entry(choice).or_default().push(part);
        }
        for (index, parts) in choices {
            let (finish, stop_sequence) =
                self.ends.get(&index).cloned().unwrap_or((FinishReason::Other, None));
            answer.choices.push(Choice { index, parts, finish, stop_sequence, logprobs: None });
        }
        answer
    }
}

fn begun(start: &PartStart) -> PartKind {
    match start {
        PartStart::Text => PartKind::Text { text: String::new(), citations: None },
        PartStart::Thinking => PartKind::Thinking { text: String::new(), signature: None },
        PartStart::HiddenThinking { data } => PartKind::HiddenThinking { data: data.clone() },
        PartStart::Refusal => PartKind::Refusal { text: String::new() },
        PartStart::ToolCall { id, name, is_custom } => PartKind::ToolCall(ToolCall {
            id: id.clone(),
            name: name.clone(),
            arguments: String::new(),
            is_custom: *is_custom,
            signature: None,
        }),
        PartStart::Image { media_type, base64 } => PartKind::Image {
            source: super::Media::Inline { media_type: media_type.clone(), base64: base64.clone() },
            detail: None,
        },
    }
}

fn grow(kind: &mut PartKind, more: &str) {
    match kind {
        PartKind::Text { text, .. } | PartKind::Thinking { text, .. } | PartKind::Refusal { text } => {
            text.push_str(more);
        }
        PartKind::ToolCall(call) => call.arguments.push_str(more),
        _ => {}
    }
}

fn sign(kind: &mut PartKind, more: &str) {
    let signature = match kind {
        PartKind::Thinking { signature, .. } => signature,
        PartKind::ToolCall(call) => &mut call.signature,
        _ => return,
    };
    signature.get_or_insert_default().push_str(more);
}

/// The steps of a stream that makes `answer`: for clients that asked for a stream where the provider sent a
/// whole answer.
#[must_use]
pub fn replay(answer: &ChatAnswer) -> Vec<StreamEvent> {
    let (id, model, created) = (answer.id.clone(), answer.model.clone(), answer.created);
    let mut events = vec![StreamEvent::Start { id, model, created }];
    for choice in &answer.choices {
        let index = choice.index;
        for (part, piece) in (0..).zip(&choice.parts) {
            replay_part(index, part, &piece.kind, &mut events);
        }
        let (reason, stop_sequence) = (choice.finish, choice.stop_sequence.clone());
        events.push(StreamEvent::Finish { choice: index, reason, stop_sequence });
    }
    events.extend(answer.usage.map(StreamEvent::Usage));
    events.push(StreamEvent::End);
    events
}

fn replay_part(choice: u64, part: u64, kind: &PartKind, events: &mut Vec<StreamEvent>) {
    let (start, text, signature) = match kind {
        PartKind::Text { text, .. } => (PartStart::Text, text.as_str(), None),
        PartKind::Thinking { text, signature } => (PartStart::Thinking, text.as_str(), signature.as_ref()),
        PartKind::Refusal { text } => (PartStart::Refusal, text.as_str(), None),
        PartKind::HiddenThinking { data } => (PartStart::HiddenThinking { data: data.clone() }, "", None),
        PartKind::ToolCall(call) => {
            let start = PartStart::ToolCall {
                id: call.id.clone(),
                name: call.name.clone(),
                is_custom: call.is_custom,
            };
            (start, call.arguments.as_str(), call.signature.as_ref())
        }
        PartKind::Image { source: super::Media::Inline { media_type, base64 }, .. } => {
            let start = PartStart::Image { media_type: media_type.clone(), base64: base64.clone() };
            (start, "", None)
        }
        _ => return,
    };
    events.push(StreamEvent::PartStart { choice, part, start });
    if !text.is_empty() {
        events.push(StreamEvent::Delta { choice, part, text: text.to_owned(), logprobs: None });
    }
    if let Some(signature) = signature {
        events.push(StreamEvent::Signature { choice, part, signature: signature.clone() });
    }
    events.push(StreamEvent::PartEnd { choice, part });
}
