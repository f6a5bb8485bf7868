//! One pod over real sockets: a policy made by hand, the in-process ledger, the mock provider.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod answers;
mod clouds;
mod dialects;
mod endings;
mod faults;
mod harness;
mod idempotency;
mod limits;
mod media;
mod objects;
mod other_paths;
mod passthrough;
mod rules;
mod slices;
mod vendors;
