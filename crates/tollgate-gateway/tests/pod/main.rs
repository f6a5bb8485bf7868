//! One pod over real sockets: a policy made by hand, the in-process ledger, the mock provider.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod answers;
mod background;
mod beginnings;
mod clouds;
mod dialects;
mod drops;
mod endings;
mod faults;
mod harness;
mod idempotency;
mod limits;
mod long_streams;
mod lost_attempts;
mod media;
mod objects;
mod openai_document;
mod other_paths;
mod passthrough;
mod refused_heads;
mod response_calls;
mod responses;
mod rules;
mod slices;
mod vendor_errors;
mod vendors;
