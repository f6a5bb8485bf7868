//! `cargo xtask setup`: what the tests and CI need on a fresh Debian machine, from package registries only.
//!
//! Idempotent, and quick when everything is there: each step first looks, then installs. Nothing is
//! started and nothing that runs is stopped: the tests start private servers of their own.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::{Outcome, clients, process};

pub(crate) const HELP: &str = "\
cargo xtask setup

Installs, where missing: Redis, PostgreSQL, node and npm (Debian packages, without starting their services),
the client SDKs that the tests drive (Python venvs in .setup from tests/sdk/*requirements.txt, node's packages
from tests/sdk/node/package-lock.json), cargo-nextest, and cargo-deny (a few minutes: it is compiled). Needs
root or passwordless sudo only when a Debian package is missing.";

/// Where Debian's PostgreSQL packages put a server of each major version.
const POSTGRES_VERSIONS_FOLDER: &str = "/usr/lib/postgresql";

/// Debian's hook that forbids a package's installation to start its service.
const SERVICE_POLICY_PATH: &str = "/usr/sbin/policy-rc.d";

/// Marks a policy file as ours, so that one left behind by an interrupted run is removed by the next.
const SERVICE_POLICY: &str =
    "#!/bin/sh\n# written by `cargo xtask setup` for the time of one installation\nexit 101\n";

/// Waits this long for another apt-get to finish before giving up.
const APT_LOCK_OPTION: &str = "DPkg::Lock::Timeout=300";

const NEXTEST_VERSION: &str = "0.9.151";
const DENY_VERSION: &str = "0.20.2";

pub(crate) fn run(root: &Path, arguments: &[String]) -> Outcome {
    crate::refuse_arguments("setup", arguments)?;
    for_tests(root)?;
    install_cargo_deny(root)?;
    eprintln!("setup: everything is there");
    Ok(true)
}

/// The part of the set-up that the test suite needs; cargo-deny is CI's alone.
pub(crate) fn for_tests(root: &Path) -> anyhow::Result<()> {
    install_debian_packages()?;
    install_nextest(root)?;
    clients::install(root)
}

// === Debian packages ===

fn install_debian_packages() -> anyhow::Result<()> {
    let missing = missing_debian_packages();
    if missing.is_empty() {
        return Ok(());
    }
    if !process::succeeds(Command::new("apt-get").arg("--version")) {
        bail!("this machine has no apt-get: install the equivalents of {} by hand", missing.join(", "));
    }
    let privilege = Privilege::find(&missing)?;
    process::run(privilege.command("apt-get").args(["-q", "-o", APT_LOCK_OPTION, "update"]))
        .context("the package lists could not be fetched; is the Debian mirror reachable?")?;
    let packages: Vec<&str> = missing.iter().map(|name| available_name(name)).collect();
    let policy = ServicePolicy::put(privilege)?;
    let install = ["-q", "-y", "-o", APT_LOCK_OPTION, "install", "--no-install-recommends"];
    let installed = process::run(privilege.command("apt-get").args(install).args(&packages));
    policy.remove()?;
    installed.with_context(|| format!("the tests need the Debian packages {}", packages.join(", ")))?;
    // A machine may find another program first, such as a python3 of somebody's own without venv.
    let still_missing = missing_debian_packages();
    if !still_missing.is_empty() {
        bail!(
            "installed, yet not found on PATH: {}; does something else stand before it?",
            still_missing.join(", ")
        );
    }
    Ok(())
}

fn missing_debian_packages() -> Vec<&'static str> {
    let mut missing = Vec::new();
    if !process::succeeds(Command::new("redis-server").arg("--version")) {
        missing.push("redis-server");
    }
    if !has_postgres_server(Path::new(POSTGRES_VERSIONS_FOLDER)) {
        missing.push("postgresql-15");
    }
    if !process::succeeds(Command::new("python3").args(["-c", "import venv, ensurepip"])) {
        missing.push("python3-venv");
    }
    for (program, package) in [("node", "nodejs"), ("npm", "npm")] {
        if !process::succeeds(Command::new(program).arg("--version")) {
            missing.push(package);
        }
    }
    missing
}

/// Whether any version's folder holds both programs that the tests start.
fn has_postgres_server(versions: &Path) -> bool {
    let Ok(entries) = fs::read_dir(versions) else { return false };
    entries.flatten().any(|version| {
        let programs = version.path().join("bin");
        programs.join("initdb").is_file() && programs.join("postgres").is_file()
    })
}

/// Debian 12 has `postgresql-15`; later releases have another version behind `postgresql`.
fn available_name(package: &str) -> &str {
    let is_known = process::succeeds(Command::new("apt-cache").args(["show", package]));
    if package == "postgresql-15" && !is_known { "postgresql" } else { package }
}

/// How this process may install Debian packages.
#[derive(Clone, Copy)]
enum Privilege {
    Root,
    Sudo,
}

impl Privilege {
    fn find(missing: &[&str]) -> anyhow::Result<Self> {
        let user_id = process::output(Command::new("id").arg("-u"))?;
        if user_id.trim() == "0" {
            return Ok(Self::Root);
        }
        if process::succeeds(Command::new("sudo").args(["-n", "true"])) {
            return Ok(Self::Sudo);
        }
        let packages = missing.join(" ");
        bail!("the tests need Debian packages that are missing; run `sudo apt-get install {packages}` once")
    }

    fn command(self, program: &str) -> Command {
        match self {
            Self::Root => {
                let mut command = Command::new(program);
                command.env("DEBIAN_FRONTEND", "noninteractive");
                command
            }
            Self::Sudo => {
                let mut command = Command::new("sudo");
                command.args(["-n", "DEBIAN_FRONTEND=noninteractive", program]);
                command
            }
        }
    }
}

/// Keeps the packages' services from starting while it is in place; a policy of the machine's own stays.
struct ServicePolicy {
    ours: Option<Privilege>,
}

impl ServicePolicy {
    fn put(privilege: Privilege) -> anyhow::Result<Self> {
        match fs::read_to_string(SERVICE_POLICY_PATH) {
            Ok(policy) if policy == SERVICE_POLICY => return Ok(Self { ours: Some(privilege) }),
            Ok(_) => return Ok(Self { ours: None }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).context(format!("cannot read {SERVICE_POLICY_PATH}")),
        }
        let draft = std::env::temp_dir().join(format!("tollgate-policy-rc.d-{}", std::process::id()));
        fs::write(&draft, SERVICE_POLICY).with_context(|| format!("cannot write {}", draft.display()))?;
        let mut install = privilege.command("install");
        let put = process::run(install.args(["-m", "755"]).arg(&draft).arg(SERVICE_POLICY_PATH));
        fs::remove_file(&draft).with_context(|| format!("cannot remove {}", draft.display()))?;
        put?;
        Ok(Self { ours: Some(privilege) })
    }

    fn remove(self) -> anyhow::Result<()> {
        match self.ours {
            None => Ok(()),
            Some(privilege) => process::run(privilege.command("rm").args(["-f", SERVICE_POLICY_PATH])),
        }
    }
}

// === Cargo's subcommands ===

fn install_nextest(root: &Path) -> anyhow::Result<()> {
    if process::succeeds(process::cargo(root).args(["nextest", "--version"])) {
        return Ok(());
    }
    eprintln!("setup: compiling cargo-nextest, this takes a few minutes once");
    let without_self_update = ["--no-default-features", "--features", "default-no-update"];
    cargo_install(root, "cargo-nextest", NEXTEST_VERSION, &without_self_update)
}

fn install_cargo_deny(root: &Path) -> anyhow::Result<()> {
    if process::succeeds(process::cargo(root).args(["deny", "--version"])) {
        return Ok(());
    }
    eprintln!("setup: compiling cargo-deny, this takes a few minutes once");
    cargo_install(root, "cargo-deny", DENY_VERSION, &[])
}

/// Compiles a tool from crates.io. A tool that runs for seconds is not worth an optimised build.
fn cargo_install(root: &Path, tool: &str, version: &str, options: &[&str]) -> anyhow::Result<()> {
    let mut install = process::cargo(root);
    install
        .args(["install", tool, "--version", version, "--locked", "--quiet"])
        .args(options)
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false");
    process::run(&mut install)
        .with_context(|| format!("{tool} {version} could not be installed from crates.io"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_postgres_server_needs_both_programs_of_one_version() {
        let versions = std::env::temp_dir().join(format!("tollgate-xtask-postgres-{}", std::process::id()));
        let programs = versions.join("15/bin");
        fs::create_dir_all(&programs).unwrap();
        fs::write(programs.join("initdb"), "").unwrap();
        assert!(!has_postgres_server(&versions), "initdb alone is no server");
        fs::write(programs.join("postgres"), "").unwrap();
        assert!(has_postgres_server(&versions));
        fs::remove_dir_all(&versions).unwrap();
        assert!(!has_postgres_server(&versions));
    }

    #[test]
    fn sudo_is_never_asked_for_a_password() {
        let command = Privilege::Sudo.command("apt-get");
        assert_eq!(command.get_program(), "sudo");
        assert_eq!(command.get_args().next().unwrap(), "-n");
    }
}
