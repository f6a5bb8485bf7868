//! The data directory of a single process: its secrets, made once and kept, readable by their owner only.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use tollgate_domain::{ApiKeySecret, NodeId, Secret};
use uuid::Uuid;

const MASTER_KEY_FILE: &str = "master-key";
/// Where the admin subcommands find the token of a `tollgate dev` on the same machine.
pub(crate) const ADMIN_TOKEN_FILE: &str = "admin-token";
const DEMO_KEY_FILE: &str = "demo-key";
const DATABASE_FILE: &str = "tollgate.db";
const LEDGER_LOG_DIRECTORY: &str = "ledger-log";

const LOCK_FILE: &str = "lock";
const APPLIED_FILE: &str = "applied-configuration";

/// A directory that exists and is ours.
#[derive(Clone, Debug)]
pub(super) struct DataDir(PathBuf);

/// While it lives no other process may keep its counters for the same directory.
#[derive(Debug)]
#[must_use = "the directory is ours only while this lives"]
pub(super) struct DataDirLock {
    _file: std::fs::File,
}

impl DataDir {
    /// Makes the directory if it is missing.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("cannot make the data directory {} (--data-dir)", path.display()))?;
        Ok(Self(path.to_owned()))
    }

    /// Makes sure that no other process works on the directory: two would each count the money alone.
    ///
    /// # Errors
    /// Another process has it, or the lock file cannot be made.
    pub(super) fn lock(&self) -> anyhow::Result<DataDirLock> {
        let path = self.0.join(LOCK_FILE);
        let file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(DataDirLock { _file: file }),
            Err(std::fs::TryLockError::WouldBlock) => anyhow::bail!(
                "another process already runs on the data directory {}: stop it, or give this one a --data-dir of its own",
                self.0.display()
            ),
            Err(std::fs::TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    }

    /// The embedded database's URL.
    #[must_use]
    pub(super) fn database_url(&self) -> Secret {
        Secret::new(format!("sqlite://{}", self.0.join(DATABASE_FILE).display()))
    }

    /// Where the ledger in this process writes what is under way.
    #[must_use]
    pub(super) fn ledger_log(&self) -> PathBuf {
        self.0.join(LEDGER_LOG_DIRECTORY)
    }

    /// The key that encrypts provider credentials at rest.
    ///
    /// # Errors
    /// The file cannot be read or made, or holds something else.
    pub(super) fn master_key(&self) -> anyhow::Result<[u8; 32]> {
        let text = self.kept(MASTER_KEY_FILE, || Ok(STANDARD.encode(random::<32>()?)))?;
        let bytes = STANDARD.decode(text.trim()).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        bytes.with_context(|| {
            format!("{} does not hold base64 of 32 bytes", self.0.join(MASTER_KEY_FILE).display())
        })
    }

    /// The platform administrator's token.
    ///
    /// # Errors
    /// The file cannot be read or made.
    pub(super) fn admin_token(&self) -> anyhow::Result<Secret> {
        let make = || Ok(format!("tga_{}", URL_SAFE_NO_PAD.encode(random::<32>()?)));
        let text = self.kept(ADMIN_TOKEN_FILE, make)?;
        check_admin_token(text.trim())
            .with_context(|| format!("in {}", self.0.join(ADMIN_TOKEN_FILE).display()))?;
        Ok(Secret::new(text.trim()))
    }

    /// Writes the token given from outside where the admin subcommands look for it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn keep_admin_token(&self, token: &Secret) -> anyhow::Result<()> {
        let path = self.0.join(ADMIN_TOKEN_FILE);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot replace {}", path.display()))
            }
            _ => write_new(&path, token.expose()),
        }
    }

    /// The demo key of `tollgate dev`.
    ///
    /// # Errors
    /// The file cannot be read or made.
    pub(super) fn demo_key(&self) -> anyhow::Result<ApiKeySecret> {
        let make = || Ok(ApiKeySecret::generate(&random::<64>()?).expose().to_owned());
        let text = self.kept(DEMO_KEY_FILE, make)?;
        ApiKeySecret::parse(text.trim())
            .with_context(|| format!("{} does not hold a key", self.0.join(DEMO_KEY_FILE).display()))
    }

    /// What was noted of the configuration that was applied last.
    pub(super) fn applied_configuration(&self) -> Option<String> {
        std::fs::read_to_string(self.0.join(APPLIED_FILE)).ok()
    }

    /// Notes what was applied. A note that cannot be written only costs the next start some time.
    pub(super) fn note_applied_configuration(&self, note: &str) {
        let path = self.0.join(APPLIED_FILE);
        let _ = std::fs::remove_file(&path);
        if let Err(error) = write_new(&path, note) {
            tracing::debug!(%error, "what was applied could not be noted");
        }
    }

    fn kept(&self, file: &str, make: impl FnOnce() -> anyhow::Result<String>) -> anyhow::Result<String> {
        let path = self.0.join(file);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let text = make()?;
                write_new(&path, &text)?;
                Ok(text)
            }
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }
}

/// A token that can be guessed gives everything away.
///
/// # Errors
/// It is too short or has characters that no header can carry.
pub(super) fn check_admin_token(token: &str) -> anyhow::Result<()> {
    const MIN_CHARS: usize = 16;
    let is_visible = token.bytes().all(|byte| byte.is_ascii_graphic());
    anyhow::ensure!(
        token.len() >= MIN_CHARS && is_visible,
        "the admin token must have at least {MIN_CHARS} visible ASCII characters"
    );
    Ok(())
}

fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    let write = || {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Random bytes from the system.
///
/// # Errors
/// The system gives none.
pub(super) fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).context("the system gives no randomness")?;
    Ok(bytes)
}

/// A fresh identity for this process.
///
/// # Errors
/// The system gives no randomness.
pub(super) fn node_id() -> anyhow::Result<NodeId> {
    Ok(NodeId::from_uuid(Uuid::from_bytes(random::<16>()?)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn secrets_are_made_once_and_kept_private() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("data");
        let first = DataDir::open(&path).unwrap();
        let (master, token, key) =
            (first.master_key().unwrap(), first.admin_token().unwrap(), first.demo_key().unwrap());
        let again = DataDir::open(&path).unwrap();
        assert_eq!(again.master_key().unwrap(), master);
        assert_eq!(again.admin_token().unwrap(), token);
        assert_eq!(again.demo_key().unwrap(), key);
        for file in [MASTER_KEY_FILE, ADMIN_TOKEN_FILE, DEMO_KEY_FILE] {
            let mode = std::fs::metadata(path.join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        again.keep_admin_token(&Secret::new("another-token-that-is-long")).unwrap();
        assert_eq!(again.admin_token().unwrap(), Secret::new("another-token-that-is-long"));
        again.keep_admin_token(&Secret::new("short")).unwrap();
        assert!(again.admin_token().unwrap_err().to_string().contains("admin-token"));
    }

    #[test]
    fn a_second_process_is_refused_while_the_first_lives() {
        let temp = tempfile::tempdir().unwrap();
        let directory = DataDir::open(temp.path()).unwrap();
        let lock = directory.lock().unwrap();
        assert!(directory.lock().unwrap_err().to_string().contains("another process"));
        drop(lock);
        drop(directory.lock().unwrap());
    }

    #[test]
    fn a_master_key_file_with_something_else_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join(MASTER_KEY_FILE), "not a key").unwrap();
        let error = DataDir::open(temp.path()).unwrap().master_key().unwrap_err();
        assert!(error.to_string().contains("base64 of 32 bytes"), "{error}");
    }
}
