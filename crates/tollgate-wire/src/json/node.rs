//! Values read member by member, for bodies that are translated: what nobody asked for stays in [`Rest`] and
//! is passed on, and what is wrong is told with its path, which is worked out only then.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use super::{Fault, JsonError, KeySet, Kind, Scanner, Value, decode_string, path_at, validate};

/// A value of a JSON text that has been checked whole.
#[derive(Clone)]
pub struct Node<'a> {
    root: &'a [u8],
    value: Value,
}

/// An object's members in their order, each taken at most once.
pub struct Members<'a> {
    root: &'a [u8],
    start: usize,
    list: MemberList<'a>,
}

/// What is there, and empty places for what was taken.
type MemberList<'a> = Vec<Option<(Cow<'a, str>, Node<'a>)>>;

/// Room for the members of a usual object: the list need not grow.
const USUAL_MEMBERS: usize = 8;

/// A value kept as it came. `Debug` shows its length only.
#[derive(Clone, PartialEq, Eq)]
pub struct RawJson(Box<str>);

/// Members that nobody read, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rest(Vec<(String, RawJson)>);

/// A member of the wrong type or value. Names members only, never what stands in them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", if .path.is_empty() { String::new() } else { format!("`{}` ", .path) })]
pub struct FieldError {
    /// Where, like `messages[2].content`; empty at the top.
    pub path: String,
    /// What must stand there, to be read after the path: `must be a string`.
    pub message: String,
}

/// Why a body cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It is not JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A member is not what it must be.
    #[error(transparent)]
    Field(#[from] FieldError),
}

impl ReadError {
    /// Where, like `messages[2].content`; `None` at the top.
    #[must_use]
    pub fn param(&self) -> Option<&str> {
        let path = match self {
            Self::Json(error) => &error.path,
            Self::Field(error) => &error.path,
        };
        Some(path.as_str()).filter(|path| !path.is_empty())
    }
}

// === impl Node ===

impl<'a> Node<'a> {
    /// Checks a whole text.
    ///
    /// # Errors
    /// What [`JsonError`] can say; members that stand twice are refused where they are read.
    pub fn parse(text: &'a [u8]) -> Result<Self, JsonError> {
        Ok(Self { root: text, value: validate(text)? })
    }

    /// What kind of value it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.value.kind
    }

    /// The value as it stands in the text.
    #[must_use]
    pub fn text(&self) -> &'a str {
        std::str::from_utf8(&self.root[self.value.span.clone()]).unwrap_or("null")
    }

    /// The value, kept.
    #[must_use]
    pub fn raw(&self) -> RawJson {
        RawJson(self.text().into())
    }

    /// A string's characters.
    ///
    /// # Errors
    /// It is no string.
    pub fn string(&self) -> Result<Cow<'a, str>, FieldError> {
        match self.value.kind {
            Kind::String => Ok(decode_string(&self.root[self.value.inside()])),
            _ => Err(self.error("must be a string")),
        }
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// It is neither.
    pub fn flag(&self) -> Result<bool, FieldError> {
        match self.value.kind {
            Kind::True => Ok(true),
            Kind::False => Ok(false),
            _ => Err(self.error("must be true or false")),
        }
    }

    /// A whole number from zero upwards.
    ///
    /// # Errors
    /// It is something else, or too large.
    pub fn count(&self) -> Result<u64, FieldError> {
        let number = (self.value.kind == Kind::Number).then(|| self.text().parse().ok()).flatten();
        number.ok_or_else(|| self.error("must be a whole number from 0 upwards"))
    }

    /// A number, kept as it is written.
    ///
    /// # Errors
    /// It is no number.
    pub fn number(&self) -> Result<RawJson, FieldError> {
        match self.value.kind {
            Kind::Number => Ok(self.raw()),
            _ => Err(self.error("must be a number")),
        }
    }

    /// An array's elements.
    ///
    /// # Errors
    /// It is no array.
    pub fn array(&self) -> Result<Vec<Self>, FieldError> {
        if self.value.kind != Kind::Array {
            return Err(self.error("must be an array"));
        }
        let mut elements = Vec::new();
        let mut scanner = Scanner::at_offset(self.root, self.value.span.start);
        let walked = scanner.array(|scanner| {
            elements.push(Self { root: self.root, value: scanner.skip()? });
            Ok::<_, Fault>(())
        });
        walked.map_err(|fault| self.fault(fault))?;
        Ok(elements)
    }

    /// An object's members.
    ///
    /// # Errors
    /// It is no object, or a member stands twice.
    pub fn object(&self) -> Result<Members<'a>, FieldError> {
        if self.value.kind != Kind::Object {
            return Err(self.error("must be an object"));
        }
        let (root, start) = (self.root, self.value.span.start);
        let list = list_members(&mut Scanner::at_offset(root, start)).map_err(|fault| self.fault(fault))?;
        Ok(Members { root, start, list })
    }

    /// An object's members, of which none may stand twice, in `camelCase` and in `snake_case`: Google's servers take
    /// both, and who of two wins is theirs to say.
    ///
    /// # Errors
    /// It is no object, or a member stands twice.
    pub fn google_object(&self) -> Result<Members<'a>, FieldError> {
        let members = self.object()?;
        let mut spellings = HashSet::with_capacity(members.list.len());
        for (name, node) in members.list.iter().flatten() {
            let spelling: String = name.chars().filter(|letter| *letter != '_').collect();
            if !spellings.insert(spelling.to_ascii_lowercase()) {
                return Err(node.error("stands twice, in two spellings: write it once"));
            }
        }
        Ok(members)
    }

    /// The bytes it takes in its text.
    #[must_use]
    pub fn span(&self) -> std::ops::Range<usize> {
        self.value.span.clone()
    }

    /// An error about this value; `message` is read after its path.
    #[must_use]
    pub fn error(&self, message: impl Into<String>) -> FieldError {
        FieldError { path: path_at(self.root, self.value.span.start), message: message.into() }
    }

    fn fault(&self, fault: Fault) -> FieldError {
        FieldError {
            path: path_at(self.root, fault.offset),
            message: "stands twice, or is broken".to_owned(),
        }
    }
}

impl fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({:?}, {} bytes)", self.value.kind, self.value.span.len())
    }
}

/// Walks over the object at hand.
fn list_members<'a>(scanner: &mut Scanner<'a>) -> Result<MemberList<'a>, Fault> {
    let root = scanner.bytes();
    let mut list = Vec::with_capacity(USUAL_MEMBERS);
    let mut keys = KeySet::default();
    scanner.object(|scanner, key| {
        keys.insert(root, &key)?;
        let name = decode_string(&root[key.span.clone()]);
        list.push(Some((name, Node { root, value: scanner.skip()? })));
        Ok::<_, Fault>(())
    })?;
    Ok(list)
}

// === impl Members ===

impl<'a> Members<'a> {
    /// The members of a text that is one object: as [`Node::parse`] and [`Node::object`], in one pass.
    ///
    /// # Errors
    /// What is not JSON, no object, or has a member twice.
    pub fn document(text: &'a [u8]) -> Result<Self, ReadError> {
        match Self::in_one_pass(text) {
            Ok(members) => Ok(members),
            // the two passes tell what is wrong
            Err(_) => Ok(Node::parse(text)?.object()?),
        }
    }

    fn in_one_pass(text: &'a [u8]) -> Result<Self, Fault> {
        let mut scanner = Scanner::new(text)?;
        scanner.peek()?;
        let start = scanner.position();
        let list = list_members(&mut scanner)?;
        scanner.end()?;
        Ok(Self { root: text, start, list })
    }

    /// Takes a member; `null` counts as absent.
    pub fn take(&mut self, name: &str) -> Option<Node<'a>> {
        self.take_any(name).filter(|node| node.kind() != Kind::Null)
    }

    /// Takes a member, also where it is `null`.
    pub fn take_any(&mut self, name: &str) -> Option<Node<'a>> {
        let is_it =
            |slot: &&mut Option<(Cow<'a, str>, Node<'a>)>| slot.as_ref().is_some_and(|(key, _)| key == name);
        self.list.iter_mut().find(is_it).and_then(Option::take).map(|(_, node)| node)
    }

    /// Takes the member of either name: Google's clients write both `snake_case` and `camelCase`.
    pub fn take_either(&mut self, name: &str, other: &str) -> Option<Node<'a>> {
        self.take(name).or_else(|| self.take(other))
    }

    /// Takes a member that must be there.
    ///
    /// # Errors
    /// It is absent or `null`.
    pub fn required(&mut self, name: &str) -> Result<Node<'a>, FieldError> {
        self.take(name).ok_or_else(|| {
            let above = path_at(self.root, self.start);
            let path = if above.is_empty() { name.to_owned() } else { format!("{above}.{name}") };
            FieldError { path, message: "is required".to_owned() }
        })
    }

    /// A string member, where it is there.
    ///
    /// # Errors
    /// It is no string.
    pub fn string(&mut self, name: &str) -> Result<Option<String>, FieldError> {
        self.take(name).map(|node| node.string().map(Cow::into_owned)).transpose()
    }

    /// A whole number from zero upwards, where it is there.
    ///
    /// # Errors
    /// It is something else.
    pub fn count(&mut self, name: &str) -> Result<Option<u64>, FieldError> {
        self.take(name).map(|node| node.count()).transpose()
    }

    /// A flag, where it is there.
    ///
    /// # Errors
    /// It is neither `true` nor `false`.
    pub fn flag(&mut self, name: &str) -> Result<Option<bool>, FieldError> {
        self.take(name).map(|node| node.flag()).transpose()
    }

    /// A number as it is written, where it is there.
    ///
    /// # Errors
    /// It is no number.
    pub fn number(&mut self, name: &str) -> Result<Option<RawJson>, FieldError> {
        self.take(name).map(|node| node.number()).transpose()
    }

    /// A member as it came, where it is there.
    pub fn raw(&mut self, name: &str) -> Option<RawJson> {
        self.take(name).map(|node| node.raw())
    }

    /// Whether the object has no members at all, taken ones counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// What was not taken. A member that is `null` is left out: it says what its absence says.
    #[must_use]
    pub fn rest(self) -> Rest {
        let left = self.list.into_iter().flatten().filter(|(_, node)| node.kind() != Kind::Null);
        Rest(left.map(|(name, node)| (name.into_owned(), node.raw())).collect())
    }
}

impl fmt::Debug for Members<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Members({})", self.list.len())
    }
}

// === impl RawJson ===

impl RawJson {
    /// A value of a text that is known to be JSON.
    ///
    /// # Errors
    /// It is not JSON.
    pub fn new(text: impl Into<Box<str>>) -> Result<Self, JsonError> {
        let text = text.into();
        validate(text.as_bytes())?;
        Ok(Self(text))
    }

    /// A string value.
    #[must_use]
    pub fn from_string(text: &str) -> Self {
        let mut out = Vec::with_capacity(text.len() + 2);
        super::write_string(&mut out, text);
        Self(String::from_utf8_lossy(&out).into())
    }

    /// A number value.
    #[must_use]
    pub fn from_count(count: u64) -> Self {
        Self(count.to_string().into())
    }

    /// The value's text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The value, to be read.
    ///
    /// # Errors
    /// Never for values that were read; the text is checked again.
    pub fn node(&self) -> Result<Node<'_>, JsonError> {
        Node::parse(self.0.as_bytes())
    }
}

impl fmt::Debug for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawJson({} bytes)", self.0.len())
    }
}

// === impl Rest ===

impl Rest {
    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The members, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &RawJson)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The member of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&RawJson> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// Adds a member.
    pub fn push(&mut self, name: impl Into<String>, value: RawJson) {
        self.0.push((name.into(), value));
    }
}
