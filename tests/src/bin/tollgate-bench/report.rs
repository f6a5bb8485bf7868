//! Figures, their medians, and how they are shown.

use std::collections::BTreeMap;
use std::io::Write as _;

use serde_json::{Value, json};

use crate::scenario::{N_CHUNKS, Scenario};
use crate::verdicts::against_due;

/// One figure, once per round.
pub(crate) type Rounds = Vec<f64>;

/// Everything measured of one target.
#[derive(Clone, Debug)]
pub(crate) struct TargetFigures {
    pub(crate) name: &'static str,
    pub(crate) has_redis: bool,
    pub(crate) has_slabs: bool,
    pub(crate) scenarios: BTreeMap<Scenario, ScenarioFigures>,
    pub(crate) added_p50_us: Rounds,
    pub(crate) added_p99_us: Rounds,
    pub(crate) idle_mib: f64,
    pub(crate) loaded_mib: f64,
    pub(crate) longest_settle_ms: f64,
    pub(crate) start_to_ready_ms: Option<f64>,
    pub(crate) system_calls: Option<f64>,
}

impl TargetFigures {
    /// Nothing measured yet.
    pub(crate) fn new(name: &'static str, has_redis: bool, has_slabs: bool) -> Self {
        Self {
            name,
            has_redis,
            has_slabs,
            scenarios: BTreeMap::new(),
            added_p50_us: Rounds::new(),
            added_p99_us: Rounds::new(),
            idle_mib: 0.0,
            loaded_mib: 0.0,
            longest_settle_ms: 0.0,
            start_to_ready_ms: None,
            system_calls: None,
        }
    }

    /// CPU microseconds per request.
    pub(crate) fn cpu_us(&self, scenario: Scenario) -> &[f64] {
        self.of(scenario).map_or(&[], |figures| &figures.cpu_us)
    }

    fn of(&self, scenario: Scenario) -> Option<&ScenarioFigures> {
        self.scenarios.get(&scenario)
    }

    fn per_second(&self, scenario: Scenario) -> f64 {
        self.of(scenario).map_or(0.0, |figures| median(&figures.per_second))
    }
}

/// Everything measured of one target under one kind of load, per request.
#[derive(Clone, Debug, Default)]
pub(crate) struct ScenarioFigures {
    pub(crate) cpu_us: Rounds,
    /// The kernel's part of it.
    pub(crate) kernel_us: Rounds,
    pub(crate) redis_cpu_us: Rounds,
    pub(crate) per_second: Rounds,
}

/// The middle of the rounds; of an even number the mean of the two in the middle.
pub(crate) fn median(rounds: &[f64]) -> f64 {
    let mut sorted = rounds.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// The ratio of each one's best round: other work on the machine can only add to a CPU figure.
fn ratio_of_best(own: &[f64], floor: &[f64]) -> f64 {
    let best = |rounds: &[f64]| rounds.iter().copied().fold(f64::INFINITY, f64::min);
    best(own) / best(floor)
}

/// The median of the ratios within each round: what troubled a round troubled both.
pub(crate) fn ratio(own: &[f64], floor: &[f64]) -> f64 {
    let ratios: Rounds = own.iter().zip(floor).map(|(own, floor)| own / floor).collect();
    median(&ratios)
}

/// Progress and complaints: to standard error, so that standard output holds the table alone.
pub(crate) fn say(line: &str) {
    // Nobody to tell when standard error is closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Prints the table, then how it stands against what is due.
pub(crate) fn print_table(measured: &[TargetFigures], scans: &[(Scenario, f64)]) -> anyhow::Result<()> {
    let Some(floor) = measured.first() else { return Ok(()) };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", headings())?;
    for figures in measured {
        writeln!(out, "{}", row(figures, floor))?;
    }
    for (scenario, us) in scans {
        writeln!(out, "one scan of {}: {us:.2} µs", scenario.name())?;
    }
    for figures in measured {
        for (scenario, of_scenario) in &figures.scenarios {
            let (all, kernel) = (median(&of_scenario.cpu_us), median(&of_scenario.kernel_us));
            let (name, scenario, user) = (figures.name, scenario.name(), all - kernel);
            writeln!(
                out,
                "{name}: of {all:.1} µs at {scenario} {user:.1} its own and {kernel:.1} the kernel's"
            )?;
        }
        if let Some(n_calls) = figures.system_calls {
            writeln!(out, "{}: {n_calls:.1} system calls per request", figures.name)?;
        }
    }
    for figures in &measured[1..] {
        let small = figures.of(Scenario::Small).filter(|_| figures.has_redis);
        if let Some(small) = small {
            let redis = median(&small.redis_cpu_us);
            writeln!(out, "{}: Redis itself used {redis:.1} µs per request", figures.name)?;
        }
        if let Some(start) = figures.start_to_ready_ms {
            writeln!(out, "{}: {start:.0} ms from start to ready", figures.name)?;
        }
        let best = ratio_of_best(figures.cpu_us(Scenario::Small), floor.cpu_us(Scenario::Small));
        writeln!(out, "{}: {best:.2} × floor at 1 KiB, best round against best round", figures.name)?;
        writeln!(out, "{}: at rest at most {:.0} ms after a slice", figures.name, figures.longest_settle_ms)?;
        for line in against_due(figures, floor, scans) {
            writeln!(out, "{}: {line}", figures.name)?;
        }
    }
    Ok(())
}

fn headings() -> String {
    let columns = [
        "CPU µs 1 KiB",
        "× floor",
        "CPU µs 32 KiB",
        "× floor",
        "CPU µs 1 MiB",
        "× floor",
        "CPU µs transl.",
        "× 1 KiB",
        "CPU µs/chunk",
        "× floor",
        "req/s 1 KiB",
        "req/s 32 KiB",
        "added p50 µs",
        "added p99 µs",
        "MiB idle",
        "MiB load",
    ];
    let cells: Vec<String> = columns.iter().map(|column| format!("{column:>15}")).collect();
    format!("{:<26}{}", "", cells.concat())
}

fn row(figures: &TargetFigures, floor: &TargetFigures) -> String {
    use Scenario::{Huge, Large, Small, Stream, Translated};
    let cpu_us = |scenario| median(figures.cpu_us(scenario));
    let over_floor = |scenario| ratio(figures.cpu_us(scenario), floor.cpu_us(scenario));
    let cells = [
        format!("{:.1}", cpu_us(Small)),
        format!("{:.2}", over_floor(Small)),
        format!("{:.1}", cpu_us(Large)),
        format!("{:.2}", over_floor(Large)),
        format!("{:.0}", cpu_us(Huge)),
        format!("{:.2}", over_floor(Huge)),
        format!("{:.1}", cpu_us(Translated)),
        format!("{:.2}", ratio(figures.cpu_us(Translated), figures.cpu_us(Small))),
        format!("{:.1}", cpu_us(Stream) / N_CHUNKS as f64),
        format!("{:.2}", over_floor(Stream)),
        format!("{:.0}", figures.per_second(Small)),
        format!("{:.0}", figures.per_second(Large)),
        format!("{:.0}", median(&figures.added_p50_us)),
        format!("{:.0}", median(&figures.added_p99_us)),
        format!("{:.1}", figures.idle_mib),
        format!("{:.1}", figures.loaded_mib),
    ];
    let cells: Vec<String> = cells.iter().map(|cell| format!("{cell:>15}")).collect();
    format!("{:<26}{}", figures.name, cells.concat())
}

/// Every figure of every round.
pub(crate) fn to_json(measured: &[TargetFigures], scans: &[(Scenario, f64)]) -> Value {
    let target = |figures: &TargetFigures| {
        let scenario = |(scenario, figures): (&Scenario, &ScenarioFigures)| {
            let value = json!({
                "cpu_us_per_request": figures.cpu_us,
                "kernel_us_per_request": figures.kernel_us,
                "redis_cpu_us_per_request": figures.redis_cpu_us,
                "requests_per_second": figures.per_second,
            });
            (scenario.name().to_owned(), value)
        };
        json!({
            "name": figures.name,
            "scenarios": figures.scenarios.iter().map(scenario).collect::<serde_json::Map<_, _>>(),
            "added_p50_us": figures.added_p50_us,
            "added_p99_us": figures.added_p99_us,
            "idle_mib": figures.idle_mib,
            "loaded_mib": figures.loaded_mib,
            "longest_settle_ms": figures.longest_settle_ms,
            "start_to_ready_ms": figures.start_to_ready_ms,
            "system_calls_per_request": figures.system_calls,
        })
    };
    let scan = |(scenario, us): &(Scenario, f64)| (scenario.name().to_owned(), json!(us));
    json!({
        "targets": measured.iter().map(target).collect::<Vec<_>>(),
        "scan_us": scans.iter().map(scan).collect::<serde_json::Map<_, _>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios_per_round() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median(&[]).abs() < 1e-9);
        assert!((ratio_of_best(&[20.0, 19.0], &[10.0, 30.0]) - 1.9).abs() < 1e-9);
        // A slow second round slows both.
        assert!((ratio(&[20.0, 60.0, 20.0], &[10.0, 30.0, 10.0]) - 2.0).abs() < 1e-9);
    }
}
