//! A vendor of Responses that keeps them: made, read again, continued, cancelled, deleted.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::asked::Asked;
use super::{Vendor, said, script, written};
use crate::mock_provider::{ReceivedRequest, Script};

/// What the vendor keeps. Clones share it.
///
/// What is made with `background` is queued, in progress at the first look and completed from the second one on; cancelled
/// it tells no usage.
#[derive(Clone, Debug, Default)]
pub struct KeptResponses(Arc<Mutex<Vec<Kept>>>);

#[derive(Clone, Debug)]
struct Kept {
    id: String,
    input: Value,
    frames: Vec<String>,
    whole: Value,
    /// Looks until it is completed.
    n_looks_left: u32,
}

impl KeptResponses {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The ids of what is kept, in the order of its making.
    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        self.kept().iter().map(|kept| kept.id.clone()).collect()
    }

    /// The answer to any request about Responses; `None` for other paths.
    #[must_use]
    pub fn answer(&self, request: &ReceivedRequest) -> Option<Script> {
        let (path, query) = request.path().split_once('?').unwrap_or((request.path(), ""));
        let (_, rest) = path.split_once("/responses")?;
        let mut segments = rest.split('/').skip(1);
        let (id, call) = (segments.next().unwrap_or_default(), segments.next().unwrap_or_default());
        if id.is_empty() {
            return self.make(request);
        }
        if request.method() == "POST" && matches!(id, "input_tokens" | "compact") {
            return Some(self.without_keeping(id, &request.json().ok()?));
        }
        let mut all = self.kept();
        let Some(place) = all.iter().position(|kept| kept.id == id) else {
            return Some(Script::error(404, "no such response"));
        };
        Some(match (request.method(), call) {
            ("DELETE", "") => {
                all.remove(place);
                Script::new().json(&json!({"id": id, "object": "response", "deleted": true}))
            }
            ("GET", "") if query.contains("stream=true") => {
                Script::new().sse_frames(all[place].frames_after(query))
            }
            ("GET", "") => Script::new().json(&all[place].looked_at()),
            ("GET", "input_items") => Script::new().json(&all[place].input_items()),
            ("POST", "cancel") => all[place].cancelled(),
            _ => Script::error(405, "no such method"),
        })
    }

    fn make(&self, request: &ReceivedRequest) -> Option<Script> {
        let body = request.json().ok()?;
        let asked = Asked::read(Vendor::OpenAiResponses, request.path(), &body);
        if matches!(asked.scenario.as_str(), "refuse" | "limit" | "fail" | "hang") {
            return script(request);
        }
        let mut all = self.kept();
        let previous = &body["previous_response_id"];
        if previous.is_string() && !all.iter().any(|kept| *previous == kept.id) {
            return Some(Script::error(400, "no response to continue"));
        }
        let id = format!("resp_{:04}", all.len() + 1);
        let said = said::said(&asked);
        let name = |frame: String| frame.replace(written::ID, &id);
        let frames: Vec<String> =
            written::frames(Vendor::OpenAiResponses, &said).into_iter().map(name).collect();
        let mut whole = written::whole(Vendor::OpenAiResponses, &said);
        whole["id"] = json!(id);
        whole["previous_response_id"] = previous.clone();
        let is_background = body["background"] == true;
        whole["background"] = json!(is_background);
        let n_looks_left = if is_background { 2 } else { 0 };
        let kept = Kept { id, input: body["input"].clone(), frames, whole, n_looks_left };
        let answer = if asked.is_stream {
            Script::new().sse_frames(kept.frames.clone())
        } else {
            Script::new().json(&kept.as_it_stands("queued"))
        };
        if body["store"] != false {
            all.push(kept);
        }
        Some(answer)
    }

    /// What a prompt counts, or a conversation made shorter.
    fn without_keeping(&self, call: &str, body: &Value) -> Script {
        let previous = &body["previous_response_id"];
        if previous.is_string() && !self.kept().iter().any(|kept| *previous == kept.id) {
            return Script::error(400, "no response to continue");
        }
        if call == "input_tokens" {
            return Script::new().json(&json!({"object": "response.input_tokens", "input_tokens": 21}));
        }
        let text = json!([{"type": "input_text", "text": body["input"]}]);
        Script::new().json(&json!({
            "id": "resp_compacted", "object": "response.compaction", "created_at": 1,
            "output": [{"type": "message", "role": "user", "content": text},
                {"type": "compaction", "id": "cmp_1", "encrypted_content": "encrypted"}],
            "usage": {"input_tokens": 21, "output_tokens": 9, "total_tokens": 30},
        }))
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn as_it_stands(&self, status: &str) -> Value {
        if self.n_looks_left == 0 {
            return self.whole.clone();
        }
        let mut open = self.whole.clone();
        open["status"] = json!(status);
        open["output"] = json!([]);
        open["usage"] = Value::Null;
        open
    }

    fn looked_at(&mut self) -> Value {
        self.n_looks_left = self.n_looks_left.saturating_sub(1);
        self.as_it_stands("in_progress")
    }

    fn cancelled(&mut self) -> Script {
        if self.whole["background"] != true {
            return Script::error(400, "only what is made in the background is cancelled");
        }
        if self.n_looks_left > 0 {
            self.whole = self.as_it_stands("cancelled");
            self.n_looks_left = 0;
        }
        Script::new().json(&self.whole)
    }

    fn frames_after(&self, query: &str) -> Vec<String> {
        let after =
            query.split('&').find_map(|pair| pair.strip_prefix("starting_after=")?.parse::<usize>().ok());
        self.frames.iter().skip(after.map_or(0, |after| after + 1)).cloned().collect()
    }

    fn input_items(&self) -> Value {
        let message = |content: &Value| json!({"role": "user", "content": content});
        let mut items = match &self.input {
            Value::Array(items) => items.clone(),
            text => vec![message(&json!([{"type": "input_text", "text": text}]))],
        };
        for (number, item) in items.iter_mut().enumerate() {
            item["id"] = json!(format!("msg_{number}"));
            item["type"] = json!("message");
        }
        let (first, last) = (items.first().cloned(), items.last().cloned());
        let id = |item: Option<Value>| item.map_or(Value::Null, |item| item["id"].clone());
        json!({"object": "list", "data": items, "has_more": false, "first_id": id(first), "last_id": id(last)})
    }
}
