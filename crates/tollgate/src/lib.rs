//! Configuration, wiring and the subcommands of the `tollgate` binary.

pub mod cli;
pub mod config;
pub mod run;

mod admin_client;
