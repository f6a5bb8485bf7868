//! Cohere's chat (version 2), written from and read into the neutral types: providers speak it, clients do
//! not.

mod read_answer;
mod read_stream;
mod write_request;

pub use read_answer::read_answer;
pub use read_stream::CohereStreamReader;
pub use write_request::{CohereTarget, write_request};

#[cfg(test)]
mod tests;
