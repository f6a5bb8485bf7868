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
pub(crate) use write_blocks::{object_of, usable_id};
pub use write_request::{AnthropicTarget, write_request};
pub(crate) use write_request::{is_above_one, is_advice, is_nothing};
pub use write_stream::AnthropicStreamWriter;

#[cfg(test)]
mod tests;
