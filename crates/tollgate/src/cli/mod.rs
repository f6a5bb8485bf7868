//! The command line: server commands, configuration commands, and the admin API from a shell.

mod arguments;
mod configuration;
mod exit;
mod ledger;
mod options;
mod price_map;

#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::process::ExitCode;

use clap::builder::Resettable;
use clap::{ArgMatches, CommandFactory, FromArgMatches};

pub(crate) use arguments::{AdminArgs, OutputFormat};
pub use exit::{EXIT_FAILURE, EXIT_OK, EXIT_USAGE, UsageError, exit_code};
pub(crate) use options::{DEFAULT_ADMIN_LISTEN, DEFAULT_DATA_DIR, check_header_text};
pub use options::{LogFormat, ServerOptions, Slabs};

use crate::admin_client::{self, resources};
use crate::config::Environment;
use crate::run;
use arguments::{Cli, Command};

/// Parses the process's arguments and does what they say.
pub fn main() -> ExitCode {
    let environment = Environment::of_process();
    let command = without_empty_variables(command(), &environment);
    let matches = match command.try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            // Help and version go to stdout with 0, the rest to stderr with 2.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(EXIT_USAGE));
        }
    };
    match execute(&matches, &environment) {
        Ok(()) => ExitCode::from(EXIT_OK),
        Err(error) => exit::report(&error),
    }
}

/// The whole command tree: the derived commands, one per admin resource, and the comparisons with price maps.
fn command() -> clap::Command {
    let resources = resources::RESOURCES.iter().fold(Cli::command(), |command, resource| {
        command.subcommand(admin_client::command::of_resource(resource))
    });
    ledger::extend(price_map::extend(resources))
}

/// The tree without the variables that are set to nothing, as compose files and Kubernetes do: an empty
/// variable is as good as none.
fn without_empty_variables(command: clap::Command, environment: &Environment) -> clap::Command {
    let is_empty = |arg: &clap::Arg| {
        arg.get_env().and_then(OsStr::to_str).is_some_and(|name| environment.get(name) == Some(""))
    };
    command
        .mut_args(|arg| if is_empty(&arg) { arg.env(Resettable::Reset) } else { arg })
        .mut_subcommands(|inner| without_empty_variables(inner, environment))
}

fn execute(matches: &ArgMatches, environment: &Environment) -> anyhow::Result<()> {
    if let Some(result) = price_map::execute(matches, environment) {
        return result;
    }
    if let Some(result) = ledger::execute(matches, environment) {
        return result;
    }
    if let Some((name, arguments)) = matches.subcommand()
        && let Some(resource) = resources::RESOURCES.iter().find(|resource| resource.name == name)
    {
        let (verb, arguments) = admin_client::command::chosen_verb(resource, arguments);
        let admin = AdminArgs::from_arg_matches(arguments)?;
        let client = admin.client(environment)?;
        return block_on(admin_client::call(&client, verb, arguments, admin.output));
    }
    match Cli::from_arg_matches(matches)?.command {
        Command::Dev(arguments) => serve(run::dev(arguments.into_options(environment)?)),
        Command::All(arguments) => {
            let options = arguments.into_options(environment)?;
            required(options.config.is_some(), "`tollgate all` needs --config FILE or TOLLGATE_CONFIG")?;
            serve(run::all(options))
        }
        Command::Gateway(arguments) => {
            let options = arguments.into_options(environment)?;
            let has_control = options.control_url.is_some();
            required(has_control, "`tollgate gateway` needs --control-url URL or TOLLGATE_CONTROL_URL")?;
            serve(run::gateway(options))
        }
        Command::Control(arguments) => {
            let options = arguments.into_options(environment)?;
            required(options.database_url.is_some(), "`tollgate control` needs TOLLGATE_DATABASE_URL")?;
            serve(run::control(options))
        }
        Command::Migrate(arguments) => {
            let options = arguments.store.into_options(environment)?;
            serve(run::migrate(options, arguments.application_role))
        }
        Command::Check(arguments) => configuration::check(&arguments, environment),
        Command::Apply(arguments) => {
            let config = crate::config::load(&arguments.file, environment)?;
            let client = arguments.admin.client(environment)?;
            block_on(configuration::apply(&arguments, &config, &client))
        }
        Command::Export(arguments) => {
            let client = arguments.admin.client(environment)?;
            block_on(configuration::export(&arguments, &client))
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command(), "tollgate", &mut script);
            match std::io::Write::write_all(&mut std::io::stdout().lock(), &script) {
                // who reads it has seen enough
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
                written => Ok(written?),
            }
        }
    }
}

fn required(given: bool, message: &str) -> Result<(), UsageError> {
    if given { Ok(()) } else { Err(UsageError::new(message)) }
}

fn serve(server: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(server)
}

fn block_on<T>(call: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(call)
}
