//! The scanner: a cursor over the bytes that either walks into an array or object or skips a whole value,
//! checking everything it passes.
//!
//! ```
//! use tollgate_wire::json::{Fault, Kind, Scanner};
//! let text = br#"{"model":"m","messages":[]}"#;
//! let mut scanner = Scanner::new(text)?;
//! let mut kinds = Vec::new();
//! scanner.object(|scanner, key| {
//!     kinds.push((scanner.raw_key(&key).to_vec(), scanner.skip()?.kind));
//!     Ok::<_, Fault>(())
//! })?;
//! scanner.end()?;
//! assert_eq!(kinds, [(b"model".to_vec(), Kind::String), (b"messages".to_vec(), Kind::Array)]);
//! # Ok::<_, Fault>(())
//! ```

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr2;

use super::{Fault, JsonError, JsonProblem, decode_string};

/// Arrays and objects inside each other; deeper bodies are refused (no model's schema needs more, and
/// recursive parsers upstream break on more).
pub const MAX_JSON_DEPTH: usize = 128;
/// Above this many members, duplicates are looked up in a set instead of one by one.
const MAX_KEYS_COMPARED: usize = 32;
/// Bytes below it are control characters.
const FIRST_PLAIN_BYTE: u8 = 0x20;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

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

/// Walks a text once.
#[derive(Debug)]
pub struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
    n_values: u64,
    /// Whether any byte of the text is a control character (a line end, mostly): without one, strings need
    /// no check for them.
    has_controls: bool,
}

/// Checks a whole text, whatever its outermost value is.
///
/// # Errors
/// What [`JsonError`] can say.
pub fn validate(bytes: &[u8]) -> Result<Value, JsonError> {
    let scan = || {
        let mut scanner = Scanner::new(bytes)?;
        let value = scanner.skip()?;
        scanner.end()?;
        Ok(value)
    };
    scan().map_err(|fault: Fault| fault.locate(bytes))
}

/// Checks a whole text and lists the members of its outermost object.
///
/// # Errors
/// Invalid JSON, no object, or a member that stands twice.
pub fn members(bytes: &[u8]) -> Result<Vec<Member>, JsonError> {
    let mut members = Vec::with_capacity(16);
    let mut keys = KeySet::default();
    let mut scan = || {
        let mut scanner = Scanner::new(bytes)?;
        scanner.object(|scanner, key| {
            keys.insert(bytes, &key)?;
            let value = scanner.skip()?;
            members.push(Member { key, value });
            Ok(())
        })?;
        scanner.end()
    };
    scan().map_err(|fault: Fault| fault.locate(bytes))?;
    Ok(members)
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

impl<'a> Scanner<'a> {
    /// A scanner at the start of a text whose encoding has been checked.
    ///
    /// # Errors
    /// A byte order mark, or bytes that are not UTF-8.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Fault> {
        if bytes.starts_with(BYTE_ORDER_MARK) {
            return Err(Fault::new(JsonProblem::ByteOrderMark, 0));
        }
        // One vectorised pass tells that a body is plain ASCII, as most are.
        let (union, lowest) =
            bytes.iter().fold((0_u8, u8::MAX), |(union, lowest), &byte| (union | byte, lowest.min(byte)));
        let checked = if union.is_ascii() { Ok("") } else { std::str::from_utf8(bytes) };
        let has_controls = lowest < FIRST_PLAIN_BYTE;
        match checked {
            Ok(_) => Ok(Self { bytes, at: 0, depth: 0, n_values: 0, has_controls }),
            Err(error) => Err(Fault::new(JsonProblem::NotUtf8, error.valid_up_to())),
        }
    }

    /// A scanner that starts at `at`, inside a text that a stream's frame has been found in; the bytes'
    /// encoding is not checked, as nothing but lengths is read.
    pub(crate) const fn at_offset(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at, depth: 0, n_values: 0, has_controls: true }
    }

    /// Bytes passed so far.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.at
    }

    /// Values passed so far, containers included.
    #[must_use]
    pub const fn n_values(&self) -> u64 {
        self.n_values
    }

    /// The bytes of a key between its quotes, escapes as they are.
    #[must_use]
    pub fn raw_key(&self, key: &Key) -> &'a [u8] {
        &self.bytes[key.span.clone()]
    }

    /// The text under the scanner.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The kind of the next value by its first byte; it is not checked yet.
    ///
    /// # Errors
    /// No value can start here.
    pub fn peek(&mut self) -> Result<Kind, Fault> {
        self.skip_whitespace();
        match self.next_byte()? {
            b'"' => Ok(Kind::String),
            b'{' => Ok(Kind::Object),
            b'[' => Ok(Kind::Array),
            b't' => Ok(Kind::True),
            b'f' => Ok(Kind::False),
            b'n' => Ok(Kind::Null),
            b'-' | b'0'..=b'9' => Ok(Kind::Number),
            _ => Err(self.fault(JsonProblem::UnexpectedByte)),
        }
    }

    /// Walks into an object; `on_member` must consume the value of each key it is given.
    ///
    /// # Errors
    /// No object, a malformed one, or what `on_member` says.
    pub fn object<E: From<Fault>>(
        &mut self,
        mut on_member: impl FnMut(&mut Self, Key) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.peek()? != Kind::Object {
            return Err(self.fault(JsonProblem::NotAnObject).into());
        }
        self.enter()?;
        self.skip_whitespace();
        if self.next_byte()? == b'}' {
            {
                self.leave();
                return Ok(());
            }
        }
        loop {
            let key = self.key()?;
            on_member(self, key)?;
            self.skip_whitespace();
            match self.next_byte()? {
                b',' => self.at += 1,
                b'}' => {
                    self.leave();
                    return Ok(());
                }
                _ => return Err(self.fault(JsonProblem::UnexpectedByte).into()),
            }
        }
    }

    /// Walks into an array; `on_element` must consume each element.
    ///
    /// # Errors
    /// No array, a malformed one, or what `on_element` says.
    pub fn array<E: From<Fault>>(
        &mut self,
        mut on_element: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.peek()? != Kind::Array {
            return Err(self.fault(JsonProblem::UnexpectedByte).into());
        }
        self.enter()?;
        self.skip_whitespace();
        if self.next_byte()? == b']' {
            {
                self.leave();
                return Ok(());
            }
        }
        loop {
            on_element(self)?;
            self.skip_whitespace();
            match self.next_byte()? {
                b',' => self.at += 1,
                b']' => {
                    self.leave();
                    return Ok(());
                }
                _ => return Err(self.fault(JsonProblem::UnexpectedByte).into()),
            }
        }
    }

    /// Checks that only white space follows.
    ///
    /// # Errors
    /// Something does.
    pub fn end(&mut self) -> Result<(), Fault> {
        self.skip_whitespace();
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.fault(JsonProblem::TrailingBytes)) }
    }

    /// Passes the next value whole.
    ///
    /// # Errors
    /// It is malformed or too deep.
    pub fn skip(&mut self) -> Result<Value, Fault> {
        let kind = self.peek()?;
        let start = self.at;
        match kind {
            Kind::Array | Kind::Object => self.skip_container()?,
            _ => self.skip_scalar(kind)?,
        }
        Ok(Value { kind, span: start..self.at })
    }

    /// Passes the next value whole, where its place does not matter.
    ///
    /// # Errors
    /// As [`Self::skip`].
    pub fn pass(&mut self) -> Result<(), Fault> {
        match self.peek()? {
            Kind::Array | Kind::Object => self.skip_container(),
            kind => self.skip_scalar(kind),
        }
    }

    fn skip_scalar(&mut self, kind: Kind) -> Result<(), Fault> {
        self.n_values += 1;
        match kind {
            Kind::String => self.string().map(drop),
            Kind::Number => self.number(),
            Kind::Null => self.literal(b"null"),
            Kind::True => self.literal(b"true"),
            _ => self.literal(b"false"),
        }
    }

    /// Passes an array or object without recursion: one bit per level says which of the two it is.
    fn skip_container(&mut self) -> Result<(), Fault> {
        let outer_depth = self.depth;
        let mut is_object: u128 = 0;
        loop {
            // A value stands here.
            let kind = self.peek()?;
            if matches!(kind, Kind::Array | Kind::Object) {
                self.enter()?;
                is_object = is_object << 1 | u128::from(kind == Kind::Object);
                self.skip_whitespace();
                let close = if kind == Kind::Object { b'}' } else { b']' };
                if self.next_byte()? != close {
                    if kind == Kind::Object {
                        self.key()?;
                    }
                    continue;
                }
                self.leave();
                is_object >>= 1;
            } else {
                self.skip_scalar(kind)?;
            }
            // A value has ended here: what follows closes its containers or starts the next value.
            loop {
                if self.depth == outer_depth {
                    return Ok(());
                }
                let in_object = is_object & 1 == 1;
                self.skip_whitespace();
                match self.next_byte()? {
                    b',' => {
                        self.at += 1;
                        if in_object {
                            self.key()?;
                        }
                        break;
                    }
                    b'}' if in_object => {}
                    b']' if !in_object => {}
                    _ => return Err(self.fault(JsonProblem::UnexpectedByte)),
                }
                self.leave();
                is_object >>= 1;
            }
        }
    }

    fn enter(&mut self) -> Result<(), Fault> {
        if self.depth == MAX_JSON_DEPTH {
            return Err(self.fault(JsonProblem::TooDeep));
        }
        self.depth += 1;
        self.n_values += 1;
        self.at += 1;
        Ok(())
    }

    const fn leave(&mut self) {
        self.depth -= 1;
        self.at += 1;
    }

    fn key(&mut self) -> Result<Key, Fault> {
        self.skip_whitespace();
        if self.next_byte()? != b'"' {
            return Err(self.fault(JsonProblem::UnexpectedByte));
        }
        let start = self.at + 1;
        let is_escaped = self.string()?;
        let span = start..self.at - 1;
        self.skip_whitespace();
        if self.next_byte()? != b':' {
            return Err(self.fault(JsonProblem::UnexpectedByte));
        }
        self.at += 1;
        Ok(Key { span, is_escaped })
    }

    /// Passes a string, the cursor being on its opening quote; whether it has escapes.
    fn string(&mut self) -> Result<bool, Fault> {
        self.at += 1;
        let mut is_escaped = false;
        loop {
            self.skip_plain_text();
            match self.next_byte()? {
                b'"' => {
                    self.at += 1;
                    return Ok(is_escaped);
                }
                b'\\' => {
                    is_escaped = true;
                    self.escape()?;
                }
                _ => return Err(self.fault(JsonProblem::ControlCharacter)),
            }
        }
    }

    /// Moves to the next quote, backslash or control character.
    #[inline]
    fn skip_plain_text(&mut self) {
        let rest = &self.bytes[self.at..];
        let n_plain = memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
        let n_passed = if self.has_controls {
            rest[..n_plain].iter().position(|&byte| byte < FIRST_PLAIN_BYTE).unwrap_or(n_plain)
        } else {
            n_plain
        };
        self.at += n_passed;
    }

    fn escape(&mut self) -> Result<(), Fault> {
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => {
                let Some(digits) = self.bytes.get(self.at + 2..self.at + 6) else {
                    return Err(Fault::new(JsonProblem::UnexpectedEnd, self.bytes.len()));
                };
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return Err(self.fault(JsonProblem::BadEscape));
                }
                self.at += 6;
                Ok(())
            }
            Some(_) => Err(self.fault(JsonProblem::BadEscape)),
            None => Err(Fault::new(JsonProblem::UnexpectedEnd, self.bytes.len())),
        }
    }

    fn number(&mut self) -> Result<(), Fault> {
        if self.bytes[self.at] == b'-' {
            self.at += 1;
        }
        match self.bytes.get(self.at) {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.skip_digits(),
            _ => return Err(self.fault(JsonProblem::BadNumber)),
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        // `01` and `1x` are caught here rather than as an unexpected byte after the number.
        match self.bytes.get(self.at) {
            Some(byte) if byte.is_ascii_alphanumeric() => Err(self.fault(JsonProblem::BadNumber)),
            _ => Ok(()),
        }
    }

    fn digits(&mut self) -> Result<(), Fault> {
        match self.bytes.get(self.at) {
            Some(b'0'..=b'9') => {
                self.skip_digits();
                Ok(())
            }
            _ => Err(self.fault(JsonProblem::BadNumber)),
        }
    }

    fn skip_digits(&mut self) {
        while let Some(b'0'..=b'9') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    fn literal(&mut self, word: &'static [u8]) -> Result<(), Fault> {
        if self.bytes[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(())
        } else {
            Err(self.fault(JsonProblem::UnexpectedByte))
        }
    }

    #[inline]
    fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    #[inline]
    fn next_byte(&self) -> Result<u8, Fault> {
        self.bytes.get(self.at).copied().ok_or(Fault::new(JsonProblem::UnexpectedEnd, self.at))
    }

    #[cold]
    const fn fault(&self, problem: JsonProblem) -> Fault {
        Fault::new(problem, self.at)
    }
}
