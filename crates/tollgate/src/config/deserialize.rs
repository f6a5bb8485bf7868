//! The tree as a serde deserializer. The configuration's Rust types are its only schema; this module adds
//! lines, paths and friendlier wording, and goes on after a problem to find the next one.

use serde::Deserialize;
use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, IntoDeserializer, Unexpected, Visitor};

use super::problem::{Found, MAX_PROBLEMS};
use super::wording;
use super::yaml::{Key, Kind, Looks, Node, Scalar};

/// Reads `T` from the tree. `None` where a problem was found; each is added to `problems`.
pub(super) fn document<T: for<'de> Deserialize<'de>>(tree: &Node, problems: &mut Vec<Found>) -> Option<T> {
    loop {
        let error = match T::deserialize(Reader { node: tree, path: "" }) {
            Ok(document) => return Some(document),
            Err(error) => error,
        };
        let place = error.place.unwrap_or_default();
        let node = find(tree, &place);
        let echo = matches!((&error.missing, node), (Some(field), Some(node)) if has_reported(node, field));
        if !echo {
            let line = if place.line == 0 { tree.line } else { place.line };
            problems.push(Found { line, path: place.path, message: error.message });
        }
        match node {
            // The document itself, or a problem that does not go away: there is no next one to find.
            Some(node) if !std::ptr::eq(node, tree) && !node.reported.replace(true) => {}
            _ => return None,
        }
        if problems.len() >= MAX_PROBLEMS {
            return None;
        }
    }
}

/// `path.key`, or `key` at the top.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn has_reported(node: &Node, field: &str) -> bool {
    matches!(&node.kind, Kind::Mapping(entries)
        if entries.iter().any(|(key, value)| key.text == field && value.reported.get()))
}

/// The node at exactly that address in memory, held by the tree.
fn find<'a>(tree: &'a Node, place: &Place) -> Option<&'a Node> {
    if std::ptr::from_ref(tree).addr() == place.address {
        return Some(tree);
    }
    match &tree.kind {
        Kind::Scalar(_) => None,
        Kind::List(items) => items.iter().find_map(|item| find(item, place)),
        Kind::Mapping(entries) => entries.iter().find_map(|(_, value)| find(value, place)),
    }
}

/// Where an error belongs: the innermost value that was being read.
#[derive(Debug, Default)]
struct Place {
    line: usize,
    path: String,
    /// The node's address, to find it again.
    address: usize,
}

#[derive(Debug)]
pub(super) struct ReadError {
    message: String,
    place: Option<Place>,
    missing: Option<&'static str>,
}

impl ReadError {
    fn new(message: String) -> Self {
        Self { message, place: None, missing: None }
    }

    fn at(mut self, line: usize, path: &str, node: &Node) -> Self {
        let place = || Place { line, path: path.to_owned(), address: std::ptr::from_ref(node).addr() };
        self.place.get_or_insert_with(place);
        self
    }
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(wording::mismatch(unexpected, expected))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(wording::mismatch(unexpected, expected))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::new(wording::unknown("field", field, expected))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(wording::unknown("value", variant, expected))
    }

    fn missing_field(field: &'static str) -> Self {
        Self { missing: Some(field), ..Self::new(format!("the field `{field}` is missing")) }
    }
}

/// One value being read.
#[derive(Clone, Copy)]
struct Reader<'a> {
    node: &'a Node,
    path: &'a str,
}

impl<'a> Reader<'a> {
    fn place(self, error: ReadError) -> ReadError {
        error.at(self.node.line, self.path, self.node)
    }

    fn scalar(self, expected: &dyn de::Expected) -> Result<&'a Scalar, ReadError> {
        match &self.node.kind {
            Kind::Scalar(scalar) => Ok(scalar),
            _ => Err(self.mismatch(expected)),
        }
    }

    fn mismatch(self, expected: &dyn de::Expected) -> ReadError {
        let unexpected = match &self.node.kind {
            Kind::List(_) => Unexpected::Seq,
            Kind::Mapping(_) => Unexpected::Map,
            Kind::Scalar(scalar) if scalar.resolved => Unexpected::Other("what a reference or file gave"),
            Kind::Scalar(scalar) => match scalar.looks() {
                Looks::Nothing => Unexpected::Unit,
                Looks::Boolean(value) => Unexpected::Bool(value),
                Looks::Unsigned(_) | Looks::Signed(_) | Looks::Decimal(_) => {
                    return self.place(ReadError::new(wording::mismatch_number(&scalar.text, expected)));
                }
                Looks::Text => Unexpected::Str(&scalar.text),
            },
        };
        self.place(de::Error::invalid_type(unexpected, expected))
    }

    fn number<'de, V: Visitor<'de>>(self, visitor: V, decimals: bool) -> Result<V::Value, ReadError> {
        let result = match self.scalar(&visitor)?.looks() {
            Looks::Unsigned(number) => visitor.visit_u64(number),
            Looks::Signed(number) => visitor.visit_i64(number),
            Looks::Decimal(number) if decimals => visitor.visit_f64(number),
            _ => return Err(self.mismatch(&visitor)),
        };
        result.map_err(|error| self.place(error))
    }

    /// Text; a number is taken by its digits in the file, so that `credit: 5.00` is exact.
    fn text<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let scalar = self.scalar(&visitor)?;
        if matches!(scalar.looks(), Looks::Nothing | Looks::Boolean(_)) {
            return Err(self.mismatch(&visitor));
        }
        visitor.visit_str(&scalar.text).map_err(|error| self.place(error))
    }

    fn list<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let items = match &self.node.kind {
            Kind::List(items) => items.as_slice(),
            // `fallbacks:` with nothing behind it.
            Kind::Scalar(_) if is_nothing(self.node) => &[],
            _ => return Err(self.mismatch(&visitor)),
        };
        visitor.visit_seq(Items { items, path: self.path, next: 0 }).map_err(|error| self.place(error))
    }

    fn mapping<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let entries = match &self.node.kind {
            Kind::Mapping(entries) => entries.as_slice(),
            Kind::Scalar(_) if is_nothing(self.node) => &[],
            _ => return Err(self.mismatch(&visitor)),
        };
        let fields = Fields { entries, path: self.path, next: 0 };
        visitor.visit_map(fields).map_err(|error| self.place(error))
    }
}

macro_rules! whole_numbers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
            self.number(visitor, false)
        }
    )*};
}

macro_rules! texts {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
            self.text(visitor)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Reader<'_> {
    type Error = ReadError;

    whole_numbers! { deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
    deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 }
    texts! { deserialize_char deserialize_str deserialize_string deserialize_bytes
    deserialize_byte_buf deserialize_identifier }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node.kind {
            Kind::List(_) => self.list(visitor),
            Kind::Mapping(_) => self.mapping(visitor),
            Kind::Scalar(scalar) => match scalar.looks() {
                Looks::Nothing => visitor.visit_unit().map_err(|error| self.place(error)),
                Looks::Boolean(value) => visitor.visit_bool(value).map_err(|error| self.place(error)),
                Looks::Unsigned(_) | Looks::Signed(_) => self.number(visitor, false),
                // By its digits: whoever takes anything may take money.
                Looks::Decimal(_) | Looks::Text => self.text(visitor),
            },
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.scalar(&visitor)?.looks() {
            Looks::Boolean(value) => visitor.visit_bool(value),
            _ => Err(self.mismatch(&visitor)),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.number(visitor, true)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.number(visitor, true)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if is_nothing(self.node) {
            return visitor.visit_none();
        }
        visitor.visit_some(self).map_err(|error| self.place(error))
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if is_nothing(self.node) { visitor.visit_unit() } else { Err(self.mismatch(&visitor)) }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self).map_err(|error| self.place(error))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.list(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, ReadError> {
        self.list(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.list(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.mapping(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.mapping(visitor)
    }

    /// Enums of this configuration are words.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let Kind::Scalar(scalar) = &self.node.kind else { return Err(self.mismatch(&"one word")) };
        let word: StrDeserializer<'_, ReadError> = scalar.text.as_str().into_deserializer();
        visitor.visit_enum(word).map_err(|error| self.place(error))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_unit()
    }
}

fn is_nothing(node: &Node) -> bool {
    matches!(&node.kind, Kind::Scalar(scalar) if scalar.looks() == Looks::Nothing)
}

/// A list's items; reported ones are left out, the others keep their index.
struct Items<'a> {
    items: &'a [Node],
    path: &'a str,
    next: usize,
}

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        while let Some(node) = self.items.get(self.next) {
            let index = self.next;
            self.next += 1;
            if !node.reported.get() {
                let path = format!("{}[{index}]", self.path);
                return seed.deserialize(Reader { node, path: &path }).map(Some);
            }
        }
        Ok(None)
    }
}

/// A mapping's fields; reported ones count as not given.
struct Fields<'a> {
    entries: &'a [(Key, Node)],
    path: &'a str,
    next: usize,
}

impl<'de> de::MapAccess<'de> for Fields<'_> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        while let Some((key, value)) = self.entries.get(self.next) {
            if !value.reported.get() {
                let name: StrDeserializer<'_, ReadError> = key.text.as_str().into_deserializer();
                let place = |error: ReadError| error.at(key.line, &join(self.path, &key.text), value);
                let read = seed.deserialize(name).map_err(place)?;
                return Ok(Some(read));
            }
            self.next += 1;
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        let Some((key, node)) = self.entries.get(self.next) else {
            return Err(ReadError::new("a field without a value".to_owned()));
        };
        self.next += 1;
        let path = join(self.path, &key.text);
        seed.deserialize(Reader { node, path: &path })
    }
}
