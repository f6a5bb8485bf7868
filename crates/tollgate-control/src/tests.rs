//! Use cases, configuration, the policy channel and the journal writer over SQLite in memory and the
//! in-process ledger; over Redis where its loss is the matter.

mod alerts;
mod app;
mod channel;
mod clouds;
mod config;
mod credits;
mod drift;
mod feed;
mod harness;
mod journal;
mod limits;
mod margins;
mod money;
mod noted_holds;
mod pushes;
mod recovery;
