//! The admin API over a real socket, on SQLite in memory and the ledger in process.

#![allow(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

mod conformance;
mod document;
mod harness;
mod idempotency;
mod lifecycle;
mod lists;
mod refusals;
mod reports;
mod secrets;
