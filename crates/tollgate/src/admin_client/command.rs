//! The table as clap commands.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, value_parser};

use super::verbs::{Argument, Kind, Method, Place, Resource, Verb};
use crate::cli::AdminArgs;

/// `--data`: a body, or the part of it that no flag covers.
pub(super) const DATA: &str = "data";
/// `--limit`: how many rows of a list.
pub(super) const LIMIT: &str = "limit";

/// The command of a resource.
pub(crate) fn of_resource(resource: &'static Resource) -> Command {
    match resource.verbs {
        [verb] if verb.name.is_empty() => of_verb(verb, resource.name),
        verbs => {
            let example = verbs.first().map_or("", |verb| verb.example);
            let command = Command::new(resource.name)
                .about(resource.about)
                .subcommand_required(true)
                .arg_required_else_help(true)
                .after_help(format!("Example:\n  {example}"));
            verbs.iter().fold(command, |command, verb| command.subcommand(of_verb(verb, verb.name)))
        }
    }
}

/// The verb a command line chose, with its arguments.
pub(crate) fn chosen_verb<'a>(
    resource: &'static Resource,
    arguments: &'a ArgMatches,
) -> (&'static Verb, &'a ArgMatches) {
    match arguments.subcommand() {
        Some((name, inner)) => {
            let verb = resource.verbs.iter().find(|verb| verb.name == name);
            (verb.expect("clap knows only the table's verbs"), inner)
        }
        None => (resource.verbs.first().expect("every resource has a verb"), arguments),
    }
}

fn of_verb(verb: &'static Verb, name: &'static str) -> Command {
    let mut command = verb
        .arguments
        .iter()
        .fold(Command::new(name), |command, argument| command.arg(of_argument(argument)));
    if matches!(verb.method, Method::Post | Method::Patch) {
        let help = "More of the body as JSON, or @FILE, or @- for stdin; flags win over it";
        command = command.arg(Arg::new(DATA).long(DATA).value_name("JSON").help(help));
    }
    if verb.method == Method::List {
        let help = "Rows at most; all where it is not given";
        let limit = Arg::new(LIMIT)
            .long(LIMIT)
            .value_name("N")
            .value_parser(value_parser!(u64).range(1..))
            .help(help);
        command = command.arg(limit);
    }
    // The text last: clap takes the arguments' own description for the command's.
    AdminArgs::augment_args(command).about(verb.about).after_help(format!("Example:\n  {}", verb.example))
}

fn of_argument(argument: &'static Argument) -> Arg {
    let arg = Arg::new(argument.name).help(argument.help).required(argument.required);
    let arg = match argument.place {
        Place::Path | Place::BodyPositional(_) => arg.value_name(argument.name.to_uppercase()),
        _ => arg.long(argument.name.replace('_', "-")).value_name(value_name(argument.kind)),
    };
    let arg = argument.default.map_or(arg.clone(), |default| arg.default_value(default));
    match argument.kind {
        Kind::Text | Kind::CredentialVariable | Kind::Json => arg,
        Kind::Whole => arg.value_parser(value_parser!(u64)),
        Kind::Boolean => arg.value_parser(value_parser!(bool)),
        Kind::Switch => arg.action(ArgAction::SetTrue).num_args(0),
        Kind::Words | Kind::Labels | Kind::Targets => arg.action(ArgAction::Append).value_delimiter(','),
        Kind::SecretFile | Kind::CredentialFile => arg.value_parser(value_parser!(PathBuf)),
    }
}

const fn value_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "TEXT",
        Kind::Whole => "N",
        Kind::Boolean => "TRUE|FALSE",
        Kind::Switch => "",
        Kind::Words => "WORD,…",
        Kind::Labels => "NAME=VALUE,…",
        Kind::Targets => "PROVIDER/MODEL,…",
        Kind::SecretFile | Kind::CredentialFile => "FILE",
        Kind::CredentialVariable => "VARIABLE",
        Kind::Json => "JSON",
    }
}
