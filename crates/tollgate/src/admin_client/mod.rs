//! The admin API from a shell: one table of resources gives the commands, their requests and their output.

pub(crate) mod command;
mod http;
mod output;
mod request;
pub(crate) mod resources;
pub(crate) mod table;
mod verbs;

#[cfg(test)]
mod tests;

pub(crate) use http::{AdminClient, AdminRequest};
pub(crate) use output::call;
