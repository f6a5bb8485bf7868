//! What one pass of the scanner over a request's body costs: what a gateway may add to the floor however large
//! bodies are, as it must know what it sends.

use std::hint::black_box;
use std::time::Instant;

use anyhow::Context as _;
use tollgate_domain::Surface;
use tollgate_wire::openai::request::skim;

use crate::scenario::Scenario;

/// Bytes that are scanned in one batch, of which the best is taken: other work on the machine only adds.
const BATCH_BYTES: usize = 16 << 20;
const N_BATCHES: usize = 9;

/// Microseconds per body, for the sizes in which the floor is the measure.
pub(crate) fn time_each() -> anyhow::Result<Vec<(Scenario, f64)>> {
    [Scenario::Small, Scenario::Large, Scenario::Huge]
        .into_iter()
        .map(|scenario| Ok((scenario, time(scenario)?)))
        .collect()
}

fn time(scenario: Scenario) -> anyhow::Result<f64> {
    let body = scenario.body();
    skim(Surface::Chat, body.as_bytes()).context("a body of the benchmark is refused")?;
    let n_bodies = BATCH_BYTES / body.len();
    let mut best = f64::INFINITY;
    for _ in 0..N_BATCHES {
        let started = Instant::now();
        for _ in 0..n_bodies {
            let _ = black_box(skim(Surface::Chat, black_box(body.as_bytes())));
        }
        best = best.min(started.elapsed().as_secs_f64() * 1e6 / n_bodies as f64);
    }
    Ok(best)
}
