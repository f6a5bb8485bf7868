//! Where values and keys stand, and the keys of one object.

use std::borrow::Cow;
use std::ops::Range;

use super::{Fault, JsonProblem, decode_string};

/// Above this many members, duplicates are looked up in a set instead of one by one.
const MAX_KEYS_COMPARED: usize = 32;

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

impl Value {
    /// The bytes of a string between its quotes.
    #[must_use]
    pub fn inside(&self) -> Range<usize> {
        self.span.start + 1..self.span.end - 1
    }
}

/// A member's name.
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

/// The members seen in one object, to refuse the second of a name.
#[derive(Debug, Default)]
pub struct KeySet<'a> {
    few: [&'a [u8]; MAX_KEYS_COMPARED],
    n_few: usize,
    /// Used instead once there are many keys, or one with escapes.
    many: std::collections::HashSet<Cow<'a, [u8]>>,
}

impl<'a> KeySet<'a> {
    /// Adds a key of `bytes`.
    ///
    /// # Errors
    /// It is there already, perhaps spelled with escapes.
    pub fn insert(&mut self, bytes: &'a [u8], key: &Key) -> Result<(), Fault> {
        let is_small = self.many.is_empty() && !key.is_escaped && self.n_few < MAX_KEYS_COMPARED;
        let is_new = if is_small {
            let name = &bytes[key.span.clone()];
            let is_new = !self.few[..self.n_few].contains(&name);
            self.few[self.n_few] = name;
            self.n_few += 1;
            is_new
        } else {
            self.many.extend(self.few[..self.n_few].iter().map(|name| Cow::Borrowed(*name)));
            self.n_few = 0;
            self.many.insert(key.name(bytes))
        };
        if is_new { Ok(()) } else { Err(Fault::new(JsonProblem::DuplicateKey, key.span.start)) }
    }
}

impl Key {
    /// The key's name without escapes.
    #[must_use]
    pub fn name<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let raw = &bytes[self.span.clone()];
        if !self.is_escaped {
            return Cow::Borrowed(raw);
        }
        Cow::Owned(decode_string(raw).into_owned().into_bytes())
    }
}
