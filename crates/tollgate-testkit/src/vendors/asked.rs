//! What a request says, read in its vendor's own words.

use std::fmt::Write as _;

use serde_json::Value;

use super::Vendor;

/// What the answers depend on.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) scenario: String,
    pub(super) is_stream: bool,
    pub(super) system: String,
    pub(super) n_turns: usize,
    /// Pictures as `image/png, 96 base64 characters`.
    pub(super) images: Vec<String>,
    pub(super) tools: Vec<String>,
    /// What the tools' results say, in their order.
    pub(super) results: Vec<String>,
    pub(super) has_schema: bool,
    pub(super) wants_reasoning: bool,
}

impl Asked {
    pub(super) fn read(vendor: Vendor, path: &str, body: &Value) -> Self {
        let mut asked = Self { is_stream: body["stream"] == true, ..Self::default() };
        match vendor {
            Vendor::OpenAiChat | Vendor::Cohere => asked.chat(body),
            Vendor::OpenAiResponses => asked.responses(body),
            Vendor::Anthropic => asked.anthropic(body),
            Vendor::Bedrock => {
                asked.is_stream = path.ends_with("/converse-stream");
                asked.bedrock(body);
            }
            Vendor::Gemini => {
                asked.is_stream = path.contains(":streamGenerateContent");
                asked.gemini(body);
            }
        }
        asked
    }

    fn user_text(&mut self, text: &str) {
        let named = text.split_once("scenario:").map(|(_, rest)| rest);
        if let Some(word) = named.and_then(|rest| rest.split_whitespace().next()) {
            word.clone_into(&mut self.scenario);
        }
    }

    fn picture(&mut self, media_type: &str, base64: &str) {
        self.images.push(format!("{media_type}, {} base64 characters", base64.len()));
    }

    fn picture_at(&mut self, url: &str) {
        match url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")) {
            Some((media_type, base64)) => self.picture(media_type, base64),
            None => self.images.push(format!("an address, {url}")),
        }
    }

    // === OpenAI's Chat Completions and Cohere ===

    fn chat(&mut self, body: &Value) {
        for message in items(&body["messages"]) {
            match text_at(message, "role") {
                "system" | "developer" => self.system.push_str(&plain(&message["content"])),
                "tool" => self.results.push(plain(&message["content"])),
                "user" => {
                    self.n_turns += 1;
                    self.user_text(&plain(&message["content"]));
                    for part in items(&message["content"]) {
                        if part["type"] == "image_url" {
                            self.picture_at(text_at(&part["image_url"], "url"));
                        }
                    }
                }
                _ => self.n_turns += 1,
            }
        }
        self.tools =
            items(&body["tools"]).map(|tool| text_at(&tool["function"], "name").to_owned()).collect();
        let format = &body["response_format"];
        self.has_schema = format["json_schema"].is_object();
        self.wants_reasoning = body["reasoning_effort"].is_string() || body["thinking"]["type"] == "enabled";
    }

    // === OpenAI's Responses ===

    fn responses(&mut self, body: &Value) {
        text_at(body, "instructions").clone_into(&mut self.system);
        if let Some(text) = body["input"].as_str() {
            self.n_turns += 1;
            self.user_text(text);
        }
        for item in items(&body["input"]) {
            match (text_at(item, "type"), text_at(item, "role")) {
                ("function_call_output", _) => self.results.push(plain(&item["output"])),
                (_, "system" | "developer") => self.system.push_str(&plain(&item["content"])),
                (_, "user") => {
                    self.n_turns += 1;
                    self.user_text(&plain(&item["content"]));
                    for part in items(&item["content"]) {
                        if part["type"] == "input_image" {
                            self.picture_at(text_at(part, "image_url"));
                        }
                    }
                }
                (_, "assistant") | ("function_call", _) => self.n_turns += 1,
                _ => {}
            }
        }
        self.tools = items(&body["tools"]).map(|tool| text_at(tool, "name").to_owned()).collect();
        self.has_schema = body["text"]["format"]["schema"].is_object();
        self.wants_reasoning = body["reasoning"]["effort"].is_string();
    }

    // === Anthropic ===

    fn anthropic(&mut self, body: &Value) {
        self.system = plain(&body["system"]);
        for message in items(&body["messages"]) {
            self.n_turns += 1;
            if message["role"] == "user" {
                self.user_text(&plain(&message["content"]));
            }
            for block in items(&message["content"]) {
                match text_at(block, "type") {
                    "tool_result" => self.results.push(plain(&block["content"])),
                    "image" => {
                        let source = &block["source"];
                        self.picture(text_at(source, "media_type"), text_at(source, "data"));
                    }
                    _ => {}
                }
            }
        }
        self.tools = items(&body["tools"]).map(|tool| text_at(tool, "name").to_owned()).collect();
        self.has_schema = body["output_config"]["format"]["schema"].is_object();
        let thinking = text_at(&body["thinking"], "type");
        self.wants_reasoning =
            matches!(thinking, "enabled" | "adaptive") || body["output_config"]["effort"].is_string();
    }

    // === Amazon Bedrock ===

    fn bedrock(&mut self, body: &Value) {
        self.system = plain(&body["system"]);
        for message in items(&body["messages"]) {
            self.n_turns += 1;
            for block in items(&message["content"]) {
                if message["role"] == "user" {
                    self.user_text(text_at(block, "text"));
                }
                if block["image"].is_object() {
                    let media_type = format!("image/{}", text_at(&block["image"], "format"));
                    self.picture(&media_type, text_at(&block["image"]["source"], "bytes"));
                }
                if block["toolResult"].is_object() {
                    self.results.push(plain(&block["toolResult"]["content"]));
                }
            }
        }
        let tools = items(&body["toolConfig"]["tools"]).filter(|tool| tool["toolSpec"].is_object());
        self.tools = tools.map(|tool| text_at(&tool["toolSpec"], "name").to_owned()).collect();
        let format = &body["outputConfig"]["textFormat"];
        let schema = text_at(&format["structure"]["jsonSchema"], "schema");
        self.has_schema = format["type"] == "json_schema"
            && serde_json::from_str::<Value>(schema).is_ok_and(|schema| schema.is_object());
        self.wants_reasoning = body["additionalModelRequestFields"]["thinking"]["type"] == "enabled";
    }

    // === Google ===

    fn gemini(&mut self, body: &Value) {
        let system = either(body, "systemInstruction", "system_instruction");
        self.system = items(&system["parts"]).map(|part| text_at(part, "text")).collect();
        for content in items(&body["contents"]) {
            self.n_turns += 1;
            for part in items(&content["parts"]) {
                if content["role"] != "model" {
                    self.user_text(text_at(part, "text"));
                }
                let data = either(part, "inlineData", "inline_data");
                if data.is_object() {
                    let media_type = either(data, "mimeType", "mime_type").as_str().unwrap_or_default();
                    self.picture(media_type, text_at(data, "data"));
                }
                let result = either(part, "functionResponse", "function_response");
                if result.is_object() {
                    self.results.push(only_text(&result["response"]));
                }
            }
        }
        for tool in items(&body["tools"]) {
            let functions = either(tool, "functionDeclarations", "function_declarations");
            self.tools.extend(items(functions).map(|function| text_at(function, "name").to_owned()));
        }
        let config = either(body, "generationConfig", "generation_config");
        self.has_schema = either(config, "responseJsonSchema", "response_json_schema").is_object()
            || either(config, "responseSchema", "response_schema").is_object();
        self.wants_reasoning = either(config, "thinkingConfig", "thinking_config").is_object();
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text_at<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn either<'a>(value: &'a Value, camel: &str, snake: &str) -> &'a Value {
    value.get(camel).or_else(|| value.get(snake)).unwrap_or(&Value::Null)
}

/// A content's texts: it is one, or an array of parts or blocks.
fn plain(content: &Value) -> String {
    match content.as_str() {
        Some(text) => text.to_owned(),
        None => items(content).map(|part| text_at(part, "text")).collect(),
    }
}

/// The only text in a function's response, however deep; the JSON of anything else.
fn only_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(members) if members.len() == 1 => members.values().map(only_text).collect(),
        other => {
            let mut text = String::new();
            let _ = write!(text, "{other}");
            text
        }
    }
}
