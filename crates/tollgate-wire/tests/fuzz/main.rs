//! Every parser of the wire against mutated input: no panic, no overflow, and what must agree does.
//!
//! The corpora are the cases of `tests/translation` and the files in `tests/fuzz/corpus/<target>`, where an input
//! that once failed is kept. As an ordinary test each target replays its corpus and runs
//! [`EXECUTIONS`] mutations of it; the long run is
//! `CARGO_PROFILE_TEST_OPT_LEVEL=3 TOLLGATE_FUZZ_EXECUTIONS=10000000 cargo nextest run -p tollgate-wire --test fuzz`,
//! with another `TOLLGATE_FUZZ_SEED` each time. Mutations are drawn without feedback of coverage.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod corpus;
mod mutate;
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};

use mutate::{Mutator, Random};

/// Mutations of each target in an ordinary run: a second or two in all.
const EXECUTIONS: u64 = 2_000;

/// Runs a target over its corpus, and over mutations of it.
fn fuzz(name: &str, seeds: &[Vec<u8>], target: impl Fn(&[u8])) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seed = number("TOLLGATE_FUZZ_SEED").unwrap_or(1);
    let n_executions = number("TOLLGATE_FUZZ_EXECUTIONS").unwrap_or(EXECUTIONS);
    assert!(!seeds.is_empty(), "{name} has no corpus");
    let run = |input: &[u8], which: &str| {
        if catch_unwind(AssertUnwindSafe(|| target(input))).is_err() {
            panic!("{name}, {which}: {} of {} bytes: {}", seed, input.len(), input.escape_ascii());
        }
    };
    for (number, input) in seeds.iter().enumerate() {
        run(input, &format!("corpus {number}"));
    }
    let mut mutator = Mutator::new(Random::new(
        seed ^ name.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte))),
    ));
    for number in 0..n_executions {
        let input = mutator.input(seeds);
        run(&input, &format!("execution {number}"));
    }
}
