//! `secret_file: path` reads a file and stands for `secret: …`.

use std::path::Path;

use super::bounded::read_bounded_text;
use super::problem::Found;
use super::yaml::{Key, Kind, Node};

/// Keys and tokens are short; a larger file is the wrong one.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// Replaces every `secret_file` in the tree by the `secret` it names. Relative paths start at `folder`; one
/// trailing line break of the file is dropped.
pub(super) fn read_secret_files(node: &mut Node, folder: &Path, problems: &mut Vec<Found>) {
    read_at(node, "", folder, problems);
}

fn read_at(node: &mut Node, path: &str, folder: &Path, problems: &mut Vec<Found>) {
    match &mut node.kind {
        Kind::Scalar(_) => {}
        Kind::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                read_at(item, &format!("{path}[{index}]"), folder, problems);
            }
        }
        Kind::Mapping(entries) => {
            for (key, value) in entries.iter_mut() {
                read_at(value, &super::deserialize::join(path, &key.text), folder, problems);
            }
            let Some(at) = entries.iter().position(|(key, _)| key.text == "secret_file") else { return };
            let line = entries[at].0.line;
            let result = if entries.iter().any(|(key, _)| key.text == "secret") {
                Err("`secret` is given as well; keep one of the two".to_owned())
            } else {
                read_secret(&entries[at].1, folder)
            };
            let refused = result.is_err();
            let secret = Node::resolved(
                line,
                result.unwrap_or_else(|message| {
                    let path = super::deserialize::join(path, "secret_file");
                    problems.push(Found { line, path, message });
                    String::new()
                }),
            );
            secret.reported.set(refused);
            entries.retain(|(key, _)| key.text != "secret");
            entries.push((Key { text: "secret".to_owned(), line }, secret));
            entries.retain(|(key, _)| key.text != "secret_file");
        }
    }
}

fn read_secret(value: &Node, folder: &Path) -> Result<String, String> {
    let Kind::Scalar(scalar) = &value.kind else { return Err("expected a file's path".to_owned()) };
    let path = folder.join(&scalar.text);
    let shown = path.display();
    let text = read_bounded_text(&path, MAX_SECRET_BYTES).map_err(|error| format!("{shown} {error}"))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err(format!("{shown} is empty; put the secret into it"));
    }
    Ok(text.to_owned())
}
