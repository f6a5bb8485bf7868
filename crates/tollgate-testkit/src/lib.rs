//! What Tollgate's tests and benchmarks stand on: a private PostgreSQL and Redis per test, a mock
//! provider whose every byte is scripted, a TCP proxy with faults, child processes, one polling helper
//! and a small HTTP client.
//!
//! Everything listens on 127.0.0.1 with a port of its own and ends with the test, also when the test
//! process is killed. Nothing here skips: what is missing on the machine is an error that says what to
//! install. This crate depends on no other crate of the workspace and is a dev-dependency only.
//!
//! A test that needs to wait says what for: a [`mock_provider::Gate`] or one of the `wait_for_*` methods
//! where the kit knows the event, [`wait::eventually`] where only polling can tell.

pub mod fault_proxy;
pub mod http;
pub mod mock_provider;
pub mod postgres;
pub mod process;
pub mod redis;
pub mod vendors;
pub mod wait;

mod ports;
mod server_process;
mod server_thread;
mod watchdog;
