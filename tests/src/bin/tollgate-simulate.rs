//! `tollgate-simulate`: the fault simulation of the ledger in full. `cargo xtask simulate` builds and runs it.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks to a terminal")]

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use clap::Parser;
use tollgate_tests::simulation::{FailedRun, Figures, LedgerKind, Plan, SHOWN_LINES, run};

/// Runs the ledger through everything that can go wrong, by seed
#[derive(Debug, Parser)]
#[command(
    name = "tollgate-simulate",
    after_help = "Examples:\n  cargo xtask simulate\n  cargo xtask simulate --seed 17\n  \
                  cargo xtask simulate --seeds 0 --redis-seeds 200"
)]
struct Arguments {
    /// How many seeds are run against the ledger in process
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// How many are run against Redis, which takes some hundred times as long
    #[arg(long, default_value_t = 20)]
    redis_seeds: u64,
    /// How many are run against the ledger in process with every pod behind slabs
    #[arg(long, default_value_t = 200)]
    slab_seeds: u64,
    /// How many are run against Redis with every pod behind slabs
    #[arg(long, default_value_t = 10)]
    redis_slab_seeds: u64,
    /// Steps of each run before its quiet end
    #[arg(long, default_value_t = 2_500)]
    steps: u32,
    /// Gateways
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=64))]
    pods: u64,
    /// Only this seed, on every ledger of which seeds are asked for
    #[arg(long)]
    seed: Option<u64>,
    /// Of a run that fails, so many of the last lines are shown
    #[arg(long, default_value_t = SHOWN_LINES)]
    lines: usize,
    /// Runs at the same time
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=64))]
    jobs: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let all = [
        (LedgerKind::Memory, arguments.seeds),
        (LedgerKind::MemorySlabs, arguments.slab_seeds),
        (LedgerKind::Redis, arguments.redis_seeds),
        (LedgerKind::RedisSlabs, arguments.redis_slab_seeds),
    ];
    let mut is_well = true;
    // A kind of which no seeds are asked for is left out, also where one seed is.
    for (ledger, n_seeds) in all {
        let seeds: Vec<u64> = match arguments.seed {
            Some(seed) if n_seeds > 0 => vec![seed],
            _ => (1..=n_seeds).collect(),
        };
        if !seeds.is_empty() {
            is_well &= run_all(&arguments, ledger, &seeds);
        }
    }
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs all seeds, some at a time, and prints what came of it; whether all is well.
fn run_all(arguments: &Arguments, ledger: LedgerKind, seeds: &[u64]) -> bool {
    let started = Instant::now();
    let next = AtomicUsize::new(0);
    let outcomes: Mutex<(Figures, Vec<Box<FailedRun>>)> = Mutex::default();
    let work = || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
            let n_pods = usize::try_from(arguments.pods).unwrap_or(1);
            let Arguments { steps: n_steps, lines: n_shown_lines, .. } = *arguments;
            let plan = Plan { seed: *seed, n_steps, n_pods, ledger, n_shown_lines };
            let outcome = runtime.block_on(run(plan));
            let Ok(mut outcomes) = outcomes.lock() else { return };
            match outcome {
                Ok(figures) => outcomes.0 = outcomes.0.plus(figures),
                Err(failed) => {
                    eprintln!("{failed}");
                    outcomes.1.push(failed);
                }
            }
        }
    };
    std::thread::scope(|scope| (0..arguments.jobs).for_each(|_| drop(scope.spawn(work))));
    let (figures, failed) = outcomes.into_inner().unwrap_or_default();
    let n_violations = failed.iter().filter(|failed| failed.is_violation).count();
    println!(
        "{ledger:?}: {} seeds, {} violations, {} broken off, {} s",
        seeds.len(),
        n_violations,
        failed.len() - n_violations,
        started.elapsed().as_secs()
    );
    println!("{figures}");
    failed.is_empty()
}
