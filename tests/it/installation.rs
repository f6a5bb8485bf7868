//! Tollgate as its operators run it, as processes: one (`all`) or many (`control` and two `gateway`s on a
//! real Postgres and Redis), with a mock provider and an administrator.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use tollgate_testkit::http::HttpClient;
use tollgate_testkit::mock_provider::MockProvider;
use tollgate_testkit::postgres::PostgresServer;
use tollgate_testkit::process::{ChildProcess, Signal, tollgate_binary};
use tollgate_testkit::redis::RedisServer;
use tollgate_testkit::wait::eventually;

/// Starting includes migrating an empty database on a loaded machine.
pub(crate) const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Settling and journaling take well under a second; a loaded machine takes longer.
pub(crate) const SETTLE_TIMEOUT: Duration = Duration::from_secs(30);
/// The grace period and some.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(40);
const ADMIN_TOKEN: &str = "admin-token-for-tests-0123456789";
const PLANE_TOKEN: &str = "plane-token-for-tests-0123456789";
const MASTER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// The key of `acme/bot/prod`, which has every model and no limit.
pub(crate) const KEY: &str = "sk-acme-prod-0123456789";
/// USD per request of `mock/page`.
pub(crate) const PAGE_PRICE: &str = "0.01";
/// Nano-USD per prompt and answer token of `mock/m`.
pub(crate) const INPUT_PRICE: u64 = 1_000;
pub(crate) const OUTPUT_PRICE: u64 = 2_000;

/// What runs beside the gateways.
enum Backing {
    Single { data: tempfile::TempDir },
    Split { postgres: Box<PostgresServer>, redis: Box<RedisServer> },
}

/// A running installation.
pub(crate) struct Installation {
    /// The traffic ports: one or two.
    pub(crate) traffic: Vec<String>,
    /// The processes that serve them.
    pub(crate) gateways: Vec<ChildProcess>,
    /// The control plane's process, where it has one of its own.
    pub(crate) control: Option<ChildProcess>,
    control_environment: Vec<(&'static str, String)>,
    gateway_environment: Vec<(&'static str, String)>,
    pub(crate) admin: Admin,
    pub(crate) mock: MockProvider,
    backing: Backing,
}

/// The admin API.
#[derive(Clone)]
pub(crate) struct Admin {
    url: String,
    http: HttpClient,
}

impl Admin {
    fn new(url: &str) -> Self {
        Self { url: format!("{url}/api/v1"), http: HttpClient::new().with_bearer(ADMIN_TOKEN) }
    }

    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.http.get(&format!("{}{path}", self.url)).await?.expect_status(200)?.json()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let answer = self.http.post_json(&format!("{}{path}", self.url), body).await?;
        anyhow::ensure!(answer.status.is_success(), "{path}: {} {}", answer.status, answer.text());
        answer.json()
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.url);
        self.http.send_json(http::Method::PATCH, &url, body).await?.expect_status(200)?.json()
    }

    pub(crate) async fn delete(&self, path: &str) -> anyhow::Result<()> {
        let answer = self.http.delete(&format!("{}{path}", self.url)).await?;
        anyhow::ensure!(answer.status.is_success(), "{path}: {} {}", answer.status, answer.text());
        Ok(())
    }

    /// A key of its own with one budget over all time.
    pub(crate) async fn key_with_budget(&self, name: &str, limit: &str) -> anyhow::Result<Value> {
        let key = self.post("/projects/bot/keys", &json!({ "name": name })).await?;
        let owner = json!({ "key": key["id"], "limit": limit, "window": "total" });
        self.post("/budgets", &owner).await?;
        Ok(key)
    }

    /// The only budget of a key.
    pub(crate) async fn budget_of_key(&self, key: &Value) -> anyhow::Result<Value> {
        let list = self.get("/budgets?limit=1000").await?;
        let budgets = list["data"].as_array().context("a list")?;
        budgets.iter().find(|budget| budget["owner_id"] == key["id"]).cloned().context("no budget")
    }

    /// Cost (nano-USD) and number of all journaled requests of a key.
    pub(crate) async fn journaled(&self, key: &Value) -> anyhow::Result<(u64, u64)> {
        let id = key["id"].as_str().context("an id")?;
        let report = self.get(&format!("/usage?group_by=key&key={id}")).await?;
        let row = &report["data"][0];
        let cost = row["cost_usd"].as_str().map_or(Ok(0), nano_usd)?;
        Ok((cost, row["requests"].as_u64().unwrap_or(0)))
    }

    /// Waits until that many requests of a key are journaled; gives their cost in nano-USD.
    pub(crate) async fn wait_for_journal(&self, key: &Value, n_requests: u64) -> anyhow::Result<u64> {
        let what = format!("{n_requests} journaled requests");
        eventually(SETTLE_TIMEOUT, &what, async || {
            let (cost, n) = self.journaled(key).await.ok()?;
            (n == n_requests).then_some(cost)
        })
        .await
    }
}

/// A decimal amount in USD as nano-USD.
pub(crate) fn nano_usd(text: &str) -> anyhow::Result<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    Ok(format!("{whole}{fraction:0<9}").parse()?)
}

fn configuration(mock: &MockProvider) -> Value {
    let input = format!("{}.{:03}", INPUT_PRICE / 1_000, INPUT_PRICE % 1_000);
    let output = format!("{}.{:03}", OUTPUT_PRICE / 1_000, OUTPUT_PRICE % 1_000);
    json!({
        "version": 1,
        "providers": [{
            "name": "mock", "dialect": "openai", "base_url": mock.base_url(),
            "credentials": [{ "name": "main", "secret": "upstream-secret", "weight": 1 }],
        }],
        "models": [{ "name": "chat-default", "targets": [{ "provider": "mock", "model": "m" }] }],
        "prices": [
            { "provider": "mock", "model": "m", "input": input, "output": output },
            { "provider": "mock", "model": "page", "request": PAGE_PRICE },
        ],
        "tenants": [{
            "name": "acme",
            "projects": [{ "name": "bot", "keys": [{ "name": "prod", "secret": KEY }] }],
        }],
    })
}

impl Installation {
    /// Everything in one process.
    pub(crate) async fn single() -> anyhow::Result<Self> {
        Self::single_with(|_, _| ()).await
    }

    /// The same with a configuration that `change` has changed; it is told where the provider is.
    pub(crate) async fn single_with(
        change: impl FnOnce(&mut Value, std::net::SocketAddr),
    ) -> anyhow::Result<Self> {
        let mock = MockProvider::start().await?;
        let data = tempfile::tempdir()?;
        let file = data.path().join("tollgate.yaml");
        let mut configuration = configuration(&mock);
        change(&mut configuration, mock.address());
        std::fs::write(&file, configuration.to_string())?;
        let mut process = start_single(data.path())?;
        let ready = process.wait_for_line("ready ", READY_TIMEOUT).await?;
        Ok(Self {
            traffic: vec![ready["traffic"].clone()],
            admin: Admin::new(&ready["admin"]),
            gateways: vec![process],
            control: None,
            control_environment: Vec::new(),
            gateway_environment: Vec::new(),
            mock,
            backing: Backing::Single { data },
        })
    }

    /// One control plane and two gateways on a real Postgres and Redis.
    pub(crate) async fn split() -> anyhow::Result<Self> {
        Self::split_into(2).await
    }

    /// One control plane and so many gateways on a real Postgres and Redis.
    pub(crate) async fn split_into(n_gateways: usize) -> anyhow::Result<Self> {
        Self::split_with(n_gateways, &[]).await
    }

    /// The same with further variables in the environment of all of them.
    pub(crate) async fn split_with(
        n_gateways: usize,
        further: &[(&'static str, &str)],
    ) -> anyhow::Result<Self> {
        let mock = MockProvider::start().await?;
        let (postgres, redis) = (PostgresServer::start().await?, RedisServer::start().await?);
        let database = postgres.create_database("tollgate").await?;
        let mut environment = vec![
            ("TOLLGATE_DATABASE_URL", database),
            ("TOLLGATE_REDIS_URL", redis.url()),
            ("TOLLGATE_MASTER_KEY", MASTER_KEY.to_owned()),
            ("TOLLGATE_ADMIN_TOKEN", ADMIN_TOKEN.to_owned()),
            ("TOLLGATE_PLANE_TOKEN", PLANE_TOKEN.to_owned()),
            ("TOLLGATE_OPS_LISTEN", "127.0.0.1:0".to_owned()),
            ("TOLLGATE_ADMIN_LISTEN", "127.0.0.1:0".to_owned()),
            ("TOLLGATE_GRPC_LISTEN", "127.0.0.1:0".to_owned()),
        ];
        environment.extend(further.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let mut control = start("control", &environment)?;
        let ready = control.wait_for_line("ready ", READY_TIMEOUT).await?;
        let (admin_url, grpc_url) = (ready["admin"].clone(), ready["grpc"].clone());
        // a later start takes the same ports: pods and administrators know them
        let address = |url: &str| url.trim_start_matches("http://").to_owned();
        environment.retain(|(name, _)| !matches!(*name, "TOLLGATE_ADMIN_LISTEN" | "TOLLGATE_GRPC_LISTEN"));
        environment.push(("TOLLGATE_ADMIN_LISTEN", address(&admin_url)));
        environment.push(("TOLLGATE_GRPC_LISTEN", address(&grpc_url)));
        let admin = Admin::new(&admin_url);
        admin.post("/config/apply", &configuration(&mock)).await?;
        let mut gateway_environment = vec![
            ("TOLLGATE_REDIS_URL", redis.url()),
            ("TOLLGATE_CONTROL_URL", grpc_url),
            ("TOLLGATE_PLANE_TOKEN", PLANE_TOKEN.to_owned()),
            ("TOLLGATE_LISTEN", "127.0.0.1:0".to_owned()),
            ("TOLLGATE_OPS_LISTEN", "127.0.0.1:0".to_owned()),
        ];
        gateway_environment.extend(further.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let (mut traffic, mut gateways) = (Vec::new(), Vec::new());
        for _ in 0..n_gateways {
            let mut gateway = start("gateway", &gateway_environment)?;
            traffic.push(gateway.wait_for_line("ready ", READY_TIMEOUT).await?["traffic"].clone());
            gateways.push(gateway);
        }
        Ok(Self {
            traffic,
            gateways,
            control: Some(control),
            control_environment: environment,
            gateway_environment,
            admin,
            mock,
            backing: Backing::Split { postgres: Box::new(postgres), redis: Box::new(redis) },
        })
    }

    /// The provider got `n_requests`, they are journaled at `amount` (USD) in all, the key's budget says the same,
    /// and in the end nothing is held.
    pub(crate) async fn exactly_this_was_spent(
        &self,
        key: &Value,
        n_requests: u64,
        amount: &str,
    ) -> anyhow::Result<()> {
        assert_eq!(self.mock.counts().n_received, n_requests, "what is refused is not sent");
        let cost = self.admin.wait_for_journal(key, n_requests).await?;
        assert_eq!(cost, nano_usd(amount)?, "the journal's sum");
        let budget = eventually(SETTLE_TIMEOUT, "nothing to be held", async || {
            let budget = self.admin.budget_of_key(key).await.ok()?;
            (nano_usd(budget["held"].as_str()?).ok()? == 0).then_some(budget)
        })
        .await?;
        assert_eq!(nano_usd(budget["spent"].as_str().unwrap_or_default())?, cost, "{budget}");
        Ok(())
    }

    /// How many requests the gateways have admitted out of slabs since their starts; they count every half second.
    pub(crate) async fn admitted_out_of_slabs(&self) -> anyhow::Result<u64> {
        Ok(self.metric("tollgate_slab_admissions_total{path=\"local\"}").await?.into_iter().sum())
    }

    /// A series of whole numbers as each gateway has it now; 0 where it has none.
    pub(crate) async fn metric(&self, series: &str) -> anyhow::Result<Vec<u64>> {
        let http = HttpClient::new();
        let mut values = Vec::with_capacity(self.gateways.len());
        for gateway in &self.gateways {
            let ready = gateway.stdout_text();
            let ops =
                ready.split_whitespace().find_map(|word| word.strip_prefix("ops=")).context("no ops port")?;
            let metrics = http.get(&format!("{ops}/metrics")).await?.expect_status(200)?.text();
            let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
            values.push(value.map_or(Ok(0.0), str::parse::<f64>)? as u64);
        }
        Ok(values)
    }

    /// The chat endpoint of the n-th gateway, counted round.
    pub(crate) fn chat_url(&self, n: usize) -> String {
        format!("{}/v1/chat/completions", self.traffic[n % self.traffic.len()])
    }

    /// Kills the n-th gateway and starts another one in its place, on a port of its own.
    pub(crate) async fn replace_gateway(&mut self, n: usize) -> anyhow::Result<()> {
        self.gateways[n].signal(Signal::Kill)?;
        self.gateways[n].wait_exit(STOP_TIMEOUT).await?;
        let mut gateway = start("gateway", &self.gateway_environment)?;
        self.traffic[n] = gateway.wait_for_line("ready ", READY_TIMEOUT).await?["traffic"].clone();
        self.gateways[n] = gateway;
        Ok(())
    }

    /// Kills the only process and starts it again on the same data, under other ports. Answers how long that took
    /// to be ready.
    pub(crate) async fn kill_and_start_again(&mut self) -> anyhow::Result<Duration> {
        let Backing::Single { data } = &self.backing else { anyhow::bail!("more than one process") };
        self.gateways[0].signal(Signal::Kill)?;
        self.gateways[0].wait_exit(STOP_TIMEOUT).await?;
        let began = std::time::Instant::now();
        let mut process = start_single(data.path())?;
        let ready = process.wait_for_line("ready ", READY_TIMEOUT).await?;
        let took = began.elapsed();
        (self.traffic[0], self.admin) = (ready["traffic"].clone(), Admin::new(&ready["admin"]));
        self.gateways[0] = process;
        Ok(took)
    }

    /// The Redis that the processes share.
    pub(crate) fn redis_server(&mut self) -> anyhow::Result<&mut RedisServer> {
        match &mut self.backing {
            Backing::Split { redis, .. } => Ok(redis),
            Backing::Single { .. } => anyhow::bail!("no Redis of its own"),
        }
    }

    /// What all processes logged, for a test that fails.
    pub(crate) fn logs(&self) -> String {
        let gateways = self.gateways.iter().map(ChildProcess::stderr_text);
        self.control.iter().map(ChildProcess::stderr_text).chain(gateways).collect::<Vec<_>>().join("\n---\n")
    }

    /// Ends the control plane and the database.
    pub(crate) async fn stop_control_and_postgres(&mut self) -> anyhow::Result<()> {
        let mut control = self.control.take().context("no control plane of its own")?;
        control.signal(Signal::Kill)?;
        control.wait_exit(STOP_TIMEOUT).await?;
        match &mut self.backing {
            Backing::Split { postgres, .. } => postgres.stop().await,
            Backing::Single { .. } => anyhow::bail!("no database of its own"),
        }
    }

    /// Starts both again, on the same ports.
    pub(crate) async fn start_control_and_postgres(&mut self) -> anyhow::Result<()> {
        if let Backing::Split { postgres, .. } = &mut self.backing {
            postgres.start_again().await?;
        }
        let mut control = start("control", &self.control_environment)?;
        control.wait_for_line("ready ", READY_TIMEOUT).await?;
        self.control = Some(control);
        Ok(())
    }

    /// Everything that Redis holds under a pattern; nothing in a single process.
    pub(crate) async fn redis(&self, arguments: &[&str]) -> anyhow::Result<String> {
        match &self.backing {
            Backing::Split { redis, .. } => redis.cli(arguments).await,
            Backing::Single { .. } => Ok(String::new()),
        }
    }
}

fn start_single(data: &std::path::Path) -> anyhow::Result<ChildProcess> {
    ChildProcess::builder(tollgate_binary()?)
        .arg("all")
        .env("TOLLGATE_CONFIG", data.join("tollgate.yaml"))
        .env("TOLLGATE_DATA_DIR", data)
        .env("TOLLGATE_ADMIN_TOKEN", ADMIN_TOKEN)
        .env("TOLLGATE_LISTEN", "127.0.0.1:0")
        .env("TOLLGATE_ADMIN_LISTEN", "127.0.0.1:0")
        .env("TOLLGATE_OPS_LISTEN", "127.0.0.1:0")
        .start()
}

fn start(command: &str, environment: &[(&'static str, String)]) -> anyhow::Result<ChildProcess> {
    let mut builder = ChildProcess::builder(tollgate_binary()?).arg(command);
    for (name, value) in environment {
        builder = builder.env(name, value);
    }
    builder.start()
}

/// A chat for `model` with a cap.
pub(crate) fn chat(model: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": "hello" }], "max_tokens": 50 })
}
