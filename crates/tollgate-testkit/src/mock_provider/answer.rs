//! The answers of each endpoint, as pieces of body that the connection frames and sends.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::ask::Ask;
use super::generation::{Generation, ToolCall, split_evenly};
use super::request::ReceivedRequest;
use super::script::{EVENT_STREAM_TYPE, Script, ScriptedUsage, error_body};

/// The time in every answer, so that two answers to one request are equal: 2023-11-14T22:13:20Z.
const CREATED_UNIX_SECONDS: u64 = 1_700_000_000;
/// Vectors are short unless the request names a length: tests look at their number and usage.
const DEFAULT_DIMENSIONS: usize = 8;
/// OpenAI's longest vectors have 3,072 numbers.
const DIMENSIONS_MAX: usize = 4_096;

/// An answer without its framing.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: String,
    pub(super) is_stream: bool,
    pub(super) pieces: Vec<Piece>,
}

/// A piece of a body: for streams one event.
pub(super) struct Piece {
    pub(super) bytes: Vec<u8>,
    /// Whether it counts as a chunk for [`Script::hold_after_chunks`] and its like.
    pub(super) is_chunk: bool,
}

/// The answer to `request` under `script`; `models` is what the model list holds.
pub(super) fn answer(
    request: &ReceivedRequest,
    script: &Script,
    models: impl FnOnce() -> Vec<String>,
) -> Answer {
    let status = script.status.unwrap_or(200);
    if let Some(body) = &script.body {
        return whole(status, &body.content_type, body.bytes.to_vec());
    }
    if let Some(scripted) = &script.frames {
        let piece = |frame: &Vec<u8>| Piece { bytes: frame.clone(), is_chunk: true };
        return stream(status, &scripted.content_type, scripted.frames.iter().map(piece).collect());
    }
    if status >= 400 {
        return whole_json(
            status,
            &error_body(status, &format!("the mock provider was told to answer {status}")),
        );
    }
    let path = request.path().split('?').next().unwrap_or_default();
    match (request.method(), path) {
        ("GET", "/v1/models") => whole_json(status, &model_list(&models())),
        ("GET", path) if path.starts_with("/v1/models/") => one_model(path, &models()),
        ("POST", "/v1/chat/completions" | "/v1/completions" | "/v1/embeddings") => {
            match Ask::parse(request.body()) {
                Err(error) => {
                    whole_json(400, &error_body(400, &format!("the body is not understood: {error}")))
                }
                Ok(ask) if path == "/v1/embeddings" => embeddings(status, &ask, script),
                Ok(ask) => {
                    Completion::new(&ask, script, path, request.sequence()).answer(status, &ask, script)
                }
            }
        }
        (method, path) => whole_json(404, &error_body(404, &format!("no such endpoint: {method} {path}"))),
    }
}

fn whole(status: u16, content_type: &str, bytes: Vec<u8>) -> Answer {
    let pieces = vec![Piece { bytes, is_chunk: true }];
    Answer { status, content_type: content_type.to_owned(), is_stream: false, pieces }
}

fn whole_json(status: u16, value: &Value) -> Answer {
    whole(status, "application/json", value.to_string().into_bytes())
}

fn stream(status: u16, content_type: &str, pieces: Vec<Piece>) -> Answer {
    Answer { status, content_type: content_type.to_owned(), is_stream: true, pieces }
}

fn event(payload: &str, is_chunk: bool) -> Piece {
    Piece { bytes: format!("data: {payload}\n\n").into_bytes(), is_chunk }
}

// === Models ===

fn model_object(id: &str) -> Value {
    json!({ "id": id, "object": "model", "created": CREATED_UNIX_SECONDS, "owned_by": "mock" })
}

fn model_list(models: &[String]) -> Value {
    json!({ "object": "list", "data": models.iter().map(|id| model_object(id)).collect::<Vec<_>>() })
}

fn one_model(path: &str, models: &[String]) -> Answer {
    let id = path.trim_start_matches("/v1/models/");
    if models.iter().any(|model| model == id) {
        return whole_json(200, &model_object(id));
    }
    whole_json(404, &error_body(404, &format!("the model {id} does not exist")))
}

// === Embeddings ===

fn embeddings(status: u16, ask: &Ask<'_>, script: &Script) -> Answer {
    let n_dimensions = ask.dimensions.unwrap_or(DEFAULT_DIMENSIONS).min(DIMENSIONS_MAX);
    let objects = (0..ask.n_inputs()).map(|index| {
        let vector = vector(index, n_dimensions);
        let embedding = if ask.wants_base64() {
            let bytes = vector.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>();
            json!(STANDARD.encode(bytes))
        } else {
            json!(vector)
        };
        json!({ "object": "embedding", "index": index, "embedding": embedding })
    });
    let mut body = json!({ "object": "list", "data": objects.collect::<Vec<_>>(), "model": ask.model });
    match &script.usage {
        ScriptedUsage::Missing => {}
        ScriptedUsage::Json(usage) => body["usage"] = usage.clone(),
        ScriptedUsage::Formula => {
            let prompt_tokens = ask.prompt_tokens();
            body["usage"] = json!({ "prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens });
        }
    }
    whole_json(status, &body)
}

/// Numbers that say which input and which dimension they stand for, exact in binary.
fn vector(index: usize, n_dimensions: usize) -> Vec<f32> {
    let number =
        |dimension: usize| u16::try_from((index * 31 + dimension) % 256).map_or(0.0, f32::from) / 256.0;
    (0..n_dimensions).map(number).collect()
}

// === Chat completions and completions ===

struct Completion<'a> {
    generation: Generation<'a>,
    is_chat: bool,
    /// The fields that every object of the answer starts with, `object` left out: `{"id":…,"model":…`.
    prefix: String,
}

impl<'a> Completion<'a> {
    fn new(ask: &Ask<'_>, script: &'a Script, path: &str, sequence: u64) -> Self {
        let is_chat = path == "/v1/chat/completions";
        let id = if is_chat { "chatcmpl-mock" } else { "cmpl-mock" };
        let model = quoted(ask.model.as_deref().unwrap_or("mock-model"));
        let prefix = format!(r#"{{"id":"{id}-{sequence}","created":{CREATED_UNIX_SECONDS},"model":{model}"#);
        Self { generation: Generation::new(ask, script), is_chat, prefix }
    }

    fn answer(&self, status: u16, ask: &Ask<'_>, script: &Script) -> Answer {
        if ask.stream == Some(true) {
            let asks_for_usage = ask.includes_usage();
            let has_usage_chunk = asks_for_usage || script.forces_usage_chunk;
            return stream(
                status,
                EVENT_STREAM_TYPE,
                self.events(asks_for_usage, has_usage_chunk, !script.omits_done),
            );
        }
        let object = if self.is_chat { "chat.completion" } else { "text_completion" };
        let finish_reason = quoted(&self.generation.finish_reason);
        let content = if self.is_chat {
            self.message()
        } else {
            format!(r#""text":{}"#, quoted(&self.generation.text()))
        };
        let choices = self.choices(&content, &finish_reason);
        let usage = self.generation.usage.as_ref().map(|usage| format!(r#","usage":{usage}"#));
        let usage = usage.unwrap_or_default();
        let body = format!(r#"{},"object":"{object}","choices":[{choices}]{usage}}}"#, self.prefix);
        whole(status, "application/json", body.into_bytes())
    }

    fn message(&self) -> String {
        if self.generation.tool_calls.is_empty() {
            let text = quoted(&self.generation.text());
            return format!(r#""message":{{"role":"assistant","content":{text},"refusal":null}}"#);
        }
        let calls = self.generation.tool_calls.iter().map(|call| {
            let (id, name, arguments) = (quoted(&call.id), quoted(&call.name), quoted(&call.arguments));
            format!(r#"{{"id":{id},"type":"function","function":{{"name":{name},"arguments":{arguments}}}}}"#)
        });
        let calls = calls.collect::<Vec<_>>().join(",");
        format!(r#""message":{{"role":"assistant","content":null,"refusal":null,"tool_calls":[{calls}]}}"#)
    }

    /// Every choice with the same content.
    fn choices(&self, content: &str, finish_reason: &str) -> String {
        let choice = |index| {
            format!(r#"{{"index":{index},{content},"logprobs":null,"finish_reason":{finish_reason}}}"#)
        };
        (0..self.generation.n_choices).map(choice).collect::<Vec<_>>().join(",")
    }

    fn events(&self, asks_for_usage: bool, has_usage_chunk: bool, has_done: bool) -> Vec<Piece> {
        let object = if self.is_chat { "chat.completion.chunk" } else { "text_completion" };
        // OpenAI sends `"usage":null` on all other chunks once the client asks for usage.
        let null_usage = if asks_for_usage { r#","usage":null"# } else { "" };
        let chunk = |content: &str, finish_reason: &str, is_chunk: bool| {
            let choices = self.choices(content, finish_reason);
            event(
                &format!(r#"{},"object":"{object}","choices":[{choices}]{null_usage}}}"#, self.prefix),
                is_chunk,
            )
        };
        let mut events = Vec::with_capacity(self.generation.pieces.len() + 4);
        if self.is_chat {
            events.push(chunk(r#""delta":{"role":"assistant","content":"","refusal":null}"#, "null", false));
        }
        for content in self.contents() {
            events.push(chunk(&content, "null", true));
        }
        let empty = if self.is_chat { r#""delta":{}"# } else { r#""text":"""# };
        events.push(chunk(empty, &quoted(&self.generation.finish_reason), false));
        if let Some(usage) = self.generation.usage.as_ref().filter(|_| has_usage_chunk) {
            let payload = format!(r#"{},"object":"{object}","choices":[],"usage":{usage}}}"#, self.prefix);
            events.push(event(&payload, false));
        }
        if has_done {
            events.push(event("[DONE]", false));
        }
        events
    }

    /// What the text chunks hold, or the deltas of the tool calls.
    fn contents(&self) -> Vec<String> {
        if self.generation.tool_calls.is_empty() {
            let content = |piece: &str| {
                let text = quoted(piece);
                if self.is_chat {
                    format!(r#""delta":{{"content":{text}}}"#)
                } else {
                    format!(r#""text":{text}"#)
                }
            };
            return self.generation.pieces.iter().map(|piece| content(piece)).collect();
        }
        let calls = self.generation.tool_calls.iter().enumerate();
        calls.flat_map(|(index, call)| tool_call_deltas(index, call, self.generation.pieces.len())).collect()
    }
}

/// The start of a call, then its arguments in at most `n_pieces` pieces.
fn tool_call_deltas(index: usize, call: &ToolCall, n_pieces: usize) -> Vec<String> {
    let (id, name) = (quoted(&call.id), quoted(&call.name));
    let start = format!(
        r#"{{"index":{index},"id":{id},"type":"function","function":{{"name":{name},"arguments":""}}}}"#
    );
    let pieces = split_evenly(&call.arguments, n_pieces.max(1));
    let arguments = pieces.iter().filter(|piece| !piece.is_empty()).map(|piece| {
        let piece = quoted(piece);
        format!(r#"{{"index":{index},"function":{{"arguments":{piece}}}}}"#)
    });
    let deltas = std::iter::once(start).chain(arguments);
    deltas.map(|delta| format!(r#""delta":{{"tool_calls":[{delta}]}}"#)).collect()
}

/// A JSON string.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
