//! The end of a stream that the gateway cuts: a finish reason, why, the usage, the terminator.

use bytes::Bytes;
use serde_json::{Value, json};
use tollgate_domain::{NanoUsd, Surface};

use super::DONE_EVENT;
use crate::json::{Key, members};
use crate::sse::{data_event, frame_data};

/// What every chunk of a stream repeats, and which of its answers have ended.
#[derive(Clone, Debug, Default)]
pub struct StreamHead {
    /// `id`, `created` and `model`, as the first chunk has them.
    members: Option<serde_json::Map<String, Value>>,
    /// Answers with a finish reason.
    finished: Vec<u64>,
}

/// Why a stream was cut, for the member `tollgate` of its last chunk.
#[derive(Clone, Copy, Debug)]
pub struct CutNotice<'a> {
    /// An error code of the API.
    pub code: &'a str,
    /// One sentence.
    pub message: &'a str,
    /// What else there is to know.
    pub metadata: Option<&'a Value>,
}

/// What was counted of a cut stream, and what it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutUsage {
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of the answers.
    pub completion_tokens: u64,
    /// The charge.
    pub cost: NanoUsd,
}

impl CutNotice<'_> {
    fn value(&self) -> Value {
        let mut why = json!({ "code": self.code, "message": self.message });
        if let Some(metadata) = self.metadata {
            why["metadata"] = metadata.clone();
        }
        why
    }

    /// The notice as a JSON object.
    #[must_use]
    pub fn to_json(&self) -> String {
        self.value().to_string()
    }
}

impl StreamHead {
    /// What a stream that is written here repeats, and its answers that have ended.
    #[must_use]
    pub fn of(id: &str, created: Option<u64>, model: &str, finished: Vec<u64>) -> Self {
        let mut members = serde_json::Map::new();
        members.insert("id".to_owned(), json!(id));
        members.insert("model".to_owned(), json!(model));
        if let Some(created) = created {
            members.insert("created".to_owned(), json!(created));
        }
        Self { members: Some(members), finished }
    }

    /// With that time (Unix seconds) where none is told.
    #[must_use]
    pub fn created_or(mut self, created: u64) -> Self {
        self.members.get_or_insert_default().entry("created").or_insert_with(|| json!(created));
        self
    }

    /// Notes what frames on their way to the client say. `n_choices` above one makes it look for the ends of
    /// single answers.
    pub fn note(&mut self, frames: &[u8], n_choices: u64) {
        if self.members.is_some() && n_choices <= 1 {
            return;
        }
        for frame in frames_of(frames) {
            let Some(data) = frame_data(frame) else { continue };
            if self.members.is_none() {
                self.members = head_members(&data);
            }
            if n_choices > 1 && memchr::memmem::find(&data, b"\"finish_reason\"").is_some() {
                self.note_finished(&data);
            }
        }
    }

    fn note_finished(&mut self, data: &[u8]) {
        let Ok(chunk) = serde_json::from_slice::<Value>(data) else { return };
        let choices = chunk["choices"].as_array().into_iter().flatten();
        let ended = choices.filter(|choice| choice["finish_reason"].is_string());
        self.finished.extend(ended.filter_map(|choice| choice["index"].as_u64()));
    }
}

/// The events, each with its blank line.
pub(super) fn frames_of(mut frames: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        if frames.is_empty() {
            return None;
        }
        let mut end = frames.len();
        // the usual one first, so that the others are looked for in one frame only
        for mark in [&b"\n\n"[..], b"\r\n\r\n", b"\r\r"] {
            end = memchr::memmem::find(&frames[..end], mark).map_or(end, |at| at + mark.len());
        }
        let (frame, rest) = frames.split_at(end);
        frames = rest;
        Some(frame)
    })
}

fn head_members(data: &[u8]) -> Option<serde_json::Map<String, Value>> {
    let members = members(data).ok()?;
    let is_kept = |key: &Key| matches!(&*key.name(data), b"id" | b"created" | b"model");
    let mut kept = serde_json::Map::new();
    for member in members.into_iter().filter(|member| is_kept(&member.key)) {
        let value = serde_json::from_slice(&data[member.value.span.clone()]).ok()?;
        kept.insert(String::from_utf8_lossy(&member.key.name(data)).into_owned(), value);
    }
    (!kept.is_empty()).then_some(kept)
}

/// The last events of a stream that is cut: every answer that has not ended ends with `length`, the member
/// `tollgate` says why, then the usage where the client wants it, then the terminator.
#[must_use]
pub fn cut_events(
    head: &StreamHead,
    surface: Surface,
    n_choices: u64,
    notice: Option<&CutNotice<'_>>,
    usage: Option<CutUsage>,
) -> Bytes {
    let object = if surface == Surface::Completions { "text_completion" } else { "chat.completion.chunk" };
    let chunk = |choices: Vec<Value>| {
        let mut chunk = head.members.clone().unwrap_or_default();
        chunk.insert("object".to_owned(), json!(object));
        chunk.insert("choices".to_owned(), Value::Array(choices));
        chunk
    };
    let choice = |index: u64| match surface {
        Surface::Completions => {
            json!({ "index": index, "text": "", "logprobs": null, "finish_reason": "length" })
        }
        _ => json!({ "index": index, "delta": {}, "logprobs": null, "finish_reason": "length" }),
    };
    let open = (0..n_choices).filter(|index| !head.finished.contains(index));
    let mut last = chunk(open.map(choice).collect());
    if let Some(notice) = notice {
        last.insert("tollgate".to_owned(), notice.value());
    }
    let mut events = data_event(Value::Object(last).to_string().as_bytes()).to_vec();
    if let Some(usage) = usage {
        let chunk = Value::Object(chunk(Vec::new())).to_string();
        events.extend_from_slice(&data_event(with_usage(&chunk, usage).as_bytes()));
    }
    events.extend_from_slice(DONE_EVENT);
    Bytes::from(events)
}

/// The chunk, which has members, with its last one.
fn with_usage(chunk: &str, usage: CutUsage) -> String {
    let (prompt, completion) = (usage.prompt_tokens, usage.completion_tokens);
    let total = prompt.saturating_add(completion);
    let cost = usage.cost.text();
    let members = chunk.strip_suffix('}').unwrap_or(chunk);
    let counts =
        format!("\"prompt_tokens\":{prompt},\"completion_tokens\":{completion},\"total_tokens\":{total}");
    format!("{members},\"usage\":{{{counts},\"cost\":{}}}}}", cost.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(events: &[u8]) -> Vec<String> {
        frames_of(events)
            .map(|frame| String::from_utf8(frame_data(frame).unwrap().into_owned()).unwrap())
            .collect()
    }

    #[test]
    fn a_cut_stream_ends_as_its_provider_would_have_ended_it() {
        let mut head = StreamHead::default();
        head.note(b": hello\n\ndata: {\"id\":\"c-1\",\"created\":5,\"model\":\"m\",\"choices\":[]}\n\n", 1);
        head.note(b"data: {\"id\":\"other\"}\n\n", 1);
        let notice = CutNotice { code: "budget_exceeded", message: "why", metadata: Some(&json!({"a": 1})) };
        let usage = CutUsage { prompt_tokens: 3, completion_tokens: 4, cost: NanoUsd(1_500) };
        let events = data(&cut_events(&head, Surface::Chat, 1, Some(&notice), Some(usage)));
        let chunk: Value = serde_json::from_str(&events[0]).unwrap();
        assert_eq!(
            chunk,
            json!({
                "id": "c-1", "created": 5, "model": "m", "object": "chat.completion.chunk",
                "choices": [{ "index": 0, "delta": {}, "logprobs": null, "finish_reason": "length" }],
                "tollgate": { "code": "budget_exceeded", "message": "why", "metadata": { "a": 1 } },
            })
        );
        let chunk: Value = serde_json::from_str(&events[1]).unwrap();
        assert_eq!(chunk["usage"]["total_tokens"], 7);
        assert!(events[1].contains("0.0000015"), "{}", events[1]);
        assert_eq!(events[2], "[DONE]");
        let events = data(&cut_events(&head, Surface::Completions, 1, Some(&notice), None));
        assert!(events[0].contains("text_completion") && events[0].contains("\"text\":\"\""), "{events:?}");
        assert_eq!(events.len(), 2);
    }

    #[test]
    fn an_answer_that_has_ended_is_not_ended_again() {
        let mut head = StreamHead::default();
        let frames = "data: {\"choices\":[{\"index\":1,\"finish_reason\":\"stop\"}]}\r\n\r\ndata: {\"choices\":[{\"index\":0,\"finish_reason\":null}]}\n\n";
        head.note(frames.as_bytes(), 3);
        let events = data(&cut_events(&head, Surface::Chat, 3, None, None));
        let chunk: Value = serde_json::from_str(&events[0]).unwrap();
        let indices: Vec<_> = chunk["choices"].as_array().unwrap().iter().map(|one| &one["index"]).collect();
        assert_eq!(indices, [0, 2]);
    }
}
