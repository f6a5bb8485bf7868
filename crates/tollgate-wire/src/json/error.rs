//! What is wrong with a JSON text, and where.

use std::fmt;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonProblem {
    /// The bytes are not UTF-8.
    NotUtf8,
    /// The text starts with a byte order mark.
    ByteOrderMark,
    /// The text ends in the middle of a value.
    UnexpectedEnd,
    /// A character that cannot stand here.
    UnexpectedByte,
    /// A control character inside a string that must be escaped.
    ControlCharacter,
    /// A backslash followed by something that is no escape.
    BadEscape,
    /// A number with a leading zero, a lone sign, a bare point or exponent.
    BadNumber,
    /// Something follows the value.
    TrailingBytes,
    /// More than [`super::MAX_JSON_DEPTH`] arrays and objects inside each other.
    TooDeep,
    /// A member stands twice in an object where that matters.
    DuplicateKey,
    /// The outermost value is no object.
    NotAnObject,
}

/// A JSON text that is refused. `path` names keys only, never values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct JsonError {
    /// What is wrong.
    pub problem: JsonProblem,
    /// Bytes before the offending one.
    pub offset: usize,
    /// Where in the document, like `messages[2].content`; empty at the top.
    pub path: String,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.problem {
            JsonProblem::NotUtf8 => "it is not UTF-8",
            JsonProblem::ByteOrderMark => "it starts with a byte order mark",
            JsonProblem::UnexpectedEnd => "it ends too early",
            JsonProblem::UnexpectedByte => "unexpected character",
            JsonProblem::ControlCharacter => "a control character in a string must be escaped",
            JsonProblem::BadEscape => "no such escape in a string",
            JsonProblem::BadNumber => "malformed number",
            JsonProblem::TrailingBytes => "something follows the document",
            JsonProblem::TooDeep => "arrays and objects are nested too deeply",
            JsonProblem::DuplicateKey => "a member stands twice",
            JsonProblem::NotAnObject => "it must be an object",
        };
        write!(f, "the body is not valid JSON: {what}, at byte {}", self.offset)?;
        if self.path.is_empty() { Ok(()) } else { write!(f, " (in `{}`)", self.path) }
    }
}

/// A [`JsonError`] before anybody asked for its path: small, as it rides through the hot path's results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub problem: JsonProblem,
    /// Bytes before the offending one.
    pub offset: usize,
}

impl Fault {
    pub(crate) const fn new(problem: JsonProblem, offset: usize) -> Self {
        Self { problem, offset }
    }

    /// The error with its path in `bytes`, the text that was scanned.
    #[must_use]
    pub fn locate(self, bytes: &[u8]) -> JsonError {
        JsonError { problem: self.problem, offset: self.offset, path: super::path_at(bytes, self.offset) }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        JsonError { problem: self.problem, offset: self.offset, path: String::new() }.fmt(f)
    }
}

impl std::error::Error for Fault {}
