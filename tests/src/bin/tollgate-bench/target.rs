//! The servers that are measured, and how they are started and looked at.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;
use tollgate_testkit::postgres::PostgresServer;
use tollgate_testkit::process::{ChildProcess, ChildProcessBuilder};
use tollgate_testkit::redis::RedisServer;
use tollgate_testkit::wait::eventually;

use crate::client::{AnswerShape, Connection};
use crate::cores::{self, Cores, CpuTime};
use crate::scenario::{N_CHUNKS, Scenario};

/// How long a server may take to print its ready line.
pub(crate) const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a ready gateway may take to learn the key it is asked with.
const POLICY_TIMEOUT: Duration = Duration::from_secs(20);
/// Between two looks at a server that works off what it put aside.
const SETTLE_INTERVAL: Duration = Duration::from_millis(100);
/// CPU time within one look that counts as rest: a tick of the kernel's own counting.
const SETTLED_CPU: Duration = Duration::from_millis(10);
/// Looks at rest, one after the other, after which a server is done.
const SETTLED_LOOKS: u32 = 2;
/// How much of a log an error shows.
const SHOWN_LOG_LINES: usize = 10;
/// A server that is not at rest after this long is measured as it stands.
const SETTLE_MAX: Duration = Duration::from_secs(10);

/// A server in front of the mock provider, with everything it stands on. Dropping it ends all of it.
pub(crate) struct Target {
    /// How it is called in the output.
    pub(crate) name: &'static str,
    /// Where it takes traffic.
    pub(crate) address: SocketAddr,
    /// The process under test first, then what belongs to it.
    pub(crate) processes: Vec<ChildProcess>,
    /// Whether it admits requests without a round trip to it.
    pub(crate) has_slabs: bool,
    /// The ledger's Redis.
    pub(crate) redis: Option<RedisServer>,
    /// The store's Postgres; held, never looked at.
    pub(crate) _postgres: Option<PostgresServer>,
    /// Files of the processes; held, never looked at.
    pub(crate) _directory: Option<TempDir>,
    /// From the start of a process that was set up before to its ready line.
    pub(crate) start_to_ready: Option<Duration>,
}

impl Target {
    /// A floor: a pass-through to `upstream`.
    pub(crate) async fn floor(
        name: &'static str,
        cores: Cores,
        upstream: SocketAddr,
    ) -> anyhow::Result<Self> {
        let builder = under_test(cores, &std::env::current_exe()?)
            .args(["floor", "--upstream"])
            .arg(upstream.to_string());
        let started = Instant::now();
        let mut process = builder.start()?;
        let address = ready_address(&mut process).await?;
        Ok(Self {
            name,
            address,
            processes: vec![process],
            has_slabs: false,
            redis: None,
            _postgres: None,
            _directory: None,
            start_to_ready: Some(started.elapsed()),
        })
    }

    /// The process under test.
    pub(crate) fn process_id(&self) -> u32 {
        self.processes[0].process_id()
    }

    /// The last lines that each of its processes logged, for a run that fails.
    pub(crate) fn last_log_lines(&self) -> String {
        let logs = self.processes.iter().map(ChildProcess::stderr_text);
        let tails = logs.map(|log| {
            let lines: Vec<&str> = log.lines().collect();
            lines[lines.len().saturating_sub(SHOWN_LOG_LINES)..].join("\n")
        });
        tails.collect::<Vec<_>>().join("\n")
    }

    /// CPU time of the process under test.
    pub(crate) fn cpu_time(&self) -> anyhow::Result<Duration> {
        let time = cores::cpu_time(self.process_id());
        time.with_context(|| format!("{} has ended: {}", self.name, self.processes[0].stderr_text()))
    }

    /// The same, by where it was spent.
    pub(crate) fn split_cpu_time(&self) -> anyhow::Result<CpuTime> {
        cores::split_cpu_time(self.process_id())
    }

    /// CPU time of its Redis, zero where it has none.
    pub(crate) fn redis_cpu_time(&self) -> anyhow::Result<Duration> {
        let redis = self.redis.as_ref().and_then(RedisServer::process_id);
        redis.map_or(Ok(Duration::ZERO), cores::cpu_time)
    }

    /// Resident memory of the process under test in KiB.
    pub(crate) fn resident_kib(&self) -> anyhow::Result<u64> {
        cores::resident_kib(self.process_id())
    }

    /// Waits until it and what belongs to it are at rest: a journal is written after the answers, and
    /// that work belongs to the requests as much as the rest. Returns how long it took.
    pub(crate) async fn settle(&self) -> anyhow::Result<Duration> {
        let all_cpu_time = || {
            let own = self.processes.iter().map(|process| cores::cpu_time(process.process_id()));
            own.chain([self.redis_cpu_time()]).sum::<anyhow::Result<Duration>>()
        };
        let started = Instant::now();
        let (mut last, mut looks_at_rest) = (all_cpu_time()?, 0);
        while looks_at_rest < SETTLED_LOOKS && started.elapsed() < SETTLE_MAX {
            tokio::time::sleep(SETTLE_INTERVAL).await;
            let now = all_cpu_time()?;
            looks_at_rest = if now - last <= SETTLED_CPU { looks_at_rest + 1 } else { 0 };
            last = now;
        }
        Ok(started.elapsed())
    }
}

/// The mock provider on the other core.
pub(crate) async fn start_mock() -> anyhow::Result<(ChildProcess, SocketAddr)> {
    let mut process = ChildProcess::builder(std::env::current_exe()?).arg("mock").start()?;
    let address = ready_address(&mut process).await?;
    Ok((process, address))
}

/// A process with the first core to itself.
pub(crate) fn under_test(cores: Cores, program: &Path) -> ChildProcessBuilder {
    let mut words = cores.prefix_for_process_under_test().into_iter();
    match words.next() {
        Some(taskset) => ChildProcess::builder(taskset).args(words).arg(program),
        None => ChildProcess::builder(program),
    }
}

async fn ready_address(process: &mut ChildProcess) -> anyhow::Result<SocketAddr> {
    let line = process.wait_for_line_text("ready http://", READY_TIMEOUT).await?;
    address_of_url(line.trim_start_matches("ready "))
}

/// `http://127.0.0.1:1234` as an address.
pub(crate) fn address_of_url(url: &str) -> anyhow::Result<SocketAddr> {
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    address.parse().with_context(|| format!("`{url}` is no address"))
}

/// Asks once, looks at the whole answer, and returns the shape that all later answers must have.
pub(crate) async fn probe(address: SocketAddr, scenario: Scenario) -> anyhow::Result<AnswerShape> {
    let mut body = Vec::new();
    let mut connection = Connection::open(address).await?;
    let shape = connection.exchange_into(&scenario.request(), |bytes| body.extend_from_slice(bytes)).await?;
    let text = String::from_utf8_lossy(&body);
    ensure!(shape.status == 200, "status {}: {text}", shape.status);
    if scenario == Scenario::Stream {
        let n_events = text.matches("data: {").count();
        ensure!(n_events == N_CHUNKS, "a stream has {n_events} chunks in place of {N_CHUNKS}: {text}");
        ensure!(text.trim_end().ends_with("data: [DONE]"), "a stream ends with {text}");
    } else {
        let value: serde_json::Value = serde_json::from_str(&text).context("an answer is not JSON")?;
        ensure!(value["choices"][0]["message"]["content"].is_string(), "an answer has no content: {text}");
    }
    Ok(shape)
}

/// Probes until a gateway that has just started knows its policy.
pub(crate) async fn probe_until_answered(address: SocketAddr) -> anyhow::Result<()> {
    let mut last_error = None;
    let answered = eventually(POLICY_TIMEOUT, "the gateway to answer", async || {
        probe(address, Scenario::Small).await.map_err(|error| last_error = Some(error)).ok()
    });
    let outcome = answered.await;
    outcome.map(drop).with_context(|| format!("the last attempt: {last_error:?}"))
}
