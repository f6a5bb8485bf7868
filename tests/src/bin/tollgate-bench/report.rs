//! Figures, their medians, and how they are shown.

use std::io::Write as _;

use serde_json::{Value, json};

/// What this milestone asks for: the factor over the floor in process, with Redis and per chunk, a gateway's
/// idle memory in MiB, and milliseconds from start to ready.
const DUE_IN_PROCESS: f64 = 2.0;
const DUE_REDIS: f64 = 3.0;
/// Of what is due in one process.
const DUE_SLABS: f64 = 1.3;
const DUE_CHUNK: f64 = 2.0;
const DUE_IDLE_MIB: f64 = 40.0;
const DUE_START_MS: f64 = 500.0;

/// One figure, once per round.
pub(crate) type Rounds = Vec<f64>;

/// Everything measured of one target.
#[derive(Clone, Debug)]
pub(crate) struct TargetFigures {
    pub(crate) name: &'static str,
    has_redis: bool,
    has_slabs: bool,
    pub(crate) small_cpu_us: Rounds,
    /// The kernel's part of it.
    pub(crate) small_kernel_us: Rounds,
    pub(crate) small_per_second: Rounds,
    pub(crate) large_cpu_us: Rounds,
    pub(crate) large_per_second: Rounds,
    pub(crate) chunk_cpu_us: Rounds,
    pub(crate) redis_cpu_us: Rounds,
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
            small_cpu_us: Rounds::new(),
            small_kernel_us: Rounds::new(),
            small_per_second: Rounds::new(),
            large_cpu_us: Rounds::new(),
            large_per_second: Rounds::new(),
            chunk_cpu_us: Rounds::new(),
            redis_cpu_us: Rounds::new(),
            added_p50_us: Rounds::new(),
            added_p99_us: Rounds::new(),
            idle_mib: 0.0,
            loaded_mib: 0.0,
            longest_settle_ms: 0.0,
            start_to_ready_ms: None,
            system_calls: None,
        }
    }
}

/// The middle of the rounds; of an even number the mean of the two in the middle.
fn median(rounds: &[f64]) -> f64 {
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
fn ratio(own: &[f64], floor: &[f64]) -> f64 {
    let ratios: Rounds = own.iter().zip(floor).map(|(own, floor)| own / floor).collect();
    median(&ratios)
}

/// Progress and complaints: to standard error, so that standard output holds the table alone.
pub(crate) fn say(line: &str) {
    // Nobody to tell when standard error is closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Prints the table, then how it stands against what is due.
pub(crate) fn print_table(measured: &[TargetFigures]) -> anyhow::Result<()> {
    let Some(floor) = measured.first() else { return Ok(()) };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", headings())?;
    for figures in measured {
        writeln!(out, "{}", row(figures, floor))?;
    }
    for figures in measured {
        let (all, kernel) = (median(&figures.small_cpu_us), median(&figures.small_kernel_us));
        let user = all - kernel;
        writeln!(
            out,
            "{}: of {all:.1} µs at 1 KiB {user:.1} its own and {kernel:.1} the kernel's",
            figures.name
        )?;
        if let Some(n_calls) = figures.system_calls {
            writeln!(out, "{}: {n_calls:.1} system calls per request", figures.name)?;
        }
    }
    for figures in &measured[1..] {
        if figures.has_redis {
            writeln!(
                out,
                "{}: Redis itself used {:.1} µs per request",
                figures.name,
                median(&figures.redis_cpu_us)
            )?;
        }
        if let Some(start) = figures.start_to_ready_ms {
            writeln!(out, "{}: {start:.0} ms from start to ready", figures.name)?;
        }
        let best = ratio_of_best(&figures.small_cpu_us, &floor.small_cpu_us);
        writeln!(out, "{}: {best:.2} × floor at 1 KiB, best round against best round", figures.name)?;
        writeln!(out, "{}: at rest at most {:.0} ms after a slice", figures.name, figures.longest_settle_ms)?;
        for line in against_due(figures, floor) {
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
    let cells = [
        format!("{:.1}", median(&figures.small_cpu_us)),
        format!("{:.2}", ratio(&figures.small_cpu_us, &floor.small_cpu_us)),
        format!("{:.1}", median(&figures.large_cpu_us)),
        format!("{:.2}", ratio(&figures.large_cpu_us, &floor.large_cpu_us)),
        format!("{:.1}", median(&figures.chunk_cpu_us)),
        format!("{:.2}", ratio(&figures.chunk_cpu_us, &floor.chunk_cpu_us)),
        format!("{:.0}", median(&figures.small_per_second)),
        format!("{:.0}", median(&figures.large_per_second)),
        format!("{:.0}", median(&figures.added_p50_us)),
        format!("{:.0}", median(&figures.added_p99_us)),
        format!("{:.1}", figures.idle_mib),
        format!("{:.1}", figures.loaded_mib),
    ];
    let cells: Vec<String> = cells.iter().map(|cell| format!("{cell:>15}")).collect();
    format!("{:<26}{}", figures.name, cells.concat())
}

fn against_due(figures: &TargetFigures, floor: &TargetFigures) -> Vec<String> {
    if !figures.name.starts_with("tollgate") {
        return Vec::new();
    }
    let due_cpu = match (figures.has_redis, figures.has_slabs) {
        (_, true) => DUE_SLABS * DUE_IN_PROCESS,
        (true, false) => DUE_REDIS,
        (false, false) => DUE_IN_PROCESS,
    };
    let rules = [
        ("× floor at 1 KiB", ratio(&figures.small_cpu_us, &floor.small_cpu_us), due_cpu),
        ("× floor per chunk", ratio(&figures.chunk_cpu_us, &floor.chunk_cpu_us), DUE_CHUNK),
        ("ms from start to ready", figures.start_to_ready_ms.unwrap_or(0.0), DUE_START_MS),
    ];
    // of a gateway: one process for all has the control plane and its database in it
    let idle = figures.has_redis.then_some(("MiB idle", figures.idle_mib, DUE_IDLE_MIB));
    let line = |(what, own, due): (&str, f64, f64)| {
        let verdict = if own <= due { "meets" } else { "MISSES" };
        format!("{own:.2} {what} {verdict} the {due} that are due")
    };
    rules.into_iter().chain(idle).map(line).collect()
}

/// Every figure of every round.
pub(crate) fn to_json(measured: &[TargetFigures]) -> Value {
    let target = |figures: &TargetFigures| {
        json!({
            "name": figures.name,
            "cpu_us_per_request_1kib": figures.small_cpu_us,
            "kernel_us_per_request_1kib": figures.small_kernel_us,
            "cpu_us_per_request_32kib": figures.large_cpu_us,
            "cpu_us_per_chunk": figures.chunk_cpu_us,
            "redis_cpu_us_per_request_1kib": figures.redis_cpu_us,
            "requests_per_second_1kib": figures.small_per_second,
            "requests_per_second_32kib": figures.large_per_second,
            "added_p50_us": figures.added_p50_us,
            "added_p99_us": figures.added_p99_us,
            "idle_mib": figures.idle_mib,
            "loaded_mib": figures.loaded_mib,
            "longest_settle_ms": figures.longest_settle_ms,
            "start_to_ready_ms": figures.start_to_ready_ms,
            "system_calls_per_request": figures.system_calls,
        })
    };
    json!({ "targets": measured.iter().map(target).collect::<Vec<_>>() })
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
