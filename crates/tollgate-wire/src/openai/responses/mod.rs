//! Responses, read into and written from the neutral types.

mod echo;
mod items;
mod native;
mod read_answer;
mod read_request;
mod read_stream;
mod relay;
mod write_answer;
mod write_items;
mod write_request;
mod write_stream;

pub use echo::ResponseEcho;
pub use native::{NameOf, NativeEdits, NativeFacts, ResponseNames, pass_request};
pub use read_answer::read_answer;
pub use read_request::read_request;
pub use read_stream::ResponsesStreamReader;
pub use relay::{MAX_RESPONSE_EVENT_BYTES, ResponsesRelay};
pub use write_answer::write_answer;
pub use write_request::{ResponsesTarget, write_request};
pub use write_stream::{ResponsesStreamWriter, encode_error_event};

#[cfg(test)]
mod tests;
