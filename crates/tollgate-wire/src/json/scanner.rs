//! The scanner.

use std::ops::Range;

use super::JsonError;

/// Arrays and objects inside each other; deeper bodies are refused (no model's schema needs more, and
/// recursive parsers upstream break on more).
pub const MAX_JSON_DEPTH: usize = 128;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true`
    True,
    /// `false`
    False,
    /// A number.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

/// A value's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// What it is.
    pub kind: Kind,
    /// Its bytes, quotes or brackets included.
    pub span: Range<usize>,
}

/// A member's name: its bytes between the quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The bytes between the quotes.
    pub span: Range<usize>,
    /// Whether it has escapes.
    pub is_escaped: bool,
}

/// A member of the outermost object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub key: Key,
    /// Its value.
    pub value: Value,
}

/// Walks a text once.
#[derive(Debug)]
pub struct Scanner<'a> {
    bytes: &'a [u8],
}

/// Checks a whole text, whatever its outermost value is.
///
/// # Errors
/// What [`JsonError`] can say.
pub fn validate(bytes: &[u8]) -> Result<Value, JsonError> {
    let _ = Scanner { bytes }.bytes;
    todo!()
}

/// Checks a whole text and lists the members of its outermost object.
///
/// # Errors
/// Invalid JSON, no object, or a member that stands twice.
pub fn members(bytes: &[u8]) -> Result<Vec<Member>, JsonError> {
    let _ = bytes;
    todo!()
}
