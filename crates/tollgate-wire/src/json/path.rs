//! The path to a byte of a JSON text, worked out only when an error needs it.

use super::decode_string;

/// Levels that are written out; what is deeper is cut.
const MAX_PATH_LEVELS: usize = 16;
/// Characters of one key that are written out: keys are the client's and may be anything.
const MAX_KEY_CHARS: usize = 64;

enum Level<'a> {
    Object(Option<&'a [u8]>),
    Array(usize),
}

/// The path of the innermost member or element that `offset` lies in, like `messages[2].content`; empty at
/// the top. The text before `offset` is taken to be well formed.
#[must_use]
pub fn path_at(bytes: &[u8], offset: usize) -> String {
    let mut levels: Vec<Level<'_>> = Vec::new();
    let mut at = 0;
    let mut expects_key = false;
    while at < offset.min(bytes.len()) {
        match bytes[at] {
            b'{' => {
                levels.push(Level::Object(None));
                expects_key = true;
            }
            b'[' => levels.push(Level::Array(0)),
            b'}' | b']' => drop(levels.pop()),
            b',' => match levels.last_mut() {
                Some(Level::Array(index)) => *index += 1,
                Some(Level::Object(_)) => expects_key = true,
                None => {}
            },
            b'"' => {
                let end = string_end(bytes, at);
                if expects_key && let Some(Level::Object(key)) = levels.last_mut() {
                    *key = Some(&bytes[at + 1..end]);
                    expects_key = false;
                }
                // A key that the offset lies in is the one that is meant.
                at = end;
            }
            _ => {}
        }
        at += 1;
    }
    write_path(&levels)
}

/// The position of the closing quote of the string that opens at `open`, or the end of the text.
fn string_end(bytes: &[u8], open: usize) -> usize {
    let mut at = open + 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at.min(bytes.len())
}

fn write_path(levels: &[Level<'_>]) -> String {
    let mut path = String::new();
    for level in levels.iter().take(MAX_PATH_LEVELS) {
        match level {
            Level::Array(index) => path.push_str(&format!("[{index}]")),
            Level::Object(Some(key)) => {
                if !path.is_empty() {
                    path.push('.');
                }
                // A key that was cut by the fault may end inside an escape: take it as it is then.
                let key =
                    if key.ends_with(b"\\") { String::from_utf8_lossy(key) } else { decode_string(key) };
                path.extend(key.chars().take(MAX_KEY_CHARS));
            }
            Level::Object(None) => {}
        }
    }
    path
}
