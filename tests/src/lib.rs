//! End-to-end tests, and the fault simulation of the ledger.

pub mod simulation;
