//! Running other programs: each is shown before it runs, and a failure names what failed.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// What `cargo run` tells this program about its own package. Build scripts watch some of these (ring's
/// does), so that handing them on would rebuild half of the graph.
const OWN_PACKAGE_VARIABLES: &[&str] =
    &["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE"];

/// Cargo itself: the one that runs this program, so that nested calls use the same toolchain.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy();
        if OWN_PACKAGE_VARIABLES.iter().any(|own| name.starts_with(own)) {
            command.env_remove(&variable);
        }
    }
    command.current_dir(root);
    command
}

/// Runs the command with this terminal's output and no input; a failure is an error that names it.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = shown(command);
    eprintln!("+ {shown}");
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// Runs the command quietly; whether it could be started and exited 0.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// Runs the command and gives its standard output as text; its errors go to this terminal.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let shown = shown(command);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if !output.status.success() {
        bail!("`{shown}` failed ({})", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{shown}` printed something that is not UTF-8"))
}

/// The command as a person would type it: the program's file name and its arguments.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(program.as_os_str());
    std::iter::once(program)
        .chain(command.get_args())
        .map(std::ffi::OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_its_status() {
        let error = run(Command::new("/bin/sh").args(["-c", "exit 3"])).unwrap_err().to_string();
        assert!(error.contains("`sh -c exit 3` failed (exit status: 3)"), "{error}");
    }

    #[test]
    fn nested_cargo_does_not_see_this_package() {
        assert!(std::env::var_os("CARGO_PKG_NAME").is_some(), "run by Cargo, which sets it");
        let cargo = cargo(Path::new("."));
        let removed = cargo.get_envs().any(|(name, value)| name == "CARGO_PKG_NAME" && value.is_none());
        assert!(removed);
    }

    #[test]
    fn output_is_what_the_program_printed() {
        assert_eq!(output(Command::new("/bin/sh").args(["-c", "echo two words"])).unwrap(), "two words\n");
    }

    #[test]
    fn success_needs_a_program_that_exists_and_exits_zero() {
        assert!(succeeds(Command::new("/bin/sh").args(["-c", "exit 0"])));
        assert!(!succeeds(Command::new("/bin/sh").args(["-c", "exit 1"])));
        assert!(!succeeds(&mut Command::new("a-program-that-does-not-exist")));
    }
}
