//! The proof of the proof: with each of six faults in the ledger the simulation must find that something is wrong,
//! within a few seeds, in process and in Redis.
//!
//! Only with the feature `mutants`: `cargo xtask test` runs it apart from the others, because the product refuses to
//! be built with it.

#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "a failure must name its fault, a success how it was found"
)]

use std::sync::Mutex;

use tollgate_ledger::mutants::{Mutant, activate};
use tollgate_tests::simulation::{LedgerKind, Plan, SHOWN_LINES, run};

const N_PODS: usize = 4;
const N_STEPS: u32 = 2_500;
/// Each is found in the first seeds; a fault that needs more would pass unnoticed too often.
const MAX_SEEDS_IN_PROCESS: u64 = 5;
const MAX_SEEDS_IN_REDIS: u64 = 3;

/// The switch is one for the whole process: tests that share it take turns.
static SWITCH: Mutex<()> = Mutex::new(());

macro_rules! caught {
    ($($name:ident: $mutant:ident,)*) => {
        mod in_process {
            $(#[test]
            fn $name() {
                super::is_caught(super::Mutant::$mutant, super::LedgerKind::Memory, super::MAX_SEEDS_IN_PROCESS);
            })*
        }
        mod in_redis {
            $(#[test]
            fn $name() {
                super::is_caught(super::Mutant::$mutant, super::LedgerKind::Redis, super::MAX_SEEDS_IN_REDIS);
            })*
        }
    };
}

caught!(
    missing_is_full: MissingIsFull,
    expired_is_released: ExpiredIsReleased,
    first_level_only: FirstLevelOnly,
    holds_ignored: HoldsIgnored,
    no_tombstone: NoTombstone,
    no_fence: NoFence,
);

fn is_caught(mutant: Mutant, ledger: LedgerKind, max_seeds: u64) {
    let _turn = SWITCH.lock();
    activate(Some(mutant));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime of one thread can always be made");
    let found = (1..=max_seeds).find_map(|seed| {
        let plan = Plan { seed, n_steps: N_STEPS, n_pods: N_PODS, ledger, n_shown_lines: SHOWN_LINES };
        runtime.block_on(run(plan)).err()
    });
    activate(None);
    let found = found.unwrap_or_else(|| panic!("{mutant:?} was not noticed in {max_seeds} seeds"));
    assert!(found.is_violation, "{mutant:?} was not noticed: {found}");
    println!("{mutant:?}: seed {} step {}: {}", found.plan.seed, found.step, found.reason);
}

#[test]
fn every_mutant_has_its_test() {
    assert_eq!(Mutant::ALL.len(), 6);
}
