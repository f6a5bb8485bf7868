//! Events that we write ourselves.

use bytes::Bytes;

/// `data: <json>` and a blank line. U+0085, U+2028 and U+2029 in the (JSON) text are written as escapes.
#[must_use]
pub fn data_event(json: &[u8]) -> Bytes {
    let _ = json;
    todo!()
}

/// `event: <name>`, then as [`data_event`].
#[must_use]
pub fn named_event(name: &str, json: &[u8]) -> Bytes {
    let _ = (name, json);
    todo!()
}

/// A comment line (`: text`), which clients skip: a heartbeat.
#[must_use]
pub fn comment(text: &str) -> Bytes {
    let _ = text;
    todo!()
}
