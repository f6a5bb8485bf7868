//! The text of a prompt counted with its model's own tokenizer, where bytes would hold too much money.
//!
//! Only text is counted that a provider certainly tokenizes by itself, between the marks of its template: a
//! message's text, or its one text part among images, and the older surfaces' prompts. Whatever else is in the
//! body (names, tool schemas, neighbouring text parts) keeps its bytes.

use std::ops::Range;

use tollgate_domain::Surface;

use crate::json::{Fault, Kind, Scanner, decode_string};
use crate::tokens::TokenCounter;

/// Bytes of text in one request that are counted at most; the rest keeps its bytes. A tokenizer counts about
/// 25 MB a second, so that nobody waits longer than some ten milliseconds.
pub const MAX_COUNTED_TEXT_BYTES: u64 = 256 << 10;
/// Added for each counted text: some templates trim or pad it.
const TOKENS_PER_TEXT: u64 = 2;

/// Text that was counted, and the bytes of the body that it stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CountedText {
    /// Bytes in the body, quotes and escapes included.
    pub n_bytes: u64,
    /// Tokens, with a margin for each text.
    pub n_tokens: u64,
}

/// Counts the text of a request's body that was skimmed before.
#[must_use]
pub fn count_text(surface: Surface, body: &[u8], counter: &dyn TokenCounter) -> CountedText {
    let mut texts = Vec::new();
    // a body that was skimmed is valid, and one that is not keeps its bytes
    if collect(surface, body, &mut texts).is_err() {
        return CountedText::default();
    }
    let mut counted = CountedText::default();
    let mut n_looked_at = 0;
    for span in texts {
        let n_bytes = span.len() as u64;
        if n_looked_at + n_bytes > MAX_COUNTED_TEXT_BYTES {
            continue;
        }
        n_looked_at += n_bytes;
        let text = decode_string(&body[span.start + 1..span.end - 1]);
        let n_tokens = counter.count(&text).saturating_add(TOKENS_PER_TEXT);
        if n_tokens < n_bytes {
            counted.n_bytes += n_bytes;
            counted.n_tokens += n_tokens;
        }
    }
    counted
}

fn collect(surface: Surface, body: &[u8], texts: &mut Vec<Range<usize>>) -> Result<(), Fault> {
    let mut scanner = Scanner::new(body)?;
    scanner.object(|scanner, key| match (&*key.name(body), surface) {
        (b"messages", Surface::Chat) => list(scanner, |scanner| message(scanner, texts)),
        (b"prompt", Surface::Completions) | (b"input", Surface::Embeddings) => {
            if scanner.peek()? == Kind::Array {
                return list(scanner, |scanner| string(scanner, texts));
            }
            string(scanner, texts)
        }
        _ => scanner.pass(),
    })
}

fn list(
    scanner: &mut Scanner<'_>,
    mut element: impl FnMut(&mut Scanner<'_>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    if scanner.peek()? == Kind::Array { scanner.array(|scanner| element(scanner)) } else { scanner.pass() }
}

fn message(scanner: &mut Scanner<'_>, texts: &mut Vec<Range<usize>>) -> Result<(), Fault> {
    if scanner.peek()? != Kind::Object {
        return scanner.pass();
    }
    scanner.object(|scanner, key| {
        if &*key.name(scanner.bytes()) != b"content" {
            return scanner.pass();
        }
        if scanner.peek()? != Kind::Array {
            return string(scanner, texts);
        }
        let mut parts = Vec::new();
        list(scanner, |scanner| part(scanner, &mut parts))?;
        // several may be joined before they are tokenized, which can make more tokens than their sum
        if let [only] = parts.as_slice() {
            texts.push(only.clone());
        }
        Ok(())
    })
}

fn part(scanner: &mut Scanner<'_>, parts: &mut Vec<Range<usize>>) -> Result<(), Fault> {
    if scanner.peek()? != Kind::Object {
        return string(scanner, parts);
    }
    scanner.object(|scanner, key| {
        if &*key.name(scanner.bytes()) == b"text" { string(scanner, parts) } else { scanner.pass() }
    })
}

fn string(scanner: &mut Scanner<'_>, texts: &mut Vec<Range<usize>>) -> Result<(), Fault> {
    let value = scanner.skip()?;
    if value.kind == Kind::String {
        texts.push(value.span);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One token per word.
    struct Words;

    impl TokenCounter for Words {
        fn count(&self, text: &str) -> u64 {
            text.split_whitespace().count() as u64
        }
    }

    #[test]
    fn texts_that_stand_alone_are_counted() {
        let long = "some words in a row";
        let quoted = long.len() as u64 + 2;
        let cases = [
            (Surface::Chat, format!(r#"{{"messages":[{{"content":"{long}"}}]}}"#), 1),
            (Surface::Chat, format!(r#"{{"messages":[{{"content":"{long}"}},{{"content":"{long}"}}]}}"#), 2),
            (
                Surface::Chat,
                format!(
                    r#"{{"messages":[{{"content":[{{"type":"text","text":"{long}"}},{{"type":"image_url","image_url":{{"url":"x"}}}}]}}]}}"#
                ),
                1,
            ),
            // neighbours may be joined; names, calls and schemas are written by templates
            (
                Surface::Chat,
                format!(r#"{{"messages":[{{"content":[{{"text":"{long}"}},{{"text":"{long}"}}]}}]}}"#),
                0,
            ),
            (Surface::Chat, format!(r#"{{"messages":[{{"name":"{long}"}}],"tools":["{long}"]}}"#), 0),
            (Surface::Chat, format!(r#"{{"messages":"{long}","prompt":"{long}"}}"#), 0),
            (Surface::Completions, format!(r#"{{"prompt":"{long}"}}"#), 1),
            (Surface::Embeddings, format!(r#"{{"input":["{long}",[1,2],"{long}"]}}"#), 2),
            (Surface::Embeddings, r#"{"input":[1,2,3]}"#.to_owned(), 0),
            // what is shorter in bytes keeps them
            (Surface::Completions, r#"{"prompt":"a"}"#.to_owned(), 0),
            (Surface::Completions, r#"{"prompt":"#.to_owned(), 0),
        ];
        for (surface, body, n_texts) in cases {
            let counted = count_text(surface, body.as_bytes(), &Words);
            let expected =
                CountedText { n_bytes: n_texts * quoted, n_tokens: n_texts * (5 + TOKENS_PER_TEXT) };
            assert_eq!(counted, expected, "{body}");
        }
    }

    #[test]
    fn what_is_counted_is_bounded() {
        let long = "word ".repeat(40_000);
        let body = format!(r#"{{"prompt":["{long}","{long}"]}}"#);
        let counted = count_text(Surface::Completions, body.as_bytes(), &Words);
        assert_eq!((counted.n_bytes, counted.n_tokens), (200_002, 40_000 + TOKENS_PER_TEXT));
        assert!(counted.n_bytes <= MAX_COUNTED_TEXT_BYTES);
    }
}
