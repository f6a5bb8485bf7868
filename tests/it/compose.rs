//! The local deployment: `docker-compose.yml` and the image's Dockerfile. No container engine is needed: one
//! part reads the files and holds them against rules, the other starts the same commands with the same
//! environment as local processes and sends a paid request through each gateway.

mod compose_file;
mod compose_rules;
mod dockerfile;
mod processes;
mod yaml;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

/// The root of the repository.
fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_owned)
}

fn read(path: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(repository().join(path)).with_context(|| format!("cannot read {path}"))
}

/// What `tollgate <command> --help` prints: it names every variable the command reads.
fn help_of(command: &str) -> anyhow::Result<String> {
    let binary = tollgate_testkit::process::tollgate_binary()?;
    let output = Command::new(binary).args([command, "--help"]).env_clear().output()?;
    ensure!(
        output.status.success(),
        "there is no `tollgate {command}`: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// The variables of a fresh `.env`, written by the script that users run.
fn made_environment() -> anyhow::Result<Vec<(String, String)>> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("environment");
    let script = repository().join("deploy/compose/make-env");
    let status = Command::new("sh").arg(script).arg(&file).status()?;
    ensure!(status.success(), "make-env failed: {status}");
    let text = std::fs::read_to_string(file)?;
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let (name, value) = line.split_once('=').with_context(|| format!("no `=` in {line:?}"))?;
            Ok((name.to_owned(), value.to_owned()))
        })
        .collect()
}

/// Whether a variable of that name or a value of that shape is a secret.
fn is_secret(name: &str, value: &str) -> bool {
    let has_password = value.split_once("://").and_then(|(_, rest)| rest.split_once('@'));
    let names = ["PASSWORD", "SECRET", "TOKEN", "_KEY", "AUTH"];
    has_password.is_some_and(|(user, _)| user.contains(':')) || names.iter().any(|part| name.contains(part))
}

#[test]
fn made_secrets_are_random_and_never_overwritten() -> anyhow::Result<()> {
    let (first, second) = (made_environment()?, made_environment()?);
    assert!(first.len() >= 6, "{} variables", first.len());
    for ((name, value), (_, other)) in first.iter().zip(&second) {
        assert!(value.len() >= 32, "{name} is short");
        assert_ne!(value, other, "{name} is not random");
    }
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("environment");
    std::fs::write(&file, "KEPT=1\n")?;
    let script = repository().join("deploy/compose/make-env");
    assert!(Command::new("sh").arg(script).arg(&file).status()?.success());
    assert_eq!(std::fs::read_to_string(&file)?, "KEPT=1\n");
    Ok(())
}
