//! A validating single-pass JSON scanner that reports where things stand instead of building values.

mod error;
mod path;
mod scanner;
mod text;

pub use error::{Fault, JsonError, JsonProblem};
pub use path::path_at;
pub use scanner::{Key, KeySet, Kind, MAX_JSON_DEPTH, Member, Scanner, Value, members, validate};
pub use text::{decode_string, decoded_len, write_string};

#[cfg(test)]
mod tests;
