//! An initialised data directory, made once per PostgreSQL version and copied for every server.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;

use crate::process::target_directory;

/// Goes up when the way the template is made changes, so that old ones are not used.
const TEMPLATE_VERSION: u32 = 1;
/// Small write-ahead segments keep a data directory, and with it every copy, near 30 MiB.
const WAL_SEGMENT_MIB: &str = "4";

/// The user PostgreSQL runs as: it refuses root, so for root it is the `postgres` user of the package.
pub(super) struct ServerUser {
    ids_when_root: Option<(u32, u32)>,
}

impl ServerUser {
    /// Looks at who runs this test. Fails when that is root and there is no `postgres` user.
    pub(super) fn find() -> anyhow::Result<Self> {
        let own_user_id = fs::metadata("/proc/self").context("cannot read /proc/self")?.uid();
        if own_user_id != 0 {
            return Ok(Self { ids_when_root: None });
        }
        let users = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
        let ids = users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let is_postgres = fields.next() == Some("postgres");
            let user_id = fields.nth(1)?.parse().ok()?;
            let group_id = fields.next()?.parse().ok()?;
            is_postgres.then_some((user_id, group_id))
        });
        ensure!(
            ids.is_some(),
            "PostgreSQL refuses root and there is no postgres user: run `cargo xtask setup`"
        );
        Ok(Self { ids_when_root: ids })
    }

    /// Makes `command` run as this user, in `directory`, in a process group of its own (what the test
    /// runner sends to the test's group must not reach the server before the test ends it).
    pub(super) fn run_as(&self, command: &mut Command, directory: &Path) {
        command.current_dir(directory).process_group(0);
        if let Some((user_id, group_id)) = self.ids_when_root {
            command.uid(user_id).gid(group_id);
        }
    }

    /// A temporary directory that this user owns.
    pub(super) fn temporary_directory(&self) -> anyhow::Result<TempDir> {
        let directory = tempfile::Builder::new().prefix("tollgate-postgres-").tempdir()?;
        if let Some((user_id, group_id)) = self.ids_when_root {
            chown(directory.path(), Some(user_id), Some(group_id))?;
        }
        Ok(directory)
    }
}

/// The path of the template for the PostgreSQL in `programs`, made now when it does not exist. Processes
/// that ask at the same time wait for the one that makes it.
pub(super) fn data_directory_template(programs: &Path, user: &ServerUser) -> anyhow::Result<PathBuf> {
    let version = version_of(&programs.join("initdb"))?;
    let cache = target_directory().join("testkit");
    fs::create_dir_all(&cache).with_context(|| format!("cannot create {}", cache.display()))?;
    // The files belong to whoever runs PostgreSQL: root and others keep templates of their own.
    let owner = user.ids_when_root.map_or_else(|| "own".to_owned(), |(user_id, _)| user_id.to_string());
    let template = cache.join(format!("postgres-{version}-{owner}-v{TEMPLATE_VERSION}"));
    if template.is_dir() {
        return Ok(template);
    }
    let lock = File::create(cache.join("postgres.lock"))?;
    lock.lock().context("cannot lock the template of the data directory")?;
    if !template.is_dir() {
        make(programs, user, &template)?;
    }
    Ok(template)
}

/// Copies a data directory with owners and modes; `to` must not exist.
pub(super) fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let output = Command::new("cp").arg("-a").arg(from).arg(to).output().context("cannot run cp")?;
    if !output.status.success() {
        bail!("cannot copy the data directory: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn make(programs: &Path, user: &ServerUser, template: &Path) -> anyhow::Result<()> {
    // The server's user may not be able to reach the target directory, so initdb works in a temporary one.
    let directory = user.temporary_directory()?;
    let data = directory.path().join("data");
    let mut command = Command::new(programs.join("initdb"));
    command
        .arg("-D")
        .arg(&data)
        .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"])
        .arg(format!("--wal-segsize={WAL_SEGMENT_MIB}"))
        .stdin(Stdio::null());
    user.run_as(&mut command, directory.path());
    let output = command.output().context("cannot run initdb")?;
    if !output.status.success() {
        bail!(
            "initdb failed: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    // Rename last: a template that exists is complete.
    let unfinished = template.with_file_name("postgres.unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    copy(&data, &unfinished)?;
    fs::rename(&unfinished, template).context("cannot keep the template of the data directory")
}

/// `15.14` out of `initdb (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`.
fn version_of(initdb: &Path) -> anyhow::Result<String> {
    let output = Command::new(initdb).arg("--version").output().context("cannot run initdb")?;
    let text = String::from_utf8(output.stdout)?;
    let version = text.split_whitespace().nth(2).context("initdb --version names no version")?;
    Ok(version.to_owned())
}
