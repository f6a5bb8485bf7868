//! What is asked, byte for byte.

/// The body of a whole answer.
pub(crate) const ANSWER_BYTES: usize = 552;
/// Chunks of a streamed answer, without `[DONE]`.
pub(crate) const N_CHUNKS: usize = 100;
/// The key that every request presents; the floor and the mock do not look at it.
pub(crate) const KEY: &str = "sk-bench-key-0000";
/// The virtual model that most requests name: its provider speaks what the client speaks.
pub(crate) const MODEL: &str = "chat-bench";
/// The virtual model whose provider speaks Anthropic's dialect.
pub(crate) const TRANSLATED_MODEL: &str = "chat-bench-messages";

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scenario {
    /// A body of 1 KiB, a whole answer.
    Small,
    /// A body of 32 KiB, a whole answer.
    Large,
    /// A body of 1 MiB, a whole answer.
    Huge,
    /// A body of 1 KiB, a whole answer, translated on both ways. The floor translates nothing.
    Translated,
    /// A body of 1 KiB, a streamed answer.
    Stream,
}

impl Scenario {
    /// Every one, in the order in which they are measured.
    pub(crate) const ALL: [Self; 5] = [Self::Small, Self::Large, Self::Huge, Self::Translated, Self::Stream];

    /// How it is called in the output.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Small => "1 KiB",
            Self::Large => "32 KiB",
            Self::Huge => "1 MiB",
            Self::Translated => "1 KiB translated",
            Self::Stream => "stream",
        }
    }

    const fn body_bytes(self) -> usize {
        match self {
            Self::Small | Self::Translated | Self::Stream => 1024,
            Self::Large => 32 * 1024,
            Self::Huge => 1024 * 1024,
        }
    }

    /// The whole request, head and body, as it goes over the wire.
    pub(crate) fn request(self) -> Vec<u8> {
        let body = self.body();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {KEY}\r\n\
             content-type: application/json\r\naccept: application/json\r\nuser-agent: OpenAI/Python 2.8.1\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        [head.into_bytes(), body.into_bytes()].concat()
    }

    /// Several messages, as in a conversation, padded to the exact length.
    pub(crate) fn body(self) -> String {
        let model = if self == Self::Translated { TRANSLATED_MODEL } else { MODEL };
        let stream = if self == Self::Stream { r#","stream":true"# } else { "" };
        let head = format!(
            r#"{{"model":"{model}"{stream},"temperature":0.2,"max_tokens":256,"messages":[{{"role":"system","content":"You are a helpful assistant."}}"#
        );
        let tail = "]}";
        let turn = |role: &str, text: &str| format!(r#",{{"role":"{role}","content":"{text}"}}"#);
        let mut body = head;
        let last_turn_bytes = turn("user", "").len() + tail.len();
        let full_turn = "A sentence with \\\"quotes\\\" and a line break.\\n".repeat(6);
        let mut role = "user";
        while body.len() + turn(role, &full_turn).len() + last_turn_bytes < self.body_bytes() {
            body.push_str(&turn(role, &full_turn));
            role = if role == "user" { "assistant" } else { "user" };
        }
        let padding = "x".repeat(self.body_bytes() - body.len() - last_turn_bytes);
        body.push_str(&turn("user", &padding));
        body.push_str(tail);
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_valid_json_of_the_exact_length() {
        for scenario in Scenario::ALL {
            let body = scenario.body();
            assert_eq!(body.len(), scenario.body_bytes(), "{scenario:?}");
            let value: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!(value["stream"].as_bool(), (scenario == Scenario::Stream).then_some(true));
        }
    }
}
