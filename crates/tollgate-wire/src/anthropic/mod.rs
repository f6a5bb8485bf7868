//! Anthropic's Messages, read into and written from the neutral types.

mod blocks;
pub mod error;
mod read_answer;
mod read_request;
mod read_stream;
mod write_answer;
mod write_blocks;
mod write_request;
mod write_stream;

pub use read_answer::read_answer;
pub use read_request::read_request;
pub use read_stream::AnthropicStreamReader;
pub use write_answer::write_answer;
pub use write_request::{AnthropicTarget, write_request};
pub use write_stream::AnthropicStreamWriter;

#[cfg(test)]
mod tests;
