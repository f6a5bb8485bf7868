//! Bedrock's Converse, written from and read into the neutral types: providers speak it, clients do not.

pub mod event_stream;
mod read_answer;
mod read_stream;
mod write_blocks;
mod write_request;

pub use read_answer::read_answer;
pub use read_stream::BedrockStreamReader;
pub use write_request::{BedrockTarget, write_request};

#[cfg(test)]
mod tests;
