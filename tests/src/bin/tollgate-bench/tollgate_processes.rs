//! Tollgate in its full path, in the two ways it is run.
//!
//! Every gate is on and none refuses: a prepaid wallet, budgets on tenant, project and key, all three
//! rate limits on the key, prices, a virtual model.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;
use tollgate_testkit::postgres::PostgresServer;
use tollgate_testkit::process::{ChildProcess, ChildProcessBuilder, Signal, tollgate_binary};
use tollgate_testkit::redis::RedisServer;

use crate::cores::Cores;
use crate::scenario::{KEY, MODEL, TRANSLATED_MODEL};
use crate::target::{READY_TIMEOUT, Target, address_of_url, probe_until_answered, under_test};

/// Keys in the installation; requests use the first.
const N_KEYS: usize = 1_000;
const ADMIN_TOKEN: &str = "bench-admin-token-0123456789";
const PLANE_TOKEN: &str = "bench-plane-token-0123456789";
/// 32 zero bytes: what it encrypts is worth nothing.
const MASTER_KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
/// How long a process may take to end in order after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it may take to apply the configuration.
const APPLY_TIMEOUT: Duration = Duration::from_secs(60);

/// The configuration file: one provider at `mock` in two dialects with a virtual model each, one tenant and project,
/// many keys.
fn configuration(mock: SocketAddr) -> String {
    let mut text = format!(
        r#"version: 1
providers:
  - name: mock
    dialect: openai
    base_url: http://{mock}/v1
    credentials: [{{ name: main, secret: "sk-mock-provider", weight: 1 }}]
  - name: mock-messages
    dialect: anthropic
    base_url: http://{mock}
    credentials: [{{ name: main, secret: "sk-mock-provider", weight: 1 }}]
models:
  - name: {MODEL}
    strategy: priority
    targets: [{{ provider: mock, model: bench-model, priority: 0 }}]
  - name: {TRANSLATED_MODEL}
    strategy: priority
    targets: [{{ provider: mock-messages, model: bench-model, priority: 0 }}]
prices:
  - {{ provider: mock-messages, model: bench-model, input: "0.25", cached_input: "0.025", output: "2.00" }}
  - {{ provider: mock, model: bench-model, input: "0.25", cached_input: "0.025", output: "2.00" }}
tenants:
  - name: bench
    billing: prepaid
    credit: "5000000.00"
    budgets: [{{ limit: "4000000.00", window: month }}]
    projects:
      - name: bench
        labels: {{ department: bench }}
        budgets: [{{ limit: "3000000.00", window: month }}]
        keys:
          - name: key-0000
            secret: "{KEY}"
            models: ["chat-*"]
            budgets: [{{ limit: "2000000.00", window: day }}]
            limits: {{ requests_per_minute: 60000000, tokens_per_minute: 60000000000, concurrent_requests: 100000 }}
"#
    );
    for number in 1..N_KEYS {
        // Writing to a string never fails.
        let _ =
            writeln!(text, "          - {{ name: key-{number:04}, secret: \"sk-bench-key-{number:04}\" }}");
    }
    text
}

/// What a process may be told through its environment; every port is free.
fn with_environment(builder: ChildProcessBuilder, database_url: &str) -> ChildProcessBuilder {
    let builder = ["TOLLGATE_LISTEN", "TOLLGATE_ADMIN_LISTEN", "TOLLGATE_GRPC_LISTEN", "TOLLGATE_OPS_LISTEN"]
        .into_iter()
        .fold(builder, |builder, name| builder.env(name, "127.0.0.1:0"));
    builder
        .env("TOLLGATE_ADMIN_TOKEN", ADMIN_TOKEN)
        .env("TOLLGATE_PLANE_TOKEN", PLANE_TOKEN)
        .env("TOLLGATE_MASTER_KEY", MASTER_KEY)
        .env("TOLLGATE_DATABASE_URL", database_url)
}

struct Files {
    directory: TempDir,
    configuration: PathBuf,
}

impl Files {
    fn write(mock: SocketAddr) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("tollgate-bench-").tempdir()?;
        let configuration = directory.path().join("tollgate.yaml");
        std::fs::write(&configuration, self::configuration(mock))?;
        Ok(Self { directory, configuration })
    }
}

/// `tollgate all` on SQLite. It is started twice: the first start fills the database, the second is timed.
pub(crate) async fn in_process(cores: Cores, mock: SocketAddr) -> anyhow::Result<Target> {
    let binary = tollgate_binary()?;
    let files = Files::write(mock)?;
    let database_url = format!("sqlite://{}", files.directory.path().join("bench.db").display());
    let command = || {
        with_environment(under_test(cores, &binary), &database_url)
            .env("TOLLGATE_DATA_DIR", files.directory.path())
            .env("TOLLGATE_CONFIG", &files.configuration)
            .arg("all")
    };
    let mut first = command().start()?;
    let ready = first.wait_for_line("ready ", READY_TIMEOUT).await?;
    probe_until_answered(traffic_address(&ready)?).await.with_context(|| first.stderr_text())?;
    first.signal(Signal::Terminate)?;
    let status = first.wait_exit(STOP_TIMEOUT).await?;
    ensure!(status.success(), "`tollgate all` ended with {status} on SIGTERM: {}", first.stderr_text());

    let started = Instant::now();
    let mut process = command().start()?;
    let ready = process.wait_for_line("ready ", READY_TIMEOUT).await?;
    let start_to_ready = started.elapsed();
    let address = traffic_address(&ready)?;
    probe_until_answered(address).await.with_context(|| process.stderr_text())?;
    Ok(Target {
        name: "tollgate all",
        has_slabs: false,
        address,
        processes: vec![process],
        redis: None,
        _postgres: None,
        _directory: Some(files.directory),
        start_to_ready: Some(start_to_ready),
    })
}

/// `tollgate control` and `tollgate gateway` as processes, with a private Postgres and Redis. Only the
/// gateway is under test; the rest shares the other core.
pub(crate) async fn with_redis(cores: Cores, mock: SocketAddr, has_slabs: bool) -> anyhow::Result<Target> {
    let binary = tollgate_binary()?;
    let files = Files::write(mock)?;
    let (postgres, redis) = tokio::try_join!(PostgresServer::start(), RedisServer::start())?;
    let database_url = postgres.create_database("bench").await?;

    let mut control = with_environment(ChildProcess::builder(&binary), &database_url)
        .env("TOLLGATE_REDIS_URL", redis.url())
        .env("TOLLGATE_DATA_DIR", files.directory.path())
        .arg("control")
        .start()?;
    let ready = control.wait_for_line("ready ", READY_TIMEOUT).await?;
    let of_control = |name: &str| {
        ready.get(name).cloned().with_context(|| format!("the control plane's ready line names no {name}"))
    };
    apply(&binary, &files.configuration, &of_control("admin")?)
        .await
        .with_context(|| control.stderr_text())?;

    let builder = under_test(cores, &binary)
        .env("TOLLGATE_LISTEN", "127.0.0.1:0")
        .env("TOLLGATE_OPS_LISTEN", "127.0.0.1:0")
        .env("TOLLGATE_PLANE_TOKEN", PLANE_TOKEN)
        .env("TOLLGATE_CONTROL_URL", of_control("grpc")?)
        .env("TOLLGATE_REDIS_URL", redis.url())
        .env("TOLLGATE_SLABS", if has_slabs { "on" } else { "off" })
        .arg("gateway");
    let started = Instant::now();
    let mut gateway = builder.start()?;
    let ready = gateway.wait_for_line("ready ", READY_TIMEOUT).await?;
    let start_to_ready = started.elapsed();
    let address = traffic_address(&ready)?;
    probe_until_answered(address)
        .await
        .with_context(|| format!("{}\n{}", gateway.stderr_text(), control.stderr_text()))?;
    Ok(Target {
        name: if has_slabs { "tollgate gateway + slabs" } else { "tollgate gateway + Redis" },
        has_slabs,
        address,
        processes: vec![gateway, control],
        redis: Some(redis),
        _postgres: Some(postgres),
        _directory: Some(files.directory),
        start_to_ready: Some(start_to_ready),
    })
}

async fn apply(binary: &Path, configuration: &Path, admin_url: &str) -> anyhow::Result<()> {
    let mut process = ChildProcess::builder(binary)
        .env("TOLLGATE_ADMIN_URL", admin_url)
        .env("TOLLGATE_ADMIN_TOKEN", ADMIN_TOKEN)
        .args(["apply", "-f"])
        .arg(configuration)
        .start()?;
    let status = process.wait_exit(APPLY_TIMEOUT).await?;
    ensure!(status.success(), "`tollgate apply` ended with {status}: {}", process.stderr_text());
    Ok(())
}

fn traffic_address(ready: &std::collections::BTreeMap<String, String>) -> anyhow::Result<SocketAddr> {
    address_of_url(ready.get("traffic").context("the ready line names no traffic address")?)
}
