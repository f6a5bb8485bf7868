//! Chat Completions, read into and written from the neutral types.

mod parts;
mod read_answer;
mod read_request;
mod read_stream;
mod write_answer;
mod write_request;
mod write_stream;

pub use read_answer::read_answer;
pub(crate) use read_answer::read_usage;
pub use read_request::read_request;
pub use read_stream::ChatStreamReader;
pub use write_answer::write_answer;
pub use write_request::{ChatTarget, write_request};
pub use write_stream::ChatStreamWriter;

#[cfg(test)]
mod tests;
