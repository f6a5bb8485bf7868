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

use super::lexer::FIRST_PLAIN_BYTE;
use super::{Fault, JsonError, JsonProblem, Key, KeySet, Kind, Member, Value};

/// Arrays and objects inside each other; deeper bodies are refused (no model's schema needs more, and
/// recursive parsers upstream break on more).
pub const MAX_JSON_DEPTH: usize = 128;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Walks a text once.
#[derive(Debug)]
pub struct Scanner<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
    depth: usize,
    n_values: u64,
    /// Whether any byte of the text is a control character (a line end, mostly): without one, strings need
    /// no check for them.
    pub(super) has_controls: bool,
}

/// A place in a text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checkpoint {
    at: usize,
    depth: usize,
    n_values: u64,
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

    /// Where the scanner is, to come [`back_to`](Self::back_to).
    pub(crate) const fn checkpoint(&self) -> Checkpoint {
        Checkpoint { at: self.at, depth: self.depth, n_values: self.n_values }
    }

    /// Goes back to where `checkpoint` was taken.
    pub(crate) const fn back_to(&mut self, checkpoint: Checkpoint) {
        (self.at, self.depth, self.n_values) = (checkpoint.at, checkpoint.depth, checkpoint.n_values);
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

    #[inline]
    fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    #[inline]
    pub(super) fn next_byte(&self) -> Result<u8, Fault> {
        self.bytes.get(self.at).copied().ok_or(Fault::new(JsonProblem::UnexpectedEnd, self.at))
    }

    #[cold]
    pub(super) const fn fault(&self, problem: JsonProblem) -> Fault {
        Fault::new(problem, self.at)
    }
}
