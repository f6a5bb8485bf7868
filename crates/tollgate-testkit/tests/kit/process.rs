//! Child processes.

use std::time::Duration;

use tollgate_testkit::http::HttpClient;
use tollgate_testkit::process::{ChildProcess, Signal, tollgate_binary};

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn reads_the_ready_line_and_both_outputs() -> anyhow::Result<()> {
    let script =
        "echo starting; echo 'ready traffic=http://127.0.0.1:1 ops=http://127.0.0.1:2 now'; echo bad >&2";
    let mut child = ChildProcess::builder("sh").args(["-c", script]).start()?;
    let ready = child.wait_for_line("ready ", PATIENCE).await?;
    assert_eq!(ready["traffic"], "http://127.0.0.1:1");
    assert_eq!(ready["ops"], "http://127.0.0.1:2");
    assert_eq!(ready.len(), 2);
    assert!(child.wait_exit(PATIENCE).await?.success());
    assert_eq!(child.stderr_text(), "bad\n");
    assert!(child.stdout_text().starts_with("starting\nready"));
    assert!(child.signal(Signal::Terminate).is_err(), "an ended process takes no signal");
    Ok(())
}

#[tokio::test]
async fn sees_only_the_given_environment() -> anyhow::Result<()> {
    let mut child = ChildProcess::builder("env").env("GIVEN", "1").start()?;
    child.wait_exit(PATIENCE).await?;
    let output = child.stdout_text();
    let names = output.lines().filter_map(|line| line.split('=').next()).collect::<Vec<_>>();
    assert!(
        names.contains(&"GIVEN") && names.iter().all(|name| ["GIVEN", "PATH"].contains(name)),
        "{names:?}"
    );
    Ok(())
}

#[tokio::test]
async fn fails_early_and_tells_why() -> anyhow::Result<()> {
    let mut child = ChildProcess::builder("sh").args(["-c", "echo no database >&2; exit 3"]).start()?;
    let error = child.wait_for_line("ready ", PATIENCE).await.unwrap_err().to_string();
    assert!(error.contains("it ended") && error.contains("no database"), "{error}");
    assert_eq!(child.wait_exit(PATIENCE).await?.code(), Some(3));

    let mut child = ChildProcess::builder("sleep").arg("600").start()?;
    let error = child.wait_for_line("ready ", Duration::from_millis(50)).await.unwrap_err();
    assert!(format!("{error:#}").contains("in vain"), "{error:#}");
    assert!(child.wait_exit(Duration::from_millis(50)).await.is_err());
    assert!(ChildProcess::builder("/no/such/program").start().is_err());
    Ok(())
}

#[tokio::test]
async fn signals_reach_exactly_the_process() -> anyhow::Result<()> {
    let script = "trap 'echo got TERM; exit 7' TERM; echo ready; while :; do sleep 0.01; done";
    let mut child = ChildProcess::builder("sh").args(["-c", script]).start()?;
    child.wait_for_line("ready", PATIENCE).await?;
    assert!(child.is_running());
    child.signal(Signal::Terminate)?;
    assert_eq!(child.wait_exit(PATIENCE).await?.code(), Some(7));
    assert!(child.stdout_text().contains("got TERM"));
    assert!(!child.is_running());

    let child = ChildProcess::builder("sleep").arg("600").start()?;
    let (process, directory) = (format!("/proc/{}", child.process_id()), child.directory().to_owned());
    drop(child);
    assert!(!std::path::Path::new(&process).exists() && !directory.exists());
    Ok(())
}

#[tokio::test]
async fn the_mock_provider_runs_as_a_process() -> anyhow::Result<()> {
    let mut mock = ChildProcess::builder(env!("CARGO_BIN_EXE_mock-provider")).env("N_CHUNKS", "3").start()?;
    let ready = mock.wait_for_line_text("ready ", PATIENCE).await?;
    let address = ready.strip_prefix("ready ").unwrap();
    let body = serde_json::json!({ "model": "m", "messages": [{ "role": "user", "content": "hello" }] });
    let answer = HttpClient::new().post_json(&format!("{address}/v1/chat/completions"), &body).await?;
    assert_eq!(answer.expect_status(200)?.json()?["usage"]["completion_tokens"], 3);
    Ok(())
}

#[test]
fn the_path_of_the_product_is_a_file_or_says_what_to_do() {
    match tollgate_binary() {
        Ok(path) => assert!(path.is_file()),
        Err(error) => assert!(error.to_string().contains("cargo build --bin tollgate"), "{error}"),
    }
}
