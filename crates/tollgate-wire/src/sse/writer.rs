//! Events that we write ourselves.

use bytes::Bytes;

/// `data: <json>` and a blank line. U+0085, U+2028 and U+2029 in the (JSON) text are written as escapes, as
/// clients that split lines by Unicode's rules break on them; line ends become spaces.
#[must_use]
pub fn data_event(json: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(json.len() + 8);
    write_data(&mut out, json);
    Bytes::from(out)
}

/// `event: <name>`, then as [`data_event`]. `name` must have no line end.
#[must_use]
pub fn named_event(name: &str, json: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(name.len() + json.len() + 16);
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.push(b'\n');
    write_data(&mut out, json);
    Bytes::from(out)
}

/// A comment line (`: text`) with its blank line, which clients skip: a heartbeat.
#[must_use]
pub fn comment(text: &str) -> Bytes {
    Bytes::from(format!(": {}\n\n", text.replace(['\r', '\n'], " ")))
}

fn write_data(out: &mut Vec<u8>, json: &[u8]) {
    out.extend_from_slice(b"data: ");
    // as most are: in ASCII, on one line
    let is_plain = json.is_ascii() && memchr::memchr2(b'\r', b'\n', json).is_none();
    let mut rest = json;
    if is_plain {
        out.extend_from_slice(json);
        rest = &[];
    }
    while let Some(&first) = rest.first() {
        let (text, n_bytes): (&[u8], usize) = match (first, rest) {
            // In JSON these bytes stand in strings only, so an escape means the same.
            (0xc2, [_, 0x85, ..]) => (b"\\u0085", 2),
            (0xe2, [_, 0x80, 0xa8, ..]) => (b"\\u2028", 3),
            (0xe2, [_, 0x80, 0xa9, ..]) => (b"\\u2029", 3),
            // In JSON these are white space between tokens.
            (b'\r' | b'\n', _) => (b" ", 1),
            _ => {
                let next = rest[1..].iter().position(|byte| matches!(byte, 0xc2 | 0xe2 | b'\r' | b'\n'));
                let end = next.map_or(rest.len(), |next| next + 1);
                (&rest[..end], end)
            }
        };
        out.extend_from_slice(text);
        rest = &rest[n_bytes..];
    }
    out.extend_from_slice(b"\n\n");
}
