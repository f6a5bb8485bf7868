//! One dialect's requests, answers and streams as another's: what a gateway calls where the two sides differ.

mod answers;
mod cut;
mod passing;
mod relay;
mod requests;
mod streams;

pub use answers::{AnswerContext, read_answer, write_answer};
pub use relay::{RelayContext, TranslatingRelay};
pub use requests::{
    Asked, Incoming, ProviderRequest, RequestTarget, pass_request, read_chat, read_request, write_request,
};
pub use streams::StreamReader;

#[cfg(test)]
mod tests;
