//! HTTP to the providers: one pooled client, its time limits and errors, the header allow-lists, and the
//! built-in `demo` provider that answers without a network; [`OutboundClient`], for messages to addresses that
//! must be checked; and how Amazon's requests are signed ([`sigv4`]) and Google's tokens got ([`GoogleTokens`]).

mod body;
mod client;
mod connector;
pub mod demo;
mod error;
mod google_tokens;
pub mod headers;
mod outbound;
mod plain;
mod request_body;
pub mod sigv4;

pub use body::UpstreamBody;
pub use client::{UpstreamClient, UpstreamConfig, UpstreamRequest};
pub use error::{ConfigError, UpstreamError, UpstreamErrorKind};
pub use google_tokens::{GoogleTokens, TokenAccount, TokenError};
pub use outbound::OutboundClient;
pub use request_body::RequestBody;

#[cfg(test)]
mod tests;
