//! A validating single-pass JSON scanner that reports where things stand instead of building values.

mod blocks;
mod edit;
mod error;
mod lexer;
mod node;
mod path;
mod places;
mod scanner;
mod text;
mod writer;

pub use edit::{Edit, set_members};
pub use error::{Fault, JsonError, JsonProblem};
pub use node::{FieldError, Members, Node, RawJson, ReadError, Rest};
pub use path::path_at;
pub use places::{Key, KeySet, Kind, Member, Value};
pub use scanner::{MAX_JSON_DEPTH, Scanner, members, validate};
pub use text::{decode_string, decoded_len, write_string};
pub use writer::JsonWriter;

#[cfg(test)]
mod tests;
