//! Telemetry from outside: what a log file, a scraper and a trace collector get.

#![allow(clippy::unwrap_used, reason = "a helper that fails, fails its test")]
mod collector;
mod event;
mod logs;
mod traces;
