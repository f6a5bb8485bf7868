//! A validating single-pass JSON scanner that reports where things stand instead of building values.

mod error;
mod path;
mod scanner;
mod text;

pub use error::{JsonError, JsonProblem};
pub use path::path_at;
pub use scanner::{Key, Kind, MAX_JSON_DEPTH, Member, Scanner, Value, members, validate};
pub use text::{decode_string, write_string};
