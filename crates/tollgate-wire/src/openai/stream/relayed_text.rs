//! The text of relayed frames, for whoever counts its tokens.

use super::cut::frames_of;
use crate::json::{Fault, Kind, Scanner, decode_string};
use crate::sse::frame_data;

/// Appends the text in `frames` to `text`: content, reasoning, refusals, tool arguments, as they
/// come. What cannot be read adds nothing.
pub fn collect_text(frames: &[u8], text: &mut String) {
    for frame in frames_of(frames) {
        let Some(data) = frame_data(frame) else { continue };
        let Ok(mut scanner) = Scanner::new(&data) else { continue };
        let before = text.len();
        if chunk(&mut scanner, text).is_err() {
            text.truncate(before);
        }
    }
}

fn chunk(scanner: &mut Scanner<'_>, text: &mut String) -> Result<(), Fault> {
    if scanner.peek()? != Kind::Object {
        return scanner.pass();
    }
    scanner.object(|scanner, key| {
        if scanner.raw_key(&key) == b"choices" && scanner.peek()? == Kind::Array {
            return scanner.array(|scanner| choice(scanner, text));
        }
        scanner.pass()
    })
}

fn choice(scanner: &mut Scanner<'_>, text: &mut String) -> Result<(), Fault> {
    if scanner.peek()? != Kind::Object {
        return scanner.pass();
    }
    scanner.object(|scanner, key| match scanner.raw_key(&key) {
        b"delta" | b"message" => delta(scanner, text),
        b"text" => string(scanner, text),
        _ => scanner.pass(),
    })
}

/// The members whose bytes `text_bytes` counts.
fn delta(scanner: &mut Scanner<'_>, text: &mut String) -> Result<(), Fault> {
    match scanner.peek()? {
        Kind::Array => scanner.array(|scanner| delta(scanner, text)),
        Kind::Object => scanner.object(|scanner, key| match scanner.raw_key(&key) {
            b"content" | b"tool_calls" | b"function" | b"function_call" | b"custom" | b"audio"
            | b"reasoning" => {
                if scanner.peek()? == Kind::String {
                    return string(scanner, text);
                }
                delta(scanner, text)
            }
            b"text" | b"refusal" | b"reasoning_content" | b"arguments" | b"input" | b"name"
            | b"transcript" | b"thinking" => string(scanner, text),
            _ => scanner.pass(),
        }),
        _ => scanner.pass(),
    }
}

fn string(scanner: &mut Scanner<'_>, text: &mut String) -> Result<(), Fault> {
    let value = scanner.skip()?;
    if value.kind == Kind::String {
        text.push_str(&decode_string(&scanner.bytes()[value.inside()]));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tollgate_domain::Surface;

    use super::*;
    use crate::openai::stream::{StreamOptions, StreamRelay};

    /// As many bytes as the relay counts, whatever the shape.
    #[test]
    fn the_text_is_what_the_relay_counts() {
        let deltas = [
            r#"{"content":"h\u00e9 \"x\""}"#,
            r#"{"reasoning_content":"abc","content":null}"#,
            r#"{"reasoning":"thinking"}"#,
            r#"{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":"{\"a\":1}"}}]}"#,
            r#"{"content":[{"type":"text","text":"part"}],"refusal":"no"}"#,
            r#"{"role":"assistant"}"#,
            "7",
        ];
        let stream: String = deltas
            .iter()
            .map(|delta| format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{delta}}}]}}\n\n"))
            .collect();
        let options = StreamOptions { client_wants_usage: false, n_choices: 1 };
        let mut relay = StreamRelay::new(Surface::Chat, options);
        let mut events = Vec::new();
        relay.push(Bytes::from(stream), &mut events).unwrap();
        let mut text = String::new();
        events.iter().for_each(|event| collect_text(event.frames(), &mut text));
        assert_eq!(text, "hé \"x\"abcthinkingf{\"a\":1}partno");
        assert_eq!(text.len() as u64, relay.text_bytes());
        let mut unreadable = String::new();
        collect_text(
            b"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}\n\n: x\n\ndata: [DONE]\n\n",
            &mut unreadable,
        );
        assert_eq!(unreadable, "");
    }
}
