//! The rules `docker-compose.yml` is held against.

use std::collections::BTreeSet;

use anyhow::Context as _;
use serde_json::Value;

use super::compose_file::{ComposeFile, Service, references};
use super::{help_of, is_secret, made_environment, read, repository};

/// Fields that give a container more than its own.
const FORBIDDEN_FIELDS: &[&str] =
    &["privileged", "cap_add", "network_mode", "pid", "ipc", "userns_mode", "devices", "env_file", "extends"];
const CONDITIONS: &[&str] = &["service_healthy", "service_completed_successfully"];

/// What is wrong with the file, each with its service.
fn problems(text: &str) -> anyhow::Result<Vec<String>> {
    let file = ComposeFile::parse(text)?;
    let mut found = Vec::new();
    for service in file.services() {
        let checks = [image, life, confinement, network, secrets];
        let of_service = checks.iter().flat_map(|check| check(&service));
        found.extend(
            of_service.chain(relations(&file, &service)).map(|what| format!("{}: {what}", service.name)),
        );
    }
    if let Err(error) = file.in_start_order() {
        found.push(error.to_string());
    }
    Ok(found)
}

fn image(service: &Service<'_>) -> Vec<String> {
    let image = service.text("image");
    let tag = image.rsplit_once(':').map_or("", |(_, tag)| tag);
    let is_pinned = tag.bytes().any(|byte| byte.is_ascii_digit()) && !tag.contains("latest");
    (!is_pinned).then(|| format!("the image `{image}` is not pinned")).into_iter().collect()
}

/// Either it ends by itself or somebody can tell whether it is well.
fn life(service: &Service<'_>) -> Vec<String> {
    let mut found = Vec::new();
    if !service.is_one_shot() {
        if service.health_command().is_empty() {
            found.push("has no health check and is no one-shot".to_owned());
        }
        if service.text("restart") != "unless-stopped" {
            found.push("is not started again after a crash".to_owned());
        }
    }
    if service.is_tollgate() && service.text("stop_grace_period") != "40s" {
        found.push("is killed before the gateway's 30 s of grace are over".to_owned());
    }
    found
}

fn confinement(service: &Service<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for field in FORBIDDEN_FIELDS.iter().filter(|field| !service.fields[**field].is_null()) {
        found.push(format!("`{field}` is not allowed"));
    }
    let user = service.text("user").split(':').next().unwrap_or_default();
    if user.parse::<u32>().map_or(true, |id| id == 0) {
        found.push(format!("runs as `{user}`, not as a numeric user other than 0"));
    }
    if !service.is_true("read_only") {
        found.push("its root file system can be written".to_owned());
    }
    if service.list("cap_drop") != ["ALL"] {
        found.push("keeps capabilities".to_owned());
    }
    if !service.list("security_opt").contains(&"no-new-privileges:true") {
        found.push("may gain privileges".to_owned());
    }
    for mount in service.mounts() {
        if mount.source.contains("docker.sock") || mount.source.starts_with('/') {
            found.push(format!("mounts `{}` of the host", mount.source));
        } else if mount.source.starts_with("./") {
            if !mount.is_read_only {
                found.push(format!("can write `{}`", mount.source));
            }
            if !repository().join(mount.source).exists() {
                found.push(format!("mounts `{}`, which does not exist", mount.source));
            }
        }
    }
    found
}

fn network(service: &Service<'_>) -> Vec<String> {
    let published = service.list("ports").into_iter();
    let mut found = published
        .filter(|port| !port.starts_with("127.0.0.1:"))
        .map(|port| format!("publishes `{port}` beyond loopback"))
        .collect::<Vec<_>>();
    if service.list("networks").is_empty() {
        found.push("is in the default network".to_owned());
    }
    found
}

/// Secrets are references that refuse to be empty, never values and never arguments.
fn secrets(service: &Service<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, value) in service.environment() {
        match references(value) {
            Err(error) => found.push(error.to_string()),
            Ok(references) if references.is_empty() && is_secret(name, value) => {
                found.push(format!("{name} is a secret in plain text"));
            }
            Ok(references) => {
                let lax =
                    references.into_iter().filter(|(_, rest)| !rest.starts_with(":?") || rest.len() < 4);
                found.extend(
                    lax.map(|(variable, _)| format!("{variable} is not written as `${{…:?what to do}}`")),
                );
            }
        }
    }
    let arguments = service.list("command").into_iter().chain(service.list("entrypoint"));
    for argument in arguments.filter(|argument| references(argument).map_or(true, |found| !found.is_empty()))
    {
        found.push(format!("the argument `{argument}` shows a variable to everyone on the host"));
    }
    found
}

fn relations(file: &ComposeFile, service: &Service<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, condition) in service.depends_on() {
        let Ok(other) = file.service(&name) else {
            found.push(format!("waits for `{name}`, which does not exist"));
            continue;
        };
        let is_right = match condition.as_str() {
            "service_healthy" => !other.is_one_shot(),
            "service_completed_successfully" => other.is_one_shot(),
            _ => false,
        };
        if !is_right {
            found.push(format!("waits for `{name}` with `{condition}`; use the right one of {CONDITIONS:?}"));
        }
    }
    let declared = |kind: &str, name: &str| !file.root[kind][name].is_null();
    for name in service.list("networks").iter().filter(|name| !declared("networks", name)) {
        found.push(format!("the network `{name}` is not declared"));
    }
    for mount in service.mounts() {
        if !mount.source.starts_with(['.', '/']) && !declared("volumes", mount.source) {
            found.push(format!("the volume `{}` is not declared", mount.source));
        }
    }
    found
}

#[test]
fn the_file_keeps_the_rules() -> anyhow::Result<()> {
    assert_eq!(problems(&read("docker-compose.yml")?)?, Vec::<String>::new());
    Ok(())
}

#[test]
fn every_rule_can_be_broken() -> anyhow::Result<()> {
    let file = read("docker-compose.yml")?;
    let cases = [
        (
            "image: tollgate:0.1.0",
            "image: tollgate:latest",
            "control: the image `tollgate:latest` is not pinned",
        ),
        ("image: postgres:15-bookworm", "image: postgres", "postgres: the image `postgres` is not pinned"),
        (
            "healthcheck: { disable: true }",
            "healthcheck: {}",
            "apply: has no health check and is no one-shot",
        ),
        ("stop_grace_period: 40s", "stop_grace_period: 10s", "control: is killed before the gateway's"),
        ("  cap_drop: [ALL]\n", "", "redis: keeps capabilities"),
        ("read_only: true", "privileged: true", "gateway-2: `privileged` is not allowed"),
        ("read_only: true", "read_only: false", "gateway-1: its root file system can be written"),
        ("user: \"10001:10001\"", "user: root", "control: runs as `root`"),
        ("user: \"999:999\"", "user: \"0:0\"", "postgres: runs as `0`"),
        ("no-new-privileges:true", "no-new-privileges:false", "redis: may gain privileges"),
        ("tollgate.yaml:ro\"", "tollgate.yaml\"", "apply: can write `./deploy/compose/tollgate.yaml`"),
        (
            "./deploy/compose/tollgate.yaml:",
            "./nothing.yaml:",
            "apply: mounts `./nothing.yaml`, which does not",
        ),
        ("\"127.0.0.1:8080:8080\"", "\"8080:8080\"", "gateway-1: publishes `8080:8080` beyond loopback"),
        ("    networks: [planes]\n", "", "apply: is in the default network"),
        ("networks: [planes]", "networks: [plane]", "apply: the network `plane` is not declared"),
        (
            "${DEMO_KEY:?run sh deploy/compose/make-env}",
            "a-secret",
            "apply: DEMO_KEY is a secret in plain text",
        ),
        (
            "${DEMO_KEY:?run sh deploy/compose/make-env}",
            "${DEMO_KEY:-x}",
            "apply: DEMO_KEY is not written as",
        ),
        (
            "redis://:${REDIS_PASSWORD:?run sh deploy/compose/make-env}@",
            "redis://:pw@",
            "TOLLGATE_REDIS_URL is a secret",
        ),
        (
            "command: [\"gateway\"]",
            "command: [\"gateway\", \"${X:?set}\"]",
            "gateway-1: the argument `${X:?set}` shows",
        ),
        (
            "condition: service_completed_successfully",
            "condition: service_started",
            "gateway-1: waits for `apply`",
        ),
        (
            "      postgres: { condition",
            "      postgre: { condition",
            "control: waits for `postgre`, which does not",
        ),
        ("  postgres-data: {}\n", "", "postgres: the volume `postgres-data` is not declared"),
        ("restart: unless-stopped", "restart: \"no\"", "redis: is not started again after a crash"),
    ];
    for (from, to, expected) in cases {
        assert!(file.contains(from), "{from:?} is not in the file");
        let found = problems(&file.replace(from, to))?;
        assert!(found.iter().any(|problem| problem.contains(expected)), "{from:?} to {to:?}: {found:#?}");
    }
    Ok(())
}

#[test]
fn volumes_and_networks_need_no_more_than_a_name() -> anyhow::Result<()> {
    let file = ComposeFile::parse(&read("docker-compose.yml")?)?;
    for network in ["data", "planes"] {
        assert_eq!(file.root["networks"][network]["internal"], "true", "{network}");
    }
    // PostgreSQL and Redis are reached by our own processes only.
    for name in ["postgres", "redis"] {
        let service = file.service(name)?;
        assert_eq!(service.list("networks"), ["data"], "{name}");
        assert!(service.list("ports").is_empty(), "{name}");
    }
    let gateways = file.services().filter(|service| service.list("command") == ["gateway"]).count();
    assert_eq!(gateways, 2);
    Ok(())
}

#[test]
fn redis_evicts_nothing_and_keeps_what_it_answered() -> anyhow::Result<()> {
    let file = ComposeFile::parse(&read("docker-compose.yml")?)?;
    let redis = file.service("redis")?;
    let command = redis.list("command").join(" ");
    for setting in ["--maxmemory-policy noeviction", "--appendonly yes", "--appendfsync always"] {
        assert!(command.contains(setting), "{setting} is not in {command:?}");
    }
    assert!(command.contains("requirepass $$REDISCLI_AUTH"), "{command:?}");
    Ok(())
}

#[test]
fn the_binary_knows_every_variable() -> anyhow::Result<()> {
    let file = ComposeFile::parse(&read("docker-compose.yml")?)?;
    for service in file.services().filter(Service::is_tollgate) {
        let command = service.list("command").first().copied().context("a service without a command")?;
        let help = help_of(command)?;
        let used = service.environment();
        for name in used.keys().filter(|name| name.starts_with("TOLLGATE_") && !is_admin_token(command, name))
        {
            assert!(help.contains(*name), "{}: `tollgate {command}` does not know {name}", service.name);
        }
    }
    Ok(())
}

/// `apply` takes the token from the variable that the help of its flag names by its file form.
fn is_admin_token(command: &str, name: &str) -> bool {
    command == "apply" && name == "TOLLGATE_ADMIN_TOKEN"
}

#[test]
fn the_script_makes_every_variable_and_no_other() -> anyhow::Result<()> {
    let text = read("docker-compose.yml")?;
    let file = ComposeFile::parse(&text)?;
    let mut used = BTreeSet::new();
    for service in file.services() {
        for value in service.environment().into_values() {
            used.extend(references(value)?.into_iter().map(|(name, _)| name.to_owned()));
        }
    }
    let made = made_environment()?.into_iter().map(|(name, _)| name).collect::<BTreeSet<_>>();
    assert_eq!(used, made);
    let ignored = read(".gitignore")?;
    assert!(ignored.lines().any(|line| line == "/.env"), "git would take the secrets");
    Ok(())
}

#[test]
fn the_applied_configuration_is_valid() -> anyhow::Result<()> {
    let binary = tollgate_testkit::process::tollgate_binary()?;
    let file = repository().join("deploy/compose/tollgate.yaml");
    let check = |key: &[(&str, &str)]| {
        let mut command = std::process::Command::new(&binary);
        command.args(["check", "--file"]).arg(&file).env_clear().envs(key.iter().copied()).output()
    };
    let output = check(&[("DEMO_KEY", "demo-0123456789abcdef")])?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Without its key the deployment must not come up with one that somebody could guess.
    assert_eq!(check(&[])?.status.code(), Some(2));
    Ok(())
}

#[test]
fn unknown_fields_would_be_seen() -> anyhow::Result<()> {
    // The names compose knows, so that a misspelt one is not silently without effect.
    const KNOWN: &[&str] = &[
        "build",
        "cap_drop",
        "command",
        "depends_on",
        "entrypoint",
        "environment",
        "healthcheck",
        "image",
        "networks",
        "ports",
        "read_only",
        "restart",
        "security_opt",
        "shm_size",
        "stop_grace_period",
        "stop_signal",
        "tmpfs",
        "user",
        "volumes",
    ];
    let file = ComposeFile::parse(&read("docker-compose.yml")?)?;
    for service in file.services() {
        let fields = service.fields.as_object().into_iter().flatten();
        for (field, value) in fields {
            assert!(KNOWN.contains(&field.as_str()), "{}: `{field}`", service.name);
            assert_ne!(value, &Value::Null, "{}: `{field}` is empty", service.name);
        }
    }
    Ok(())
}
