//! JSON strings: from their escaped bytes and back.

use std::borrow::Cow;

/// The text of a validated string's bytes (without the quotes). Lone surrogates become U+FFFD; so does what
/// cannot be read where the bytes were not validated.
#[must_use]
pub fn decode_string(raw: &[u8]) -> Cow<'_, str> {
    let Some(first) = memchr::memchr(b'\\', raw) else { return String::from_utf8_lossy(raw) };
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    let mut next = Some(first);
    while let Some(at) = next {
        text.push_str(&String::from_utf8_lossy(&rest[..at]));
        let (character, n_bytes) = decode_escape(&rest[at..]);
        text.push(character);
        rest = &rest[at + n_bytes..];
        next = memchr::memchr(b'\\', rest);
    }
    text.push_str(&String::from_utf8_lossy(rest));
    Cow::Owned(text)
}

/// UTF-8 bytes of the text that a validated string's bytes stand for.
#[must_use]
pub fn decoded_len(raw: &[u8]) -> usize {
    let mut n_bytes = raw.len();
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'\\', &raw[at..]) {
        at += found;
        let (character, n_escape) = decode_escape(&raw[at..]);
        n_bytes = n_bytes - n_escape + character.len_utf8();
        at += n_escape;
    }
    n_bytes
}

/// The character of the escape that `raw` starts with, and the bytes it takes.
fn decode_escape(raw: &[u8]) -> (char, usize) {
    const BROKEN: char = char::REPLACEMENT_CHARACTER;
    let character = match raw.get(1) {
        Some(b'n') => '\n',
        Some(b't') => '\t',
        Some(b'r') => '\r',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'u') => return decode_unicode_escape(raw),
        Some(&byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
        Some(_) => return (BROKEN, 1),
        None => return (BROKEN, raw.len()),
    };
    (character, 2)
}

fn decode_unicode_escape(raw: &[u8]) -> (char, usize) {
    const BROKEN: char = char::REPLACEMENT_CHARACTER;
    let Some(first) = hex_unit(raw) else { return (BROKEN, raw.len().min(2)) };
    if let Some(character) = char::from_u32(u32::from(first)) {
        return (character, 6);
    }
    let Some(second) = raw.get(6..).and_then(hex_unit) else { return (BROKEN, 6) };
    match char::decode_utf16([first, second]).next() {
        Some(Ok(character)) => (character, 12),
        _ => (BROKEN, 6),
    }
}

/// The code unit of `\uXXXX` at the start of `raw`.
fn hex_unit(raw: &[u8]) -> Option<u16> {
    let digits = raw.strip_prefix(b"\\u")?.get(..4)?;
    let text = std::str::from_utf8(digits).ok()?;
    u16::from_str_radix(text, 16).ok()
}

/// Appends `text` as a JSON string with its quotes; U+0085, U+2028 and U+2029 are escaped, as clients that
/// split lines by Unicode's rules break on them.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    let (mut n_written, mut at) = (0, 0);
    while let Some(n_plain) = bytes[at..].iter().position(|byte| MAY_NEED_ESCAPE[usize::from(*byte)]) {
        at += n_plain;
        let n_bytes = escaped_len(&bytes[at..]);
        if n_bytes == 0 {
            at += 1;
            continue;
        }
        out.extend_from_slice(&bytes[n_written..at]);
        write_escape(out, &bytes[at..at + n_bytes]);
        at += n_bytes;
        n_written = at;
    }
    out.extend_from_slice(&bytes[n_written..]);
    out.push(b'"');
}

/// What begins something that is escaped: quotes, backslashes, control characters, and the first bytes of the three
/// line ends beyond ASCII.
const MAY_NEED_ESCAPE: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table[0xc2] = true;
    table[0xe2] = true;
    table
};

/// Bytes of the character that `bytes` begin with where it is escaped, else zero.
const fn escaped_len(bytes: &[u8]) -> usize {
    match bytes {
        [0xc2, 0x85, ..] => 2,
        [0xe2, 0x80, 0xa8 | 0xa9, ..] => 3,
        [0xc2 | 0xe2, ..] => 0,
        _ => 1,
    }
}

fn write_escape(out: &mut Vec<u8>, character: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match character {
        b"\"" => out.extend_from_slice(b"\\\""),
        b"\\" => out.extend_from_slice(b"\\\\"),
        b"\n" => out.extend_from_slice(b"\\n"),
        b"\r" => out.extend_from_slice(b"\\r"),
        b"\t" => out.extend_from_slice(b"\\t"),
        [0xc2, ..] => out.extend_from_slice(b"\\u0085"),
        [_, _, 0xa8] => out.extend_from_slice(b"\\u2028"),
        [_, _, 0xa9] => out.extend_from_slice(b"\\u2029"),
        control => {
            let byte = control.first().copied().unwrap_or_default();
            let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&digits);
        }
    }
}
