//! What a request body asks for, as far as the mock cares.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// Bytes of text per prompt token, the usual rule of thumb for English.
const BYTES_PER_PROMPT_TOKEN: u64 = 4;

#[derive(Default, Deserialize)]
pub(super) struct Ask<'a> {
    #[serde(borrow)]
    pub(super) model: Option<Cow<'a, str>>,
    pub(super) stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    pub(super) n: Option<u64>,
    #[serde(borrow)]
    messages: Option<Vec<Message<'a>>>,
    #[serde(borrow)]
    prompt: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) tools: Option<Vec<Tool<'a>>>,
    pub(super) dimensions: Option<usize>,
    encoding_format: Option<String>,
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct Tool<'a> {
    #[serde(borrow)]
    pub(super) function: Option<Function<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Function<'a> {
    pub(super) name: String,
    #[serde(borrow)]
    pub(super) parameters: Option<&'a RawValue>,
}

/// `content`, `prompt` and `input` in all their forms.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    One(String),
    Many(Vec<Part>),
    Other(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Part {
    TokenId(#[expect(dead_code, reason = "only its type tells it from text")] u64),
    TokenIds(Vec<u64>),
    Text(String),
    Typed {
        #[serde(default)]
        text: String,
    },
    Other(serde::de::IgnoredAny),
}

impl<'a> Ask<'a> {
    /// Reads the fields the mock knows. Fails on what is not a JSON object with these types.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(body)
    }

    pub(super) fn includes_usage(&self) -> bool {
        self.stream_options.as_ref().and_then(|options| options.include_usage).unwrap_or(false)
    }

    /// The cap on completion tokens.
    pub(super) fn max_tokens(&self) -> Option<u64> {
        self.max_completion_tokens.or(self.max_tokens)
    }

    pub(super) fn wants_base64(&self) -> bool {
        self.encoding_format.as_deref() == Some("base64")
    }

    pub(super) fn prompt_tokens(&self) -> u64 {
        let messages = self.messages.iter().flatten().filter_map(|message| message.content);
        let (mut n_bytes, mut n_token_ids) = (0_u64, 0_u64);
        for raw in messages.chain(self.prompt).chain(self.input) {
            let (bytes, token_ids) = measure(raw);
            n_bytes += bytes;
            n_token_ids += token_ids;
        }
        (n_bytes.div_ceil(BYTES_PER_PROMPT_TOKEN) + n_token_ids).max(1)
    }

    /// How many vectors an embeddings request asks for.
    pub(super) fn n_inputs(&self) -> usize {
        match self.input.and_then(|raw| serde_json::from_str(raw.get()).ok()) {
            Some(Text::Many(parts)) if !parts.iter().all(|part| matches!(part, Part::TokenId(_))) => {
                parts.len()
            }
            _ => 1,
        }
    }
}

/// The `prompt_tokens` that the mock reports for a request body when no usage is scripted: the UTF-8
/// bytes of all text in `messages`, `prompt` or `input` divided by 4, rounded up once, plus one for each
/// token id, at least 1. A body that is not JSON counts 1.
pub fn default_prompt_tokens(request_body: &[u8]) -> u64 {
    Ask::parse(request_body).map_or(1, |ask| ask.prompt_tokens())
}

/// Bytes of text and number of token ids.
fn measure(raw: &RawValue) -> (u64, u64) {
    // Plain strings without escapes are nearly all there is: their bytes need no decoding.
    let json = raw.get();
    if let Some(inner) = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'))
        && !inner.contains('\\')
    {
        return (inner.len() as u64, 0);
    }
    match serde_json::from_str(json) {
        Ok(Text::One(text)) => (text.len() as u64, 0),
        Ok(Text::Many(parts)) => parts.iter().fold((0, 0), |(bytes, ids), part| match part {
            Part::TokenId(_) => (bytes, ids + 1),
            Part::TokenIds(token_ids) => (bytes, ids + token_ids.len() as u64),
            Part::Text(text) | Part::Typed { text } => (bytes + text.len() as u64, ids),
            Part::Other(_) => (bytes, ids),
        }),
        Ok(Text::Other(_)) | Err(_) => (0, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::default_prompt_tokens;

    #[test]
    fn prompt_tokens_follow_the_documented_formula() {
        let check = |body: &str, expected: u64| {
            assert_eq!(default_prompt_tokens(body.as_bytes()), expected, "{body}");
        };
        check(r#"{"messages":[{"role":"user","content":"12345678"}]}"#, 2);
        check(r#"{"messages":[{"role":"user","content":"123456789"}]}"#, 3);
        check(r#"{"messages":[{"content":"12"},{"content":"345"}]}"#, 2);
        check(r#"{"messages":[{"content":[{"type":"text","text":"12345"},{"type":"image_url"}]}]}"#, 2);
        check(r#"{"messages":[{"content":null},{"content":"a\nb\u00e9"}]}"#, 2);
        check(r#"{"messages":[]}"#, 1);
        check(r#"{"prompt":"1234"}"#, 1);
        check(r#"{"prompt":["1234","5678"]}"#, 2);
        check(r#"{"input":[1,2,3]}"#, 3);
        check(r#"{"input":[[1,2,3],[4]]}"#, 4);
        check("not json", 1);
    }
}
