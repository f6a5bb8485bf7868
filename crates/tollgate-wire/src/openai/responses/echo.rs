//! What an answer repeats of its request: clients read their own settings back from it.

use crate::json::{JsonWriter, Node, RawJson, ReadError};

/// Members of a request that stand in its answer, too, and what stands there where the request has none.
const ECHOED: [(&str, &str); 15] = [
    ("background", "false"),
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("max_tool_calls", "null"),
    ("metadata", "{}"),
    ("parallel_tool_calls", "true"),
    ("previous_response_id", "null"),
    ("reasoning", "null"),
    ("store", "true"),
    ("temperature", "null"),
    ("text", "{\"format\":{\"type\":\"text\"}}"),
    ("tool_choice", "\"auto\""),
    ("tools", "[]"),
    ("top_p", "null"),
    ("truncation", "\"disabled\""),
];

/// The members of a request that its answer repeats.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseEcho(Vec<(&'static str, RawJson)>);

impl ResponseEcho {
    /// Reads them from a request's body.
    ///
    /// # Errors
    /// The body is no JSON object.
    pub fn read(body: &[u8]) -> Result<Self, ReadError> {
        let document = Node::parse(body)?;
        let mut members = document.object()?;
        let told = ECHOED.iter().filter_map(|(name, _)| Some((*name, members.raw(name)?)));
        Ok(Self(told.collect()))
    }

    /// Writes them, and the rest as a request that does not name them has them.
    pub(super) fn write(&self, writer: &mut JsonWriter) {
        for (name, default) in ECHOED {
            match self.0.iter().find(|(told, _)| *told == name) {
                Some((_, value)) => writer.member_raw(name, value),
                None => {
                    writer.key(name);
                    writer.literal(default);
                }
            }
        }
    }
}
