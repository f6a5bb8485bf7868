//! Server-sent events: an incremental decoder as the standard says, and a writer.

mod decoder;
mod splitter;
#[cfg(test)]
mod tests;
mod writer;

pub use decoder::{Decoder, Frame, MAX_EVENT_BYTES, SseError};
pub(crate) use decoder::{Piece, frame_data};
pub use writer::{comment, data_event, named_event};
