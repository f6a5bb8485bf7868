//! Credentials in the providers' messages.

use std::borrow::Cow;

/// Starts of the vendors' keys and of tokens.
const KEY_PREFIXES: [&str; 16] = [
    "sk-", "sk_", "pk-", "gsk_", "xai-", "AIza", "AKIA", "ASIA", "eyJ", "hf_", "nvapi-", "r8_", "pplx-",
    "csk-", "tgk_", "ya29.",
];
/// A key's start with fewer characters behind it is a word, or masked already by whoever wrote it.
const MIN_KEY_CHARS: usize = 8;
/// An unbroken run of letters and digits this long is no word and no model name.
const MIN_TOKEN_RUN_CHARS: usize = 20;
const MASK: &str = "***";

/// `text` with API keys and bearer tokens replaced by `***`.
#[must_use]
pub fn mask_credentials(text: &str) -> Cow<'_, str> {
    let mut masked = String::new();
    let mut copied = 0;
    let mut at = 0;
    let mut follows_bearer = false;
    while at < text.len() {
        let rest = &text[at..];
        let word_bytes = rest.find(|character| !is_word(character)).unwrap_or(rest.len());
        if word_bytes == 0 {
            at += rest.chars().next().map_or(1, char::len_utf8);
            continue;
        }
        let word = &rest[..word_bytes];
        if follows_bearer || is_credential(word) {
            masked.push_str(&text[copied..at]);
            masked.push_str(MASK);
            copied = at + word_bytes;
        }
        let name = word.trim_end_matches(['=', '.']);
        follows_bearer = name.eq_ignore_ascii_case("bearer") || name.eq_ignore_ascii_case("basic");
        at += word_bytes;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    masked.push_str(&text[copied..]);
    Cow::Owned(masked)
}

/// The characters that credentials are made of, with the stars of half-masked ones.
const fn is_word(character: char) -> bool {
    matches!(character, 'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.' | '+' | '/' | '=' | '~' | '*')
}

fn is_credential(word: &str) -> bool {
    // `key=…` is one word.
    word.split('=').any(|part| {
        let is_key =
            part.len() >= MIN_KEY_CHARS && KEY_PREFIXES.iter().any(|prefix| part.starts_with(prefix));
        is_key || part.split(['-', '.', '/']).any(is_token_run)
    })
}

fn is_token_run(run: &str) -> bool {
    let has_digit = run.bytes().any(|byte| byte.is_ascii_digit());
    let has_letter = run.bytes().any(|byte| byte.is_ascii_alphabetic());
    run.len() >= MIN_TOKEN_RUN_CHARS && has_digit && has_letter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_masked_and_words_are_not() {
        for (text, expected) in [
            ("key sk-proj-abcDEF123456 is wrong", "key *** is wrong"),
            (
                "Incorrect API key provided: sk-abc***********xyz. Look",
                "Incorrect API key provided: *** Look",
            ),
            ("Authorization: Bearer short", "Authorization: Bearer ***"),
            ("authorization: bearer abc.def", "authorization: bearer ***"),
            ("https://x.test/v1?key=AIzaSyA1234567 failed", "https://x.test/v1?*** failed"),
            ("token eyJhbGciOi.eyJzdWIi.sig", "token ***"),
            ("(0123456789abcdef0123456789abcdef)", "(***)"),
            ("üsk-abcdefgh1ü", "ü***ü"),
        ] {
            assert_eq!(mask_credentials(text), expected);
        }
        for text in [
            "",
            "The model `meta-llama/Llama-3.3-70B-Instruct-Turbo-2026-01-01` is not served.",
            "This model's maximum context length is 128000 tokens; you sent 200001.",
            "gpt-4o-mini-2024-07-18 and sk- are words, internationalization too",
            "max_completion_tokens must be an integer (invalid_request_error)",
        ] {
            assert!(matches!(mask_credentials(text), Cow::Borrowed(_)), "{text}: {}", mask_credentials(text));
        }
    }
}
