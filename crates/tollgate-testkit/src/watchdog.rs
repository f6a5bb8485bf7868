//! Ends a child process and removes its directory when the test process dies, however it dies.
//!
//! A watchdog is a `sh` that reads its standard input. The test process holds the other end of that pipe
//! and writes the process to guard into it. When the test process is gone, even by SIGKILL, the pipe
//! closes, `read` fails and the shell kills the guarded process and removes the directory.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;

/// Arguments: the directory to remove and the first signal to send. Input lines: a process id, `none`,
/// or `done` when the owner has cleaned up itself.
const SCRIPT: &str = r#"
directory=$1; signal=$2; guarded=none
while read -r line; do
    case $line in
        done) exit 0 ;;
        *) guarded=$line ;;
    esac
done
if [ "$guarded" != none ]; then
    kill -"$signal" "$guarded"
    patience=50
    while [ $patience -gt 0 ] && kill -0 "$guarded"; do sleep 0.1; patience=$((patience - 1)); done
    kill -KILL "$guarded"
fi
case $directory in
    */tollgate-?*) rm -rf -- "$directory" ;;
esac
"#;

/// Guards at most one process at a time, and one directory.
pub(crate) struct Watchdog {
    shell: Child,
}

impl Watchdog {
    /// Starts a watchdog over `directory`, which it removes should this process die.
    /// `signal` (`QUIT`, `TERM`, …) is what it sends first; five seconds later follows KILL.
    pub(crate) fn start(directory: &Path, signal: &str) -> anyhow::Result<Self> {
        let shell = Command::new("sh")
            .args(["-c", SCRIPT, "tollgate-watchdog"])
            .arg(directory)
            .arg(signal)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A group of its own: what the test runner sends to the test's group must not reach it.
            .process_group(0)
            .spawn()
            .context("cannot start sh as a watchdog")?;
        Ok(Self { shell })
    }

    /// From now on `process_id` is the process to kill.
    pub(crate) fn guard(&mut self, process_id: u32) -> anyhow::Result<()> {
        self.tell(&process_id.to_string())
    }

    /// From now on there is no process to kill, only the directory to remove.
    pub(crate) fn release(&mut self) -> anyhow::Result<()> {
        self.tell("none")
    }

    fn tell(&mut self, line: &str) -> anyhow::Result<()> {
        let pipe = self.shell.stdin.as_mut().context("the watchdog has no input")?;
        pipe.write_all(format!("{line}\n").as_bytes()).context("the watchdog is gone")
    }
}

impl Drop for Watchdog {
    /// The owner has ended the process and removes the directory itself.
    fn drop(&mut self) {
        // A watchdog that is gone already has nothing left to be told.
        let _ = self.tell("done");
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}
