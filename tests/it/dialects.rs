//! Client SDKs from their registries against providers of every dialect: each driver in `tests/sdk` runs the
//! scenarios of `tests/sdk/scenarios.json` and reports what passed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tollgate_testkit::vendors::{self, KeptResponses};
use tollgate_testkit::wait::eventually;

use crate::installation::{Installation, KEY, SETTLE_TIMEOUT};

/// The providers' names, their dialects, what stands behind the address in their base URL, and their model.
const PROVIDERS: [(&str, &str, &str, &str); 8] = [
    ("openai", "openai", "/v1", "m"),
    ("azure", "azure_openai", "", "m"),
    ("anthropic", "anthropic", "", "m"),
    ("gemini", "gemini", "", "m"),
    ("cohere", "cohere", "", "m"),
    ("bedrock", "bedrock", "", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
    ("vertex-gemini", "vertex", VERTEX_PATH, "gemini-2.5-pro"),
    ("vertex-claude", "vertex", VERTEX_PATH, "claude-sonnet-4-5@20250929"),
];
const VERTEX_PATH: &str = "/v1/projects/p-1/locations/us-east5";
/// A driver takes a few seconds; importing its packages on a loaded machine more.
const DRIVER_TIMEOUT: Duration = Duration::from_secs(120);

/// What runs the drivers, as `cargo xtask setup` installs it.
#[derive(Clone, Copy)]
enum Runtime {
    /// The venv of that name in `.setup`.
    Python(&'static str),
    Node,
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_owned)
}

/// A key that has no money.
const TIGHT_KEY: &str = "sk-acme-tight-0123456789";

/// One process with a provider and a virtual model `chat-<provider>` of every dialect.
async fn installation() -> anyhow::Result<Installation> {
    let installation = Installation::single_with(|configuration, address| {
        let mut add = |list: &str, row: Value| {
            configuration[list].as_array_mut().expect("the configuration has the list").push(row);
        };
        for (name, dialect, path, model) in PROVIDERS {
            let secret = match dialect {
                "bedrock" => json!({ "access_key_id": "AKIDEXAMPLE", "secret_access_key": "bedrock-secret" })
                    .to_string(),
                _ => format!("{name}-secret"),
            };
            add(
                "providers",
                json!({
                    "name": name, "dialect": dialect, "base_url": format!("http://{address}{path}"),
                    "region": "us-east-1", "credentials": [{ "name": "main", "secret": secret, "weight": 1 }],
                }),
            );
            add(
                "prices",
                json!({
                    "provider": name, "model": model, "input": "1", "cached_input": "0.5", "output": "2",
                }),
            );
            let targets = json!([{ "provider": name, "model": model }]);
            add("models", json!({ "name": format!("chat-{name}"), "targets": targets }));
        }
        let budget = json!({ "limit": "0.000001", "window": "total" });
        let tight = json!({ "name": "tight", "secret": TIGHT_KEY, "budgets": [budget] });
        let keys = &mut configuration["tenants"][0]["projects"][0]["keys"];
        keys.as_array_mut().expect("the project has keys").push(tight);
    })
    .await?;
    let kept = KeptResponses::new();
    installation.mock.set_responder(move |request| kept.answer(request).or_else(|| vendors::script(request)));
    Ok(installation)
}

/// Runs a driver; its last line is its report.
async fn run(runtime: Runtime, script: &str, environment: &[(&str, &str)]) -> anyhow::Result<Value> {
    let (program, folder): (PathBuf, &str) = match runtime {
        Runtime::Python(venv) => (repository().join(".setup").join(venv).join("bin/python"), "tests/sdk"),
        Runtime::Node => ("node".into(), "tests/sdk/node"),
    };
    let installed = match runtime {
        Runtime::Python(_) => program.clone(),
        Runtime::Node => repository().join(folder).join("node_modules"),
    };
    ensure!(installed.exists(), "the client SDKs are not installed: run `cargo xtask setup`");
    let mut command = tokio::process::Command::new(program);
    command.arg(repository().join(folder).join(script)).env_clear().stdin(Stdio::null()).kill_on_drop(true);
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.envs(environment.iter().copied());
    let output = tokio::time::timeout(DRIVER_TIMEOUT, command.output()).await??;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{script} failed:\n{stdout}\n{stderr}");
    serde_json::from_str(stdout.lines().last().context("no output")?).context("the last line is no report")
}

/// Everything passed, or is absent for the reason that the driver gives; nothing was left out.
fn check(report: &Value, clients: &[&str]) -> anyhow::Result<u64> {
    ensure!(report["failed"] == json!({}), "{:#}", report["failed"]);
    let names: BTreeSet<String> =
        serde_json::from_str(&std::fs::read_to_string(repository().join("tests/sdk/scenarios.json"))?)?;
    let mut n_cancelled = 0;
    for client in clients {
        let absent = report["absent"][client].as_object().cloned().unwrap_or_default();
        for (provider, ..) in PROVIDERS {
            let passed = report["passed"][client][format!("chat-{provider}")].as_array().context("a list")?;
            let mut seen: BTreeSet<String> =
                passed.iter().filter_map(Value::as_str).map(str::to_owned).collect();
            n_cancelled += u64::from(seen.contains("cancel"));
            seen.extend(absent.keys().cloned());
            ensure!(seen == names, "{client} with {provider} ran {seen:?} of {names:?}");
        }
    }
    Ok(n_cancelled)
}

async fn the_driver_passes(runtime: Runtime, script: &str, clients: &[&str]) -> anyhow::Result<()> {
    let installation = installation().await?;
    let base = &installation.traffic[0];
    let models: Vec<String> = PROVIDERS.iter().map(|(name, ..)| format!("chat-{name}")).collect();
    let models = models.join(",");
    let environment = [
        ("BASE_URL", base.as_str()),
        ("API_KEY", KEY),
        ("TIGHT_KEY", TIGHT_KEY),
        ("MODELS", models.as_str()),
    ];
    let report = run(runtime, script, &environment).await.with_context(|| installation.logs())?;
    let n_cancelled = check(&report, clients).with_context(|| installation.logs())?;
    // what a client left was ended at the provider, too
    installation.mock.wait_for_disconnects(n_cancelled).await?;
    installation.mock.wait_for_idle().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_openai_python_sdk_reaches_every_dialect() -> anyhow::Result<()> {
    let clients = ["openai python, chat", "openai python, responses"];
    the_driver_passes(Runtime::Python("venv"), "openai_dialects.py", &clients).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_anthropic_python_sdk_reaches_every_dialect() -> anyhow::Result<()> {
    the_driver_passes(Runtime::Python("venv"), "anthropic_client.py", &["anthropic python"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_google_python_sdk_reaches_every_dialect() -> anyhow::Result<()> {
    the_driver_passes(Runtime::Python("venv"), "google_client.py", &["google-genai python"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn langchain_reaches_every_dialect() -> anyhow::Result<()> {
    let clients = ["langchain, openai chat", "langchain, openai responses", "langchain, anthropic"];
    the_driver_passes(Runtime::Python("venv"), "langchain_client.py", &clients).await
}

#[tokio::test(flavor = "multi_thread")]
async fn litellm_as_a_client_reaches_every_dialect() -> anyhow::Result<()> {
    let clients = ["litellm, openai", "litellm, anthropic"];
    the_driver_passes(Runtime::Python("venv-adapters"), "litellm_client.py", &clients).await
}

#[tokio::test(flavor = "multi_thread")]
async fn instructor_reaches_every_dialect() -> anyhow::Result<()> {
    the_driver_passes(Runtime::Python("venv-adapters"), "instructor_client.py", &["instructor"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_openai_node_sdk_reaches_every_dialect() -> anyhow::Result<()> {
    let clients = ["openai node, chat", "openai node, responses"];
    the_driver_passes(Runtime::Node, "openai_client.mjs", &clients).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_anthropic_node_sdk_reaches_every_dialect() -> anyhow::Result<()> {
    the_driver_passes(Runtime::Node, "anthropic_client.mjs", &["anthropic node"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vercel_ai_sdk_reaches_every_dialect() -> anyhow::Result<()> {
    let clients = ["vercel, openai chat", "vercel, openai responses", "vercel, anthropic"];
    the_driver_passes(Runtime::Node, "vercel_client.mjs", &clients).await
}

/// A driver of what a provider of Responses keeps: everything is charged, and nothing stays held.
async fn the_driver_keeps_responses(runtime: Runtime, script: &str, n_checks: usize) -> anyhow::Result<()> {
    let installation = installation().await?;
    let environment = [("BASE_URL", installation.traffic[0].as_str()), ("API_KEY", KEY)];
    let report = run(runtime, script, &environment).await?;
    ensure!(report["passed"].as_array().is_some_and(|passed| passed.len() == n_checks), "{report}");
    eventually(SETTLE_TIMEOUT, "every hold to be settled", async || {
        let holds = installation.admin.get("/holds?tenant=acme").await.ok()?;
        holds["data"].as_array()?.is_empty().then_some(())
    })
    .await?;
    installation.mock.wait_for_idle().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_openai_python_sdk_keeps_responses() -> anyhow::Result<()> {
    the_driver_keeps_responses(Runtime::Python("venv"), "openai_responses.py", 7).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_openai_node_sdk_keeps_responses() -> anyhow::Result<()> {
    the_driver_keeps_responses(Runtime::Node, "openai_responses.mjs", 6).await
}
