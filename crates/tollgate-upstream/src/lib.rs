//! HTTP to the providers: one pooled client, its time limits and errors, the header allow-lists, and the
//! built-in `demo` provider that answers without a network; and [`OutboundClient`], for messages to addresses that
//! must be checked.

mod body;
mod client;
mod connector;
pub mod demo;
mod error;
pub mod headers;
mod outbound;
mod plain;

pub use body::UpstreamBody;
pub use client::{UpstreamClient, UpstreamConfig, UpstreamRequest};
pub use error::{ConfigError, UpstreamError, UpstreamErrorKind};
pub use outbound::OutboundClient;

#[cfg(test)]
mod tests;
