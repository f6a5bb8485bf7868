//! A database server as a child process: one directory, one log, started and stopped at the same port.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tempfile::TempDir;

use crate::wait::{POLL_INTERVAL, eventually};
use crate::watchdog::Watchdog;

/// How long a server may take from its start to its ready line; loaded machines need a few seconds.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a server may take to end after a polite signal before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// How much of the log a failed start shows.
const SHOWN_LOG_BYTES: usize = 8 * 1024;

/// One server process with its temporary directory and its watchdog; dropping it ends both.
pub(crate) struct ServerProcess {
    name: &'static str,
    child: Option<Child>,
    // Dropped before the directory: the watchdog is dismissed, then the directory goes.
    watchdog: Watchdog,
    directory: TempDir,
}

impl ServerProcess {
    /// Prepares a server called `name` without starting it. `watchdog_signal` ends it should the test
    /// process die.
    pub(crate) fn new(name: &'static str, directory: TempDir, watchdog_signal: &str) -> anyhow::Result<Self> {
        let watchdog = Watchdog::start(directory.path(), watchdog_signal)?;
        Ok(Self { name, child: None, watchdog, directory })
    }

    /// The server's temporary directory.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The process id while the server runs.
    pub(crate) fn process_id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// The file that holds the server's standard output and error over all its starts.
    pub(crate) fn log_path(&self) -> PathBuf {
        self.directory.path().join("server.log")
    }

    /// Runs `command` and waits until its log says `ready_text`. The error shows the end of the log.
    pub(crate) async fn start(&mut self, mut command: Command, ready_text: &str) -> anyhow::Result<()> {
        if self.child.is_some() {
            bail!("{} is running already", self.name);
        }
        let log = self.open_log()?;
        let log_start = usize::try_from(log.metadata()?.len())?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run {}", command.get_program().display()))?;
        self.watchdog.guard(child.id())?;
        self.child = Some(child);

        let ready = eventually(START_TIMEOUT, &format!("{} to start", self.name), async || {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().transpose());
            let log = fs::read_to_string(self.log_path()).unwrap_or_default();
            let is_ready = log.get(log_start..).is_some_and(|log| log.contains(ready_text));
            match ended {
                Some(status) => Some(Err(status)),
                None => is_ready.then_some(Ok(())),
            }
        })
        .await;
        match ready {
            Ok(Ok(())) => Ok(()),
            Ok(Err(status)) => {
                self.kill()?;
                bail!("{} ended while starting ({status:?}); its log:\n{}", self.name, self.log_tail());
            }
            Err(timeout) => {
                self.kill()?;
                Err(timeout.context(format!("the log of {}:\n{}", self.name, self.log_tail())))
            }
        }
    }

    /// Sends `signal` (`TERM`, `INT`, `QUIT`) and waits for the end; kills a server that does not obey.
    pub(crate) async fn stop(&mut self, signal: &str) -> anyhow::Result<()> {
        let Some(process_id) = self.process_id() else { bail!("{} is not running", self.name) };
        send_signal(process_id, signal)?;
        let ended = eventually(STOP_TIMEOUT, &format!("{} to stop", self.name), async || {
            self.child.as_mut().and_then(|child| child.try_wait().transpose())
        })
        .await;
        self.kill()?;
        ended?.map(drop).with_context(|| format!("cannot wait for {}", self.name))
    }

    /// Kills the server if it runs.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            // Killing and reaping a child that has ended and been reaped already does nothing.
            child.kill().context("cannot kill a child process")?;
            child.wait()?;
        }
        self.watchdog.release()
    }

    /// Sends `signal`, grants the server a moment without blocking a runtime for long, then kills it.
    pub(crate) fn stop_blocking(&mut self, signal: &str, patience: Duration) {
        let Some(child) = self.child.as_mut() else { return };
        if send_signal(child.id(), signal).is_ok() {
            wait_blocking(child, patience);
        }
        // Nobody is left to report a failure to; the watchdog has the process too.
        let _ = self.kill();
    }

    /// The end of the log.
    pub(crate) fn log_tail(&self) -> String {
        let log = fs::read(self.log_path()).unwrap_or_default();
        let start = log.len().saturating_sub(SHOWN_LOG_BYTES);
        String::from_utf8_lossy(log.get(start..).unwrap_or_default()).into_owned()
    }

    fn open_log(&self) -> anyhow::Result<File> {
        let path = self.log_path();
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // Nobody is left to report a failure to.
        let _ = self.kill();
    }
}

/// Sends a signal to exactly one process through the `kill` command.
pub(crate) fn send_signal(process_id: u32, signal: &str) -> anyhow::Result<()> {
    let status = Command::new("kill")
        .args(["-s", signal, &process_id.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .context("cannot run kill")?;
    if !status.success() {
        bail!("cannot send SIG{signal} to process {process_id}: it is gone");
    }
    Ok(())
}

/// Waits for a child without a runtime, for at most `patience`.
pub(crate) fn wait_blocking(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let started = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if started.elapsed() < patience => std::thread::sleep(POLL_INTERVAL),
            Ok(None) | Err(_) => return None,
        }
    }
}

/// The first of `candidates` that is a file, then `name` in the directories of `PATH`.
pub(crate) fn find_program(name: &str, candidates: impl IntoIterator<Item = PathBuf>) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).map(|directory| directory.join(name)).collect::<Vec<_>>();
    candidates.into_iter().chain(in_path).find(|candidate| candidate.is_file())
}
