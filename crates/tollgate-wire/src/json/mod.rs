//! A validating single-pass JSON scanner that reports where things stand instead of building values.

mod error;
mod lexer;
mod path;
mod places;
mod scanner;
mod text;

pub use error::{Fault, JsonError, JsonProblem};
pub use path::path_at;
pub use places::{Key, KeySet, Kind, Member, Value};
pub use scanner::{MAX_JSON_DEPTH, Scanner, members, validate};
pub use text::{decode_string, decoded_len, write_string};

#[cfg(test)]
mod tests;
