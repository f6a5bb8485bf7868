//! What one answer of the mock looks like, when it comes, and how it fails.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::gate::Gate;

/// What streams of events are sent as.
pub(super) const EVENT_STREAM_TYPE: &str = "text/event-stream; charset=utf-8";

/// How a script breaks an answer off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakKind {
    /// Resets the connection (RST).
    Reset,
    /// Closes the connection (FIN) as if all were well.
    Close,
    /// Says nothing more and keeps the connection open until the client goes away.
    Stall,
}

/// The token counts an answer reports, in OpenAI's terms: `prompt_tokens` includes `cached_tokens`,
/// `completion_tokens` includes `reasoning_tokens`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the request, cached ones included.
    pub prompt_tokens: u64,
    /// Tokens of the answer, reasoning included.
    pub completion_tokens: u64,
    /// Tokens of the request read from the provider's prompt cache.
    pub cached_tokens: u64,
    /// Tokens of the answer spent on reasoning.
    pub reasoning_tokens: u64,
}

impl Usage {
    /// The `usage` object of a chat completion.
    #[must_use]
    pub fn to_json(self) -> Value {
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens.saturating_add(self.completion_tokens),
            "prompt_tokens_details": { "cached_tokens": self.cached_tokens },
            "completion_tokens_details": { "reasoning_tokens": self.reasoning_tokens },
        })
    }
}

/// A place in an answer where it may be held or broken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    BeforeHeaders,
    /// After that many text chunks; 0 is after the headers.
    AfterChunks(usize),
    /// After that many bytes of the body, framing not counted.
    AfterBytes(usize),
}

#[derive(Clone, Debug, Default)]
pub(super) enum ScriptedUsage {
    #[default]
    Formula,
    Json(Value),
    Missing,
}

#[derive(Clone, Debug)]
pub(super) struct ScriptedBody {
    pub(super) content_type: String,
    pub(super) bytes: Bytes,
}

#[derive(Clone, Debug)]
pub(super) struct ScriptedFrames {
    pub(super) content_type: String,
    pub(super) frames: Vec<Vec<u8>>,
}

/// One answer; made by chaining: `Script::new().n_chunks(100).delay_between_chunks(ms)`. The default is
/// the answer that the module documentation describes.
///
/// Chunks are the pieces of text (or of tool arguments) of a stream: the role event, the finish event,
/// the usage event and `[DONE]` are not counted. A plain answer is one chunk.
#[derive(Clone, Debug, Default)]
pub struct Script {
    pub(super) status: Option<u16>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Option<ScriptedBody>,
    pub(super) raw: Option<Bytes>,
    pub(super) frames: Option<ScriptedFrames>,
    pub(super) text: Option<String>,
    pub(super) n_chunks: Option<usize>,
    pub(super) finish_reason: Option<String>,
    pub(super) echoes_tools: bool,
    pub(super) usage: ScriptedUsage,
    pub(super) forces_usage_chunk: bool,
    pub(super) omits_done: bool,
    pub(super) delay_before_headers: Option<Duration>,
    pub(super) delay_before_first_chunk: Option<Duration>,
    pub(super) delay_between_chunks: Option<Duration>,
    pub(super) drip: Option<(usize, Duration)>,
    pub(super) holds: Vec<(Point, Gate)>,
    pub(super) break_at: Option<(Point, BreakKind)>,
    pub(super) declared_length: Option<u64>,
    pub(super) is_close_delimited: bool,
    pub(super) closes_after_answer: bool,
}

impl Script {
    /// The default answer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An OpenAI error with this status and message.
    #[must_use]
    pub fn error(status: u16, message: &str) -> Self {
        Self::new().status(status).json(&error_body(status, message))
    }

    /// Never answers; the connection stays open until the client goes away.
    #[must_use]
    pub fn hang() -> Self {
        Self::new().break_before_headers(BreakKind::Stall)
    }

    /// Reads the request, then ends the connection without a byte.
    #[must_use]
    pub fn close_before_headers() -> Self {
        Self::new().break_before_headers(BreakKind::Close)
    }

    /// Sends these bytes in place of an HTTP answer, then closes the connection.
    #[must_use]
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Self { raw: Some(bytes.into()), ..Self::new() }
    }

    // === What the answer says ===

    /// Sets the status. From 400 on the body is an OpenAI error unless one is given.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// Adds a header; one that the mock would send itself (`content-type`) is replaced.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Replaces the body, also where the request asks for a stream.
    #[must_use]
    pub fn body(mut self, content_type: &str, bytes: impl Into<Bytes>) -> Self {
        self.body = Some(ScriptedBody { content_type: content_type.to_owned(), bytes: bytes.into() });
        self
    }

    /// Replaces the body with JSON.
    #[must_use]
    pub fn json(self, value: &Value) -> Self {
        self.body("application/json", value.to_string())
    }

    /// Answers with a page of HTML, as a proxy in front of a provider does.
    #[must_use]
    pub fn html(self, page: &str) -> Self {
        self.body("text/html; charset=utf-8", page.to_owned())
    }

    /// Streams exactly these payloads, one `data:` event and one chunk each, whatever the request asks
    /// for. `[DONE]` is sent only when it is one of them.
    #[must_use]
    pub fn sse_payloads<Payload: Into<String>>(self, payloads: impl IntoIterator<Item = Payload>) -> Self {
        self.sse_frames(payloads.into_iter().map(|payload| format!("data: {}\n\n", payload.into())))
    }

    /// Streams exactly these frames, one chunk each, whatever the request asks for: what stands in them
    /// beside `data:` lines is the caller's.
    #[must_use]
    pub fn sse_frames(self, frames: impl IntoIterator<Item = String>) -> Self {
        self.frames(EVENT_STREAM_TYPE, frames.into_iter().map(String::into_bytes))
    }

    /// Streams exactly these frames under that content type, one chunk each, whatever the request asks for.
    #[must_use]
    pub fn frames(mut self, content_type: &str, frames: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let frames = frames.into_iter().collect();
        self.frames = Some(ScriptedFrames { content_type: content_type.to_owned(), frames });
        self
    }

    /// Sets the text. Without [`Script::n_chunks`] each word is a chunk and a token.
    #[must_use]
    pub fn text(mut self, text: &str) -> Self {
        self.text = Some(text.to_owned());
        self
    }

    /// Sets the number of text chunks, which is also the number of completion tokens.
    #[must_use]
    pub fn n_chunks(mut self, n: usize) -> Self {
        self.n_chunks = Some(n);
        self
    }

    /// Sets the finish reason.
    #[must_use]
    pub fn finish_reason(mut self, reason: &str) -> Self {
        self.finish_reason = Some(reason.to_owned());
        self
    }

    /// Answers with a call of each tool in the request: its name, and its `parameters` schema, byte for
    /// byte, as the arguments.
    #[must_use]
    pub fn echo_tools(mut self) -> Self {
        self.echoes_tools = true;
        self
    }

    /// Reports these counts instead of the formula's.
    #[must_use]
    pub fn usage(self, usage: Usage) -> Self {
        self.usage_json(usage.to_json())
    }

    /// Reports this value as `usage`, be it null, negative or absurd.
    #[must_use]
    pub fn usage_json(mut self, usage: Value) -> Self {
        self.usage = ScriptedUsage::Json(usage);
        self
    }

    /// Reports no usage at all.
    #[must_use]
    pub fn no_usage(mut self) -> Self {
        self.usage = ScriptedUsage::Missing;
        self
    }

    /// Sends the usage chunk of a stream also to a client that did not ask for it.
    #[must_use]
    pub fn force_usage_chunk(mut self) -> Self {
        self.forces_usage_chunk = true;
        self
    }

    /// Ends a stream without `data: [DONE]`.
    #[must_use]
    pub fn without_done(mut self) -> Self {
        self.omits_done = true;
        self
    }

    // === When it comes ===

    /// Waits before the head is sent.
    #[must_use]
    pub fn delay_before_headers(mut self, delay: Duration) -> Self {
        self.delay_before_headers = Some(delay);
        self
    }

    /// Waits between the head and the first chunk.
    #[must_use]
    pub fn delay_before_first_chunk(mut self, delay: Duration) -> Self {
        self.delay_before_first_chunk = Some(delay);
        self
    }

    /// Waits before every chunk but the first.
    #[must_use]
    pub fn delay_between_chunks(mut self, delay: Duration) -> Self {
        self.delay_between_chunks = Some(delay);
        self
    }

    /// Sends everything, head included, in pieces of `n_bytes` with a wait after each.
    #[must_use]
    pub fn drip(mut self, n_bytes: usize, wait: Duration) -> Self {
        self.drip = Some((n_bytes.max(1), wait));
        self
    }

    /// Holds the answer before its head until the gate lets it pass.
    #[must_use]
    pub fn hold_before_headers(self, gate: &Gate) -> Self {
        self.hold(Point::BeforeHeaders, gate)
    }

    /// Holds the answer after `n` chunks (0: after the head) until the gate lets it pass.
    #[must_use]
    pub fn hold_after_chunks(self, n: usize, gate: &Gate) -> Self {
        self.hold(Point::AfterChunks(n), gate)
    }

    // === How it fails ===

    /// Breaks off before the first byte.
    #[must_use]
    pub fn break_before_headers(self, kind: BreakKind) -> Self {
        self.break_at(Point::BeforeHeaders, kind)
    }

    /// Breaks off after `n` chunks (0: after the head). An answer with fewer chunks ends well.
    #[must_use]
    pub fn break_after_chunks(self, n: usize, kind: BreakKind) -> Self {
        self.break_at(Point::AfterChunks(n), kind)
    }

    /// Breaks off after `n` bytes of the body (framing not counted), in the middle of an event where
    /// that is the place. A body that is not longer than `n` ends well.
    #[must_use]
    pub fn break_after_bytes(self, n: usize, kind: BreakKind) -> Self {
        self.break_at(Point::AfterBytes(n), kind)
    }

    /// Announces this `content-length` whatever the body's length. Less than the body leaves the rest as
    /// garbage on an open connection; more closes the connection before the announced end.
    #[must_use]
    pub fn declared_length(mut self, n_bytes: u64) -> Self {
        self.declared_length = Some(n_bytes);
        self
    }

    /// Sends neither length nor chunked framing: the end of the connection is the end of the body.
    #[must_use]
    pub fn close_delimited(mut self) -> Self {
        self.is_close_delimited = true;
        self
    }

    /// Closes the connection after a whole answer that did not announce it: the next user of the pooled
    /// connection finds it dead.
    #[must_use]
    pub fn close_after_answer(mut self) -> Self {
        self.closes_after_answer = true;
        self
    }

    fn hold(mut self, point: Point, gate: &Gate) -> Self {
        self.holds.push((point, gate.clone()));
        self
    }

    fn break_at(mut self, point: Point, kind: BreakKind) -> Self {
        self.break_at = Some((point, kind));
        self
    }
}

/// An error object as OpenAI shapes it.
pub(super) fn error_body(status: u16, message: &str) -> Value {
    let (kind, code) = match status {
        401 => ("invalid_request_error", json!("invalid_api_key")),
        404 => ("invalid_request_error", json!("model_not_found")),
        429 => ("requests", json!("rate_limit_exceeded")),
        500.. => ("server_error", Value::Null),
        _ => ("invalid_request_error", Value::Null),
    };
    json!({ "error": { "message": message, "type": kind, "param": null, "code": code } })
}
