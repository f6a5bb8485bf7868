//! The private Redis.

use std::net::TcpStream;
use std::time::Duration;

use tollgate_testkit::process::ChildProcess;
use tollgate_testkit::redis::RedisServer;
use tollgate_testkit::wait::eventually;

#[tokio::test]
async fn stores_flushes_stops_and_starts_again() -> anyhow::Result<()> {
    let mut server = RedisServer::start().await?;
    assert_eq!(server.url(), format!("redis://127.0.0.1:{}", server.port()));
    assert_eq!(server.cli(&["SET", "key", "value"]).await?, "OK");
    assert_eq!(server.cli(&["GET", "key"]).await?, "value");
    assert_eq!(server.cli(&["CONFIG", "GET", "maxmemory-policy"]).await?, "maxmemory-policy\nnoeviction");
    server.flush_all().await?;
    assert_eq!(server.cli(&["DBSIZE"]).await?, "0");

    server.cli(&["SET", "key", "value"]).await?;
    let port = server.port();
    server.stop().await?;
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "a stopped server refuses");
    assert!(server.cli(&["PING"]).await.is_err());
    server.start_again().await?;
    assert_eq!(server.port(), port);
    assert_eq!(server.cli(&["EXISTS", "key"]).await?, "0", "nothing is kept");
    Ok(())
}

#[tokio::test]
async fn an_error_reply_is_an_error() -> anyhow::Result<()> {
    let server = RedisServer::start().await?;
    server.cli(&["SET", "key", "text"]).await?;
    let error = server.cli(&["INCR", "key"]).await.unwrap_err();
    assert!(error.to_string().contains("not an integer"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_frozen_server_accepts_and_does_not_answer() -> anyhow::Result<()> {
    let server = RedisServer::start().await?;
    server.freeze()?;
    TcpStream::connect(("127.0.0.1", server.port()))?;
    let mut ping = Box::pin(server.cli(&["PING"]));
    let early = tokio::time::timeout(Duration::from_millis(200), ping.as_mut()).await;
    assert!(early.is_err(), "a frozen server answered: {early:?}");
    server.thaw()?;
    assert_eq!(ping.as_mut().await?, "PONG");
    drop(ping);
    server.freeze()?;
    let process = format!("/proc/{}", server.process_id().unwrap());
    drop(server);
    eventually(Duration::from_secs(5), "a frozen server to end when dropped", async || {
        (!std::path::Path::new(&process).exists()).then_some(())
    })
    .await
}

/// Marks the process that `says_what_to_install` starts from itself with an empty `PATH`.
const WITHOUT_PROGRAMS_VARIABLE: &str = "TESTKIT_WITHOUT_PROGRAMS";

#[tokio::test]
async fn says_what_to_install() -> anyhow::Result<()> {
    if std::env::var_os(WITHOUT_PROGRAMS_VARIABLE).is_some() {
        return RedisServer::start().await.map(drop);
    }
    let mut without = ChildProcess::builder(std::env::current_exe()?)
        .args(["--exact", "redis::says_what_to_install"])
        .env("PATH", "/nonexistent")
        .env(WITHOUT_PROGRAMS_VARIABLE, "1")
        .start()?;
    assert!(!without.wait_exit(Duration::from_secs(20)).await?.success());
    let output = without.stdout_text() + &without.stderr_text();
    assert!(output.contains("Redis is not installed: run `cargo xtask setup`"), "{output}");
    Ok(())
}
