//! The private PostgreSQL.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::ensure;
use tollgate_testkit::postgres::PostgresServer;
use tollgate_testkit::process::{ChildProcess, Signal};
use tollgate_testkit::wait::eventually;

#[tokio::test]
async fn creates_databases_and_keeps_them_over_stop_and_crash() -> anyhow::Result<()> {
    let mut server = PostgresServer::start().await?;
    let url = server.create_database("first").await?;
    assert_eq!(url, format!("postgres://postgres@127.0.0.1:{}/first", server.port()));
    server.query("first", "CREATE TABLE t (x INT); INSERT INTO t VALUES (1), (2)").await?;

    let port = server.port();
    server.stop().await?;
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "a stopped server refuses");
    assert!(server.query("first", "SELECT 1").await.is_err());
    server.start_again().await?;
    assert_eq!(server.port(), port);
    assert_eq!(server.query("first", "SELECT x FROM t ORDER BY x").await?, "1\n2");

    server.query("first", "SET synchronous_commit = on; INSERT INTO t VALUES (3)").await?;
    server.crash().await?;
    server.start_again().await?;
    assert_eq!(server.query("first", "SELECT sum(x), count(*) FROM t").await?, "6|3");

    server.create_database_from("second", "first").await?;
    assert_eq!(server.query("second", "SELECT count(*) FROM t").await?, "3");
    Ok(())
}

#[tokio::test]
async fn refuses_odd_names_and_shows_the_errors_of_sql() -> anyhow::Result<()> {
    let server = PostgresServer::start().await?;
    for name in ["", "1st", "a b", "x;DROP", "Ä", &"a".repeat(64)] {
        assert!(server.create_database(name).await.is_err(), "{name:?}");
    }
    let error = server.query("postgres", "SELECT * FROM nowhere").await.unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
    Ok(())
}

#[tokio::test]
async fn leaves_nothing_behind() -> anyhow::Result<()> {
    let server = PostgresServer::start().await?;
    let directory = server.directory().to_owned();
    let address = SocketAddr::from(([127, 0, 0, 1], server.port()));
    ensure!(directory.is_dir());
    drop(server);
    ensure!(!directory.exists(), "the directory is still there");
    ensure!(TcpStream::connect(address).is_err(), "the server still listens");
    Ok(())
}

/// Marks the process that `ends_with_a_killed_test_process` starts from itself in order to kill it.
const VICTIM_VARIABLE: &str = "TESTKIT_VICTIM";

#[tokio::test]
async fn ends_with_a_killed_test_process() -> anyhow::Result<()> {
    if std::env::var_os(VICTIM_VARIABLE).is_some() {
        let server = PostgresServer::start().await?;
        let directory = server.directory().display();
        println!("\nserver pid={} directory={directory}", server.process_id().unwrap());
        return std::future::pending().await;
    }
    let mut victim = ChildProcess::builder(std::env::current_exe()?)
        .args(["--exact", "postgres::ends_with_a_killed_test_process", "--nocapture"])
        .env(VICTIM_VARIABLE, "1")
        .start()?;
    let server = victim.wait_for_line("server ", Duration::from_secs(60)).await?;
    let is_there = |path: &str| std::path::Path::new(path).exists();
    let process = format!("/proc/{}", server["pid"]);
    ensure!(is_there(&process) && is_there(&server["directory"]));

    victim.signal(Signal::Kill)?;
    victim.wait_exit(Duration::from_secs(10)).await?;
    eventually(Duration::from_secs(20), "the orphaned server and its directory to go", async || {
        let is_running =
            std::fs::read_to_string(format!("{process}/cmdline")).is_ok_and(|line| !line.is_empty());
        (!is_running && !is_there(&server["directory"])).then_some(())
    })
    .await
}
