//! The relay of a streamed answer between two sides that both speak Responses: events pass as they came, but for the
//! names of responses and the cost in the last one's usage. The same interface as
//! [`StreamRelay`](crate::openai::stream::StreamRelay).

use std::ops::Range;

use bytes::Bytes;
use tollgate_domain::Usage;

use super::ResponsesStreamReader;
use super::native::{ResponseNames, with_cost};
use crate::json::{Kind, Node, ReadError};
use crate::neutral::StreamEvent;
use crate::openai::chat::read_usage;
use crate::openai::error::ProviderError;
use crate::openai::stream::{RelayEvent, StreamEnd, UsageFrame};
use crate::sse::{Decoder, Frame, Piece, SseError, data_event, frame_data, named_event};

/// Bytes of one event: the last one repeats the whole answer and the request's instructions and tools.
pub const MAX_RESPONSE_EVENT_BYTES: usize = 8 << 20;

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
    text_bytes: u64,
    n_text_events: u64,
}

/// What becomes of an event.
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
            text_bytes: 0,
            n_text_events: 0,
        }
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
            StreamEvent::PartStart { .. } => self.content_begun = true,
            StreamEvent::Delta { text, .. } => {
                self.content_begun = true;
                self.text_bytes += text.len() as u64;
                self.n_text_events += 1;
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

    /// The tier it is served at, in the provider's words.
    #[must_use]
    pub fn service_tier(&self) -> Option<&str> {
        self.service_tier.as_deref()
    }

    /// Bytes of text relayed: content, reasoning, refusals, tool arguments.
    #[must_use]
    pub const fn text_bytes(&self) -> u64 {
        self.text_bytes
    }

    /// Events that carried text.
    #[must_use]
    pub const fn n_text_events(&self) -> u64 {
        self.n_text_events
    }
}

fn flush(chunk: &Bytes, untouched: &mut Range<usize>, out: &mut Vec<RelayEvent>) {
    if untouched.start < untouched.end {
        out.push(RelayEvent::Forward(chunk.slice(std::mem::take(untouched))));
    }
}

#[cfg(test)]
mod tests {
    use tollgate_domain::{Meter, NanoUsd};

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
