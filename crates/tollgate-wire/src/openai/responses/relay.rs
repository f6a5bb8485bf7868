//! The relay of a streamed answer between two sides that both speak Responses: events pass as they came, but for the
//! names of responses and the cost in the last one's usage. The same interface as
//! [`StreamRelay`](crate::openai::stream::StreamRelay).

use std::ops::Range;

use bytes::Bytes;
use serde_json::json;
use tollgate_domain::{NanoUsd, Usage};

use super::ResponsesStreamReader;
use super::native::{ResponseNames, with_cost};
use super::write_answer::write_usage;
use crate::json::{JsonWriter, Kind, Node, RawJson, ReadError};
use crate::neutral::{PartStart, StreamEvent, TextTally};
use crate::openai::chat::read_usage;
use crate::openai::error::ProviderError;
use crate::openai::stream::{CutNotice, RelayEvent, StreamEnd, UsageFrame};
use crate::sse::{Decoder, Frame, Piece, SseError, data_event, frame_data, named_event};

/// Bytes of one event: the last one repeats the whole answer and the request's instructions and tools.
pub const MAX_RESPONSE_EVENT_BYTES: usize = 8 << 20;

/// The event with which an answer ends whose cap was reached.
const CUT: &str = "response.incomplete";

/// The relay of one streamed answer.
#[derive(Debug)]
pub struct ResponsesRelay {
    decoder: Decoder,
    reader: ResponsesStreamReader,
    names: ResponseNames,
    steps: Vec<StreamEvent>,
    content_begun: bool,
    is_over: bool,
    has_failed: bool,
    usage: Option<Usage>,
    service_tier: Option<String>,
    text: TextTally,
    n_events: u64,
    /// The provider's name for the response.
    id: Option<String>,
    /// The response as it was when it began, with the client's names.
    begun: Option<RawJson>,
}

/// What becomes of an event.
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and it is moved on at once")]
enum Look {
    Forward,
    Instead(RelayEvent),
}

impl ResponsesRelay {
    /// A relay at the start of an answer.
    #[must_use]
    pub fn new(names: ResponseNames) -> Self {
        Self {
            decoder: Decoder::with_max_event_bytes(MAX_RESPONSE_EVENT_BYTES),
            reader: ResponsesStreamReader::default(),
            names,
            steps: Vec::new(),
            content_begun: false,
            is_over: false,
            has_failed: false,
            usage: None,
            service_tier: None,
            text: TextTally::default(),
            n_events: 0,
            id: None,
            begun: None,
        }
    }

    /// Keeps the text that comes for [`Self::take_text`].
    pub fn collect_text(&mut self) {
        self.text.collect();
    }

    /// Appends the text since the last time to `into`.
    pub fn take_text(&mut self, into: &mut String) {
        self.text.take(into);
    }

    /// The last event of a stream that ends in the middle, as if its cap had been reached; `notice` says why. `None` where
    /// nothing had begun. Nothing of the provider's is relayed any more.
    pub fn cut(&mut self, usage: &Usage, cost: NanoUsd, notice: Option<&CutNotice<'_>>) -> Option<Bytes> {
        self.is_over = true;
        let begun = self.begun.take()?;
        let mut members = begun.node().ok()?.object().ok()?;
        for changed in ["status", "incomplete_details", "usage"] {
            members.take(changed);
        }
        let members = members.rest();
        let event = JsonWriter::document(512, |writer| {
            writer.member_string("type", CUT);
            writer.member_count("sequence_number", self.n_events);
            writer.member_object("response", |writer| {
                writer.rest(&members);
                writer.member_string("status", "incomplete");
                writer.member_object("incomplete_details", |writer| {
                    writer.member_string("reason", "max_output_tokens");
                });
                write_usage(writer, usage, Some(cost));
            });
            if let Some(notice) = notice {
                let mut why = json!({"code": notice.code, "message": notice.message});
                if let Some(metadata) = notice.metadata {
                    why["metadata"] = metadata.clone();
                }
                writer.key("tollgate");
                writer.literal(&why.to_string());
            }
        });
        Some(named_event(CUT, &event))
    }

    /// Takes the next chunk and appends what it leads to. After the end or an error everything is dropped.
    ///
    /// # Errors
    /// An event is too large or cannot be read; the stream is to be treated as broken.
    #[expect(clippy::needless_pass_by_value, reason = "what is forwarded are slices of the chunk")]
    pub fn push(&mut self, chunk: Bytes, out: &mut Vec<RelayEvent>) -> Result<(), SseError> {
        let mut at = 0;
        let mut untouched = 0..0;
        let mut outcome = Ok(());
        while !self.is_over {
            let looked = match self.decoder.next_piece(&chunk, &mut at) {
                Ok(None) => break,
                Ok(Some(Piece::Slice { start, end })) => {
                    let look = self.look(&chunk.slice(start..end));
                    if matches!(look, Ok(Look::Forward)) {
                        let first = if untouched.is_empty() { start } else { untouched.start };
                        untouched = first..end;
                        continue;
                    }
                    look
                }
                Ok(Some(Piece::Joined(raw))) => match self.look(&raw) {
                    Ok(Look::Forward) => Ok(Look::Instead(RelayEvent::Forward(raw))),
                    look => look,
                },
                Err(error) => Err(error),
            };
            flush(&chunk, &mut untouched, out);
            match looked {
                Ok(Look::Instead(event)) => out.push(event),
                Ok(Look::Forward) => {}
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        flush(&chunk, &mut untouched, out);
        outcome
    }

    /// The end of the provider's body (`clean`) or its failure. A last event without its blank line counts where it is
    /// whole in itself.
    pub fn finish(&mut self, clean: bool, out: &mut Vec<RelayEvent>) -> StreamEnd {
        let rest = self.decoder.take_rest();
        let is_whole = frame_data(&rest).is_some_and(|data| Node::parse(&data).is_ok());
        if clean && !self.is_over && is_whole {
            let raw = Bytes::from([rest.as_ref(), b"\n\n"].concat());
            match self.look(&raw) {
                Ok(Look::Forward) => out.push(RelayEvent::Forward(raw)),
                Ok(Look::Instead(event)) => out.push(event),
                Err(_) => {}
            }
        }
        if self.done_seen() { StreamEnd::Complete } else { StreamEnd::Broken }
    }

    fn look(&mut self, raw: &Bytes) -> Result<Look, SseError> {
        let Some(data) = frame_data(raw) else { return Ok(Look::Forward) };
        self.look_at(raw, &data).map_err(|_| SseError::Unreadable)
    }

    fn look_at(&mut self, raw: &Bytes, data: &[u8]) -> Result<Look, ReadError> {
        self.n_events += 1;
        let mut steps = std::mem::take(&mut self.steps);
        let read = self.reader.data(data, &mut steps);
        let mut error = None;
        for step in steps.drain(..) {
            self.note(step, &mut error);
        }
        self.steps = steps;
        read?;
        let renamed = self.names.rename_event(data)?;
        if renamed.is_some() {
            self.note_response(data)?;
        }
        if let Some(error) = error {
            self.is_over = true;
            self.has_failed = true;
            return Ok(Look::Instead(RelayEvent::ProviderError(error)));
        }
        let Some(renamed) = renamed else { return Ok(Look::Forward) };
        if self.begun.is_none() {
            let response = Node::parse(&renamed)?.object()?.take("response");
            self.begun = response.filter(|node| node.kind() == Kind::Object).map(|node| node.raw());
        }
        let name = Frame { raw: raw.clone() }.event().and_then(|name| String::from_utf8(name.to_vec()).ok());
        let written = move |json: &[u8]| match &name {
            Some(name) => named_event(name, json),
            None => data_event(json),
        };
        Ok(Look::Instead(match self.usage.filter(|_| self.is_over) {
            None => RelayEvent::Forward(written(&renamed)),
            Some(usage) => RelayEvent::Usage {
                usage: Ok(usage),
                frame: UsageFrame::written(move |cost| {
                    let priced = cost.and_then(|cost| with_cost(&renamed, cost).ok());
                    Some(written(priced.as_deref().unwrap_or(&renamed)))
                }),
            },
        }))
    }

    fn note(&mut self, step: StreamEvent, error: &mut Option<ProviderError>) {
        match step {
            StreamEvent::Error { message, kind } => {
                *error = Some(ProviderError { message, error_type: kind, code: None, param: None });
            }
            StreamEvent::End => self.is_over = true,
            StreamEvent::Usage(usage) => self.usage = Some(usage),
            StreamEvent::PartStart { start, .. } => {
                self.content_begun = true;
                if let PartStart::ToolCall { name, .. } = start {
                    self.text.say(&name);
                }
            }
            StreamEvent::Delta { text, .. } => {
                self.content_begun = true;
                self.text.say(&text);
            }
            _ => {}
        }
    }

    /// What an event with a response says of it: how it is served, how it ended, what it used.
    fn note_response(&mut self, data: &[u8]) -> Result<(), ReadError> {
        let root = Node::parse(data)?;
        let mut event = root.object()?;
        let Some(response) = event.take("response").filter(|node| node.kind() == Kind::Object) else {
            return Ok(());
        };
        let mut members = response.object()?;
        if self.id.is_none() {
            self.id = members.string("id")?;
        }
        if let Ok(Some(tier)) = members.string("service_tier") {
            self.service_tier = Some(tier);
        }
        // a failed one may have cost something, too
        if let Some(usage) = members.take("usage").and_then(|node| read_usage(&node)) {
            self.usage = Some(usage);
        }
        self.is_over |= members.string("status")?.as_deref() == Some("cancelled");
        Ok(())
    }

    /// Whether content has come: from here on there is no failover.
    #[must_use]
    pub const fn content_begun(&self) -> bool {
        self.content_begun
    }

    /// Whether the answer is whole.
    #[must_use]
    pub const fn finish_seen(&self) -> bool {
        self.done_seen()
    }

    /// Whether the event has come after which nothing does.
    #[must_use]
    pub const fn done_seen(&self) -> bool {
        self.is_over && !self.has_failed
    }

    /// The last usable usage.
    #[must_use]
    pub const fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// The provider's own name for the response, once it is told.
    #[must_use]
    pub fn response_id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The tier it is served at, in the provider's words.
    #[must_use]
    pub fn service_tier(&self) -> Option<&str> {
        self.service_tier.as_deref()
    }

    /// Bytes of text relayed: content, reasoning, refusals, tool arguments.
    #[must_use]
    pub const fn text_bytes(&self) -> u64 {
        self.text.n_bytes
    }

    /// Events that carried text.
    #[must_use]
    pub const fn n_text_events(&self) -> u64 {
        self.text.n_events
    }
}

fn flush(chunk: &Bytes, untouched: &mut Range<usize>, out: &mut Vec<RelayEvent>) {
    if untouched.start < untouched.end {
        out.push(RelayEvent::Forward(chunk.slice(std::mem::take(untouched))));
    }
}

#[cfg(test)]
mod tests {
    use tollgate_domain::Meter;

    use super::*;

    fn relay() -> ResponsesRelay {
        ResponsesRelay::new(ResponseNames {
            name_of: Box::new(|id| Some(format!("ours-{id}"))),
            previous: None,
        })
    }

    fn event(name: &str, rest: &str) -> String {
        format!("event: {name}\ndata: {{\"type\":\"{name}\"{rest}}}\n\n")
    }

    fn stream() -> String {
        [
            event("response.created", r#","response":{"id":"resp_1","status":"in_progress","usage":null}"#),
            event("response.output_item.added", r#","output_index":0,"item":{"type":"message","id":"msg_1"}"#),
            ": a comment\n\n".to_owned(),
            event("response.output_text.delta", r#","output_index":0,"content_index":0,"delta":"Hé","obfuscation":"x""#),
            event("response.something_new", r#","x":1.50"#),
            event(
                "response.completed",
                r#","response":{"id":"resp_1","status":"completed","service_tier":"flex","usage":{"input_tokens":3,"output_tokens":4}}"#,
            ),
        ]
        .concat()
    }

    fn collected(relay: &mut ResponsesRelay, chunks: &[&[u8]]) -> (String, StreamEnd) {
        let mut events = Vec::new();
        for chunk in chunks {
            relay.push(Bytes::copy_from_slice(chunk), &mut events).unwrap();
        }
        let end = relay.finish(true, &mut events);
        let mut out = Vec::new();
        for event in events {
            match event {
                RelayEvent::Forward(bytes) => out.extend_from_slice(&bytes),
                RelayEvent::Usage { usage, frame } => {
                    assert_eq!(usage.unwrap().total_tokens(), 7);
                    out.extend(frame.with_cost(NanoUsd::from_usd(1)).unwrap());
                }
                RelayEvent::ProviderError(error) => out.extend_from_slice(error.message.as_bytes()),
            }
        }
        (String::from_utf8(out).unwrap(), end)
    }

    #[test]
    fn events_pass_but_for_names_and_cost_however_they_are_split() {
        let stream = stream();
        let expected = stream
            .replace("\"id\":\"resp_1\"", "\"id\":\"ours-resp_1\"")
            .replace("\"output_tokens\":4}", "\"output_tokens\":4,\"cost\":1}");
        for cut in 0..stream.len() {
            let (left, right) = stream.as_bytes().split_at(cut);
            let mut relay = relay();
            let (out, end) = collected(&mut relay, &[left, right]);
            assert_eq!((out.as_str(), end), (expected.as_str(), StreamEnd::Complete), "cut at {cut}");
            assert_eq!(
                (relay.text_bytes(), relay.n_text_events(), relay.service_tier()),
                (3, 1, Some("flex"))
            );
        }
        // without the last blank line
        let (out, end) = collected(&mut relay(), &[stream.trim_end().as_bytes()]);
        assert_eq!((out, end), (expected, StreamEnd::Complete));
    }

    #[test]
    fn a_stream_is_cut_as_if_its_cap_had_been_reached() {
        let stream = stream();
        let cut = stream.find("event: response.completed").unwrap();
        let mut relay = relay();
        relay.collect_text();
        let mut events = Vec::new();
        relay.push(Bytes::copy_from_slice(&stream.as_bytes()[..cut]), &mut events).unwrap();
        let mut text = String::new();
        relay.take_text(&mut text);
        assert_eq!(text, "Hé");
        let usage = Usage::ZERO.with(Meter::Input, 3).with(Meter::Output, 4);
        let notice = CutNotice { code: "budget_exceeded", message: "no more", metadata: None };
        let last = relay.cut(&usage, NanoUsd::from_usd(1), Some(&notice)).unwrap();
        let data = frame_data(&last).unwrap().into_owned();
        let last: serde_json::Value = serde_json::from_slice(&data).unwrap();
        assert_eq!((&last["type"], &last["response"]["id"]), (&json!(CUT), &json!("ours-resp_1")));
        assert_eq!(last["response"]["incomplete_details"]["reason"], "max_output_tokens");
        assert_eq!(last["response"]["usage"]["output_tokens"], 4);
        assert_eq!(
            (&last["sequence_number"], &last["tollgate"]["code"]),
            (&json!(4), &json!("budget_exceeded"))
        );
        assert!(relay.done_seen());
    }

    #[test]
    fn what_breaks_or_fails_is_told() {
        let stream = stream();
        let cut = stream.find("event: response.completed").unwrap();
        let mut broken = relay();
        assert_eq!(collected(&mut broken, &[&stream.as_bytes()[..cut]]).1, StreamEnd::Broken);
        assert!(broken.content_begun() && !broken.done_seen());

        let failed = event(
            "response.failed",
            r#","response":{"id":"resp_1","status":"failed","error":{"code":"server_error","message":"no luck"},"usage":{"input_tokens":5}}"#,
        );
        let mut relay_of_failed = relay();
        let (out, end) = collected(&mut relay_of_failed, &[failed.as_bytes()]);
        assert_eq!((out.as_str(), end), ("no luck", StreamEnd::Broken));
        assert_eq!(relay_of_failed.usage().unwrap().get(Meter::Input), 5);

        let incomplete = stream.replace("response.completed", "response.incomplete");
        assert_eq!(collected(&mut relay(), &[incomplete.as_bytes()]).1, StreamEnd::Complete);
        assert!(relay().push(Bytes::from_static(b"data: <html>\n\n"), &mut Vec::new()).is_err());
    }
}
