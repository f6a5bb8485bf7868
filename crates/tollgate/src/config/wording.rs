//! What serde says about types, in the words of people who write configuration files.

use serde::de::{Expected, Unexpected};

/// Longer values are cut in messages.
const MAX_SHOWN_CHARACTERS: usize = 60;

/// `expected …, found …`.
pub(super) fn mismatch(unexpected: Unexpected<'_>, expected: &dyn Expected) -> String {
    let found = match unexpected {
        Unexpected::Bool(value) => format!("`{value}`"),
        Unexpected::Unsigned(number) => format!("`{number}`"),
        Unexpected::Signed(number) => format!("`{number}`"),
        Unexpected::Str("") => "empty text".to_owned(),
        Unexpected::Str(text) => format!("the text `{}`", shorten(text)),
        Unexpected::Unit => "nothing".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a mapping".to_owned(),
        other => other.to_string(),
    };
    format!("expected {}, found {found}", in_words(&expected.to_string()))
}

/// The same for a number, shown by its digits in the file.
pub(super) fn mismatch_number(digits: &str, expected: &dyn Expected) -> String {
    format!("expected {}, found `{}`", in_words(&expected.to_string()), shorten(digits))
}

/// `unknown field …`, with the nearest known one, else all of them.
pub(super) fn unknown(what: &str, given: &str, known: &[&str]) -> String {
    let given = shorten(given);
    match nearest(&given, known) {
        Some(name) => format!("unknown {what} `{given}`; did you mean `{name}`?"),
        None if known.is_empty() => format!("unknown {what} `{given}`; none is known here"),
        None => format!("unknown {what} `{given}`; known here: {}", known.join(", ")),
    }
}

fn nearest<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    let given = given.to_lowercase().replace('-', "_");
    let distance = |name: &str| strsim::damerau_levenshtein(&given, name);
    let allowed = 1 + given.len() / 4;
    let near = known.iter().min_by_key(|name| distance(name)).filter(|name| distance(name) <= allowed);
    let part = || {
        let extends =
            |name: &&&str| name.ends_with(&format!("_{given}")) || name.starts_with(&format!("{given}_"));
        known.iter().find(extends)
    };
    near.or_else(part).copied()
}

fn in_words(expected: &str) -> String {
    let range = |low: &str, high: String| format!("a whole number from {low} to {high}");
    match expected {
        "u8" => range("0", u8::MAX.to_string()),
        "u16" => range("0", u16::MAX.to_string()),
        "u32" => range("0", u32::MAX.to_string()),
        "u64" | "usize" => "a whole number, 0 or more".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a mapping".to_owned(),
        "a string" | "a borrowed string" => "text".to_owned(),
        other if other.starts_with("struct ") => "a mapping of fields".to_owned(),
        other => other.to_owned(),
    }
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= MAX_SHOWN_CHARACTERS {
        return text.to_owned();
    }
    text.chars().take(MAX_SHOWN_CHARACTERS).chain(['…']).collect()
}
