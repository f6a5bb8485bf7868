//! Golden files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn crate_folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The repository's own folder.
pub(crate) fn repository() -> PathBuf {
    crate_folder().ancestors().nth(2).unwrap().to_owned()
}

fn is_writing() -> bool {
    std::env::var("TOLLGATE_GOLDEN").is_ok_and(|what| what == "write")
}

/// Compares one file with what it should be, or writes it.
pub(crate) fn check(path: &Path, expected: &str) {
    if is_writing() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, expected).unwrap();
        return;
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    if found == expected {
        return;
    }
    let lines = found.lines().zip(expected.lines()).enumerate();
    let differing = lines.into_iter().find(|(_, (found, expected))| found != expected);
    let (line, (found, expected)) = differing.unwrap_or((0, ("its length", "another length")));
    panic!(
        "{} is stale from line {} on; write it anew with TOLLGATE_GOLDEN=write and read the difference\n- {found}\n+ {expected}",
        path.display(),
        line + 1,
    );
}

/// Compares a folder below `tests/golden` with the files it should have, and no others.
pub(crate) fn check_folder(name: &str, files: &BTreeMap<String, String>) {
    let folder = crate_folder().join("tests/golden").join(name);
    if is_writing() && folder.exists() {
        std::fs::remove_dir_all(&folder).unwrap();
    }
    for (file, text) in files {
        check(&folder.join(file), text);
    }
    let found = std::fs::read_dir(&folder).unwrap();
    for entry in found {
        let file = entry.unwrap().file_name().into_string().unwrap();
        assert!(files.contains_key(&file), "{name}/{file} belongs to no case");
    }
}
