//! Random commands against a reference model, on every backend: the same answers, the same balances, the same holds
//! after every step, and never `settled + held > limit` by the ledger's own doing.
//!
//! [`model`] is what a ledger is, in plain sums and maps; [`command`] what is asked of it; [`machine`] asks both. A
//! failure is shrunk and printed with its seed. Time: the ledger in process has a manual clock, which commands move;
//! in Redis no command depends on it (leases end at once or never).

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod command;
mod killed;
mod machine;
mod model;
mod request;

use machine::{Backend, explore};

/// Sequences per seed, and commands per sequence; sequences in Redis cost a round trip or five per command.
const N_SEQUENCES: u32 = 60;
const N_COMMANDS: usize = 120;
const N_SEQUENCES_IN_REDIS: u32 = 24;
const N_COMMANDS_IN_REDIS: usize = 60;

#[test]
fn in_process() {
    for seed in 1..=10 {
        if let Err(failure) = explore(&Backend::memory(), seed, N_SEQUENCES, N_COMMANDS) {
            panic!("{failure}");
        }
    }
}

#[test]
fn in_process_with_a_log() {
    for seed in 1..=10 {
        if let Err(failure) = explore(&Backend::logged(), seed, N_SEQUENCES, N_COMMANDS) {
            panic!("{failure}");
        }
    }
}

#[test]
fn in_redis() {
    let backend = Backend::redis();
    for seed in 1..=2 {
        if let Err(failure) = explore(&backend, seed, N_SEQUENCES_IN_REDIS, N_COMMANDS_IN_REDIS) {
            panic!("{failure}");
        }
    }
}

#[test]
fn behind_slabs_in_process() {
    for seed in 11..=16 {
        if let Err(failure) = explore(&Backend::memory().with_slabs(), seed, N_SEQUENCES, N_COMMANDS) {
            panic!("{failure}");
        }
    }
}

#[test]
fn behind_slabs_in_redis() {
    let backend = Backend::redis().with_slabs();
    if let Err(failure) = explore(&backend, 2, N_SEQUENCES_IN_REDIS, N_COMMANDS_IN_REDIS) {
        panic!("{failure}");
    }
}

#[cfg(feature = "mutants")]
mod mutants {
    //! The proof of the proof: a ledger with one fault does not pass.

    use std::sync::Mutex;

    use tollgate_ledger::mutants::{Mutant, activate};

    use crate::machine::{Backend, explore};

    /// The switch is one for the whole process: tests that share it take turns.
    static SWITCH: Mutex<()> = Mutex::new(());

    #[test]
    fn each_is_caught_in_process() {
        let _turn = SWITCH.lock();
        for mutant in Mutant::ALL {
            activate(Some(mutant));
            let found = (1..=5).find_map(|seed| {
                explore(&Backend::memory(), seed, crate::N_SEQUENCES, crate::N_COMMANDS).err()
            });
            let behind_slabs = (1..=5).find_map(|seed| {
                explore(&Backend::memory().with_slabs(), seed, crate::N_SEQUENCES, crate::N_COMMANDS).err()
            });
            activate(None);
            assert!(behind_slabs.is_some(), "{mutant:?} was not noticed behind slabs");
            let found = found.unwrap_or_else(|| panic!("{mutant:?} was not noticed"));
            println!("{mutant:?}: {}", found.lines().next().unwrap_or_default());
        }
    }
}
