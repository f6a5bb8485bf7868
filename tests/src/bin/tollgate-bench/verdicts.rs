//! How the figures stand against what the milestones ask for.

use crate::report::{TargetFigures, median, ratio};
use crate::scenario::Scenario;

/// Factors over the floor in process, with Redis and per chunk.
const DUE_IN_PROCESS: f64 = 2.0;
const DUE_REDIS: f64 = 3.0;
/// Of what is due in one process.
const DUE_SLABS: f64 = 1.3;
const DUE_CHUNK: f64 = 2.0;
/// Factor over the floor for large bodies, beside one scan.
const DUE_LARGE: f64 = 1.3;
/// Factor of a translated request over one that is not.
const DUE_TRANSLATED: f64 = 1.5;
/// A gateway's idle memory, and the time from start to ready.
const DUE_IDLE_MIB: f64 = 40.0;
const DUE_START_MS: f64 = 500.0;

/// One sentence per rule.
pub(crate) fn against_due(
    figures: &TargetFigures,
    floor: &TargetFigures,
    scans: &[(Scenario, f64)],
) -> Vec<String> {
    if !figures.name.starts_with("tollgate") {
        return Vec::new();
    }
    let due_cpu = match (figures.has_redis, figures.has_slabs) {
        (_, true) => DUE_SLABS * DUE_IN_PROCESS,
        (true, false) => DUE_REDIS,
        (false, false) => DUE_IN_PROCESS,
    };
    let over_floor = |scenario| ratio(figures.cpu_us(scenario), floor.cpu_us(scenario));
    let translated = ratio(figures.cpu_us(Scenario::Translated), figures.cpu_us(Scenario::Small));
    let start_ms = figures.start_to_ready_ms.unwrap_or(0.0);
    let mut rules = vec![
        ("× floor at 1 KiB", over_floor(Scenario::Small), due_cpu),
        ("× floor per chunk", over_floor(Scenario::Stream), DUE_CHUNK),
        ("× itself at 1 KiB when translated", translated, DUE_TRANSLATED),
        ("ms from start to ready", start_ms, DUE_START_MS),
    ];
    if figures.has_redis {
        // of a gateway: one process for all has the control plane and its database in it
        rules.push(("MiB idle", figures.idle_mib, DUE_IDLE_MIB));
    } else {
        let beside_scan = |scenario| beside_scan(figures, floor, scans, scenario);
        rules.push(("× floor at 32 KiB beside one scan", beside_scan(Scenario::Large), DUE_LARGE));
        rules.push(("× floor at 1 MiB beside one scan", beside_scan(Scenario::Huge), DUE_LARGE));
    }
    let line = |(what, own, due): (&str, f64, f64)| {
        let verdict = if own <= due { "meets" } else { "MISSES" };
        format!("{own:.2} {what} {verdict} the {due} that are due")
    };
    rules.into_iter().map(line).collect()
}

/// The factor over the floor of what is left without one pass of the scanner.
fn beside_scan(
    figures: &TargetFigures,
    floor: &TargetFigures,
    scans: &[(Scenario, f64)],
    scenario: Scenario,
) -> f64 {
    let scan_us = scans.iter().find(|(scanned, _)| *scanned == scenario).map_or(0.0, |(_, us)| *us);
    ratio(figures.cpu_us(scenario), floor.cpu_us(scenario)) - scan_us / median(floor.cpu_us(scenario))
}
