//! The project's own commands: `cargo xtask setup | test | layers | tidy | bench | simulate | openai-openapi`.
//!
//! Reading order: [`process`] runs other programs, [`setup`] installs what the tests need, [`clients`] the SDKs among it, [`suite`] runs
//! them, [`simulate`] puts the ledger to its proof, [`layers`] holds the crate graph against ARCHITECTURE.md,
//! [`openai_document`] holds the gateway against OpenAI's published document, [`tidy`] holds the sources against the house rules. Every command exits 0 when all is well, 1 when it found something, 2 on bad arguments.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks to a terminal")]

mod clients;
mod layers;
mod openai_document;
mod process;
mod setup;
mod simulate;
mod suite;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "\
cargo xtask: the project's own commands

Usage: cargo xtask <command> [arguments]

Commands:
  setup    install what the tests and CI need: Redis, PostgreSQL, client SDKs, cargo-nextest, cargo-deny
  test     install what the tests need, build the binaries, run every test
  layers   hold the crate graph against the ring table in ARCHITECTURE.md
  tidy     hold the sources against the house rules
  bench    build release binaries and run the load benchmark
  simulate run the fault simulation of the ledger in full
  openai-openapi  send every parameter of OpenAI's published document through a gateway

`cargo xtask <command> --help` tells more about each.";

/// What every command gives: `Ok(true)` when all is well, `Ok(false)` when it printed what is wrong.
type Outcome = anyhow::Result<bool>;

struct Command {
    name: &'static str,
    help: &'static str,
    run: fn(&Path, &[String]) -> Outcome,
}

const COMMANDS: &[Command] = &[
    Command { name: "setup", help: setup::HELP, run: setup::run },
    Command { name: "test", help: suite::TEST_HELP, run: suite::test },
    Command { name: "layers", help: layers::HELP, run: layers::run },
    Command { name: "tidy", help: tidy::HELP, run: tidy::run },
    Command { name: "bench", help: suite::BENCH_HELP, run: suite::bench },
    Command { name: "simulate", help: simulate::HELP, run: simulate::run },
    Command { name: "openai-openapi", help: openai_document::HELP, run: openai_document::run },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else {
        eprintln!("{HELP}");
        return ExitCode::from(2);
    };
    if is_help(name) {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        eprintln!("error: there is no command `{name}`\n\n{HELP}");
        return ExitCode::from(2);
    };
    if rest.first().is_some_and(|first| is_help(first)) {
        println!("{}", command.help);
        return ExitCode::SUCCESS;
    }
    match (command.run)(&workspace_root(), rest) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_help(argument: &str) -> bool {
    matches!(argument, "-h" | "--help" | "help")
}

/// The folder of the root Cargo.toml: two above this package's own.
fn workspace_root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    package.ancestors().nth(2).map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Refuses arguments for a command that takes none, so that a typo is not silently ignored.
fn refuse_arguments(command: &str, arguments: &[String]) -> anyhow::Result<()> {
    match arguments.first() {
        None => Ok(()),
        Some(first) => anyhow::bail!("`{command}` takes no arguments, but was given `{first}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_in_the_help_and_has_its_own() {
        for command in COMMANDS {
            assert!(HELP.contains(&format!("\n  {} ", command.name)), "{} is missing in HELP", command.name);
            assert!(command.help.starts_with(&format!("cargo xtask {}", command.name)), "{}", command.name);
        }
    }

    #[test]
    fn the_workspace_root_holds_this_package() {
        assert!(workspace_root().join("crates/xtask/Cargo.toml").is_file());
    }

    #[test]
    fn arguments_are_refused_by_name() {
        assert!(refuse_arguments("tidy", &[]).is_ok());
        let refusal = refuse_arguments("tidy", &["--fix".to_owned()]).unwrap_err().to_string();
        assert!(refusal.contains("`--fix`"), "{refusal}");
    }
}
