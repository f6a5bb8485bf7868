//! `tollgate-bench`: what Tollgate costs beside a bare pass-through, on this machine, in one run.
//!
//! Every server is a process of its own. The one under test has core 0 to itself; the mock provider, the
//! databases and the load generator (this process) share core 1. Targets take turns in rounds and every
//! figure is the median of the rounds, so that a noisy machine troubles all of them alike.
//! `tests/load/README.md` says how to read the table.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

mod client;
mod cores;
mod floor;
mod load;
mod measure;
mod mock;
mod report;
mod scan;
mod scenario;
mod system_calls;
mod target;
mod tollgate_processes;
mod verdicts;

/// The product's allocator, so that the floor differs from it in nothing but the work done.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures Tollgate against a bare pass-through of the same run.
#[derive(Debug, Parser)]
#[command(
    name = "tollgate-bench",
    after_help = "Examples:\n  cargo xtask bench\n  cargo xtask bench -- --quick --only inprocess\n  \
                  cargo xtask bench -- --rounds 21 --json target/bench.json"
)]
struct Arguments {
    /// Two rounds of one-second slices: a smoke test, not a measurement
    #[arg(long)]
    quick: bool,
    /// How often every target is measured; figures are medians, so many short rounds bear more noise
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Length of one measured slice
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Only this target beside the floor (`floor`: two floors, which shows the machine's noise)
    #[arg(long, value_enum)]
    only: Option<Only>,
    /// Counts system calls per request too, in a slice of their own under strace
    #[arg(long)]
    syscalls: bool,
    /// Writes every figure of every round to this file
    #[arg(long)]
    json: Option<PathBuf>,
    #[command(subcommand)]
    server: Option<Server>,
}

/// Which targets are measured beside the floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Only {
    /// `tollgate all`: SQLite and the in-process ledger.
    Inprocess,
    /// `tollgate control` and `tollgate gateway` with Postgres and Redis.
    Redis,
    /// The same with slabs.
    RedisSlabs,
    /// A second floor.
    Floor,
}

/// The servers that the benchmark starts from its own binary.
#[derive(Debug, Subcommand)]
enum Server {
    /// A fixed and fast OpenAI-compatible provider.
    #[command(hide = true)]
    Mock {
        /// Where to listen on 127.0.0.1; 0 picks a free port.
        #[arg(long, default_value_t = 0)]
        port: u16,
    },
    /// A pass-through proxy that does nothing else.
    #[command(hide = true)]
    Floor {
        /// Where to listen on 127.0.0.1; 0 picks a free port.
        #[arg(long, default_value_t = 0)]
        port: u16,
        /// Where to send everything: `host:port`.
        #[arg(long)]
        upstream: String,
    },
}

/// What a run consists of.
#[derive(Clone, Debug)]
struct Plan {
    rounds: u32,
    slice: Duration,
    only: Option<Only>,
    counts_system_calls: bool,
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.server {
        Some(Server::Mock { port }) => mock::run(port),
        Some(Server::Floor { port, upstream }) => floor::run(port, &upstream),
        None => {
            let plan = Plan {
                rounds: if arguments.quick { 2 } else { arguments.rounds },
                slice: Duration::from_secs(if arguments.quick { 1 } else { arguments.seconds }),
                only: arguments.only,
                counts_system_calls: arguments.syscalls,
                json: arguments.json,
            };
            measure::run(&plan)
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::say(&format!("tollgate-bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
