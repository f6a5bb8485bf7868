//! `cargo xtask simulate`: the fault simulation of the ledger in full; and the faulty ledgers that its tests must
//! notice, which are built apart from everything else.

use std::path::Path;
use std::process::Command;

use crate::{Outcome, process, setup, suite};

pub(crate) const HELP: &str = "\
cargo xtask simulate [arguments for tollgate-simulate]

Builds and runs the fault simulation of the ledger: 200 seeds of 2,500 steps in process, and some on Redis. A
violation is printed with its seed, its step and the steps before it, and makes the command fail.

  --seeds <N>        seeds in process [default: 200]
  --redis-seeds <N>  seeds on Redis [default: 20]
  --slab-seeds <N>, --redis-slab-seeds <N>  the same with every pod behind slabs [default: 200, 10]
  --steps <N>        steps of each [default: 2500]
  --seed <S>         only this seed, on each of these of which some are asked for

Examples:
  cargo xtask simulate
  cargo xtask simulate --seed 17
  cargo xtask simulate --seeds 2000 --redis-seeds 0";

/// The tests that switch faults on, in each package: with the feature that makes them possible.
const FAULTY_TESTS: &[&[&str]] = &[
    &["-p", "tollgate-tests", "--features", "mutants", "--test", "mutants"],
    &["-p", "tollgate-ledger", "--features", "mutants", "-E", "binary(mutants) | test(/^mutants::/)"],
];

pub(crate) fn run(root: &Path, arguments: &[String]) -> Outcome {
    setup::for_tests(root)?;
    let build = ["build", "--locked", "-p", "tollgate-tests", "--bin", "tollgate-simulate"];
    process::run(process::cargo(root).args(build))?;
    let program = suite::target_directory(root)?.join("debug/tollgate-simulate");
    let own_arguments = arguments.strip_prefix(&["--".to_owned()]).unwrap_or(arguments);
    process::run(Command::new(program).args(own_arguments).current_dir(root))?;
    Ok(true)
}

/// Runs the tests that must notice each fault. Apart from the others: the product refuses to be built with the
/// feature, and one build of the workspace has one set of features.
pub(crate) fn test_faults(root: &Path) -> anyhow::Result<()> {
    for arguments in FAULTY_TESTS {
        process::run(process::cargo(root).args(["nextest", "run", "--locked"]).args(*arguments))?;
    }
    Ok(())
}
