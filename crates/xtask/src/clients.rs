//! The client SDKs that the end-to-end tests drive, from PyPI and npm, pinned with all they need.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use crate::process;

/// Venvs by their folder and their pins: the adapters want another version of OpenAI's SDK than the newest.
const VENVS: [(&str, &str); 2] = [
    (".setup/venv", "tests/sdk/requirements.txt"),
    (".setup/venv-adapters", "tests/sdk/adapters-requirements.txt"),
];

/// Where node's packages are pinned and installed.
const NODE_FOLDER: &str = "tests/sdk/node";

/// A copy of the pins, written once all of them are in: what is installed is made anew only when they change.
const STAMP: &str = "installed-pins";

pub(crate) fn install(root: &Path) -> anyhow::Result<()> {
    for (venv, requirements) in VENVS {
        make_venv(&root.join(venv), &root.join(requirements))?;
    }
    install_node_packages(&root.join(NODE_FOLDER))
}

/// Makes a venv hold exactly the pinned packages.
fn make_venv(venv: &Path, requirements: &Path) -> anyhow::Result<()> {
    let pins = read(requirements)?;
    let stamp = venv.join(STAMP);
    if is_installed(&stamp, &pins) && venv.join("bin/python").exists() {
        return Ok(());
    }
    process::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(venv))
        .context("the Python venv for the client SDKs could not be made")?;
    // the pins are complete, so there is nothing to resolve; compiling to bytecode waits for the first import
    let install =
        ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-compile"];
    process::run(Command::new(venv.join("bin/python")).args(install).arg("--requirement").arg(requirements))
        .with_context(|| {
            format!("the client SDKs of {} could not be installed from PyPI", requirements.display())
        })?;
    write(&stamp, &pins)
}

/// Makes `node_modules` hold exactly the packages of the lock file.
fn install_node_packages(folder: &Path) -> anyhow::Result<()> {
    let pins = read(&folder.join("package-lock.json"))?;
    let stamp = folder.join("node_modules").join(STAMP);
    if is_installed(&stamp, &pins) {
        return Ok(());
    }
    // `ci` removes what is there first, and takes nothing but what the lock file names
    let install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
    process::run(Command::new("npm").args(install).current_dir(folder)).with_context(|| {
        format!("the client SDKs of {} could not be installed from npm", folder.display())
    })?;
    write(&stamp, &pins)
}

fn is_installed(stamp: &Path, pins: &str) -> bool {
    fs::read_to_string(stamp).is_ok_and(|installed| installed == pins)
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
