//! A private PostgreSQL server with as many databases as a test likes.
//!
//! [`PostgresServer::start`] copies an initialised data directory that is kept under `target/testkit/`
//! (made once per PostgreSQL version), so a server per test costs about half a second. Durability is off unless asked
//! for:
//! the data survives [`PostgresServer::stop`]; see [`PostgresServer::crash`] for what survives that.

mod template;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use crate::ports::free_port;
use crate::server_process::{ServerProcess, find_program};
use template::ServerUser;

/// What a start without the programs says.
const MISSING: &str = "PostgreSQL is not installed: run `cargo xtask setup`";
/// Ports tried when another process takes the one that was free a moment ago.
const START_ATTEMPTS: usize = 5;
/// Two pods, a control plane and a test each with a pool: twice PostgreSQL's default.
const MAX_CONNECTIONS: &str = "max_connections=200";
/// What the server logs once it accepts connections.
const READY_TEXT: &str = "database system is ready to accept connections";
/// How long a dropped server may take to end before it is killed.
const DROP_PATIENCE: Duration = Duration::from_secs(5);
/// PostgreSQL's own limit on names.
const NAME_BYTES_MAX: usize = 63;

/// A running (or stopped) server on 127.0.0.1; superuser `postgres`, no password. Dropping it ends the
/// server and removes its data, and so does the death of the test process.
pub struct PostgresServer {
    process: ServerProcess,
    programs: PathBuf,
    user: ServerUser,
    port: u16,
    is_durable: bool,
}

impl PostgresServer {
    /// Starts a server on a free port. The error names what is missing or shows the server's log.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_as(false).await
    }

    /// The same with every commit forced to the disk, as in production: for measurements.
    pub async fn start_durable() -> anyhow::Result<Self> {
        Self::start_as(true).await
    }

    async fn start_as(is_durable: bool) -> anyhow::Result<Self> {
        let programs = program_directory()?;
        let user = ServerUser::find()?;
        let template = template::data_directory_template(&programs, &user)?;
        let directory = user.temporary_directory()?;
        template::copy(&template, &directory.path().join("data"))?;
        let process = ServerProcess::new("PostgreSQL", directory, "QUIT")?;

        let mut server = Self { process, programs, user, port: 0, is_durable };
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

    /// The port on 127.0.0.1, the same after [`PostgresServer::start_again`].
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address of a database: `postgres://postgres@127.0.0.1:<port>/<database>`.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Creates an empty database and returns its address. Names are `[a-z_][a-z0-9_]*`.
    pub async fn create_database(&self, name: &str) -> anyhow::Result<String> {
        self.create_database_from(name, "template1").await
    }

    /// Creates a database as a copy of `template` (which nobody may be connected to) and returns its
    /// address: migrate once, clone per test.
    pub async fn create_database_from(&self, name: &str, template: &str) -> anyhow::Result<String> {
        check_name(name)?;
        check_name(template)?;
        self.query("postgres", &format!("CREATE DATABASE {name} TEMPLATE {template}")).await?;
        Ok(self.url(name))
    }

    /// Runs SQL in a database through `psql` and returns what it prints: one line per row, columns
    /// separated by `|`, nothing else.
    pub async fn query(&self, database: &str, sql: &str) -> anyhow::Result<String> {
        let output = tokio::process::Command::new(self.programs.join("psql"))
            .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"])
            .args(["--dbname", &self.url(database), "--command", sql])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context(MISSING)?;
        ensure!(output.status.success(), "psql failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
    }

    /// Stops the server: open connections are closed, open transactions rolled back, the port refuses.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.process.stop("INT").await
    }

    /// Stops the server as a crash of its processes would: no shutdown checkpoint, recovery at the next
    /// start. Commits of the last second may be lost, because the server runs with `synchronous_commit`
    /// off; a test of what a crash must not lose sets it on first, for its session
    /// (`SET synchronous_commit = on`) or its database (`ALTER DATABASE … SET`).
    pub async fn crash(&mut self) -> anyhow::Result<()> {
        self.process.stop("QUIT").await
    }

    /// Starts a stopped server at the same port with the same data and waits until it accepts.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(self.programs.join("postgres"));
        let data = self.process.directory().join("data");
        command.arg("-D").arg(data).args(["-p", &self.port.to_string()]);
        let mut sockets = std::ffi::OsString::from("unix_socket_directories=");
        sockets.push(self.process.directory());
        command.arg("-c").arg(sockets);
        let durability: &[&str] = if self.is_durable {
            &["fsync=on", "full_page_writes=on", "synchronous_commit=on"]
        } else {
            &["fsync=off", "full_page_writes=off", "synchronous_commit=off"]
        };
        for setting in ["listen_addresses=127.0.0.1", MAX_CONNECTIONS].iter().chain(durability) {
            command.args(["-c", setting]);
        }
        self.user.run_as(&mut command, self.process.directory());
        self.process.start(command, READY_TEXT).await
    }

    /// The process id of the server while it runs.
    pub fn process_id(&self) -> Option<u32> {
        self.process.process_id()
    }

    /// The last kilobytes of the server's log, for a test that fails.
    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }

    /// The directory that holds data, socket and log, and that goes with the server.
    pub fn directory(&self) -> &Path {
        self.process.directory()
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.process.stop_blocking("QUIT", DROP_PATIENCE);
    }
}

/// Where `initdb`, `postgres` and `psql` lie: the newest of Debian's versions, else `PATH`.
fn program_directory() -> anyhow::Result<PathBuf> {
    let mut versions = std::fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect::<Vec<_>>())
        .unwrap_or_default();
    versions.sort_by_key(|path| {
        let version = path.file_name().and_then(OsStr::to_str).and_then(|name| name.parse::<u32>().ok());
        std::cmp::Reverse(version)
    });
    let initdb =
        find_program("initdb", versions.iter().map(|path| path.join("bin/initdb"))).context(MISSING)?;
    // A link in PATH leads to the directory that holds the others.
    let initdb = initdb.canonicalize().context(MISSING)?;
    let directory = initdb.parent().context(MISSING)?.to_owned();
    for program in ["postgres", "psql"] {
        ensure!(directory.join(program).is_file(), "{MISSING} ({program} is not in {})", directory.display());
    }
    Ok(directory)
}

fn is_port_taken(error: &anyhow::Error) -> bool {
    format!("{error:#}").contains("Address already in use")
}

fn check_name(name: &str) -> anyhow::Result<()> {
    let is_plain = name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    let starts_well = name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
    if !(is_plain && starts_well && name.len() <= NAME_BYTES_MAX) {
        bail!("database name {name:?}: use a-z, 0-9 and _, at most {NAME_BYTES_MAX} bytes");
    }
    Ok(())
}
