//! Google's generateContent, read into and written from the neutral types. Clients write names in both
//! `camelCase` and `snake_case`; we write the former.

pub mod error;
mod parts;
mod read_answer;
mod read_request;
mod read_stream;
mod usage;
mod write_answer;
mod write_parts;
mod write_request;
mod write_stream;

pub use read_answer::read_answer;
pub use read_request::read_request;
pub use read_stream::GeminiStreamReader;
pub use usage::read_usage;
pub use write_answer::write_answer;
pub use write_request::{GeminiTarget, write_request};
pub use write_stream::GeminiStreamWriter;

#[cfg(test)]
mod tests;
