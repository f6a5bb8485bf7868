//! Chat and completions.

use bytes::Bytes;
use http::Response;
use serde_json::{Value, json};
use tollgate_domain::Surface;
use tollgate_wire::openai::request::RequestSkim;
use tollgate_wire::openai::stream::DONE_EVENT;
use tollgate_wire::sse::data_event;

use super::{BYTES_PER_TOKEN, CREATED_UNIX_SECONDS, hash, json_response, n_tokens, response};
use crate::UpstreamBody;

/// Words of the last user message that are echoed.
const MAX_ECHOED_WORDS: usize = 12;
/// And characters of each.
const MAX_WORD_CHARS: usize = 40;

/// One answer for every choice: the demo says the same in each.
struct Answer<'a> {
    surface: Surface,
    id: String,
    model: &'a str,
    text: String,
    finish_reason: &'static str,
    n_choices: u64,
    usage: Value,
}

pub(super) fn answer(skim: &RequestSkim, parsed: &Value, body: &[u8]) -> Response<UpstreamBody> {
    let texts = match skim.surface {
        Surface::Chat => texts_of(&parsed["messages"]),
        _ => texts_of(&parsed["prompt"]),
    };
    let last = match skim.surface {
        Surface::Chat => last_user_text(&parsed["messages"]),
        _ => texts.last().copied().unwrap_or_default(),
    };
    let prompt_tokens = n_tokens(texts.iter().map(|text| text.len()).sum()).max(1);
    let (text, finish_reason) = capped(reply(last), skim.client_output_cap());
    let n_choices = skim.n_returned_choices();
    let completion_tokens = n_tokens(text.len()) * skim.n_billed_choices();
    let answer = Answer {
        surface: skim.surface,
        id: format!(
            "{}-demo-{:016x}",
            if skim.surface == Surface::Chat { "chatcmpl" } else { "cmpl" },
            hash(body)
        ),
        model: skim.model.as_deref().unwrap_or("demo-chat"),
        text,
        finish_reason,
        n_choices,
        usage: json!({
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        }),
    };
    if skim.stream { answer.stream(skim.include_usage == Some(true)) } else { answer.whole() }
}

/// Every string under `content`, `text` or directly in the prompt's arrays.
fn texts_of(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(texts_of).collect(),
        Value::Object(members) => {
            ["content", "text"].iter().filter_map(|name| members.get(*name)).flat_map(texts_of).collect()
        }
        _ => Vec::new(),
    }
}

fn last_user_text(messages: &Value) -> &str {
    let messages = messages.as_array().map_or(&[][..], Vec::as_slice);
    let last = messages.iter().rev().find(|message| message["role"] == "user").or(messages.last());
    last.and_then(|message| texts_of(message).first().copied()).unwrap_or_default()
}

fn reply(last: &str) -> String {
    let words: Vec<String> = last
        .split_whitespace()
        .take(MAX_ECHOED_WORDS)
        .map(|word| word.chars().take(MAX_WORD_CHARS).collect())
        .collect();
    let about = "This is Tollgate's built-in demo model, answering offline.";
    match words.is_empty() {
        true => about.to_owned(),
        false => format!("{about} You said: {}", words.join(" ")),
    }
}

/// The text within the cap, cut at a character.
fn capped(mut text: String, cap: Option<u64>) -> (String, &'static str) {
    let cap = usize::try_from(cap.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    let max_bytes = cap.saturating_mul(BYTES_PER_TOKEN);
    if text.len() <= max_bytes {
        return (text, "stop");
    }
    text.truncate((0..=max_bytes).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0));
    (text, "length")
}

impl Answer<'_> {
    fn whole(&self) -> Response<UpstreamBody> {
        let choices: Vec<Value> = (0..self.n_choices)
            .map(|index| match self.surface {
                Surface::Chat => json!({
                    "index": index,
                    "message": {"role": "assistant", "content": self.text, "refusal": null},
                    "logprobs": null,
                    "finish_reason": self.finish_reason,
                }),
                _ => json!({"index": index, "text": self.text, "logprobs": null, "finish_reason": self.finish_reason}),
            })
            .collect();
        let object = if self.surface == Surface::Chat { "chat.completion" } else { "text_completion" };
        let mut body = self.envelope(object, &choices);
        body["usage"] = self.usage.clone();
        json_response(body.to_string())
    }

    fn stream(&self, include_usage: bool) -> Response<UpstreamBody> {
        let mut events = Vec::new();
        for index in 0..self.n_choices {
            if self.surface == Surface::Chat {
                let role = json!({"role": "assistant", "content": "", "refusal": null});
                events.push(
                    self.event(
                        &json!({"index": index, "delta": role, "logprobs": null, "finish_reason": null}),
                    ),
                );
            }
            for piece in self.text.split_inclusive(' ') {
                events.push(self.event(&self.choice(index, Some(piece), None)));
            }
            events.push(self.event(&self.choice(index, None, Some(self.finish_reason))));
        }
        if include_usage {
            let mut chunk = self.envelope(self.chunk_object(), &[]);
            chunk["usage"] = self.usage.clone();
            events.push(data_event(chunk.to_string().as_bytes()));
        }
        events.push(Bytes::from_static(DONE_EVENT));
        response("text/event-stream; charset=utf-8", events)
    }

    fn choice(&self, index: u64, piece: Option<&str>, finish_reason: Option<&str>) -> Value {
        match self.surface {
            Surface::Chat => {
                let delta = piece.map_or_else(|| json!({}), |piece| json!({"content": piece}));
                json!({"index": index, "delta": delta, "logprobs": null, "finish_reason": finish_reason})
            }
            _ => json!({
                "index": index, "text": piece.unwrap_or_default(), "logprobs": null, "finish_reason": finish_reason,
            }),
        }
    }

    fn event(&self, choice: &Value) -> Bytes {
        data_event(self.envelope(self.chunk_object(), std::slice::from_ref(choice)).to_string().as_bytes())
    }

    fn chunk_object(&self) -> &'static str {
        if self.surface == Surface::Chat { "chat.completion.chunk" } else { "text_completion" }
    }

    fn envelope(&self, object: &str, choices: &[Value]) -> Value {
        json!({
            "id": self.id,
            "object": object,
            "created": CREATED_UNIX_SECONDS,
            "model": self.model,
            "choices": choices,
        })
    }
}
