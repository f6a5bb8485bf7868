//! A private Redis server, in memory only.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::ports::free_port;
use crate::server_process::{ServerProcess, find_program, send_signal};

/// What a start without the programs says.
const MISSING: &str = "Redis is not installed: run `cargo xtask setup`";
/// Ports tried when another process takes the one that was free a moment ago.
const START_ATTEMPTS: usize = 5;
/// What the server logs once it accepts connections.
const READY_TEXT: &str = "Ready to accept connections";
/// How long a dropped server may take to end before it is killed.
const DROP_PATIENCE: Duration = Duration::from_secs(2);

/// A running (or stopped) server on 127.0.0.1 without persistence: a stop loses every key. Dropping it
/// ends the server, and so does the death of the test process.
pub struct RedisServer {
    process: ServerProcess,
    server_program: PathBuf,
    cli_program: PathBuf,
    port: u16,
}

impl RedisServer {
    /// Starts a server on a free port. The error names what is missing or shows the server's log.
    pub async fn start() -> anyhow::Result<Self> {
        let server_program = find_program("redis-server", []).context(MISSING)?;
        let cli_program = find_program("redis-cli", []).context(MISSING)?;
        let directory = tempfile::Builder::new().prefix("tollgate-redis-").tempdir()?;
        let process = ServerProcess::new("Redis", directory, "TERM")?;

        let mut server = Self { process, server_program, cli_program, port: 0 };
        for attempt in 1.. {
            server.port = free_port()?;
            match server.start_again().await {
                Ok(()) => break,
                Err(error) if attempt < START_ATTEMPTS && is_port_taken(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(server)
    }

    /// The port on 127.0.0.1, the same after [`RedisServer::start_again`].
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address: `redis://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Stops the server: connections close, the port refuses, every key is gone.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.process.stop("TERM").await
    }

    /// Starts a stopped server, empty, at the same port and waits until it accepts.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(&self.server_program);
        command
            .current_dir(self.process.directory())
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"])
            .args(["--daemonize", "no", "--logfile", ""]);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        self.process.start(command, READY_TEXT).await
    }

    /// Halts the server (SIGSTOP): connections stay open and are accepted, nothing is answered.
    pub fn freeze(&self) -> anyhow::Result<()> {
        send_signal(self.process.process_id().context("Redis is not running")?, "STOP")
    }

    /// Lets a frozen server go on (SIGCONT); it answers what it was asked meanwhile.
    pub fn thaw(&self) -> anyhow::Result<()> {
        send_signal(self.process.process_id().context("Redis is not running")?, "CONT")
    }

    /// Removes every key and every loaded script, as a fail-over to an empty replica would.
    pub async fn flush_all(&self) -> anyhow::Result<()> {
        self.cli(&["FLUSHALL"]).await?;
        self.cli(&["SCRIPT", "FLUSH"]).await?;
        Ok(())
    }

    /// Runs one command through `redis-cli` and returns its raw output without the last line break.
    /// An error reply of the server is an error.
    pub async fn cli(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = tokio::process::Command::new(&self.cli_program)
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "--raw", "-e"])
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context(MISSING)?;
        let stdout = String::from_utf8(output.stdout)?.trim_end_matches('\n').to_owned();
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "redis-cli {arguments:?} failed: {stdout}{}", stderr.trim());
        Ok(stdout)
    }

    /// The process id of the server while it runs.
    pub fn process_id(&self) -> Option<u32> {
        self.process.process_id()
    }

    /// The last kilobytes of the server's log, for a test that fails.
    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // A frozen server only hears KILL; one that runs may end in order.
        let _ = self.thaw();
        self.process.stop_blocking("TERM", DROP_PATIENCE);
    }
}

fn is_port_taken(error: &anyhow::Error) -> bool {
    format!("{error:#}").contains("Address already in use")
}
