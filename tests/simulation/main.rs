//! The fault simulation at a size that fits into every run of the tests; `cargo xtask simulate` runs it in full.

#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "a failure must show its seed, a success its figures"
)]

use tollgate_tests::simulation::{Figures, LedgerKind, Plan, SHOWN_LINES, run};

const N_PODS: usize = 4;
const N_SEEDS_IN_PROCESS: u64 = 48;
const N_SEEDS_BEHIND_SLABS: u64 = 16;

#[tokio::test]
async fn in_process() {
    many(LedgerKind::Memory, 1..=N_SEEDS_IN_PROCESS, 2_500).await;
}

#[tokio::test]
async fn in_redis() {
    many(LedgerKind::Redis, 1..=6, 800).await;
}

#[tokio::test]
async fn behind_slabs_in_process() {
    let figures = many(LedgerKind::MemorySlabs, 1..=N_SEEDS_BEHIND_SLABS, 2_500).await;
    assert!(figures.admitted_locally > figures.steps / 50, "{figures}");
}

/// Seeds beyond those above at which something was wrong once.
#[tokio::test]
async fn behind_slabs_in_process_where_it_failed_once() {
    for seed in [21, 36, 42, 67, 123, 178, 198] {
        many(LedgerKind::MemorySlabs, seed..=seed, 2_500).await;
    }
}

#[tokio::test]
async fn behind_slabs_in_redis() {
    let figures = many(LedgerKind::RedisSlabs, 1..=3, 600).await;
    assert!(figures.admitted_locally > figures.steps / 50, "{figures}");
}

async fn many(ledger: LedgerKind, seeds: std::ops::RangeInclusive<u64>, n_steps: u32) -> Figures {
    let mut figures = Figures::default();
    for seed in seeds {
        match run(Plan { seed, n_steps, n_pods: N_PODS, ledger, n_shown_lines: SHOWN_LINES }).await {
            Ok(more) => figures = figures.plus(more),
            Err(failed) => panic!("{failed}"),
        }
    }
    println!("{ledger:?}:\n{figures}");
    figures
}
