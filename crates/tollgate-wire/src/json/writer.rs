//! Writing JSON without a tree: commas are the writer's business, nesting the caller's.

use std::io::Write as _;

use super::{RawJson, Rest, write_string};

/// A JSON text that grows. Values follow each other; inside an object each is preceded by its key.
#[derive(Default)]
pub struct JsonWriter {
    out: Vec<u8>,
    needs_comma: bool,
}

impl std::fmt::Debug for JsonWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "JsonWriter({} bytes)", self.out.len())
    }
}

impl JsonWriter {
    /// An empty text with room for `capacity` bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { out: Vec::with_capacity(capacity), needs_comma: false }
    }

    /// One object and nothing else.
    #[must_use]
    pub fn document(capacity: usize, members: impl FnOnce(&mut Self)) -> Vec<u8> {
        let mut writer = Self::with_capacity(capacity);
        writer.object(members);
        writer.out
    }

    /// One object and nothing else, unless writing it fails.
    ///
    /// # Errors
    /// What `members` answers.
    pub fn try_document<E>(
        capacity: usize,
        members: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<Vec<u8>, E> {
        let mut writer = Self::with_capacity(capacity);
        writer.object(members)?;
        Ok(writer.out)
    }

    /// The text so far.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.out
    }

    fn separate(&mut self) {
        if self.needs_comma {
            self.out.push(b',');
        }
        self.needs_comma = true;
    }

    fn nested<T>(&mut self, open: u8, close: u8, inside: impl FnOnce(&mut Self) -> T) -> T {
        self.separate();
        self.out.push(open);
        self.needs_comma = false;
        let result = inside(self);
        self.out.push(close);
        self.needs_comma = true;
        result
    }

    /// An object; `members` writes its members. Answers what it does: a failure leaves a text that nobody should use.
    pub fn object<T>(&mut self, members: impl FnOnce(&mut Self) -> T) -> T {
        self.nested(b'{', b'}', members)
    }

    /// An array; `elements` writes its elements. Answers what it does.
    pub fn array<T>(&mut self, elements: impl FnOnce(&mut Self) -> T) -> T {
        self.nested(b'[', b']', elements)
    }

    /// The key of the value that is written next.
    pub fn key(&mut self, name: &str) {
        self.separate();
        write_string(&mut self.out, name);
        self.out.push(b':');
        self.needs_comma = false;
    }

    /// A string.
    pub fn string(&mut self, text: &str) {
        self.separate();
        write_string(&mut self.out, text);
    }

    /// A whole number.
    pub fn count(&mut self, count: u64) {
        self.separate();
        // writing to a vector does not fail
        let _ = write!(self.out, "{count}");
    }

    /// `true` or `false`.
    pub fn flag(&mut self, flag: bool) {
        self.literal(if flag { "true" } else { "false" });
    }

    /// `null`.
    pub fn null(&mut self) {
        self.literal("null");
    }

    /// A value as it came.
    pub fn raw(&mut self, value: &RawJson) {
        self.literal(value.text());
    }

    /// A text that is one JSON value already.
    pub fn literal(&mut self, text: &str) {
        self.separate();
        self.out.extend_from_slice(text.as_bytes());
    }

    // === members ===

    /// A member that is an object.
    pub fn member_object<T>(&mut self, name: &str, members: impl FnOnce(&mut Self) -> T) -> T {
        self.key(name);
        self.object(members)
    }

    /// A member that is an array.
    pub fn member_array<T>(&mut self, name: &str, elements: impl FnOnce(&mut Self) -> T) -> T {
        self.key(name);
        self.array(elements)
    }

    /// A member that is a string.
    pub fn member_string(&mut self, name: &str, text: &str) {
        self.key(name);
        self.string(text);
    }

    /// A member that is a string, where there is one.
    pub fn member_string_if(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.member_string(name, text);
        }
    }

    /// A member that is a whole number.
    pub fn member_count(&mut self, name: &str, count: u64) {
        self.key(name);
        self.count(count);
    }

    /// A member that is a whole number, where there is one.
    pub fn member_count_if(&mut self, name: &str, count: Option<u64>) {
        if let Some(count) = count {
            self.member_count(name, count);
        }
    }

    /// A member that is a flag.
    pub fn member_flag(&mut self, name: &str, flag: bool) {
        self.key(name);
        self.flag(flag);
    }

    /// A member that is a flag, where there is one.
    pub fn member_flag_if(&mut self, name: &str, flag: Option<bool>) {
        if let Some(flag) = flag {
            self.member_flag(name, flag);
        }
    }

    /// A member as it came.
    pub fn member_raw(&mut self, name: &str, value: &RawJson) {
        self.key(name);
        self.raw(value);
    }

    /// A member as it came, where there is one.
    pub fn member_raw_if(&mut self, name: &str, value: Option<&RawJson>) {
        if let Some(value) = value {
            self.member_raw(name, value);
        }
    }

    /// A member that is `null`.
    pub fn member_null(&mut self, name: &str) {
        self.key(name);
        self.null();
    }

    /// The members that were not understood, as they came.
    pub fn rest(&mut self, rest: &Rest) {
        for (name, value) in rest.iter() {
            self.member_raw(name, value);
        }
    }
}
