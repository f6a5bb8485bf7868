//! The command line: what parses, into which options, and what every `--help` must show.

use clap::{ArgMatches, FromArgMatches};

use super::arguments::{Cli, Command};
use super::exit::{EXIT_FAILURE, EXIT_USAGE, UsageError, exit_code};
use super::{LogFormat, ServerOptions, command, without_empty_variables};
use crate::config::Environment;

const MASTER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn parse(arguments: &[&str]) -> Result<ArgMatches, clap::Error> {
    command().try_get_matches_from([&["tollgate"], arguments].concat())
}

fn options(arguments: &[&str], variables: &[(&str, &str)]) -> Result<ServerOptions, UsageError> {
    let matches = parse(arguments).unwrap();
    let environment = Environment::of_pairs(variables);
    match Cli::from_arg_matches(&matches).unwrap().command {
        Command::Dev(server) | Command::All(server) | Command::Gateway(server) | Command::Control(server) => {
            server.into_options(&environment)
        }
        Command::Migrate(arguments) => arguments.store.into_options(&environment),
        other => panic!("{other:?} starts no server"),
    }
}

#[test]
fn the_defaults_are_loopback_and_text() {
    let options = options(&["dev"], &[]).unwrap();
    assert_eq!(options.listen, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(options.admin_listen, "127.0.0.1:8081".parse().unwrap());
    assert_eq!(options.grpc_listen, "127.0.0.1:8082".parse().unwrap());
    assert_eq!(options.ops_listen, "127.0.0.1:9080".parse().unwrap());
    assert_eq!(options.data_dir, std::path::Path::new("./tollgate-data"));
    assert_eq!(options.log_format, LogFormat::Text);
    assert!(options.config.is_none() && options.database_url.is_none() && options.master_key.is_none());
}

#[test]
fn flags_and_secrets_reach_the_options() {
    let arguments = [
        "gateway",
        "--listen",
        "0.0.0.0:0",
        "--ops-listen",
        "[::]:9",
        "--log-format",
        "json",
        "--control-url",
        "http://control:8082",
        "--config",
        "t.yaml",
        "--data-dir",
        "/d",
    ];
    let variables = [
        ("TOLLGATE_DATABASE_URL", "postgres://u:hunter2@db/t"),
        ("TOLLGATE_REDIS_URL", "rediss://r"),
        ("TOLLGATE_ADMIN_TOKEN", "admin-token-text"),
        ("TOLLGATE_MASTER_KEY", MASTER_KEY),
        ("TOLLGATE_PLANE_TOKEN", ""),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://otel:4318"),
    ];
    let options = options(&arguments, &variables).unwrap();
    assert_eq!(options.listen.port(), 0);
    assert!(options.ops_listen.is_ipv6());
    assert_eq!(options.log_format, LogFormat::Json);
    assert_eq!(options.control_url.as_deref(), Some("http://control:8082"));
    assert_eq!(options.database_url.as_ref().unwrap().expose(), "postgres://u:hunter2@db/t");
    assert_eq!(options.master_key_bytes().unwrap()[31], 31);
    assert!(options.plane_token.is_none(), "empty is not given");
    assert_eq!(options.otlp_endpoint.as_deref(), Some("http://otel:4318"));
    let shown = format!("{options:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("admin-token-text") && !shown.contains(MASTER_KEY));
}

#[test]
fn secrets_come_from_files_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "from-the-file\n").unwrap();
    let file = file.to_str().unwrap();
    let arguments = ["dev", "--admin-token-file", file];
    assert_eq!(options(&arguments, &[]).unwrap().admin_token.unwrap().expose(), "from-the-file");
    let both = options(&arguments, &[("TOLLGATE_ADMIN_TOKEN", "x")]).unwrap_err().to_string();
    assert_eq!(
        both,
        "TOLLGATE_ADMIN_TOKEN and TOLLGATE_ADMIN_TOKEN_FILE are both given; keep one of the two"
    );
    let missing = options(&["dev", "--master-key-file", "/no/such/file"], &[]).unwrap_err().to_string();
    assert!(missing.starts_with("TOLLGATE_MASTER_KEY_FILE: /no/such/file: "), "{missing}");
}

#[test]
fn senseless_values_are_refused_without_repeating_them() {
    let cases: &[(&str, &str, &str)] = &[
        (
            "TOLLGATE_DATABASE_URL",
            "mysql://u:hunter2@h",
            "TOLLGATE_DATABASE_URL must be a URL that starts with postgres: or postgresql: or sqlite:",
        ),
        (
            "TOLLGATE_REDIS_URL",
            "http://:hunter2@h",
            "TOLLGATE_REDIS_URL must be a URL that starts with redis: or rediss: or redis-cluster: or rediss-cluster: or redis-sentinel: or rediss-sentinel:",
        ),
        (
            "TOLLGATE_MASTER_KEY",
            "hunter2",
            "TOLLGATE_MASTER_KEY is not base64 of 32 bytes; make one with `openssl rand -base64 32`",
        ),
        (
            "TOLLGATE_PLANE_TOKEN",
            "hunter2\nhunter2",
            "TOLLGATE_PLANE_TOKEN cannot stand in a header: it is blank, or has a line break or other characters than visible ASCII; set it to the secret alone",
        ),
    ];
    for (variable, value, expected) in cases {
        let told = options(&["control"], &[(variable, value)]).unwrap_err().to_string();
        assert!(!told.contains("hunter2"), "{told}");
        assert_eq!(&told, expected);
    }
}

#[test]
fn bad_arguments_exit_with_2() {
    for arguments in [
        &["dev", "--listen", "somewhere"][..],
        &["dev", "--listen", "127.0.0.1:65536"],
        &["dev", "--log-format", "xml"],
        &["dev", "--admin-token", "secrets-are-no-flags"],
        &["no-such-command"],
        &["check"],
        &["tenants", "get"],
        &["tenants", "list", "--limit", "0"],
        &["keys", "create", "prod"],
        &["tenants", "update", "a", "--blocked", "maybe"],
        &["budgets", "create", "--limit", "5"],
        &["budgets", "update", "ID", "--window", "day"],
        &["prices", "create", "--provider", "p", "--model", "m", "--price", "1", "--tenants", "acme"],
        &["completions", "tcsh"],
    ] {
        let error = parse(arguments).expect_err(&arguments.join(" "));
        assert_eq!(error.exit_code(), i32::from(EXIT_USAGE), "{arguments:?}");
    }
}

#[test]
fn exit_codes_follow_the_cause() {
    let usage = anyhow::Error::new(UsageError::new("no")).context("while trying");
    assert_eq!(exit_code(&usage), EXIT_USAGE);
    let config =
        crate::config::load(std::path::Path::new("/no/such/file"), &Environment::of_pairs(&[])).unwrap_err();
    assert_eq!(exit_code(&anyhow::Error::new(config)), EXIT_USAGE);
    assert_eq!(exit_code(&anyhow::anyhow!("broken")), EXIT_FAILURE);
}

/// Calls `visit` with the full name of every command and the command.
fn for_each_command(command: &clap::Command, name: &str, visit: &mut dyn FnMut(&str, &clap::Command)) {
    visit(name, command);
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        for_each_command(inner, &format!("{name} {}", inner.get_name()), visit);
    }
}

#[test]
fn every_help_has_an_example_that_parses_and_names_it() {
    let mut tree = command();
    tree.build();
    let mut n_commands = 0;
    for_each_command(&tree, "tollgate", &mut |name, command| {
        n_commands += 1;
        let help = command.clone().render_help().to_string();
        let example =
            help.split("Example:\n").nth(1).unwrap_or_else(|| panic!("{name}: no example in\n{help}"));
        let line =
            example.lines().next().unwrap().split(" > ").next().unwrap().split(" #").next().unwrap().trim();
        let words: Vec<String> =
            line.split_whitespace().map(|word| word.trim_matches('\'').to_owned()).collect();
        let start =
            words.iter().position(|word| word == "tollgate").unwrap_or_else(|| panic!("{name}: {line}"));
        assert!(words[start..].join(" ").starts_with(name), "{name}: {line}");
        if let Err(error) = super::command().try_get_matches_from(&words[start..]) {
            panic!("{name}: {line}: {error}");
        }
    });
    assert!(n_commands > 60, "{n_commands}");
}

#[test]
fn every_command_has_a_description_of_its_own() {
    let mut tree = command();
    tree.build();
    for_each_command(&tree, "tollgate", &mut |name, command| {
        let about = command.get_about().unwrap_or_else(|| panic!("{name}: no description")).to_string();
        assert!(!about.contains("admin commands reach"), "{name}: {about}");
        assert_eq!(about.lines().count(), 1, "{name}: {about}");
    });
    for resource in crate::admin_client::resources::RESOURCES {
        for verb in resource.verbs {
            let command = tree.find_subcommand(resource.name).unwrap();
            let command =
                if verb.name.is_empty() { command } else { command.find_subcommand(verb.name).unwrap() };
            assert_eq!(command.get_about().unwrap().to_string(), verb.about);
        }
    }
}

#[test]
fn an_empty_variable_counts_as_not_set_for_every_flag() {
    let variables = |tree: &clap::Command| {
        let mut names = std::collections::BTreeSet::new();
        for_each_command(tree, "tollgate", &mut |_, command| {
            let of_command = command.get_arguments().filter_map(clap::Arg::get_env);
            names.extend(of_command.map(|name| name.to_str().unwrap().to_owned()));
        });
        names
    };
    let names = variables(&command());
    assert!(names.len() > 15 && names.contains("TOLLGATE_REDIS_TIMEOUT_MS"), "{names:?}");
    let environment = |value: &'static str| {
        let pairs: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), value)).collect();
        Environment::of_pairs(&pairs)
    };
    assert!(variables(&without_empty_variables(command(), &environment(""))).is_empty());
    assert_eq!(variables(&without_empty_variables(command(), &environment("x"))), names);
    assert_eq!(variables(&without_empty_variables(command(), &Environment::of_pairs(&[]))), names);
}

#[test]
fn help_shows_no_value_of_the_environment() {
    let mut tree = command();
    tree.build();
    for_each_command(&tree, "tollgate", &mut |name, command| {
        for argument in command.get_arguments().filter(|argument| argument.get_env().is_some()) {
            let id = argument.get_id().as_str();
            let is_secret = ["token", "key", "url", "secret"].iter().any(|word| id.contains(word));
            let is_file = id.ends_with("_file");
            assert!(!is_secret || is_file || argument.is_hide_env_values_set(), "{name} {id}");
        }
    });
}

#[test]
fn the_tree_is_sound() {
    command().debug_assert();
}
