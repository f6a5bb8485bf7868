//! Use cases, configuration, the policy channel and the journal writer over SQLite in memory and the
//! in-process ledger.

mod app;
mod channel;
mod config;
mod credits;
mod feed;
mod harness;
mod journal;
mod margins;
mod money;
mod pushes;
