//! A JSON body as a tree, and reading it strictly: an object stays an object. Derived types take an array for
//! an object as well, field by field in their order; here that is refused, and no refusal names a type.

use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{
    Deserialize, Deserializer, EnumAccess, Error as _, Expected, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

/// A value. Objects keep repeated names, so that they can be refused.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// The path of the first text with a NUL character, which no database keeps: `targets[0].model`.
    pub(crate) fn find_nul(&self) -> Option<String> {
        match self {
            Self::Text(text) => text.contains('\0').then(String::new),
            Self::Array(items) => items.iter().enumerate().find_map(|(index, item)| {
                let rest = item.find_nul()?;
                Some(below(&format!("[{index}]"), &rest))
            }),
            Self::Object(fields) => fields.iter().find_map(|(name, value)| {
                let name_text = name.replace('\0', "\\0");
                if name.contains('\0') {
                    return Some(name_text);
                }
                Some(below(&name_text, &value.find_nul()?))
            }),
            _ => None,
        }
    }

    fn unexpected(&self) -> Unexpected<'_> {
        match self {
            Self::Null => Unexpected::Other("null"),
            Self::Bool(value) => Unexpected::Bool(*value),
            Self::Unsigned(value) => Unexpected::Unsigned(*value),
            Self::Signed(value) => Unexpected::Signed(*value),
            Self::Float(value) => Unexpected::Float(*value),
            Self::Text(text) => Unexpected::Str(text),
            Self::Array(_) => Unexpected::Other("an array"),
            Self::Object(_) => Unexpected::Other("an object"),
        }
    }
}

fn below(parent: &str, rest: &str) -> String {
    let is_direct = rest.is_empty() || rest.starts_with('[');
    if is_direct { format!("{parent}{rest}") } else { format!("{parent}.{rest}") }
}

// === from text ===

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Unsigned(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Signed(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Float(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(Json::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element()? {
            array.push(item);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Json, A::Error> {
        let mut object = Vec::new();
        while let Some(field) = fields.next_entry()? {
            object.push(field);
        }
        Ok(Json::Object(object))
    }
}

// === to types ===

/// Why a body is not what an operation takes; fit for the caller's eyes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct WrongShape(String);

impl serde::de::Error for WrongShape {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self(format!("must be {}, not {}", in_plain_words(expected), in_json_words(unexpected)))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self(format!("must be {}, not {}", in_plain_words(expected), in_json_words(unexpected)))
    }
}

/// What was found, in the words of JSON.
fn in_json_words(unexpected: Unexpected<'_>) -> String {
    match unexpected {
        Unexpected::Map => "an object".to_owned(),
        Unexpected::Seq => "an array".to_owned(),
        Unexpected::Unit => "null".to_owned(),
        Unexpected::Str(_) => "a string".to_owned(),
        other => other.to_string(),
    }
}

/// What serde expects, without the names that Rust has for it.
fn in_plain_words(expected: &dyn Expected) -> String {
    let expected = expected.to_string();
    let plain = match expected.as_str() {
        "u8" => "a whole number within 0 and 255",
        "u16" => "a whole number within 0 and 65535",
        "u32" => "a whole number within 0 and 4294967295",
        "u64" | "usize" => "a whole number from 0 on",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a sequence" => "an array",
        "a map" => "an object",
        _ => return expected,
    };
    plain.to_owned()
}

impl<'de> IntoDeserializer<'de, WrongShape> for &'de Json {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for &'de Json {
    type Error = WrongShape;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongShape> {
        match self {
            Json::Null => visitor.visit_unit(),
            Json::Bool(value) => visitor.visit_bool(*value),
            Json::Unsigned(value) => visitor.visit_u64(*value),
            Json::Signed(value) => visitor.visit_i64(*value),
            Json::Float(value) => visitor.visit_f64(*value),
            Json::Text(text) => visitor.visit_borrowed_str(text),
            Json::Array(items) => visitor.visit_seq(SeqDeserializer::new(items.iter())),
            Json::Object(fields) => visitor
                .visit_map(MapDeserializer::new(fields.iter().map(|(name, value)| (name.as_str(), value)))),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongShape> {
        match self {
            Json::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, WrongShape> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, WrongShape> {
        match self {
            Json::Object(_) => self.deserialize_any(visitor),
            other => Err(WrongShape::invalid_type(other.unexpected(), &"an object")),
        }
    }

    /// Only variants without content are part of the contract.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, WrongShape> {
        match self {
            Json::Text(name) => visitor.visit_enum(UnitVariant(name)),
            other => Err(WrongShape::invalid_type(other.unexpected(), &"a string")),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map identifier ignored_any
    }
}

/// The name of a variant without content.
struct UnitVariant<'de>(&'de str);

impl<'de> EnumAccess<'de> for UnitVariant<'de> {
    type Error = WrongShape;
    type Variant = Self;

    fn variant_seed<V: serde::de::DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self), WrongShape> {
        let name: serde::de::value::BorrowedStrDeserializer<'de, WrongShape> =
            serde::de::value::BorrowedStrDeserializer::new(self.0);
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for UnitVariant<'de> {
    type Error = WrongShape;

    fn unit_variant(self) -> Result<(), WrongShape> {
        Ok(())
    }

    fn newtype_variant_seed<T: serde::de::DeserializeSeed<'de>>(
        self,
        _seed: T,
    ) -> Result<T::Value, WrongShape> {
        Err(WrongShape::custom("must not be a string"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, _visitor: V) -> Result<V::Value, WrongShape> {
        Err(WrongShape::custom("must not be a string"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, WrongShape> {
        Err(WrongShape::custom("must not be a string"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        name: String,
        #[serde(default)]
        kind: Option<Kind>,
        #[serde(default)]
        inner: Vec<Inner>,
    }

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        count: i64,
        #[serde(default)]
        share: f64,
        #[serde(default)]
        weight: u32,
    }

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Plain,
    }

    fn read(text: &str) -> Result<Outer, String> {
        let tree: Json = serde_json::from_str(text).unwrap();
        Outer::deserialize(&tree).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_right_is_read_as_always() {
        for text in [
            r#"{"name":"a"}"#,
            r#"{"name":"a","kind":null}"#,
            r#"{"name":"\u00e9","kind":"plain","inner":[{"count":-1,"share":0.5},{"count":7,"share":1}]}"#,
        ] {
            assert_eq!(read(text).unwrap(), serde_json::from_str(text).unwrap(), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_names_of_types() {
        for (text, refusal) in [
            (r#"["a","plain",[]]"#, "must be an object, not an array"),
            ("3", "must be an object, not integer `3`"),
            ("null", "must be an object, not null"),
            (r#"{"name":"a","inner":[[1,0.5]]}"#, "must be an object, not an array"),
            (r#"{"name":3}"#, "must be a string, not integer `3`"),
            (r#"{"name":"a","kind":{"plain":null}}"#, "must be a string, not an object"),
            (r#"{"name":"a","kind":"bold"}"#, "unknown variant `bold`, expected `plain`"),
            (r#"{"name":"a","inner":{}}"#, "must be an array, not an object"),
            (
                r#"{"name":"a","inner":[{"count":1,"weight":5000000000}]}"#,
                "must be a whole number within 0 and 4294967295, not integer `5000000000`",
            ),
            (r#"{"name":"a","inner":[{"count":"x"}]}"#, "must be a whole number, not a string"),
            (r#"{"name":"a","name":"b"}"#, "duplicate field `name`"),
            (r#"{"nam":"a"}"#, "unknown field `nam`, expected one of `name`, `kind`, `inner`"),
            ("{}", "missing field `name`"),
        ] {
            assert_eq!(read(text).unwrap_err(), refusal, "{text}");
        }
    }

    #[test]
    fn nul_is_found_wherever_it_is() {
        let find = |text: &str| serde_json::from_str::<Json>(text).unwrap().find_nul();
        assert_eq!(find(r#"{"a":["b",{"c":"d"}],"e":1}"#), None);
        assert_eq!(find(r#""\u0000""#), Some(String::new()));
        assert_eq!(find(r#"{"a":["b",{"c":"d\u0000"}]}"#), Some("a[1].c".to_owned()));
        assert_eq!(find(r#"{"a":[["\u0000"]]}"#), Some("a[0][0]".to_owned()));
        assert_eq!(find(r#"{"labels":{"x\u0000":"y"}}"#), Some("labels.x\\0".to_owned()));
    }
}
