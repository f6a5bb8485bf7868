//! Child processes of a test: started with a clean environment, read through files, ended by process id.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;

use crate::server_process::send_signal;
use crate::wait::eventually;
use crate::watchdog::Watchdog;

/// How much of an output an error shows.
const SHOWN_OUTPUT_BYTES: usize = 8 * 1024;
/// Names the binary to test; without it the one next to the test's own target directory is taken.
const BINARY_VARIABLE: &str = "TOLLGATE_BIN";

/// What [`ChildProcess::signal`] sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: the polite end.
    Terminate,
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGKILL: no goodbye.
    Kill,
    /// SIGHUP.
    HangUp,
    /// SIGSTOP: freezes the process.
    Stop,
    /// SIGCONT: lets a frozen process go on.
    Continue,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Terminate => "TERM",
            Self::Interrupt => "INT",
            Self::Kill => "KILL",
            Self::HangUp => "HUP",
            Self::Stop => "STOP",
            Self::Continue => "CONT",
        }
    }
}

/// What to start; made by [`ChildProcess::builder`].
pub struct ChildProcessBuilder {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
}

impl ChildProcessBuilder {
    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<Argument: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = Argument>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets a variable; of the test's own environment the child sees only `PATH`.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Sets the working directory; without it that is the child's own temporary directory.
    #[must_use]
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Starts the process. Fails when the program cannot be run.
    pub fn start(self) -> anyhow::Result<ChildProcess> {
        let directory = tempfile::Builder::new().prefix("tollgate-process-").tempdir()?;
        let mut watchdog = Watchdog::start(directory.path(), "KILL")?;
        let name = self.program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let child = Command::new(&self.program)
            .args(self.arguments)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .envs(self.environment)
            .current_dir(self.directory.as_deref().unwrap_or(directory.path()))
            .stdin(Stdio::null())
            .stdout(File::create(directory.path().join("stdout"))?)
            .stderr(File::create(directory.path().join("stderr"))?)
            .spawn()
            .with_context(|| format!("cannot run {}", self.program.display()))?;
        watchdog.guard(child.id())?;
        Ok(ChildProcess { name, child, watchdog, directory })
    }
}

/// A process with its outputs in files. Dropping it kills it, and so does the death of the test process.
pub struct ChildProcess {
    name: String,
    child: Child,
    // Dropped before the directory: the watchdog is dismissed, then the directory goes.
    watchdog: Watchdog,
    directory: TempDir,
}

impl ChildProcess {
    /// Describes a process to start.
    pub fn builder(program: impl Into<PathBuf>) -> ChildProcessBuilder {
        ChildProcessBuilder {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            directory: None,
        }
    }

    /// Waits for a whole line on standard output that starts with `prefix` and returns its `key=value`
    /// words: `ready traffic=http://127.0.0.1:1234 ops=…` gives `traffic` and `ops`. Other words are
    /// ignored. Fails at once when the process ends; the error shows both outputs.
    pub async fn wait_for_line(
        &mut self,
        prefix: &str,
        timeout: Duration,
    ) -> anyhow::Result<BTreeMap<String, String>> {
        let line = self.wait_for_line_text(prefix, timeout).await?;
        let pairs = line.split_whitespace().filter_map(|word| word.split_once('='));
        Ok(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }

    /// Waits like [`ChildProcess::wait_for_line`] and returns the line as it stands.
    pub async fn wait_for_line_text(&mut self, prefix: &str, timeout: Duration) -> anyhow::Result<String> {
        let what = format!("{} to print a line that starts with {prefix:?}", self.name);
        let found = eventually(timeout, &what, async || {
            // Looked at before the output: a process that printed the line and ended has printed it.
            let has_ended = self.child.try_wait().is_ok_and(|status| status.is_some());
            let output = self.stdout_text();
            let whole_lines = output.rsplit_once('\n').map_or("", |(lines, _unfinished)| lines);
            let line = whole_lines.lines().find(|line| line.starts_with(prefix)).map(str::to_owned);
            if line.is_none() && has_ended { Some(None) } else { line.map(Some) }
        })
        .await;
        match found {
            Ok(Some(line)) => Ok(line),
            Ok(None) => bail!("waited for {what} but it ended\n{}", self.describe_outputs()),
            Err(timeout) => Err(timeout.context(self.describe_outputs())),
        }
    }

    /// Sends a signal to exactly this process. Fails when it has been waited for already.
    pub fn signal(&mut self, signal: Signal) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} has ended already ({status})", self.name);
        }
        send_signal(self.child.id(), signal.name())
    }

    /// Waits for the end of the process; the error of a timeout shows both outputs.
    pub async fn wait_exit(&mut self, timeout: Duration) -> anyhow::Result<ExitStatus> {
        let what = format!("{} to end", self.name);
        let ended = eventually(timeout, &what, async || self.child.try_wait().transpose()).await;
        let status = ended.with_context(|| self.describe_outputs())??;
        self.watchdog.release()?;
        Ok(status)
    }

    /// Whether the process has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The process id.
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has printed on standard output so far.
    pub fn stdout_text(&self) -> String {
        self.read("stdout")
    }

    /// Everything it has printed on standard error so far.
    pub fn stderr_text(&self) -> String {
        self.read("stderr")
    }

    /// A directory that lives as long as this value, for the child's files.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn read(&self, output: &str) -> String {
        let bytes = fs::read(self.directory.path().join(output)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn describe_outputs(&self) -> String {
        let (stdout, stderr) = (self.stdout_text(), self.stderr_text());
        format!("{} printed:\n{}\nand on stderr:\n{}", self.name, tail(&stdout), tail(&stderr))
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        // Killing a child that has ended and been reaped already does nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The `tollgate` binary: `TOLLGATE_BIN`, else the one built in the profile of the running test.
pub fn tollgate_binary() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os(BINARY_VARIABLE).filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        ensure!(path.is_file(), "{BINARY_VARIABLE} names {}, which is not a file", path.display());
        return Ok(path);
    }
    workspace_binary("tollgate")
}

/// A binary of this workspace in the profile of the running test, or in the other of debug and release.
/// Fails with the command that builds it; it does not build.
pub fn workspace_binary(name: &str) -> anyhow::Result<PathBuf> {
    let own_profile = profile_directory();
    let target = target_directory();
    let mut candidates = own_profile.into_iter().collect::<Vec<_>>();
    candidates.extend([target.join("debug"), target.join("release")]);
    let found = candidates.iter().map(|directory| directory.join(name)).find(|path| path.is_file());
    found.with_context(|| {
        format!("there is no {name} in {}: run `cargo build --bin {name}` first", target.display())
    })
}

/// Cargo's target directory, as seen from the running test.
pub fn target_directory() -> PathBuf {
    let from_own_path = profile_directory().and_then(|profile| profile.parent().map(Path::to_owned));
    from_own_path.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"))
}

/// `target/debug` for `target/debug/deps/test-0123` and for `target/debug/tool`.
fn profile_directory() -> Option<PathBuf> {
    let own_path = std::env::current_exe().ok()?;
    let directory = own_path.parent()?;
    let is_nested = directory.ends_with("deps") || directory.ends_with("examples");
    let profile = if is_nested { directory.parent()? } else { directory };
    // Cargo marks its target directory; a test binary that was moved elsewhere has none.
    let is_target = profile.parent()?.join("CACHEDIR.TAG").is_file();
    is_target.then(|| profile.to_owned())
}

fn tail(text: &str) -> &str {
    let start = text.len().saturating_sub(SHOWN_OUTPUT_BYTES);
    let start = (start..=text.len()).find(|&index| text.is_char_boundary(index)).unwrap_or(text.len());
    &text[start..]
}
