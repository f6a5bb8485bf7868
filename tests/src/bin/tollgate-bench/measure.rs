//! The run: starts everything, measures in rounds, reports.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use crate::client::AnswerShape;
use crate::cores::Cores;
use crate::report::{self, TargetFigures};
use crate::scenario::Scenario;
use crate::target::{Target, probe, start_mock};
use crate::{Only, Plan, load, scan, system_calls, tollgate_processes};

/// Connections of the throughput slices.
const N_CONNECTIONS: usize = 64;
/// Streams open at once: with the mock's pace 16,000 chunks a second, which no target is saturated by.
const N_STREAMS: usize = 32;
/// Connections of the slice with the largest bodies: each holds one, in every process.
const N_HUGE_CONNECTIONS: usize = 16;
/// What a server gets before its idle memory is read: start-up work is over then.
const IDLE_WAIT: Duration = Duration::from_secs(1);

/// Runs the whole benchmark and prints its table.
pub(crate) fn run(plan: &Plan) -> anyhow::Result<()> {
    let cores = Cores::claim()?;
    if !cores.is_pinned() {
        report::say("no `taskset` or no second core: nothing is pinned, figures are rough");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let scans = scan::time_each()?;
    let measured = runtime.block_on(measure(plan, cores))?;
    report::print_table(&measured, &scans)?;
    if let Some(path) = &plan.json {
        let text = serde_json::to_string_pretty(&report::to_json(&measured, &scans))?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

async fn measure(plan: &Plan, cores: Cores) -> anyhow::Result<Vec<TargetFigures>> {
    let (_mock, mock_address) = start_mock().await?;
    let direct = Expected::probe(mock_address).await.context("the mock provider")?;
    let targets = start_targets(plan, cores, mock_address).await?;
    tokio::time::sleep(IDLE_WAIT).await;
    let mut measured = Vec::new();
    for target in &targets {
        let mut figures = TargetFigures::new(target.name, target.redis.is_some(), target.has_slabs);
        figures.start_to_ready_ms = target.start_to_ready.map(|time| time.as_secs_f64() * 1e3);
        figures.idle_mib = mib(target.resident_kib()?);
        let expected = Expected::probe(target.address).await.with_context(|| target.name)?;
        measured.push((target, expected, figures));
    }
    for round in 1..=plan.rounds {
        report::say(&format!("round {round} of {}", plan.rounds));
        // Another goes first in every round: no target always follows the same one.
        measured.rotate_left(1);
        for scenario in Scenario::ALL {
            for (target, expected, figures) in &mut measured {
                measure_slice(target, scenario, expected.of(scenario), plan.slice, figures)
                    .await
                    .with_context(|| format!("{}, {}", target.name, scenario.name()))
                    .with_context(|| target.last_log_lines())?;
            }
        }
        let request: Arc<[u8]> = Scenario::Small.request().into();
        let own = |address, expected: &Expected| {
            load::open_loop(address, Arc::clone(&request), expected.of(Scenario::Small), plan.slice)
        };
        let without = own(mock_address, &direct).await?;
        for (target, expected, figures) in &mut measured {
            let with = own(target.address, expected).await.with_context(|| target.name)?;
            for (percent, added) in [(50, &mut figures.added_p50_us), (99, &mut figures.added_p99_us)] {
                added.push(with.percentile(percent) as f64 - without.percentile(percent) as f64);
            }
            target.settle().await?;
        }
    }
    if plan.counts_system_calls {
        for (target, expected, figures) in &mut measured {
            let counted = system_calls::per_request(target, expected.of(Scenario::Small), plan.slice).await;
            figures.system_calls = Some(counted.with_context(|| target.name)?);
        }
    }
    let mut figures: Vec<_> = measured.into_iter().map(|(_, _, figures)| figures).collect();
    figures.sort_by_key(|figures| targets.iter().position(|target| target.name == figures.name));
    Ok(figures)
}

/// The floor first, then what is measured against it.
async fn start_targets(plan: &Plan, cores: Cores, mock: SocketAddr) -> anyhow::Result<Vec<Target>> {
    let mut targets = vec![Target::floor("floor", cores, mock).await?];
    if plan.only == Some(Only::Floor) {
        targets.push(Target::floor("second floor", cores, mock).await?);
    }
    if matches!(plan.only, None | Some(Only::Inprocess)) {
        let target = tollgate_processes::in_process(cores, mock).await;
        targets.push(target.context("cannot start Tollgate in process")?);
    }
    if matches!(plan.only, None | Some(Only::Redis)) {
        let target = tollgate_processes::with_redis(cores, mock, false).await;
        targets.push(target.context("cannot start Tollgate with Redis")?);
    }
    if matches!(plan.only, None | Some(Only::RedisSlabs)) {
        let target = tollgate_processes::with_redis(cores, mock, true).await;
        targets.push(target.context("cannot start Tollgate with Redis and slabs")?);
    }
    Ok(targets)
}

/// One server under closed-loop load; every CPU microsecond from the first request until it is at rest
/// again counts.
async fn measure_slice(
    target: &Target,
    scenario: Scenario,
    expected: AnswerShape,
    duration: Duration,
    figures: &mut TargetFigures,
) -> anyhow::Result<()> {
    let request: Arc<[u8]> = scenario.request().into();
    let n_connections = match scenario {
        Scenario::Stream => N_STREAMS,
        Scenario::Huge => N_HUGE_CONNECTIONS,
        _ => N_CONNECTIONS,
    };
    let (cpu_before, redis_before) = (target.cpu_time()?, target.redis_cpu_time()?);
    let kernel_before = target.split_cpu_time()?.kernel;
    let done = load::closed_loop(target.address, request, expected, n_connections, duration).await?;
    figures.loaded_mib = figures.loaded_mib.max(mib(target.resident_kib()?));
    let settled_after = target.settle().await?;
    figures.longest_settle_ms = figures.longest_settle_ms.max(settled_after.as_secs_f64() * 1e3);
    let n_answers = done.n_answers as f64;
    let cpu_us = (target.cpu_time()? - cpu_before).as_secs_f64() * 1e6 / n_answers;
    let redis_us = (target.redis_cpu_time()? - redis_before).as_secs_f64() * 1e6 / n_answers;
    let kernel = target.split_cpu_time()?.kernel.saturating_sub(kernel_before);
    let of_scenario = figures.scenarios.entry(scenario).or_default();
    of_scenario.cpu_us.push(cpu_us);
    of_scenario.kernel_us.push(kernel.as_secs_f64() * 1e6 / n_answers);
    of_scenario.redis_cpu_us.push(redis_us);
    of_scenario.per_second.push(n_answers / done.elapsed.as_secs_f64());
    Ok(())
}

/// The shapes a target's answers must have, learnt from one answer that was looked at whole.
struct Expected(BTreeMap<Scenario, AnswerShape>);

impl Expected {
    async fn probe(address: SocketAddr) -> anyhow::Result<Self> {
        let mut shapes = BTreeMap::new();
        for scenario in Scenario::ALL {
            let shape = probe(address, scenario).await.with_context(|| scenario.name())?;
            shapes.insert(scenario, shape);
        }
        Ok(Self(shapes))
    }

    fn of(&self, scenario: Scenario) -> AnswerShape {
        self.0[&scenario]
    }
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
