//! The rules `deploy/docker/Dockerfile` is held against.

use std::collections::BTreeMap;

use anyhow::Context as _;

use super::{help_of, is_secret, read, repository};

const PATH: &str = "deploy/docker/Dockerfile";

/// One instruction with its continuation lines joined.
#[derive(Debug)]
struct Instruction {
    name: String,
    arguments: String,
}

fn parse(text: &str) -> Vec<Instruction> {
    let mut instructions = Vec::new();
    let mut pending = String::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_suffix('\\') {
            Some(start) => pending.push_str(start),
            None => {
                pending.push_str(line);
                let (name, arguments) = pending.split_once(' ').unwrap_or((&pending, ""));
                let (name, arguments) = (name.to_uppercase(), arguments.trim().to_owned());
                instructions.push(Instruction { name, arguments });
                pending.clear();
            }
        }
    }
    instructions
}

/// The instructions of each stage, from its FROM on.
fn stages(instructions: &[Instruction]) -> Vec<&[Instruction]> {
    let starts = instructions.iter().enumerate().filter(|(_, instruction)| instruction.name == "FROM");
    let starts = starts.map(|(at, _)| at).collect::<Vec<_>>();
    let ends = starts.iter().skip(1).copied().chain([instructions.len()]);
    starts.iter().zip(ends).map(|(&start, end)| &instructions[start..end]).collect()
}

/// The variables of the image's last stage.
pub(crate) fn image_environment() -> anyhow::Result<BTreeMap<String, String>> {
    let instructions = parse(&read(PATH)?);
    let stages = stages(&instructions);
    let last = stages.last().context("no stage")?;
    Ok(variables(last))
}

fn variables(stage: &[Instruction]) -> BTreeMap<String, String> {
    let lines = stage.iter().filter(|instruction| instruction.name == "ENV");
    let pairs = lines.flat_map(|instruction| instruction.arguments.split_whitespace());
    pairs
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn problems(text: &str) -> Vec<String> {
    let instructions = parse(text);
    let mut found = Vec::new();
    for instruction in &instructions {
        let arguments = &instruction.arguments;
        match instruction.name.as_str() {
            "FROM" => {
                let image = arguments.split(' ').next().unwrap_or_default();
                let tag = image.rsplit_once(':').map_or("", |(_, tag)| tag);
                if !tag.bytes().any(|byte| byte.is_ascii_digit()) || tag.contains("latest") {
                    found.push(format!("the image `{image}` is not pinned"));
                }
            }
            "ADD" => found.push("ADD unpacks and downloads; use COPY".to_owned()),
            "ENV" | "ARG" if arguments.split('=').next().is_some_and(|name| is_secret(name, "")) => {
                found.push(format!("`{arguments}` puts a secret into a layer"));
            }
            "CMD" | "ENTRYPOINT" if !arguments.starts_with('[') => {
                found.push(format!("{} runs a shell, which takes the signals", instruction.name));
            }
            _ => {}
        }
    }
    found.extend(last_stage(&stages(&instructions)));
    found
}

fn last_stage(stages: &[&[Instruction]]) -> Vec<String> {
    let mut found = Vec::new();
    if stages.len() < 2 {
        found.push("there is one stage: the compiler would be in the image".to_owned());
    }
    let Some(last) = stages.last() else { return found };
    let position = |name: &str| last.iter().position(|instruction| instruction.name == name);
    let of = |name: &str| position(name).map_or("", |at| last[at].arguments.as_str());
    let is_compiler = of("FROM").starts_with("rust:");
    if is_compiler {
        found.push("the last stage holds the compiler".to_owned());
    }
    let mut ids = of("USER").split(':');
    if ids.next().and_then(|id| id.parse::<u32>().ok()).is_none_or(|id| id < 10_000) {
        found.push(format!("the user `{}` is not a number from 10000 on", of("USER")));
    }
    if position("USER") > position("ENTRYPOINT") || of("ENTRYPOINT").is_empty() {
        found.push("ENTRYPOINT must stand after USER".to_owned());
    }
    if of("STOPSIGNAL") != "SIGTERM" {
        found.push("STOPSIGNAL is not SIGTERM, which drains".to_owned());
    }
    if !of("HEALTHCHECK").contains("CMD [") {
        found.push("there is no HEALTHCHECK in exec form".to_owned());
    }
    if last.iter().any(|instruction| instruction.name == "RUN" && instruction.arguments.contains("apt-get")) {
        found.push("the last stage installs packages".to_owned());
    }
    found
}

#[test]
fn the_file_keeps_the_rules() -> anyhow::Result<()> {
    assert_eq!(problems(&read(PATH)?), Vec::<String>::new());
    Ok(())
}

#[test]
fn every_rule_can_be_broken() -> anyhow::Result<()> {
    let file = read(PATH)?;
    let cases = [
        ("FROM debian:12-slim", "FROM debian:latest", "`debian:latest` is not pinned"),
        ("FROM debian:12-slim", "FROM rust:1.95", "the last stage holds the compiler"),
        ("FROM debian:12-slim AS run\n", "", "there is one stage"),
        ("USER 10001:10001\n", "", "the user `` is not a number"),
        ("USER 10001:10001", "USER 0:0", "the user `0:0` is not a number"),
        ("USER 10001:10001", "USER tollgate", "the user `tollgate` is not a number"),
        ("STOPSIGNAL SIGTERM", "STOPSIGNAL SIGKILL", "STOPSIGNAL is not SIGTERM"),
        ("HEALTHCHECK", "LABEL", "there is no HEALTHCHECK"),
        ("ENTRYPOINT [\"/usr/local/bin/tollgate\"]", "ENTRYPOINT tollgate", "ENTRYPOINT runs a shell"),
        ("ENTRYPOINT", "LABEL", "ENTRYPOINT must stand after USER"),
        ("COPY . .", "ADD . .", "ADD unpacks"),
        ("COPY . .", "ARG ADMIN_TOKEN=abc", "puts a secret into a layer"),
        ("RUN install -d", "RUN apt-get install x", "the last stage installs packages"),
    ];
    for (from, to, expected) in cases {
        assert!(file.contains(from), "{from:?} is not in the file");
        let found = problems(&file.replace(from, to));
        assert!(found.iter().any(|problem| problem.contains(expected)), "{from:?} to {to:?}: {found:#?}");
    }
    Ok(())
}

#[test]
fn the_compiler_is_the_one_the_workspace_asks_for() -> anyhow::Result<()> {
    let manifest = read("Cargo.toml")?;
    let line = manifest.lines().find_map(|line| line.strip_prefix("rust-version = \""));
    let version = line.and_then(|rest| rest.strip_suffix('"')).context("no rust-version in Cargo.toml")?;
    assert!(read(PATH)?.contains(&format!("FROM rust:{version}-slim-")), "the builder is not Rust {version}");
    Ok(())
}

#[test]
fn what_is_copied_exists_and_reaches_the_builder() -> anyhow::Result<()> {
    let ignored = read(".dockerignore")?;
    let sent = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect::<Vec<_>>();
    assert!(ignored.lines().any(|line| line == "*"), "everything but a list must stay out");
    for path in &sent {
        assert!(repository().join(path).exists(), ".dockerignore lets in {path}, which does not exist");
    }
    for instruction in parse(&read(PATH)?).iter().filter(|instruction| instruction.name == "COPY") {
        let words =
            instruction.arguments.split(' ').filter(|word| !word.starts_with("--")).collect::<Vec<_>>();
        let is_from_stage = instruction.arguments.contains("--from=");
        let (_target, sources) = words.split_last().context("COPY without arguments")?;
        for source in sources.iter().filter(|source| !is_from_stage && **source != ".") {
            assert!(sent.contains(source), "COPY {source}: .dockerignore keeps it out");
        }
    }
    // Every member's manifest is read by Cargo, also those that are not built.
    for folder in ["crates", "tests", "Cargo.toml", "Cargo.lock", "proto", "migrations"] {
        assert!(sent.contains(&folder), "the build needs {folder}");
    }
    Ok(())
}

#[test]
fn the_binary_knows_every_variable() -> anyhow::Result<()> {
    let help = help_of("all")?;
    for name in image_environment()?.keys() {
        assert!(help.contains(name.as_str()), "`tollgate all` does not know {name}");
    }
    Ok(())
}
