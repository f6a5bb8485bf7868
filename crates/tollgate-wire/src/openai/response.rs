//! Whole answers, read in one pass.

use tollgate_domain::Surface;

use super::usage::{UsageReading, read_usage_here};
use crate::json::{Fault, Kind, Scanner, Value, decode_string, decoded_len};
use crate::neutral::{ChatAnswer, PartKind};

/// Whether an answer's body is what its surface promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerShape {
    /// A JSON object.
    Json,
    /// Anything else: HTML, garbage, half a document.
    NotJson,
}

/// What an answer says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether it is JSON at all; the other fields are empty when it is not.
    pub shape: AnswerShape,
    /// The usage object.
    pub usage: UsageReading,
    /// The tier it was served at, in the provider's words (`default`, `flex`, `priority`, …).
    pub service_tier: Option<String>,
    /// Bytes of text in all choices: content, reasoning, refusals, tool arguments.
    pub text_bytes: u64,
    /// Whether it is `{"error": …}` (some servers send it with status 200).
    pub is_error: bool,
}

impl Answer {
    /// The same of an answer that was read in no dialect.
    #[must_use]
    pub fn of_neutral(answer: &ChatAnswer) -> Self {
        let texts = answer.choices.iter().flat_map(|choice| &choice.parts).map(|part| match &part.kind {
            PartKind::Text { text, .. } | PartKind::Thinking { text, .. } | PartKind::Refusal { text } => {
                text.len()
            }
            PartKind::ToolCall(call) => call.arguments.len() + call.name.len(),
            _ => 0,
        });
        Self {
            usage: answer.usage.map_or(UsageReading::Missing, UsageReading::Told),
            service_tier: answer.service_tier.clone(),
            text_bytes: texts.sum::<usize>() as u64,
            ..empty(AnswerShape::Json)
        }
    }
}

/// Reads an answer's body in one pass.
#[must_use]
pub fn read_answer(surface: Surface, body: &[u8]) -> Answer {
    let mut answer = empty(AnswerShape::Json);
    match walk(surface, body, &mut answer) {
        Ok(()) => answer,
        Err(_) => empty(AnswerShape::NotJson),
    }
}

const fn empty(shape: AnswerShape) -> Answer {
    Answer { shape, usage: UsageReading::Missing, service_tier: None, text_bytes: 0, is_error: false }
}

fn walk(surface: Surface, body: &[u8], answer: &mut Answer) -> Result<(), Fault> {
    let mut scanner = Scanner::new(body)?;
    scanner.object(|scanner, key| {
        match &*key.name(body) {
            b"usage" => answer.usage = read_usage_here(surface, scanner)?,
            b"service_tier" => answer.service_tier = string(body, &scanner.skip()?),
            b"choices" if scanner.peek()? == Kind::Array => {
                scanner.array(|scanner| choice(scanner, answer))?;
            }
            b"error" => answer.is_error = scanner.skip()?.kind != Kind::Null,
            _ => scanner.pass()?,
        }
        Ok::<_, Fault>(())
    })?;
    scanner.end()
}

fn choice(scanner: &mut Scanner<'_>, answer: &mut Answer) -> Result<(), Fault> {
    if scanner.peek()? != Kind::Object {
        return scanner.pass();
    }
    let body = scanner.bytes();
    scanner.object(|scanner, key| {
        match &*key.name(body) {
            b"message" => answer.text_bytes += text_bytes(scanner)?,
            b"text" => answer.text_bytes += string_bytes(body, &scanner.skip()?),
            _ => scanner.pass()?,
        }
        Ok(())
    })
}

fn string(body: &[u8], value: &Value) -> Option<String> {
    (value.kind == Kind::String).then(|| decode_string(&body[value.inside()]).into_owned())
}

fn string_bytes(body: &[u8], value: &Value) -> u64 {
    if value.kind == Kind::String { decoded_len(&body[value.inside()]) as u64 } else { 0 }
}

/// Bytes of the text in a message or a delta: content, reasoning, refusal, tool calls. Passes the value.
pub(super) fn text_bytes(scanner: &mut Scanner<'_>) -> Result<u64, Fault> {
    let mut n_bytes = 0;
    match scanner.peek()? {
        Kind::Array => scanner.array(|scanner| {
            n_bytes += text_bytes(scanner)?;
            Ok::<_, Fault>(())
        })?,
        Kind::Object => scanner.object(|scanner, key| {
            match scanner.raw_key(&key) {
                b"content" | b"tool_calls" | b"function" | b"function_call" | b"custom" | b"audio"
                | b"reasoning" => n_bytes += text_or_parts(scanner)?,
                b"text" | b"refusal" | b"reasoning_content" | b"arguments" | b"input" | b"name"
                | b"transcript" | b"thinking" => {
                    let value = scanner.skip()?;
                    n_bytes += string_bytes(scanner.bytes(), &value);
                }
                _ => scanner.pass()?,
            }
            Ok::<_, Fault>(())
        })?,
        _ => scanner.pass()?,
    }
    Ok(n_bytes)
}

fn text_or_parts(scanner: &mut Scanner<'_>) -> Result<u64, Fault> {
    if scanner.peek()? == Kind::String {
        let value = scanner.skip()?;
        return Ok(string_bytes(scanner.bytes(), &value));
    }
    text_bytes(scanner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let body = r#"{"id":"x","model":"gpt\u002d5","choices":[
            {"index":0,"message":{"role":"assistant","content":"h\u00e9\n","refusal":null,"reasoning_content":"abc",
             "tool_calls":[{"id":"call_123","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},"finish_reason":"stop"},
            {"index":1,"message":{"content":[{"type":"text","text":"12345"}]},"finish_reason":"length"}],
            "usage":{"prompt_tokens":3,"completion_tokens":4}}"#;
        let answer = read_answer(Surface::Chat, body.as_bytes());
        assert_eq!(answer.shape, AnswerShape::Json);
        // hé\n, abc, f, {"a":1}, 12345
        assert_eq!(answer.text_bytes, 4 + 3 + 1 + 7 + 5);
        assert!(matches!(answer.usage, UsageReading::Counted(usage, _) if usage.total_tokens() == 7));
        assert!(!answer.is_error);

        let completion = read_answer(Surface::Completions, br#"{"choices":[{"text":"abc"}],"error":null}"#);
        assert_eq!(
            (completion.text_bytes, completion.usage, completion.is_error),
            (3, UsageReading::Missing, false)
        );
        assert!(read_answer(Surface::Chat, br#"{"error":{"message":"no"}}"#).is_error);
    }

    #[test]
    fn the_tier_it_was_served_at_is_read() {
        for (body, expected) in [
            (r#"{"choices":[],"service_tier":"default"}"#, Some("default")),
            (r#"{"service_\u0074ier":"pri\u006frity","usage":{}}"#, Some("priority")),
            (r#"{"service_tier":null}"#, None),
            (r#"{"service_tier":5}"#, None),
            (r#"{"choices":[{"service_tier":"flex"}],"usage":{"service_tier":"flex"}}"#, None),
        ] {
            let answer = read_answer(Surface::Chat, body.as_bytes());
            assert_eq!(
                (answer.shape, answer.service_tier.as_deref()),
                (AnswerShape::Json, expected),
                "{body}"
            );
        }
    }

    #[test]
    fn odd_shapes_are_json_and_anything_else_is_not() {
        for body in
            [r#"{}"#, r#"{"choices":null,"usage":[]}"#, r#"{"choices":[1,{"message":"x"}],"model":5}"#]
        {
            let answer = read_answer(Surface::Chat, body.as_bytes());
            assert_eq!((answer.shape, answer.usage), (AnswerShape::Json, UsageReading::Missing), "{body}");
        }
        for body in ["", "<html>", "[]", "null", r#"{"a":1"#, "{} x", r#"{"usage":{"prompt_tokens":1}"#] {
            assert_eq!(read_answer(Surface::Chat, body.as_bytes()), empty(AnswerShape::NotJson), "{body}");
        }
    }
}
