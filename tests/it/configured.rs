//! A configuration file is applied when it, or what it made, has changed, and only then.

use serde_json::json;
use tollgate_testkit::http::HttpClient;
use tollgate_testkit::process::{ChildProcess, Signal, tollgate_binary};

use crate::installation::{READY_TIMEOUT, STOP_TIMEOUT};

const ADMIN_TOKEN: &str = "admin-token-for-tests-0123456789";

struct Started {
    process: ChildProcess,
    admin: String,
}

async fn start(directory: &std::path::Path) -> anyhow::Result<Started> {
    let mut process = ChildProcess::builder(tollgate_binary()?)
        .arg("all")
        .env("TOLLGATE_CONFIG", directory.join("tollgate.yaml"))
        .env("TOLLGATE_DATA_DIR", directory)
        .env("TOLLGATE_ADMIN_TOKEN", ADMIN_TOKEN)
        .env("TOLLGATE_LISTEN", "127.0.0.1:0")
        .env("TOLLGATE_ADMIN_LISTEN", "127.0.0.1:0")
        .env("TOLLGATE_OPS_LISTEN", "127.0.0.1:0")
        .start()?;
    let ready = process.wait_for_line("ready ", READY_TIMEOUT).await?;
    Ok(Started { process, admin: format!("{}/api/v1", ready["admin"]) })
}

impl Started {
    async fn stop(mut self) -> anyhow::Result<String> {
        self.process.signal(Signal::Terminate)?;
        let status = self.process.wait_exit(STOP_TIMEOUT).await?;
        anyhow::ensure!(status.success(), "{status}");
        Ok(self.process.stderr_text())
    }
}

fn configuration(keys: &[&str]) -> String {
    let keys: Vec<_> =
        keys.iter().map(|name| json!({ "name": name, "secret": format!("sk-{name}-0123456789") })).collect();
    let projects = json!([{ "name": "bot", "keys": keys }]);
    json!({ "version": 1, "tenants": [{ "name": "acme", "projects": projects }] }).to_string()
}

#[tokio::test]
async fn a_file_is_applied_again_where_it_or_what_it_made_has_changed() -> anyhow::Result<()> {
    const NOTHING_TO_DO: &str = "the configuration is the one applied last";
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("tollgate.yaml");
    let http = HttpClient::new().with_bearer(ADMIN_TOKEN);
    let keys_of = async |admin: &str| -> anyhow::Result<Vec<String>> {
        let list = http.get(&format!("{admin}/projects/bot/keys")).await?.expect_status(200)?.json()?;
        let names = list["data"].as_array().into_iter().flatten();
        Ok(names.filter_map(|key| key["name"].as_str().map(str::to_owned)).collect())
    };

    std::fs::write(&file, configuration(&["first"]))?;
    let started = start(directory.path()).await?;
    assert_eq!(keys_of(&started.admin).await?, ["first"]);
    assert!(!started.stop().await?.contains(NOTHING_TO_DO));

    let started = start(directory.path()).await?;
    assert_eq!(keys_of(&started.admin).await?, ["first"]);
    let made = json!({ "name": "made-by-hand" });
    let answer = http.post_json(&format!("{}/projects/bot/keys", started.admin), &made).await?;
    anyhow::ensure!(answer.status.is_success(), "{}", answer.text());
    assert!(started.stop().await?.contains(NOTHING_TO_DO), "nothing had changed at the second start");

    // something was changed by hand: the file is applied again
    let started = start(directory.path()).await?;
    assert!(!started.stop().await?.contains(NOTHING_TO_DO));

    std::fs::write(&file, configuration(&["first", "second"]))?;
    let started = start(directory.path()).await?;
    assert!(keys_of(&started.admin).await?.contains(&"second".to_owned()));
    assert!(!started.stop().await?.contains(NOTHING_TO_DO));
    Ok(())
}

#[tokio::test]
async fn the_gateway_of_one_process_serves_what_a_write_was_answered_for() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    std::fs::write(directory.path().join("tollgate.yaml"), configuration(&["first"]))?;
    let started = start(directory.path()).await?;
    let http = HttpClient::new().with_bearer(ADMIN_TOKEN);
    let tenant = json!({ "name": "other" });
    http.post_json(&format!("{}/tenants", started.admin), &tenant).await?.expect_status(201)?;
    let nodes = http.get(&format!("{}/nodes", started.admin)).await?.expect_status(200)?.json()?;
    let node = &nodes["data"][0];
    assert_eq!((&node["lag"], &node["connected"]), (&json!(0), &json!(true)), "{nodes}");
    assert!(node["revision"].as_u64().is_some_and(|revision| revision > 0), "{nodes}");
    let log = started.stop().await?;
    assert!(!log.contains("not every pod has the newest policy"), "{log}");
    Ok(())
}
