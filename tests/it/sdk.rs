//! The official `openai` Python SDK as a client: against one process, against the split set-up, against
//! `tollgate dev`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tollgate_testkit::mock_provider::{Script, Usage};
use tollgate_testkit::process::{ChildProcess, tollgate_binary};
use tollgate_testkit::wait::eventually;

use crate::installation::{INPUT_PRICE, Installation, KEY, OUTPUT_PRICE, SETTLE_TIMEOUT, nano_usd};

/// What the mock reports for every answer.
const USAGE: Usage = Usage { prompt_tokens: 21, completion_tokens: 9, cached_tokens: 0, reasoning_tokens: 0 };

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_owned)
}

/// Runs `tests/sdk/<script>` with the pinned SDK; its last line is a JSON report.
async fn run_python(script: &str, environment: &[(&str, &str)]) -> anyhow::Result<Value> {
    let python = repository().join(".setup/venv/bin/python");
    ensure!(python.exists(), "the client SDKs are not installed: run `cargo xtask setup`");
    let mut command = tokio::process::Command::new(python);
    command
        .arg(repository().join("tests/sdk").join(script))
        .env_clear()
        .stdin(Stdio::null())
        .kill_on_drop(true);
    for (name, value) in environment {
        command.env(name, value);
    }
    let output = tokio::time::timeout(Duration::from_secs(120), command.output()).await??;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{script} failed:\n{stdout}\n{stderr}");
    serde_json::from_str(stdout.lines().last().context("no output")?).context("the last line is no report")
}

async fn the_sdk_works(installation: Installation) -> anyhow::Result<()> {
    installation.mock.set_responder(|request| {
        let body = request.json().unwrap_or(Value::Null);
        let text = body["messages"][0]["content"].as_str().unwrap_or_default().to_owned();
        Some(match text.as_str() {
            "fail" => Script::error(500, "boom"),
            "refuse" => Script::error(400, "no such thing"),
            "limit" => Script::error(429, "slow down"),
            "break" => Script::new()
                .n_chunks(9)
                .break_after_chunks(3, tollgate_testkit::mock_provider::BreakKind::Reset),
            "tools" => Script::new().echo_tools().usage(USAGE),
            _ => Script::new().text("one two three").usage(USAGE),
        })
    });
    let tight = installation.admin.key_with_budget("tight", "0.000001").await?;
    let narrow = json!({ "name": "narrow", "models": ["chat-*"], "limits": { "requests_per_minute": 1 } });
    let narrow = installation.admin.post("/projects/bot/keys", &narrow).await?;
    for base in &installation.traffic {
        let base = format!("{base}/v1");
        let environment = [
            ("BASE_URL", base.as_str()),
            ("API_KEY", KEY),
            ("TIGHT_KEY", tight["secret"].as_str().unwrap_or_default()),
            ("NARROW_KEY", narrow["secret"].as_str().unwrap_or_default()),
        ];
        let report = run_python("openai_client.py", &environment).await?;
        let cost = USAGE.prompt_tokens * INPUT_PRICE + USAGE.completion_tokens * OUTPUT_PRICE;
        assert_eq!(report["chat_cost_nano_usd"], cost, "{report}");
        assert_eq!(report["stream_cost_nano_usd"], cost, "{report}");
        journal_agrees(&installation, &report).await?;
    }
    Ok(())
}

/// The receipts of the requests that the client counted say the same as the client and the mock.
async fn journal_agrees(installation: &Installation, report: &Value) -> anyhow::Result<()> {
    for request in report["request_ids"].as_array().context("request ids")? {
        let path = format!("/requests/{}", request.as_str().unwrap_or_default());
        let receipt =
            eventually(SETTLE_TIMEOUT, "the receipt", async || installation.admin.get(&path).await.ok())
                .await?;
        assert_eq!(receipt["basis"], "provider", "{receipt}");
        assert_eq!(receipt["usage"]["input"], USAGE.prompt_tokens, "{receipt}");
        assert_eq!(receipt["usage"]["output"], USAGE.completion_tokens, "{receipt}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_openai_sdk_works_against_one_process() -> anyhow::Result<()> {
    the_sdk_works(Installation::single().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_openai_sdk_works_against_two_pods() -> anyhow::Result<()> {
    the_sdk_works(Installation::split().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_works_as_its_banner_says() -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let mut dev = ChildProcess::builder(tollgate_binary()?)
        .arg("dev")
        .env("TOLLGATE_DATA_DIR", data.path().join("data"))
        .env("TOLLGATE_LISTEN", "127.0.0.1:0")
        .env("TOLLGATE_ADMIN_LISTEN", "127.0.0.1:0")
        .env("TOLLGATE_OPS_LISTEN", "127.0.0.1:0")
        .start()?;
    let ready = dev.wait_for_line("ready ", Duration::from_secs(60)).await?;
    let line = dev.wait_for_line_text("curl ", Duration::from_secs(5)).await?;
    let answer =
        tokio::process::Command::new("sh").arg("-c").arg(format!("{line} --silent --fail")).output().await?;
    ensure!(answer.status.success(), "the printed line fails: {}", String::from_utf8_lossy(&answer.stderr));
    let answer: Value = serde_json::from_slice(&answer.stdout)?;
    let cost = answer["usage"]["cost"].as_f64().context("a cost")?;
    assert!(cost > 0.0, "{answer}");
    let usage = eventually(SETTLE_TIMEOUT, "the cost in `tollgate usage`", async || {
        let output = tokio::process::Command::new(tollgate_binary().ok()?)
            .args(["usage", "--output", "json"])
            .env("TOLLGATE_ADMIN_URL", &ready["admin"])
            .env("TOLLGATE_DATA_DIR", data.path().join("data"))
            .output()
            .await
            .ok()?;
        let report: Value = serde_json::from_slice(&output.stdout).ok()?;
        (report["data"][0]["requests"] == 1).then_some(report)
    })
    .await?;
    let told: f64 = usage["data"][0]["cost_usd"].as_str().context("a cost")?.parse()?;
    assert!((told - cost).abs() < 1e-12, "{usage}");
    let key = std::fs::read_to_string(data.path().join("data/demo-key"))?;
    let base = format!("{}/v1", ready["traffic"]);
    run_python("openai_demo.py", &[("BASE_URL", &base), ("API_KEY", key.trim())]).await?;
    Ok(())
}

/// One agent's step: a thousandth of the budget, where a twenty-fifth was reserved.
const STEP_TAKES: Duration = Duration::from_millis(600);
const STEP: Usage = Usage { prompt_tokens: 5, completion_tokens: 5, cached_tokens: 0, reasoning_tokens: 0 };

#[tokio::test(flavor = "multi_thread")]
async fn agents_wait_for_each_other_s_reservations_and_not_for_spent_money() -> anyhow::Result<()> {
    let installation = Installation::single().await?;
    let step = Script::new().text("done").usage(STEP).delay_before_headers(STEP_TAKES);
    installation.mock.set_default(step);
    let ask = json!({
        "model": "chat-default", "messages": [{ "role": "user", "content": "step" }], "max_tokens": 256,
    });
    let http = tollgate_testkit::http::HttpClient::new().with_bearer(KEY);
    let quote = http.post_json(&format!("{}/v1/quote", installation.traffic[0]), &ask).await?;
    let quote = quote.expect_status(200)?.json()?;
    let reserved = nano_usd(quote["worst_case_cost_usd"].as_str().context("a quote")?)?;
    let limit = reserved * 25;
    let limit = format!("{}.{:09}", limit / 1_000_000_000, limit % 1_000_000_000);
    let agents = installation.admin.key_with_budget("agents", &limit).await?;
    let spent = installation.admin.key_with_budget("spent", "0.000001").await?;
    let base = format!("{}/v1", installation.traffic[0]);
    let environment = [
        ("BASE_URL", base.as_str()),
        ("AGENT_KEY", agents["secret"].as_str().unwrap_or_default()),
        ("SPENT_KEY", spent["secret"].as_str().unwrap_or_default()),
    ];
    let report = run_python("openai_agents.py", &environment).await?;
    assert!(report["answered"].as_u64() >= Some(45), "{report}");
    // What an agent waits at most: all of the SDK's retries, each after the longest pause that it was told, and every
    // try as long as the provider takes. Not what the clock says, which on a loaded machine is somebody else's time.
    let retries = report["max_retries"].as_f64().context("retries")?;
    let pause = report["longest_pause_seconds"].as_f64().context("a pause")?;
    assert!(retries * pause + (retries + 1.0) * STEP_TAKES.as_secs_f64() < 10.0, "{report}");
    assert!(report["tries"].as_u64() > Some(50), "nobody had to wait, so nothing was shown: {report}");
    assert_eq!(
        (&report["spent_code"], &report["spent_tries"]),
        (&json!("budget_exceeded"), &json!(1)),
        "{report}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_openai_sdk_reads_an_answer_that_its_money_ends() -> anyhow::Result<()> {
    let installation = Installation::single().await?;
    installation.mock.set_default(Script::new().n_chunks(3_000));
    let long = json!({
        "name": "chat-long", "targets": [{ "provider": "mock", "model": "m" }], "hold": { "slice_tokens": 256 },
    });
    installation.admin.post("/models", &long).await?;
    let ask = json!({
        "model": "chat-long", "messages": [{ "role": "user", "content": "tell" }], "max_tokens": 4_000,
        "stream": true,
    });
    let http = tollgate_testkit::http::HttpClient::new().with_bearer(KEY);
    let quote_url = format!("{}/v1/quote", installation.traffic[0]);
    let quote = eventually(SETTLE_TIMEOUT, "the new model", async || {
        http.post_json(&quote_url, &ask).await.ok()?.expect_status(200).ok()?.json().ok()
    })
    .await?;
    let limit = nano_usd(quote["hold_usd"].as_str().context("a quote")?)? + 500 * OUTPUT_PRICE;
    let text = format!("{}.{:09}", limit / 1_000_000_000, limit % 1_000_000_000);
    let key = installation.admin.key_with_budget("short", &text).await?;
    let base = format!("{}/v1", installation.traffic[0]);
    let secret = key["secret"].as_str().unwrap_or_default();
    let report = run_python("openai_slices.py", &[("BASE_URL", &base), ("API_KEY", secret)]).await?;
    assert_eq!(report["code"], "budget_exceeded", "{report}");
    let cost = installation.admin.wait_for_journal(&key, 1).await?;
    assert_eq!(report["cost_nano_usd"], cost, "{report}");
    assert!(cost <= limit, "{report}");
    Ok(())
}
