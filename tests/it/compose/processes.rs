//! What the compose file starts, started as local processes: the same commands with the same environment. Host
//! names become loopback ports and container paths become paths of the repository; nothing else is changed.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tollgate_testkit::http::HttpClient;
use tollgate_testkit::postgres::PostgresServer;
use tollgate_testkit::process::{ChildProcess, Signal, tollgate_binary};
use tollgate_testkit::redis::RedisServer;
use tollgate_testkit::wait::eventually;

use super::compose_file::{ComposeFile, Service, interpolate};
use super::{dockerfile, made_environment, read, repository};

/// Starting includes migrating an empty database on a loaded machine.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// The journal is written in batches, well within a second.
const JOURNAL_TIMEOUT: Duration = Duration::from_secs(20);
/// The file's `stop_grace_period`.
const STOP_TIMEOUT: Duration = Duration::from_secs(40);
/// What a service calls its ports on the ready line, and the variable that holds the container's port.
const ENDPOINTS: &[(&str, &str)] = &[
    ("traffic", "TOLLGATE_LISTEN"),
    ("admin", "TOLLGATE_ADMIN_LISTEN"),
    ("grpc", "TOLLGATE_GRPC_LISTEN"),
    ("ops", "TOLLGATE_OPS_LISTEN"),
];

/// The file's services as processes.
struct Deployment {
    secrets: Vec<(String, String)>,
    /// `control:8082` to `127.0.0.1:41234`.
    hosts: BTreeMap<String, String>,
    running: Vec<(String, ChildProcess)>,
    // Dropped after the processes that use them.
    _postgres: PostgresServer,
    _redis: RedisServer,
}

impl Deployment {
    async fn start(file: &ComposeFile) -> anyhow::Result<Self> {
        let secrets = made_environment()?;
        let postgres = PostgresServer::start().await?;
        let redis = RedisServer::start().await?;
        prepare_postgres(&postgres, &file.service("postgres")?).await?;
        let password = secret(&secrets, "REDIS_PASSWORD")?;
        redis.cli(&["CONFIG", "SET", "requirepass", password]).await?;
        let hosts = [
            ("postgres:5432".to_owned(), format!("127.0.0.1:{}", postgres.port())),
            ("redis:6379".to_owned(), format!("127.0.0.1:{}", redis.port())),
        ];
        let hosts = BTreeMap::from(hosts);
        let mut deployment = Self { secrets, hosts, running: Vec::new(), _postgres: postgres, _redis: redis };
        for service in file.in_start_order()?.iter().filter(|service| service.is_tollgate()) {
            deployment.start_service(service).await.with_context(|| format!("service {}", service.name))?;
        }
        Ok(deployment)
    }

    async fn start_service(&mut self, service: &Service<'_>) -> anyhow::Result<()> {
        let mut builder = ChildProcess::builder(tollgate_binary()?);
        for argument in service.list("command") {
            builder = builder.arg(local_path(service, argument));
        }
        for (name, value) in self.environment(service)? {
            builder = builder.env(name, value);
        }
        let mut process = builder.start()?;
        if service.is_one_shot() {
            let status = process.wait_exit(READY_TIMEOUT).await?;
            ensure!(status.success(), "ended with {status}: {}", process.stderr_text());
            return Ok(());
        }
        let ready = process.wait_for_line("ready ", READY_TIMEOUT).await?;
        for (endpoint, variable) in ENDPOINTS {
            let container_port =
                service.environment().get(variable).and_then(|listen| listen.rsplit(':').next());
            if let (Some(port), Some(url)) = (container_port, ready.get(*endpoint)) {
                let address = url.rsplit("://").next().unwrap_or(url).trim_end_matches('/').to_owned();
                self.hosts.insert(format!("{}:{port}", service.name), address);
            }
        }
        self.wait_until_healthy(service).await.with_context(|| process.stderr_text())?;
        self.running.push((service.name.to_owned(), process));
        Ok(())
    }

    /// The image's variables, then the service's, for this machine. A process runs in a directory of its own.
    fn environment(&self, service: &Service<'_>) -> anyhow::Result<BTreeMap<String, String>> {
        let mut environment = dockerfile::image_environment()?;
        environment.insert("TOLLGATE_DATA_DIR".to_owned(), "data".to_owned());
        for (name, value) in service.environment() {
            let mut value = interpolate(value, &self.secrets)?;
            for (host, address) in &self.hosts {
                value = value.replace(host, address);
            }
            let is_listener = ENDPOINTS.iter().any(|(_, variable)| *variable == name);
            environment.insert(name.to_owned(), if is_listener { "127.0.0.1:0".to_owned() } else { value });
        }
        Ok(environment)
    }

    /// Runs the service's own health check until it says yes.
    async fn wait_until_healthy(&self, service: &Service<'_>) -> anyhow::Result<()> {
        let command = service.health_command();
        let (program, port) = match command.as_slice() {
            [program, port] => (program.trim_start_matches("/usr/local/bin/"), *port),
            _ => anyhow::bail!("expected a program and a port, got {command:?}"),
        };
        let address = self.address(service.name, port)?;
        let port = address.rsplit(':').next().unwrap_or_default();
        let script = repository().join("deploy/docker").join(program);
        eventually(READY_TIMEOUT, "the service's health check to pass", async || {
            Command::new(&script).arg(port).status().ok()?.success().then_some(())
        })
        .await
    }

    fn address(&self, service: &str, port: &str) -> anyhow::Result<&str> {
        let host = format!("{service}:{port}");
        self.hosts.get(&host).map(String::as_str).with_context(|| format!("{host} was not on a ready line"))
    }

    /// SIGTERM to all, as `docker compose down` does; every process must end well in its time.
    async fn stop(mut self) -> anyhow::Result<()> {
        for (_, process) in self.running.iter_mut().rev() {
            process.signal(Signal::Terminate)?;
        }
        for (name, process) in self.running.iter_mut().rev() {
            let status = process.wait_exit(STOP_TIMEOUT).await?;
            ensure!(status.success(), "{name} ended with {status}: {}", process.stderr_text());
        }
        Ok(())
    }
}

/// The role and database that the image's own start makes.
async fn prepare_postgres(postgres: &PostgresServer, service: &Service<'_>) -> anyhow::Result<()> {
    let environment = service.environment();
    let (user, database) = (environment["POSTGRES_USER"], environment["POSTGRES_DB"]);
    postgres.query("postgres", &format!("CREATE ROLE {user} SUPERUSER LOGIN")).await?;
    postgres.create_database(database).await?;
    Ok(())
}

fn secret<'a>(secrets: &'a [(String, String)], name: &str) -> anyhow::Result<&'a str> {
    let found = secrets.iter().find(|(given, _)| given == name);
    found.map(|(_, value)| value.as_str()).with_context(|| format!("make-env makes no {name}"))
}

/// The file of the repository that the service mounts there, else the text itself.
fn local_path(service: &Service<'_>, argument: &str) -> String {
    let mounts = service.mounts();
    let mount = mounts.iter().find(|mount| mount.target == argument && mount.source.starts_with("./"));
    mount.map_or_else(|| argument.to_owned(), |mount| repository().join(mount.source).display().to_string())
}

/// `0.000012` as 12,000 nano-dollars; the answer's number or text.
fn nano_usd(value: &Value) -> anyhow::Result<u64> {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    ensure!(fraction.len() <= 9, "{text} has more than nine decimals");
    let digits = format!("{whole}{fraction:0<9}");
    digits.parse().with_context(|| format!("{text} is not an amount"))
}

/// One chat request; its cost in nano-dollars.
async fn ask(client: &HttpClient, gateway: &str) -> anyhow::Result<u64> {
    let url = format!("http://{gateway}/v1/chat/completions");
    let body = json!({ "model": "chat-default", "messages": [{ "role": "user", "content": "Hello." }] });
    let answer = client.post_json(&url, &body).await?.expect_status(200)?;
    let cost = answer.header("x-tollgate-cost-usd").context("an answer without its cost")?;
    let cost = nano_usd(&Value::String(cost.to_owned()))?;
    let content = &answer.json()?["choices"][0]["message"]["content"];
    ensure!(content.as_str().is_some_and(|text| !text.is_empty()), "an empty answer: {}", answer.text());
    ensure!(cost > 0, "an answer for nothing");
    Ok(cost)
}

#[tokio::test]
async fn both_gateways_serve_and_the_control_plane_bills() -> anyhow::Result<()> {
    let file = ComposeFile::parse(&read("docker-compose.yml")?)?;
    let deployment = Deployment::start(&file).await?;
    let client = HttpClient::new();
    let application = client.with_bearer(secret(&deployment.secrets, "DEMO_KEY")?);
    let first = ask(&application, deployment.address("gateway-1", "8080")?).await?;
    let second = ask(&application, deployment.address("gateway-2", "8080")?).await?;

    let operator = client.with_bearer(secret(&deployment.secrets, "TOLLGATE_ADMIN_TOKEN")?);
    let admin = deployment.address("control", "8081")?;
    let url = format!("http://{admin}/api/v1/usage?group_by=tenant");
    let row = eventually(JOURNAL_TIMEOUT, "two requests in the usage report", async || {
        let answer = operator.get(&url).await.ok()?.json().ok()?;
        let row = answer["data"].as_array()?.first()?.clone();
        (row["requests"] == 2).then_some(row)
    })
    .await?;
    assert_eq!(nano_usd(&row["cost_usd"])?, first + second, "{row}");

    // A stranger is refused by both.
    let stranger = client.with_bearer("demo-not-the-key-0123456789");
    for gateway in ["gateway-1", "gateway-2"] {
        let url = format!("http://{}/v1/models", deployment.address(gateway, "8080")?);
        stranger.get(&url).await?.expect_status(401)?;
    }
    deployment.stop().await
}

#[test]
fn amounts_are_read_to_the_nano_dollar() -> anyhow::Result<()> {
    for (text, expected) in [("0.000012", 12_000), ("0", 0), ("1.5", 1_500_000_000), ("0.000000001", 1)] {
        assert_eq!(nano_usd(&Value::String(text.to_owned()))?, expected, "{text}");
    }
    assert!(nano_usd(&json!("0.0000000001")).is_err());
    assert!(nano_usd(&json!(null)).is_err());
    Ok(())
}
